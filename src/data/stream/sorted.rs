//! Records in the order of their ids: what is pending in a group, and what of it a consumer has.
//!
//! ```text
//! blocks ─► [ record ... ] [ record ... ] ...     at most 512 records each, none empty
//!             oldest ms      oldest ms            no record of the block is older
//! ```
//! Ids nearly always come in order and go in order: a block that is full at the end stays full and the
//! next begins, so a record takes its own size and nothing beside. A block is found by bisection, and
//! so is a record in it. Blocks are shared with clones (snapshots) and copied before they change, so no
//! step moves more than one block, 16 KiB, and the blocks' own pointers.
//!
//! The oldest records are found by the blocks' bounds: only blocks that may hold one are looked at.
//! A bound may be too low, since taking a record out doesn't raise it; it is made exact when its
//! block is looked at.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::data::stream::id::StreamId;

/// Records of a block at most.
const BLOCK_RECORDS: usize = 512;
/// Neighbouring blocks that together have no more than this become one.
const BLOCK_RECORDS_FEW: usize = BLOCK_RECORDS / 2;
/// What an `Arc` and a block take beside the records.
const FRAME_BYTES: usize = 16 + size_of::<Block<u8>>();

/// What is kept by its id.
pub(super) trait Record: Copy {
    fn id(&self) -> StreamId;

    /// By what [`Sorted::oldest`] finds it.
    #[inline]
    fn time_ms(&self) -> i64 {
        i64::MAX
    }
}

impl Record for StreamId {
    #[inline]
    fn id(&self) -> StreamId {
        *self
    }
}

/// Records of ids that follow each other.
#[derive(Clone, Debug)]
struct Block<T> {
    records: VecDeque<T>,
    /// No record's time is before this.
    oldest_ms: i64,
}

impl<T> Deref for Block<T> {
    type Target = VecDeque<T>;

    #[inline]
    fn deref(&self) -> &VecDeque<T> {
        &self.records
    }
}

impl<T> DerefMut for Block<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut VecDeque<T> {
        &mut self.records
    }
}

impl<T: Record> Block<T> {
    fn of(records: VecDeque<T>, oldest_ms: i64) -> Arc<Self> {
        Arc::new(Self { records, oldest_ms })
    }

    #[inline]
    fn note(&mut self, time_ms: i64) {
        self.oldest_ms = self.oldest_ms.min(time_ms);
    }
}

/// See the file's head.
#[derive(Clone, Debug)]
pub(super) struct Sorted<T: Record> {
    blocks: VecDeque<Arc<Block<T>>>,
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
        self.blocks.capacity() * size_of::<Arc<Block<T>>>()
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
    fn edit<R>(&mut self, block: usize, change: impl FnOnce(&mut Block<T>) -> R) -> R {
        let records = &mut self.blocks[block];
        self.room -= records.capacity();
        let records = Arc::make_mut(records);
        let result = change(records);
        self.room += records.capacity();
        result
    }

    fn insert_block(&mut self, at: usize, block: Arc<Block<T>>) {
        self.room += block.capacity();
        self.blocks.insert(at, block);
    }

    /// Puts a record into a block that has room.
    #[inline]
    fn place(&mut self, block: usize, index: usize, record: T) {
        self.edit(block, |records| {
            records.note(record.time_ms());
            records.insert(index, record);
        });
    }

    /// Puts a record; returns the one that had its id.
    #[inline]
    pub(super) fn put(&mut self, record: T) -> Option<T> {
        let (block, found) = self.locate(record.id());
        match found {
            Ok(index) => {
                let before = self.edit(block, |records| {
                    records.note(record.time_ms());
                    std::mem::replace(&mut records[index], record)
                });
                Some(before)
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
                self.place(block, index, record);
            }
            // At the end a full block stays full.
            Some(len) if block + 1 < self.blocks.len() || index < len => {
                self.halve(block);
                let half = BLOCK_RECORDS / 2;
                let (block, index) =
                    if index > half { (block + 1, index - half) } else { (block, index) };
                self.place(block, index, record);
            }
            _ => {
                let at = self.blocks.len();
                // The first is small, for most groups have little pending.
                let room = if at == 0 { 1 } else { BLOCK_RECORDS };
                let mut records = VecDeque::with_capacity(room);
                records.push_back(record);
                self.insert_block(at, Block::of(records, record.time_ms()));
            }
        }
    }

    #[cold]
    fn halve(&mut self, block: usize) {
        let rest = self.edit(block, |records| {
            let rest = records.split_off(BLOCK_RECORDS / 2);
            records.shrink_to_fit();
            Block::of(rest, records.oldest_ms)
        });
        self.insert_block(block + 1, rest);
    }

    /// Changes the record of an id, which stays; false where there is none.
    #[inline]
    pub(super) fn update(&mut self, id: StreamId, change: impl FnOnce(&mut T)) -> bool {
        let (block, found) = self.locate(id);
        let Ok(index) = found else { return false };
        self.edit(block, |records| {
            change(&mut records[index]);
            let time_ms = records[index].time_ms();
            records.note(time_ms);
        });
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
            self.edit(first, |records| {
                records.note(next.oldest_ms);
                records.extend(next.iter());
            });
        }
    }

    /// The ids of up to `most` records that are no younger than a time, the oldest first, and among
    /// equals the least id.
    pub(super) fn oldest(&mut self, until_ms: i64, most: usize) -> Vec<StreamId> {
        let bounds = self.blocks.iter().enumerate().map(|(at, block)| (block.oldest_ms, at));
        let mut queue: BinaryHeap<Reverse<(i64, usize)>> =
            bounds.filter(|(oldest_ms, _)| *oldest_ms <= until_ms).map(Reverse).collect();
        // The youngest of those found so far is on top.
        let mut found: BinaryHeap<(i64, StreamId)> = BinaryHeap::new();
        while let Some(Reverse((oldest_ms, at))) = queue.pop() {
            let first = (oldest_ms, self.blocks[at][0].id());
            if found.len() >= most && found.peek().is_none_or(|youngest| *youngest < first) {
                break;
            }
            let mut exact_ms = i64::MAX;
            for record in self.blocks[at].iter() {
                let (time_ms, id) = (record.time_ms(), record.id());
                exact_ms = exact_ms.min(time_ms);
                if time_ms > until_ms {
                    continue;
                }
                if found.len() < most {
                    found.push((time_ms, id));
                } else if found.peek().is_some_and(|youngest| (time_ms, id) < *youngest) {
                    found.pop();
                    found.push((time_ms, id));
                }
            }
            // A block that a snapshot has, too, keeps the lower bound.
            if let Some(block) = Arc::get_mut(&mut self.blocks[at]) {
                block.oldest_ms = exact_ms;
            }
        }
        found.into_sorted_vec().into_iter().map(|(_, id)| id).collect()
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
        for block in &self.blocks {
            assert!(block.iter().all(|record| record.time_ms() >= block.oldest_ms));
        }
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

    /// A record with a time.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Timed(StreamId, i64);

    impl Record for Timed {
        fn id(&self) -> StreamId {
            self.0
        }

        fn time_ms(&self) -> i64 {
            self.1
        }
    }

    #[test]
    fn the_oldest_are_found_whatever_happened_to_them() {
        let mut rng = Rng::from_seed(9);
        let mut sorted: Sorted<Timed> = Sorted::default();
        let mut held = Vec::new();
        for step in 0..30_000_i64 {
            let id = StreamId { ms: rng.below(4_000), seq: 0 };
            let time_ms = step - rng.below(500).cast_signed();
            match rng.below(10) {
                0..=5 => {
                    sorted.put(Timed(id, time_ms));
                }
                6..=7 => {
                    sorted.remove(id);
                }
                8 => {
                    sorted.update(id, |record| record.1 = time_ms);
                }
                _ => {
                    let most = [0, 1, 7, 600, usize::MAX][rng.below(5) as usize];
                    let until_ms = step - rng.below(3_000).cast_signed();
                    let mut model: Vec<(i64, StreamId)> =
                        sorted.iter().map(|record| (record.1, record.0)).collect();
                    model.retain(|(time_ms, _)| *time_ms <= until_ms);
                    model.sort_unstable();
                    let model: Vec<StreamId> =
                        model.into_iter().take(most).map(|(_, id)| id).collect();
                    assert_eq!(sorted.oldest(until_ms, most), model);
                }
            }
            if step % 1_000 == 0 {
                sorted.check();
                held = vec![sorted.clone()];
            }
        }
        drop(held);
    }

    #[test]
    fn few_blocks_are_looked_at_for_the_oldest() {
        let mut sorted: Sorted<Timed> = Sorted::default();
        for ms in 1..=100_000 {
            sorted.put(Timed(StreamId { ms, seq: 0 }, ms.cast_signed()));
        }
        // Each look makes the bound of the block that it took from exact again.
        for ms in 1..=100_000 {
            let id = StreamId { ms, seq: 0 };
            assert_eq!(sorted.oldest(200_000, 1), [id]);
            sorted.put(Timed(id, 500_000));
        }
        assert!(sorted.oldest(200_000, 1).is_empty());
        assert!(sorted.blocks.iter().all(|block| block.oldest_ms == 500_000));
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
