//! The end of a unit: from what it changed to what the log says.
//!
//! `Engine::finish_unit` is the only place where a unit ends, and only the guard of whoever began it
//! gets there. A unit's records are those that handlers and lazy expiry wrote, then the command as it came
//! where that is its effect; several are wrapped in MULTI and EXEC, so that they are recovered
//! together or not at all. The journal gets them at once; it is sealed at the end of the tick.

use crate::command::args::Args;
use crate::engine::Engine;
use crate::keyspace::databases::DbIndex;
use crate::keyspace::unit::{Origin, Unit, UnitGuard};
use crate::mailbox::SessionId;
use crate::resp::record::push_command;

impl Engine {
    /// Begins a unit of a session, or joins the one under way.
    pub(in crate::engine) fn begin_unit(&mut self, slot: SessionId) -> UnitGuard {
        self.databases.unit.begin(Origin::Session(self.sessions[slot].id))
    }

    /// Begins a unit of the server's own (expiry, eviction), or joins the one under way.
    pub(in crate::engine) fn begin_own_unit(&mut self) -> UnitGuard {
        self.databases.unit.begin(Origin::Server)
    }

    /// Ends a unit of the server's own; what it did in a unit of somebody else's stays there.
    pub(in crate::engine) fn finish_own_unit(&mut self, guard: UnitGuard) {
        self.finish_unit(guard, DbIndex(0), Args::new(&[], &[]), None);
    }

    /// Ends the unit of a client's command, and remembers how far the log has come with it.
    #[inline]
    pub(in crate::engine) fn finish_command(
        &mut self,
        guard: UnitGuard,
        slot: SessionId,
        db: DbIndex,
        args: Args<'_>,
        encoded: Option<&[u8]>,
    ) {
        let before = self.offset();
        if self.finish_unit(guard, db, args, encoded)
            && self.offset() > before
            && let Some(session) = self.sessions.get_mut(slot)
        {
            session.written = self.journal.offset();
        }
    }

    /// Ends the unit: what changed goes into the log, and who watched it learns of it. False where
    /// nothing changed, or the unit is somebody else's and goes on.
    #[inline]
    pub(in crate::engine) fn finish_unit(
        &mut self,
        guard: UnitGuard,
        db: DbIndex,
        args: Args<'_>,
        encoded: Option<&[u8]>,
    ) -> bool {
        self.publish_notices();
        if !self.databases.unit.finish(guard) {
            return false;
        }
        let unit = &self.databases.unit;
        if unit.is_blank() && !self.databases.watches.any_broken() {
            // Nothing happened: a reading command, nearly always.
            debug_assert!(!unit.verbatim, "a command that goes into the log changed something");
            return false;
        }
        self.commit(db, args, encoded);
        true
    }

    /// What a command that is no part of a transaction has done so far becomes a unit, so that its
    /// account doesn't grow with its work. Only for one whose single steps mean something by themselves.
    pub(in crate::engine) fn divide_unit(&mut self) {
        if self.databases.unit.is_single() {
            self.publish_notices();
            self.commit(DbIndex(0), Args::new(&[], &[]), None);
        }
    }

    /// What the unit under way has done so far becomes one, before the stream becomes another's: it is of
    /// the stream that it was done in.
    pub(in crate::engine) fn commit_so_far(&mut self) {
        if self.databases.unit.is_open() && !self.databases.unit.is_blank() {
            self.publish_notices();
            self.commit(DbIndex(0), Args::new(&[], &[]), None);
        }
    }

    #[inline]
    fn commit(&mut self, db: DbIndex, args: Args<'_>, encoded: Option<&[u8]>) {
        let unit = &mut self.databases.unit;
        if unit.verbatim && unit.recording && unit.record_count() > 0 {
            // Behind the records that came before it, e.g. a key that expired on the way.
            record_command(unit, db, args, encoded);
            unit.verbatim = false;
        }
        self.persistence.dirty += unit.changes;
        if unit.recording {
            let journal = &mut self.journal;
            match unit.record_count() {
                0 if unit.verbatim => match encoded {
                    Some(bytes) => journal.append(db.0, bytes),
                    None => {
                        let mut bytes = Vec::new();
                        push_command(&mut bytes, args.from(0));
                        journal.append(db.0, &bytes);
                    }
                },
                0 => {}
                1 => unit.records().for_each(|(db, record)| journal.append(db.0, record)),
                _ => journal.append_unit(unit.records().map(|(db, record)| (db.0, record))),
            }
        }
        let emptied = unit.emptied;
        unit.clear();
        if emptied {
            self.save_emptiness();
        }
        if self.databases.watches.any_broken() {
            self.break_watches();
        }
    }

    /// A command of a transaction is done: what it changed joins the transaction's unit.
    pub(in crate::engine) fn join_unit(
        &mut self,
        db: DbIndex,
        args: Args<'_>,
        encoded: Option<&[u8]>,
    ) {
        let unit = &mut self.databases.unit;
        if unit.verbatim {
            record_command(unit, db, args, encoded);
            unit.verbatim = false;
        }
    }

    fn break_watches(&mut self) {
        for watcher in self.databases.watches.take_broken() {
            if let Some(slot) = self.sessions.find(watcher) {
                self.sessions[slot].watching.broken = true;
            }
        }
    }
}

fn record_command(unit: &mut Unit, db: DbIndex, args: Args<'_>, encoded: Option<&[u8]>) {
    match encoded {
        Some(bytes) => unit.record_encoded(db, bytes),
        None => unit.record_words(db, args.from(0)),
    }
}
