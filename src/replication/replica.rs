//! A replica, as its primary sees it.
//!
//! ```text
//!  Greeting ──PSYNC, its place is in the backlog──────────────────────────► Online
//!     │ └──PSYNC, its place is in the log's files──► CatchingUp ──in step───► ▲ │
//!     │ PSYNC, SYNC                                     ▲ └─◄─fell behind───────┘
//!     └─────► Waiting ──a walk begins──► Walking ──its file is there──► Sending
//!                ▲                          │ the walk failed              │
//!                └──────────────────────────┘           Online or CatchingUp ◄┘
//!
//!  Waiting ──a walk to sockets begins──► Streaming ──all is sent──► Sent ──its word──► Online or CatchingUp
//! ```
//! A snapshot that is sent while it is made has no length, but a mark behind it; the stream may begin only
//! when the replica has found that mark, which its first acknowledgement tells.
//!
//! From `Walking` on the replica's place in the stream is known. What lies behind it is in the log's files;
//! where there is no log, the backlog keeps it (`crate::journal::Journal::hold`). So the gap of a full
//! sync is a place and no buffer.

use std::fmt;
use std::io::Read;

use bytes::Bytes;

use crate::base::env::SteadyMillis;
use crate::journal::Cursor;
use crate::persist::relay::Reader;
use crate::persist::stream_files::Place;
use crate::rdb::format::Dialect;

/// Bytes of a snapshot that are read at once.
pub(crate) const PIECE_BYTES: usize = 64 << 10;

/// What a replica gets next.
#[derive(Debug)]
pub(crate) enum Feed {
    /// It has introduced itself and asked for nothing.
    Greeting,
    /// A snapshot, for which a walk has to begin.
    Waiting {
        /// Since when.
        since: SteadyMillis,
    },
    /// The snapshot that is being written.
    Walking(Cursor),
    /// The rest of a snapshot, then the stream.
    Sending(Transfer, Cursor),
    /// The snapshot while it is being written.
    Streaming(Stream, Cursor),
    /// The stream, as soon as it says that it has the snapshot.
    Sent(Cursor),
    /// The stream, from the backlog.
    Online(Cursor),
    /// The stream, from the log's files, until it is in the backlog.
    CatchingUp(Place),
    /// Nothing more: it wanted the snapshot alone.
    Done,
}

/// A snapshot's file on its way.
pub(crate) struct Transfer {
    /// Where it is read.
    pub(crate) file: Box<dyn Read + Send>,
    /// Bytes of it that are to come.
    pub(crate) left: u64,
}

impl fmt::Debug for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer").field("left", &self.left).finish_non_exhaustive()
    }
}

/// A snapshot on its way while it is written.
pub(crate) struct Stream {
    /// Where it is read.
    pub(crate) reader: Reader,
    /// What is sent behind it.
    pub(crate) mark: Bytes,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// What a replica asks for instead of all data (`rdb-filter-only`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Nothing at all.
    Nothing,
    /// Functions.
    Functions,
}

/// What is known of a replica.
#[derive(Debug)]
pub(crate) struct Replica {
    /// The port that it says it listens on; 0 where it says none.
    pub(crate) port: u16,
    /// The address that it says it has; empty where it says none.
    pub(crate) address: String,
    /// Whether it goes on under a new history's name (`capa psync2`).
    pub(crate) understands_new_names: bool,
    /// Whether it takes a snapshot of unknown length, with a mark behind it (`capa eof`).
    pub(crate) takes_mark: bool,
    /// Whose form of a snapshot it reads, by the version that it says it has.
    pub(crate) reads: Dialect,
    /// Whether it wants a snapshot and no stream (redis-cli --rdb).
    pub(crate) snapshot_only: bool,
    /// The part of the data that it wants, if not all.
    pub(crate) part: Option<Part>,
    /// Whether it asked by SYNC: then nothing is said of history and offset.
    pub(crate) plain: bool,
    /// How much of the stream it has applied.
    pub(crate) acked: u64,
    /// How much of it is durable there, if it says so.
    pub(crate) durable: Option<Durable>,
    /// When it was last heard of, or took a part of its snapshot.
    pub(crate) heard: SteadyMillis,
    /// What it gets next.
    pub(crate) feed: Feed,
    /// What the socket hasn't taken of the last piece.
    pub(crate) piece: Bytes,
    /// Since when it has been behind by more than the soft limit, where it is.
    pub(crate) behind_since: Option<SteadyMillis>,
}

/// What a replica of ours says behind its durable offset (FACK) where that stands still.
pub(crate) const STANDS_STILL: [&[u8]; 2] = [b"appendfsync", b"no"];

/// What a replica says of its log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Durable {
    /// How much of the stream it has (FACK).
    pub(crate) at: u64,
    /// Whether more will be. Under `appendfsync no` only a full sync's base is, and what a rewrite makes one.
    pub(crate) goes_on: bool,
}

impl Replica {
    /// One that has said nothing yet.
    pub(crate) fn new(now: SteadyMillis) -> Self {
        Self {
            port: 0,
            address: String::new(),
            understands_new_names: false,
            takes_mark: false,
            reads: Dialect::Redis,
            snapshot_only: false,
            part: None,
            plain: false,
            acked: 0,
            durable: None,
            heard: now,
            feed: Feed::Greeting,
            piece: Bytes::new(),
            behind_since: None,
        }
    }

    /// Whether it has asked for the data: it is a client of the usual kind no more.
    pub(crate) fn is_fed(&self) -> bool {
        !matches!(self.feed, Feed::Greeting)
    }

    /// Whether it follows the stream.
    pub(crate) fn is_online(&self) -> bool {
        matches!(self.feed, Feed::Online(_) | Feed::CatchingUp(_))
    }

    /// The first byte of the stream that it still needs, where that is known.
    pub(crate) fn needs(&self) -> Option<u64> {
        match &self.feed {
            Feed::CatchingUp(place) => Some(place.offset),
            Feed::Walking(cursor)
            | Feed::Sending(_, cursor)
            | Feed::Streaming(_, cursor)
            | Feed::Sent(cursor)
            | Feed::Online(cursor) => Some(cursor.offset),
            Feed::Greeting | Feed::Waiting { .. } | Feed::Done => None,
        }
    }

    /// Its state as INFO tells it.
    pub(crate) fn state(&self) -> &'static str {
        match self.feed {
            Feed::Greeting | Feed::Waiting { .. } | Feed::Walking(_) | Feed::Streaming(..) => {
                "wait_bgsave"
            }
            Feed::Sending(..) | Feed::Sent(_) => "send_bulk",
            Feed::Online(_) | Feed::CatchingUp(_) => "online",
            Feed::Done => "rdb_transmitted",
        }
    }
}
