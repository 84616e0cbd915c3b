//! Tests of the decoder: bytes typed from the format's description, roundtrips, damage.

use proptest::prelude::*;

use super::*;
use crate::base::checksum::Crc64;
use crate::data::thresholds::Thresholds;
use crate::data::value::{Object, ValueRef};
use crate::rdb::encode::{self, EncodeOptions};

fn decode(bytes: &[u8]) -> Result<Vec<Event>, DecodeError> {
    decode_by(bytes, Checksum::Verify)
}

fn decode_by(source: impl Read, checksum: Checksum) -> Result<Vec<Event>, DecodeError> {
    let mut decoder = Decoder::new(source, checksum)?;
    let mut events = Vec::new();
    while let Some(event) = decoder.next_event()? {
        events.push(event);
    }
    Ok(events)
}

/// A source that gives one byte at a time.
struct Dripping<'a>(&'a [u8]);

impl Read for Dripping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = buffer.len().min(1);
        self.0.read(&mut buffer[..len])
    }
}

fn entry(key: &[u8], value: OwnedValue) -> Event {
    Event::Entry { key: key.to_vec(), value, expiry: None, access: Access::Unknown }
}

fn string(bytes: &[u8]) -> OwnedValue {
    OwnedValue::Str(bytes.to_vec())
}

/// A file with one of everything.
fn sample() -> Vec<u8> {
    let options = EncodeOptions::default();
    let mut out = Vec::new();
    encode::header(&mut out, &options);
    encode::aux(&mut out, &options, b"redis-ver", b"7.2.4");
    encode::aux(&mut out, &options, b"redis-bits", b"64");
    encode::function(&mut out, &options, b"#!lua name=f\n");
    encode::select_db(&mut out, 3);
    encode::resize_db(&mut out, 70, 1);
    let at = Some(UnixMillis(1_900_000_000_123));
    encode::entry(&mut out, &options, b"k", ValueRef::Int(-7), at, Access::Unknown);
    encode::entry(&mut out, &options, b"12", ValueRef::Str(b"text"), None, Access::Idle(100));
    let long = b"abcdefgh".repeat(9);
    encode::entry(&mut out, &options, &long, ValueRef::Str(&long), None, Access::Frequency(5));
    encode::end(&mut out);
    let mut crc = Crc64::new();
    crc.update(&out);
    encode::checksum(&mut out, Some(&crc));
    out
}

#[test]
fn everything_comes_back() {
    let bytes = sample();
    let long = b"abcdefgh".repeat(9);
    let aux = |key: &[u8], value: &[u8]| Event::Aux { key: key.to_vec(), value: value.to_vec() };
    let expected = vec![
        aux(b"redis-ver", b"7.2.4"),
        aux(b"redis-bits", b"64"),
        Event::Function(b"#!lua name=f\n".to_vec()),
        Event::SelectDb(3),
        Event::ResizeDb { keys: 70, expires: 1 },
        Event::Entry {
            key: b"k".to_vec(),
            value: OwnedValue::Int(-7),
            expiry: Some(UnixMillis(1_900_000_000_123)),
            access: Access::Unknown,
        },
        Event::Entry {
            key: b"12".to_vec(),
            value: string(b"text"),
            expiry: None,
            access: Access::Idle(100),
        },
        Event::Entry {
            key: long.clone(),
            value: string(&long),
            expiry: None,
            access: Access::Frequency(5),
        },
        Event::End(Verdict::Verified),
    ];
    assert_eq!(decode(&bytes).unwrap(), expected);
    assert_eq!(decode_by(Dripping(&bytes), Checksum::Verify).unwrap(), expected);
}

#[test]
fn bytes_from_the_format_description() {
    let mut bytes = b"REDIS0003".to_vec();
    bytes.extend_from_slice(b"\xfe\x00");
    bytes.extend_from_slice(b"\xfd\x80\x51\x01\x00\x00\x01a\x80\x00\x00\x00\x02hi");
    bytes.extend_from_slice(b"\x00\xc1\x00\x01\x40\x01x");
    bytes.extend_from_slice(b"\x00\x01b\xc3\x05\x0b\x00a\xe0\x01\x00");
    bytes.extend_from_slice(b"\x00\x01c\x81\0\0\0\0\0\0\0\x03123");
    bytes.extend_from_slice(b"\xff");
    let expected = vec![
        Event::SelectDb(0),
        Event::Entry {
            key: b"a".to_vec(),
            value: string(b"hi"),
            expiry: Some(UnixMillis(86_400_000)),
            access: Access::Unknown,
        },
        entry(b"256", string(b"x")),
        entry(b"b", string(b"aaaaaaaaaaa")),
        entry(b"c", OwnedValue::Int(123)),
        Event::End(Verdict::Absent),
    ];
    assert_eq!(decode(&bytes).unwrap(), expected);
}

#[test]
fn modules_and_slots_are_skipped() {
    let mut bytes = b"VALKEY080\xf4\x05\x0a\x02".to_vec();
    // The name is nine times "B", the version 1.
    let identifier = (0..9).fold(0u64, |sum, _| sum << 6 | 1) << 10 | 1;
    bytes.extend_from_slice(b"\xf7\x81");
    bytes.extend_from_slice(&identifier.to_be_bytes());
    bytes.extend_from_slice(b"\x02\x01\x01\x07\x03ffff\x04dddddddd\x05\x03str\x05\xc0\x01");
    bytes.extend_from_slice(b"\x05\xc3\x02\x09zz\x00");
    bytes.extend_from_slice(b"\xff\0\0\0\0\0\0\0\0");
    let expected =
        vec![Event::ModuleAux { module: "BBBBBBBBB".to_owned() }, Event::End(Verdict::Absent)];
    assert_eq!(decode(&bytes).unwrap(), expected);
}

#[test]
fn what_follows_the_end_is_handed_back() {
    let bytes = [sample().as_slice(), b"*1\r\n$4\r\nPING\r\n"].concat();
    let mut decoder = Decoder::new(&bytes[..], Checksum::Verify).unwrap();
    while decoder.next_event().unwrap().is_some() {}
    assert_eq!(decoder.offset(), sample().len() as u64);
    let (mut rest, mut source) = decoder.into_rest();
    source.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"*1\r\n$4\r\nPING\r\n");
}

#[test]
fn errors_tell_where_and_what() {
    for (bytes, text) in [
        (&b"REDIS001"[..], "a magic and a version expected at offset 8, found the end of the data"),
        (b"RODIS0010", "an RDB header expected at offset 0, found \"RODIS0010\""),
        (b"REDIS00x0", "an RDB header expected at offset 0, found \"REDIS00x0\""),
        (
            b"REDIS0016",
            "a version from 1 to 15 of Redis or 79 to 81 of Valkey expected at offset 5, found 16",
        ),
        (
            b"REDIS0000",
            "a version from 1 to 15 of Redis or 79 to 81 of Valkey expected at offset 5, found 0",
        ),
        (b"REDIS0010\x28", "an opcode or a type expected at offset 9, found 40"),
        (b"REDIS0010\x08", "an opcode or a type expected at offset 9, found 8"),
        (b"REDIS0010\0\xc5", "a key expected at offset 10, found encoding 0xc5"),
        (b"REDIS0010\0\x82", "a key expected at offset 10, found encoding 0x82"),
        (b"REDIS0010\xfe\xc0", "a database number expected at offset 10, found encoding 0xc0"),
        (
            b"REDIS0010\xfe\x81\0\0\0\x01\0\0\0\0",
            "a database number expected at offset 10, found 4294967296",
        ),
        (b"REDIS0010\0\x05abc", "a key expected at offset 14, found the end of the data"),
        (
            b"REDIS0010\0\x01a\xc3\x02\x02\x00",
            "a string expected at offset 16, found the end of the data",
        ),
        (
            b"REDIS0010\0\x01a\xc3\x02\x09\x20\x00",
            "a string expected at offset 15, found damaged compression: compressed data at byte 0 \
             refers 1 bytes back where 0 are known",
        ),
    ] {
        assert_eq!(decode(bytes).unwrap_err().to_string(), text);
    }
    let mut bytes = sample();
    let at = bytes.len() - 8;
    let expected = u64::from_le_bytes(bytes[at..].try_into().unwrap());
    bytes[at..].copy_from_slice(&1u64.to_le_bytes());
    assert_eq!(
        decode(&bytes).unwrap_err().to_string(),
        format!("RDB CRC error: {expected:016x} expected at offset {at}, found 0000000000000001")
    );
}

#[test]
fn truncation_is_an_error_everywhere() {
    let bytes = sample();
    for len in 0..bytes.len() {
        let found = decode(&bytes[..len]);
        assert!(matches!(found, Err(DecodeError::Truncated { .. })), "cut at {len}: {found:?}");
    }
}

#[test]
fn every_flipped_bit_is_an_error() {
    let bytes = sample();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&flipped).is_err(), "bit {bit} flipped");
    }
}

#[test]
fn checksums_may_be_absent_or_ignored() {
    let mut bytes = sample();
    let at = bytes.len() - 8;
    let last = |bytes: &[u8], checksum| decode_by(bytes, checksum).unwrap().pop().unwrap();
    assert_eq!(last(&bytes, Checksum::Ignore), Event::End(Verdict::Ignored));
    bytes[at] ^= 1;
    assert!(matches!(decode(&bytes), Err(DecodeError::Checksum { .. })));
    assert_eq!(last(&bytes, Checksum::Ignore), Event::End(Verdict::Ignored));
    bytes[at..].fill(0);
    assert_eq!(last(&bytes, Checksum::Verify), Event::End(Verdict::Absent));
}

#[test]
fn a_claimed_length_allocates_nothing() {
    // 2^62 bytes are claimed, three come.
    let bytes = b"REDIS0010\0\x01a\x81\x40\0\0\0\0\0\0\0abc";
    assert!(matches!(decode(bytes), Err(DecodeError::Truncated { offset: 24, .. })));
    // Compressed, they are impossible at once.
    let bytes = b"REDIS0010\0\x01a\xc3\x03\x81\x40\0\0\0\0\0\0\0\x01ab";
    assert!(matches!(decode(bytes), Err(DecodeError::Lzf { .. })));
}

#[test]
fn payloads() {
    use encode::dump_payload;
    let payload = dump_payload(ValueRef::Str(b"hello"), 10);
    let restored = restore_payload(&payload, Checksum::Verify, &Thresholds::default()).unwrap();
    assert_eq!(restored, string(b"hello"));
    let mut missed = 0;
    for bit in 0..payload.len() * 8 {
        let mut flipped = payload.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let found =
            restore_payload(&flipped, Checksum::Verify, &Thresholds::default()).unwrap_err();
        assert_eq!(found.to_string(), "DUMP payload version or checksum are wrong");
        let unchecked = restore_payload(&flipped, Checksum::Ignore, &Thresholds::default());
        missed += usize::from(unchecked.is_ok_and(|value| value != restored));
    }
    assert!(missed > 0, "without the checksum, each flip was noticed all the same");
    for len in 0..payload.len() {
        assert!(
            restore_payload(&payload[..len], Checksum::Verify, &Thresholds::default()).is_err()
        );
    }
    let sealed = |body: &[u8], version: u16| {
        let mut payload = [body, &version.to_le_bytes()].concat();
        payload.extend_from_slice(&crate::base::checksum::crc64(&payload).to_le_bytes());
        restore_payload(&payload, Checksum::Verify, &Thresholds::default())
    };
    for version in [1, 9, 11, 12, 15, 79, 80, 81] {
        assert_eq!(sealed(b"\0\xc0\x05", version).unwrap(), OwnedValue::Int(5));
    }
    for version in [16, 78, 82] {
        assert!(matches!(sealed(b"\0\xc0\x05", version), Err(RestoreError::Footer)));
    }
    for body in [&b""[..], b"\0", b"\0\x05abc", b"\xff", b"\x04\x00", b"\0\xc7"] {
        let found = sealed(body, 10).unwrap_err();
        assert!(matches!(found, RestoreError::Value(_)));
        assert_eq!(found.to_string(), "Bad data format");
    }
    assert!(matches!(sealed(b"\0\xc0\x05z", 10), Err(RestoreError::Excess { bytes: 1 })));
}

/// A listpack has no negative zero: a set that is going to be big is so from its first member on.
#[test]
fn a_big_sorted_set_keeps_its_negative_zero() {
    let first_score = |others: &[String]| {
        let mut file = b"REDIS0010\x05\x01k".to_vec();
        file.extend_from_slice(&(0x4000 | (others.len() + 1) as u16).to_be_bytes());
        file.extend_from_slice(b"\x05first");
        file.extend_from_slice(&(-0.0_f64).to_le_bytes());
        for other in others {
            file.extend_from_slice(&[0x40, other.len() as u8]);
            file.extend_from_slice(other.as_bytes());
            file.extend_from_slice(&1.5_f64.to_le_bytes());
        }
        file.extend_from_slice(b"\xff\0\0\0\0\0\0\0\0");
        let mut events = decode(&file).unwrap().into_iter();
        let Some(Event::Entry { value: OwnedValue::Object(object), .. }) = events.next() else {
            panic!("no object");
        };
        let Object::Zset(zset) = &object else { panic!("no sorted set") };
        (zset.encoding(), zset.score(b"first").unwrap().to_string())
    };
    assert_eq!(first_score(&["short".to_owned()]), ("listpack", "0".to_owned()));
    assert_eq!(first_score(&["long".repeat(17)]), ("skiplist", "-0".to_owned()));
    let many: Vec<String> = (0..128).map(|number| number.to_string()).collect();
    assert_eq!(first_score(&many), ("skiplist", "-0".to_owned()));
}

/// The rest of what can be wrong with collections is in `fuzz/src/hostile.rs`, for
/// `tests/fuzz_corpus.rs`.
#[test]
fn expiry_times_of_fields_that_are_none() {
    let restored = |body: &[u8], version: u16| {
        let mut payload = [body, &version.to_le_bytes()].concat();
        payload.extend_from_slice(&crate::base::checksum::crc64(&payload).to_le_bytes());
        restore_payload(&payload, Checksum::Verify, &Thresholds::default()).is_ok()
    };
    // Redis: after the earliest time, plus one; zero for none.
    let redis = |earliest: i64, after: u64| {
        let mut body = vec![format::TYPE_HASH_METADATA];
        body.extend_from_slice(&earliest.to_le_bytes());
        body.extend_from_slice(b"\x01\x81");
        body.extend_from_slice(&after.to_be_bytes());
        body.extend_from_slice(b"\x01f\x01v");
        restored(&body, 12)
    };
    assert!(redis(5, 0) && redis(5, 1) && redis(i64::MAX, 1));
    for (earliest, after) in [(0, 1), (-5, 1), (5, 1 << 63), (5, u64::MAX), (i64::MAX, 2)] {
        assert!(!redis(earliest, after), "{after} after {earliest}");
    }
    // Valkey: the time itself, -1 for none.
    let valkey = |at: i64| {
        let mut body = vec![format::TYPE_HASH_2];
        body.extend_from_slice(b"\x01\x01f\x01v");
        body.extend_from_slice(&at.to_le_bytes());
        restored(&body, 80)
    };
    assert!(valkey(-1) && valkey(1) && valkey(i64::MAX));
    assert!(!valkey(0) && !valkey(-2) && !valkey(i64::MIN));
}

proptest! {
    #[test]
    fn strings_roundtrip(
        entries in prop::collection::vec(
            ("(?s).{0,40}", prop_oneof!["[ab]{0,300}", "-?[0-9]{0,20}", "(?s).{0,100}"]), 0..20),
        compress: bool,
        version in 9u16..=12,
    ) {
        let options = EncodeOptions { version, compress };
        let mut out = Vec::new();
        let mut expected = Vec::new();
        encode::header(&mut out, &options);
        for (key, value) in &entries {
            let (key, value) = (key.as_bytes(), value.as_bytes());
            let access = Access::Unknown;
            encode::entry(&mut out, &options, key, ValueRef::Str(value), None, access);
            let number = crate::base::text::parse_i64(value);
            expected.push(entry(key, number.map_or_else(|| string(value), OwnedValue::Int)));
        }
        encode::end(&mut out);
        encode::checksum(&mut out, None);
        expected.push(Event::End(Verdict::Absent));
        prop_assert_eq!(decode(&out).unwrap(), expected);
    }

    #[test]
    fn integers_roundtrip(number: i64, shift in 0u32..64) {
        let number = number >> shift;
        let payload = encode::dump_payload(ValueRef::Int(number), 10);
        let restored = restore_payload(&payload, Checksum::Verify, &Thresholds::default()).unwrap();
        prop_assert_eq!(restored, OwnedValue::Int(number));
    }

    #[test]
    fn long_strings_roundtrip(len in 0usize..400_000, period in 1usize..9000) {
        let bytes: Vec<u8> = (0..len).map(|at| (at % period * 7 % 251) as u8).collect();
        let payload = encode::dump_payload(ValueRef::Str(&bytes), 10);
        let restored = restore_payload(&payload, Checksum::Verify, &Thresholds::default()).unwrap();
        prop_assert!(restored.as_ref() == ValueRef::Str(&bytes) || len < 20);
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = decode(&[b"REDIS0010".as_slice(), &bytes].concat());
        let _ = restore_payload(&bytes, Checksum::Ignore, &Thresholds::default());
    }

    #[test]
    fn damaged_files_dont_panic(place: prop::sample::Index, byte: u8, checksum: bool) {
        let mut bytes = sample();
        *place.get_mut(&mut bytes) = byte;
        let checksum = if checksum { Checksum::Verify } else { Checksum::Ignore };
        let _ = decode_by(&bytes[..], checksum);
    }
}
