//! Sets against a `BTreeSet`.

use std::collections::BTreeSet;

use redstart::base::env::Rng;
use redstart::data::element::Element;
use redstart::data::thresholds::Thresholds;
use redstart::data::value::Object;

use super::{Input, Row};

/// Members that one step adds at most.
const ADDED_MAX: usize = 90;

pub(super) struct Model(BTreeSet<Vec<u8>>);

impl Model {
    pub(super) fn of(rows: Vec<Row>) -> Self {
        let count = rows.len();
        let members: BTreeSet<_> = rows.into_iter().map(|(member, ..)| member).collect();
        assert_eq!(members.len(), count, "a member is in a set once");
        Self(members)
    }

    fn known(&self, input: &mut Input<'_>) -> Vec<u8> {
        let place = input.below(self.0.len() + 1);
        self.0.iter().nth(place).cloned().unwrap_or_else(|| input.word())
    }
}

impl super::Model for Model {
    fn rows(&self) -> Vec<Row> {
        self.0.iter().map(|member| (member.clone(), Vec::new(), None)).collect()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn step(&mut self, object: &mut Object, thresholds: &Thresholds, input: &mut Input<'_>) {
        let Object::Set(set) = object else { panic!("a set stays a set") };
        match input.below(10) {
            0..=3 => {
                let member = input.word();
                assert_eq!(set.insert(&member, thresholds), self.0.insert(member));
            }
            4 => {
                let (first, count) = (input.below(1000), input.below(ADDED_MAX));
                for number in first..first + count {
                    let member = number.to_string().into_bytes();
                    assert_eq!(set.insert(&member, thresholds), self.0.insert(member));
                }
            }
            5 | 6 => {
                let member = self.known(input);
                assert_eq!(set.remove(&member), self.0.remove(&member));
            }
            7 => {
                let count = input.below(600);
                set.expect(count, thresholds);
            }
            8 => {
                let mut rng = Rng::from_seed(u64::from(input.byte()));
                let sample = set.sample(&mut rng).map(Element::to_vec);
                assert_eq!(sample.is_some(), !self.0.is_empty());
                assert!(sample.is_none_or(|member| self.0.contains(&member)));
            }
            _ => {
                let member = input.word();
                assert_eq!(set.contains(&member), self.0.contains(&member));
            }
        }
    }

    fn look(&self, object: &Object) {
        let Object::Set(set) = object else { panic!("a set stays a set") };
        assert!(self.0.iter().all(|member| set.contains(member)));
        let mut seen = Vec::new();
        let mut cursor = 0;
        loop {
            cursor = set.scan(cursor, 7, |member| seen.push(member.to_vec()));
            if cursor == 0 {
                break;
            }
        }
        seen.sort();
        assert!(seen.iter().eq(&self.0), "a scan hands out each member once");
    }
}
