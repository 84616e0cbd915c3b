//! The access bytes of entries: when a key was used last (LRU), or how often (LFU).

use crate::keyspace::databases::Databases;

impl Databases {
    /// The access bytes of a key that is used now for the first time: the LRU clock in seconds, or
    /// the LFU minute and a counter of 5 that gives a new key a chance.
    #[inline]
    pub(super) fn fresh_access(&self) -> u32 {
        let seconds = (self.now.0 / 1000) as u32;
        if self.policy.lfu { (((seconds / 60) & 0xffff) << 8) | 5 } else { seconds & 0xff_ffff }
    }

    /// The access bytes after one more use.
    pub(super) fn next_access(&mut self, old: u32) -> u32 {
        if !self.policy.lfu {
            return self.fresh_access();
        }
        let counter = self.decayed_frequency(old);
        let minute = ((self.now.0 / 60_000) as u32) & 0xffff;
        let base = u64::from(counter.saturating_sub(5)) * u64::from(self.policy.lfu_log_factor) + 1;
        let grows = counter < 255 && self.rng.below(base) == 0;
        minute << 8 | (counter + u32::from(grows))
    }

    /// The frequency counter (0 to 255) that access bytes stand for now, with the decay since.
    pub fn decayed_frequency(&self, access: u32) -> u32 {
        let (then, counter) = (access >> 8, access & 0xff);
        let minutes = ((self.now.0 / 60_000) as u32).wrapping_sub(then) & 0xffff;
        match self.policy.lfu_decay_minutes {
            0 => counter,
            decay => counter.saturating_sub(minutes / decay),
        }
    }

    /// Seconds since the use that LRU access bytes stand for.
    pub fn idle_seconds(&self, access: u32) -> u32 {
        ((self.now.0 / 1000) as u32).wrapping_sub(access) & 0xff_ffff
    }

    /// Access bytes for a key that was idle for some seconds.
    pub fn access_from_idle(&self, idle_seconds: u32) -> u32 {
        ((self.now.0 / 1000) as u32).wrapping_sub(idle_seconds) & 0xff_ffff
    }

    /// Access bytes for a key with a frequency counter.
    pub fn access_from_frequency(&self, counter: u8) -> u32 {
        ((((self.now.0 / 60_000) as u32) & 0xffff) << 8) | u32::from(counter)
    }
}
