//! Against the same said bit by bit.

use super::*;
use crate::base::env::Rng;

fn random(rng: &mut Rng, len: usize) -> Vec<u8> {
    let kind = rng.below(4);
    (0..len)
        .map(|_| match kind {
            0 => 0,
            1 => 0xff,
            // Long runs with something in them.
            2 if rng.below(100) != 0 => 0,
            _ => rng.next_u64().to_le_bytes()[0],
        })
        .collect()
}

fn bit(bytes: &[u8], index: u64) -> bool {
    bytes.get((index / 8) as usize).is_some_and(|byte| byte >> (7 - index % 8) & 1 == 1)
}

#[test]
fn counting_and_searching_agree_with_each_bit() {
    let mut rng = Rng::from_seed(3);
    for round in 0..2_000 {
        let len = rng.below(if round % 10 == 0 { 3_000 } else { 200 }) as usize;
        let bytes = random(&mut rng, len);
        let total = bytes.len() as u64 * 8;
        let start = rng.below(total + 10);
        let range = start..start + rng.below(total + 10);
        let counted = range.clone().filter(|index| bit(&bytes, *index)).count() as u64;
        assert_eq!(count_range(&bytes, range.clone()), counted);
        assert_eq!(count(&bytes), (0..total).filter(|index| bit(&bytes, *index)).count() as u64);
        for wanted in [false, true] {
            let there = range.start..range.end.min(total);
            let found = there.clone().find(|index| bit(&bytes, *index) == wanted);
            assert_eq!(find(&bytes, range.clone(), wanted), found, "{there:?} {wanted}");
        }
    }
}

#[test]
fn what_the_processor_has_counts_as_plain_words() {
    let mut rng = Rng::from_seed(4);
    for len in (0..300).chain([5_000, 100_001]) {
        let bytes = random(&mut rng, len);
        assert_eq!(count(&bytes), count_words(&bytes), "{len}");
        #[cfg(target_arch = "x86_64")]
        if has_avx2() {
            assert_eq!(count_with_avx2(&bytes), count_words(&bytes), "{len}");
        }
    }
}

#[test]
fn fields_agree_with_each_bit() {
    let mut rng = Rng::from_seed(5);
    for _ in 0..5_000 {
        let len = 1 + rng.below(30) as usize;
        let mut bytes = random(&mut rng, len);
        let width = 1 + rng.below(64) as u32;
        let place = rng.below(bytes.len() as u64 * 8 + 100);
        let expected = (0..u64::from(width))
            .fold(0_u64, |number, index| number << 1 | u64::from(bit(&bytes, place + index)));
        assert_eq!(get_field(&bytes, place, width), expected);
        bytes.resize(bytes.len().max((place + u64::from(width)).div_ceil(8) as usize), 0);
        let (before, value) = (bytes.clone(), rng.next_u64());
        set_field(&mut bytes, place, width, value);
        for index in 0..bytes.len() as u64 * 8 {
            let inside = (place..place + u64::from(width)).contains(&index);
            let expected = if inside {
                value >> (place + u64::from(width) - 1 - index) & 1 == 1
            } else {
                bit(&before, index)
            };
            assert_eq!(bit(&bytes, index), expected, "{place} {width} {index}");
        }
        let index = rng.below(bytes.len() as u64 * 8);
        let on = rng.below(2) == 1;
        assert_eq!(get(&bytes, index), bit(&bytes, index));
        assert_eq!(set(&mut bytes, index, on), inside_or(&before, index, place, width, value));
        assert_eq!(bit(&bytes, index), on);
    }
}

/// What a bit is after a field was put.
fn inside_or(before: &[u8], index: u64, place: u64, width: u32, value: u64) -> bool {
    if (place..place + u64::from(width)).contains(&index) {
        value >> (place + u64::from(width) - 1 - index) & 1 == 1
    } else {
        bit(before, index)
    }
}

#[test]
fn operations_agree_with_each_bit() {
    let mut rng = Rng::from_seed(6);
    let operations = [
        Operation::And,
        Operation::Or,
        Operation::Xor,
        Operation::Not,
        Operation::Diff,
        Operation::Diff1,
        Operation::AndOr,
        Operation::One,
    ];
    for round in 0..600 {
        let operation = operations[round % operations.len()];
        let many = if operation == Operation::Not { 1 } else { 1 + rng.below(5) };
        let bound = if round % 20 == 0 { 3 * PIECE_BYTES as u64 } else { 100 };
        let sources: Vec<Vec<u8>> = (0..many)
            .map(|_| {
                let len = rng.below(bound) as usize;
                random(&mut rng, len)
            })
            .collect();
        let mut borrowed: Vec<Option<&[u8]>> =
            sources.iter().map(|source| Some(source.as_slice())).collect();
        // Into a block of its own, one that is left over, or one of the sources.
        let block = match rng.below(3) {
            0 => HeapString::with_capacity(0),
            1 => HeapString::new(&[7; 70]),
            _ => {
                let place = rng.below(many) as usize;
                borrowed[place] = None;
                HeapString::new(&sources[place])
            }
        };
        let result = combine(operation, &borrowed, block);
        assert_eq!(result.len(), sources.iter().map(Vec::len).max().unwrap());
        for index in 0..result.len() as u64 * 8 {
            let bits: Vec<bool> = sources.iter().map(|source| bit(source, index)).collect();
            let ones = bits.iter().filter(|bit| **bit).count();
            let others = bits[1..].contains(&true);
            let expected = match operation {
                Operation::And => ones == bits.len(),
                Operation::Or => ones > 0,
                Operation::Xor => ones % 2 == 1,
                Operation::Not => !bits[0],
                Operation::Diff => bits[0] && !others,
                // With two or more, which the command sees to.
                Operation::Diff1 if many > 1 => !bits[0] && others,
                Operation::AndOr if many > 1 => bits[0] && others,
                Operation::Diff1 => false,
                Operation::AndOr => bits[0],
                Operation::One => ones == 1,
            };
            assert_eq!(bit(&result, index), expected, "{operation:?} {index} {bits:?}");
        }
    }
}
