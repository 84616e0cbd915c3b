//! A snapshot file of any bytes: the decoder tells the same events however its source cuts them, and
//! what it accepts can be written again and reads back as the same.
//!
//! The input is the file. Its checksum is not looked at in most runs: a fuzzer would never get past
//! it.

use std::io::{self, Read};

use redstart::rdb::decode::{Checksum, Decoder, Event, Verdict};
use redstart::rdb::encode::{self, EncodeOptions};

/// What the other source hands out at once.
const DRIP_BYTES: usize = 3;

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let (events, error) = decode(bytes, Checksum::Ignore);
    write_again(&events);
    let (verified, flaw) = decode(bytes, Checksum::Verify);
    if flaw.is_some() {
        assert!(events.starts_with(&verified), "a checksum changes nothing before the end");
    } else {
        assert_eq!(verified.len(), events.len());
    }
    assert_eq!(decode(Dripping(bytes), Checksum::Ignore), (events, error));
}

/// A source that gives a few bytes at a time.
struct Dripping<'a>(&'a [u8]);

impl Read for Dripping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(DRIP_BYTES);
        self.0.read(&mut buffer[..len])
    }
}

/// All events, and the error behind them.
fn decode(source: impl Read, checksum: Checksum) -> (Vec<Event>, Option<String>) {
    let mut events = Vec::new();
    let mut decoder = match Decoder::new(source, checksum) {
        Ok(decoder) => decoder,
        Err(error) => return (events, Some(error.to_string())),
    };
    loop {
        match decoder.next_event() {
            Ok(Some(event)) => events.push(event),
            Ok(None) => return (events, None),
            Err(error) => return (events, Some(error.to_string())),
        }
    }
}

/// A file of the same events, as far as it has them.
fn write_again(events: &[Event]) {
    let options = EncodeOptions { version: 12, compress: true };
    let mut out = Vec::new();
    let mut expected = Vec::new();
    encode::header(&mut out, &options);
    for event in events {
        match event {
            Event::Aux { key, value } => encode::aux(&mut out, &options, key, value),
            Event::SelectDb(db) => encode::select_db(&mut out, *db),
            Event::ResizeDb { keys, expires } => encode::resize_db(&mut out, *keys, *expires),
            Event::Entry { key, value, expiry, access } => {
                encode::entry(&mut out, &options, key, value.as_ref(), *expiry, *access);
            }
            Event::Function(code) => encode::function(&mut out, &options, code),
            // The encoder writes neither data of modules nor keys without elements.
            Event::ModuleAux { .. }
            | Event::EmptyKey(_)
            | Event::Skipped { .. }
            | Event::End(_) => continue,
        }
        expected.push(event.clone());
    }
    encode::end(&mut out);
    encode::checksum(&mut out, None);
    expected.push(Event::End(Verdict::Absent));
    assert_eq!(decode(&out[..], Checksum::Verify), (expected, None));
}
