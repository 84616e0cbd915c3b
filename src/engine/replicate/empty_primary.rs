//! A primary that has lost its data doesn't empty its replicas (`repl-allow-empty-primary`).
//!
//! Upstream's known trap: a primary without files is started again by its supervisor before anybody
//! notices, and its replicas take over that it has nothing. Refused is a snapshot without a key, of
//! another history than ours, from the server that our data came from; not one from a server that
//! somebody has just named by REPLICAOF, and not one that says that the same history has become empty.

use std::path::Path;

use crate::base::env::UnixMillis;
use crate::engine::Engine;
use crate::journal::StreamPosition;
use crate::persist::recover::{self, Replay};
use crate::rdb::{Access, OwnedValue};

impl Engine {
    /// Refuses a snapshot that has come, where it would only empty us.
    pub(in crate::engine) fn refuse_emptiness(
        &mut self,
        path: &Path,
        position: StreamPosition,
    ) -> Result<(), String> {
        let is_source = self.replication.upstream.as_ref().is_some_and(|one| one.is_source);
        let may_empty = self.settings.repl_allow_empty_primary
            || !is_source
            || self.journal.history().id == position.id
            || self.databases.total_keys() == 0;
        if may_empty || !self.holds_no_key(path) {
            return Ok(());
        }
        self.note_failed_sync();
        Err(format!(
            "The primary has no keys and another history than before: it seems to have lost its data. \
             The {} keys here stay. With 'repl-allow-empty-primary yes', or after REPLICAOF NO ONE and \
             another REPLICAOF, they would go",
            self.databases.total_keys()
        ))
    }

    /// Whether a snapshot is one without keys. What can't be read is no such thing.
    fn holds_no_key(&self, path: &Path) -> bool {
        let mut options = self.snapshot_options(path);
        options.appendonly = false;
        let mut seen = AnyKey(false);
        recover::recover(&self.env, &options, &mut seen).is_ok() && !seen.0
    }
}

/// Looks whether a snapshot holds a key.
struct AnyKey(bool);

impl Replay for AnyKey {
    fn begin_file(&mut self, _: &Path) {}

    fn entry(
        &mut self,
        _: u32,
        _: Vec<u8>,
        _: OwnedValue,
        _: Option<UnixMillis>,
        _: Access,
    ) -> Result<(), String> {
        self.0 = true;
        Err("it holds a key".to_owned())
    }

    fn command(&mut self, _: &[&[u8]]) -> Result<(), String> {
        Ok(())
    }
}
