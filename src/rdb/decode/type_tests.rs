//! Every type of every version, by bytes put together by hand; and which of them each version that
//! is written uses.

use super::*;
use crate::data::value::Object;
use crate::rdb::encode::{self, EncodeOptions};

/// The elements `a` and 2.
const ZIPLIST: &[u8] = b"\x10\0\0\0\x0d\0\0\0\x02\0\x00\x01a\x03\xf3\xff";
const LISTPACK: &[u8] = b"\x0c\0\0\0\x02\0\x81a\x02\x02\x01\xff";
/// A time in milliseconds.
const AT: i64 = 1_900_000_000_123;

/// A file with one key `k`: the magic, its type, what follows the key, no checksum.
fn file(magic: &[u8], type_byte: u8, body: &[u8]) -> Vec<u8> {
    [magic, &[type_byte], b"\x01k", body, b"\xff\0\0\0\0\0\0\0\0"].concat()
}

fn value_of(file: &[u8]) -> Result<OwnedValue, DecodeError> {
    let mut decoder = Decoder::new(file, Checksum::Verify)?;
    let first = decoder.next_event()?;
    let Some(Event::Entry { key, value, .. }) = first else { panic!("a key, not {first:?}") };
    assert_eq!(key, b"k");
    assert_eq!(decoder.next_event()?, Some(Event::End(Verdict::Absent)));
    Ok(value)
}

/// A value in words: what it is, and its elements in order, those of sets and hashes sorted.
fn describe(value: &OwnedValue) -> String {
    let text = |element: crate::data::element::Element<'_>| {
        String::from_utf8_lossy(&element.to_vec()).into_owned()
    };
    let (name, mut words, sorted): (_, Vec<String>, _) = match value {
        OwnedValue::Int(number) => return format!("int {number}"),
        OwnedValue::Str(bytes) => return format!("string {}", String::from_utf8_lossy(bytes)),
        OwnedValue::Object(Object::List(list)) => ("list", list.iter().map(text).collect(), false),
        OwnedValue::Object(Object::Set(set)) => ("set", set.iter().map(text).collect(), true),
        OwnedValue::Object(Object::Zset(zset)) => {
            let mut all: Vec<_> = zset.iter().map(|(name, score)| (score, text(name))).collect();
            all.sort_by(|one, other| one.0.total_cmp(&other.0));
            ("zset", all.iter().map(|(score, name)| format!("{name}={score}")).collect(), false)
        }
        OwnedValue::Object(Object::Hash(hash)) => {
            let field = |field: crate::data::hash::Field<'_>| {
                let at = field.expiry.map_or(String::new(), |at| format!("@{}", at.0));
                format!("{}={}{at}", text(field.name), text(field.value))
            };
            ("hash", hash.iter().map(field).collect(), true)
        }
        OwnedValue::Object(Object::Stream(stream)) => return format!("stream {stream:?}"),
    };
    if sorted {
        words.sort();
    }
    format!("{name} {}", words.join(" "))
}

/// A string of an RDB that is shorter than 64 bytes.
fn string(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8], bytes].concat()
}

#[test]
fn every_type_is_read() {
    let time = AT.to_le_bytes();
    let none = (-1_i64).to_le_bytes();
    let triples =
        [b"\x1f\0\0\0\x06\0\x81g\x02\x81w\x02\xf4", &time[..], b"\x09\x81f\x02\x81v\x02\0\x01\xff"];
    let triples = string(&triples.concat());
    let score = 2.5_f64.to_le_bytes();
    let timed = format!("hash f=v g=w@{AT}");
    let (redis, valkey) = (&b"REDIS0012"[..], &b"VALKEY080"[..]);
    for (magic, type_byte, body, expected) in [
        (redis, 0, b"\x03abc".to_vec(), "string abc"),
        (redis, 0, b"\xc1\x39\x30".to_vec(), "int 12345"),
        (redis, 1, b"\x03\x01a\xc0\x05\x01a".to_vec(), "list a 5 a"),
        (redis, 2, b"\x02\x01a\xc0\x07".to_vec(), "set 7 a"),
        (
            redis,
            3,
            b"\x04\x01a\x031.5\x01b\xfe\x01c\xff\x01d\x02-2".to_vec(),
            "zset c=-inf d=-2 a=1.5 b=inf",
        ),
        (redis, 4, b"\x02\x01f\x01v\x01g\xc0\x01".to_vec(), "hash f=v g=1"),
        (redis, 5, [b"\x01\x01m", &score[..]].concat(), "zset m=2.5"),
        (redis, 9, string(b"\x01\x01a\x01\x002\xff"), "hash a=2"),
        (redis, 10, string(ZIPLIST), "list a 2"),
        (redis, 11, string(b"\x02\0\0\0\x02\0\0\0\xff\xff\x09\0"), "set -1 9"),
        (redis, 11, string(b"\x08\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0"), "set 4294967296"),
        (redis, 12, string(ZIPLIST), "zset a=2"),
        (redis, 13, string(ZIPLIST), "hash a=2"),
        (
            redis,
            14,
            [&b"\x02"[..], &string(ZIPLIST), &string(b"\x0f\0\0\0\x0a\0\0\0\x01\0\0\x02bc\xff")]
                .concat(),
            "list a 2 bc",
        ),
        (redis, 16, string(LISTPACK), "hash a=2"),
        (redis, 17, string(LISTPACK), "zset a=2"),
        (redis, 18, [b"\x02\x01\x05plain\x02", &string(LISTPACK)[..]].concat(), "list plain a 2"),
        (redis, 20, string(LISTPACK), "set 2 a"),
        (
            redis,
            22,
            [b"\x02\0\x01f\x01v\x81", &AT.to_be_bytes()[..], b"\x01g\x01w"].concat(),
            &timed,
        ),
        (valkey, 22, [b"\x02\x01f\x01v", &none[..], b"\x01g\x01w", &time].concat(), &timed),
        (redis, 23, triples.clone(), &timed),
        (
            redis,
            24,
            [&(AT - 123).to_le_bytes()[..], b"\x02\0\x01f\x01v\x40\x7c\x01g\x01w"].concat(),
            &timed,
        ),
        (redis, 25, [&time[..], &triples].concat(), &timed),
    ] {
        let found = value_of(&file(magic, type_byte, &body));
        let found = found.unwrap_or_else(|error| panic!("type {type_byte}: {error}"));
        assert_eq!(describe(&found), expected, "type {type_byte}");
        for end in 11..11 + body.len() {
            let whole = file(magic, type_byte, &body);
            assert!(value_of(&whole[..end]).is_err(), "type {type_byte} cut at {end}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    for (type_byte, name) in [
        (6, "module value of a release candidate"),
        (7, "module value"),
        (28, "array"),
        (33, "rate limiter"),
    ] {
        let error = value_of(&file(b"REDIS0012", type_byte, b"\0")).unwrap_err();
        let expected = format!(
            "at offset 9 stands in the key \"k\" a value of the type {name} ({type_byte}), which this \
             server doesn't have"
        );
        assert_eq!(error.to_string(), expected);
    }
    for type_byte in [8, 40, 100] {
        let error = value_of(&file(b"REDIS0012", type_byte, b"\0")).unwrap_err();
        assert!(matches!(error, DecodeError::Opcode { .. }), "{error}");
    }
}

/// Older versions of upstream wrote such. Its key is told, and what belongs to it isn't given to the next one.
#[test]
fn a_collection_without_elements_is_passed_over() {
    let bytes = b"REDIS0012\xfc\x01\0\0\0\0\0\0\0\x02\x05empty\0\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0";
    let mut decoder = Decoder::new(&bytes[..], Checksum::Verify).unwrap();
    assert_eq!(decoder.next_event().unwrap(), Some(Event::EmptyKey(b"empty".to_vec())));
    let next = decoder.next_event().unwrap();
    assert!(matches!(next, Some(Event::Entry { expiry: None, .. })), "{next:?}");
    let empty_node = file(b"REDIS0012", 18, b"\x01\x01\0");
    let error = value_of(&empty_node).unwrap_err().to_string();
    assert_eq!(error, "a list node expected at offset 14, found an empty one");
}

#[test]
fn each_version_has_its_types() {
    // Each a small one, which has a compact form.
    let list = value_of(&file(b"REDIS0012", 1, b"\x03\x01a\xc0\x05\x01a")).unwrap();
    let set = value_of(&file(b"REDIS0012", 2, b"\x02\x01a\xc0\x07")).unwrap();
    let ints = value_of(&file(b"REDIS0012", 2, b"\x02\xc0\x02\xc0\x07")).unwrap();
    let zset = value_of(&file(b"REDIS0012", 3, b"\x02\x01a\x031.5\x01b\xff")).unwrap();
    let hash = value_of(&file(b"REDIS0012", 4, b"\x02\x01f\x01v\x01g\xc0\x01")).unwrap();
    let text = OwnedValue::Str(b"text".to_vec());
    for (version, types) in [
        (9, [14, 2, 11, 12, 13, 0]),
        (10, [18, 2, 11, 17, 16, 0]),
        (11, [18, 20, 11, 17, 16, 0]),
        (12, [18, 20, 11, 17, 16, 0]),
        (80, [18, 20, 11, 17, 16, 0]),
    ] {
        let magic = if version == 80 { "VALKEY080" } else { &format!("REDIS{version:04}") };
        let options = EncodeOptions { version, compress: false };
        for (value, type_byte) in [&list, &set, &ints, &zset, &hash, &text].into_iter().zip(types) {
            let mut out = Vec::new();
            encode::header(&mut out, &options);
            encode::entry(&mut out, &options, b"k", value.as_ref(), None, Access::Unknown);
            encode::end(&mut out);
            encode::checksum(&mut out, None);
            assert_eq!(out[..9], *magic.as_bytes());
            assert_eq!(out[9], type_byte, "version {version}, {}", describe(value));
            assert_eq!(describe(&value_of(&out).unwrap()), describe(value), "version {version}");
        }
    }
}

/// Lists whose nodes are of both kinds, in the version that has only one.
#[test]
fn a_long_list_keeps_its_elements_in_every_version() {
    let long = "x".repeat(20_000);
    let mut body = b"\x80\0\0\x08\x00".to_vec();
    let mut expected = String::from("list");
    for number in 0..2048 {
        let word = if number % 500 == 7 { long.clone() } else { format!("element:{number}") };
        body.extend_from_slice(&(0x4000 | word.len() as u16).to_be_bytes());
        if word.len() >= 0x4000 {
            body.truncate(body.len() - 2);
            body.push(0x80);
            body.extend_from_slice(&(word.len() as u32).to_be_bytes());
        }
        body.extend_from_slice(word.as_bytes());
        expected.push(' ');
        expected.push_str(&word);
    }
    let list = value_of(&file(b"REDIS0012", 1, &body)).unwrap();
    assert!(describe(&list) == expected);
    let OwnedValue::Object(object) = &list else { panic!("a list") };
    for version in (9..=12).chain([80]) {
        let options = EncodeOptions { version, compress: true };
        let frozen = object.freeze().unwrap();
        let mut out = Vec::new();
        encode::header(&mut out, &options);
        encode::frozen_head(&mut out, &options, b"k", &frozen, None, Access::Unknown);
        frozen.encode(options, &mut |piece| {
            out.extend_from_slice(piece);
            true
        });
        encode::end(&mut out);
        encode::checksum(&mut out, None);
        assert_eq!(out[9], if version == 9 { 14 } else { 18 });
        assert!(describe(&value_of(&out).unwrap()) == expected, "version {version}");
        let payload = encode::dump_payload(list.as_ref(), version);
        assert_eq!(payload[payload.len() - 10..][..2], version.to_le_bytes());
        let thresholds = Thresholds::default();
        let restored = restore_payload(&payload, Checksum::Verify, &thresholds).unwrap();
        assert!(describe(&restored) == expected, "version {version}");
    }
}

/// What a lower version can't say raises it, so that nothing is lost.
#[test]
fn expiring_fields_raise_the_version() {
    let body = [&(AT - 123).to_le_bytes()[..], b"\x02\0\x01f\x01v\x40\x7c\x01g\x01w"].concat();
    let hash = value_of(&file(b"REDIS0012", 24, &body)).unwrap();
    for version in 9..=12 {
        let payload = encode::dump_payload(hash.as_ref(), version);
        assert_eq!(payload[0], 25);
        assert_eq!(payload[payload.len() - 10..][..2], [12, 0]);
        let thresholds = Thresholds::default();
        let restored = restore_payload(&payload, Checksum::Verify, &thresholds).unwrap();
        assert_eq!(describe(&restored), describe(&hash));
    }
}

/// Two values, `v` and 7, in a listpack.
const VALUES: &[u8] = b"\x0c\0\0\0\x02\0\x81v\x02\x07\x01\xff";
/// The same behind 5, a template's id.
const REFERRING: &[u8] = b"\x0e\0\0\0\x03\0\x05\x01\x81v\x02\x07\x01\xff";
/// The template 5: the fields `f` and `gg`.
const TEMPLATE: &[u8] = b"\xf2\x05\x02\x01f\x02gg";

/// By the descriptions of Redis 8.10's forms.
#[test]
fn hashes_from_templates_are_read_as_plain_ones() {
    let magic = &b"REDIS0015"[..];
    let with_template = [magic, TEMPLATE].concat();
    for (magic, type_byte, body) in [
        (magic, 29, [b"\x02\x01f\x02gg", &string(VALUES)[..]].concat()),
        (&with_template, 30, string(REFERRING)),
        (magic, 31, b"\x02\x01f\x01v\x02gg\xc0\x07".to_vec()),
        (&with_template, 32, b"\x05\x01v\xc0\x07".to_vec()),
    ] {
        let whole = file(magic, type_byte, &body);
        let found = value_of(&whole).unwrap_or_else(|error| panic!("type {type_byte}: {error}"));
        assert_eq!(describe(&found), "hash f=v gg=7", "type {type_byte}");
        for end in magic.len() + 1..magic.len() + 3 + body.len() {
            assert!(value_of(&whole[..end]).is_err(), "type {type_byte} cut at {end}");
        }
    }
    // A template that isn't there, one told twice, values without fields and the other way round.
    for (magic, type_byte, body) in [
        (magic, 30, string(REFERRING)),
        (magic, 32, b"\x05\x01v\xc0\x07".to_vec()),
        (&[magic, TEMPLATE, TEMPLATE].concat(), 32, b"\x05\x01v\xc0\x07".to_vec()),
        (magic, 29, [b"\x01\x01f", &string(VALUES)[..]].concat()),
        (magic, 29, [b"\x03\x01f\x01g\x01h", &string(VALUES)[..]].concat()),
        (magic, 29, [b"\x02\x01f\x01f", &string(VALUES)[..]].concat()),
        (&with_template, 30, string(VALUES)),
    ] {
        assert!(value_of(&file(magic, type_byte, &body)).is_err(), "type {type_byte}");
    }
}

/// What Redis 8.6 and Valkey 9 write beside keys is passed over and counted.
#[test]
fn what_stands_beside_keys_is_passed_over() {
    let metadata = b"\xf3\x01\0\0\0\x07\x05\x03abc\x02\x09\0";
    let string_value = b"\0\x01k\x01v\xff\0\0\0\0\0\0\0\0";
    let import = b"\xf3\x03job\x02\0\x05\x40\x64\x41\0";
    for (file, passed_over) in [
        (
            [&b"REDIS0013"[..], metadata, string_value].concat(),
            PassedOver { key_metadata: 1, ..PassedOver::default() },
        ),
        (
            [&b"VALKEY081"[..], import, string_value].concat(),
            PassedOver { slot_imports: 1, ..PassedOver::default() },
        ),
    ] {
        assert_eq!(describe(&value_of(&file).unwrap()), "string v");
        let mut decoder = Decoder::new(&file[..], Checksum::Verify).unwrap();
        while decoder.next_event().unwrap().is_some() {}
        assert_eq!(decoder.passed_over(), passed_over);
    }
}

#[test]
fn unknown_types_are_passed_over_where_that_is_asked_for() {
    // Elements at 0, 3 and 9: a string, an integer, a float; then a module's value.
    let array = b"\x03\x01\x0a\0\0\x01x\x03\x01\x07\0\0\0\0\0\0\0\x09\x02\0\0\0\0\0\0\xf8\x3f";
    let module = b"\x81\0\0\0\0\0\0\0\x01\x05\x03abc\0";
    let file = [&b"REDIS0014\x1c\x01a"[..], array, b"\x07\x01m", module, b"\0\x01k\x01v\xff"];
    let file = [&file.concat(), &[0; 8][..]].concat();
    let error = value_of(&file).unwrap_err().to_string();
    let named = "at offset 9 stands in the key \"a\" a value of the type array (28), which this \
                 server doesn't have";
    assert_eq!(error, named);
    let mut decoder = Decoder::new(&file[..], Checksum::Verify).unwrap();
    decoder = decoder.with_unknown_types(UnknownTypes::Skip);
    for (key, type_name) in [(b"a", "array"), (b"m", "module value")] {
        let skipped = Event::Skipped { key: key.to_vec(), type_name };
        assert_eq!(decoder.next_event().unwrap(), Some(skipped));
    }
    assert!(matches!(decoder.next_event(), Ok(Some(Event::Entry { .. }))));
    // One whose layout isn't known stops all the same.
    let limiter = b"REDIS0014\x21\x01k\0\xff\0\0\0\0\0\0\0\0";
    let mut decoder = Decoder::new(&limiter[..], Checksum::Verify).unwrap();
    decoder = decoder.with_unknown_types(UnknownTypes::Skip);
    assert!(matches!(decoder.next_event(), Err(DecodeError::UnsupportedType { .. })));
}
