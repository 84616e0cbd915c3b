//! A buffered reader that knows its offset, runs the checksum, and reads the format's lengths.
//!
//! ```text
//! buffer: | hashed | read, not hashed | not read | free |
//!         0     hashed             start        end   buffer.len()
//! ```
//! The checksum takes in what was read when the buffer is used up, so that it works on long runs.

use std::fmt;
use std::io::{self, Read};

use super::{Checksum, DecodeError, PassedOver};
use crate::base::checksum::Crc64;
use crate::rdb::format;

/// What is allocated on the word of a length alone; more only as bytes come.
const TRUSTED_LEN: usize = 64 * 1024;

/// The first byte or bytes of a string: its length, or how else it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    /// So many bytes follow.
    Length(u64),
    /// One of the special encodings.
    Special(u8),
}

/// See the file's head.
pub(super) struct Reader<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    hashed: usize,
    /// The offset of the buffer's first byte.
    base: u64,
    crc: Option<Crc64>,
    /// What was passed over so far.
    pub(super) passed_over: PassedOver,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(source: R, buffer_len: usize, checksum: Checksum) -> Self {
        let crc = (checksum == Checksum::Verify).then(Crc64::new);
        Self {
            source,
            buffer: vec![0; buffer_len],
            start: 0,
            end: 0,
            hashed: 0,
            base: 0,
            crc,
            passed_over: PassedOver::default(),
        }
    }

    /// How many bytes were read.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    pub(super) fn ignore_checksum(&mut self) {
        self.crc = None;
    }

    /// The checksum of all that was read, where it is computed.
    pub(super) fn checksum(&mut self) -> Option<u64> {
        let crc = self.crc.as_mut()?;
        crc.update(&self.buffer[self.hashed..self.start]);
        self.hashed = self.start;
        Some(crc.value())
    }

    /// What is in the buffer but was not read, and the source.
    pub(super) fn into_rest(mut self) -> (Vec<u8>, R) {
        self.buffer.truncate(self.end);
        self.buffer.drain(..self.start);
        (self.buffer, self.source)
    }

    /// Up to `limit` bytes, at least one.
    fn some(&mut self, limit: usize, expected: &'static str) -> Result<&[u8], DecodeError> {
        if self.start == self.end {
            self.fill(expected)?;
        }
        let from = self.start;
        self.start += limit.min(self.end - from);
        Ok(&self.buffer[from..self.start])
    }

    /// Reads on into the used-up buffer.
    fn fill(&mut self, expected: &'static str) -> Result<(), DecodeError> {
        self.checksum();
        let offset = self.offset();
        (self.base, self.start, self.end, self.hashed) = (offset, 0, 0, 0);
        loop {
            match self.source.read(&mut self.buffer) {
                Ok(0) => return Err(DecodeError::Truncated { offset, expected }),
                Ok(len) => {
                    self.end = len;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(DecodeError::Io { offset, source }),
            }
        }
    }

    pub(super) fn byte(&mut self, expected: &'static str) -> Result<u8, DecodeError> {
        self.some(1, expected).map(|bytes| bytes[0])
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        expected: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        let mut filled = 0;
        while filled < N {
            let bytes = self.some(N - filled, expected)?;
            array[filled..filled + bytes.len()].copy_from_slice(bytes);
            filled += bytes.len();
        }
        Ok(array)
    }

    /// Reads `len` bytes, with memory that grows as they come.
    pub(super) fn bytes(
        &mut self,
        len: u64,
        expected: &'static str,
    ) -> Result<Vec<u8>, DecodeError> {
        let mut out = Vec::new();
        self.bytes_into(len, &mut out, expected)?;
        Ok(out)
    }

    /// The same in the place of what is in `out`.
    pub(super) fn bytes_into(
        &mut self,
        len: u64,
        out: &mut Vec<u8>,
        expected: &'static str,
    ) -> Result<(), DecodeError> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        out.clear();
        out.reserve_exact(len.min(TRUSTED_LEN));
        while out.len() < len {
            let missing = len - out.len();
            if out.len() == out.capacity() {
                out.reserve_exact(missing.min(out.len()));
            }
            let room = out.capacity() - out.len();
            out.extend_from_slice(self.some(missing.min(room), expected)?);
        }
        Ok(())
    }

    /// Reads `len` bytes where they lie, if they do so in one piece; otherwise into `spare`.
    pub(super) fn view<'a>(
        &'a mut self,
        len: u64,
        spare: &'a mut Vec<u8>,
        expected: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        match usize::try_from(len) {
            Ok(len) if len > 0 && len <= self.end - self.start => self.some(len, expected),
            _ => {
                self.bytes_into(len, spare, expected)?;
                Ok(spare)
            }
        }
    }

    /// Passes over `len` bytes.
    pub(super) fn skip(&mut self, len: u64, expected: &'static str) -> Result<(), DecodeError> {
        let mut missing = len;
        while missing > 0 {
            let limit = usize::try_from(missing).unwrap_or(usize::MAX);
            missing -= self.some(limit, expected)?.len() as u64;
        }
        Ok(())
    }

    /// Reads a length where only a length may stand.
    pub(super) fn length(&mut self, expected: &'static str) -> Result<u64, DecodeError> {
        let offset = self.offset();
        match self.prefix(expected)? {
            Prefix::Length(length) => Ok(length),
            Prefix::Special(code) => {
                let found = format::SPECIAL | code;
                Err(DecodeError::Encoding { offset, expected, found })
            }
        }
    }

    /// Reads a length or a special encoding.
    pub(super) fn prefix(&mut self, expected: &'static str) -> Result<Prefix, DecodeError> {
        let offset = self.offset();
        let first = self.byte(expected)?;
        Ok(match first {
            0..0x40 => Prefix::Length(u64::from(first)),
            0x40..0x80 => {
                let low = self.byte(expected)?;
                Prefix::Length(u64::from(first & 0x3f) << 8 | u64::from(low))
            }
            format::LENGTH_32 => {
                Prefix::Length(u64::from(u32::from_be_bytes(self.array(expected)?)))
            }
            format::LENGTH_64 => Prefix::Length(u64::from_be_bytes(self.array(expected)?)),
            format::SPECIAL.. => Prefix::Special(first & 0x3f),
            found => return Err(DecodeError::Encoding { offset, expected, found }),
        })
    }
}

impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("offset", &(self.base + self.start as u64))
            .finish_non_exhaustive()
    }
}
