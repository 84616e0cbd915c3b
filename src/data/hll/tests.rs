//! Against a plain array of registers, and hostile strings.

use super::*;
use crate::base::env::Rng;

/// The registers of a string.
fn registers(bytes: &[u8]) -> Vec<u8> {
    let mut held = [0; REGISTERS];
    merge(&mut held, bytes).unwrap();
    held.to_vec()
}

#[test]
fn both_encodings_hold_what_was_put() {
    let mut rng = Rng::from_seed(11);
    for round in 0..60 {
        let sparse_max = [20, 300, 3_000, 12_000][round % 4];
        let mut model = vec![0_u8; REGISTERS];
        let mut bytes = empty();
        let near = rng.below(3) == 0;
        for _ in 0..rng.below(3_000) {
            let bound = if near { 300 } else { REGISTERS as u64 };
            let register = rng.below(bound) as usize;
            // Small ones, so that equal ones are neighbours; now and then one that no run can hold.
            let bound = if rng.below(2_000) == 0 { 51 } else { 4 };
            let value = 1 + rng.below(bound) as u8;
            let changed = raise(&mut bytes, register, value, sparse_max).unwrap();
            assert_eq!(changed, model[register] < value);
            model[register] = model[register].max(value);
            let is_sparse = encoding(&bytes) == Some(Encoding::Sparse);
            assert!(!is_sparse || bytes.len() <= sparse_max.max(HEADER_BYTES + 2));
        }
        assert_eq!(registers(&bytes), model);
        let counted = count(&bytes).unwrap();
        assert_eq!(counted, count_registers(&registers(&bytes).try_into().unwrap()));
        make_dense(&mut bytes).unwrap();
        assert_eq!(encoding(&bytes), Some(Encoding::Dense));
        assert_eq!(registers(&bytes), model);
        assert_eq!(count(&bytes).unwrap(), counted);
        let mut packed = vec![0; DENSE_BYTES - HEADER_BYTES];
        dense::pack(&registers(&bytes).try_into().unwrap(), &mut packed);
        assert_eq!(packed, bytes[HEADER_BYTES..]);
        for (register, value) in model.iter().enumerate() {
            assert_eq!(dense::get(&bytes[HEADER_BYTES..], register), *value);
        }
    }
}

#[test]
fn estimates_are_near_the_truth() {
    let mut bytes = empty();
    for number in 1..=200_000_u64 {
        add(&mut bytes, format!("element:{number}").as_bytes(), 3_000).unwrap();
        if [10, 100, 1_000, 10_000, 200_000].contains(&number) {
            let apart = count(&bytes).unwrap().abs_diff(number) as f64 / number as f64;
            assert!(apart < 0.03, "{number}: {apart}");
        }
    }
    assert_eq!(cached(&bytes), None);
    let counted = count(&bytes).unwrap();
    cache(&mut bytes, counted);
    assert_eq!(cached(&bytes), Some(counted));
}

#[test]
fn hostile_strings_are_refused() {
    let mut rng = Rng::from_seed(12);
    let mut sound = empty();
    for number in 0..500_u64 {
        add(&mut sound, &number.to_le_bytes(), 3_000).unwrap();
    }
    assert_eq!(encoding(&[]), None);
    assert_eq!(encoding(&sound[..HEADER_BYTES - 1]), None);
    for _ in 0..20_000 {
        let mut bytes = sound.clone();
        for _ in 0..=rng.below(3) {
            let at = HEADER_BYTES as u64 + rng.below((bytes.len() - HEADER_BYTES) as u64);
            match rng.below(3) {
                0 => bytes.truncate(at as usize),
                1 => bytes.insert(at as usize, rng.next_u64().to_le_bytes()[0]),
                _ => bytes[at as usize] = rng.next_u64().to_le_bytes()[0],
            }
            if bytes.len() <= HEADER_BYTES {
                break;
            }
        }
        let mut held = [0; REGISTERS];
        assert_eq!(merge(&mut held, &bytes).is_ok(), count(&bytes).is_ok());
        let _ = sparse::describe(&bytes[HEADER_BYTES..]);
        let register = rng.below(REGISTERS as u64) as usize;
        let _ = raise(&mut bytes, register, 1 + rng.below(40) as u8, 3_000);
        let _ = make_dense(&mut bytes);
    }
}
