//! Strings changed or removed only where they are what a client thinks they are: the comparisons of SET
//! and DELEX, and the digests that stand for long values in them.
//!
//! A digest is the XXH3 hash of the bytes in 16 hexadecimal digits.

use xxhash_rust::xxh3::xxh3_64;

use crate::base::text;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, DataHandler, Effect, Flags, Flow, Group, Key, read, write,
};
use crate::data::value::ValueRef;
use crate::keyspace::unit::Event;

/// Commands that compare.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    remover(write("DELEX", AtLeast(2), delex as DataHandler))
        .keys(&[Key::at(1).rw().delete().variable_flags()])
        .since("8.4.0")
        .cost("O(1); O(N) for a digest of N bytes")
        .syntax(
            "key [IFEQ ifeq-value|IFNE ifne-value|IFDEQ ifdeq-digest|IFDNE ifdne-digest]:condition",
        )
        .summary("Removes a key if its string compares so with a value or a digest."),
    remover(write("DELIFEQ", Exactly(3), |cx, args| {
        remove_if(cx, args.at(1), Comparison::Equal(args.at(2)))
    }))
    .keys(&[Key::at(1).rm().delete()])
    .since("9.0.0")
    .cost("O(1)")
    .syntax("key value")
    .summary("Removes a key if its string is a value (of Valkey)."),
    read("DIGEST", Exactly(2), digest as DataHandler)
        .group(Group::String)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).ro().access()])
        .since("8.4.0")
        .cost("O(N) for N bytes")
        .syntax("key")
        .summary("Replies with the digest of a string: its XXH3 hash in hexadecimal digits."),
];

const fn remover(row: Command<DataHandler>) -> Command<DataHandler> {
    row.group(Group::String).flags(Flags::FAST).effect(Effect::Rewritten)
}

/// What the string at a key is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison<'a> {
    /// `IFEQ`: it is there, and equal.
    Equal(&'a [u8]),
    /// `IFNE`: it isn't there, or is another.
    Unequal(&'a [u8]),
    /// `IFDEQ`: it is there and has this digest.
    DigestEqual(u64),
    /// `IFDNE`: it isn't there, or has another digest.
    DigestUnequal(u64),
}

impl<'a> Comparison<'a> {
    /// The comparison whose word is the argument at `index`, if it is one and something is behind it.
    ///
    /// # Errors
    /// What is behind it should be a digest and isn't.
    pub(super) fn at(args: Args<'a>, index: usize) -> Result<Option<Self>, CommandError> {
        let Some(value) = args.get(index + 1) else { return Ok(None) };
        Ok(Some(match () {
            () if args.is(index, "IFEQ") => Self::Equal(value),
            () if args.is(index, "IFNE") => Self::Unequal(value),
            () if args.is(index, "IFDEQ") => Self::DigestEqual(parse_digest(value)?),
            () if args.is(index, "IFDNE") => Self::DigestUnequal(parse_digest(value)?),
            () => return Ok(None),
        }))
    }

    /// Whether it holds for a string, or where there is none.
    pub(super) fn holds(self, string: Option<ValueRef<'_>>) -> bool {
        let Some(string) = string else {
            return matches!(self, Self::Unequal(_) | Self::DigestUnequal(_));
        };
        match self {
            Self::Equal(wanted) => is_equal(string, wanted),
            Self::Unequal(wanted) => !is_equal(string, wanted),
            Self::DigestEqual(wanted) => digest_of(string) == wanted,
            Self::DigestUnequal(wanted) => digest_of(string) != wanted,
        }
    }
}

fn is_equal(value: ValueRef<'_>, bytes: &[u8]) -> bool {
    match value {
        ValueRef::Str(string) => string == bytes,
        ValueRef::Int(number) => text::parse_i64(bytes) == Some(number),
        ValueRef::Object(_) => false,
    }
}

fn digest_of(string: ValueRef<'_>) -> u64 {
    match string {
        ValueRef::Str(bytes) => xxh3_64(bytes),
        ValueRef::Int(number) => xxh3_64(itoa::Buffer::new().format(number).as_bytes()),
        ValueRef::Object(_) => 0,
    }
}

/// A digest as clients send it, in either case of letters.
fn parse_digest(digits: &[u8]) -> Result<u64, CommandError> {
    str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.len() == 16 && digits.bytes().all(|one| one.is_ascii_hexdigit()))
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(CommandError::text("ERR must be exactly 16 hexadecimal characters"))
}

fn delex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    match args.len() {
        2 => Ok(remove(cx, args.at(1))),
        4 => {
            let comparison = Comparison::at(args, 2)?.ok_or(CommandError::Syntax)?;
            remove_if(cx, args.at(1), comparison)
        }
        _ => Err(CommandError::Arity("delex".into())),
    }
}

fn remove_if(
    cx: &mut Cx<'_>,
    key: &[u8],
    comparison: Comparison<'_>,
) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    if !comparison.holds(db.touch_string(key)?) {
        cx.reply.int(0);
        return Ok(Flow::Done);
    }
    Ok(remove(cx, key))
}

/// Removes a key, logs that, and replies with how many were removed.
fn remove(cx: &mut Cx<'_>, key: &[u8]) -> Flow {
    let elsewhere = cx.limits.lazy_user_del;
    let removed = cx.db().remove(key, elsewhere, Event::DEL);
    if removed {
        cx.log(&[b"DEL", key]);
    }
    cx.reply.count(usize::from(removed));
    Flow::Done
}

fn digest(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    match cx.databases.db(cx.selected).read_string(args.at(1))? {
        Some(string) => cx.reply.bulk(format!("{:016x}", digest_of(string)).as_bytes()),
        None => cx.reply.null(),
    }
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use crate::command::generic_tests::World;

    #[test]
    fn digests_are_those_of_the_documentation() {
        let mut world = World::new();
        assert_eq!(world.run("DIGEST a"), "$-1");
        world.run("SET key1 test");
        assert_eq!(world.run("DIGEST key1"), "$16|9ec9f7918d7dfc40");
        world.run("SET key1 hello");
        assert_eq!(world.run("DIGEST key1"), "$16|9555e8555c62dcfd");
        // One that begins with zeros.
        world.run(
            "SET foo v8lf0c11xh8ymlqztfd3eeq16kfn4sspw7fqmnuuq3k3t75em5wdizgcdw7uc26nnf961u2jkfzk\
             jytls2kwlj7626sd",
        );
        assert_eq!(world.run("DIGEST foo"), "$16|00006c38adf31777");
        world.run("RPUSH list 1");
        assert!(world.run("DIGEST list").starts_with("-WRONGTYPE"));
    }

    #[test]
    fn a_key_goes_only_where_the_comparison_holds() {
        let mut world = World::new();
        for (command, removed) in [
            ("DELEX k IFEQ other", 0),
            ("DELEX k IFEQ hello", 1),
            ("DELEX k IFNE hello", 0),
            ("DELEX k ifne other", 1),
            ("DELEX k IFDEQ 9555e8555c62dcfe", 0),
            ("DELEX k IFDEQ 9555E8555C62DCFD", 1),
            ("DELEX k IFDNE 9555e8555c62dcfd", 0),
            ("DELEX k IFDNE 0000000000000000", 1),
            ("DELIFEQ k other", 0),
            ("DELIFEQ k hello", 1),
            ("DELEX k", 1),
        ] {
            world.run("SET k hello");
            assert_eq!(world.run(command), format!(":{removed}"), "{command}");
            assert_eq!(world.run("EXISTS k"), format!(":{}", 1 - removed), "{command}");
        }
        assert_eq!(world.run("DELEX none IFNE x"), ":0");
        world.run("RPUSH list 1");
        assert!(world.run("DELEX list IFEQ 1").starts_with("-WRONGTYPE"));
        assert!(world.run("DELIFEQ list 1").starts_with("-WRONGTYPE"));
        assert_eq!(world.run("DELEX list"), ":1");
        assert_eq!(world.run("DELEX k IFDEQ 12"), "-ERR must be exactly 16 hexadecimal characters");
        assert_eq!(world.run("DELEX k BOGUS 12"), "-ERR syntax error");
        assert_eq!(world.run("DELEX k IFEQ"), "-ERR wrong number of arguments for 'delex' command");
    }

    #[test]
    fn set_compares() {
        let mut world = World::new();
        assert_eq!(world.run("SET k 1 IFEQ 0"), "$-1");
        assert_eq!(world.run("SET k 1 IFDEQ 0000000000000000"), "$-1");
        assert_eq!(world.run("SET k 1 IFNE 0"), "+OK");
        assert_eq!(world.run("SET k 2 IFNE 1"), "$-1");
        assert_eq!(world.run("SET k hello IFDNE 0000000000000000 GET"), "$1|1");
        assert_eq!(world.run("SET k 3 IFDNE 9555e8555c62dcfd GET"), "$5|hello");
        assert_eq!(world.run("SET k 3 IFDEQ 9555e8555c62dcfd"), "+OK");
        assert_eq!(world.run("GET k"), "$1|3");
        assert_eq!(
            world.run("SET k 3 IFDNE 1 NX"),
            "-ERR must be exactly 16 hexadecimal characters"
        );
        assert_eq!(world.run("SET k 3 IFNE 1 NX"), "-ERR syntax error");
        assert_eq!(world.run("SET k 3 IFNE"), "-ERR syntax error");
    }
}
