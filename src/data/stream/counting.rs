//! How far a group is behind: counting entries that were added, without looking at them.
//!
//! A stream knows how many entries it ever had, and the greatest id that was deleted. While nothing is
//! deleted between an id and an end of the stream, the entries up to that id can be counted from that
//! end; otherwise the count is unknown, and XINFO replies nil. The numbers are upstream's.

use std::cmp::Ordering;

use crate::data::stream::{COUNT_MAX, Counts, Group, Stream, StreamId};

impl Stream {
    /// Whether an entry at or behind `id` was deleted, as far as the greatest deleted id tells.
    fn has_deleted_behind(&self, id: StreamId) -> bool {
        let Counts { max_deleted, .. } = self.counts();
        !self.is_empty() && max_deleted != StreamId::MIN && id <= max_deleted
    }

    /// How many entries were ever added up to an id, where that can be told.
    pub(crate) fn added_up_to(&self, id: StreamId) -> Option<u64> {
        self.added_before(id, self.first_id().unwrap_or_default())
    }

    fn added_before(&self, id: StreamId, first: StreamId) -> Option<u64> {
        let Counts { last_id, max_deleted, added } = self.counts();
        if added == 0 {
            return Some(0);
        }
        if self.is_empty() && id <= last_id {
            return Some(added);
        }
        if id != StreamId::MIN && id < max_deleted {
            return None;
        }
        match id.cmp(&last_id) {
            Ordering::Equal => return Some(added),
            Ordering::Greater => return None,
            Ordering::Less => {}
        }
        if max_deleted != StreamId::MIN && max_deleted >= first {
            return None;
        }
        let before_first = added.saturating_sub(self.len() as u64);
        match id.cmp(&first) {
            Ordering::Less => Some(before_first),
            Ordering::Equal => Some(before_first + 1),
            Ordering::Greater => None,
        }
    }

    /// Whether a group that has read up to `last_id` can go on counting from there.
    fn counts_on(&self, last_id: StreamId, first: StreamId) -> bool {
        last_id >= first && !self.has_deleted_behind(last_id)
    }

    /// What a group's count of entries read becomes when it reads the entries of these ids, which are
    /// its next.
    pub(crate) fn count_read(&self, group: &Group, ids: &[StreamId]) -> Option<u64> {
        let first = self.first_id().unwrap_or_default();
        let (mut read, mut last_id) = (group.entries_read, group.last_id);
        for (index, id) in ids.iter().enumerate() {
            read = match read {
                Some(read) if self.counts_on(last_id, first) => {
                    // What holds behind one holds behind all that follow.
                    return Some(COUNT_MAX.min(read + (ids.len() - index) as u64));
                }
                read if self.counts().added == 0 => read,
                _ => self.added_before(*id, first),
            };
            last_id = *id;
        }
        read
    }

    /// How many entries a group has not read yet, where that can be told.
    pub(crate) fn lag(&self, group: &Group) -> Option<u64> {
        let added = self.counts().added;
        if added == 0 {
            return Some(0);
        }
        let first = self.first_id().unwrap_or_default();
        let read = match group.entries_read {
            Some(read) if !self.has_deleted_behind(group.last_id) => Some(read),
            _ => self.added_before(group.last_id, first),
        };
        read.map(|read| added.wrapping_sub(read))
    }
}
