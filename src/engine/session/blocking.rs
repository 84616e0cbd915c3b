//! Clients that wait for a key: parking them, letting them try again, and answering them when their
//! time is over. The last is the same for those that wait for copies of what they wrote
//! ([`crate::engine::session::copies`]).
//!
//! A parked client keeps its command's words. When a key that clients wait for has changed, the
//! clients in that key's line run their commands again, first come first, each as a unit of its own,
//! as long as the key holds what they wait for: a push costs what it serves, not what waits. That
//! may ready further keys, and so on until none is. A client that still finds nothing keeps its
//! place and its deadline. Some commands find something by time alone and say when
//! ([`Wait::again_ms`]): then they run again, too, but not during a pause, for they write.
//!
//! What belongs to the waiting request stays with it: its deadline, the time it has taken, and
//! CLIENT REPLY's mode, which moves on when the command is answered (`Engine::end_request`).

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use crate::base::env::SteadyMillis;
use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::Flow;
use crate::command::wait::{NullReply, Wait};
use crate::engine::Engine;
use crate::engine::migrate::{self, Migration};
use crate::engine::registry::CommandId;
use crate::engine::replicate::farewell;
use crate::engine::session::Doing;
use crate::engine::session::copies::{self, Copies};
use crate::engine::session::run::Run;
use crate::engine::tick::transaction::Queued;
use crate::keyspace::databases::DbIndex;
use crate::keyspace::waits::{Awaited as WaitedFor, Ticket};
use crate::mailbox::SessionId;

/// By how much a try is put off while those that write are paused.
const PUT_OFF_MS: i64 = 20;

/// What a client waits for.
#[derive(Debug)]
enum Awaited {
    /// A key; then its command runs again.
    Key { queued: Queued, command: CommandId, wait: Wait },
    /// Copies of what it wrote.
    Copies(Copies),
    /// Its errand's end.
    Errand(Box<Migration>),
    /// The server's.
    End,
}

/// A client that waits.
#[derive(Debug)]
pub struct Parked {
    awaited: Awaited,
    /// When it gives up; `None` for never.
    deadline: Option<SteadyMillis>,
    /// When its command runs again whatever happens; `None` for never.
    again: Option<SteadyMillis>,
    /// Its place in the lines of its keys.
    ticket: Ticket,
    /// What its command has taken so far, in ticks of the stopwatch.
    spent: u64,
}

impl Parked {
    /// When something is to be done for it.
    fn alarm(&self) -> Option<SteadyMillis> {
        self.deadline.into_iter().chain(self.again).min()
    }
}

/// The parked clients.
#[derive(Debug, Default)]
pub struct State {
    /// How many there are.
    count: usize,
    /// The last ticket given.
    tickets: Ticket,
    /// Those that give up some day, or try again, by when.
    deadlines: BTreeSet<(SteadyMillis, SessionId)>,
    /// MIGRATE's part.
    pub(in crate::engine) errands: migrate::State,
    /// Those among the parked that wait for copies of what they wrote.
    pub(in crate::engine) copies: copies::State,
}

impl State {
    /// How many clients are parked.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// When the next one gives up or tries again.
    pub(crate) fn next_deadline(&self) -> Option<SteadyMillis> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.tickets
    }
}

/// With what a parked client is answered, its command not having run again.
#[derive(Debug)]
pub(crate) enum Release {
    /// With what there is: nothing of a key, and the copies that it has. Its time is over, CLIENT
    /// UNBLOCK says so, or the copies are all there.
    Done,
    /// With an error.
    Error(CommandError),
}

impl Engine {
    /// A blocking command found nothing: the client waits, or is answered at once where it may not.
    /// `spent` is what the command has taken, in ticks of the stopwatch.
    #[cold]
    pub(in crate::engine) fn park(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
        wait: Wait,
        spent: u64,
    ) {
        let session = &mut self.sessions[slot];
        if !session.may_wait() {
            match wait.on_timeout {
                NullReply::BulkAtOnce => session.reply().null(),
                NullReply::Array => session.reply().null_array(),
            }
            return;
        }
        if !self.may_stand_still(slot) {
            return;
        }
        let now = self.steady();
        let deadline = wait.timeout_ms.map(|timeout| now.later(timeout.cast_signed()));
        let queued = match &wait.words {
            None => Queued::new(command, args),
            Some(words) => Queued::of_words(command, words.iter().map(Vec::as_slice)),
        };
        let ticket = self.blocking.ticket();
        let again = self.next_try(&wait);
        let awaited = Awaited::Key { queued, command, wait };
        self.enter_lines(slot, Box::new(Parked { awaited, deadline, again, ticket, spent }));
    }

    /// When a command runs again for which time alone may bring something. Where the clock on the wall is
    /// put back meanwhile, that try finds nothing and says anew when.
    fn next_try(&self, wait: &Wait) -> Option<SteadyMillis> {
        let left = |at: i64| at.saturating_sub(self.now().0).max(1);
        wait.again_ms.map(|at| self.steady().later(left(at)))
    }

    /// A client waits for copies of what it wrote, for so many milliseconds; 0 for ever.
    pub(in crate::engine) fn park_for_copies(
        &mut self,
        slot: SessionId,
        copies: Copies,
        timeout_ms: i64,
    ) {
        if !self.may_stand_still(slot) {
            return;
        }
        let deadline = (timeout_ms > 0).then(|| self.steady().later(timeout_ms));
        let ticket = self.blocking.ticket();
        let awaited = Awaited::Copies(copies);
        let parked = Parked { awaited, deadline, again: None, ticket, spent: 0 };
        self.enter_lines(slot, Box::new(parked));
    }

    /// A client waits for its errand's end.
    pub(in crate::engine) fn park_for_errand(&mut self, slot: SessionId, errand: Box<Migration>) {
        if !self.may_stand_still(slot) {
            return;
        }
        let (ticket, awaited) = (self.blocking.ticket(), Awaited::Errand(errand));
        let parked = Parked { awaited, deadline: None, again: None, ticket, spent: 0 };
        self.enter_lines(slot, Box::new(parked));
    }

    /// A client has asked for the server's end, which waits for replicas.
    pub(in crate::engine) fn park_for_end(&mut self, slot: SessionId) {
        if self.sessions[slot].may_wait() && self.may_stand_still(slot) {
            let (ticket, awaited) = (self.blocking.ticket(), Awaited::End);
            let parked = Parked { awaited, deadline: None, again: None, ticket, spent: 0 };
            self.enter_lines(slot, Box::new(parked));
        }
    }

    /// The errand of a client that waits for one; it waits no more then.
    pub(in crate::engine) fn take_errand_of(&mut self, slot: SessionId) -> Option<Box<Migration>> {
        let run = &self.sessions.get(slot)?.run;
        let waits =
            matches!(run, Run::Parked(parked) if matches!(parked.awaited, Awaited::Errand(_)));
        match waits.then(|| self.leave_run(slot))? {
            Run::Parked(parked) => match parked.awaited {
                Awaited::Errand(errand) => Some(errand),
                _ => None,
            },
            _ => None,
        }
    }

    /// Parks a client: it stands in the lines of what it waits for.
    fn enter_lines(&mut self, slot: SessionId, parked: Box<Parked>) {
        let db = self.sessions[slot].db;
        match &parked.awaited {
            Awaited::Key { queued, wait, .. } => {
                // It counts as executed when it is answered: the next try counts it again.
                self.sessions[slot].traffic.commands -= 1;
                let args = queued.args();
                for index in wait.keys.clone() {
                    let waiter = (parked.ticket, slot.0);
                    self.databases.waits.wait(waiter, db, args.at(index), &wait.awaited);
                }
            }
            Awaited::Copies(copies) => self.blocking.copies.enter(slot, *copies),
            Awaited::Errand(errand) => self.enter_errand(errand, slot),
            Awaited::End => {
                if let Some(waiting) = &mut self.shutdown.waiting {
                    waiting.clients.push(slot);
                }
            }
        }
        if let Some(at) = parked.alarm() {
            self.blocking.deadlines.insert((at, slot));
        }
        self.blocking.count += 1;
        self.stop(slot, Run::Parked(parked));
    }

    /// Takes a client out of the lines of what it waited for.
    pub(in crate::engine) fn leave_lines(&mut self, slot: SessionId, parked: &Parked) {
        let db = self.sessions[slot].db;
        match &parked.awaited {
            Awaited::Key { queued, wait, .. } => {
                for index in wait.keys.clone() {
                    let key = queued.args().at(index);
                    self.databases.waits.leave(parked.ticket, db, key, &wait.awaited);
                }
            }
            Awaited::Copies(copies) => self.blocking.copies.leave(slot, *copies),
            Awaited::Errand(errand) => self.leave_errand(errand),
            Awaited::End => {
                if let Some(waiting) = &mut self.shutdown.waiting {
                    waiting.clients.retain(|one| *one != slot);
                }
            }
        }
        if let Some(at) = parked.alarm() {
            self.blocking.deadlines.remove(&(at, slot));
        }
        self.blocking.count -= 1;
    }

    /// The copies that a client waits for, where it waits for any.
    pub(in crate::engine) fn awaited_copies(&self, slot: SessionId) -> Option<Copies> {
        match &self.sessions.get(slot)?.run {
            Run::Parked(parked) => match parked.awaited {
                Awaited::Copies(copies) => Some(copies),
                Awaited::Key { .. } | Awaited::Errand(_) | Awaited::End => None,
            },
            _ => None,
        }
    }

    /// Lets the clients try again whose keys have changed; those of a transaction that began a pause, when
    /// that is over. To be called between units.
    #[inline]
    pub(in crate::engine) fn serve_waiting(&mut self) {
        if self.databases.waits.any_ready() && !self.is_busy() {
            self.serve_ready();
        }
    }

    #[cold]
    fn serve_ready(&mut self) {
        if self.is_paused() {
            return;
        }
        // What a long transaction pushed may have expired by its end.
        self.refresh_time();
        while self.databases.waits.any_ready() {
            for (db, key) in self.databases.waits.take_ready() {
                self.serve_line(db, &key);
            }
        }
    }

    /// Lets those try again, in the order in which they came, for whom a key holds what they wait for.
    fn serve_line(&mut self, db: DbIndex, key: &[u8]) {
        let all = self.databases.waits.awaited(db, key);
        // Of each kind that is waited for, the first client that wasn't looked at.
        let first = |(kind, awaited)| {
            let (ticket, waiter) = self.databases.waits.next(db, key, awaited, 0)?;
            Some(Reverse((ticket, waiter, kind)))
        };
        let mut next: BinaryHeap<_> = all.iter().enumerate().filter_map(first).collect();
        while let Some(Reverse((ticket, waiter, kind))) = next.pop() {
            let awaited = &all[kind];
            // Where there is nothing any more for one, there is nothing for those behind it.
            if !self.is_met(db, key, awaited) {
                continue;
            }
            self.try_again(SessionId(waiter));
            if let Some((ticket, waiter)) = self.databases.waits.next(db, key, awaited, ticket + 1)
            {
                next.push(Reverse((ticket, waiter, kind)));
            }
        }
    }

    fn is_met(&mut self, db: DbIndex, key: &[u8], awaited: &WaitedFor) -> bool {
        // A key whose time has come goes now.
        self.databases.db(db).peek(key);
        awaited.is_met_by(self.databases.value(db, key))
    }

    /// Runs a parked client's command again, as a unit of its own.
    fn try_again(&mut self, slot: SessionId) {
        let Run::Parked(mut parked) = self.leave_run(slot) else {
            debug_assert!(false, "only parked clients stand in a key's line");
            return;
        };
        // Only those that wait for a key stand in a key's line.
        let Awaited::Key { queued, command, .. } = &parked.awaited else { return };
        let (command, before) = (*command, self.sessions[slot].output.buffer.len());
        self.sessions[slot].doing = Doing::Command;
        let db = self.sessions[slot].db;
        let args = queued.args();
        let began = self.latency_begins();
        let unit = self.begin_unit(slot);
        let (result, took) = self.invoke(slot, command, args);
        self.observe.hotkeys.enter_retry(before, took);
        // The call was counted when it came, and what it took then.
        self.metrics.by_command[command.0 as usize].ticks += took;
        let mut again = None;
        let served = match result {
            Ok(Flow::Block(wait)) => {
                again = self.next_try(&wait);
                false
            }
            Ok(Flow::Done) => true,
            Err(error) => {
                self.answer_error(slot, command, &error);
                true
            }
        };
        if served {
            self.note_duration(slot, command, args, parked.spent + took);
        }
        self.after_call(slot, command, args);
        self.finish_command(unit, slot, db, args, None);
        if served {
            self.note_latency("command-unblocking", began);
            self.keep_large_reply(slot, command, args, before);
            self.end_request(slot, before);
            self.tick.resumed.push_back(slot);
        } else {
            parked.spent += took;
            parked.again = again;
            self.sessions[slot].doing = Doing::Nothing;
            self.enter_lines(slot, parked);
            self.sessions[slot].output.release_deferred();
        }
    }

    /// Answers a parked client and resumes it; false where it wasn't parked.
    pub(in crate::engine) fn release(&mut self, slot: SessionId, how: Release) -> bool {
        if !matches!(self.sessions.get(slot).map(|session| &session.run), Some(Run::Parked(_))) {
            return false;
        }
        let Run::Parked(parked) = self.leave_run(slot) else { return false };
        let before = self.sessions[slot].output.buffer.len();
        // It tells that a key holds nothing, or is gone.
        self.sessions[slot].output.shows_data |= matches!(parked.awaited, Awaited::Key { .. });
        match (how, &parked.awaited) {
            (Release::Done, Awaited::Key { .. }) => self.sessions[slot].reply().null_array(),
            (Release::Done, Awaited::Copies(copies)) => self.tell_copies(slot, *copies),
            (Release::Error(error), Awaited::Key { command, .. }) => {
                self.answer_error(slot, *command, &error);
            }
            (Release::Done, Awaited::Errand(_)) => self.give_up_errand(slot),
            (Release::Done, Awaited::End) => {
                self.sessions[slot].reply().error_bytes(&farewell::FAILED.wire());
            }
            (Release::Error(error), _) => match self.sessions[slot].traffic.last_command {
                Some(command) => self.answer_error(slot, command, &error),
                None => self.sessions[slot].reply().error_bytes(&error.wire()),
            },
        }
        if let Awaited::Key { queued, command, .. } = &parked.awaited {
            self.note_duration(slot, *command, queued.args(), parked.spent);
        }
        self.end_request(slot, before);
        self.tick.resumed.push_back(slot);
        true
    }

    /// Answers those whose time is over, and lets those try again for whom time may have brought
    /// something.
    pub(in crate::engine) fn release_overdue(&mut self) {
        let now = self.steady();
        while let Some(&(at, slot)) = self.blocking.deadlines.first() {
            if at > now {
                break;
            }
            let gives_up_later = self.gives_up_later(slot, now);
            if gives_up_later && self.is_paused() {
                self.try_later(slot, now);
            } else if gives_up_later {
                self.try_again(slot);
                self.serve_waiting();
            } else if !self.release(slot, Release::Done) {
                break;
            }
        }
    }

    /// Puts the next try off of a client whose command would write, while those that write are paused.
    fn try_later(&mut self, slot: SessionId, now: SteadyMillis) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let Run::Parked(parked) = &mut session.run else { return };
        let alarm = parked.alarm();
        parked.again = Some(now.later(PUT_OFF_MS));
        let deadlines = &mut self.blocking.deadlines;
        alarm.map(|at| deadlines.remove(&(at, slot)));
        parked.alarm().map(|at| deadlines.insert((at, slot)));
    }

    fn gives_up_later(&self, slot: SessionId, now: SteadyMillis) -> bool {
        match self.sessions.get(slot).map(|session| &session.run) {
            Some(Run::Parked(parked)) => parked.deadline.is_none_or(|at| at > now),
            _ => false,
        }
    }
}
