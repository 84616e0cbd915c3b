//! Hashes against a `BTreeMap`.

use std::collections::BTreeMap;

use redstart::base::env::{Rng, UnixMillis};
use redstart::data::element::Element;
use redstart::data::hash::{FieldExpiry, Hash};
use redstart::data::thresholds::Thresholds;
use redstart::data::value::Object;

use super::{Input, Row};

/// Fields that one step adds at most.
const ADDED_MAX: usize = 90;
/// The latest time that commands let a field expire.
const MILLIS_MAX: i64 = (1 << 46) - 1;

type Known = (Vec<u8>, Option<i64>);

pub(super) struct Model(BTreeMap<Vec<u8>, Known>);

impl Model {
    pub(super) fn of(rows: Vec<Row>) -> Self {
        let count = rows.len();
        let fields: BTreeMap<_, _> =
            rows.into_iter().map(|(name, value, expiry)| (name, (value, expiry))).collect();
        assert_eq!(fields.len(), count, "a field is in a hash once");
        Self(fields)
    }

    fn known(&self, input: &mut Input<'_>) -> Vec<u8> {
        let place = input.below(self.0.len() + 1);
        self.0.keys().nth(place).cloned().unwrap_or_else(|| input.word())
    }

    fn time(input: &mut Input<'_>) -> i64 {
        match input.below(8) {
            0 => MILLIS_MAX,
            1 => input.number().clamp(1, MILLIS_MAX),
            _ => 1 + input.below(20) as i64,
        }
    }

    fn insert(
        &mut self,
        hash: &mut Hash,
        (name, value): (Vec<u8>, Vec<u8>),
        expiry: FieldExpiry,
        thresholds: &Thresholds,
    ) {
        let is_new = hash.insert(&name, &value, expiry, thresholds);
        let old = self.0.get(&name).map(|(_, expiry)| *expiry);
        assert_eq!(is_new, old.is_none());
        let expiry = match expiry {
            FieldExpiry::Keep => old.flatten(),
            FieldExpiry::Clear => None,
            FieldExpiry::At(at) => Some(at.0),
        };
        self.0.insert(name, (value, expiry));
    }

    fn remove_due(&mut self, hash: &mut Hash, now: i64, most: usize) {
        let due: Vec<i64> =
            self.0.values().filter_map(|(_, expiry)| *expiry).filter(|at| *at <= now).collect();
        let all_due = due.len() == self.0.len();
        // Only a big hash keeps count of it.
        assert!(all_due || !hash.is_all_due(UnixMillis(now)));
        let mut removed = Vec::new();
        hash.remove_due(UnixMillis(now), most, &mut removed);
        assert_eq!(removed.len(), due.len().min(most));
        let mut latest = 0;
        for name in removed {
            let time = self.0.remove(&*name).and_then(|(_, expiry)| expiry).unwrap_or(i64::MAX);
            assert!(latest <= time && time <= now, "the earliest go first");
            latest = time;
        }
        let left = self.0.values().filter_map(|(_, expiry)| *expiry);
        assert!(left.min().is_none_or(|left| left >= latest));
    }
}

impl super::Model for Model {
    fn rows(&self) -> Vec<Row> {
        let row =
            |(name, (value, expiry)): (&Vec<u8>, &Known)| (name.clone(), value.clone(), *expiry);
        self.0.iter().map(row).collect()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn step(&mut self, object: &mut Object, thresholds: &Thresholds, input: &mut Input<'_>) {
        let Object::Hash(hash) = object else { panic!("a hash stays a hash") };
        match input.below(12) {
            0..=3 => {
                let field = (self.known(input), input.word());
                let expiry = match input.below(6) {
                    0 => FieldExpiry::Keep,
                    1 => FieldExpiry::At(UnixMillis(Self::time(input))),
                    _ => FieldExpiry::Clear,
                };
                self.insert(hash, field, expiry, thresholds);
            }
            4 => {
                let (first, count) = (input.below(1000), input.below(ADDED_MAX));
                for number in first..first + count {
                    let field = (format!("f{number}").into_bytes(), vec![b'v'; number % 7]);
                    self.insert(hash, field, FieldExpiry::Keep, thresholds);
                }
            }
            5 | 6 => {
                let name = self.known(input);
                assert_eq!(hash.remove(&name), self.0.remove(&name).is_some());
            }
            7 | 8 => {
                let name = self.known(input);
                let expiry = (input.below(3) > 0).then(|| Self::time(input));
                let is_there = self.0.contains_key(&name);
                assert_eq!(hash.set_expiry(&name, expiry.map(UnixMillis)), is_there);
                if let Some((_, known)) = self.0.get_mut(&name) {
                    *known = expiry;
                }
            }
            9 => {
                let (now, most) = (input.below(24) as i64, 1 + input.below(6));
                self.remove_due(hash, now, most);
            }
            10 => {
                let mut rng = Rng::from_seed(u64::from(input.byte()));
                let sample = hash.sample(&mut rng).map(|field| field.name.to_vec());
                assert_eq!(sample.is_some(), !self.0.is_empty());
                assert!(sample.is_none_or(|name| self.0.contains_key(&name)));
            }
            _ => {
                let name = input.word();
                assert_eq!(hash.contains(&name), self.0.contains_key(&name));
            }
        }
        let first = self.0.values().filter_map(|(_, expiry)| *expiry).min();
        assert_eq!(hash.next_expiry().map(|at| at.0), first);
    }

    fn look(&self, object: &Object) {
        let Object::Hash(hash) = object else { panic!("a hash stays a hash") };
        for (name, (value, expiry)) in &self.0 {
            assert_eq!(hash.get(name).map(Element::to_vec).as_ref(), Some(value));
            assert_eq!(hash.field(name).map(|field| field.expiry.map(|at| at.0)), Some(*expiry));
        }
        let mut seen = Vec::new();
        let mut cursor = 0;
        loop {
            cursor = hash.scan(cursor, 7, |field| seen.push(field.name.to_vec()));
            if cursor == 0 {
                break;
            }
        }
        seen.sort();
        assert!(seen.iter().eq(self.0.keys()), "a scan hands out each field once");
    }
}
