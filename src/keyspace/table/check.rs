//! Verifies the invariants that the table's head names. Slow; for tests.

use super::Table;
use super::directory::Handle;
use super::entry::RawEntry;
use super::grow::chain;
use super::segment::{BUCKETS, PROBES, Segment, after, fingerprint_of, granules, home_of};

/// Sums over a chain, by home bucket.
struct Homes {
    /// Entries at home in a bucket, for each segment of the chain.
    by_segment: Vec<[usize; BUCKETS]>,
}

impl Table {
    /// Panics where an invariant doesn't hold.
    pub(super) fn check(&self) {
        let (mut len, mut expiring, mut segments, mut pages) = (0, 0, 0, 0);
        let (mut owned_blocks, mut owned_bytes) = (0, 0);
        let mut position = 0_u64;
        for handle in self.directory.iter() {
            assert!(self.directory.get(position) == handle, "the directory goes in hash order");
            let mut homes = Homes { by_segment: Vec::new() };
            for segment in chain(handle) {
                assert_eq!(segment.depth(), handle.depth());
                homes.by_segment.push(self.check_segment(segment, handle));
                len += segment.count();
                expiring += segment.expiring();
                segments += 1;
                pages += segment.pages();
                segment.for_each(|_, entry| {
                    owned_blocks += entry.owned().blocks;
                    owned_bytes += entry.owned().bytes;
                });
            }
            assert!(homes.by_segment.len() <= self.chain_max);
            for (at, segment) in chain(handle).enumerate() {
                for home in 0..BUCKETS {
                    let further: usize =
                        homes.by_segment[at + 1..].iter().map(|counts| counts[home]).sum();
                    let spilled = usize::from(segment.bucket(home).spilled());
                    assert!(spilled == further || spilled == usize::from(u16::MAX));
                }
            }
            position = super::scan::segment_end(position, handle.depth());
        }
        assert_eq!(position, 0, "the directory covers all hashes");
        assert_eq!((self.len, self.expiring), (len, expiring));
        assert_eq!((self.tally.segments, self.tally.pages), (segments, pages));
        assert_eq!(self.tally.owned_blocks, owned_blocks);
        assert_eq!(self.tally.owned_bytes, owned_bytes);
    }

    fn check_segment(&self, segment: &Segment, handle: Handle) -> [usize; BUCKETS] {
        let mut homes = [0; BUCKETS];
        let mut overflow = [0_usize; BUCKETS];
        let (mut count, mut expiring) = (0, 0);
        let mut used = vec![false; usize::from(segment.bump())];
        let mut mark = |place: u16, size: u16| {
            for granule in &mut used[usize::from(place)..][..usize::from(size)] {
                assert!(!std::mem::replace(granule, true), "two things in one place");
            }
        };
        for bucket in 0..BUCKETS {
            for slot in segment.bucket(bucket).occupied() {
                let entry: RawEntry = segment.entry(bucket, slot);
                let hash = self.hasher.hash(entry.key());
                assert!(self.directory.get(hash) == handle, "the directory names the segment");
                assert_eq!(segment.bucket(bucket).fingerprint(slot), fingerprint_of(hash));
                mark(segment.bucket(bucket).place(slot), granules(entry.bytes()));
                let home = home_of(hash, handle.depth());
                homes[home] += 1;
                let mut passed = home;
                for probe in 0.. {
                    assert!(probe < PROBES, "an entry is near its home");
                    if passed == bucket {
                        break;
                    }
                    overflow[passed] += 1;
                    passed = after(passed);
                }
                count += 1;
                if let Some(expiry) = entry.expiry() {
                    expiring += 1;
                    assert!(expiry.0 >= segment.earliest());
                }
            }
        }
        let mut dead = 0;
        for (place, size) in segment.all_holes() {
            mark(place, size);
            dead += size;
        }
        assert_eq!(dead, segment.dead());
        assert!(used.iter().all(|&granule| granule), "no granule is lost");
        assert_eq!((segment.count(), segment.expiring()), (count, expiring));
        for (bucket, &expected) in overflow.iter().enumerate() {
            assert_eq!(usize::from(segment.bucket(bucket).overflow()), expected);
        }
        homes
    }
}
