//! The log, the snapshot, and the way back from both.
//!
//! `docs/formats.md` draws every byte that is written here and in which order files are synced.
//! Nothing here knows the engine: it hands in records and chunks of bytes, and takes commands and
//! snapshots back through [`recover::Replay`].
//!
//! - [`frame`]: what was committed together as bytes; [`aof_encode`]: annotations, and older frames.
//! - [`manifest`]: which files make up the log.
//! - [`log`]: appending, group commit and syncing; [`rewrite`](log_rewrite) changes the files.
//! - [`detached`]: a base that no log follows.
//! - [`scan`]: a log file's pieces, each checked before it is believed.
//! - [`recover`]: a data directory's contents back into memory, and what may be cut off.
//! - [`ahead`]: the same on a thread of its own, in batches.
//! - [`tail`]: whether what is missing was only the unsynced end.
//! - [`snapshot`]: a file of RDB bytes, written on a thread; [`relay`]: the same to replicas' sockets;
//!   [`temporaries`]: what such a file is called before it is whole.
//! - [`aof_value`]: values as the commands that make them, for a base in commands.
//! - [`worker`]: that thread.
//! - [`stream_files`]: the stream read back from the files, for replicas that are behind.

pub(crate) mod ahead;
pub mod aof_encode;
mod aof_stream;
pub(crate) mod aof_value;
pub mod detached;
pub mod frame;
pub mod log;
pub mod log_rewrite;
pub mod manifest;
pub mod recover;
mod recover_error;
mod recover_notes;
mod recover_place;
pub mod relay;
pub mod scan;
pub mod snapshot;
pub mod stream_files;
pub mod tail;
pub(crate) mod temporaries;
pub mod worker;
