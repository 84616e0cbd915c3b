//! Our reading and writing of RESP, held to redis-protocol's: what it makes of the same bytes is
//! the oracle. Malformed requests are compared with the real server's (`tests/differential/raw.rs`).

#![expect(clippy::expect_used, reason = "a test may fail this way")]

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;
use redis_protocol::resp2::decode::decode as decode2;
use redis_protocol::resp2::types::OwnedFrame as Frame2;
use redis_protocol::resp3::decode::complete::decode as decode3;
use redis_protocol::resp3::types::OwnedFrame as Frame3;
use redstart::resp::reply::{Protocol, Reply};
use redstart::resp::request::{Bounds, Parser, Requests};

type Argv = Vec<Vec<u8>>;

const BOUNDS: Bounds = Bounds { bulk_max: 512 << 20, authenticated: true };

fn argument() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..20),
        Just(b"\r\n".to_vec()),
        Just(b"*3\r\n$3\r\nSET\r\n".to_vec()),
        vec(Just(b'x'), 200..2_000),
    ]
}

/// The oracle's reading of a stream of requests.
fn oracle(mut bytes: &[u8]) -> Vec<Argv> {
    let mut commands = Vec::new();
    while let Some((frame, taken)) = decode2(bytes).expect("well formed") {
        let Frame2::Array(words) = frame else { panic!("not an array: {frame:?}") };
        let argv = words.into_iter().map(|word| match word {
            Frame2::BulkString(bytes) => bytes,
            other => panic!("not a bulk string: {other:?}"),
        });
        commands.push(argv.collect());
        bytes = &bytes[taken..];
    }
    commands
}

/// Ours, the stream arriving in these pieces.
fn ours<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Argv> {
    let (mut parser, mut buffer, mut commands) = (Parser::default(), Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        let mut requests = Requests::default();
        let (taken, outcome) = parser.parse(&mut buffer, BOUNDS, &mut requests);
        outcome.expect("well formed");
        for index in 0..requests.len() {
            let command = requests.command(index, &buffer);
            commands.push(command.ranges.iter().map(|range| range.of(&buffer).to_vec()).collect());
        }
        buffer.drain(..taken);
    }
    assert!(buffer.is_empty(), "{} bytes are left", buffer.len());
    commands
}

fn encode(commands: &[Argv]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for argv in commands {
        bytes.extend_from_slice(format!("*{}\r\n", argv.len()).as_bytes());
        for word in argv {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
    }
    bytes
}

/// A reply, as a handler thinks of it.
#[derive(Clone, Debug)]
enum Said {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Null,
    Double(f64),
    Boolean(bool),
    Array(Vec<Said>),
    Map(Vec<(String, Said)>),
}

fn said() -> impl Strategy<Value = Said> {
    let leaf = prop_oneof![
        "[ -~]{0,20}".prop_map(Said::Simple),
        "ERR [ -~]{0,20}".prop_map(Said::Error),
        any::<i64>().prop_map(Said::Int),
        argument().prop_map(Said::Bulk),
        Just(Said::Null),
        any::<f64>().prop_filter("a number", |number| !number.is_nan()).prop_map(Said::Double),
        any::<bool>().prop_map(Said::Boolean),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Said::Array),
            vec(("[a-z]{1,8}", inner), 0..8).prop_map(|pairs| {
                // Names are unique, as in every map that a server sends.
                let unique: HashMap<_, _> = pairs.into_iter().collect();
                Said::Map(unique.into_iter().collect())
            }),
        ]
    })
}

fn write(reply: &mut Reply<'_>, said: &Said) {
    match said {
        Said::Simple(text) => reply.simple(text),
        Said::Error(text) => reply.error(text),
        Said::Int(number) => reply.int(*number),
        Said::Bulk(bytes) => reply.bulk(bytes),
        Said::Null => reply.null(),
        Said::Double(number) => reply.double(*number),
        Said::Boolean(value) => reply.boolean(*value),
        Said::Array(elements) => {
            reply.array(elements.len());
            elements.iter().for_each(|element| write(reply, element));
        }
        Said::Map(pairs) => {
            reply.map(pairs.len());
            for (name, value) in pairs {
                reply.bulk(name.as_bytes());
                write(reply, value);
            }
        }
    }
}

/// Whether the oracle's RESP2 frame says the same.
fn agrees2(said: &Said, frame: &Frame2) -> bool {
    match (said, frame) {
        (Said::Simple(text), Frame2::SimpleString(bytes)) => text.as_bytes() == bytes,
        (Said::Error(text), Frame2::Error(told)) => text == told,
        (Said::Int(number), Frame2::Integer(told)) => number == told,
        (Said::Bulk(bytes), Frame2::BulkString(told)) => bytes == told,
        (Said::Null, Frame2::Null) => true,
        (Said::Double(number), Frame2::BulkString(told)) => {
            std::str::from_utf8(told).ok().and_then(|text| text.parse().ok()) == Some(*number)
        }
        (Said::Boolean(value), Frame2::Integer(told)) => i64::from(*value) == *told,
        (Said::Array(elements), Frame2::Array(told)) => {
            elements.len() == told.len()
                && elements.iter().zip(told).all(|(said, frame)| agrees2(said, frame))
        }
        (Said::Map(pairs), Frame2::Array(told)) => {
            pairs.len() * 2 == told.len()
                && pairs.iter().zip(told.chunks(2)).all(|((name, value), told)| {
                    told[0] == Frame2::BulkString(name.clone().into_bytes())
                        && agrees2(value, &told[1])
                })
        }
        _ => false,
    }
}

/// The same in RESP3.
fn agrees3(said: &Said, frame: &Frame3) -> bool {
    match (said, frame) {
        (Said::Simple(text), Frame3::SimpleString { data, .. }) => text.as_bytes() == data,
        (Said::Error(text), Frame3::SimpleError { data, .. }) => text == data,
        (Said::Int(number), Frame3::Number { data, .. }) => number == data,
        (Said::Bulk(bytes), Frame3::BlobString { data, .. }) => bytes == data,
        (Said::Null, Frame3::Null) => true,
        (Said::Double(number), Frame3::Double { data, .. }) => number.to_bits() == data.to_bits(),
        (Said::Boolean(value), Frame3::Boolean { data, .. }) => value == data,
        (Said::Array(elements), Frame3::Array { data, .. }) => {
            elements.len() == data.len()
                && elements.iter().zip(data).all(|(said, frame)| agrees3(said, frame))
        }
        (Said::Map(pairs), Frame3::Map { data, .. }) => {
            pairs.len() == data.len()
                && pairs.iter().all(|(name, value)| {
                    data.iter().any(|(key, told)| {
                        matches!(key, Frame3::BlobString { data, .. } if data == name.as_bytes())
                            && agrees3(value, told)
                    })
                })
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn requests_are_read_alike_however_they_are_cut(
        commands in vec(vec(argument(), 1..6), 1..10),
        cuts in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes = encode(&commands);
        prop_assert_eq!(&oracle(&bytes), &commands);
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        prop_assert_eq!(ours(at.windows(2).map(|ends| &bytes[ends[0]..ends[1]])), commands);
    }

    #[test]
    fn replies_say_what_was_meant(said in said()) {
        let mut bytes = Vec::new();
        write(&mut Reply::new(&mut bytes, Protocol::Resp2), &said);
        let (frame, taken) = decode2(&bytes).expect("well formed").expect("complete");
        prop_assert_eq!(taken, bytes.len());
        prop_assert!(agrees2(&said, &frame), "{:?} from {:?}", frame, bytes);

        bytes.clear();
        write(&mut Reply::new(&mut bytes, Protocol::Resp3), &said);
        let (frame, taken) = decode3(&bytes).expect("well formed").expect("complete");
        prop_assert_eq!(taken, bytes.len());
        prop_assert!(agrees3(&said, &frame), "{:?} from {:?}", frame, bytes);
    }
}

#[test]
fn requests_cut_at_every_byte_are_read_alike() {
    let commands: Vec<Argv> = ["SET a b", "GET a", "MSET k 1 l 22 m 333"]
        .map(|line| line.split(' ').map(|word| word.as_bytes().to_vec()).collect())
        .into();
    let bytes = encode(&commands);
    assert_eq!(ours(bytes.chunks(1)), commands);
    for cut in 0..=bytes.len() {
        assert_eq!(ours([&bytes[..cut], &bytes[cut..]].into_iter()), commands, "cut at {cut}");
    }
}
