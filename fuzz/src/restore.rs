//! What RESTORE is given by any client: refused, or a value that holds together under every change.
//!
//! ```text
//! thresholds 1 | version 1 | type and value ...
//! ```
//!
//! The checksum is made right here, since a fuzzer would never find one. What is then done with the
//! value is drawn from the payload's checksum.

use redstart::base::checksum::crc64;
use redstart::base::env::Rng;
use redstart::data::thresholds::Thresholds;
use redstart::rdb::OwnedValue;
use redstart::rdb::decode::{Checksum, RestoreError, restore_payload};
use redstart::rdb::encode::dump_payload;

use super::collections;
use super::input::Input;

/// Versions of Redis from the oldest with payloads up, Valkey's, and one that doesn't exist.
const VERSIONS: [u16; 8] = [10, 11, 12, 80, 6, 9, 1, 13];
/// Decisions taken about a value.
const DECISIONS: usize = 240;

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let thresholds = input.thresholds();
    let version = VERSIONS[input.below(VERSIONS.len())];
    let payload = sealed(input.rest(), version);
    match restore_payload(&payload, Checksum::Verify, &thresholds) {
        Ok(value) => exercise(value, &thresholds, crc64(&payload)),
        Err(RestoreError::Footer) => assert_eq!(version, 13, "the checksum was made right"),
        Err(RestoreError::Value(_) | RestoreError::Excess { .. }) => {}
    }
}

/// A payload: type, value, version, checksum.
pub fn sealed(body: &[u8], version: u16) -> Vec<u8> {
    let mut payload = [body, &version.to_le_bytes()].concat();
    payload.extend_from_slice(&crc64(&payload).to_le_bytes());
    payload
}

fn exercise(mut value: OwnedValue, thresholds: &Thresholds, seed: u64) {
    if let OwnedValue::Object(object) = &mut value {
        let mut rng = Rng::from_seed(seed);
        let decisions: Vec<u8> = (0..DECISIONS).map(|_| rng.next_u64() as u8).collect();
        assert!(object.keeps_empty() || !object.is_empty(), "no key holds an empty collection");
        collections::exercise(object, thresholds, &mut Input::new(&decisions));
    } else {
        let payload = dump_payload(value.as_ref(), 10);
        let again = restore_payload(&payload, Checksum::Verify, thresholds);
        assert_eq!(again.ok(), Some(value), "a string comes back");
    }
}
