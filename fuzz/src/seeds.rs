//! The inputs that fuzzing begins with, made anew by `REGENERATE=1 cargo test --test fuzz_corpus`.
//!
//! They are small and many sided: each form of each format once, each kind of damage once. Files in
//! `corpus/` of other names than these are inputs that once showed a bug.

use redstart::base::env::Rng;
use redstart::persist::aof_encode::{FrameHeader, HEADER_BYTES_MAX};
use redstart::resp::record::push_command;

use super::hostile;

/// A seed's file name and its bytes.
pub type Seed = (String, Vec<u8>);

/// The seeds of a target.
pub fn of(target: &str) -> Vec<Seed> {
    match target {
        "request" => requests(),
        "rdb_decode" => files(),
        "restore" => payloads(),
        "aof_recover" => directories(),
        "hyperloglog" => counters(),
        "listpack" => blocks(),
        "table_model" => decisions(4, 160, |_| Vec::new()),
        "collection_model" => decisions(20, 110, |number| vec![number % 4, number / 4]),
        _ => Vec::new(),
    }
}

/// Random decisions behind heads.
fn decisions(count: u8, len: usize, head: fn(u8) -> Vec<u8>) -> Vec<Seed> {
    let seed = |number: u8| {
        let mut rng = Rng::from_seed(u64::from(number) + 1);
        let mut bytes = head(number);
        bytes.extend((0..len).map(|_| rng.next_u64() as u8));
        (format!("seed-{number:02}"), bytes)
    };
    (0..count).map(seed).collect()
}

fn named(name: &str, bytes: Vec<u8>) -> Seed {
    (format!("seed-{name}"), bytes)
}

/// Runs of the sparse form that are right and wrong, and elements for each of its bounds.
fn counters() -> Vec<Seed> {
    let mut seeds = decisions(5, 250, |number| vec![2, number]);
    seeds.extend([
        named("no-hyperloglog", b"\x00abc".to_vec()),
        // All registers zero; one set in their midst; one run too many; a run that is cut off.
        named("sparse-empty", b"\x01\x7f\xff".to_vec()),
        named("sparse", b"\x01\x60\x00\x84\x5f\xfe".to_vec()),
        named("sparse-too-long", b"\x01\x7f\xff\x80".to_vec()),
        named("sparse-cut-off", b"\x01\x7f".to_vec()),
    ]);
    seeds
}

fn requests() -> Vec<Seed> {
    // Read at once, and in pieces of 1, 2 and 7 bytes.
    let whole = |kind: u8, stream: &[u8]| [&[kind, 0], stream].concat();
    let cut = |kind: u8, stream: &[u8]| [&[kind, 3, 1, 2, 7], stream].concat();
    let set = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n*1\r\n$4\r\nPING\r\n";
    let mut seeds = decisions(3, 60, |number| vec![0, 5, 3, 9, 1, number, 40]);
    seeds.extend([
        named("multibulk", whole(2, set)),
        named("multibulk-cut", cut(2, set)),
        named("inline", cut(2, b"SET \"a \\x01\\n\" 'b c'\r\nPING\n\r\nGET k\n")),
        named("quotes", whole(2, b"GET \"k\r\n")),
        named("irregular", cut(2, b"*02\r\n$+3\r\nGET\r\n$1\r\nkxx*0\r\n*-1\r\n")),
        named("no-dollar", cut(2, b"*2\r\n$1\r\na\r\n:1\r\n")),
        named("lengths", whole(2, b"*1\r\n$-1\r\n")),
        named("count", whole(2, b"*2147483648\r\n")),
        named("stranger", cut(1, b"*2\r\n$4\r\nAUTH\r\n$16385\r\n")),
        named("stranger-count", whole(1, b"*11\r\n")),
    ]);
    seeds
}

/// Snapshots with each value once, of a version that knows it.
fn files() -> Vec<Seed> {
    let file = |version: &[u8], inner: &[u8]| {
        [version, b"\xfe\x00\xfb\x01\x00", inner, b"\xff\0\0\0\0\0\0\0\0"].concat()
    };
    let mut seeds: Vec<Seed> = hostile::accepted()
        .into_iter()
        .map(|(name, body)| {
            let entry = [&body[..1], b"\x01k", &body[1..]].concat();
            named(name, file(b"REDIS0012", &entry))
        })
        .collect();
    let module = b"\xf7\x81\x04\x10\x41\x04\x10\x41\x04\x01\x02\x01\x03ffff\x05\x01s\x00";
    let expiring =
        b"\xfd\x80\x51\x01\x00\xf9\x05\x00\x01a\x01b\xfc\xff\0\0\0\0\0\0\0\xf8\x07\0\x01b\xc0\x05";
    let valkey = b"\x16\x01k\x01\x01f\x01v\x09\0\0\0\0\0\0\0";
    seeds.extend([
        named("fields", file(b"REDIS0010", b"\xfa\x09redis-ver\x057.0.0\xf5\x03#!x")),
        named("expiring", file(b"REDIS0009", expiring)),
        named("module", file(b"REDIS0009", module)),
        named("slots", file(b"VALKEY080", b"\xf4\x05\x01\x00")),
        named("valkey-hash", file(b"VALKEY080", valkey)),
        named("old", b"REDIS0003\xfe\x00\x00\x01a\x01b\xff".to_vec()),
        named("empty-set", file(b"REDIS0010", b"\x02\x01k\x00")),
    ]);
    seeds
}

fn payloads() -> Vec<Seed> {
    let input = |body: &[u8]| [&[0, 2], body].concat();
    let mut seeds: Vec<Seed> =
        hostile::accepted().iter().map(|(name, body)| named(name, input(body))).collect();
    // One of each name: the corpus has room for a few KB.
    let mut refused = hostile::refused();
    refused.dedup_by_key(|(name, _)| *name);
    seeds.extend(refused.iter().map(|(name, body)| named(&format!("bad-{name}"), input(body))));
    seeds
}

fn frame(sequence: u64, payload: &[u8]) -> Vec<u8> {
    let mut room = [0; HEADER_BYTES_MAX];
    let start = FrameHeader::of(sequence, payload).write_before(&mut room);
    [&room[start..], payload].concat()
}

fn commands(commands: &[&[&[u8]]]) -> Vec<u8> {
    let mut out = Vec::new();
    commands.iter().for_each(|words| push_command(&mut out, words.iter().copied()));
    out
}

fn directories() -> Vec<Seed> {
    let set = commands(&[&[b"SELECT", b"0"], &[b"SET", b"a", b"b"]]);
    let transaction = commands(&[&[b"MULTI"], &[b"SET", b"a", b"c"], &[b"EXEC"]]);
    let framed =
        [frame(1, &set), frame(2, &[b"#SYNCED:1\r\n", &transaction[..]].concat())].concat();
    let bare = [set.clone(), transaction.clone()].concat();
    let base = b"REDIS0010\xfe\x00\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0".to_vec();
    let manifest = b"file appendonly.aof.1.base.rdb seq 1 type b\n\
        file appendonly.aof.1.incr.aof seq 1 type i\n"
        .to_vec();
    // Which files there are, and all of them but the last behind their lengths.
    let directory = |present: u8, files: &[&[u8]]| {
        let mut out = vec![0, present];
        for (index, file) in files.iter().enumerate() {
            if index + 1 < files.len() {
                out.extend_from_slice(&(file.len() as u16).to_be_bytes());
            }
            out.extend_from_slice(file);
        }
        out
    };
    let torn = &framed[..framed.len() - 5];
    let mut seeds = decisions(18, 90, |number| vec![1, number / 2]);
    seeds.extend([
        named("framed", directory(0b110, &[&base, &framed])),
        named("torn", directory(0b110, &[&base, torn])),
        named("torn-before-more", directory(0b1110, &[&base, torn, &frame(3, &set)])),
        named("bare", directory(0b111, &[&manifest, &base, &bare])),
        named("bare-torn", directory(0b110, &[&base, &bare[..bare.len() - 20]])),
        named("bare-behind-frames", directory(0b100, &[&[framed.clone(), bare.clone()].concat()])),
        named("old-log", directory(0b10000, &[&bare])),
        named("old-log-with-preamble", directory(0b10000, &[&[base.clone(), bare].concat()])),
        named("snapshot", directory(0b10_0000, &[&base])),
        named("missing", directory(1, &[&manifest])),
    ]);
    seeds
}

fn blocks() -> Vec<Seed> {
    let mut rng = Rng::from_seed(9);
    let decisions: Vec<u8> = (0..40).map(|_| rng.next_u64() as u8).collect();
    let input = |kind: u8, block: &[u8]| [&[kind, 40], &decisions[..], block].concat();
    let pack = hostile::listpack(&[
        b"\x05\x01",
        b"\x83abc\x04",
        b"\xdf\xff\x02",
        b"\xf1\x00\x80\x03",
        b"\xf0\x01\0\0\0x\x06",
    ]);
    let list = hostile::ziplist(&[b"\x05hello", b"\xc0\x39\x30", b"\xf1", b"\xfe\x80"]);
    vec![
        named("listpack", input(0, &pack)),
        named("listpack-headless", input(1, &pack)),
        named("listpack-empty", input(0, &hostile::listpack(&[]))),
        named("ints", input(2, &hostile::intset(2, &[-7, 0, 5]))),
        named("ints-wide", input(3, &hostile::intset(8, &[-7, 1 << 40]))),
        named("ziplist-list", input(4, &list)),
        named("ziplist-hash", input(5, &list)),
        named("ziplist-zset", input(6, &hostile::ziplist(&[b"\x01a", b"\xf1", b"\x01b", b"\xf2"]))),
        named("zipmap", input(7, b"\x02\x03foo\x03\0bar\x05hello\x05\x02world??\xff")),
    ]
}
