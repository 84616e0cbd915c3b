//! Records in the order of their ids: what is pending in a group, and what of it a consumer has.
//!
//! ```text
//! blocks ─► [ record ... ] [ record ... ] ...     at most 512 records each, none empty
//! ```
//! Ids nearly always come in order and go in order: a block that is full at the end stays full and the
//! next begins, so a record takes its own size and nothing beside. A block is found by bisection, and
//! so is a record in it. Blocks are shared with clones (snapshots) and copied before they change, so no
//! step moves more than one block, 16 KiB, and the blocks' own pointers.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::data::stream::id::StreamId;

/// Records of a block at most.
const BLOCK_RECORDS: usize = 512;
/// Neighbouring blocks that together have no more than this become one.
const BLOCK_RECORDS_FEW: usize = BLOCK_RECORDS / 2;
/// What an `Arc` and a `VecDeque` take beside the records.
const FRAME_BYTES: usize = 16 + size_of::<VecDeque<u8>>();

/// What is kept by its id.
pub(super) trait Record: Copy {
    fn id(&self) -> StreamId;
}

impl Record for StreamId {
    #[inline]
    fn id(&self) -> StreamId {
        *self
    }
}

/// See the file's head.
#[derive(Clone, Debug)]
pub(super) struct Sorted<T: Record> {
    blocks: VecDeque<Arc<VecDeque<T>>>,
    len: usize,
    /// Records that are allocated for.
    room: usize,
}

impl<T: Record> Default for Sorted<T> {
    fn default() -> Self {
        Self { blocks: VecDeque::new(), len: 0, room: 0 }
    }
}

impl<T: Record> Sorted<T> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of heap, as if they were shared with no clone.
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<Arc<VecDeque<T>>>()
            + self.blocks.len() * FRAME_BYTES
            + self.room * size_of::<T>()
    }

    /// The block in which the id is, or would be: the last that begins at or before it, or the first.
    #[inline]
    fn block_of(&self, id: StreamId) -> usize {
        match self.blocks.back() {
            // Most often it is the last.
            Some(last) if last[0].id() <= id => self.blocks.len() - 1,
            _ => self.blocks.partition_point(|block| block[0].id() <= id).saturating_sub(1),
        }
    }

    /// Where the record of an id is: its block, and its index there or where it would be.
    #[inline]
    fn locate(&self, id: StreamId) -> (usize, Result<usize, usize>) {
        let block = self.block_of(id);
        let found = match self.blocks.get(block) {
            Some(records) if records[records.len() - 1].id() < id => Err(records.len()),
            Some(records) => records.binary_search_by_key(&id, Record::id),
            None => Err(0),
        };
        (block, found)
    }

    #[inline]
    pub(super) fn get(&self, id: StreamId) -> Option<T> {
        let (block, found) = self.locate(id);
        found.ok().map(|index| self.blocks[block][index])
    }

    /// A block to be changed, copied first where a clone has it, too.
    #[inline]
    fn edit<R>(&mut self, block: usize, change: impl FnOnce(&mut VecDeque<T>) -> R) -> R {
        let records = &mut self.blocks[block];
        self.room -= records.capacity();
        let records = Arc::make_mut(records);
        let result = change(records);
        self.room += records.capacity();
        result
    }

    fn insert_block(&mut self, at: usize, records: VecDeque<T>) {
        self.room += records.capacity();
        self.blocks.insert(at, Arc::new(records));
    }

    /// Puts a record; returns the one that had its id.
    #[inline]
    pub(super) fn put(&mut self, record: T) -> Option<T> {
        let (block, found) = self.locate(record.id());
        match found {
            Ok(index) => {
                Some(self.edit(block, |records| std::mem::replace(&mut records[index], record)))
            }
            Err(index) => {
                self.insert(block, index, record);
                None
            }
        }
    }

    #[inline]
    fn insert(&mut self, block: usize, index: usize, record: T) {
        self.len += 1;
        match self.blocks.get(block).map(|records| records.len()) {
            Some(len) if len < BLOCK_RECORDS => {
                self.edit(block, |records| records.insert(index, record));
            }
            // At the end a full block stays full.
            Some(len) if block + 1 < self.blocks.len() || index < len => {
                self.halve(block);
                let half = BLOCK_RECORDS / 2;
                let (block, index) =
                    if index > half { (block + 1, index - half) } else { (block, index) };
                self.edit(block, |records| records.insert(index, record));
            }
            _ => {
                let at = self.blocks.len();
                // The first is small, for most groups have little pending.
                let room = if at == 0 { 1 } else { BLOCK_RECORDS };
                let mut records = VecDeque::with_capacity(room);
                records.push_back(record);
                self.insert_block(at, records);
            }
        }
    }

    #[cold]
    fn halve(&mut self, block: usize) {
        let rest = self.edit(block, |records| {
            let rest = records.split_off(BLOCK_RECORDS / 2);
            records.shrink_to_fit();
            rest
        });
        self.insert_block(block + 1, rest);
    }

    /// Changes the record of an id, which stays; false where there is none.
    #[inline]
    pub(super) fn update(&mut self, id: StreamId, change: impl FnOnce(&mut T)) -> bool {
        let (block, found) = self.locate(id);
        let Ok(index) = found else { return false };
        self.edit(block, |records| change(&mut records[index]));
        true
    }

    /// Takes the record of an id out.
    #[inline]
    pub(super) fn remove(&mut self, id: StreamId) -> Option<T> {
        let (block, found) = self.locate(id);
        let index = found.ok()?;
        self.len -= 1;
        if self.blocks[block].len() == 1 {
            let records = self.blocks.remove(block)?;
            self.room -= records.capacity();
            if self.blocks.is_empty() {
                self.blocks = VecDeque::new();
            }
            return Some(records[0]);
        }
        let record = self.edit(block, |records| records.remove(index))?;
        if self.blocks[block].len() < BLOCK_RECORDS_FEW / 2 {
            self.merge(block);
        }
        Some(record)
    }

    /// Keeps only records that are wanted.
    pub(super) fn retain(&mut self, mut is_wanted: impl FnMut(&T) -> bool) {
        let all = std::mem::take(self);
        for mut records in all.blocks {
            if !records.iter().all(&mut is_wanted) {
                Arc::make_mut(&mut records).retain(&mut is_wanted);
            }
            if !records.is_empty() {
                self.len += records.len();
                self.room += records.capacity();
                self.blocks.push_back(records);
            }
        }
    }

    /// Joins a block that has few records with a neighbour that has few, too.
    #[cold]
    fn merge(&mut self, block: usize) {
        let few = |first: usize| {
            let next = self.blocks.get(first + 1)?;
            (self.blocks[first].len() + next.len() <= BLOCK_RECORDS_FEW).then_some(first)
        };
        let Some(first) = block.checked_sub(1).and_then(few).or_else(|| few(block)) else { return };
        if let Some(next) = self.blocks.remove(first + 1) {
            self.room -= next.capacity();
            self.edit(first, |records| records.extend(next.iter()));
        }
    }

    /// The records from an id on.
    pub(super) fn iter_from(&self, id: StreamId) -> impl Iterator<Item = &T> + Clone {
        let block = self.block_of(id);
        let first = self
            .blocks
            .get(block)
            .map(|records| records.range(records.partition_point(|record| record.id() < id)..));
        let rest = self.blocks.range((block + 1).min(self.blocks.len())..);
        first.into_iter().flatten().chain(rest.flat_map(|records| records.iter()))
    }

    /// All records.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        self.blocks.iter().flat_map(|records| records.iter())
    }

    #[inline]
    pub(super) fn first(&self) -> Option<&T> {
        self.blocks.front()?.front()
    }

    #[inline]
    pub(super) fn last(&self) -> Option<&T> {
        self.blocks.back()?.back()
    }

    /// Looks whether order and sums are what they should be.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let ids: Vec<StreamId> = self.iter().map(Record::id).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert_eq!(self.len, ids.len());
        assert!(self.blocks.iter().all(|block| (1..=BLOCK_RECORDS).contains(&block.len())));
        assert_eq!(self.room, self.blocks.iter().map(|block| block.capacity()).sum::<usize>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::Rng;
    use std::collections::BTreeSet;

    #[test]
    fn it_is_a_sorted_set_of_ids() {
        let mut rng = Rng::from_seed(3);
        let mut sorted: Sorted<StreamId> = Sorted::default();
        let mut model = BTreeSet::new();
        let mut clones = Vec::new();
        for step in 0..60_000_u64 {
            let grows = step % 20_000 < 12_000;
            let id = StreamId { ms: rng.below(3_000), seq: rng.below(3) };
            if rng.below(10) < if grows { 8 } else { 2 } {
                assert_eq!(sorted.put(id).is_none(), model.insert(id));
            } else {
                assert_eq!(sorted.remove(id).is_some(), model.remove(&id));
            }
            if step % 997 == 0 {
                sorted.check();
                assert!(sorted.iter().eq(model.iter()));
                assert!(sorted.iter_from(id).eq(model.range(id..)));
                assert_eq!((sorted.first(), sorted.last()), (model.first(), model.last()));
                clones.push((sorted.clone(), model.clone()));
            }
        }
        for (sorted, model) in clones {
            assert!(sorted.iter().eq(model.iter()), "a clone doesn't change");
        }
    }

    #[test]
    fn records_that_come_in_order_fill_their_blocks() {
        let mut sorted: Sorted<StreamId> = Sorted::default();
        for ms in 1..=100_000 {
            sorted.put(StreamId { ms, seq: 0 });
        }
        let per_record = sorted.heap_bytes() as f64 / 100_000.0;
        assert!(per_record < 16.5, "{per_record}");
    }
}
