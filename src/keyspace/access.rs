//! The access bytes of entries: when a key was used last (LRU), or how often (LFU).

use crate::keyspace::databases::Databases;
use crate::rdb::Access;

/// The clocks of access bytes wrap (after 194 days, or 45). What seems to have been used in the last
/// day before that was used after the moment it is looked at from.
const LATER_SECONDS: u32 = 24 * 60 * 60;

/// How a snapshot tells what access bytes say, as of the moment it shows. Entries may have been used
/// since.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Remembered {
    /// Not at all.
    #[default]
    Nothing,
    /// As seconds since the last use.
    Recency {
        /// The moment.
        now_seconds: u32,
    },
    /// As a counter.
    Frequency {
        /// The moment.
        now_minutes: u32,
        /// Minutes after which the counter falls by one.
        decay_minutes: u32,
    },
}

impl Remembered {
    /// What an entry's access bytes say.
    pub(crate) fn of(self, access: u32) -> Access {
        match self {
            Self::Nothing => Access::Unknown,
            Self::Recency { now_seconds } => {
                let idle = now_seconds.wrapping_sub(access) & 0xff_ffff;
                let later = idle > 0xff_ffff - LATER_SECONDS;
                Access::Idle(if later { 0 } else { u64::from(idle) })
            }
            Self::Frequency { now_minutes, decay_minutes } => {
                let (then, counter) = (access >> 8, access.to_le_bytes()[0]);
                let minutes = now_minutes.wrapping_sub(then) & 0xffff;
                let later = minutes > 0xffff - LATER_SECONDS / 60;
                let fallen =
                    if later { 0 } else { minutes.checked_div(decay_minutes).unwrap_or(0) };
                let fallen = u8::try_from(fallen).unwrap_or(u8::MAX);
                Access::Frequency(counter.saturating_sub(fallen))
            }
        }
    }
}

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
    pub(crate) fn decayed_frequency(&self, access: u32) -> u32 {
        let (then, counter) = (access >> 8, access & 0xff);
        let minutes = ((self.now.0 / 60_000) as u32).wrapping_sub(then) & 0xffff;
        match self.policy.lfu_decay_minutes {
            0 => counter,
            decay => counter.saturating_sub(minutes / decay),
        }
    }

    /// Seconds since the use that LRU access bytes stand for.
    pub(crate) fn idle_seconds(&self, access: u32) -> u32 {
        ((self.now.0 / 1000) as u32).wrapping_sub(access) & 0xff_ffff
    }

    /// How recently keys were used, as of now.
    pub(crate) fn recency(&self) -> Remembered {
        Remembered::Recency { now_seconds: (self.now.0 / 1000) as u32 }
    }

    /// How frequently keys are used, as of now.
    pub(crate) fn frequency(&self) -> Remembered {
        Remembered::Frequency {
            now_minutes: (self.now.0 / 60_000) as u32,
            decay_minutes: self.policy.lfu_decay_minutes,
        }
    }

    /// Access bytes for a key that was idle for some seconds.
    pub(crate) fn access_from_idle(&self, idle_seconds: u32) -> u32 {
        ((self.now.0 / 1000) as u32).wrapping_sub(idle_seconds) & 0xff_ffff
    }

    /// Access bytes for a key with a frequency counter.
    pub(crate) fn access_from_frequency(&self, counter: u8) -> u32 {
        ((((self.now.0 / 60_000) as u32) & 0xffff) << 8) | u32::from(counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_tells_the_use_of_keys_as_of_its_moment() {
        let now = 1_800_000_000_u32;
        let recency = Remembered::Recency { now_seconds: now };
        for (used, idle) in [(now, 0), (now - 70, 70), (now - 10_000_000, 10_000_000)] {
            assert_eq!(recency.of(used & 0xff_ffff), Access::Idle(idle));
        }
        assert_eq!(recency.of((now + 3600) & 0xff_ffff), Access::Idle(0), "used since");
        let minutes = now / 60;
        let frequency = Remembered::Frequency { now_minutes: minutes, decay_minutes: 2 };
        for (ago, counter, told) in [(0, 9, 9), (1, 9, 9), (5, 9, 7), (100, 9, 0), (1000, 255, 0)] {
            let access = ((minutes - ago) & 0xffff) << 8 | counter;
            assert_eq!(frequency.of(access), Access::Frequency(told), "{ago} {counter}");
        }
        let since = ((minutes + 60) & 0xffff) << 8 | 9;
        assert_eq!(frequency.of(since), Access::Frequency(9), "used since");
        let steady = Remembered::Frequency { now_minutes: minutes, decay_minutes: 0 };
        assert_eq!(steady.of(((minutes - 1000) & 0xffff) << 8 | 9), Access::Frequency(9));
        assert_eq!(Remembered::Nothing.of(7), Access::Unknown);
    }
}
