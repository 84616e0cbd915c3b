//! Clients that wait for a key: parking them, letting them try again, and sending them on their way
//! when their time is over. The last is the same for those that wait for what they wrote
//! ([`crate::engine::session::copies`]).
//!
//! A parked client keeps its command's words. When a key somebody waits for has changed, the clients
//! in that key's line run their commands again, first come first, each as a unit of its own, until
//! one finds nothing; that may ready further keys, and so on until none is. A client that still
//! finds nothing goes to the end of the lines with the deadline it had.

use std::collections::BTreeSet;

use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::wait::{NullReply, Wait};
use crate::data::value::Type;
use crate::engine::Engine;
use crate::engine::registry::CommandId;
use crate::engine::session::copies::{self, Copies};
use crate::engine::tick::transaction::Queued;
use crate::keyspace::databases::DbIndex;
use crate::mailbox::SessionId;

/// When a wait is given up, in milliseconds since the epoch; `None` for never.
#[derive(Clone, Copy, Debug)]
struct Deadline(Option<i64>);

/// What a client waits for.
#[derive(Debug)]
enum Awaited {
    /// A key; then its command runs again.
    Key { queued: Queued, command: CommandId, wait: Wait },
    /// Copies of what it wrote.
    Copies(Copies),
}

/// A client that waits.
#[derive(Debug)]
pub struct Parked {
    awaited: Awaited,
    deadline: Deadline,
}

/// The parked clients.
#[derive(Debug, Default)]
pub struct State {
    /// How many there are.
    count: usize,
    /// Those that give up some day, by when.
    deadlines: BTreeSet<(i64, SessionId)>,
    /// The deadline that a command under way had, where it is one that tries again.
    kept_deadline: Option<Deadline>,
    /// Those among the parked that wait for copies of what they wrote.
    pub(in crate::engine) copies: copies::State,
}

impl State {
    /// How many clients are parked.
    pub fn count(&self) -> usize {
        self.count
    }

    /// When the next one gives up, in milliseconds since the epoch.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.deadlines.first().map(|(at, _)| *at)
    }
}

/// With what a parked client is sent on, its command not having run again.
#[derive(Debug)]
pub enum Release {
    /// With what there is: nothing of a key, and the copies that it has. Its time is over, CLIENT
    /// UNBLOCK says so, or the copies are all there.
    Done,
    /// With an error.
    Error(CommandError),
}

impl Engine {
    /// A blocking command found nothing: the client waits, or is answered at once where nobody may.
    #[cold]
    pub(in crate::engine) fn park(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
        wait: Wait,
    ) {
        let now_ms = self.now().0;
        let session = &mut self.sessions[slot];
        if session.executing || session.replaying || session.outlet.is_none() {
            match wait.on_timeout {
                NullReply::BulkAtOnce => session.reply().null(),
                how => reply_nothing(&mut session.reply(), how),
            }
            return;
        }
        let fresh = || wait.timeout_ms.map(|timeout| now_ms.saturating_add_unsigned(timeout));
        let deadline = self.blocking.kept_deadline.unwrap_or_else(|| Deadline(fresh()));
        for index in wait.keys.clone() {
            self.databases.waits.wait(slot.0, session.db, args.at(index), wait.kind);
        }
        let queued = Queued::new(command, args);
        self.put_aside(slot, Awaited::Key { queued, command, wait }, deadline);
    }

    /// A client waits for copies of what it wrote, for so many milliseconds; 0 for ever.
    pub(in crate::engine) fn park_for_copies(
        &mut self,
        slot: SessionId,
        copies: Copies,
        timeout_ms: i64,
    ) {
        let at = (timeout_ms > 0).then(|| self.now().0.saturating_add(timeout_ms));
        self.blocking.copies.enter(slot);
        self.put_aside(slot, Awaited::Copies(copies), Deadline(at));
    }

    fn put_aside(&mut self, slot: SessionId, awaited: Awaited, deadline: Deadline) {
        if let Deadline(Some(at)) = deadline {
            self.blocking.deadlines.insert((at, slot));
        }
        self.blocking.count += 1;
        self.sessions[slot].parked = Some(Box::new(Parked { awaited, deadline }));
    }

    /// The copies that a client waits for, where it waits for any.
    pub(in crate::engine) fn awaited_copies(&self, slot: SessionId) -> Option<Copies> {
        match &self.sessions.get(slot)?.parked.as_ref()?.awaited {
            Awaited::Copies(copies) => Some(*copies),
            Awaited::Key { .. } => None,
        }
    }

    /// Takes a client out of all lines; it isn't parked any more.
    fn unpark(&mut self, slot: SessionId) -> Option<Box<Parked>> {
        let session = self.sessions.get_mut(slot)?;
        let parked = session.parked.take()?;
        match &parked.awaited {
            Awaited::Key { queued, wait, .. } => {
                for index in wait.keys.clone() {
                    self.databases.waits.leave(slot.0, session.db, queued.args().at(index));
                }
            }
            Awaited::Copies(_) => self.blocking.copies.leave(slot),
        }
        if let Deadline(Some(at)) = parked.deadline {
            self.blocking.deadlines.remove(&(at, slot));
        }
        self.blocking.count -= 1;
        Some(parked)
    }

    /// A client goes, parked or not.
    pub(in crate::engine) fn forget_parked(&mut self, slot: SessionId) {
        self.unpark(slot);
    }

    /// Lets the clients try again whose keys have changed. To be called between units.
    #[inline]
    pub(in crate::engine) fn serve_waiting(&mut self) {
        if self.databases.waits.any_ready() {
            self.serve_ready();
        }
    }

    #[cold]
    fn serve_ready(&mut self) {
        // What a long transaction pushed may have expired by its end.
        self.refresh_time();
        while self.databases.waits.any_ready() {
            for (db, key) in self.databases.waits.take_ready() {
                // Those that come back into the line while it is served wait for the next change.
                for (waiter, kind) in self.databases.waits.line(db, &key) {
                    if self.kind_of(db, &key) != Some(kind) {
                        continue;
                    }
                    self.try_again(SessionId(waiter));
                }
            }
        }
    }

    fn kind_of(&mut self, db: DbIndex, key: &[u8]) -> Option<Type> {
        self.databases.db(db).peek(key).map(|entry| entry.value().kind())
    }

    fn try_again(&mut self, slot: SessionId) {
        let Some(parked) = self.unpark(slot) else { return };
        // Only those that wait for a key stand in a key's line.
        let Awaited::Key { queued, command, .. } = parked.awaited else { return };
        let before = self.sessions[slot].out.len();
        self.sessions[slot].running = true;
        self.blocking.kept_deadline = Some(parked.deadline);
        let db = self.sessions[slot].db;
        let args = queued.args();
        let unit = self.begin_unit(slot);
        self.call(slot, command, args);
        // It was counted when it came.
        self.metrics.commands -= 1;
        self.metrics.by_command[command.0 as usize].calls -= 1;
        self.finish_command(unit, slot, db, args, None);
        self.blocking.kept_deadline = None;
        self.settle_reply(slot, before);
        self.mark_dirty(slot);
        self.go_on(slot);
    }

    /// Requests that came behind the blocking one may run now.
    fn go_on(&mut self, slot: SessionId) {
        let session = &self.sessions[slot];
        if session.parked.is_none() && !session.inbox.is_empty() {
            self.mark_resumable(slot);
        }
    }

    /// Sends a parked client on; false where it wasn't parked.
    pub(in crate::engine) fn release(&mut self, slot: SessionId, how: Release) -> bool {
        let Some(parked) = self.unpark(slot) else { return false };
        let before = self.sessions[slot].out.len();
        match (how, &parked.awaited) {
            (Release::Done, Awaited::Key { wait, .. }) => {
                reply_nothing(&mut self.sessions[slot].reply(), wait.on_timeout);
            }
            (Release::Done, Awaited::Copies(copies)) => self.tell_copies(slot, *copies),
            (Release::Error(error), _) => {
                let text = error.wire();
                self.metrics.count_error(&text);
                self.sessions[slot].reply().error_bytes(&text);
            }
        }
        self.settle_reply(slot, before);
        self.mark_dirty(slot);
        self.go_on(slot);
        true
    }

    /// Sends those on whose time is over.
    pub(in crate::engine) fn release_overdue(&mut self) {
        let now_ms = self.now().0;
        while let Some(&(deadline, slot)) = self.blocking.deadlines.first() {
            if deadline > now_ms || !self.release(slot, Release::Done) {
                break;
            }
        }
    }
}

fn reply_nothing(reply: &mut crate::resp::reply::Reply<'_>, how: NullReply) {
    match how {
        NullReply::Bulk => reply.null(),
        NullReply::Array | NullReply::BulkAtOnce => reply.null_array(),
    }
}
