//! A file's bytes on the simulated disk: what programs read, and what a power loss leaves of them.

use std::ops::Range;

use super::SECTOR_BYTES;
use crate::base::env::Rng;

/// A file's bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// What programs read.
    pub bytes: Vec<u8>,
    /// What the last successful sync made durable.
    durable: Vec<u8>,
    /// The shortest the file has been since then: `bytes` and `durable` agree up to there.
    low: usize,
    /// What a sync failed to write, and any later one that was not told to write it again.
    doubts: Vec<Doubt>,
}

/// Bytes that may be zeros after a crash although a sync after theirs succeeded.
#[derive(Clone, Debug)]
struct Doubt {
    range: Range<usize>,
    /// They were written once more, so that the next sync writes them, too.
    written_again: bool,
}

impl Content {
    /// A file whose bytes are all durable.
    pub(crate) fn durable(bytes: Vec<u8>) -> Self {
        Self { low: bytes.len(), durable: bytes.clone(), bytes, doubts: Vec::new() }
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.bytes.resize(len, 0);
        self.low = self.low.min(len);
        for doubt in &mut self.doubts {
            doubt.range.end = doubt.range.end.min(len);
        }
        self.doubts.retain(|doubt| !doubt.range.is_empty());
    }

    pub(crate) fn sync(&mut self) {
        self.durable.truncate(self.low);
        self.durable.extend_from_slice(&self.bytes[self.low..]);
        self.low = self.bytes.len();
        self.doubts.retain(|doubt| !doubt.written_again);
    }

    pub(crate) fn sync_failed(&mut self) {
        self.doubts.iter_mut().for_each(|doubt| doubt.written_again = false);
        if self.low < self.bytes.len() {
            let range = self.low..self.bytes.len();
            self.doubts.push(Doubt { range, written_again: false });
        }
    }

    /// The bytes from `from` on are written over themselves.
    pub(crate) fn write_again(&mut self, from: usize) {
        for doubt in std::mem::take(&mut self.doubts) {
            let Range { start, end } = doubt.range;
            let middle = from.clamp(start, end);
            let kept = Doubt { range: start..middle, ..doubt };
            let again = Doubt { range: middle..end, written_again: true };
            self.doubts.extend([kept, again].into_iter().filter(|one| !one.range.is_empty()));
        }
    }

    #[cfg(test)]
    pub(crate) fn in_doubt(&self) -> bool {
        !self.doubts.is_empty()
    }

    pub(crate) fn flip(&mut self, bit: u64) {
        for bytes in [&mut self.bytes, &mut self.durable] {
            if let Some(byte) = bytes.get_mut((bit / 8) as usize) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// The bytes after a power loss.
    pub(crate) fn survivors(&self, rng: &mut Rng) -> Vec<u8> {
        let mut left = match rng.below(5) {
            0 => self.durable.clone(),
            1 => self.bytes.clone(),
            2 => {
                let unsynced = self.bytes.len() - self.low;
                let kept = self.low + rng.below(unsynced as u64 + 1) as usize;
                self.bytes[..kept].to_vec()
            }
            _ => self.scattered(rng),
        };
        let len = left.len();
        for Doubt { range, .. } in &self.doubts {
            for sector in sectors(range.start.min(len)..range.end.min(len)) {
                if rng.below(2) == 0 {
                    left[sector].fill(0);
                }
            }
        }
        left
    }

    /// Some sectors as they were, some as they were to be, some neither.
    fn scattered(&self, rng: &mut Rng) -> Vec<u8> {
        let (old, new) = (self.durable.len(), self.bytes.len());
        let len = if old > new && rng.below(2) == 0 { old } else { new };
        let mut left = self.durable[..self.low].to_vec();
        left.resize(len, 0);
        left[self.low..old.min(len).max(self.low)]
            .copy_from_slice(&self.durable[self.low..old.min(len).max(self.low)]);
        for sector in sectors(self.low..new.min(len)) {
            match rng.below(8) {
                0 => {}
                1 if sector.start >= old => {
                    left[sector].iter_mut().for_each(|byte| *byte = rng.next_u64() as u8);
                }
                _ => left[sector.clone()].copy_from_slice(&self.bytes[sector]),
            }
        }
        // The length may not have got as far either.
        if rng.below(4) == 0 && len > old {
            left.truncate(old + rng.below((len - old) as u64 + 1) as usize);
        }
        left
    }
}

/// The sectors that a range touches, each cut to the range.
fn sectors(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let start = at;
        at = ((start / SECTOR_BYTES + 1) * SECTOR_BYTES).min(range.end);
        (start < range.end).then_some(start..at)
    })
}
