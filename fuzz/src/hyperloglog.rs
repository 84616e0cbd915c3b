//! HyperLogLogs: any bytes for one, and one that is filled in both forms.
//!
//! ```text
//! kind 1 | the rest
//!
//! kind  0 a string of any bytes    1 the same behind a right header
//!       2 a bound of the sparse form, then elements: both forms hold the same registers
//! ```

use redstart::data::hll::{self, Corrupted, DENSE_BYTES, Encoding, HEADER_BYTES, REGISTERS};

use super::input::Input;

/// Elements that one is filled with at most.
const ELEMENTS_MAX: usize = 400;

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.below(3) {
        0 => any(input.rest().to_vec()),
        1 => {
            let mut string = hll::empty()[..HEADER_BYTES].to_vec();
            string.extend_from_slice(input.rest());
            any(string.clone());
            // The dense form has one length.
            string.resize(DENSE_BYTES, 0x5a);
            string[4] = 0;
            any(string);
        }
        _ => filled(&mut input),
    }
}

/// Whatever the bytes are, they are counted, merged and changed, or refused.
fn any(string: Vec<u8>) {
    let encoding = hll::encoding(&string);
    let count = hll::count(&string);
    let mut registers = Box::new([0; REGISTERS]);
    let merged = hll::merge(&mut registers, &string);
    if encoding.is_none() {
        assert_eq!((count, merged), (Err(Corrupted), Err(Corrupted)));
        return;
    }
    assert_eq!(count.is_ok(), merged.is_ok());
    let mut changed = string.clone();
    if hll::add(&mut changed, b"element", 100).is_ok() && merged.is_ok() {
        let mut after = registers.clone();
        assert_eq!(hll::merge(&mut after, &changed), Ok(()));
        assert!(after.iter().zip(registers.iter()).all(|(after, before)| after >= before));
    }
    let mut dense = string;
    if hll::make_dense(&mut dense).is_ok() {
        assert_eq!(hll::encoding(&dense), Some(Encoding::Dense));
        let mut same = Box::new([0; REGISTERS]);
        assert_eq!(hll::merge(&mut same, &dense), Ok(()));
        assert!(merged.is_err() || same == registers, "the forms hold the same");
    }
}

fn filled(input: &mut Input<'_>) {
    let sparse_max = [0, 30, 300, 3000, 20_000][input.below(5)];
    let (mut sparse, mut dense) = (hll::empty(), hll::empty());
    assert_eq!(hll::make_dense(&mut dense), Ok(true));
    let mut left = ELEMENTS_MAX;
    while !input.is_empty() && left > 0 {
        left -= 1;
        let word = input.word();
        let before = sparse.clone();
        let one = hll::add(&mut sparse, &word, sparse_max);
        assert_eq!(one, hll::add(&mut dense, &word, 0));
        assert!(one == Ok(true) || before == sparse, "what isn't changed is as it was");
        assert_eq!(hll::add(&mut sparse, &word, sparse_max), Ok(false));
    }
    let mut registers = [Box::new([0; REGISTERS]), Box::new([0; REGISTERS])];
    assert_eq!(hll::merge(&mut registers[0], &sparse), Ok(()));
    assert_eq!(hll::merge(&mut registers[1], &dense), Ok(()));
    assert!(registers[0] == registers[1]);
    let count = hll::count(&sparse);
    assert_eq!(count, hll::count(&dense));
    assert_eq!(count, Ok(hll::count_registers(&registers[0])));
}
