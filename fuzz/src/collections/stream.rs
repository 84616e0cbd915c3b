//! Streams against a `BTreeMap`: entries, and what is pending in one group of theirs.

use std::collections::BTreeMap;

use redstart::data::stream::{
    ConsumerId, Counts, Entries, Group, IdText, Pending, References, Stream, StreamId, Trim, TrimTo,
};
use redstart::data::thresholds::Thresholds;
use redstart::data::value::Object;

use super::{Input, Row};

/// The group that is changed.
const GROUP: &[u8] = b"of the fuzzer";
/// Names of its consumers.
const CONSUMERS: [&[u8]; 3] = [b"b", b"a", b""];

type Words = Vec<Vec<u8>>;

pub(super) struct Model {
    entries: BTreeMap<StreamId, Words>,
    /// By id: whose, when, how often.
    pending: BTreeMap<StreamId, (Vec<u8>, i64, u32)>,
    /// What was given back of it, in that order.
    released: Vec<StreamId>,
}

/// The owner of what was given back, whose name is no consumer's.
const NOBODY: &[u8] = b"nobody at all";

/// An entry as a row: its id, and its fields and values with their lengths.
fn row(id: StreamId, words: &[Vec<u8>]) -> Row {
    let mut joined = Vec::new();
    for word in words {
        joined.extend_from_slice(&(word.len() as u64).to_be_bytes());
        joined.extend_from_slice(word);
    }
    (id.to_string().into_bytes(), joined, None)
}

fn read(mut entries: Entries<'_>) -> Vec<(StreamId, Words)> {
    let mut all = Vec::new();
    while let Some((id, count)) = entries.next_entry() {
        let mut words = Words::new();
        while let Some((name, value)) = entries.next_field() {
            words.extend([name.to_vec(), value.to_vec()]);
        }
        assert_eq!(words.len(), 2 * count);
        all.push((id, words));
    }
    all
}

/// What a stream shows of itself.
pub(super) fn rows(stream: &Stream) -> Vec<Row> {
    let all = read(stream.range(StreamId::MIN, StreamId::MAX));
    all.iter().map(|(id, words)| row(*id, words)).collect()
}

fn pending_of(stream: &Stream) -> BTreeMap<StreamId, (Vec<u8>, i64, u32)> {
    let Some(group) = stream.group(GROUP) else { return BTreeMap::new() };
    let names = group.names();
    let pending = group.pending_from(StreamId::MIN).map(|pending| {
        let name = match pending.consumer {
            ConsumerId::NOBODY => NOBODY,
            consumer => consumer.name_in(&names),
        };
        (pending.id, (name.to_vec(), pending.delivered_ms, pending.deliveries))
    });
    pending.collect()
}

impl Model {
    pub(super) fn of(rows: Vec<Row>, stream: &Stream) -> Self {
        let mut entries = BTreeMap::new();
        for (text, mut joined, _) in rows {
            let Some(IdText::Whole(id)) = StreamId::parse(&text) else { panic!("{text:?}") };
            let mut words = Words::new();
            while !joined.is_empty() {
                let rest = joined.split_off(8);
                let len = u64::from_be_bytes(joined.try_into().unwrap_or_default()) as usize;
                joined = rest;
                let rest = joined.split_off(len);
                words.push(std::mem::replace(&mut joined, rest));
            }
            entries.insert(id, words);
        }
        let released = stream.group(GROUP).map(|group| group.released().collect());
        Self { entries, pending: pending_of(stream), released: released.unwrap_or_default() }
    }

    fn known(&self, input: &mut Input<'_>) -> StreamId {
        let place = input.below(self.entries.len() + 1);
        self.entries.keys().nth(place).copied().unwrap_or_else(|| StreamId {
            ms: input.number().cast_unsigned(),
            seq: u64::from(input.byte()),
        })
    }

    fn trim(&mut self, stream: &mut Stream, input: &mut Input<'_>) {
        let to = match input.below(2) {
            0 => TrimTo::Len(input.below(600)),
            _ => TrimTo::From(self.known(input)),
        };
        let roughly = input.below(2) == 0;
        let limit = if roughly { input.below(300) } else { 0 };
        let goes = |model: &Self| match to {
            TrimTo::Len(keep) => model.entries.len() > keep,
            TrimTo::From(from) => model.entries.keys().next().is_some_and(|id| *id < from),
        };
        let references =
            [References::Keep, References::Remove, References::Acknowledged][input.below(3)];
        let trimmed = stream.trim(Trim { to, roughly, limit, references });
        if trimmed.references == References::Acknowledged {
            assert_eq!(trimmed.ids.len(), trimmed.count);
            for id in &trimmed.ids {
                assert!(goes(self) && !stream.is_referenced(*id));
                assert!(self.entries.remove(id).is_some() && !self.pending.contains_key(id));
            }
            return;
        }
        for _ in 0..trimmed.count {
            assert!(goes(self), "nothing is trimmed that should stay");
            let gone = self.entries.pop_first();
            if let (References::Remove, Some((id, _))) = (trimmed.references, gone) {
                self.pending.remove(&id);
            }
        }
        self.released.retain(|id| self.pending.contains_key(id));
        assert!(roughly || !goes(self), "nothing stays that should be trimmed");
        assert!(limit == 0 || trimmed.count <= limit);
    }

    fn change_group(&mut self, stream: &mut Stream, input: &mut Input<'_>) {
        stream.add_group(GROUP, Group::new(StreamId::MIN, None));
        let (id, name) = (self.known(input), CONSUMERS[input.below(3)]);
        let (at, deliveries) = (input.number(), u32::from(input.byte()));
        let choice = input.below(10);
        let (model, released) = (&mut self.pending, &mut self.released);
        stream.edit_group(GROUP, |group| match choice {
            0 => {
                let there = model.get_mut(&id).map(|(_, delivered, count)| {
                    (*delivered, *count) = (at, count.saturating_add(1));
                });
                assert_eq!(group.deliver_again(id, at), there.is_some());
            }
            1 | 2 => assert_eq!(group.acknowledge(id), model.remove(&id).is_some()),
            3 => {
                let has = model.values().filter(|(owner, ..)| owner == name).count();
                assert!(group.remove_consumer(name).is_none_or(|gone| gone == has));
                model.retain(|_, (owner, ..)| owner != name);
            }
            4 if model.contains_key(&id) => {
                group.release(id, deliveries);
                model.insert(id, (NOBODY.to_vec(), 0, deliveries));
                released.retain(|other| *other != id);
                released.push(id);
            }
            5 => {
                let most = usize::from(input.byte());
                let mut wanted = released.clone();
                let mut timed: Vec<(i64, StreamId)> = model
                    .iter()
                    .filter(|(_, (owner, time, _))| owner != NOBODY && *time <= at)
                    .map(|(id, (_, time, _))| (*time, *id))
                    .collect();
                timed.sort_unstable();
                wanted.extend(timed.into_iter().map(|(_, id)| id));
                wanted.truncate(most);
                assert_eq!(group.claimable(at, most), wanted);
            }
            _ => {
                let (consumer, _) = group.ensure(name, at);
                group.put(Pending { id, delivered_ms: at, deliveries, consumer });
                model.insert(id, (name.to_vec(), at, deliveries));
            }
        });
        released.retain(|id| model.get(id).is_some_and(|(owner, ..)| owner == NOBODY));
    }
}

impl super::Model for Model {
    fn rows(&self) -> Vec<Row> {
        self.entries.iter().map(|(id, words)| row(*id, words)).collect()
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn step(&mut self, object: &mut Object, thresholds: &Thresholds, input: &mut Input<'_>) {
        let Object::Stream(stream) = object else { panic!("a stream stays one") };
        match input.below(10) {
            0..=4 => {
                let last = stream.counts().last_id;
                let id = match input.below(3) {
                    0 => {
                        StreamId { ms: last.ms.saturating_add(1 + input.below(99) as u64), seq: 0 }
                    }
                    _ => last.next().unwrap_or(last),
                };
                if id <= last {
                    return;
                }
                let count = 1 + input.below(4);
                let words: Words = (0..2 * count).map(|_| input.word()).collect();
                for number in 0..=input.below(40) as u64 {
                    let Some(seq) = id.seq.checked_add(number) else { break };
                    let id = StreamId { seq, ..id };
                    let fields = words.iter().map(Vec::as_slice);
                    assert_eq!(stream.push(id, fields, thresholds), Ok(()));
                    self.entries.insert(id, words.clone());
                }
            }
            5 | 6 => {
                let id = self.known(input);
                assert_eq!(stream.delete(id), self.entries.remove(&id).is_some());
            }
            7 => self.trim(stream, input),
            8 => self.change_group(stream, input),
            _ => {
                let (one, other) = (self.known(input), self.known(input));
                let (start, end) = (one.min(other), one.max(other));
                let inside =
                    self.entries.range(start..=end).map(|(id, words)| (*id, words.clone()));
                assert_eq!(read(stream.range(start, end)), inside.clone().collect::<Vec<_>>());
                let back: Vec<_> = inside.rev().collect();
                assert_eq!(read(stream.range_back(start, end)), back);
            }
        }
    }

    fn look(&self, object: &Object) {
        let Object::Stream(stream) = object else { panic!("a stream stays one") };
        assert_eq!(pending_of(stream), self.pending);
        let Counts { last_id, .. } = stream.counts();
        assert!(self.entries.keys().next_back().is_none_or(|last| *last <= last_id));
        assert_eq!(stream.first_id(), self.entries.keys().next().copied());
        for (_, group) in stream.groups() {
            let owned: usize = group.consumers().map(|(_, consumer)| consumer.pending_len()).sum();
            assert_eq!(owned + group.released_len(), group.pending_len());
            assert!(group.released().eq(self.released.iter().copied()));
        }
    }
}
