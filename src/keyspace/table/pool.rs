//! Frames of 256 KiB of virtual memory, for segments.
//!
//! A frame's pages come into being when they are first touched, so a segment costs what it uses,
//! and a frame that comes back gives its pages to the kernel and keeps its addresses. One pool
//! serves all databases of a server: a region is 256 MiB of addresses, which sixteen databases
//! should not each reserve. The lock is taken only when a segment is born or dies (a split, a
//! merge, a compaction), never on a lookup, and not while the kernel takes pages back; it is there
//! because FLUSHALL ASYNC frees a table on another thread.
//!
//! A few frames that came back stay *hot*: their pages are kept for the next segment, since a
//! split needs two frames and returns one.
//!
//! Deliberately absent: giving regions back before the pool goes. Untouched addresses cost nothing
//! but their (released) page tables.

use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes in a frame; also its alignment.
pub(super) const FRAME_BYTES: usize = 256 << 10;
/// The kernel's unit. Larger real pages only make the figures coarser: `madvise` would refuse a
/// start that isn't aligned, which [`Frame::trim`] takes as "nothing released".
pub(super) const PAGE_BYTES: usize = 4096;
/// Frames in a region, if the system has the addresses; else fewer.
const REGION_FRAMES: usize = 1024;
/// Returned frames that keep their pages.
const HOT_FRAMES: usize = 4;

/// A piece of memory of `FRAME_BYTES`, aligned to as much.
#[derive(Debug)]
pub(super) struct Frame {
    /// Its first byte.
    pub(super) start: NonNull<u8>,
    /// Pages from the start that may hold old contents; all beyond them read as zeros.
    pub(super) touched_pages: u16,
}

// SAFETY: a frame is plain memory that its holder owns alone.
unsafe impl Send for Frame {}

impl Frame {
    /// Gives all pages from `keep_pages` on back to the kernel.
    pub(super) fn trim(&mut self, keep_pages: u16) {
        if keep_pages >= self.touched_pages {
            return;
        }
        let from = usize::from(keep_pages) * PAGE_BYTES;
        let len = usize::from(self.touched_pages) * PAGE_BYTES - from;
        // SAFETY: the range is within the frame, which we own, and holds nothing of value.
        let result = unsafe {
            libc::madvise(self.start.as_ptr().add(from).cast(), len, libc::MADV_DONTNEED)
        };
        if result == 0 {
            self.touched_pages = keep_pages;
        }
    }
}

struct Region {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: an address range; only the pool's last handle unmaps it.
unsafe impl Send for Region {}

#[derive(Default)]
struct State {
    regions: Vec<Region>,
    /// Returned frames with pages.
    hot: Vec<Frame>,
    /// Returned frames without pages.
    cold: Vec<Frame>,
    /// Frames of the newest region that were never used.
    fresh: usize,
}

impl Drop for State {
    fn drop(&mut self) {
        for region in &self.regions {
            // SAFETY: the region came from mmap with this length, and no frame of it is in use:
            // each table holds a handle to the pool, and this is the last one.
            unsafe { libc::munmap(region.start.as_ptr().cast(), region.bytes) };
        }
    }
}

/// A handle to a pool of frames; clones share it.
#[derive(Clone, Default)]
pub struct Pool(Arc<Mutex<State>>);

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Pool")
            .field("regions", &state.regions.len())
            .field("hot", &state.hot.len())
            .field("cold", &state.cold.len())
            .field("fresh", &state.fresh)
            .finish()
    }
}

impl Pool {
    /// A pool that has nothing mapped yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of memory in frames that wait for their next use.
    #[cfg(test)]
    pub(crate) fn idle_bytes(&self) -> usize {
        self.state().hot.iter().map(|frame| usize::from(frame.touched_pages) * PAGE_BYTES).sum()
    }

    /// A frame for a segment. Ends the process, as a failed allocation does, when the system has
    /// no addresses left.
    pub(super) fn take(&self) -> Frame {
        let mut state = self.state();
        if let Some(frame) = state.hot.pop().or_else(|| state.cold.pop()) {
            return frame;
        }
        if state.fresh == 0 {
            let region = map_region();
            state.fresh = region.bytes / FRAME_BYTES;
            state.regions.push(region);
        }
        state.fresh -= 1;
        let Some(region) = state.regions.last() else { unreachable!("fresh frames have a region") };
        // SAFETY: the offset is below the region's length.
        let start = unsafe { region.start.add(state.fresh * FRAME_BYTES) };
        Frame { start, touched_pages: 0 }
    }

    /// Takes a frame back.
    pub(super) fn give(&self, mut frame: Frame) {
        {
            let mut state = self.state();
            if state.hot.len() < HOT_FRAMES {
                state.hot.push(frame);
                return;
            }
        }
        frame.trim(0);
        let mut state = self.state();
        // Where the kernel didn't take the pages, the frame isn't blank.
        if frame.touched_pages == 0 { state.cold.push(frame) } else { state.hot.push(frame) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reserves addresses for as many frames as the system grants, up to a region.
fn map_region() -> Region {
    let mut frames = REGION_FRAMES;
    loop {
        if let Some(region) = try_map(frames) {
            return region;
        }
        if frames == 1 {
            let layout = std::alloc::Layout::new::<[u8; FRAME_BYTES]>();
            std::alloc::handle_alloc_error(layout);
        }
        frames = (frames / 4).max(1);
    }
}

fn try_map(frames: usize) -> Option<Region> {
    let bytes = frames * FRAME_BYTES;
    // One frame more than wanted, so that it contains an aligned range; the rest goes back.
    let mapped = bytes + FRAME_BYTES;
    // SAFETY: a new anonymous mapping touches nothing that exists.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            mapped,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return None;
    }
    let start = start.cast::<u8>();
    let before = start.align_offset(FRAME_BYTES);
    let after = FRAME_BYTES - before;
    // SAFETY: all ranges are parts of the mapping just made, which no other code knows of; only
    // the parts before and after the aligned range are unmapped.
    unsafe {
        let aligned = start.add(before);
        if before > 0 {
            libc::munmap(start.cast(), before);
        }
        if after > 0 {
            libc::munmap(aligned.add(bytes).cast(), after);
        }
        // A transparent huge page would make 2 MiB of eight half-empty segments resident. Where
        // the kernel doesn't know the advice, it has no such pages either.
        #[cfg(target_os = "linux")]
        libc::madvise(aligned.cast(), bytes, libc::MADV_NOHUGEPAGE);
        Some(Region { start: NonNull::new(aligned)?, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_aligned_distinct_and_blank() {
        let pool = Pool::new();
        let mut frames: Vec<Frame> = (0..REGION_FRAMES + 20).map(|_| pool.take()).collect();
        let mut starts: Vec<usize> = frames.iter().map(|f| f.start.as_ptr() as usize).collect();
        assert!(starts.iter().all(|start| start % FRAME_BYTES == 0));
        starts.sort_unstable();
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= FRAME_BYTES));
        for frame in &mut frames {
            // SAFETY: the frame is ours and at least a page long.
            unsafe { frame.start.as_ptr().add(5000).write(1) };
            frame.touched_pages = 2;
        }
        for frame in frames {
            pool.give(frame);
        }
        assert_eq!(pool.idle_bytes(), HOT_FRAMES * 2 * PAGE_BYTES);
        for index in 0..REGION_FRAMES {
            let frame = pool.take();
            // SAFETY: as above.
            let byte = unsafe { frame.start.as_ptr().add(5000).read() };
            assert_eq!(
                (frame.touched_pages == 0, byte),
                (index >= HOT_FRAMES, (index < HOT_FRAMES) as u8)
            );
        }
    }
}
