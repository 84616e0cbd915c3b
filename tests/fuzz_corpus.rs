//! The inputs that fuzzing keeps, run through the same functions without a fuzzer (`fuzz/run.sh`
//! searches for more), and the hostile payloads among them put to a real `redis-server` as well.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail this way")]

#[path = "../fuzz/src/lib.rs"]
mod bodies;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use redstart::data::thresholds::Thresholds;
use redstart::rdb::decode::{Checksum, restore_payload};

use bodies::restore::sealed;
use bodies::{TARGETS, Target, hostile, seeds};
use support::client::{Client, Value};
use support::server::{Program, Server};

/// Bytes that a target's inputs may take in the repository.
const CORPUS_BYTES_MAX: u64 = 48 << 10;
/// What redis-server accepts all the same, and we do not: it reads on into version and checksum where
/// the value is cut off, passes over what follows the value, and takes a score that is no number for
/// whatever number its text begins with.
const LENIENT: [&str; 9] = [
    "list-of-more",
    "score-empty",
    "score-nan",
    "score-no-number",
    "string-and-more",
    "string-cut-off",
    "string-int-cut-off",
    "zipmap-more-behind",
    "zset-score-cut-off",
];
/// The version of the payloads: what Redis 7.0 writes.
const VERSION: u16 = 10;

fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// A target's inputs by the names of their files.
fn corpus(target: &str) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(directory(target)).into_iter().flatten().map(|file| {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, fs::read(&path).unwrap())
    });
    files.collect()
}

fn run_corpus((name, run): Target) {
    let corpus = corpus(name);
    assert!(corpus.len() >= 4, "{name} has inputs");
    for (file, bytes) in corpus {
        // Shown where the test fails: with which input.
        println!("fuzz/corpus/{name}/{file}");
        run(&bytes);
    }
}

#[test]
fn every_input_that_is_kept_runs() {
    TARGETS.into_iter().for_each(run_corpus);
}

#[test]
fn seeds_are_what_their_program_makes() {
    for (name, _) in TARGETS {
        let made: BTreeMap<String, Vec<u8>> = seeds::of(name).into_iter().collect();
        let is_seed = |file: &String| file.starts_with("seed-");
        if std::env::var_os("REGENERATE").is_some() {
            fs::create_dir_all(directory(name)).unwrap();
            for file in corpus(name).keys().filter(|file| is_seed(file)) {
                fs::remove_file(directory(name).join(file)).unwrap();
            }
            for (file, bytes) in &made {
                fs::write(directory(name).join(file), bytes).unwrap();
            }
        }
        let mut kept = corpus(name);
        let bytes: u64 = kept.values().map(|bytes| bytes.len() as u64).sum();
        assert!(bytes <= CORPUS_BYTES_MAX, "{name} takes {bytes} bytes");
        kept.retain(|file, _| is_seed(file));
        assert!(kept == made, "{name}: run this test with REGENERATE=1");
    }
}

fn restore(client: &mut Client, body: &[u8]) -> Value {
    let payload = sealed(body, VERSION);
    client.call::<&[u8]>(&[b"RESTORE", b"key", b"0", &payload, b"REPLACE"])
}

#[test]
fn payloads_are_refused_that_redis_refuses_when_it_looks_closely() {
    let redis = Server::start_with(
        Program::Redis,
        &["--appendonly", "no", "--save", "", "--sanitize-dump-payload", "yes"],
    );
    let ours = Server::start(Program::Redstart);
    let (mut redis, mut ours) = (redis.connect(), ours.connect());
    let mut accepted = BTreeSet::new();
    for (name, body) in hostile::refused() {
        if !matches!(restore(&mut redis, &body), Value::Error(_)) {
            accepted.insert(name);
        }
        let answer = restore(&mut ours, &body);
        assert_eq!(answer, Value::Error(b"ERR Bad data format".to_vec()), "{name}");
        assert_eq!(ours.call(&["EXISTS", "key"]), Value::Integer(0), "{name}");
    }
    assert_eq!(accepted, LENIENT.into_iter().collect());
    for (name, body) in hostile::accepted() {
        assert_eq!(restore(&mut ours, &body), Value::Simple(b"OK".to_vec()), "{name}");
        // Types that came after 7.0 it doesn't know.
        if body[0] < 20 {
            assert_eq!(restore(&mut redis, &body), Value::Simple(b"OK".to_vec()), "{name}");
            let [theirs, own] = [&mut redis, &mut ours].map(shown);
            assert_eq!(own, theirs, "{name}");
        }
    }
}

/// What the key shows of its value, in an order that both have.
fn shown(client: &mut Client) -> Value {
    let mut shown = match client.call(&["TYPE", "key"]) {
        Value::Simple(kind) => match kind.as_slice() {
            b"string" => client.call(&["GET", "key"]),
            b"list" => client.call(&["LRANGE", "key", "0", "-1"]),
            b"set" => client.call(&["SMEMBERS", "key"]),
            b"hash" => client.call(&["HGETALL", "key"]),
            b"zset" => client.call(&["ZRANGEBYLEX", "key", "-", "+"]),
            other => panic!("no such type: {other:?}"),
        },
        other => panic!("TYPE answers {other:?}"),
    };
    if let Value::Array(elements) = &mut shown {
        elements.sort();
    }
    shown
}

#[test]
fn payloads_are_decoded_the_same_without_a_server() {
    let decode = |body: &[u8]| {
        restore_payload(&sealed(body, VERSION), Checksum::Verify, &Thresholds::default())
    };
    for (name, body) in hostile::refused() {
        let error = decode(&body).expect_err(name);
        assert_eq!(error.to_string(), "Bad data format", "{name}");
        // Cut off anywhere it is none the better.
        for end in 0..body.len() {
            let _ = decode(&body[..end]);
        }
    }
    for (name, body) in hostile::accepted() {
        assert!(decode(&body).is_ok(), "{name}");
        for end in 0..body.len() {
            assert!(decode(&body[..end]).is_err(), "{name} cut off at {end}");
        }
    }
}
