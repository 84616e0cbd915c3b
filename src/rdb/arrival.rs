//! What can be told of an RDB file while it arrives, before anything is done with it: its version, and
//! that it came whole.
//!
//! A replica gives its data up for the file. A checksum that is wrong must be found before that.

use crate::base::checksum::Crc64;
use crate::rdb::decode::{DecodeError, verdict, version};
use crate::rdb::format::VERSION_CHECKSUM;

/// Magic and version.
const HEADER_BYTES: usize = 9;
/// The checksum.
const TRAILER_BYTES: usize = 8;

/// A file, seen piece by piece.
#[derive(Default)]
pub(crate) struct Arrival {
    header: Vec<u8>,
    bytes: u64,
    /// Of all but the last [`TRAILER_BYTES`].
    digest: Crc64,
    /// Those.
    trailer: Vec<u8>,
}

impl Arrival {
    /// More of it has come.
    pub(crate) fn update(&mut self, piece: &[u8]) {
        let missing = HEADER_BYTES - self.header.len();
        self.header.extend_from_slice(&piece[..missing.min(piece.len())]);
        self.bytes += piece.len() as u64;
        let (body, end) = piece.split_at(piece.len().saturating_sub(TRAILER_BYTES));
        let passed = (self.trailer.len() + end.len()).saturating_sub(TRAILER_BYTES);
        self.digest.update(&self.trailer[..passed]);
        self.trailer.drain(..passed);
        self.digest.update(body);
        self.trailer.extend_from_slice(end);
    }

    /// How many bytes have come.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All has come: the version, of Redis's numbers or Valkey's.
    ///
    /// # Errors
    /// It is no RDB file that this server reads, or its checksum says that it isn't what was sent. Files
    /// without a checksum pass, and so do all where `verify` says that checksums are of no interest.
    pub(crate) fn end(&self, verify: bool) -> Result<u16, DecodeError> {
        let mut header = [0; HEADER_BYTES];
        header[..self.header.len()].copy_from_slice(&self.header);
        let version = version(header)?;
        let trailer = <[u8; TRAILER_BYTES]>::try_from(&self.trailer[..]).unwrap_or_default();
        if version >= VERSION_CHECKSUM {
            let offset = self.bytes.saturating_sub(TRAILER_BYTES as u64);
            let computed = verify.then(|| self.digest.value());
            verdict(offset, computed, u64::from_le_bytes(trailer))?;
        }
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::checksum::crc64;

    fn seen(bytes: &[u8], piece: usize) -> Arrival {
        let mut arrival = Arrival::default();
        bytes.chunks(piece).for_each(|part| arrival.update(part));
        assert_eq!(arrival.bytes(), bytes.len() as u64);
        arrival
    }

    #[test]
    fn a_file_in_any_pieces_is_told_from_one_with_a_wrong_byte() {
        let mut file = b"REDIS0010".to_vec();
        file.extend((0..200_u8).map(|at| at.wrapping_mul(7)));
        file.extend_from_slice(&crc64(&file).to_le_bytes());
        for piece in [1, 2, 7, 8, 9, 10, 64, file.len()] {
            assert_eq!(seen(&file, piece).end(true).unwrap(), 10);
            for at in [9, 100, file.len() - 9, file.len() - 1] {
                let mut wrong = file.clone();
                wrong[at] ^= 1;
                let error = seen(&wrong, piece).end(true).unwrap_err();
                assert!(matches!(error, DecodeError::Checksum { .. }), "{error}");
                assert_eq!(seen(&wrong, piece).end(false).unwrap(), 10);
            }
            let cut = seen(&file[..file.len() - 5], piece).end(true);
            assert!(matches!(cut, Err(DecodeError::Checksum { .. })));
        }
    }

    #[test]
    fn files_without_a_checksum_pass_and_what_is_no_file_does_not() {
        let unsealed = [&b"REDIS0010body"[..], &[0; 8]].concat();
        assert_eq!(seen(&unsealed, 5).end(true).unwrap(), 10);
        assert_eq!(seen(b"REDIS0004\xff", 3).end(true).unwrap(), 4);
        assert_eq!(seen(b"VALKEY080\xff\0\0\0\0\0\0\0\0", 3).end(true).unwrap(), 80);
        assert!(matches!(seen(b"REDIS", 3).end(true), Err(DecodeError::Magic { .. })));
        assert!(matches!(seen(b"", 3).end(true), Err(DecodeError::Magic { .. })));
        assert!(matches!(seen(b"REDIS9999", 3).end(true), Err(DecodeError::Version { .. })));
    }
}
