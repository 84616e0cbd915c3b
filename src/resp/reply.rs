//! Replies, written straight into a connection's output buffer in the client's protocol version.
//!
//! There is no tree of reply values on the way out: a command says what it answers in order, and
//! the bytes are there. Maps, sets, doubles, nulls and pushes take the form that the version has
//! for them. Deliberately absent: decoding (see `redis-protocol`, which the tests' client uses).

use std::fmt::Display;

use crate::base::text;

/// The protocol version that a client chose with HELLO, before that `client-default-resp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// RESP2.
    #[default]
    Resp2,
    /// RESP3.
    Resp3,
}

impl Protocol {
    /// The version with a number that HELLO or a directive gives; `None` where there is none.
    pub(crate) const fn of(number: i64) -> Option<Self> {
        match number {
            2 => Some(Self::Resp2),
            3 => Some(Self::Resp3),
            _ => None,
        }
    }

    /// The number that HELLO takes and CLIENT LIST shows.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// Writes one connection's replies.
#[derive(Debug)]
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    protocol: Protocol,
}

impl<'a> Reply<'a> {
    /// A writer that appends to `out`.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, protocol: Protocol) -> Self {
        Self { out, protocol }
    }

    /// The client's protocol version.
    #[inline]
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// How many bytes the output buffer holds: equal before and after means nothing was answered.
    #[inline]
    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// Takes back everything written since `position`.
    pub fn rewind(&mut self, position: usize) {
        self.out.truncate(position);
    }

    #[inline]
    fn prefixed(&mut self, mark: u8, number: i64) {
        self.out.push(mark);
        text::push_i64(self.out, number);
        self.out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn counted(&mut self, mark: u8, count: usize) {
        self.out.push(mark);
        text::push_u64(self.out, count as u64);
        self.out.extend_from_slice(b"\r\n");
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string; the text must hold no line end.
    #[inline]
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']), "a simple string ends at its line end");
        self.out.push(b'+');
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// An error, with its code word, e.g. `ERR syntax error`.
    pub fn error(&mut self, error: impl Display) {
        use std::io::Write;
        // Writing to a Vec can't fail.
        let _ = write!(self.out, "-{error}\r\n");
    }

    /// An error whose bytes, code word included, are given.
    pub fn error_bytes(&mut self, text: &[u8]) {
        self.out.push(b'-');
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer.
    #[inline]
    pub fn int(&mut self, number: i64) {
        self.prefixed(b':', number);
    }

    /// A length or count as an integer.
    #[inline]
    pub fn count(&mut self, number: usize) {
        self.counted(b':', number);
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + 32);
        self.counted(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A bulk string that holds an integer's decimal form.
    pub fn bulk_int(&mut self, number: i64) {
        let mut digits = itoa::Buffer::new();
        self.bulk(digits.format(number).as_bytes());
    }

    /// The absence of a value: RESP3's null, RESP2's null bulk string.
    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// The absence of an array: RESP3's null, RESP2's null array.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Begins an array of `len` elements, which the caller writes next.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.counted(b'*', len);
    }

    /// Begins a map of `len` pairs; in RESP2 an array of twice as many elements.
    pub fn map(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.counted(b'*', 2 * len),
            Protocol::Resp3 => self.counted(b'%', len),
        }
    }

    /// Begins a set of `len` elements; in RESP2 an array.
    pub fn set(&mut self, len: usize) {
        let mark = if self.protocol == Protocol::Resp3 { b'~' } else { b'*' };
        self.counted(mark, len);
    }

    /// Begins an out-of-band message of `len` elements; in RESP2 an array.
    pub fn push(&mut self, len: usize) {
        let mark = if self.protocol == Protocol::Resp3 { b'>' } else { b'*' };
        self.counted(mark, len);
    }

    /// Begins an array whose length is known only afterwards: give what this returns, and the
    /// length, to [`Reply::finish_array`].
    pub fn deferred(&mut self) -> Deferred {
        Deferred(self.out.len())
    }

    /// Writes the array head of `len` elements in front of what was written since `start`.
    pub fn finish_array(&mut self, start: Deferred, len: usize) {
        self.insert_head(start, b'*', len);
    }

    /// As [`Reply::finish_array`] for a map of `len` pairs.
    pub fn finish_map(&mut self, start: Deferred, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.insert_head(start, b'*', 2 * len),
            Protocol::Resp3 => self.insert_head(start, b'%', len),
        }
    }

    /// As [`Reply::finish_array`] for a set.
    pub(crate) fn finish_set(&mut self, start: Deferred, len: usize) {
        let mark = if self.protocol == Protocol::Resp3 { b'~' } else { b'*' };
        self.insert_head(start, mark, len);
    }

    fn insert_head(&mut self, start: Deferred, mark: u8, len: usize) {
        let end = self.out.len();
        self.counted(mark, len);
        // It was written behind the elements, and changes places with them.
        let head = self.out.len() - end;
        self.out[start.0..].rotate_right(head);
    }

    /// A double: RESP3's double, RESP2's bulk string.
    pub fn double(&mut self, number: f64) {
        let mut digits = Vec::with_capacity(24);
        text::push_f64(&mut digits, number);
        self.double_text(&digits);
    }

    /// A double whose text is given.
    pub(crate) fn double_text(&mut self, digits: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits),
            Protocol::Resp3 => {
                self.out.push(b',');
                self.out.extend_from_slice(digits);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// A truth value: RESP3's boolean, RESP2's 1 or 0.
    pub fn boolean(&mut self, value: bool) {
        match (self.protocol, value) {
            (Protocol::Resp2, value) => self.int(i64::from(value)),
            (Protocol::Resp3, true) => self.out.extend_from_slice(b"#t\r\n"),
            (Protocol::Resp3, false) => self.out.extend_from_slice(b"#f\r\n"),
        }
    }

    /// Text with a three-letter format: RESP3's verbatim string, RESP2's bulk string.
    pub fn verbatim(&mut self, format: &str, bytes: &[u8]) {
        debug_assert_eq!(format.len(), 3, "a verbatim string's format has three letters");
        match self.protocol {
            Protocol::Resp2 => self.bulk(bytes),
            Protocol::Resp3 => {
                self.counted(b'=', bytes.len() + 4);
                self.out.extend_from_slice(format.as_bytes());
                self.out.push(b':');
                self.out.extend_from_slice(bytes);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// A big number: RESP3's own type, RESP2's bulk string.
    pub fn big_number(&mut self, digits: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits),
            Protocol::Resp3 => {
                self.out.push(b'(');
                self.out.extend_from_slice(digits);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Begins an attribute of `len` pairs ahead of the reply proper; RESP2 has none and the caller
    /// must write nothing then.
    pub fn attribute(&mut self, len: usize) {
        debug_assert_eq!(self.protocol, Protocol::Resp3, "RESP2 has no attributes");
        self.counted(b'|', len);
    }

    /// An array of simple strings as status lines.
    pub fn status_lines<'t>(&mut self, lines: impl ExactSizeIterator<Item = &'t str>) {
        self.array(lines.len());
        for line in lines {
            self.simple(line);
        }
    }

    /// Bytes that are already a reply in this client's protocol version.
    #[inline]
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
}

/// Where a reply whose length is still unknown began.
#[derive(Clone, Copy, Debug)]
pub struct Deferred(usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn written(protocol: Protocol, write: impl FnOnce(&mut Reply<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Reply::new(&mut out, protocol));
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn each_version_has_its_form() {
        let both = |write: fn(&mut Reply<'_>)| {
            (written(Protocol::Resp2, write), written(Protocol::Resp3, write))
        };
        assert_eq!(both(|r| r.null()), ("$-1\r\n".into(), "_\r\n".into()));
        assert_eq!(both(|r| r.null_array()), ("*-1\r\n".into(), "_\r\n".into()));
        assert_eq!(both(|r| r.map(2)), ("*4\r\n".into(), "%2\r\n".into()));
        assert_eq!(both(|r| r.boolean(true)), (":1\r\n".into(), "#t\r\n".into()));
        assert_eq!(
            both(|r| r.verbatim("txt", b"hi")),
            ("$2\r\nhi\r\n".into(), "=6\r\ntxt:hi\r\n".into())
        );
    }

    #[test]
    fn a_deferred_array_gets_its_head_in_front() {
        let text = written(Protocol::Resp2, |reply| {
            let start = reply.deferred();
            reply.bulk(b"a");
            reply.bulk(b"b");
            reply.finish_array(start, 2);
        });
        assert_eq!(text, "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    }
}
