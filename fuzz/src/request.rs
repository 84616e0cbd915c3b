//! Requests, held to another decoder (`wire`) and to themselves: the commands that the incremental
//! parser finds don't depend on how their bytes were cut into reads.
//!
//! ```text
//! kind 1 | cuts: count 1, distance 1 ... | bytes of the stream, or words of its commands
//! ```
//!
//! Inline commands and malformed input the two decoders see differently by design; for those only
//! the parser's own invariants hold.

use redis_protocol::resp2;
use redis_protocol::resp2::types::OwnedFrame as Frame;
use redstart::resp::request::Bounds;

use super::input::Input;
use super::wire::{BOUNDS, Connection, Words, compare, encoded, oracle};

/// The bounds of a client that must authenticate first.
const STRANGER: Bounds = Bounds { bulk_max: 512 << 20, authenticated: false };
/// Cuts of one input.
const CUTS_MAX: usize = 24;

/// Any bytes: however they are cut, the same commands come out, with the same error behind them.
fn compare_cuts(stream: &[u8], cuts: &[usize], bounds: Bounds) {
    let (expected, outcome) = Connection::default().feed(stream, bounds);
    let mut connection = Connection::default();
    let (mut found, mut start) = (Vec::new(), 0);
    let mut last = Ok(());
    for end in cuts.iter().copied().chain([stream.len()]) {
        let (more, result) = connection.feed(&stream[start..end], bounds);
        found.extend(more);
        last = result;
        if last.is_err() {
            break;
        }
        start = end;
    }
    assert_eq!((found, last), (expected, outcome));
}

/// Any bytes: the commands that the oracle finds at the front in canonical form are found, and what
/// is taken for canonical is a command to the oracle.
fn agree(stream: &[u8]) {
    let (found, _) = Connection::default().feed(stream, BOUNDS);
    let mut rest = stream;
    let mut commands = found.iter();
    while let Ok(Some((Frame::Array(frames), taken))) = resp2::decode::decode(rest) {
        let word = |frame| match frame {
            Frame::BulkString(bytes) => Some(bytes),
            _ => None,
        };
        let words: Option<Words> = frames.into_iter().map(word).collect();
        match words.filter(|words| encoded(words) == rest[..taken]) {
            Some(words) if words.is_empty() => {}
            Some(words) => {
                let canonical = Some(rest[..taken].to_vec());
                assert_eq!(commands.next(), Some(&(words, canonical)), "the oracle sees it");
            }
            None => break,
        }
        rest = &rest[taken..];
    }
    for (words, canonical) in &found {
        assert!(!words.is_empty(), "a command has a name");
        if let Some(bytes) = canonical {
            assert_eq!(oracle(bytes), Some((words.clone(), bytes.len())));
        }
    }
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.below(4);
    let distances: Vec<usize> =
        (0..input.below(CUTS_MAX)).map(|_| usize::from(input.byte())).collect();
    let cuts = |len: usize| -> Vec<usize> {
        let places = distances.iter().scan(0, |at, distance| {
            *at += distance;
            Some(*at)
        });
        places.take_while(|at| *at < len).collect()
    };
    match kind {
        0 => {
            let mut stream = Vec::new();
            while !input.is_empty() {
                let words: Words = (0..input.below(6)).map(|_| input.word()).collect();
                stream.extend(encoded(&words));
            }
            compare(&stream, cuts(stream.len()).into_iter());
        }
        1 => compare_cuts(input.rest(), &cuts(input.rest().len()), STRANGER),
        _ => {
            let stream = input.rest();
            compare_cuts(stream, &cuts(stream.len()), BOUNDS);
            agree(stream);
        }
    }
}
