//! The LZF format: what RDB files compress strings with. Ours, from the format; the registry has no
//! crate that is kept up.
//!
//! ```text
//! 000nnnnn <n + 1 bytes>            literal bytes, 1 to 32
//! nnnooooo oooooooo                 copy n + 2 bytes (n 1..=6) from 1 + o bytes back
//! 111ooooo nnnnnnnn oooooooo        copy n + 9 bytes, up to 264, from 1 + o bytes back
//! ```
//! Offsets have 13 bits. A copy may reach into what it writes itself, which repeats a pattern. The
//! length of the original isn't stored: the decompressor is told it.

use crate::base::courtesy;

/// The longest run of literal bytes.
const LITERALS_MAX: usize = 32;
/// The longest copy.
const COPY_MAX: usize = 264;
/// The furthest a copy reaches back.
const OFFSET_MAX: usize = 1 << 13;
/// Most bytes that one byte of input can become: three bytes for the longest copy.
const EXPANSION_MAX: usize = COPY_MAX / 3;
/// After so many bytes without a repetition the search takes longer steps, by one byte for each as many:
/// what has none costs a fraction of the time, and little is missed in what has some.
const PATIENCE: usize = 64;
/// Bytes of a string between two calls of `give_way`; the first is at its beginning.
const STRETCH: usize = 32 << 10;
/// What must be won before compressing counts, as upstream has it.
const GAIN_MIN: usize = 4;

/// Why bytes are no LZF of the length told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LzfError {
    /// The input could not become this long whatever it holds.
    #[error("{compressed} compressed bytes can't become {expected}")]
    Impossible {
        /// Length of the input.
        compressed: usize,
        /// Length that was expected.
        expected: usize,
    },
    /// The input ends within an element.
    #[error("compressed data ends within the element at byte {at}")]
    Truncated {
        /// Where in the input the element begins.
        at: usize,
    },
    /// A copy from before the first byte.
    #[error("compressed data at byte {at} refers {offset} bytes back where {written} are known")]
    Offset {
        /// Where in the input the copy begins.
        at: usize,
        /// How far back it reaches.
        offset: usize,
        /// How much output there is.
        written: usize,
    },
    /// More or less output than expected.
    #[error("compressed data becomes {found} bytes or more where {expected} are expected")]
    Length {
        /// Length that was expected.
        expected: usize,
        /// Length of the output where that was noticed.
        found: usize,
    },
}

/// Compresses `bytes`; nothing where that saves less than four bytes.
#[cfg(test)]
pub(crate) fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    compress_into(bytes, &mut out).then_some(out)
}

/// Appends `bytes` compressed. Where that saves less than four bytes, `out` stays as it was and the
/// answer is no.
pub(crate) fn compress_into(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let Some(limit) = bytes.len().checked_sub(GAIN_MIN) else { return false };
    out.reserve(limit + LITERALS_MAX);
    // A short string isn't worth clearing a big table for.
    let compressor = Compressor::new(bytes, out, limit);
    let shrunk = match bytes.len() {
        0..256 => compressor.run::<256>(),
        256..2048 => compressor.run::<2048>(),
        _ => compressor.run::<16_384>(),
    };
    if shrunk.is_none() {
        out.truncate(start);
    }
    shrunk.is_some()
}

/// One compression.
struct Compressor<'a> {
    bytes: &'a [u8],
    out: &'a mut Vec<u8>,
    /// The length past which `out` is too long.
    limit: usize,
    /// Where the literal bytes not written yet begin.
    pending: usize,
}

impl<'a> Compressor<'a> {
    fn new(bytes: &'a [u8], out: &'a mut Vec<u8>, limit: usize) -> Self {
        let limit = out.len() + limit;
        Self { bytes, out, limit, pending: 0 }
    }

    /// Nothing where the output outgrows the limit. `PLACES`, a power of two, is the size of the
    /// table that tells where three bytes were seen last.
    fn run<const PLACES: usize>(mut self) -> Option<()> {
        // Positions modulo 2^16, which is enough: copies reach back 2^13 at most. What the table
        // says is compared anyway, so that a place never written does no harm.
        let mut seen = [0u16; PLACES];
        let bytes = self.bytes;
        let (mut at, mut copied_to, mut stretch_end) = (0, 0, 0);
        while let Some(three) = three_at(bytes, at) {
            if at >= stretch_end {
                courtesy::give_way();
                stretch_end = at + STRETCH;
            }
            let place = &mut seen[hash::<PLACES>(three)];
            let offset = usize::from((at as u16).wrapping_sub(*place));
            *place = at as u16;
            let within = (1..=at.min(OFFSET_MAX)).contains(&offset);
            if !within || three_at(bytes, at - offset) != Some(three) {
                at += 1 + (at - copied_to) / PATIENCE;
                while at.min(bytes.len()) - self.pending > LITERALS_MAX {
                    self.flush_literals(self.pending + LITERALS_MAX)?;
                }
                continue;
            }
            let length = matching(bytes, at - offset, at);
            self.flush_literals(at)?;
            self.copy(offset, length)?;
            at += length;
            (self.pending, copied_to) = (at, at);
            // The last places of a copy are entered, so that a repetition can continue from there.
            for place in at - 2..at {
                if let Some(three) = three_at(bytes, place) {
                    seen[hash::<PLACES>(three)] = place as u16;
                }
            }
        }
        self.flush_literals(bytes.len())
    }

    /// Writes the literal bytes before `end`.
    fn flush_literals(&mut self, end: usize) -> Option<()> {
        for run in self.bytes[self.pending..end].chunks(LITERALS_MAX) {
            self.out.push((run.len() - 1) as u8);
            self.out.extend_from_slice(run);
        }
        self.pending = end;
        (self.out.len() <= self.limit).then_some(())
    }

    /// Writes a copy of `length` bytes from `offset` back.
    fn copy(&mut self, offset: usize, length: usize) -> Option<()> {
        let (offset, length) = (offset - 1, length - 2);
        let high = (offset >> 8) as u8;
        if length < 7 {
            self.out.extend_from_slice(&[(length as u8) << 5 | high, offset as u8]);
        } else {
            self.out.extend_from_slice(&[7 << 5 | high, (length - 7) as u8, offset as u8]);
        }
        (self.out.len() <= self.limit).then_some(())
    }
}

/// The three bytes from `at` on, where there are four: a load of four is cheaper than one of three,
/// and a copy at the very end wins next to nothing.
#[inline]
fn three_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*four) << 8)
}

/// A place in a table of `PLACES` for three bytes.
#[inline]
fn hash<const PLACES: usize>(three: u32) -> usize {
    const { assert!(PLACES.is_power_of_two()) };
    // Fibonacci hashing: the high bits of the product are the mixed ones.
    let product = three.wrapping_mul(0x9e37_79b1);
    (product >> (u32::BITS - PLACES.trailing_zeros())) as usize & (PLACES - 1)
}

/// How many bytes from `from` on equal those from `at` on, as far as one copy can say.
#[inline]
fn matching(bytes: &[u8], from: usize, at: usize) -> usize {
    let new = &bytes[at..bytes.len().min(at + COPY_MAX)];
    let old = &bytes[from..from + new.len()];
    // Eight bytes at a time, then one.
    let mut length = 0;
    for (old, new) in old.as_chunks::<8>().0.iter().zip(new.as_chunks::<8>().0) {
        let differing = u64::from_le_bytes(*old) ^ u64::from_le_bytes(*new);
        if differing != 0 {
            return length + differing.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    length + old[length..].iter().zip(&new[length..]).take_while(|(old, new)| old == new).count()
}

/// Restores `expected` bytes.
#[cfg(test)]
fn decompress(compressed: &[u8], expected: usize) -> Result<Vec<u8>, LzfError> {
    let mut out = Vec::new();
    decompress_into(compressed, expected, &mut out)?;
    Ok(out)
}

/// Restores `expected` bytes in the place of what is in `out`, which after an error is anything. Nothing
/// is allocated that the input couldn't fill.
///
/// # Errors
/// [`LzfError`], where `compressed` is damaged or `expected` isn't the original's length.
pub(crate) fn decompress_into(
    compressed: &[u8],
    expected: usize,
    out: &mut Vec<u8>,
) -> Result<(), LzfError> {
    if expected > compressed.len().saturating_mul(EXPANSION_MAX) {
        return Err(LzfError::Impossible { compressed: compressed.len(), expected });
    }
    out.reserve_exact(expected.saturating_sub(out.len()));
    out.resize(expected, 0);
    let (mut at, mut written) = decompress_ahead(compressed, out);
    while let Some(control) = compressed.get(at) {
        let truncated = LzfError::Truncated { at };
        let length;
        if usize::from(*control) < LITERALS_MAX {
            length = usize::from(*control) + 1;
            let run = compressed.get(at + 1..).unwrap_or_default();
            if run.len() < length {
                return Err(truncated);
            }
            if length > expected - written {
                return Err(LzfError::Length { expected, found: written + length });
            }
            out[written..written + length].copy_from_slice(&run[..length]);
            at += 1 + length;
        } else {
            let (low, taken);
            (length, low, taken) = match (*control >> 5, compressed.get(at + 1..at + 3)) {
                (7, Some(&[more, low])) => (usize::from(more) + 9, low, 3),
                (short @ ..7, Some(&[low, _])) => (usize::from(short) + 2, low, 2),
                (short @ ..7, _) => match compressed.get(at + 1) {
                    Some(low) => (usize::from(short) + 2, *low, 2),
                    None => return Err(truncated),
                },
                _ => return Err(truncated),
            };
            let offset = (usize::from(*control & 31) << 8 | usize::from(low)) + 1;
            let Some(from) = written.checked_sub(offset) else {
                return Err(LzfError::Offset { at, offset, written });
            };
            if length > expected - written {
                return Err(LzfError::Length { expected, found: written + length });
            }
            repeat(out, from, written, length);
            at += taken;
        }
        written += length;
    }
    if written < expected {
        return Err(LzfError::Length { expected, found: written });
    }
    Ok(())
}

/// Bytes that are copied at once, by a load and a store.
const STRIDE: usize = 16;

/// Decompresses as long as the ends of input and output are some bytes away: then a copy of 16 or 32 bytes
/// stands for one of any length up to that, and what it writes too much is written again by what follows.
/// Says how far it got in both. The ends, and what is damaged, are left to the caller.
fn decompress_ahead(compressed: &[u8], out: &mut [u8]) -> (usize, usize) {
    let (mut at, mut written) = (0, 0);
    while let Some(head) = compressed.get(at..).and_then(<[u8]>::first_chunk) {
        let [control, more, low, ..]: &[u8; LITERALS_MAX + 1] = head;
        let control = usize::from(*control);
        if control < LITERALS_MAX {
            let Some(to) = out[written..].first_chunk_mut::<LITERALS_MAX>() else { break };
            to.copy_from_slice(&head[1..]);
            (at, written) = (at + control + 2, written + control + 1);
            continue;
        }
        let (length, low, taken) = match control >> 5 {
            7 => (usize::from(*more) + 9, *low, 3),
            short => (short + 2, *more, 2),
        };
        let offset = ((control & 31) << 8 | usize::from(low)) + 1;
        let Some(from) = written.checked_sub(offset) else { break };
        if length + STRIDE > out.len() - written {
            break;
        }
        if offset < STRIDE {
            repeat(out, from, written, length);
        } else {
            copy_strides(out, from, written, length);
        }
        (at, written) = (at + taken, written + length);
    }
    (at, written)
}

/// Copies `length` bytes from `from` on to `to`, and up to a stride's more, for which there is room. What
/// is copied is a stride behind or further.
#[inline]
fn copy_strides(out: &mut [u8], from: usize, to: usize, length: usize) {
    let mut done = 0;
    while done < length {
        let Some(stride) = out[from + done..].first_chunk::<STRIDE>().copied() else { return };
        let Some(place) = out[to + done..].first_chunk_mut() else { return };
        *place = stride;
        done += STRIDE;
    }
}

/// Copies `length` bytes from `from` on to `to`, which is behind; what is copied is copied again where
/// it reaches that far.
fn repeat(out: &mut [u8], from: usize, to: usize, length: usize) {
    let mut done = 0;
    while done < length {
        // Each round doubles what can be copied at once.
        let now = (length - done).min(to + done - from);
        out.copy_within(from..from + now, to + done);
        done += now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::Rng;
    use proptest::prelude::*;

    fn assert_roundtrip(bytes: &[u8]) {
        if let Some(compressed) = compress(bytes) {
            assert!(compressed.len() + GAIN_MIN <= bytes.len());
            assert_eq!(decompress(&compressed, bytes.len()).as_deref(), Ok(bytes));
        }
    }

    #[test]
    fn elements_of_the_format() {
        assert_eq!(decompress(b"\x02abc", 3).as_deref(), Ok(&b"abc"[..]));
        assert_eq!(decompress(b"\x02abc\x20\x02", 6).as_deref(), Ok(&b"abcabc"[..]));
        assert_eq!(decompress(b"\x00a\xe0\x01\x00", 11).as_deref(), Ok(&b"aaaaaaaaaaa"[..]));
        assert_eq!(decompress(b"", 0).as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn damage_is_told() {
        assert_eq!(decompress(b"\x02ab", 3), Err(LzfError::Truncated { at: 0 }));
        assert_eq!(decompress(b"\x00a\x20", 4), Err(LzfError::Truncated { at: 2 }));
        assert_eq!(decompress(b"\x00a\xe0\x00", 9), Err(LzfError::Truncated { at: 2 }));
        let offset = LzfError::Offset { at: 2, offset: 2, written: 1 };
        assert_eq!(decompress(b"\x00a\x20\x01", 4), Err(offset));
        for expected in [2, 4] {
            let length = LzfError::Length { expected, found: 3 };
            assert_eq!(decompress(b"\x02abc", expected), Err(length));
        }
        let impossible = LzfError::Impossible { compressed: 2, expected: usize::MAX };
        assert_eq!(decompress(b"\x00a", usize::MAX), Err(impossible));
    }

    /// The format's definition, byte by byte; of no damaged bytes.
    fn plainly(compressed: &[u8]) -> Vec<u8> {
        let (mut out, mut rest) = (Vec::new(), compressed.iter().map(|byte| usize::from(*byte)));
        while let Some(control) = rest.next() {
            if control < LITERALS_MAX {
                out.extend(rest.by_ref().take(control + 1).map(|byte| byte as u8));
                continue;
            }
            let length = match control >> 5 {
                7 => rest.next().unwrap() + 9,
                short => short + 2,
            };
            let offset = ((control & 31) << 8 | rest.next().unwrap()) + 1;
            for _ in 0..length {
                out.push(out[out.len() - offset]);
            }
        }
        out
    }

    #[test]
    fn every_length_and_distance_of_a_copy_is_right_wherever_it_ends() {
        let mut out = vec![0xaa; 7];
        for offset in (1..70).chain([255, 256, 257, 600]) {
            for length in (3..60).chain([100, 263, 264]) {
                for behind in [0, 1, 15, 16, 17, 31, 32, 33, 300] {
                    let mut compressed = Vec::new();
                    let known: Vec<u8> = (0..offset + 3).map(|byte| (byte % 251) as u8).collect();
                    for run in known.chunks(LITERALS_MAX) {
                        compressed.push(run.len() as u8 - 1);
                        compressed.extend_from_slice(run);
                    }
                    let mut bare = Vec::new();
                    Compressor::new(&[], &mut bare, 9).copy(offset, length).unwrap();
                    compressed.extend_from_slice(&bare);
                    for run in vec![7; behind].chunks(LITERALS_MAX) {
                        compressed.push(run.len() as u8 - 1);
                        compressed.extend_from_slice(run);
                    }
                    let expected = plainly(&compressed);
                    assert_eq!(expected.len(), known.len() + length + behind);
                    assert_eq!(decompress_into(&compressed, expected.len(), &mut out), Ok(()));
                    assert!(out == expected, "{length} bytes from {offset} back");
                }
            }
        }
    }

    #[test]
    fn what_repeats_shrinks() {
        for len in [21, 100, 1024, 1025, 8000, 8200, 100_000] {
            let bytes = b"a".repeat(len);
            let compressed = compress(&bytes).unwrap_or_default();
            assert!(compressed.len() <= 5 + len / 80, "{len} became {}", compressed.len());
            assert_roundtrip(&bytes);
        }
        let mut rng = Rng::from_seed(3);
        let noise: Vec<u8> = (0..5000).map(|_| rng.next_u64() as u8).collect();
        assert_eq!(compress(&noise), None);
        // A distance just within reach, and just out of reach.
        for distance in [OFFSET_MAX, OFFSET_MAX + 1] {
            let noise: Vec<u8> = (0..distance).map(|_| rng.next_u64() as u8).collect();
            let doubled = noise.repeat(2);
            assert_eq!(compress(&doubled).is_some(), distance <= OFFSET_MAX);
            assert_roundtrip(&doubled);
        }
        for short in ["", "a", "aaaa", "aaaaaaa"] {
            assert_eq!(compress(short.as_bytes()), None);
        }
    }

    #[test]
    fn failing_leaves_the_output_alone() {
        let mut out = b"kept".to_vec();
        assert!(!compress_into(b"no repetition here, 123456789", &mut out));
        assert_eq!(out, b"kept");
        assert!(compress_into(&[b'x'; 50], &mut out));
        assert!(out.starts_with(b"kept"));
    }

    proptest! {
        #[test]
        fn few_letters_survive(bytes in prop::collection::vec(0u8..4, 0..3000)) {
            assert_roundtrip(&bytes);
        }

        #[test]
        fn words_survive(words in prop::collection::vec("[a-e]{1,40}", 0..400), seed: u64) {
            let mut rng = Rng::from_seed(seed);
            let mut bytes = Vec::new();
            for _ in 0..words.len() * 10 {
                let word = &words[rng.below(words.len() as u64) as usize];
                bytes.extend_from_slice(word.as_bytes());
            }
            assert_roundtrip(&bytes);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, expected in 0usize..10_000) {
            if let Ok(out) = decompress(&bytes, expected) {
                prop_assert_eq!(out.len(), expected);
            }
        }
    }
}
