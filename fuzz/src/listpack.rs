//! The blocks in which small collections come: what is accepted can be walked, changed and written
//! again; what isn't is an error.
//!
//! ```text
//! kind 1 | decisions: count 1, byte ... | the block's bytes
//!
//! kind  0 listpack    1 the same, its header made right
//!       2 set of integers    3 the same, its header made right
//!       4 ziplist of a list    5 of a hash    6 of a sorted set    7 zipmap
//! ```
//!
//! Ziplists and zipmaps are only ever read, inside of what RESTORE gets; their headers are made right.

use std::collections::BTreeSet;

use redstart::data::element::Element;
use redstart::data::intset::IntSet;
use redstart::data::listpack::{Cursor, Listpack};
use redstart::rdb::format;

use super::input::Input;
use super::restore;

/// Bytes of a listpack's header; of a ziplist's.
const LISTPACK_HEADER: usize = 6;
const ZIPLIST_HEADER: usize = 10;
/// A listpack grows no longer than this.
const ELEMENTS_MAX: usize = 3000;

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.below(8);
    let mut decisions = Input::new(input.piece(255));
    let mut block = input.rest().to_vec();
    match kind {
        0 | 1 => {
            if kind == 1 && block.len() >= LISTPACK_HEADER {
                let len = block.len() as u32;
                block[..4].copy_from_slice(&len.to_le_bytes());
                block[4..6].fill(0xff);
            }
            if let Ok(pack) = Listpack::from_bytes(&block) {
                assert_eq!(pack.as_bytes(), block);
                listpack(pack, &mut decisions);
            }
        }
        2 | 3 => {
            if kind == 3 && block.len() >= 8 {
                let width = [2, 4, 8][usize::from(block[0]) % 3];
                let count = (block.len() - 8) / width;
                block.truncate(8 + count * width);
                block[..4].copy_from_slice(&(width as u32).to_le_bytes());
                block[4..8].copy_from_slice(&(count as u32).to_le_bytes());
            }
            if let Ok(ints) = IntSet::from_bytes(&block) {
                assert_eq!(ints.as_bytes(), block);
                intset(ints, &mut decisions);
            }
        }
        _ => {
            let type_byte = [
                format::TYPE_LIST_ZIPLIST,
                format::TYPE_HASH_ZIPLIST,
                format::TYPE_ZSET_ZIPLIST,
                format::TYPE_HASH_ZIPMAP,
            ][kind - 4];
            if kind < 7 && block.len() >= ZIPLIST_HEADER {
                let len = block.len() as u32;
                block[..4].copy_from_slice(&len.to_le_bytes());
                block[8..10].fill(0xff);
            }
            restore::run(&wrapped(type_byte, &block));
        }
    }
}

/// An input of `restore` in which a block is a string.
fn wrapped(type_byte: u8, block: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, type_byte, format::LENGTH_32];
    out.extend_from_slice(&(block.len() as u32).to_be_bytes());
    out.extend_from_slice(block);
    out
}

fn cursor(pack: &Listpack, input: &mut Input<'_>) -> Option<(usize, Cursor)> {
    let len = pack.len();
    let index = input.below(len.max(1));
    // From the front or from the back, whichever is nearer.
    let at = pack.seek(index);
    assert_eq!(at.is_some(), index < len);
    Some((index, at?))
}

fn listpack(mut pack: Listpack, input: &mut Input<'_>) {
    let mut model: Vec<Vec<u8>> = pack.iter().map(Element::to_vec).collect();
    compare(&pack, &model);
    while !input.is_empty() && model.len() < ELEMENTS_MAX {
        let word = input.word();
        match (input.below(11), cursor(&pack, input)) {
            (0 | 1, _) => {
                pack.push_back(&word);
                model.push(word);
            }
            (2, _) => {
                pack.push_front(&word);
                model.insert(0, word);
            }
            (3, Some((index, at))) => {
                pack.insert_before(at, &word);
                model.insert(index, word);
            }
            (4, Some((index, at))) => {
                pack.insert_after(at, &word);
                model.insert(index + 1, word);
            }
            (5, Some((index, at))) => {
                pack.replace(at, &word);
                assert!(pack.get(at).is(&word));
                model[index] = word;
            }
            (6, Some((index, at))) => {
                let count = input.below(4);
                let next = pack.remove(at, count);
                model.drain(index..(index + count).min(model.len()));
                assert_eq!(next.map(|at| pack.get(at).to_vec()).as_ref(), model.get(index));
            }
            (7, _) => {
                let (front, back) = (input.below(3), input.below(3));
                pack.truncate_front(front);
                model.drain(..front.min(model.len()));
                pack.truncate_back(back);
                model.truncate(model.len().saturating_sub(back));
            }
            (8, _) => {
                let index = input.below(model.len() + 2);
                let rest = pack.split_off(index);
                let index = index.min(model.len());
                compare(&rest, &model[index..]);
                // The halves change places.
                let mut turned = rest;
                turned.append(&pack);
                model.rotate_left(index);
                pack = turned;
            }
            (9, Some((index, at))) => {
                let step = 1 + input.below(3);
                let found = pack.find(at, &word, step).map(|at| pack.iter_from(at).count());
                let mut rest = model[index..].iter().step_by(step);
                let expected = rest.position(|element| *element == word);
                assert_eq!(found, expected.map(|steps| model.len() - index - steps * step));
            }
            _ => compare(&pack, &model),
        }
    }
    compare(&pack, &model);
}

fn compare(pack: &Listpack, model: &[Vec<u8>]) {
    assert_eq!(pack.len(), model.len());
    assert_eq!(pack.is_empty(), model.is_empty());
    assert!(pack.iter().map(Element::to_vec).eq(model.iter().cloned()));
    assert!(pack.iter().rev().map(Element::to_vec).eq(model.iter().rev().cloned()));
    let again = Listpack::from_bytes(pack.as_bytes());
    assert!(again.is_ok_and(|again| again == *pack), "a listpack stays well-formed");
}

fn intset(mut ints: IntSet, input: &mut Input<'_>) {
    let mut model: BTreeSet<i64> = ints.iter().collect();
    assert_eq!(model.len(), ints.len(), "each integer is there once");
    while !input.is_empty() {
        let kind = input.below(4);
        let known = model.iter().nth(input.below(model.len() + 1)).copied();
        let number = if kind < 2 { known.unwrap_or(0) } else { input.number() };
        assert_eq!(ints.contains(number), model.contains(&number));
        if kind == 0 || kind == 2 {
            assert_eq!(ints.remove(number), model.remove(&number));
        } else {
            assert_eq!(ints.insert(number), model.insert(number));
        }
    }
    assert!(ints.iter().eq(model.iter().copied()));
    assert_eq!(ints.get(model.len()), None);
    let again = IntSet::from_bytes(ints.as_bytes());
    assert!(again.is_ok_and(|again| again.iter().eq(model)), "a set stays well-formed");
}
