//! What the incremental parser finds in a stream of commands, beside what `redis-protocol` finds, a
//! decoder that others wrote. Used by the fuzzing target `request` and by `tests/parser.rs`.

use redis_protocol::resp2;
use redis_protocol::resp2::types::{OwnedFrame as Frame, Resp2Frame};
use redstart::resp::record::push_command;
use redstart::resp::request::{Bounds, Parser, ProtocolError, Requests};

/// The bounds of a client that may do everything.
pub const BOUNDS: Bounds = Bounds { bulk_max: 512 << 20, authenticated: true };

/// A command's arguments.
pub type Words = Vec<Vec<u8>>;
/// A command and its canonical form, if it came in that.
pub type Found = (Words, Option<Vec<u8>>);

/// A command as clients send it, in our own writing, which must be the other's.
pub fn encoded(words: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    push_command(&mut out, words.iter().map(Vec::as_slice));
    let frame = Frame::Array(words.iter().cloned().map(Frame::BulkString).collect());
    let mut expected = vec![0; frame.encode_len(false)];
    resp2::encode::encode(&mut expected, &frame, false).unwrap();
    assert_eq!(out, expected, "our own encoder");
    out
}

/// What the oracle finds at the front of `bytes`: the command, and how long it is.
pub fn oracle(bytes: &[u8]) -> Option<(Words, usize)> {
    let (frame, taken) = resp2::decode::decode(bytes).unwrap()?;
    let Frame::Array(frames) = frame else { panic!("a command is an array, not {frame:?}") };
    let word = |frame| match frame {
        Frame::BulkString(bytes) => bytes,
        other => panic!("an argument is a bulk string, not {other:?}"),
    };
    Some((frames.into_iter().map(word).collect(), taken))
}

/// What a connection keeps between reads.
#[derive(Default)]
pub struct Connection {
    parser: Parser,
    unparsed: Vec<u8>,
}

impl Connection {
    /// The commands that `bytes` complete, and what is wrong with those that follow.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        bounds: Bounds,
    ) -> (Vec<Found>, Result<(), ProtocolError>) {
        self.unparsed.extend_from_slice(bytes);
        let mut requests = Requests::default();
        let (taken, result) = self.parser.parse(&mut self.unparsed, bounds, &mut requests);
        let found = (0..requests.len()).map(|index| {
            let command = requests.command(index, &self.unparsed);
            let words = command.ranges.iter().map(|range| range.of(&self.unparsed).to_vec());
            (words.collect(), command.encoded.map(<[u8]>::to_vec))
        });
        let found = found.collect();
        self.unparsed.drain(..taken);
        (found, result)
    }

    /// The commands that `bytes` complete, each with its canonical form.
    fn read(&mut self, bytes: &[u8]) -> Vec<(Words, Vec<u8>)> {
        let (found, result) = self.feed(bytes, BOUNDS);
        assert_eq!(result, Ok(()));
        found.into_iter().map(|(words, encoded)| (words, encoded.unwrap())).collect()
    }
}

/// Sends a `stream` of commands in reads that end at `cuts`, and asks the oracle at each of them.
pub fn compare(stream: &[u8], cuts: impl Iterator<Item = usize>) {
    let mut connection = Connection::default();
    let (mut start, mut asked) = (0, 0);
    for end in cuts.chain([stream.len()]) {
        let mut expected = Vec::new();
        while let Some((words, taken)) = oracle(&stream[asked..end]) {
            if !words.is_empty() {
                expected.push((words, stream[asked..asked + taken].to_vec()));
            }
            asked += taken;
        }
        // As soon as its last byte has come, and not before.
        assert_eq!(connection.read(&stream[start..end]), expected, "the read {start}..{end}");
        assert_eq!(connection.unparsed, &stream[asked..end], "what is left at {end}");
        let wanted = connection.parser.wanted();
        if wanted > 0 {
            let whole = oracle(&stream[asked..]).unwrap().1;
            assert!((end - asked + 1..=whole).contains(&wanted), "{wanted} of {whole} at {end}");
        }
        start = end;
    }
    assert!(connection.unparsed.is_empty());
}
