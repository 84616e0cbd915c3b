//! The wire format, held to `redis-protocol`, a decoder that others wrote: the commands that our
//! incremental parser finds, however their bytes were cut into reads, and the values that our
//! replies decode to in both protocol versions.
//!
//! Deliberately absent: inline commands and malformed input, which the two decoders see differently
//! by design; `src/resp/request.rs` has upstream's error texts.

#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use redis_protocol::resp2::types::OwnedFrame as Frame2;
use redis_protocol::resp3::types::{OwnedFrame as Frame3, Resp3Frame, VerbatimStringFormat};
use redis_protocol::{resp2, resp3};
use redstart::resp::reply::{Protocol, Reply};

use wire::{Words, compare, encoded};

#[path = "../fuzz/src/wire.rs"]
mod wire;

/// Bytes that are likely to mislead a parser: its own marks, or none of them, or many.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..24),
        4 => vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'$'), Just(b'*'), Just(b'1')], 0..12),
        1 => (90_usize..1100).prop_map(|len| vec![b'x'; len]),
        1 => Just(vec![b'\n'; 17_000]),
    ]
}

/// A command; one without words is announced as such and means nothing.
fn command() -> impl Strategy<Value = Words> {
    prop_oneof![
        8 => vec(payload(), 1..6),
        1 => vec(vec(any::<u8>(), 0..3), 8..130),
        1 => Just(Words::new()),
    ]
}

#[test]
fn commands_are_found_however_they_are_cut() {
    let case = (vec(command(), 1..12), vec(any::<u16>(), 0..24));
    TestRunner::new(Config::with_cases(600))
        .run(&case, |(commands, cuts)| {
            let stream = commands.iter().flat_map(|words| encoded(words)).collect::<Vec<_>>();
            let place = |cut: &u16| usize::from(*cut) * stream.len() / usize::from(u16::MAX);
            let mut cuts = cuts.iter().map(place).collect::<Vec<_>>();
            cuts.sort_unstable();
            compare(&stream, cuts.into_iter());
            Ok(())
        })
        .unwrap();
}

#[test]
fn commands_are_found_byte_by_byte() {
    let short = vec(vec(vec(any::<u8>(), 0..16), 0..5), 1..5);
    TestRunner::new(Config::with_cases(200))
        .run(&short, |commands| {
            let stream = commands.iter().flat_map(|words| encoded(words)).collect::<Vec<_>>();
            compare(&stream, 1..stream.len());
            Ok(())
        })
        .unwrap();
}

#[test]
fn two_reads_may_meet_at_any_byte() {
    let commands: [&[&[u8]]; 4] = [
        &[b"SET", b"key", b"$3\r\n*1\r\n"],
        &[],
        &[b"", b"", b""],
        &[b"MSET", &[b'k'; 100], b"\r", &[b'\n'; 12]],
    ];
    let words = |command: &[&[u8]]| command.iter().map(|word| word.to_vec()).collect::<Words>();
    let stream = commands.iter().flat_map(|command| encoded(&words(command))).collect::<Vec<_>>();
    for cut in 0..=stream.len() {
        compare(&stream, [cut].into_iter());
    }
}

/// Something that a command may answer.
#[derive(Clone, Debug)]
enum Answer {
    Ok,
    Simple(String),
    Error(String),
    Int(i64),
    Count(usize),
    Bulk(Vec<u8>),
    BulkInt(i64),
    Null,
    NullArray,
    Double(f64),
    Boolean(bool),
    Text(Vec<u8>),
    Markdown(Vec<u8>),
    BigNumber(String),
    StatusLines(Vec<String>),
    Array(Vec<Answer>, Length),
    Map(Vec<(Vec<u8>, Answer)>, Length),
    Set(Vec<Vec<u8>>),
    Push(Vec<Answer>),
}

/// When the number of elements is known.
#[derive(Clone, Copy, Debug)]
enum Length {
    Before,
    Afterwards,
}

fn length() -> impl Strategy<Value = Length> {
    prop_oneof![Just(Length::Before), Just(Length::Afterwards)]
}

fn leaf() -> BoxedStrategy<Answer> {
    prop_oneof![
        Just(Answer::Ok),
        "[ -~]{0,20}".prop_map(Answer::Simple),
        "[A-Z]{1,8} [ -~]{0,20}".prop_map(Answer::Error),
        prop_oneof![any::<i64>(), -10_i64..10].prop_map(Answer::Int),
        (0_usize..1000).prop_map(Answer::Count),
        payload().prop_map(Answer::Bulk),
        any::<i64>().prop_map(Answer::BulkInt),
        Just(Answer::Null),
        Just(Answer::NullArray),
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            any::<i32>().prop_map(f64::from),
            any::<i16>().prop_map(|number| f64::from(number) / 100.0),
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
            Just(f64::NAN),
            Just(-0.0),
        ]
        .prop_map(Answer::Double),
        any::<bool>().prop_map(Answer::Boolean),
        payload().prop_map(Answer::Text),
        payload().prop_map(Answer::Markdown),
        "-?[1-9][0-9]{0,40}".prop_map(Answer::BigNumber),
        vec("[ -~]{0,10}", 0..4).prop_map(Answer::StatusLines),
        btree_set(payload(), 0..6).prop_map(|members| Answer::Set(members.into_iter().collect())),
    ]
    .boxed()
}

fn answer() -> impl Strategy<Value = Answer> {
    let nested = leaf().prop_recursive(4, 40, 6, |inner| {
        let pairs = btree_map(payload(), inner.clone(), 0..5);
        prop_oneof![
            (vec(inner, 0..6), length())
                .prop_map(|(elements, length)| Answer::Array(elements, length)),
            (pairs, length())
                .prop_map(|(pairs, length)| Answer::Map(pairs.into_iter().collect(), length)),
        ]
    });
    // Messages come between replies, never within one.
    let push = vec(nested.clone(), 1..4).prop_map(Answer::Push);
    prop_oneof![6 => nested, 1 => push]
}

impl Answer {
    fn write(&self, reply: &mut Reply<'_>) {
        match self {
            Self::Ok => reply.ok(),
            Self::Simple(text) => reply.simple(text),
            Self::Error(text) if text.len() % 2 == 0 => reply.error(text),
            Self::Error(text) => reply.error_bytes(text.as_bytes()),
            Self::Int(number) => reply.int(*number),
            Self::Count(number) => reply.count(*number),
            Self::Bulk(bytes) => reply.bulk(bytes),
            Self::BulkInt(number) => reply.bulk_int(*number),
            Self::Null => reply.null(),
            Self::NullArray => reply.null_array(),
            Self::Double(number) => reply.double(*number),
            Self::Boolean(value) => reply.boolean(*value),
            Self::Text(bytes) => reply.verbatim("txt", bytes),
            Self::Markdown(bytes) => reply.verbatim("mkd", bytes),
            Self::BigNumber(digits) => reply.big_number(digits.as_bytes()),
            Self::StatusLines(lines) => reply.status_lines(lines.iter().map(String::as_str)),
            Self::Array(elements, Length::Before) => {
                reply.array(elements.len());
                elements.iter().for_each(|element| element.write(reply));
            }
            Self::Array(elements, Length::Afterwards) => {
                let start = reply.deferred();
                elements.iter().for_each(|element| element.write(reply));
                reply.finish_array(start, elements.len());
            }
            Self::Map(pairs, length) => {
                let start = match length {
                    Length::Before => {
                        reply.map(pairs.len());
                        None
                    }
                    Length::Afterwards => Some(reply.deferred()),
                };
                for (key, value) in pairs {
                    reply.bulk(key);
                    value.write(reply);
                }
                if let Some(start) = start {
                    reply.finish_map(start, pairs.len());
                }
            }
            Self::Set(members) => {
                reply.set(members.len());
                members.iter().for_each(|member| reply.bulk(member));
            }
            Self::Push(elements) => {
                reply.push(elements.len());
                elements.iter().for_each(|element| element.write(reply));
            }
        }
    }

    /// Whether RESP2's `frame` says the same.
    fn is2(&self, frame: &Frame2) -> bool {
        match (self, frame) {
            (Self::Ok, Frame2::SimpleString(bytes)) => bytes == b"OK",
            (Self::Simple(text), Frame2::SimpleString(bytes)) => bytes == text.as_bytes(),
            (Self::Error(text), Frame2::Error(found)) => found == text,
            (Self::Int(number), Frame2::Integer(found)) => found == number,
            (Self::Count(number), Frame2::Integer(found)) => *found == *number as i64,
            (Self::Bulk(bytes) | Self::Text(bytes) | Self::Markdown(bytes), found) => {
                *found == Frame2::BulkString(bytes.clone())
            }
            (Self::BulkInt(number), Frame2::BulkString(bytes)) => {
                bytes == number.to_string().as_bytes()
            }
            (Self::Null | Self::NullArray, found) => *found == Frame2::Null,
            (Self::Double(number), Frame2::BulkString(bytes)) => {
                same_double(std::str::from_utf8(bytes).unwrap().parse().unwrap(), *number)
            }
            (Self::Boolean(value), Frame2::Integer(found)) => *found == i64::from(*value),
            (Self::BigNumber(digits), Frame2::BulkString(bytes)) => bytes == digits.as_bytes(),
            (Self::StatusLines(lines), Frame2::Array(found)) => {
                let line = |line: &String| Frame2::SimpleString(line.clone().into_bytes());
                *found == lines.iter().map(line).collect::<Vec<_>>()
            }
            (Self::Array(elements, _) | Self::Push(elements), Frame2::Array(found)) => {
                elements.len() == found.len()
                    && elements.iter().zip(found).all(|(element, found)| element.is2(found))
            }
            (Self::Map(pairs, _), Frame2::Array(found)) => {
                found.len() == 2 * pairs.len()
                    && pairs.iter().zip(found.chunks(2)).all(|((key, value), found)| {
                        found[0] == Frame2::BulkString(key.clone()) && value.is2(&found[1])
                    })
            }
            (Self::Set(members), Frame2::Array(found)) => {
                *found == members.iter().cloned().map(Frame2::BulkString).collect::<Vec<_>>()
            }
            _ => false,
        }
    }

    /// Whether RESP3's `frame` says the same.
    fn is3(&self, frame: &Frame3) -> bool {
        match (self, frame) {
            (Self::Ok, Frame3::SimpleString { data, .. }) => data == b"OK",
            (Self::Simple(text), Frame3::SimpleString { data, .. }) => data == text.as_bytes(),
            (Self::Error(text), Frame3::SimpleError { data, .. }) => data == text,
            (Self::Int(number), Frame3::Number { data, .. }) => data == number,
            (Self::Count(number), Frame3::Number { data, .. }) => *data == *number as i64,
            (Self::Bulk(bytes), found) => *found == blob(bytes),
            (Self::BulkInt(number), found) => *found == blob(number.to_string().as_bytes()),
            (Self::Null | Self::NullArray, Frame3::Null) => true,
            (Self::Double(number), Frame3::Double { data, .. }) => same_double(*data, *number),
            (Self::Boolean(value), Frame3::Boolean { data, .. }) => data == value,
            (Self::Text(bytes), Frame3::VerbatimString { data, format, .. }) => {
                data == bytes && *format == VerbatimStringFormat::Text
            }
            (Self::Markdown(bytes), Frame3::VerbatimString { data, format, .. }) => {
                data == bytes && *format == VerbatimStringFormat::Markdown
            }
            (Self::BigNumber(digits), Frame3::BigNumber { data, .. }) => data == digits.as_bytes(),
            (Self::StatusLines(lines), Frame3::Array { data, .. }) => {
                let line = |line: &String| Frame3::SimpleString {
                    data: line.clone().into_bytes(),
                    attributes: None,
                };
                *data == lines.iter().map(line).collect::<Vec<_>>()
            }
            (Self::Array(elements, _), Frame3::Array { data, .. })
            | (Self::Push(elements), Frame3::Push { data, .. }) => {
                elements.len() == data.len()
                    && elements.iter().zip(data).all(|(element, found)| element.is3(found))
            }
            (Self::Map(pairs, _), Frame3::Map { data, .. }) => {
                let same = |key: &[u8], value: &Answer| {
                    data.get(&blob(key)).is_some_and(|found| value.is3(found))
                };
                data.len() == pairs.len() && pairs.iter().all(|(key, value)| same(key, value))
            }
            (Self::Set(members), Frame3::Set { data, .. }) => {
                data.len() == members.len()
                    && members.iter().all(|member| data.contains(&blob(member)))
            }
            _ => false,
        }
    }
}

fn blob(bytes: &[u8]) -> Frame3 {
    Frame3::BlobString { data: bytes.to_vec(), attributes: None }
}

/// The same number to the bit; NaN has no others.
fn same_double(found: f64, expected: f64) -> bool {
    found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan())
}

/// The answers' bytes, with replies between them that were begun and taken back.
fn written(answers: &[Answer], protocol: Protocol) -> Vec<u8> {
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, protocol);
    for (answer, taken_back) in answers.iter().zip(answers.iter().rev()) {
        let position = reply.position();
        taken_back.write(&mut reply);
        reply.rewind(position);
        answer.write(&mut reply);
    }
    out
}

#[test]
fn replies_decode_to_what_was_answered() {
    TestRunner::new(Config::with_cases(800))
        .run(&vec(answer(), 1..4), |answers| {
            let bytes = written(&answers, Protocol::Resp2);
            let mut rest = &bytes[..];
            for answer in &answers {
                let (frame, taken) = resp2::decode::decode(rest).unwrap().unwrap();
                assert!(answer.is2(&frame), "{answer:?} came as {frame:?}");
                rest = &rest[taken..];
            }
            assert!(rest.is_empty(), "too much in RESP2: {rest:?}");

            let bytes = written(&answers, Protocol::Resp3);
            let mut rest = &bytes[..];
            for answer in &answers {
                let (frame, taken) = resp3::decode::complete::decode(rest).unwrap().unwrap();
                assert!(answer.is3(&frame), "{answer:?} came as {frame:?}");
                rest = &rest[taken..];
            }
            assert!(rest.is_empty(), "too much in RESP3: {rest:?}");
            Ok(())
        })
        .unwrap();
}

#[test]
fn an_attribute_belongs_to_the_reply_behind_it() {
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, Protocol::Resp3);
    reply.attribute(1);
    reply.bulk(b"key-popularity");
    reply.double(0.5);
    reply.bulk(b"value");
    let (frame, taken) = resp3::decode::complete::decode(&out).unwrap().unwrap();
    assert_eq!(taken, out.len());
    let attributes = frame.attributes().unwrap();
    let popularity = Frame3::Double { data: 0.5, attributes: None };
    assert_eq!(attributes.get(&blob(b"key-popularity")), Some(&popularity));
    assert!(matches!(frame, Frame3::BlobString { data, .. } if data == b"value"));
}
