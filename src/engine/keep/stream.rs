//! Who reads the journal: the log, and replicas by the backlog. Changes are recorded while either does.

use crate::engine::Engine;
use crate::journal::{ReplicationId, StreamPosition};
use crate::resp::record::push_command;

impl Engine {
    /// To be called when a reader of the journal has come or gone.
    pub(in crate::engine) fn note_readers(&mut self) {
        let on = self.log.is_some() || self.journal.has_backlog();
        // A replica's stream is its primary's: what it is let write itself is in no stream.
        self.databases.unit.recording = on && !self.is_replica();
        let rng = &mut self.rng;
        self.journal.set_recording(on, || ReplicationId::random(rng));
        let id = self.journal.history().id;
        if let Some(log) = &mut self.log {
            log.set_history(id);
        }
    }

    /// After loading: the stream goes on from where the data is, under a history of its own.
    pub(in crate::engine) fn resume_stream(&mut self, recovered: Option<StreamPosition>) {
        let due = std::mem::take(&mut self.persistence.loaded.due);
        // Keys whose time had come were left out, and a log that begins with what is there can't say so.
        let recovered = recovered.filter(|_| due.is_empty() || !self.settings.appendonly);
        let id = ReplicationId::random(&mut self.rng);
        self.journal.resume(id, recovered);
        if recovered.is_some() && !self.settings.appendonly {
            // There was a reader, and no log to serve it from: replicas may come back.
            self.keep_backlog();
            let mut record = Vec::new();
            for (db, key) in due {
                record.clear();
                push_command(&mut record, [&b"DEL"[..], &key].into_iter());
                self.journal.append(db, &record);
            }
        }
    }

    /// Keeps the newest bytes of the stream for replicas. Where there was neither a backlog nor a log, a
    /// history begins.
    pub fn keep_backlog(&mut self) {
        self.journal.keep_backlog(self.settings.repl_backlog_size);
        self.replication.backlog_used = self.steady();
        self.note_readers();
    }

    /// Frees the backlog when no replica has come for `repl-backlog-ttl` seconds; 0 for never. A replica keeps
    /// it: without a log nothing else says where it is in its primary's stream.
    pub(in crate::engine) fn stream_cron(&mut self) {
        self.bound_superseded();
        let ttl_ms = (self.settings.repl_backlog_ttl as i64).saturating_mul(1000);
        let unused_ms = self.steady().since(self.replication.backlog_used);
        let unused = self.replication.replicas.is_empty() && !self.is_replica();
        if unused && self.journal.has_backlog() && ttl_ms > 0 && unused_ms > ttl_ms {
            tracing::info!(
                "Replication backlog freed after {} seconds without connected replicas.",
                self.settings.repl_backlog_ttl
            );
            self.journal.drop_backlog();
            self.note_readers();
        }
    }

    /// Gives the history a new name.
    pub(in crate::engine) fn change_history(&mut self) {
        self.journal.change_id(ReplicationId::random(&mut self.rng));
        self.note_readers();
    }

    /// Where the stream is that stands for the data now. Nothing where it doesn't follow the data, or in
    /// the midst of a unit.
    pub(in crate::engine) fn stream_position(&self) -> Option<StreamPosition> {
        self.journal.position().filter(|_| self.databases.unit.is_blank())
    }
}
