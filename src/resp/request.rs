//! Requests: an incremental parser that copies nothing.
//!
//! The parser works over the buffer that a connection reads into and leaves ranges of it. A command
//! that is not yet complete keeps what was found of it ([`Parser`]), so that a command of a million
//! arguments arriving in small pieces is looked at once, not once a piece.
//!
//! Two forms: *multibulk* (`*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`) and *inline* (a line of words, quoted
//! where they hold spaces). Error texts and limits are upstream's. Source: the RESP specification
//! and upstream's `networking.c` for the texts.

use std::fmt;

use crate::base::text;

/// The longest buffer of requests: ranges have 32 bits. Whoever reads keeps to it
/// (`client-query-buffer-limit` goes no further).
pub(crate) const BUFFER_BYTES_MAX: usize = u32::MAX as usize;
/// The longest argument that `proto-max-bulk-len` can allow: what is with it in the buffer has a MiB.
pub(crate) const ARGUMENT_BYTES_MAX: usize = BUFFER_BYTES_MAX - (1 << 20);

/// Most arguments that a command may announce before the client is authenticated.
const UNAUTHENTICATED_ARGUMENTS_MAX: i64 = 10;
/// Longest argument that may be announced before the client is authenticated, in bytes.
const UNAUTHENTICATED_BULK_MAX: i64 = 16_384;
/// Longest line of an inline command or of a length, in bytes.
const LINE_MAX: usize = 64 * 1024;

/// A piece of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    start: u32,
    len: u32,
}

impl Range {
    /// The piece of `len` bytes at `start`.
    ///
    /// # Panics
    /// Where it ends behind [`BUFFER_BYTES_MAX`].
    #[inline]
    pub(crate) fn new(start: usize, len: usize) -> Self {
        assert!(start.saturating_add(len) <= BUFFER_BYTES_MAX, "a buffer of more than 4 GiB");
        Self::within(start, len)
    }

    /// A piece of a buffer that is known to be no longer than [`BUFFER_BYTES_MAX`].
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the buffer's length, which has 32 bits")]
    fn within(start: usize, len: usize) -> Self {
        Self { start: start as u32, len: len as u32 }
    }

    /// The same piece with other bytes in front of the buffer, or fewer.
    #[inline]
    fn moved(self, from: usize, to: usize) -> Self {
        Self::within(self.start as usize - from + to, self.len as usize)
    }

    /// The bytes.
    #[inline]
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        let start = self.start as usize;
        &buffer[start..start + self.len as usize]
    }
}

/// One complete command in a [`Requests`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Where its bytes begin in the buffer.
    start: u32,
    /// Where they end.
    end: u32,
    /// Where its ranges begin in the list of all.
    ranges_start: u32,
    /// Where they end.
    ranges_end: u32,
    /// Whether the bytes are the command's canonical multibulk form, fit for the log as they are.
    canonical: bool,
}

/// The complete commands of one buffer.
#[derive(Debug, Default)]
pub struct Requests {
    ranges: Vec<Range>,
    list: Vec<Request>,
}

/// One command, borrowed from its buffer.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Where its arguments are.
    pub ranges: &'a [Range],
    /// Its bytes where they are the canonical multibulk form.
    pub encoded: Option<&'a [u8]>,
}

impl Requests {
    /// How many commands there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The command at `index`, whose bytes are in `buffer`.
    #[inline]
    pub fn command<'a>(&'a self, index: usize, buffer: &'a [u8]) -> Command<'a> {
        let request = &self.list[index];
        Command {
            ranges: self.ranges(index),
            encoded: request
                .canonical
                .then(|| &buffer[request.start as usize..request.end as usize]),
        }
    }

    /// Where the arguments of the command at `index` are.
    #[inline]
    pub(crate) fn ranges(&self, index: usize) -> &[Range] {
        let request = &self.list[index];
        &self.ranges[request.ranges_start as usize..request.ranges_end as usize]
    }

    /// Forgets everything, keeping the memory of a usual batch.
    pub fn clear(&mut self) {
        self.ranges.clear();
        self.list.clear();
        self.ranges.shrink_to(4096);
        self.list.shrink_to(2048);
    }
}

/// What a client got wrong; `Display` is the reply's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// `*` with no number, or one out of range.
    MultibulkLength,
    /// More arguments than an unauthenticated client may announce.
    UnauthenticatedMultibulk,
    /// A longer argument than an unauthenticated client may announce.
    UnauthenticatedBulk,
    /// A multibulk length of more than 64 KiB of digits.
    BigCountString,
    /// A bulk length of more than 64 KiB of digits.
    BigBulkCountString,
    /// An inline command of more than 64 KiB.
    BigInlineRequest,
    /// Another byte where `$` must be.
    ExpectedDollar(u8),
    /// `$` with no number, or one out of range.
    BulkLength,
    /// An inline command whose quotes don't match.
    UnbalancedQuotes,
}

impl ProtocolError {
    /// Whether it is one only while the client has not authenticated.
    pub(crate) fn is_of_strangers(&self) -> bool {
        matches!(self, Self::UnauthenticatedMultibulk | Self::UnauthenticatedBulk)
    }
}

impl ProtocolError {
    /// The reply's bytes, code word included. A byte that is quoted stays one byte, and no line end:
    /// those become spaces, or are left out at the end.
    pub(crate) fn wire(&self) -> Vec<u8> {
        match self {
            Self::ExpectedDollar(byte) => {
                let byte = if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte };
                [b"ERR Protocol error: expected '$', got '".as_slice(), &[byte, b'\'']].concat()
            }
            other => format!("ERR {other}").into_bytes(),
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        match self {
            Self::MultibulkLength => f.write_str("invalid multibulk length"),
            Self::UnauthenticatedMultibulk => f.write_str("unauthenticated multibulk length"),
            Self::UnauthenticatedBulk => f.write_str("unauthenticated bulk length"),
            Self::BigCountString => f.write_str("too big mbulk count string"),
            Self::BigBulkCountString => f.write_str("too big bulk count string"),
            Self::BigInlineRequest => f.write_str("too big inline request"),
            Self::ExpectedDollar(byte) => {
                write!(f, "expected '$', got '{}'", byte.escape_ascii())
            }
            Self::BulkLength => f.write_str("invalid bulk length"),
            Self::UnbalancedQuotes => f.write_str("unbalanced quotes in request"),
        }
    }
}

/// The bounds that hold for a connection now.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The longest argument in bytes (`proto-max-bulk-len`).
    pub bulk_max: i64,
    /// Whether the client may use all of it.
    pub authenticated: bool,
}

/// What is known of a command that is not complete yet. Ranges count from its first byte.
#[derive(Debug, Default)]
pub struct Parser {
    ranges: Vec<Range>,
    /// Arguments still to come; `None` before the command's first line is complete.
    missing: Option<u32>,
    /// The announced length of the argument being read.
    bulk: Option<usize>,
    /// How far the command has been looked at.
    position: usize,
    /// Whether a number was not in its shortest form.
    irregular: bool,
}

enum Step {
    Complete,
    NeedMore,
    Empty,
    /// More than a client that has not authenticated may send; what came before it stays known.
    Beyond(ProtocolError),
}

impl Parser {
    /// Parses every complete command of `buffer` into `requests` and returns how many bytes they
    /// took. Bytes after that belong to a command still incomplete: give them again, with more
    /// behind them, at the beginning of the next buffer. Commands before an error count. Where it
    /// is one of strangers (`ProtocolError::is_of_strangers`), the same may be done with the rest:
    /// with other bounds it may be right.
    ///
    /// # Panics
    /// Where the buffer is longer than [`BUFFER_BYTES_MAX`].
    pub fn parse(
        &mut self,
        buffer: &mut [u8],
        bounds: Bounds,
        requests: &mut Requests,
    ) -> (usize, Result<(), ProtocolError>) {
        assert!(buffer.len() <= BUFFER_BYTES_MAX, "whoever reads keeps to that");
        let mut at = 0;
        while at < buffer.len() {
            let inline = self.missing.is_none() && buffer[at] != b'*';
            let step = if inline {
                self.inline(buffer, at, requests)
            } else {
                self.multibulk(buffer, at, bounds, requests)
            };
            match step {
                Ok(Step::Complete | Step::Empty) => {
                    at += self.position;
                    self.reset();
                }
                Ok(Step::NeedMore) => break,
                Ok(Step::Beyond(error)) | Err(error) => return (at, Err(error)),
            }
        }
        (at, Ok(()))
    }

    /// How many bytes, from the beginning of the incomplete command, the argument being read needs
    /// to be complete; a hint for the size of the next buffer.
    pub fn wanted(&self) -> usize {
        self.bulk.map_or(0, |len| self.position + len + 2)
    }

    fn reset(&mut self) {
        self.ranges.clear();
        self.missing = None;
        self.bulk = None;
        self.position = 0;
        self.irregular = false;
    }

    #[inline]
    #[expect(clippy::too_many_lines, reason = "one pass over the bytes, its state in registers")]
    fn multibulk(
        &mut self,
        buffer: &[u8],
        at: usize,
        bounds: Bounds,
        requests: &mut Requests,
    ) -> Result<Step, ProtocolError> {
        let bytes = &buffer[at..];
        let mut missing = match self.missing {
            Some(missing) => missing,
            None => {
                let Some((number, next, regular)) = line_number(bytes, 1).map_err(|error| {
                    error.or(ProtocolError::BigCountString, ProtocolError::MultibulkLength)
                })?
                else {
                    return Ok(Step::NeedMore);
                };
                if number > i64::from(i32::MAX) {
                    return Err(ProtocolError::MultibulkLength);
                }
                let count = u32::try_from(number).unwrap_or(0);
                if number > UNAUTHENTICATED_ARGUMENTS_MAX && !bounds.authenticated {
                    return Ok(Step::Beyond(ProtocolError::UnauthenticatedMultibulk));
                }
                self.position = next;
                if count == 0 {
                    return Ok(Step::Empty);
                }
                self.irregular = !regular;
                count
            }
        };
        let mut position = self.position;
        let first = requests.ranges.len();
        let result = loop {
            if missing == 0 {
                break Ok(Step::Complete);
            }
            let len = match self.bulk {
                Some(len) => len,
                None => {
                    match bytes.get(position) {
                        None => break Ok(Step::NeedMore),
                        Some(b'$') => {}
                        Some(&other) => break Err(ProtocolError::ExpectedDollar(other)),
                    }
                    let (number, next, regular) = match line_number(bytes, position + 1) {
                        Ok(Some(found)) => found,
                        Ok(None) => break Ok(Step::NeedMore),
                        Err(error) => {
                            break Err(error
                                .or(ProtocolError::BigBulkCountString, ProtocolError::BulkLength));
                        }
                    };
                    let Some(len) =
                        usize::try_from(number).ok().filter(|_| number <= bounds.bulk_max)
                    else {
                        break Err(ProtocolError::BulkLength);
                    };
                    if number > UNAUTHENTICATED_BULK_MAX && !bounds.authenticated {
                        break Ok(Step::Beyond(ProtocolError::UnauthenticatedBulk));
                    }
                    self.irregular |= !regular;
                    position = next;
                    len
                }
            };
            // Upstream takes the two bytes behind an argument for granted, whatever they are.
            let behind = bytes.get(position + len..).and_then(<[u8]>::first_chunk);
            let Some(behind) = behind else {
                self.bulk = Some(len);
                break Ok(Step::NeedMore);
            };
            self.bulk = None;
            self.irregular |= behind != b"\r\n";
            requests.ranges.push(Range::within(at + position, len));
            position += len + 2;
            missing -= 1;
        };
        self.position = position;
        match result {
            Ok(Step::Complete) => {
                self.complete(at, first, !self.irregular, requests);
                Ok(Step::Complete)
            }
            Ok(step) => {
                // Keep what was found, counted from the command's first byte.
                let found = requests.ranges.drain(first..);
                self.ranges.extend(found.map(|range| range.moved(at, 0)));
                self.missing = Some(missing);
                Ok(step)
            }
            Err(error) => {
                requests.ranges.truncate(first);
                Err(error)
            }
        }
    }

    /// Ends a command whose last ranges were pushed from `first` on; those found in earlier pieces
    /// go in front of them.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a buffer's length has 32 bits, and an \
        argument at least 4 bytes of it"
    )]
    fn complete(&mut self, at: usize, first: usize, canonical: bool, requests: &mut Requests) {
        if !self.ranges.is_empty() {
            let earlier = self.ranges.drain(..).map(|range| range.moved(0, at));
            requests.ranges.splice(first..first, earlier);
        }
        requests.list.push(Request {
            start: at as u32,
            end: (at + self.position) as u32,
            ranges_start: first as u32,
            ranges_end: requests.ranges.len() as u32,
            canonical,
        });
    }

    #[cold]
    fn inline(
        &mut self,
        buffer: &mut [u8],
        at: usize,
        requests: &mut Requests,
    ) -> Result<Step, ProtocolError> {
        let bytes = &buffer[at..];
        let Some(newline) = memchr::memchr(b'\n', bytes) else {
            if bytes.len() > LINE_MAX {
                return Err(ProtocolError::BigInlineRequest);
            }
            return Ok(Step::NeedMore);
        };
        let line = &bytes[..newline];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.position = newline + 1;
        let words = text::split_arguments(line).map_err(|_| ProtocolError::UnbalancedQuotes)?;
        if words.is_empty() {
            return Ok(Step::Empty);
        }
        // A word never gets longer by taking its quotes off, so the words fit in the line's place.
        let first = requests.ranges.len();
        let mut end = at;
        for word in words {
            buffer[end..end + word.len()].copy_from_slice(&word);
            requests.ranges.push(Range::new(end, word.len()));
            end += word.len();
        }
        self.complete(at, first, false, requests);
        Ok(Step::Complete)
    }
}

enum LineError {
    TooLong,
    NoNumber,
}

impl LineError {
    fn or(self, too_long: ProtocolError, no_number: ProtocolError) -> ProtocolError {
        match self {
            Self::TooLong => too_long,
            Self::NoNumber => no_number,
        }
    }
}

/// The number in the line at `from`, where the next line begins, and whether it was in its shortest
/// form; `None` while the line's end is missing.
#[inline(always)]
fn line_number(bytes: &[u8], from: usize) -> Result<Option<(i64, usize, bool)>, LineError> {
    // The usual case: a digit or two, then the line end.
    match bytes.get(from..) {
        Some([digit @ b'0'..=b'9', b'\r', b'\n', ..]) => {
            Ok(Some((i64::from(digit - b'0'), from + 3, true)))
        }
        Some([ten @ b'1'..=b'9', one @ b'0'..=b'9', b'\r', b'\n', ..]) => {
            let number = i64::from(ten - b'0') * 10 + i64::from(one - b'0');
            Ok(Some((number, from + 4, true)))
        }
        _ => long_line_number(bytes, from),
    }
}

/// The same of any line.
fn long_line_number(bytes: &[u8], from: usize) -> Result<Option<(i64, usize, bool)>, LineError> {
    // Up to nine digits can't be too many.
    let mut number: i64 = 0;
    let mut position = from;
    while let Some(&byte) = bytes.get(position) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 || position - from >= 9 {
            break;
        }
        number = number * 10 + i64::from(digit);
        position += 1;
    }
    if position > from
        && bytes.get(position) == Some(&b'\r')
        && let Some(&last) = bytes.get(position + 1)
    {
        let regular = (bytes[from] != b'0' || position == from + 1) && last == b'\n';
        if regular {
            return Ok(Some((number, position + 2, true)));
        }
    }
    unusual_line_number(bytes, from)
}

#[cold]
fn unusual_line_number(bytes: &[u8], from: usize) -> Result<Option<(i64, usize, bool)>, LineError> {
    let rest = bytes.get(from..).unwrap_or_default();
    let Some(len) = memchr::memchr(b'\r', rest) else {
        return if rest.len() > LINE_MAX { Err(LineError::TooLong) } else { Ok(None) };
    };
    if rest.len() < len + 2 {
        return Ok(None);
    }
    let number = text::parse_i64(&rest[..len]).ok_or(LineError::NoNumber)?;
    Ok(Some((number, from + len + 2, rest[len + 1] == b'\n')))
}
