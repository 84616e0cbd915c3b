//! The dictionary of keys against a `BTreeMap`: changes, moves, scans, expiry and snapshots.
//!
//! ```text
//! hash seed 1 | operation ...
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use redstart::base::env::{Rng, UnixMillis};
use redstart::data::set::Set;
use redstart::data::thresholds::Thresholds;
use redstart::data::value::{NewValue, Object, ValueRef};
use redstart::keyspace::table::{Entry, EntrySink, HashSeed, Pool, Table};

use super::input::Input;

/// Changes of one input.
const STEPS_MAX: usize = 500;
/// Keys that one step puts or removes at most: a few such steps split a segment.
const ROW_MAX: usize = 700;

/// What a key holds, for comparison.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Int(i64),
    Bytes(Vec<u8>),
    Set(BTreeSet<Vec<u8>>),
}

impl Value {
    fn of(value: &ValueRef<'_>) -> Self {
        match value {
            ValueRef::Int(number) => Self::Int(*number),
            ValueRef::Str(bytes) => Self::Bytes(bytes.to_vec()),
            ValueRef::Object(object) => Self::of_object(object),
        }
    }

    fn of_object(object: &Object) -> Self {
        let Object::Set(set) = object else { panic!("the model has sets only") };
        Self::Set(set.iter().map(|member| member.to_vec()).collect())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    value: Value,
    expiry: Option<i64>,
    access: u32,
}

type Rows = BTreeMap<Vec<u8>, (Value, Option<i64>)>;

/// Where a snapshot's entries arrive.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Rows>>);

impl Sink {
    fn add(&self, key: &[u8], value: Value, expiry: Option<UnixMillis>) {
        let expiry = expiry.map(|at| at.0);
        let old = self.0.lock().unwrap().insert(key.to_vec(), (value, expiry));
        assert!(old.is_none(), "a snapshot gets each key once");
    }
}

impl EntrySink for Sink {
    fn entry(&mut self, entry: &Entry<'_>) {
        self.add(entry.key(), Value::of(&entry.value()), entry.expiry());
    }

    fn object(&mut self, key: &[u8], expiry: Option<UnixMillis>, _: u32, object: &mut Object) {
        self.add(key, Value::of_object(object), expiry);
    }
}

struct Pair {
    table: Table,
    model: BTreeMap<Vec<u8>, Known>,
    /// A snapshot under way, and what it must get.
    snapshot: Option<(Sink, Rows)>,
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let table = Table::new(HashSeed(u64::from(input.byte())), &Pool::new());
    let mut pair = Pair { table, model: BTreeMap::new(), snapshot: None };
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        pair.step(&mut input);
        assert_eq!(pair.table.len(), pair.model.len());
    }
    pair.verify();
    while pair.snapshot.is_some() {
        pair.snapshot_slice(usize::MAX);
    }
    for key in pair.model.keys() {
        assert!(pair.table.delete(key));
    }
    assert!(pair.table.is_empty());
    let memory = pair.table.memory();
    assert_eq!(memory.heap_bytes, 0, "what was on the heap is gone");
}

fn row_key(number: usize) -> Vec<u8> {
    format!("row:{number}").into_bytes()
}

fn expiry(input: &mut Input<'_>) -> Option<UnixMillis> {
    match input.below(8) {
        0..=3 => None,
        4 => Some(UnixMillis(input.number())),
        _ => Some(UnixMillis(input.below(64) as i64)),
    }
}

impl Pair {
    fn key(&self, input: &mut Input<'_>) -> Vec<u8> {
        match input.below(3) {
            0 => self.model.keys().nth(input.below(self.model.len() + 1)).cloned(),
            1 => Some(row_key(input.below(2000))),
            _ => None,
        }
        .unwrap_or_else(|| input.word())
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(18) {
            0..=3 => self.put(input),
            4 => {
                let (first, count) = (input.below(2000), input.below(ROW_MAX));
                let expiry = expiry(input);
                for number in first..first + count {
                    let value = Value::Int(number as i64);
                    self.put_value(row_key(number), value, expiry, 0, 0);
                }
            }
            5 => {
                let (first, count) = (input.below(2000), input.below(ROW_MAX));
                for number in first..first + count {
                    let key = row_key(number);
                    assert_eq!(self.table.delete(&key), self.model.remove(&key).is_some());
                }
            }
            6 | 7 => {
                let key = self.key(input);
                let removed = self.table.remove(&key);
                let known = self.model.remove(&key);
                assert_eq!(removed.is_some(), known.is_some());
                let expiry = removed.and_then(|removed| removed.expiry).map(|at| at.0);
                assert_eq!(expiry, known.and_then(|known| known.expiry));
            }
            8 => self.rename(input),
            9 => {
                let (key, expiry) = (self.key(input), expiry(input));
                let known = self.model.get_mut(&key);
                assert_eq!(self.table.set_expiry(&key, expiry), known.is_some());
                if let Some(known) = known {
                    known.expiry = expiry.map(|at| at.0);
                }
            }
            10 => self.change(input),
            11 => {
                let (key, access) = (self.key(input), u32::from(input.byte()) << 16);
                let known = self.model.get_mut(&key);
                let entry = self.table.get(&key);
                assert_eq!(entry.is_some(), known.is_some());
                if let (Some(entry), Some(known)) = (entry, known) {
                    entry.set_access(access);
                    known.access = access;
                }
            }
            12 => self.scan(input),
            13 => self.expire(input),
            14 => {
                let sink = Sink::default();
                let rows = self
                    .model
                    .iter()
                    .map(|(key, known)| (key.clone(), (known.value.clone(), known.expiry)));
                self.snapshot = Some((sink.clone(), rows.collect()));
                self.table.begin_snapshot(Box::new(sink));
            }
            15 => {
                let budget = input.below(300);
                self.snapshot_slice(budget);
            }
            16 => {
                let mut rng = Rng::from_seed(u64::from(input.byte()));
                let sample = self.table.sample(&mut rng).map(|entry| entry.key().to_vec());
                assert_eq!(sample.is_some(), !self.model.is_empty());
                assert!(sample.is_none_or(|key| self.model.contains_key(&key)));
                self.table.sample_bucket(&mut rng, |entry| {
                    assert!(self.model.contains_key(entry.key()));
                });
            }
            _ => self.verify(),
        }
    }

    fn put(&mut self, input: &mut Input<'_>) {
        let key = self.key(input);
        let (expiry, access, form) = (expiry(input), u32::from(input.byte()), input.below(3));
        let value = match input.below(4) {
            0 => Value::Int(input.number()),
            1 => Value::Set((0..=input.below(6)).map(|_| input.word()).collect()),
            _ => Value::Bytes(input.word()),
        };
        self.put_value(key, value, expiry, access, form);
    }

    fn put_value(
        &mut self,
        key: Vec<u8>,
        value: Value,
        expiry: Option<UnixMillis>,
        access: u32,
        form: usize,
    ) {
        let new = match &value {
            Value::Int(number) => NewValue::Int(*number),
            Value::Bytes(bytes) if form == 0 => NewValue::Raw(bytes),
            Value::Bytes(bytes) => NewValue::Str(bytes),
            Value::Set(members) => {
                let mut set = Set::default();
                for member in members {
                    set.insert(member, &Thresholds::default());
                }
                NewValue::Object(Object::Set(set))
            }
        };
        let old = self.table.put(&key, new, expiry, access);
        let expiry = expiry.map(|at| at.0);
        let known = self.model.insert(key, Known { value, expiry, access });
        assert_eq!(old.is_some(), known.is_some());
    }

    fn rename(&mut self, input: &mut Input<'_>) {
        let (from, to) = (self.key(input), self.key(input));
        let (taken, known) = (self.table.take(&from), self.model.remove(&from));
        assert_eq!(taken.is_some(), known.is_some());
        if let (Some(taken), Some(known)) = (taken, known) {
            let displaced = self.table.put_taken(&to, taken);
            assert_eq!(displaced.is_some(), self.model.insert(to, known).is_some());
        }
    }

    /// Changes a value in place.
    fn change(&mut self, input: &mut Input<'_>) {
        let (key, word) = (self.key(input), input.word());
        let (entry, known) = (self.table.get_mut(&key), self.model.get_mut(&key));
        assert_eq!(entry.is_some(), known.is_some());
        let (Some(mut entry), Some(known)) = (entry, known) else { return };
        if let Some(Object::Set(set)) = entry.object_mut() {
            let Value::Set(members) = &mut known.value else { panic!("a set is a set") };
            assert_eq!(set.insert(&word, &Thresholds::default()), members.insert(word));
        } else if let Some(string) = entry.heap_string_mut() {
            let Value::Bytes(bytes) = &mut known.value else { panic!("a string is a string") };
            string.extend_from_slice(&word);
            bytes.extend_from_slice(&word);
        }
    }

    fn scan(&self, input: &mut Input<'_>) {
        let count = 1 + input.below(400);
        let mut seen = BTreeSet::new();
        let mut cursor = 0;
        loop {
            cursor = self.table.scan(cursor, count, |entry| {
                assert!(seen.insert(entry.key().to_vec()), "a scan meets each key once");
            });
            if cursor == 0 {
                break;
            }
        }
        assert!(seen.iter().eq(self.model.keys()));
    }

    fn expire(&mut self, input: &mut Input<'_>) {
        let now = UnixMillis(input.below(80) as i64);
        let mut due = Vec::new();
        let (segments, keys) = (1 + input.below(4), 1 + input.below(60));
        let progress =
            self.table.expire_step(now, segments, keys, &mut |key| due.push(key.to_vec()));
        assert_eq!(progress.due, due.len());
        for key in due {
            assert!(self.table.delete(&key));
            let known = self.model.remove(&key);
            assert!(known.and_then(|known| known.expiry).is_some_and(|at| at <= now.0));
        }
    }

    fn snapshot_slice(&mut self, budget: usize) {
        let finished = self.table.snapshot_slice(budget);
        assert_eq!(finished, !self.table.is_snapshotting());
        if finished && let Some((sink, expected)) = self.snapshot.take() {
            let found = std::mem::take(&mut *sink.0.lock().unwrap());
            assert!(found == expected, "a snapshot shows the moment at which it began");
        }
    }

    fn verify(&self) {
        assert_eq!(self.table.len(), self.model.len());
        let expiring = self.model.values().filter(|known| known.expiry.is_some()).count();
        assert_eq!(self.table.expires_len(), expiring);
        for (key, known) in &self.model {
            let entry = self.table.get(key).unwrap_or_else(|| panic!("lost {key:?}"));
            let expiry = entry.expiry().map(|at| at.0);
            let found = Known { value: Value::of(&entry.value()), expiry, access: entry.access() };
            assert_eq!((entry.key(), &found), (key.as_slice(), known));
        }
        let mut walked = 0;
        self.table.for_each(|_| walked += 1);
        assert_eq!(walked, self.model.len());
    }
}
