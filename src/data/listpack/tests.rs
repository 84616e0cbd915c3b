//! A listpack against a vector, and bytes that only look like one.

use super::entry::{STRING_12, STRING_32};
use super::validate::SHORT_LENGTHS;
use super::{Listpack, ListpackError, entry, entry_bytes};
use crate::base::env::Rng;
use crate::data::element::Element;

fn element(rng: &mut Rng) -> Vec<u8> {
    match rng.below(12) {
        0 => rng.below(128).to_string().into_bytes(),
        1 => (rng.below(8192) as i64 - 4096).to_string().into_bytes(),
        2 => (rng.next_u64() as i16).to_string().into_bytes(),
        3 => (rng.below(1 << 24) as i64 - (1 << 23)).to_string().into_bytes(),
        4 => (rng.next_u64() as i32).to_string().into_bytes(),
        5 => (rng.next_u64() as i64).to_string().into_bytes(),
        6 => vec![b'x'; rng.below(70) as usize],
        7 => vec![b'y'; 60 + rng.below(80) as usize],
        8 if rng.below(20) == 0 => vec![b'z'; 4090 + rng.below(10) as usize],
        9 if rng.below(100) == 0 => vec![b'z'; 16_370 + rng.below(20) as usize],
        10 => Vec::new(),
        _ => format!("e{}", rng.below(50)).into_bytes(),
    }
}

fn same(pack: &Listpack, model: &[Vec<u8>]) {
    assert_eq!(pack.len(), model.len());
    assert!(pack.iter().map(Element::to_vec).eq(model.iter().cloned()));
    assert!(pack.iter().rev().map(Element::to_vec).eq(model.iter().rev().cloned()));
    let checked = Listpack::from_bytes(pack.as_bytes()).unwrap();
    assert!(&checked == pack);
}

#[test]
fn behaves_like_a_vector() {
    let mut rng = Rng::from_seed(3);
    let mut pack = Listpack::new();
    let mut model: Vec<Vec<u8>> = Vec::new();
    for step in 0..120_000 {
        let new = element(&mut rng);
        let index = rng.below(model.len() as u64 + 1) as usize;
        let at = pack.seek(index);
        assert_eq!(at.is_some(), index < model.len());
        match (rng.below(if model.len() > 60 { 14 } else { 9 }), at) {
            (0 | 1, _) => {
                let bytes = pack.byte_len();
                pack.push_back(&new);
                assert_eq!(pack.byte_len(), bytes + entry_bytes(&new));
                model.push(new);
            }
            (2, _) => {
                pack.push_front(&new);
                model.insert(0, new);
            }
            (3, Some(at)) => {
                pack.insert_before(at, &new);
                model.insert(index, new);
            }
            (4, Some(at)) => {
                pack.insert_after(at, &new);
                model.insert(index + 1, new);
            }
            (5 | 6, Some(at)) => {
                pack.replace(at, &new);
                assert!(pack.get(at).is(&new));
                model[index] = new;
            }
            (7, _) => {
                let from = pack.first();
                let found = from.and_then(|from| pack.find(from, &new, 1));
                let expected = model.iter().position(|one| *one == new);
                assert_eq!(found, expected.and_then(|index| pack.seek(index)));
                let found = from.and_then(|from| pack.find(from, &new, 2));
                let expected = model.iter().step_by(2).position(|one| *one == new);
                assert_eq!(found, expected.and_then(|index| pack.seek(2 * index)));
            }
            (8, _) => {
                let mut rest = pack.split_off(index);
                same(&rest, &model[index..]);
                same(&pack, &model[..index]);
                rest.append(&pack);
                model.rotate_left(index);
                pack = rest;
            }
            (9 | 10, Some(at)) => {
                let count = rng.below(8) as usize;
                let next = pack.remove(at, count);
                let end = (index + count).min(model.len());
                model.drain(index..end);
                assert_eq!(next, pack.seek(index).filter(|_| index < model.len()));
            }
            (11, _) => {
                pack.truncate_front(index / 4);
                model.drain(..index / 4);
            }
            (12, _) => {
                pack.truncate_back(index / 4);
                model.truncate(model.len() - index / 4);
            }
            _ => {}
        }
        assert_eq!(pack.seek(pack.len().wrapping_sub(1)), pack.last());
        if step % 50 == 0 {
            same(&pack, &model);
        }
    }
}

#[test]
fn counts_beyond_what_the_header_holds() {
    let mut pack = Listpack::new();
    for number in 0..70_000 {
        pack.push_back_int(number);
    }
    assert_eq!(pack.len(), 70_000);
    assert!(pack.get(pack.seek(pack.len() - 1).unwrap()).is(b"69999"));
    pack.truncate_front(10_000);
    assert_eq!(
        (pack.len(), pack.as_bytes()[4..6].to_vec()),
        (60_000, 60_000_u16.to_le_bytes().to_vec())
    );
}

/// As redis-server 7.0.15 has it in the payload of DUMP.
#[test]
fn writes_upstreams_bytes() {
    let mut pack = Listpack::new();
    for element in [&b"a"[..], b"1000", b"-5", b"70000", b"-9223372036854775808", b"007"] {
        pack.push_back(element);
    }
    let expected = b"\x2c\0\0\0\x06\0\x81a\x02\xc3\xe8\x02\xdf\xfb\x02\xf2\x70\x11\x01\x04\
        \xf4\0\0\0\0\0\0\0\x80\x09\x83007\x04\xff";
    let mut expected = expected.to_vec();
    expected[0] = expected.len() as u8;
    assert_eq!(pack.as_bytes(), expected);
}

#[test]
fn refuses_damage() {
    let mut pack = Listpack::new();
    for element in [&b"abc"[..], b"12", &[b'x'; 100], b"-30000"] {
        pack.push_back(element);
    }
    let good = pack.as_bytes().to_vec();
    for end in 0..good.len() {
        assert!(Listpack::from_bytes(&good[..end]).is_err());
    }
    // Every flipped bit gives an error or another listpack, never one that can't be walked.
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        if let Ok(walked) = Listpack::from_bytes(&bad) {
            assert_eq!(walked.iter().count(), walked.len());
            assert_eq!(walked.iter().rev().count(), walked.len());
        }
    }
    assert_eq!(
        Listpack::from_bytes(&[8, 0, 0, 0, 1, 0, 0xf5, 0xff]),
        Err(ListpackError::Entry { offset: 6 })
    );
    assert_eq!(
        Listpack::from_bytes(&[9, 0, 0, 0, 2, 0, 1, 1, 0xff]),
        Err(ListpackError::Count { told: 2, found: 1 })
    );
}

#[test]
fn short_lengths_are_those_of_the_entries() {
    for first in 0..=u8::MAX {
        let told = usize::from(SHORT_LENGTHS[usize::from(first)]);
        let short = !(STRING_12..=STRING_32).contains(&first);
        let found = entry::data_len(&[first, 0, 0, 0, 0], 0).filter(|_| short);
        assert_eq!(told, found.unwrap_or(0), "{first:#x}");
    }
}

/// As Redis 8.8 and Valkey 9.1 write an entry of 16,383 bytes, in front of all that may follow near the end.
#[test]
fn lengths_of_newer_servers_are_widened_and_damage_is_found() {
    let mut pack = Listpack::new();
    pack.push_back(&[b'x'; 16_383 - 5]);
    let last = pack.as_bytes().len() - 1;
    pack.push_back(b"abc");
    let ours = pack.as_bytes();
    assert_eq!(ours[last - 3..last], [0, 0xff, 0xff]);
    let mut newer = [&ours[..last - 3], &[0x7f, 0xff], &ours[last..]].concat();
    let total = u32::try_from(newer.len()).unwrap();
    newer[..4].copy_from_slice(&total.to_le_bytes());
    assert_eq!(Listpack::from_bytes(&newer).unwrap().as_bytes(), ours);
    for at in last - 3..newer.len() - 1 {
        for byte in 0..=u8::MAX {
            let mut bad = newer.clone();
            bad[at] = byte;
            if let Ok(found) = Listpack::from_bytes(&bad) {
                assert_eq!(found.len(), 2, "{byte:#x} at {at}");
            }
        }
    }
}
