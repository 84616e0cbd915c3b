//! From what a unit changed to what the log says.
//!
//! A unit's records are those that handlers and lazy expiry wrote, then the command as it came
//! where that is its effect; several are wrapped in MULTI and EXEC, so that they are recovered
//! together or not at all. The log gets them at once; it is written at the end of the tick.

use crate::command::args::Args;
use crate::engine::Engine;
use crate::keyspace::databases::DbIndex;
use crate::resp::record::push_command;

impl Engine {
    /// Ends a unit that did something.
    pub(in crate::engine) fn commit(
        &mut self,
        db: DbIndex,
        args: Args<'_>,
        encoded: Option<&[u8]>,
    ) {
        let unit = &mut self.databases.unit;
        if unit.verbatim && unit.recording && unit.record_count() > 0 {
            // Behind the records that came before it, e.g. a key that expired on the way.
            record_command(unit, db, args, encoded);
            unit.verbatim = false;
        }
        self.persistence.dirty += unit.changes;
        if let Some(log) = &mut self.log {
            match unit.record_count() {
                0 if unit.verbatim => match encoded {
                    Some(bytes) => log.append(db.0, bytes),
                    None => {
                        let mut bytes = Vec::new();
                        push_command(&mut bytes, args.from(0));
                        log.append(db.0, &bytes);
                    }
                },
                0 => {}
                1 => unit.records().for_each(|(db, record)| log.append(db.0, record)),
                _ => log.append_unit(unit.records().map(|(db, record)| (db.0, record))),
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

    /// Ends a unit that no client's command began: expiry, eviction, what cron does.
    pub(in crate::engine) fn commit_internal(&mut self) {
        self.commit_unit(DbIndex(0), Args::new(&[], &[]), None);
    }

    fn break_watches(&mut self) {
        for watcher in self.databases.watches.take_broken() {
            if let Some(slot) = self.sessions.find(watcher) {
                self.sessions[slot].watching.broken = true;
            }
        }
    }
}

fn record_command(
    unit: &mut crate::keyspace::unit::Unit,
    db: DbIndex,
    args: Args<'_>,
    encoded: Option<&[u8]>,
) {
    match encoded {
        Some(bytes) => unit.record_encoded(db, bytes),
        None => {
            let words: Vec<&[u8]> = args.from(0).collect();
            unit.record(db, &words);
        }
    }
}
