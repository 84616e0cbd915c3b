//! What is known of snapshots, rewrites and loading: what walks, what is wanted, and what INFO tells.

use crate::base::env::SteadyMillis;
use crate::engine::keep::load_slices::{Load, Progress};
use crate::engine::keep::walks::{Walk, Wanted};
use crate::mailbox::SessionId;
use crate::persist::manifest::Layout;

/// What is known of snapshots and rewrites.
#[derive(Debug)]
pub struct State {
    /// What walks over the keyspace.
    pub walk: Walk,
    /// What is to walk.
    pub wanted: Wanted,
    /// Sessions whose commands wait for the walk's writer.
    pub(in crate::engine) paced: Vec<SessionId>,
    /// Changes since the last snapshot.
    pub(crate) dirty: u64,
    /// When the last snapshot was complete, in seconds since the epoch.
    pub(crate) last_save_seconds: i64,
    /// The same on the clock that `save` points go by.
    pub(in crate::engine) last_save: SteadyMillis,
    /// Whether the last snapshot in the background succeeded.
    pub last_save_ok: bool,
    /// How long the last background snapshot took, in seconds; -1 where there was none.
    pub(crate) last_save_took: i64,
    /// Snapshots written.
    pub saves: u64,
    /// Whether the last rewrite succeeded.
    pub(crate) last_rewrite_ok: bool,
    /// How long the last rewrite took, in seconds; -1 where there was none.
    pub(crate) last_rewrite_took: i64,
    /// Rewrites done.
    pub rewrites: u64,
    /// Rewrites that failed since the last that didn't.
    pub rewrites_failed_in_a_row: u64,
    /// Bytes of the log at the last rewrite, for its growth.
    pub(crate) log_base_bytes: u64,
    /// Where the log is that was turned off, and whose manifest doesn't say so yet.
    pub(in crate::engine) log_left: Option<Layout>,
    /// What is known of what was loaded last.
    pub(in crate::engine) loaded: Loaded,
    /// Whether data is being loaded.
    pub loading: bool,
    /// How far loading is, or was when it ended.
    pub progress: Progress,
    /// The loading under way, where clients are served meanwhile.
    pub(in crate::engine) load: Option<Load>,
}

/// What is known of what was loaded last.
#[derive(Debug, Default)]
pub(in crate::engine) struct Loaded {
    /// Keys that the snapshots brought.
    pub(in crate::engine) keys: u64,
    /// Keys that they held but whose time had come.
    pub(in crate::engine) expired: u64,
    /// Those of them that replicas are to be told of, and their bytes.
    pub(in crate::engine) due: Vec<(u32, Box<[u8]>)>,
    pub(in crate::engine) due_bytes: u64,
    /// The database that the stream has selected where what was loaded ends.
    pub(in crate::engine) stream_db: u32,
    /// Whether what is being loaded is a snapshot by itself, not the base of a log.
    pub(in crate::engine) is_snapshot: bool,
    /// Whether a key or library that is there already ends the load.
    pub(in crate::engine) refuses_known: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            walk: Walk::Idle,
            wanted: Wanted::default(),
            paced: Vec::new(),
            dirty: 0,
            last_save_seconds: 0,
            last_save: SteadyMillis::default(),
            last_save_ok: true,
            last_save_took: -1,
            saves: 0,
            last_rewrite_ok: true,
            last_rewrite_took: -1,
            rewrites: 0,
            rewrites_failed_in_a_row: 0,
            log_base_bytes: 0,
            log_left: None,
            loaded: Loaded::default(),
            loading: false,
            progress: Progress::default(),
            load: None,
        }
    }
}

impl State {
    /// Whether a snapshot is being written in the background.
    pub fn saving(&self) -> bool {
        matches!(self.walk, Walk::Save(_))
    }

    /// Whether data is being loaded beside those that clients are served.
    pub(crate) fn loads_beside(&self) -> bool {
        self.load.as_ref().is_some_and(Load::serves)
    }

    /// Whether a rewrite or a first base is wanted that is not under way.
    pub fn rewrite_scheduled(&self) -> bool {
        let wanted = self.wanted.rewrite.is_wanted() || self.wanted.first_base.is_wanted();
        wanted && !self.walk.is_rewrite()
    }
}
