//! WAIT and WAITAOF: clients that wait until what they wrote is kept, on this disk or elsewhere. CAUSAL WAIT
//! (`replicate::causal`) waits in the same line, for what was written elsewhere to be here.
//!
//! A client's last change ends at some place in the log ([`Session::written`]), and is kept here once
//! the log is durable up to there. Nothing is hurried on a client's behalf: under `everysec` the next
//! sync answers it, and under `no` there may be none before the next rewrite. Replicas are asked at once
//! how far they are (REPLCONF GETACK), and their words are looked at when they come.
//!
//! [`Session::written`]: crate::engine::session::Session::written

use std::collections::BTreeSet;

use crate::base::mutation::{self, Mutation};
use crate::base::text;
use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{Arity::Exactly, Command, Flow, Group, control};
use crate::engine::replicate::causal::OTHER_HISTORY;
use crate::engine::session::LogOffset;
use crate::engine::session::blocking::Release;
use crate::engine::{ControlHandler, Engine};
use crate::journal::StreamPosition;
use crate::mailbox::SessionId;

const SHARDED: &[&str] = &["request_policy:all_shards", "response_policy:agg_min"];
const NO_LOG: CommandError = CommandError::text(
    "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
);

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] = &[
    control("WAIT", Exactly(3), wait as ControlHandler)
        .group(Group::Generic)
        .categories(&["connection"])
        .tips(SHARDED)
        .since("3.0.0")
        .syntax("numreplicas timeout")
        .summary("Waits until so many replicas have this client's writes."),
    control("WAITAOF", Exactly(4), wait_for_logs as ControlHandler)
        .group(Group::Generic)
        .categories(&["connection"])
        .tips(SHARDED)
        .since("7.2.0")
        .syntax("numlocal numreplicas timeout")
        .summary("Waits until this client's writes are durable, here or on so many replicas."),
];

/// The copies that a client wants of what it wrote.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Copies {
    /// In the memory of so many replicas: WAIT.
    Replicas(i64),
    /// In the log here, where that is asked for, and in those of so many replicas: WAITAOF.
    Logs {
        /// Whether this server's log counts.
        here: bool,
        /// How many replicas.
        replicas: i64,
    },
    /// What a token stands for, on this server: CAUSAL WAIT.
    Here(StreamPosition),
}

impl Copies {
    /// Whether they are what a token stands for.
    fn are_here(self) -> bool {
        matches!(self, Self::Here(_))
    }
}

/// Who waits for copies.
#[derive(Debug, Default)]
pub(in crate::engine) struct State {
    waiting: BTreeSet<SessionId>,
    /// How many of them wait for what a token stands for.
    for_tokens: usize,
    /// How far the log was durable when they were last looked at.
    seen: Option<LogOffset>,
}

impl State {
    pub(crate) fn enter(&mut self, slot: SessionId, copies: Copies) {
        self.waiting.insert(slot);
        self.for_tokens += usize::from(copies.are_here());
    }

    pub(crate) fn leave(&mut self, slot: SessionId, copies: Copies) {
        self.waiting.remove(&slot);
        self.for_tokens -= usize::from(copies.are_here());
    }
}

fn wait(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    refuse_on_replica(
        engine,
        "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a \
         replica is configured to be writable (which is not the default) writes to replicas are just \
         local and are not propagated.",
    )?;
    let copies = Copies::Replicas(args.int(1)?);
    let timeout_ms = timeout(engine, args, 2)?;
    Ok(engine.await_copies(slot, copies, timeout_ms))
}

fn wait_for_logs(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    refuse_on_replica(
        engine,
        "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas \
         are just local and are not propagated.",
    )?;
    let here = match args.int(1)? {
        0 => false,
        1 => true,
        _ => {
            return Err(CommandError::text(
                "ERR value is out of range, value must between 0 and 1",
            ));
        }
    };
    let replicas = text::parse_i64(args.at(2))
        .filter(|replicas| *replicas >= 0)
        .ok_or(CommandError::text("ERR value is out of range, must be positive"))?;
    let timeout_ms = timeout(engine, args, 3)?;
    if here && engine.log.is_none() {
        return Err(NO_LOG);
    }
    Ok(engine.await_copies(slot, Copies::Logs { here, replicas }, timeout_ms))
}

fn refuse_on_replica(engine: &Engine, refusal: &'static str) -> Result<(), CommandError> {
    if engine.is_replica() { Err(CommandError::text(refusal)) } else { Ok(()) }
}

/// Milliseconds; 0 for ever.
pub(in crate::engine) fn timeout(
    engine: &Engine,
    args: Args<'_>,
    index: usize,
) -> Result<i64, CommandError> {
    let millis = text::parse_i64(args.at(index))
        .ok_or(CommandError::text("ERR timeout is not an integer or out of range"))?;
    if millis < 0 {
        return Err(CommandError::text("ERR timeout is negative"));
    }
    if millis.checked_add(engine.now().0).is_none() {
        return Err(CommandError::text("ERR timeout is out of range"));
    }
    Ok(millis)
}

impl Engine {
    /// Answers a client that has its copies, or that may not wait; parks any other.
    pub(in crate::engine) fn await_copies(
        &mut self,
        slot: SessionId,
        copies: Copies,
        timeout_ms: i64,
    ) -> Flow {
        if !self.sessions[slot].may_wait() || self.has_copies(slot, copies) {
            self.tell_copies(slot, copies);
        } else {
            self.replication.wants_word = true;
            self.park_for_copies(slot, copies, timeout_ms);
        }
        Flow::Done
    }

    fn is_kept_here(&self, slot: SessionId) -> bool {
        self.durable_here().is_some_and(|durable| durable >= self.sessions[slot].written)
    }

    fn has_copies(&self, slot: SessionId, copies: Copies) -> bool {
        match copies {
            Copies::Replicas(wanted) => wanted <= self.copies_at(self.sessions[slot].written),
            Copies::Logs { here, replicas } => {
                replicas <= self.durable_copies_at(self.sessions[slot].written)
                    && (!here || self.is_kept_here(slot))
            }
            Copies::Here(_) if mutation::is_on(Mutation::TokenNotAwaited) => true,
            Copies::Here(position) => self.has_reached(position),
        }
    }

    /// Tells a client which copies there are.
    pub(in crate::engine) fn tell_copies(&mut self, slot: SessionId, copies: Copies) {
        let here = self.is_kept_here(slot);
        let written = self.sessions[slot].written;
        let replicas = match copies {
            Copies::Replicas(_) => self.copies_at(written),
            Copies::Logs { .. } => self.durable_copies_at(written),
            Copies::Here(_) if mutation::is_on(Mutation::TokenNotAwaited) => 1,
            Copies::Here(position) => i64::from(self.has_reached(position)),
        };
        let mut reply = self.sessions[slot].reply();
        if let Copies::Logs { .. } = copies {
            reply.array(2);
            reply.int(i64::from(here));
        }
        reply.int(replicas);
    }

    /// Sends those on whose copies are there. At the end of each tick.
    #[inline]
    pub(in crate::engine) fn serve_copies(&mut self) {
        if !self.blocking.copies.waiting.is_empty() {
            self.look_for_copies();
        }
    }

    #[cold]
    fn look_for_copies(&mut self) {
        let kept = self.durable_here();
        // The stream goes on, or becomes another, without words of others.
        let heard =
            std::mem::take(&mut self.replication.heard) || self.blocking.copies.for_tokens > 0;
        if kept == self.blocking.copies.seen && !heard {
            return;
        }
        self.blocking.copies.seen = kept;
        for slot in self.blocking.copies.waiting.clone() {
            let Some(copies) = self.awaited_copies(slot) else { continue };
            if let Copies::Here(position) = copies
                && !self.is_of_history(position)
            {
                self.release(slot, Release::Error(OTHER_HISTORY));
            } else if self.has_copies(slot, copies) {
                self.release(slot, Release::Done);
            }
        }
    }

    /// The log is off: it keeps nothing any more.
    pub(in crate::engine) fn refuse_copies_here(&mut self) {
        for slot in self.blocking.copies.waiting.clone() {
            if let Some(Copies::Logs { here: true, .. }) = self.awaited_copies(slot) {
                self.release(slot, Release::Error(NO_LOG));
            }
        }
    }
}
