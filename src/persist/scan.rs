//! A log file's pieces, from front to back, each checked before it is believed.
//!
//! The scanner reads a file of any contents and any length: it never panics, and never asks for
//! memory that a length in the file claims but the file doesn't have. It holds one piece at a time,
//! so its memory is bounded by the largest frame or command in the file.
//!
//! What the pieces mean for recovery is not decided here but in [`crate::persist::recover`].

use std::io::{self, Read};
use std::ops::Range;

use memchr::memmem;

use crate::journal::ReplicationId;
use crate::persist::aof_encode::{FRAME_MARK, SYNCED_MARK, TIME_MARK, parse_annotation};
use crate::persist::frame::{ANY_MARK, FrameHead, FramePlace, HISTORY_MARK, MARK};

/// Upstream's longest annotation line.
const LINE_BYTES_MAX: usize = 1024;
/// What is read at once.
const CHUNK_BYTES: usize = 1 << 18;

/// A piece of a log file.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A frame whose checksum is right. [`Scanner::payload`] has its commands.
    Frame {
        /// Its number.
        sequence: u64,
    },
    /// A command outside any frame. [`Scanner::command`] has its arguments.
    Command,
    /// An annotation outside any frame, with upstream's time in it where it tells that.
    Note(Option<u64>),
    /// The end of the file, behind a whole piece.
    End,
    /// What is here is no whole piece. The scanner stays in front of it.
    Flaw(Flaw),
}

/// What is wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Whether it is only that the file ends too early.
    pub incomplete: bool,
    /// What should be here.
    pub expected: String,
    /// What is.
    pub found: String,
}

impl Flaw {
    fn incomplete(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { incomplete: true, expected: expected.into(), found: found.into() }
    }

    fn malformed(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { incomplete: false, expected: expected.into(), found: found.into() }
    }
}

/// A command's place in a buffer.
#[derive(Debug, Default)]
pub struct Command {
    /// The arguments.
    pub words: Vec<Range<usize>>,
    /// What follows it.
    pub end: usize,
}

/// How parsing a command failed.
#[derive(Debug, PartialEq, Eq)]
pub enum CommandFlaw {
    /// More bytes are needed, at least up to this length of the buffer.
    Incomplete(u64),
    /// This is no command; the field says where and what was expected.
    Malformed(usize, &'static str),
}

/// Parses the command at `at` of `bytes`, reusing `command`'s room.
pub fn parse_command(bytes: &[u8], at: usize, command: &mut Command) -> Result<(), CommandFlaw> {
    command.words.clear();
    let (count, mut at) = parse_length(bytes, at, b'*')?;
    if count == 0 {
        return Err(CommandFlaw::Malformed(at, "a command of at least one word"));
    }
    for _ in 0..count {
        let (len, start) = parse_length(bytes, at, b'$')?;
        let end = (start as u64).saturating_add(len);
        if end.saturating_add(2) > bytes.len() as u64 {
            return Err(CommandFlaw::Incomplete(end.saturating_add(2)));
        }
        let end = end as usize;
        if &bytes[end..end + 2] != b"\r\n" {
            return Err(CommandFlaw::Malformed(end, "\\r\\n behind a word"));
        }
        command.words.push(start..end);
        at = end + 2;
    }
    command.end = at;
    Ok(())
}

/// A mark, a number, a line end; returns the number and what follows.
fn parse_length(bytes: &[u8], at: usize, mark: u8) -> Result<(u64, usize), CommandFlaw> {
    const EXPECTED: [&str; 2] = ["'*' and a number", "'$' and a number"];
    let flaw = |at| CommandFlaw::Malformed(at, EXPECTED[usize::from(mark == b'$')]);
    let incomplete = CommandFlaw::Incomplete(bytes.len() as u64 + 1);
    let rest = &bytes[at.min(bytes.len())..];
    match rest.first() {
        None => return Err(incomplete),
        Some(found) if *found != mark => return Err(flaw(at)),
        Some(_) => {}
    }
    let digits = rest[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    // Nineteen digits fit a u64.
    if digits > 19 {
        return Err(flaw(at));
    }
    let number = rest[1..=digits].iter().fold(0_u64, |n, digit| n * 10 + u64::from(digit - b'0'));
    match (digits, rest.get(1 + digits..).unwrap_or_default()) {
        (_, [] | [b'\r']) if digits > 0 || rest.len() == 1 => Err(incomplete),
        (1.., [b'\r', b'\n', ..]) => Ok((number, at + digits + 3)),
        _ => Err(flaw(at)),
    }
}

/// Reads a log file piece by piece.
pub struct Scanner {
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// Where the unread part of the buffer begins.
    start: usize,
    /// The file's offset there.
    offset: u64,
    /// The file's length as far as known: no piece may claim to reach beyond it.
    len: u64,
    payload: Range<usize>,
    place: Option<FramePlace>,
    command: Command,
    consumed: usize,
    ignore_checksums: bool,
}

impl std::fmt::Debug for Scanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scanner").field("offset", &self.offset).finish_non_exhaustive()
    }
}

impl Scanner {
    /// Bytes that the file has left, as far as known.
    pub(crate) fn rest_bytes(&self) -> u64 {
        self.len.saturating_sub(self.offset)
    }

    /// A scanner of a file of `len` bytes.
    pub fn new(source: Box<dyn Read + Send>, len: u64) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            len,
            payload: 0..0,
            place: None,
            command: Command::default(),
            consumed: 0,
            ignore_checksums: false,
        }
    }

    /// For a test that shows what they are good for.
    pub(super) fn ignore_checksums(&mut self) {
        self.ignore_checksums = true;
    }

    /// Where the last piece ended; where it was a flaw, where that begins.
    pub fn offset(&self) -> u64 {
        self.offset + self.consumed as u64
    }

    /// The last frame's commands.
    pub fn payload(&self) -> &[u8] {
        &self.buffer[self.payload.clone()]
    }

    /// Where the last frame stands in the stream, where it says so.
    pub fn place(&self) -> Option<&FramePlace> {
        self.place.as_ref()
    }

    /// The last command's arguments.
    pub(crate) fn command(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.command.words.iter().map(|word| &self.buffer[word.clone()])
    }

    /// Whether the rest of the file begins with `prefix`.
    pub(crate) fn begins_with(&mut self, prefix: &[u8]) -> io::Result<bool> {
        self.fill(prefix.len())?;
        Ok(self.unread().starts_with(prefix))
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn consume(&mut self) {
        self.start += self.consumed;
        self.offset += self.consumed as u64;
        self.consumed = 0;
    }

    /// Has at least `bytes` unread in the buffer, or all there is. False where there is less.
    fn fill(&mut self, bytes: usize) -> io::Result<bool> {
        while self.unread().len() < bytes {
            if self.start > 0 {
                self.buffer.drain(..self.start);
                self.start = 0;
                // The next piece need not keep the room of the largest one.
                if self.buffer.capacity() > 4 * CHUNK_BYTES && bytes < CHUNK_BYTES {
                    self.buffer.shrink_to(2 * CHUNK_BYTES);
                }
            }
            let want = (bytes - self.buffer.len()).clamp(CHUNK_BYTES, 16 * CHUNK_BYTES);
            let old = self.buffer.len();
            self.buffer.resize(old + want, 0);
            let outcome = self.source.read(&mut self.buffer[old..]);
            let read = match outcome {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Ok(0) | Err(_) => {
                    self.buffer.truncate(old);
                    return outcome.map(|_| false);
                }
                Ok(read) => read,
            };
            self.buffer.truncate(old + read);
        }
        Ok(true)
    }

    /// The next piece. After a flaw, the same again.
    pub fn next_piece(&mut self) -> io::Result<Piece> {
        self.consume();
        if !self.fill(1)? {
            return Ok(Piece::End);
        }
        match self.unread()[0] {
            b'#' => self.annotation(),
            b'*' => self.bare_command(),
            byte => Ok(Piece::Flaw(Flaw::malformed(
                "a frame, a command or an annotation ('#' or '*')",
                format!("{:?} (byte {byte})", char::from(byte)),
            ))),
        }
    }

    fn annotation(&mut self) -> io::Result<Piece> {
        let mut have = 128;
        let len = loop {
            let more = self.fill(have)?;
            let window = &self.unread()[..self.unread().len().min(LINE_BYTES_MAX)];
            if let Some(at) = memchr::memchr(b'\n', window) {
                break at + 1;
            }
            if !more {
                let found = format!("{} bytes", window.len());
                return Ok(Piece::Flaw(Flaw::incomplete("the end of an annotation line", found)));
            }
            if window.len() == LINE_BYTES_MAX {
                return Ok(Piece::Flaw(Flaw::malformed(
                    format!("an annotation line of at most {LINE_BYTES_MAX} bytes"),
                    "a longer one",
                )));
            }
            have = LINE_BYTES_MAX;
        };
        let line = &self.unread()[..len];
        if !line.starts_with(FRAME_MARK) && !line.starts_with(MARK) {
            let time = parse_annotation(line, TIME_MARK);
            self.consumed = len;
            return Ok(Piece::Note(time));
        }
        let Some(head) = FrameHead::parse(line) else {
            let found = format!("{:?}", String::from_utf8_lossy(line));
            return Ok(Piece::Flaw(Flaw::malformed("the header of a frame", found)));
        };
        self.frame(len, head)
    }

    fn frame(&mut self, line: usize, header: FrameHead) -> io::Result<Piece> {
        let left = self.len.saturating_sub(self.offset + line as u64);
        let flaw = |left| {
            let expected = format!("{} bytes of frame {}", header.bytes, header.sequence);
            Ok(Piece::Flaw(Flaw::incomplete(expected, format!("{left} bytes"))))
        };
        if header.bytes > left {
            return flaw(left);
        }
        let end = line + header.bytes as usize;
        if !self.fill(end)? {
            return flaw((self.unread().len() - line) as u64);
        }
        let (head, payload) = self.unread()[..end].split_at(line);
        let checksum = header.checksum_of(head, payload);
        if checksum != header.checksum && !self.ignore_checksums {
            return Ok(Piece::Flaw(Flaw::malformed(
                format!("checksum {:08x} of frame {}", header.checksum, header.sequence),
                format!("checksum {checksum:08x}"),
            )));
        }
        self.payload = self.start + line..self.start + end;
        self.place = header.place;
        self.consumed = end;
        Ok(Piece::Frame { sequence: header.sequence })
    }

    fn bare_command(&mut self) -> io::Result<Piece> {
        let mut command = std::mem::take(&mut self.command);
        let piece = self.parse_bare(&mut command);
        self.command = command;
        piece
    }

    fn parse_bare(&mut self, command: &mut Command) -> io::Result<Piece> {
        loop {
            let outcome = parse_command(&self.buffer, self.start, command);
            match outcome {
                Ok(()) => {
                    self.consumed = command.end - self.start;
                    return Ok(Piece::Command);
                }
                Err(CommandFlaw::Malformed(at, expected)) => {
                    let byte = self.buffer.get(at).copied().unwrap_or_default();
                    return Ok(Piece::Flaw(Flaw::malformed(
                        format!("{expected} at offset {}", self.offset + (at - self.start) as u64),
                        format!("{:?} (byte {byte})", char::from(byte)),
                    )));
                }
                Err(CommandFlaw::Incomplete(needed)) => {
                    let needed = needed - self.start as u64;
                    let left = self.len.saturating_sub(self.offset);
                    // Twice what was there, so that a command of many words is not parsed anew
                    // for each of them.
                    let have = self.unread().len() as u64;
                    let ask = needed.max(2 * have).min(left.max(needed));
                    if needed > left
                        || !self.fill(ask as usize)? && (self.unread().len() as u64) < needed
                    {
                        let found = format!("the end of the file after {left} bytes");
                        return Ok(Piece::Flaw(Flaw::incomplete("a whole command", found)));
                    }
                }
            }
        }
    }

    /// Takes back what was read with [`Read`] last.
    pub fn push_back(&mut self, bytes: &[u8]) {
        self.consume();
        self.offset -= bytes.len() as u64;
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.splice(..0, bytes.iter().copied());
    }

    /// Passes over the beginning of the file, before anything else is asked for.
    pub(crate) fn skip(&mut self, bytes: u64) -> io::Result<()> {
        self.consume();
        let skipped = io::copy(&mut (&mut self.source).take(bytes), &mut io::sink())?;
        self.offset += skipped;
        Ok(())
    }

    /// Looks for the next whole frame behind a flaw. What is no frame is skipped; true where one
    /// was found, which is then as after [`Scanner::next_piece`]: its number is returned.
    pub(crate) fn find_frame(&mut self) -> io::Result<Option<u64>> {
        self.consume();
        loop {
            if !self.fill(ANY_MARK.len())? {
                self.consumed = self.unread().len();
                return Ok(None);
            }
            match memmem::find(self.unread(), ANY_MARK) {
                None => {
                    self.consumed = self.unread().len() + 1 - ANY_MARK.len();
                    self.consume();
                }
                Some(at) => {
                    self.consumed = at;
                    self.consume();
                    if let Piece::Frame { sequence } = self.annotation()? {
                        return Ok(Some(sequence));
                    }
                    self.consumed = 1;
                    self.consume();
                }
            }
        }
    }
}

/// What precedes the snapshot of a file is read with the scanner, and so is what follows it: nothing
/// is lost in between.
impl Read for Scanner {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.consume();
        self.fill(1)?;
        let taken = self.unread().len().min(out.len());
        out[..taken].copy_from_slice(&self.unread()[..taken]);
        self.consumed = taken;
        Ok(taken)
    }
}

/// The annotations at the beginning of a frame's payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preface {
    /// Frames up to this one were durable when this one was written.
    pub synced: Option<u64>,
    /// Seconds since the Unix epoch.
    pub seconds: Option<u64>,
    /// The history that the stream is of from here on.
    pub history: Option<ReplicationId>,
    /// Where the commands begin.
    pub end: usize,
}

impl Preface {
    /// Reads a payload's annotations.
    pub fn of(payload: &[u8]) -> Self {
        let mut preface = Self::default();
        while payload.get(preface.end) == Some(&b'#') {
            let rest = &payload[preface.end..];
            let len = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let line = &rest[..len];
            preface.synced = parse_annotation(line, SYNCED_MARK).or(preface.synced);
            preface.seconds = parse_annotation(line, TIME_MARK).or(preface.seconds);
            if let Some(id) = line.strip_prefix(HISTORY_MARK) {
                preface.history = ReplicationId::parse(id.trim_ascii_end());
            }
            preface.end += len;
        }
        preface
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::skipped::Skipped;
    use crate::persist::aof_encode::{FrameHeader, HEADER_BYTES_MAX};
    use crate::persist::frame::write_head;
    use crate::resp::record::push_command;

    /// Gives one byte at a time, so that every boundary is met.
    struct Drip(Vec<u8>, usize);

    impl Read for Drip {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let Some(byte) = self.0.get(self.1) else { return Ok(0) };
            out[0] = *byte;
            self.1 += 1;
            Ok(1)
        }
    }

    fn scanner(bytes: &[u8]) -> Scanner {
        Scanner::new(Box::new(Drip(bytes.to_vec(), 0)), bytes.len() as u64)
    }

    fn framed(sequence: u64, payload: &[u8]) -> Vec<u8> {
        let mut room = [0; HEADER_BYTES_MAX];
        let start = FrameHeader::of(sequence, payload).write_before(&mut room);
        [&room[start..], payload].concat()
    }

    fn framed_in_stream(sequence: u64, offset: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let (preface, units) = payload.split_at(Preface::of(payload).end);
        write_head(&mut out, sequence, (offset, &Skipped::default()), preface, units);
        [out.as_slice(), units].concat()
    }

    fn ping() -> Vec<u8> {
        let mut out = Vec::new();
        push_command(&mut out, [b"PING".as_slice(), b"x"].into_iter());
        out
    }

    #[test]
    fn pieces_come_in_order() {
        let noted = [b"#SYNCED:7\r\n".as_slice(), &ping()].concat();
        let frames = [framed(7, &ping()), framed_in_stream(8, 900, &noted)];
        let file = [&frames.concat(), b"#TS:12\r\n#x\n".as_slice(), &ping()].concat();
        let mut scanner = scanner(&file);
        assert_eq!(scanner.next_piece().unwrap(), Piece::Frame { sequence: 7 });
        assert_eq!((scanner.payload(), scanner.place()), (ping().as_slice(), None));
        assert_eq!(scanner.next_piece().unwrap(), Piece::Frame { sequence: 8 });
        let place = FramePlace { uncounted: 11, offset: 900, skipped: Skipped::default() };
        assert_eq!((scanner.payload(), scanner.place()), (noted.as_slice(), Some(&place)));
        assert_eq!(scanner.next_piece().unwrap(), Piece::Note(Some(12)));
        assert_eq!(scanner.next_piece().unwrap(), Piece::Note(None));
        assert_eq!(scanner.next_piece().unwrap(), Piece::Command);
        assert_eq!(scanner.command().collect::<Vec<_>>(), [b"PING".as_slice(), b"x"]);
        assert_eq!(scanner.next_piece().unwrap(), Piece::End);
        assert_eq!(scanner.offset(), file.len() as u64);
    }

    #[test]
    fn every_truncation_is_incomplete() {
        for whole in
            [framed(7, &ping()), framed_in_stream(7, 0, &ping()), ping(), b"#note\r\n".to_vec()]
        {
            for end in 1..whole.len() {
                let mut scanner = scanner(&whole[..end]);
                match scanner.next_piece().unwrap() {
                    Piece::Flaw(flaw) => assert!(flaw.incomplete, "{end}: {flaw:?}"),
                    other => panic!("{end}: {other:?}"),
                }
                assert_eq!(scanner.offset(), 0);
            }
        }
    }

    #[test]
    fn lengths_that_lie_cost_no_memory() {
        for bytes in [
            b"#RS1:1:18446744073709551615:00000000\r\nxx".as_slice(),
            b"#RS2:1:18446744073709551615:0:0::00000000\r\nxx",
            b"*1000000000000\r\n$1\r\nx\r\n",
            b"*1\r\n$9999999999999999999\r\nx",
            b"*1\r\n$99999999999999999999\r\nx",
            b"*0\r\n",
            b"*-1\r\n",
            b"*1\r\n$3\r\nabcde",
            b"*1\n",
        ] {
            let mut scanner = scanner(bytes);
            assert!(matches!(scanner.next_piece().unwrap(), Piece::Flaw(_)));
            assert!(scanner.buffer.capacity() < 4 * CHUNK_BYTES);
        }
    }

    #[test]
    fn frames_behind_a_flaw_are_found() {
        let mut broken = framed(1, &ping());
        let last = broken.len() - 1;
        broken[last] ^= 1;
        let whole = [framed(3, &ping()), framed_in_stream(4, 9, &ping())].concat();
        let file = [broken, vec![0; 600], b"#RS1:#RS2:9".to_vec(), whole].concat();
        let mut scanner = scanner(&file);
        assert!(matches!(scanner.next_piece().unwrap(), Piece::Flaw(_)));
        for sequence in [3, 4] {
            assert_eq!(scanner.find_frame().unwrap(), Some(sequence));
            assert_eq!(scanner.payload(), ping());
        }
        assert_eq!(scanner.find_frame().unwrap(), None);
        assert_eq!(scanner.offset(), file.len() as u64);
    }

    #[test]
    fn a_preface_is_told_from_commands() {
        let payload = [b"#SYNCED:5\r\n#TS:9\r\n".as_slice(), &ping()].concat();
        assert_eq!(
            Preface::of(&payload),
            Preface { synced: Some(5), seconds: Some(9), history: None, end: 18 }
        );
        assert_eq!(Preface::of(b"#SYNCED:5").end, 9);
        let id = "0123456789abcdef0123456789abcdef01234567";
        let history = Preface::of(format!("#HISTORY:{id}\r\n").as_bytes()).history;
        assert_eq!(history.unwrap().to_string(), id);
        assert_eq!(Preface::of(&ping()), Preface::default());
    }
}
