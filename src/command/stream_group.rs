//! Streams: consumer groups and their consumers.

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::{CommandError, quotable};
use crate::command::spec::{
    Arity::{self, AtLeast, Exactly},
    Command, DataHandler, Flags, Flow, Group as CommandGroup, Key, control, write,
};
use crate::command::stream::writer;
use crate::command::stream_args::{id_at, id_or_bound};
use crate::data::stream::{Group, Stream, StreamId};
use crate::keyspace::collection::Changed;
use crate::keyspace::unit::Event;

/// XGROUP and XACK.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    control::<DataHandler>("XGROUP", AtLeast(2), container)
        .group(CommandGroup::Stream)
        .since("5.0.0")
        .cost("That of each subcommand")
        .summary("Looks after a stream's consumer groups.")
        .subcommands(&[
            changer("CREATE", AtLeast(5), create)
                .flags(Flags::DENYOOM)
                .keys(&[Key::at(2).rw().insert()])
                .since("5.0.0")
                .syntax("key groupname <id|$>:id [MKSTREAM] [ENTRIESREAD entries_read:integer]")
                .summary("Makes a consumer group.")
                .history(&[("7.0.0", "Takes ENTRIESREAD.")]),
            changer("CREATECONSUMER", Exactly(5), create_consumer)
                .flags(Flags::DENYOOM)
                .keys(&[Key::at(2).rw().insert()])
                .since("6.2.0")
                .syntax("key groupname consumername")
                .summary("Makes a consumer in a group."),
            changer("DELCONSUMER", Exactly(5), delete_consumer)
                .keys(&[Key::at(2).rw().delete()])
                .since("5.0.0")
                .syntax("key groupname consumername")
                .summary("Removes a consumer from a group, with what is pending at it."),
            changer("DESTROY", Exactly(4), destroy)
                .keys(&[Key::at(2).rw().delete()])
                .since("5.0.0")
                .cost("O(N) for N entries pending, on another thread where they are many")
                .syntax("key groupname")
                .summary("Removes a consumer group."),
            control::<DataHandler>("HELP", Exactly(2), help)
                .group(CommandGroup::Stream)
                .flags(Flags::LOADING.union(Flags::STALE))
                .since("5.0.0")
                .summary("Lists the subcommands."),
            changer("SETID", AtLeast(5), set_id)
                .keys(&[Key::at(2).rw().update()])
                .since("5.0.0")
                .syntax("key groupname <id|$>:id [ENTRIESREAD entries_read:integer]")
                .summary("Sets the last entry that a group was delivered.")
                .history(&[("7.0.0", "Takes ENTRIESREAD.")]),
        ]),
    writer("XACK", AtLeast(4), xack)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).rw().update()])
        .since("5.0.0")
        .cost("O(1) for each id")
        .syntax("key group id [id ...]")
        .summary("Acknowledges entries that are pending in a group, and counts them."),
];

const fn changer(name: &'static str, arity: Arity, run: DataHandler) -> Command<DataHandler> {
    write(name, arity, run).group(CommandGroup::Stream)
}

const HELP: &[&str] = &[
    "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CREATE <key> <groupname> <id|$> [option]",
    "    Make a consumer group that begins behind <id>. Options are:",
    "    * MKSTREAM",
    "      Make the stream as well where it isn't there.",
    "    * ENTRIESREAD entries_read",
    "      How many entries the group has read (for replication and the log).",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Make a consumer in the group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove the consumer, with what is pending at it.",
    "DESTROY <key> <groupname>",
    "    Remove the group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    "    Set the last entry that the group was delivered.",
    "HELP",
    "    Print this help.",
];

/// The words of XGROUP CREATE with all options, and of XGROUP SETID.
const CREATE_WORDS_MAX: usize = 8;
const SETID_WORDS_MAX: usize = 7;

const NO_STREAM: CommandError = CommandError::text(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use \
     the MKSTREAM option to create an empty stream automatically.",
);

/// What runs when no subcommand matches; the engine has answered that before it gets here.
fn container(_cx: &mut Cx<'_>, _args: Args<'_>) -> Result<Flow, CommandError> {
    Err(CommandError::Syntax)
}

fn help(cx: &mut Cx<'_>, _args: Args<'_>) -> Result<Flow, CommandError> {
    cx.reply.status_lines(HELP.iter().copied());
    Ok(Flow::Done)
}

/// There is no such group at a key that is there.
pub(super) fn no_group(key: &[u8], group: &[u8]) -> CommandError {
    let mut text = b"NOGROUP No such consumer group '".to_vec();
    text.extend_from_slice(quotable(group));
    text.extend_from_slice(b"' for key name '");
    text.extend_from_slice(quotable(key));
    text.push(b'\'');
    CommandError::quoting(text)
}

/// There is no such key or no such group.
pub(super) fn no_key_or_group(key: &[u8], group: &[u8]) -> CommandError {
    let mut text = b"NOGROUP No such key '".to_vec();
    text.extend_from_slice(quotable(key));
    text.extend_from_slice(b"' or consumer group '");
    text.extend_from_slice(quotable(group));
    text.push(b'\'');
    CommandError::quoting(text)
}

/// The options behind CREATE's and SETID's id.
#[derive(Debug, Default)]
struct Options {
    make_stream: bool,
    /// Nothing where it isn't known.
    entries_read: Option<u64>,
}

impl Options {
    fn parse(args: Args<'_>, name: &str, may_make: bool) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut at = 5;
        while at < args.len() {
            if may_make && args.is(at, "MKSTREAM") {
                options.make_stream = true;
                at += 1;
            } else if args.is(at, "ENTRIESREAD") && at + 1 < args.len() {
                options.entries_read = match args.int(at + 1)? {
                    -1 => None,
                    read => Some(u64::try_from(read).map_err(|_| {
                        CommandError::text("ERR value for ENTRIESREAD must be positive or -1")
                    })?),
                };
                at += 2;
            } else {
                return Err(unknown_form(name));
            }
        }
        Ok(options)
    }
}

fn unknown_form(name: &str) -> CommandError {
    CommandError::owned(format!(
        "ERR unknown subcommand or wrong number of arguments for '{name}'. Try XGROUP HELP."
    ))
}

/// Refuses options that are repeated beyond what all of them would take, as upstream does, once
/// everything that they ask of the key is there.
fn limit_words(args: Args<'_>, most: usize) -> Result<(), CommandError> {
    if args.len() > most { Err(unknown_form(&written_name(args))) } else { Ok(()) }
}

/// The subcommand's name as the client wrote it, which errors quote.
fn written_name(args: Args<'_>) -> String {
    String::from_utf8_lossy(args.at(1)).into_owned()
}

/// The group's last id that an argument says; `$` is the stream's.
fn position(text: &[u8], stream: &Stream) -> Result<StreamId, CommandError> {
    match text {
        b"$" => Ok(stream.counts().last_id),
        text => id_or_bound(text, 0),
    }
}

fn create(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (key, name) = (args.at(2), args.at(3));
    let options = Options::parse(args, &written_name(args), true)?;
    let mut db = cx.databases.db(cx.selected);
    let stream = db.touch_as::<Stream>(key)?;
    if stream.is_none() && !options.make_stream {
        return Err(NO_STREAM);
    }
    limit_words(args, CREATE_WORDS_MAX)?;
    let is_new = stream.is_none();
    // Unlike SETID, it takes no `-` and no `+`.
    let last_id = match (args.at(4), stream) {
        (b"$", stream) => stream.map_or(StreamId::MIN, |stream| stream.counts().last_id),
        _ => id_at(args, 4)?,
    };
    let event = if is_new { Event::XGROUP_MKSTREAM } else { Event::XGROUP_CREATE };
    let made = db.edit(key, event, |stream: &mut Stream| {
        let made = stream.add_group(name, Group::new(last_id, options.entries_read));
        Changed::count(usize::from(made), made)
    })?;
    if !made {
        return Err(CommandError::text("BUSYGROUP Consumer Group name already exists"));
    }
    cx.reply.ok();
    Ok(Flow::Done)
}

fn set_id(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let options = Options::parse(args, &written_name(args), false)?;
    let (last_id, entries_read) = {
        let mut db = cx.databases.db(cx.selected);
        let stream = existing(db.touch_as::<Stream>(args.at(2))?, args)?;
        limit_words(args, SETID_WORDS_MAX)?;
        (position(args.at(4), &stream)?, options.entries_read)
    };
    edit(cx, args, Event::XGROUP_SETID, |group| {
        (group.last_id, group.entries_read) = (last_id, entries_read);
        Changed::count(1, ())
    })?;
    cx.reply.ok();
    Ok(Flow::Done)
}

/// A stream that has the group that a subcommand names.
fn existing<S: std::ops::Deref<Target = Stream>>(
    stream: Option<S>,
    args: Args<'_>,
) -> Result<S, CommandError> {
    let stream = stream.ok_or(NO_STREAM)?;
    if stream.group(args.at(3)).is_none() {
        return Err(no_group(args.at(2), args.at(3)));
    }
    Ok(stream)
}

/// Changes the group that a subcommand names.
fn edit<R>(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    event: Event,
    change: impl FnOnce(&mut Group) -> Changed<R>,
) -> Result<R, CommandError> {
    let (key, name) = (args.at(2), args.at(3));
    let result = cx.db().edit_existing(key, event, |stream: &mut Stream| {
        match stream.edit_group(name, change) {
            Some(Changed { count, result }) => Changed { count, result: Some(result) },
            None => Changed::nothing(None),
        }
    })?;
    result.ok_or(NO_STREAM)?.ok_or_else(|| no_group(key, name))
}

fn create_consumer(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let now_ms = cx.now.0;
    let made = edit(cx, args, Event::XGROUP_CREATECONSUMER, |group| {
        let (_, made) = group.ensure(args.at(4), now_ms);
        Changed::count(usize::from(made), made)
    })?;
    cx.reply.int(i64::from(made));
    Ok(Flow::Done)
}

fn delete_consumer(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let removed = edit(cx, args, Event::XGROUP_DELCONSUMER, |group| {
        let removed = group.remove_consumer(args.at(4));
        Changed::count(usize::from(removed.is_some()), removed)
    })?;
    cx.reply.count(removed.unwrap_or(0));
    Ok(Flow::Done)
}

fn destroy(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let removed =
        cx.db().edit_existing(args.at(2), Event::XGROUP_DESTROY, |stream: &mut Stream| {
            let removed = stream.remove_group(args.at(3));
            Changed::count(usize::from(removed.is_some()), removed)
        })?;
    let removed = removed.ok_or(NO_STREAM)?;
    cx.reply.int(i64::from(removed.is_some()));
    if let Some(group) = removed {
        let bytes = group.heap_bytes();
        if bytes > FREED_ELSEWHERE_BYTES {
            cx.databases.reclaimer.free(Box::new(group), bytes);
        }
    }
    Ok(Flow::Done)
}

/// A group of more bytes is freed on the background thread.
const FREED_ELSEWHERE_BYTES: usize = 64 << 10;

fn xack(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (key, name) = (args.at(1), args.at(2));
    let stream = cx.db().read_as::<Stream>(key)?.map(|stream| stream.group(name).is_some());
    if stream != Some(true) {
        cx.reply.int(0);
        return Ok(Flow::Done);
    }
    for index in 3..args.len() {
        id_at(args, index)?;
    }
    let acknowledged = cx.db().edit_existing(key, Event::PENDING, |stream: &mut Stream| {
        let count = stream.edit_group(name, |group| {
            let ids = (3..args.len()).filter_map(|index| id_at(args, index).ok());
            ids.filter(|id| group.acknowledge(*id)).count()
        });
        let count = count.unwrap_or(0);
        Changed::count(count, count)
    })?;
    cx.reply.count(acknowledged.unwrap_or(0));
    Ok(Flow::Done)
}
