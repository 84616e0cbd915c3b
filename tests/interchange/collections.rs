//! The collections of the dataset. A key's name says what it is there for; every border between two
//! encodings has a key on each side, and every command that goes into a log otherwise than it came
//! has been at work on some key.

use crate::data::{Command, command, elements, integers, lines, noise, short_elements};
use crate::support::client::argv;
use crate::support::random::Random;

/// More than any compact form holds.
const MANY: usize = 3_000;

/// Scores of every kind: whole, broken, tiny, huge, of 17 digits, infinite, and both zeros.
pub const SCORES: &[&str] = &[
    "0",
    "-0",
    "1",
    "-1",
    "0.1",
    "-0.5",
    "3e300",
    "-3e300",
    "inf",
    "-inf",
    "0.30000000000000004",
    "123456789012345.67",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "1e21",
    "1e-7",
    "2.2250738585072014e-308",
    "5e-324",
    "1.7976931348623157e308",
];

fn texts(count: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(|number| format!("element {number}").into_bytes())
}

fn numbers(count: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(|number| (number * 7).to_string().into_bytes())
}

/// Keys of a type that expire, that are copied and renamed, and that go; `KEY` stands for a name.
fn lives(kind: &str, create: &str, empty: &str, commands: &mut Vec<Command>) {
    let mut add = |line: &str, name: &str| {
        commands.push(argv(&line.replace("KEY", &format!("{kind}:{name}"))));
    };
    for (name, expire) in [
        ("expires:at", "PEXPIREAT KEY 4000000000123"),
        ("expires:in", "EXPIRE KEY 100000"),
        ("expired", "PEXPIREAT KEY 1"),
        ("kept", "EXPIRE KEY 100000"),
        ("old-name", "EXPIREAT KEY 4000000001"),
        ("emptied", "EXPIRE KEY 100000"),
    ] {
        add(create, name);
        add(expire, name);
    }
    add("PERSIST KEY", "kept");
    add(empty, "emptied");
    add(&format!("RENAME {kind}:old-name KEY"), "new-name");
    add(&format!("COPY {kind}:new-name KEY"), "copied");
}

/// Lists of one node and of many, of packed and of plain nodes.
pub fn lists(random: &mut Random, commands: &mut Vec<Command>) {
    let push =
        |name: &str, elements: Vec<Vec<u8>>| command(&format!("RPUSH list:{name}"), elements);
    commands.extend([
        push("small", vec![b"a".to_vec()]),
        push("small:empty", vec![Vec::new()]),
        push("small:short", short_elements(random)),
        push("all", elements(random)),
        push("numbers", numbers(MANY).collect()),
        push("texts", texts(MANY).collect()),
        push("same", vec![b"the same again ".repeat(5); MANY]),
        push("noise", (0..100).map(|_| noise(random, 300)).collect()),
        push("three", numbers(3).collect()),
    ]);
    for (end, number) in (0..400).flat_map(|number| [("L", number), ("R", number)]) {
        commands.push(command(&format!("{end}PUSH list:ends"), [vec![b'e'; number]]));
    }
    for number in 0..100 {
        let new = format!("between {number}").repeat(10).into_bytes();
        commands.push(command("LINSERT list:texts BEFORE", [b"element 700".to_vec(), new]));
        commands.push(command(&format!("LSET list:numbers {}", number * 29), [noise(random, 50)]));
    }
    // Nodes by the number of their elements, and nodes that are kept compressed in memory.
    commands.push(argv("CONFIG SET list-max-listpack-size 3 list-compress-depth 1"));
    commands.push(push("of-three", texts(20).collect()));
    commands.push(argv("CONFIG SET list-max-listpack-size -2"));
    commands.push(push("compressed", texts(MANY).collect()));
    commands.push(argv("CONFIG SET list-compress-depth 0"));
    // 7.0 gives an element a node alone only from 1 GiB on, unless it's told otherwise. Ours does so
    // where it exceeds what a node may hold, 8 KiB here.
    commands.push(argv("DEBUG QUICKLIST-PACKED-THRESHOLD 8192"));
    let large = [vec![b'p'; 10_000], noise(random, 70_000)];
    commands.push(push("plain", large.to_vec()));
    commands.push(push("plain:one", large[..1].to_vec()));
    let mixed = (0..3).flat_map(|_| large.iter().cloned().chain(texts(5))).collect();
    commands.push(push("plain:mixed", mixed));
    commands.push(argv("DEBUG QUICKLIST-PACKED-THRESHOLD 0"));
    commands.extend([
        push("trimmed", numbers(MANY).collect()),
        push("shrunk", texts(MANY).collect()),
        push("source", texts(9).collect()),
    ]);
    commands.extend(lines(&[
        "LTRIM list:trimmed 1000 1999",
        "LTRIM list:shrunk 100 102",
        "LREM list:same 50 nothing",
        "LMOVE list:source list:moved LEFT RIGHT",
        "RPOPLPUSH list:source list:moved",
        "BLMOVE list:source list:moved RIGHT LEFT 0",
        "BRPOPLPUSH list:source list:moved 0",
        "LMPOP 2 list:nothing list:source RIGHT COUNT 2",
        "BLMPOP 0 2 list:nothing list:source LEFT",
        "BLPOP list:source 0",
        "BRPOP list:nothing list:three 0",
        "SORT list:numbers BY nosort LIMIT 0 10 STORE list:sorted",
    ]));
    lives("list", "RPUSH KEY a b 1", "LPOP KEY 3", commands);
}

/// Hashes in listpacks and in tables.
pub fn hashes(random: &mut Random, commands: &mut Vec<Command>) {
    let set = |name: &str, pairs: Vec<[Vec<u8>; 2]>| {
        command(&format!("HSET hash:{name}"), pairs.into_iter().flatten())
    };
    let pairs = |fields: Vec<Vec<u8>>, values: Vec<Vec<u8>>| -> Vec<[Vec<u8>; 2]> {
        fields.into_iter().zip(values).map(|(field, value)| [field, value]).collect()
    };
    let short = short_elements(random);
    let all = elements(random);
    let mirrored =
        |elements: &[Vec<u8>]| pairs(elements.to_vec(), elements.iter().rev().cloned().collect());
    commands.extend([
        set("small", vec![[b"field".to_vec(), b"value".to_vec()]]),
        set("small:empty", vec![[Vec::new(), Vec::new()]]),
        set("short", mirrored(&short)),
        set("all", mirrored(&all)),
        set("512", pairs(texts(512).collect(), numbers(512).collect())),
        set("513", pairs(texts(513).collect(), numbers(513).collect())),
        set("64", pairs(vec![noise(random, 64), vec![b'f'; 64]], vec![vec![b'v'; 64]; 2])),
        set("field:65", pairs(vec![vec![b'f'; 65]], vec![vec![b'v'; 64]])),
        set("value:65", pairs(vec![vec![b'f'; 64]], vec![vec![b'v'; 65]])),
        set("same", pairs(texts(300).collect(), vec![vec![b'='; 60]; 300])),
        set("noise", (0..300).map(|_| [noise(random, 60), noise(random, 60)]).collect()),
        set("large", pairs(texts(MANY).collect(), numbers(MANY).collect())),
        set("shrunk", pairs(texts(MANY).collect(), numbers(MANY).collect())),
        command("HDEL hash:shrunk", texts(MANY).skip(3)),
        command("HDEL hash:large", texts(MANY).step_by(3)),
    ]);
    commands.extend(lines(&[
        "HMSET hash:changed a 1 b 2 c 3 d text",
        "HSET hash:changed a 4",
        "HSETNX hash:changed a 5",
        "HSETNX hash:changed e 5",
        "HDEL hash:changed b",
        "HINCRBY hash:changed c 38",
        "HINCRBY hash:changed n -9223372036854775808",
        "HINCRBYFLOAT hash:changed f 0.1",
        "HINCRBYFLOAT hash:changed f 0.2",
        "HINCRBYFLOAT hash:large new 3.5e20",
    ]));
    lives("hash", "HSET KEY a 1 b 2 3 c", "HDEL KEY a b 3", commands);
}

/// Sets of integers in each width, and of anything.
pub fn sets(random: &mut Random, commands: &mut Vec<Command>) {
    let add = |name: &str, members: Vec<Vec<u8>>| command(&format!("SADD set:{name}"), members);
    let within = |low: i64, high: i64| -> Vec<Vec<u8>> {
        let fits = |number: &i64| (low..=high).contains(number);
        integers().into_iter().filter(fits).map(|number| number.to_string().into_bytes()).collect()
    };
    commands.extend([
        add("16", within(i64::from(i16::MIN), i64::from(i16::MAX))),
        add("32", within(i64::from(i32::MIN), i64::from(i32::MAX))),
        add("64", within(i64::MIN, i64::MAX)),
        add("512", numbers(512).collect()),
        add("513", numbers(513).collect()),
        add("small", vec![b"member".to_vec()]),
        add("small:empty", vec![Vec::new()]),
        add("short", short_elements(random)),
        add("all", elements(random)),
        add("texts:128", texts(128).collect()),
        add("texts:129", texts(129).collect()),
        add("bytes:64", vec![vec![b'm'; 64], noise(random, 64)]),
        add("bytes:65", vec![vec![b'm'; 65], b"1".to_vec()]),
        add("large", texts(MANY).chain(numbers(MANY)).collect()),
        add("shrunk", texts(MANY).collect()),
        command("SREM set:shrunk", texts(MANY).skip(3)),
        add("shrunk:numbers", texts(MANY).chain(numbers(3)).collect()),
        command("SREM set:shrunk:numbers", texts(MANY)),
        add("popped", texts(1_000).collect()),
        add("popped:numbers", numbers(500).collect()),
    ]);
    commands.extend(lines(&[
        "SPOP set:popped",
        "SPOP set:popped 300",
        "SPOP set:popped:numbers 490",
        "COPY set:popped set:popped:whole",
        "SPOP set:popped:whole 1000",
        "SMOVE set:popped:numbers set:moved 0",
        "SADD set:moved 70000 -3",
        "SMOVE set:moved set:64 70000",
        "SINTERSTORE set:intersection set:large set:513",
        "SUNIONSTORE set:union set:16 set:texts:128",
        "SDIFFSTORE set:difference set:513 set:512",
    ]));
    lives("set", "SADD KEY a b 1", "SREM KEY a b 1", commands);
    lives("set:numbers", "SADD KEY 1 2 70000", "SPOP KEY 3", commands);
}

/// Sorted sets in listpacks and in skiplists, with scores of every kind.
pub fn zsets(random: &mut Random, commands: &mut Vec<Command>) {
    let add = |name: &str, pairs: Vec<(String, Vec<u8>)>| {
        let words = pairs.into_iter().flat_map(|(score, member)| [score.into_bytes(), member]);
        command(&format!("ZADD zset:{name}"), words)
    };
    let scored = |scores: &[String], members: Vec<Vec<u8>>| -> Vec<(String, Vec<u8>)> {
        scores.iter().cycle().cloned().zip(members).collect()
    };
    let odd: Vec<String> = SCORES.iter().map(|score| (*score).to_owned()).collect();
    let even: Vec<String> = (0..50).map(|score: i32| (score - 25).to_string()).collect();
    let broken: Vec<String> = (0..MANY)
        .map(|_| {
            format!("{:?}", random.next() as i64 as f64 / 1e9_f64.powi(random.below(4) as i32))
        })
        .collect();
    commands.extend([
        add("small", scored(&even, vec![b"member".to_vec()])),
        add("small:empty", scored(&even, vec![Vec::new()])),
        add("scores", scored(&odd, texts(SCORES.len()).collect())),
        add("short", scored(&odd, short_elements(random))),
        add("128", scored(&even, texts(128).collect())),
        add("129", scored(&even, texts(129).collect())),
        add("128:numbers", scored(&even, numbers(128).collect())),
        add("bytes:64", scored(&even, vec![vec![b'm'; 64], noise(random, 64)])),
        add("bytes:65", scored(&even, vec![vec![b'm'; 65], b"1".to_vec()])),
        add("same", scored(&["1.5".to_owned()], texts(MANY).collect())),
        add("broken", scored(&broken, texts(100).collect())),
        add("broken:large", scored(&broken, texts(MANY).chain(numbers(MANY)).collect())),
        add("shrunk", scored(&even, texts(MANY).collect())),
        command("ZREM zset:shrunk", texts(MANY).skip(3)),
        command("ZREMRANGEBYLEX zset:same", ["[element 5", "(element 6"].map(Vec::from)),
        add("popped", scored(&broken, texts(500).collect())),
    ]);
    // A listpack has no negative zero. 7.0 begins with one, however many members come at once, and
    // ours doesn't, as 7.2: so odd scores come when the sets are big.
    for (name, members) in [("scores:large", texts(MANY).collect()), ("all", elements(random))] {
        commands.push(add(name, scored(&["7".to_owned()], members.clone())));
        commands.push(add(name, scored(&odd, members)));
    }
    commands.extend(lines(&[
        "ZADD zset:changed 1 a 2 b 3 c 4 d 5 e 6 f",
        "ZADD zset:changed GT CH 0 a 7 b",
        "ZADD zset:changed LT 2.5 c 9 d",
        "ZADD zset:changed NX 1 a 1 g",
        "ZADD zset:changed INCR 0.1 a",
        "ZINCRBY zset:changed 0.2 a",
        "ZINCRBY zset:changed -inf f",
        "ZPOPMIN zset:popped 10",
        "ZPOPMAX zset:popped",
        "ZMPOP 2 zset:nothing zset:popped MAX COUNT 10",
        "BZMPOP 0 1 zset:popped MIN",
        "BZPOPMIN zset:popped 0",
        "BZPOPMAX zset:nothing zset:popped 0",
        "ZRANGESTORE zset:stored zset:scores -inf (1 BYSCORE",
        "ZRANGESTORE zset:stored:large zset:broken:large 0 999 REV",
        "ZUNIONSTORE zset:union 2 zset:scores zset:broken WEIGHTS 0.1 3",
        "ZINTERSTORE zset:intersection 2 zset:broken:large set:large AGGREGATE MAX",
        "ZDIFFSTORE zset:difference 2 zset:129 zset:128",
        "ZREMRANGEBYRANK zset:same 100 109",
        "ZREMRANGEBYSCORE zset:scores:large 0.05 1",
    ]));
    lives("zset", "ZADD KEY 1 a -0 b 3.25 3", "ZREM KEY a b 3", commands);
}
