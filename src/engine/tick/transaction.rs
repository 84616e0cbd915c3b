//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! A queued command keeps its bytes. EXEC runs the queue as one unit: what it changed goes into the
//! log together, inside MULTI and EXEC, and into one frame, so that it is recovered wholly or not
//! at all.

use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{Arity, Command, Flags, Flow, Group, Key, control};
use crate::engine::registry::CommandId;
use crate::engine::session::Doing;
use crate::engine::tick::admit::ON_REPLICA;
use crate::engine::{ControlHandler, Engine};
use crate::mailbox::SessionId;
use crate::resp::request::Range;

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] = &[
    control("MULTI", Arity::Exactly(1), multi as ControlHandler)
        .group(Group::Transactions)
        .flags(QUEUED_NEVER)
        .since("1.2.0")
        .summary("Begins a transaction: what follows is queued until EXEC.")
        .deviates(&[
            "A nested MULTI is refused and the transaction goes on, as in Redis 7.2; Valkey \
                     aborts it from 8.1 on. WATCH inside MULTI likewise.",
        ]),
    control("EXEC", Arity::Exactly(1), exec as ControlHandler)
        .group(Group::Transactions)
        .flags(
            Flags::NOSCRIPT
                .union(Flags::LOADING)
                .union(Flags::STALE)
                .union(Flags::SKIP_SLOWLOG)
                .union(Flags::RUNS_IN_MULTI)
                .union(Flags::RUNS_QUEUE)
                .union(Flags::ENDS_MULTI),
        )
        .since("1.2.0")
        .cost("The sum of the queued commands")
        .summary("Runs the queued commands as one."),
    control("DISCARD", Arity::Exactly(1), discard as ControlHandler)
        .group(Group::Transactions)
        .flags(QUEUED_NEVER.union(Flags::ENDS_MULTI))
        .since("2.0.0")
        .cost("O(N) for N queued commands")
        .summary("Forgets the queued commands."),
    control("WATCH", Arity::AtLeast(2), watch as ControlHandler)
        .group(Group::Transactions)
        .flags(QUEUED_NEVER)
        .keys(&[Key::at(1).range(-1, 1).ro()])
        .since("2.2.0")
        .cost("O(1) for each key")
        .syntax("key [key ...]")
        .summary("Makes the next EXEC fail if one of the keys changes before it."),
    control("UNWATCH", Arity::Exactly(1), unwatch as ControlHandler)
        .group(Group::Transactions)
        .flags(QUICK)
        .since("2.2.0")
        .summary("Forgets the watched keys."),
];

const QUICK: Flags = Flags::NOSCRIPT
    .union(Flags::LOADING)
    .union(Flags::STALE)
    .union(Flags::FAST)
    .union(Flags::ALLOW_BUSY);

/// Those that act on the transaction being queued.
const QUEUED_NEVER: Flags = QUICK.union(Flags::RUNS_IN_MULTI);

/// A command waiting for EXEC, with its bytes.
#[derive(Debug)]
pub(crate) struct Queued {
    command: CommandId,
    bytes: Box<[u8]>,
    ranges: Box<[Range]>,
}

impl Queued {
    /// A copy of a command's arguments.
    pub(crate) fn new(command: CommandId, args: Args<'_>) -> Self {
        Self::of_words(command, args.from(0))
    }

    /// A command of these words, its name included.
    pub(crate) fn of_words<'w>(
        command: CommandId,
        words: impl Iterator<Item = &'w [u8]> + Clone,
    ) -> Self {
        let mut bytes = Vec::with_capacity(words.clone().map(<[u8]>::len).sum());
        let ranges = words
            .map(|arg| {
                let range = Range::new(bytes.len(), arg.len());
                bytes.extend_from_slice(arg);
                range
            })
            .collect();
        Self { command, bytes: bytes.into(), ranges }
    }

    /// Which command it is.
    pub(crate) fn command(&self) -> CommandId {
        self.command
    }

    /// The command's arguments.
    pub(crate) fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.ranges)
    }
}

/// A transaction being queued.
#[derive(Debug, Default)]
pub struct Transaction {
    queue: Vec<Queued>,
    /// Whether a command was refused, so that EXEC must fail.
    pub refused: bool,
    /// The flags of all queued commands.
    flags: Flags,
    /// Flags that one of them doesn't have.
    lacking: Flags,
    bytes: usize,
}

impl Transaction {
    /// Adds a command.
    pub(crate) fn queue(&mut self, queued: Queued, flags: Flags) {
        // After a refused command the queue will never run.
        if !self.refused {
            self.bytes += queued.bytes.len() + size_of::<Queued>();
            self.queue.push(queued);
            self.flags = self.flags.union(flags);
            self.lacking = self.lacking.union(flags.complement());
        }
    }

    /// How many commands are queued.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// The flags of all queued commands: what refuses one of them refuses EXEC.
    pub(crate) fn flags(&self) -> Flags {
        self.flags
    }

    /// The flags that one of them doesn't have: what it may not do EXEC may not.
    pub(crate) fn lacking(&self) -> Flags {
        self.lacking
    }

    /// Bytes that the queue holds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn multi(engine: &mut Engine, slot: SessionId, _args: Args<'_>) -> Result<Flow, CommandError> {
    let session = &mut engine.sessions[slot];
    if session.in_transaction() {
        return Err(CommandError::text("ERR MULTI calls can not be nested"));
    }
    session.transaction = Some(Box::default());
    session.reply().ok();
    Ok(Flow::Done)
}

fn exec(engine: &mut Engine, slot: SessionId, _args: Args<'_>) -> Result<Flow, CommandError> {
    let Some(transaction) = engine.sessions[slot].transaction.take() else {
        return Err(CommandError::text("ERR EXEC without MULTI"));
    };
    let broken = engine.sessions[slot].watching.broken || engine.any_watched_expired(slot);
    engine.unwatch_all(slot);
    if transaction.refused {
        return Err(CommandError::text(
            "EXECABORT Transaction discarded because of previous errors.",
        ));
    }
    if broken {
        // It tells that another's write was there.
        engine.sessions[slot].output.shows_data = true;
        engine.sessions[slot].reply().null_array();
        return Ok(Flow::Done);
    }
    engine.sessions[slot].reply().array(transaction.len());
    engine.sessions[slot].doing = Doing::Exec;
    engine.databases.unit.hold_together();
    let was_replica = engine.is_replica();
    // It is closed for them; what is queued is executed nevertheless.
    let mut too_many = false;
    for queued in &transaction.queue {
        let db = engine.sessions[slot].db;
        let before = engine.sessions[slot].output.buffer.len();
        let writes = engine.registry[queued.command].spec.flags.contains(Flags::WRITE);
        if writes && !was_replica && engine.refuses_writes() {
            // Behind a REPLICAOF of the same transaction: it would be in no stream.
            engine.answer_error(slot, queued.command, &ON_REPLICA);
            continue;
        }
        engine.call(slot, queued.command, queued.args());
        engine.keep_large_reply(slot, queued.command, queued.args(), before);
        if too_many {
            engine.sessions[slot].output.buffer.truncate(before);
        }
        too_many |= engine.has_too_many_replies(slot);
        engine.join_unit(db, queued.args(), None);
    }
    engine.sessions[slot].doing = Doing::Command;
    engine.sessions[slot].traffic.last_command = engine.registry.find(b"exec");
    if too_many {
        engine.close_for_replies(slot);
    }
    Ok(Flow::Done)
}

fn discard(engine: &mut Engine, slot: SessionId, _args: Args<'_>) -> Result<Flow, CommandError> {
    if engine.sessions[slot].transaction.take().is_none() {
        return Err(CommandError::text("ERR DISCARD without MULTI"));
    }
    engine.unwatch_all(slot);
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn watch(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let (id, db) = (engine.sessions[slot].id, engine.sessions[slot].db);
    if engine.sessions[slot].in_transaction() {
        return Err(CommandError::text("ERR WATCH inside MULTI is not allowed"));
    }
    // A session that is already bound to fail watches no more.
    if !engine.sessions[slot].watching.broken {
        for key in args.from(1) {
            let stale = engine.databases.db(db).is_stale(key);
            engine.databases.watches.watch(id, db, key, stale);
            let watching = &mut engine.sessions[slot].watching.keys;
            if !watching.iter().any(|(at, name)| *at == db && **name == *key) {
                watching.push((db, key.into()));
            }
        }
    }
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn unwatch(engine: &mut Engine, slot: SessionId, _args: Args<'_>) -> Result<Flow, CommandError> {
    engine.unwatch_all(slot);
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

impl Engine {
    /// Forgets what a session watches.
    pub(crate) fn unwatch_all(&mut self, slot: SessionId) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        session.watching.broken = false;
        let id = session.id;
        for (db, key) in std::mem::take(&mut session.watching.keys) {
            self.databases.watches.unwatch(id, db, &key);
        }
    }

    /// Whether a watched key has expired since WATCH, though nobody has met it yet.
    fn any_watched_expired(&mut self, slot: SessionId) -> bool {
        let session = &self.sessions[slot];
        let id = session.id;
        session.watching.keys.iter().any(|(db, key)| {
            !self.databases.watches.is_stale(id, *db, key) && self.databases.db(*db).is_stale(key)
        })
    }
}
