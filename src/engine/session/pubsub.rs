//! Publish and subscribe: SUBSCRIBE and its relatives, PUBLISH, SPUBLISH, PUBSUB.
//!
//! A message is put into its listeners' reply buffers while PUBLISH runs, so that messages and
//! replies leave in the order of execution, and under `appendfsync always` wait for the log like
//! replies: what a message tells is as durable as what a reply tells. What is pushed to a client
//! while its own command runs comes behind that command's reply (of a transaction, behind EXEC's).
//!
//! A message that nobody hears is gone: nothing is kept of it. Where there are replicas PUBLISH is in
//! the stream for their listeners, and with the stream in the log, where loading it does nothing.

use crate::base::text::glob;
use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{self, AtLeast, Exactly},
    Command, Flags, Flow, Group, Key, control,
};
use crate::engine::session::client::misused;
use crate::engine::session::pubsub::listeners::{Directory, Kind, Listeners};
use crate::engine::session::pubsub::message::{Forms, Message};
use crate::engine::session::push::Pushes;
use crate::engine::session::{Doing, ReplyMode, Session, Sessions};
use crate::engine::{ControlHandler, Engine, container};
use crate::mailbox::SessionId;
use crate::resp::reply::Reply;

pub(crate) mod listeners;
pub(crate) mod message;

const LISTENER: Flags = Flags::PUBSUB
    .union(Flags::NOSCRIPT)
    .union(Flags::LOADING)
    .union(Flags::STALE)
    .union(Flags::FOR_LISTENERS);
const PUBLISHER: Flags = Flags::PUBSUB
    .union(Flags::LOADING)
    .union(Flags::STALE)
    .union(Flags::FAST)
    .union(Flags::MAY_REPLICATE);
const ASKER: Flags = Flags::PUBSUB.union(Flags::LOADING).union(Flags::STALE);
const SHARD_CHANNELS: &[Key] = &[Key::at(1).range(-1, 1).not_key()];

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] = &[
    row("SUBSCRIBE", AtLeast(2), subscribe, LISTENER, "2.0.0")
        .cost("O(N) for N channels")
        .syntax("channel [channel ...]")
        .summary("Asks for the messages of channels."),
    row("UNSUBSCRIBE", AtLeast(1), unsubscribe, LISTENER, "2.0.0")
        .cost("O(N) for N channels")
        .syntax("[channel [channel ...]]")
        .summary("Wants no more messages of channels, or of any.")
        .deviates(&[
            "without a subscription it is answered as in Redis 7.2; Valkey refuses it from 8.1 on",
        ]),
    row("PSUBSCRIBE", AtLeast(2), psubscribe, LISTENER, "2.0.0")
        .cost("O(N) for N patterns")
        .syntax("pattern [pattern ...]")
        .summary("Asks for the messages of all channels that patterns fit."),
    row("PUNSUBSCRIBE", AtLeast(1), punsubscribe, LISTENER, "2.0.0")
        .cost("O(N) for N patterns")
        .syntax("[pattern [pattern ...]]")
        .summary("Wants no more messages by patterns, or by any.")
        .deviates(&[
            "without a subscription it is answered as in Redis 7.2; Valkey refuses it from 8.1 on",
        ]),
    row("SSUBSCRIBE", AtLeast(2), ssubscribe, LISTENER, "7.0.0")
        .keys(SHARD_CHANNELS)
        .cost("O(N) for N shard channels")
        .syntax("shardchannel [shardchannel ...]")
        .summary("Asks for the messages of shard channels."),
    row("SUNSUBSCRIBE", AtLeast(1), sunsubscribe, LISTENER, "7.0.0")
        .keys(SHARD_CHANNELS)
        .cost("O(N) for N shard channels")
        .syntax("[shardchannel [shardchannel ...]]")
        .summary("Wants no more messages of shard channels, or of any.")
        .deviates(&[
            "without a subscription it is answered as in Redis 7.2; Valkey refuses it from 8.1 on",
        ]),
    row("PUBLISH", Exactly(3), publish, PUBLISHER, "2.0.0")
        .cost("O(N+M) for N listeners of the channel and M patterns of all clients")
        .syntax("channel message")
        .summary("Sends a message to whoever listens to a channel."),
    row("SPUBLISH", Exactly(3), spublish, PUBLISHER, "7.0.0")
        .keys(&[Key::at(1).not_key()])
        .cost("O(N) for N listeners of the shard channel")
        .syntax("shardchannel message")
        .summary("Sends a message to whoever listens to a shard channel."),
    row("PUBSUB", AtLeast(2), container, Flags::empty(), "2.8.0")
        .cost("That of the subcommand")
        .summary("Tells who listens to what.")
        .subcommands(SUBCOMMANDS),
];

const SUBCOMMANDS: &[Command<ControlHandler>] = &[
    row("CHANNELS", AtLeast(2), channels, ASKER, "2.8.0")
        .cost("O(N) for N channels with listeners")
        .syntax("[pattern]")
        .summary("Lists channels that somebody listens to."),
    row("HELP", Exactly(2), help, Flags::LOADING.union(Flags::STALE), "6.2.0")
        .summary("Lists the subcommands."),
    row("NUMPAT", Exactly(2), pattern_count, ASKER, "2.8.0")
        .summary("Counts the different patterns that clients listen by."),
    row("NUMSUB", AtLeast(2), listener_counts, ASKER, "2.8.0")
        .cost("O(N) for N channels")
        .syntax("[channel [channel ...]]")
        .summary("Counts the listeners of channels, those by pattern apart."),
    row("SHARDCHANNELS", AtLeast(2), shard_channels, ASKER, "7.0.0")
        .cost("O(N) for N shard channels with listeners")
        .syntax("[pattern]")
        .summary("Lists shard channels that somebody listens to."),
    row("SHARDNUMSUB", AtLeast(2), shard_listener_counts, ASKER, "7.0.0")
        .cost("O(N) for N shard channels")
        .syntax("[shardchannel [shardchannel ...]]")
        .summary("Counts the listeners of shard channels."),
];

const fn row(
    name: &'static str,
    arity: Arity,
    run: ControlHandler,
    flags: Flags,
    since: &'static str,
) -> Command<ControlHandler> {
    control(name, arity, run).group(Group::PubSub).flags(flags).since(since)
}

const HELP: &[&str] = &[
    "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CHANNELS [<pattern>]",
    "    The channels that somebody listens to, or those of them that <pattern> fits.",
    "NUMPAT",
    "    How many different patterns clients listen by.",
    "NUMSUB [<channel> ...]",
    "    How many clients listen to each <channel>; those by pattern don't count.",
    "SHARDCHANNELS [<pattern>]",
    "    The shard channels that somebody listens to, or those that <pattern> fits.",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    How many clients listen to each <shardchannel>.",
    "HELP",
    "    Print this help.",
];

/// What the engine knows of subscriptions.
#[derive(Debug, Default)]
pub struct State {
    /// Who listens to what.
    pub directory: Directory,
    /// How many clients listen to anything.
    pub clients: usize,
    forms: Forms,
}

fn subscribe(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    engine.subscribe(slot, Kind::Channel, args);
    Ok(Flow::Done)
}

fn psubscribe(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    engine.subscribe(slot, Kind::Pattern, args);
    Ok(Flow::Done)
}

fn ssubscribe(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    // Its older relatives may be in a transaction, since they always could.
    if engine.sessions[slot].doing == Doing::Exec {
        return Err(CommandError::text("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client"));
    }
    engine.subscribe(slot, Kind::Shard, args);
    Ok(Flow::Done)
}

fn unsubscribe(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    engine.unsubscribe(slot, Kind::Channel, args);
    Ok(Flow::Done)
}

fn punsubscribe(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    engine.unsubscribe(slot, Kind::Pattern, args);
    Ok(Flow::Done)
}

fn sunsubscribe(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    engine.unsubscribe(slot, Kind::Shard, args);
    Ok(Flow::Done)
}

fn publish(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    engine.publish_as(b"PUBLISH", Engine::publish, slot, args)
}

fn spublish(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    engine.publish_as(b"SPUBLISH", Engine::publish_to_shard, slot, args)
}

fn help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().status_lines(HELP.iter().copied());
    Ok(Flow::Done)
}

fn channels(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    engine.list_names(slot, Kind::Channel, args)
}

fn shard_channels(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    engine.list_names(slot, Kind::Shard, args)
}

fn pattern_count(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    let count = engine.pubsub.directory.patterns.len();
    engine.sessions[slot].reply().count(count);
    Ok(Flow::Done)
}

fn listener_counts(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    engine.count_listeners(slot, Kind::Channel, args);
    Ok(Flow::Done)
}

fn shard_listener_counts(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    engine.count_listeners(slot, Kind::Shard, args);
    Ok(Flow::Done)
}

/// The words that confirm the beginning and the end of a subscription.
const fn confirmations(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Channel => ("subscribe", "unsubscribe"),
        Kind::Pattern => ("psubscribe", "punsubscribe"),
        Kind::Shard => ("ssubscribe", "sunsubscribe"),
    }
}

/// Confirms one subscription's beginning or end. Confirmations are pushes: CLIENT REPLY doesn't
/// hold them back.
fn confirm(session: &mut Session, kind: Kind, word: &str, name: Option<&[u8]>) {
    let count = session.hears.subscriptions.as_ref().map_or(0, |mine| mine.counted_with(kind));
    let answered = session.reply_mode == ReplyMode::On;
    let out = if answered { &mut session.output.buffer } else { &mut session.output.deferred };
    let mut reply = Reply::new(out, session.protocol);
    reply.push(3);
    reply.bulk(word.as_bytes());
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.count(count);
}

impl Engine {
    fn subscribe(&mut self, slot: SessionId, kind: Kind, args: Args<'_>) {
        let session = &mut self.sessions[slot];
        if session.hears.subscriptions.is_none() {
            self.pubsub.clients += 1;
        }
        for name in args.from(1) {
            let mine = session.hears.subscriptions.get_or_insert_default();
            mine.subscribe(&mut self.pubsub.directory, kind, name, slot);
            confirm(session, kind, confirmations(kind).0, Some(name));
        }
        self.observe_events();
    }

    fn unsubscribe(&mut self, slot: SessionId, kind: Kind, args: Args<'_>) {
        let directory = &mut self.pubsub.directory;
        let session = &mut self.sessions[slot];
        let word = confirmations(kind).1;
        let mut end = |session: &mut Session, name: &[u8]| {
            if let Some(mine) = &mut session.hears.subscriptions {
                mine.unsubscribe(directory, kind, name, slot);
            }
            confirm(session, kind, word, Some(name));
        };
        if args.len() > 1 {
            args.from(1).for_each(|name| end(session, name));
        } else {
            let first = |session: &Session| session.hears.subscriptions.as_ref()?.first(kind);
            if first(session).is_none() {
                confirm(session, kind, word, None);
            }
            while let Some(name) = first(session) {
                end(session, &name);
            }
        }
        if session.hears.subscriptions.as_ref().is_some_and(|mine| mine.is_empty()) {
            self.silence(slot);
        }
    }

    /// Ends all subscriptions of a client without a word: RESET, and the end of the client.
    pub(in crate::engine) fn silence(&mut self, slot: SessionId) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let Some(mut mine) = session.hears.subscriptions.take() else { return };
        for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
            while let Some(name) = mine.first(kind) {
                mine.unsubscribe(&mut self.pubsub.directory, kind, &name, slot);
            }
        }
        self.pubsub.clients -= 1;
        self.observe_events();
    }

    /// Sends the message of a command to its listeners by `send`, and to the replicas under `word`.
    ///
    /// The log that is being loaded has messages for replicas that were behind: each was published
    /// when it came, and isn't again.
    fn publish_as(
        &mut self,
        word: &[u8],
        send: fn(&mut Self, channel: &[u8], payload: &[u8]) -> usize,
        slot: SessionId,
        args: Args<'_>,
    ) -> Result<Flow, CommandError> {
        let was_published = self.scripts.client_of(slot) == self.loader;
        let receivers = if was_published { 0 } else { send(self, args.at(1), args.at(2)) };
        self.sessions[slot].reply().count(receivers);
        self.tell_replicas(slot, &[word, args.at(1), args.at(2)]);
        Ok(Flow::Done)
    }

    /// Sends a message to the listeners of a channel, and to those whose patterns fit it. Returns
    /// how many there are; a client with several subscriptions that fit counts, and gets it, as
    /// many times.
    pub(in crate::engine) fn publish(&mut self, channel: &[u8], payload: &[u8]) -> usize {
        if self.pubsub.directory.is_silent() {
            return 0;
        }
        let mut receivers = 0;
        let mut choked = Vec::new();
        let State { directory, forms, .. } = &mut self.pubsub;
        let mut post = Post {
            sessions: &mut self.sessions,
            pending_max: self.settings.client_output_buffer_limit.pubsub.hard,
            pushes: Pushes {
                dirty: &mut self.tick.dirty,
                spares: &mut self.output.spares,
                choked: &mut choked,
            },
        };
        if let Some(listeners) = directory.channels.get(channel) {
            let message = Message::plain(forms, "message", channel, payload);
            receivers += post.send(listeners, message);
        }
        for (pattern, listeners) in &directory.patterns {
            if glob(pattern, channel, false) {
                let message = Message::matched(forms, pattern, channel, payload);
                receivers += post.send(listeners, message);
            }
        }
        forms.shrink();
        self.drop_choked(choked);
        receivers
    }

    /// As [`Engine::publish`], to a shard channel.
    fn publish_to_shard(&mut self, channel: &[u8], payload: &[u8]) -> usize {
        let State { directory, forms, .. } = &mut self.pubsub;
        let Some(listeners) = directory.shards.get(channel) else { return 0 };
        let mut choked = Vec::new();
        let mut post = Post {
            sessions: &mut self.sessions,
            pending_max: self.settings.client_output_buffer_limit.pubsub.hard,
            pushes: Pushes {
                dirty: &mut self.tick.dirty,
                spares: &mut self.output.spares,
                choked: &mut choked,
            },
        };
        let receivers = post.send(listeners, Message::plain(forms, "smessage", channel, payload));
        forms.shrink();
        self.drop_choked(choked);
        receivers
    }

    fn list_names(
        &mut self,
        slot: SessionId,
        kind: Kind,
        args: Args<'_>,
    ) -> Result<Flow, CommandError> {
        if args.len() > 3 {
            return Err(misused(args, "PUBSUB"));
        }
        let wanted = |name: &&[u8]| args.get(2).is_none_or(|pattern| glob(pattern, name, false));
        let mut reply = self.sessions[slot].reply();
        let start = reply.deferred();
        let mut count = 0;
        for name in self.pubsub.directory.names(kind).filter(wanted) {
            reply.bulk(name);
            count += 1;
        }
        reply.finish_array(start, count);
        Ok(Flow::Done)
    }

    fn count_listeners(&mut self, slot: SessionId, kind: Kind, args: Args<'_>) {
        let mut reply = self.sessions[slot].reply();
        reply.array(2 * (args.len() - 2));
        for name in args.from(2) {
            reply.bulk(name);
            reply.count(self.pubsub.directory.count(kind, name));
        }
    }
}

/// What it takes to put a message into listeners' buffers.
struct Post<'a> {
    sessions: &'a mut Sessions,
    /// Bytes that may be unread; 0 for no limit.
    pending_max: u64,
    pushes: Pushes<'a>,
}

impl Post<'_> {
    /// Gives the message to all of them, and returns how many they are.
    fn send(&mut self, listeners: &Listeners, mut message: Message<'_>) -> usize {
        for &slot in listeners {
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            if session.is_ending() {
                continue;
            }
            let bytes = message.bytes(session.protocol);
            self.pushes.push(session, bytes, self.pending_max);
        }
        listeners.len()
    }
}

/// How many subscriptions of each kind a session has: channels, patterns, shard channels.
pub(crate) fn counts(session: &Session) -> (usize, usize, usize) {
    match &session.hears.subscriptions {
        Some(mine) => (mine.len(Kind::Channel), mine.len(Kind::Pattern), mine.len(Kind::Shard)),
        None => (0, 0, 0),
    }
}
