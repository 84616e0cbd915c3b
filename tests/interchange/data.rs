//! The dataset: commands that give a database keys of every type, in every encoding and on both
//! sides of each border between encodings, with and without expiry. It's the same for every server,
//! so it has only commands of redis-server 7.0.
//!
//! - [`fill`] sends it all to several databases.
//! - [`elements`] are the strings that every type gets as elements, fields, members and values.
//! - Strings are here; collections are in [`crate::collections`].

use crate::collections;
use crate::streams;
use crate::support::client::{Client, Value, argv, quote};
use crate::support::random::Random;

/// A command's words.
pub type Command = Vec<Vec<u8>>;

/// Databases that hold strings, and those that hold collections as well.
const DATABASES: &[(usize, bool)] = &[(0, true), (1, false), (9, true), (15, false)];

/// Commands sent before their replies are read.
const PIPELINE: usize = 500;

/// Fills an empty server; the connection ends in database 0.
pub fn fill(client: &mut Client) {
    let mut random = Random::new(7);
    for (database, has_collections) in DATABASES {
        let mut commands = vec![argv(&format!("SELECT {database}"))];
        strings(&mut random, &mut commands);
        if *has_collections {
            collections::lists(&mut random, &mut commands);
            collections::hashes(&mut random, &mut commands);
            collections::sets(&mut random, &mut commands);
            collections::zsets(&mut random, &mut commands);
            streams::streams(&mut random, &mut commands);
        }
        send(client, &commands);
    }
    // 10,000 more, so that tables grow.
    let many: Vec<Command> =
        (0..10_000).map(|n| argv(&format!("SET many:{n} value:{n}"))).collect();
    send(client, &many);
    client.words("SELECT 0");
}

/// Sends commands, none of which may fail.
fn send(client: &mut Client, commands: &[Command]) {
    for chunk in commands.chunks(PIPELINE) {
        for (command, reply) in chunk.iter().zip(client.pipeline(chunk)) {
            assert!(!reply.is_error(), "{}: {reply}", quote(&command[..command.len().min(4)]));
            if let Value::Array(replies) = reply {
                assert!(!replies.iter().any(Value::is_error), "{replies:?}");
            }
        }
    }
}

/// Words of text, then words of bytes.
pub fn command(line: &str, more: impl IntoIterator<Item = Vec<u8>>) -> Command {
    argv(line).into_iter().chain(more).collect()
}

/// Random bytes, which don't compress.
pub fn noise(random: &mut Random, len: usize) -> Vec<u8> {
    (0..len).map(|_| random.next() as u8).collect()
}

/// Integers around the border of each width that any format has for them.
pub fn integers() -> Vec<i64> {
    let mut integers = vec![0, 1, -1, 12, 127, 128, -128, -129, 255];
    for bits in [12, 15, 16, 23, 31, 32] {
        let border = 1_i64 << bits;
        integers.extend([border - 1, border, -border, -border - 1]);
    }
    integers.extend([i64::MAX, i64::MIN]);
    integers
}

/// Different strings of every form: integers, what is almost one, nothing at all, every byte, and
/// compressible ones and noise around the borders of lengths.
pub fn elements(random: &mut Random) -> Vec<Vec<u8>> {
    let mut elements: Vec<Vec<u8>> =
        integers().iter().map(|number| number.to_string().into_bytes()).collect();
    for text in ["007", "+2", "-0", " 3", "1.0", "1e3", "9223372036854775808", "", "\0", "\r\n"] {
        elements.push(text.as_bytes().to_vec());
    }
    elements.push((0..=255).collect());
    // A listpack's lengths have 6, 12 or 32 bits, an RDB's 6, 14 or 32; LZF begins at 20, and
    // compact hashes, sets and sorted sets end at 64.
    for len in [2, 11, 20, 21, 63, 64, 65, 127, 128, 4_095, 4_096, 5_000] {
        elements.extend([vec![b'x'; len], noise(random, len)]);
    }
    elements
}

/// Those elements that compact hashes, sets and sorted sets may have.
pub fn short_elements(random: &mut Random) -> Vec<Vec<u8>> {
    elements(random).into_iter().filter(|element| element.len() <= 64).collect()
}

/// Strings of every encoding and length class.
fn strings(random: &mut Random, commands: &mut Vec<Command>) {
    for number in integers() {
        commands.push(argv(&format!("SET int:{number} {number}")));
    }
    // Around each limit: RDB lengths of 6, 14 and 32 bits, LZF from 20, embstr 44, inline 192.
    for len in
        [0, 1, 11, 20, 21, 44, 45, 63, 64, 191, 192, 193, 254, 255, 256, 16_383, 16_384, 100_000]
    {
        commands.push(command(&format!("SET plain:{len}"), [vec![b'x'; len]]));
        commands.push(command(&format!("SET noise:{len}"), [noise(random, len)]));
    }
    for number in ["007", "1.5", " 1", "+1", "-0", "9223372036854775808", "1e3"] {
        commands.push(["SET", &format!("text:{number}"), number].map(|word| word.into()).to_vec());
    }
    for key in [Vec::new(), b"\0\xff\r\n".to_vec(), vec![b'k'; 255], vec![b'K'; 70_000]] {
        let len = key.len().to_string().into_bytes();
        commands.push(command("SET", [key, len]));
    }
    commands.extend(lines(&[
        "SET expires 1 EXAT 4000000000",
        "SET expires:ms text PXAT 4000000000123",
        "SET expires:int 12345 PXAT 281474976710655",
        "SET gone 1 PXAT 1",
        "SET kept 1 EX 100",
        "PERSIST kept",
        "APPEND appended 12",
        "APPEND appended 34",
        "SETRANGE ranged 10 x",
        "INCRBYFLOAT float 3.25",
        "SETBIT bit:short 3 1",
        "SETBIT bit:long 12345 1",
        "BITFIELD bit:field SET u8 0 200 INCRBY i5 100 -9",
        "BITOP NOT bit:not bit:long",
        "PFADD hll:empty",
        "PFADD hll:sparse a b c 1 2 3",
        "PFADD hll:dense a b c 4 5",
        "PFDEBUG TODENSE hll:dense",
        "PFMERGE hll:merged hll:sparse hll:dense",
        "PFCOUNT hll:merged",
        "GEOADD geo:sicily 13.361389 38.115556 Palermo 15.087269 37.502669 Catania 180 -85 edge",
        "GEOSEARCHSTORE geo:stored geo:sicily FROMMEMBER Palermo BYBOX 400 400 km STOREDIST",
        "INCRBY counter 41",
        "INCR counter",
        "SET removed 1",
        "DEL removed",
        "SET old-name 1 EXAT 4000000001",
        "RENAME old-name new-name",
        "MULTI",
        "SET multi:a 1",
        "INCRBY multi:a 5",
        "SET multi:b text",
        "EXEC",
        "COPY counter copied",
        "GETEX copied EXAT 4000000002",
    ]));
}

/// A command a line.
pub fn lines(lines: &[&str]) -> Vec<Command> {
    lines.iter().map(|line| argv(line)).collect()
}
