//! Sorted sets against a `BTreeMap` that is sorted anew for every question.

use std::collections::BTreeMap;

use redstart::base::env::Rng;
use redstart::data::thresholds::Thresholds;
use redstart::data::value::Object;
use redstart::data::zset::{Put, Zset};

use super::{Input, Row};

/// Members that one step adds at most.
const ADDED_MAX: usize = 90;

pub(super) struct Model(BTreeMap<Vec<u8>, f64>);

/// A member and its score; both zeros are one score.
pub(super) fn row(member: Vec<u8>, score: f64) -> Row {
    (member, (score + 0.0).to_be_bytes().to_vec(), None)
}

fn score_of((_, score, _): &Row) -> f64 {
    score.first_chunk().copied().map_or(0.0, f64::from_be_bytes)
}

impl Model {
    pub(super) fn of(rows: Vec<Row>) -> Self {
        let count = rows.len();
        let members: BTreeMap<_, _> =
            rows.into_iter().map(|row| (row.0.clone(), score_of(&row))).collect();
        assert_eq!(members.len(), count, "a member is in a sorted set once");
        assert!(members.values().all(|score| !score.is_nan()));
        Self(members)
    }

    fn known(&self, input: &mut Input<'_>) -> Vec<u8> {
        let place = input.below(self.0.len() + 1);
        self.0.keys().nth(place).cloned().unwrap_or_else(|| input.word())
    }

    fn ordered(&self) -> Vec<(&[u8], f64)> {
        let mut ordered: Vec<(&[u8], f64)> =
            self.0.iter().map(|(member, score)| (member.as_slice(), *score)).collect();
        ordered.sort_by(|one, other| one.1.partial_cmp(&other.1).unwrap().then(one.0.cmp(other.0)));
        ordered
    }

    fn put(&mut self, zset: &mut Zset, member: Vec<u8>, score: f64, thresholds: &Thresholds) {
        let expected = match self.0.get(&member) {
            None => Put::Added,
            Some(old) if *old == score => Put::Same,
            Some(_) => Put::Moved,
        };
        assert_eq!(zset.put(&member, score, thresholds), expected);
        self.0.insert(member, score);
    }

    fn ask(&self, zset: &Zset, input: &mut Input<'_>) {
        let ordered = self.ordered();
        let rank = input.below(ordered.len() + 2);
        let forward = zset.iter_from(rank).take(5).map(|(member, score)| (member.to_vec(), score));
        let expected = ordered.iter().skip(rank).take(5).map(|(m, score)| (m.to_vec(), *score));
        assert!(forward.eq(expected));
        let behind = if rank < ordered.len() { rank + 1 } else { 0 };
        let backward = zset.iter_back_from(rank).take(5).map(|(m, score)| (m.to_vec(), score));
        let expected = ordered[..behind].iter().rev().take(5).map(|(m, s)| (m.to_vec(), *s));
        assert!(backward.eq(expected));
        let bound = input.score();
        let position = zset.position_by_score(|score| score < bound);
        assert_eq!(position, ordered.iter().filter(|(_, score)| *score < bound).count());
        let member = self.known(input);
        let place = ordered.iter().position(|(known, _)| *known == member);
        assert_eq!(zset.rank(&member), place.map(|place| (place, ordered[place].1)));
        if let Some(place) = place {
            let bound = (ordered[place].1, &*member);
            let before = zset.position(|score, known| {
                score < bound.0 || score == bound.0 && known.with_bytes(|known| known < bound.1)
            });
            assert_eq!(before, place);
        }
    }
}

impl super::Model for Model {
    fn rows(&self) -> Vec<Row> {
        self.ordered().into_iter().map(|(member, score)| row(member.to_vec(), score)).collect()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn step(&mut self, object: &mut Object, thresholds: &Thresholds, input: &mut Input<'_>) {
        let Object::Zset(zset) = object else { panic!("a sorted set stays one") };
        match input.below(10) {
            0..=3 => {
                let (member, score) = (self.known(input), input.score());
                self.put(zset, member, score, thresholds);
            }
            4 => {
                let (first, count) = (input.below(1000), input.below(ADDED_MAX));
                let modulus = 1 + input.below(40);
                for number in first..first + count {
                    let member = format!("z{number}").into_bytes();
                    self.put(zset, member, (number * 7 % modulus) as f64, thresholds);
                }
            }
            5 | 6 => {
                let member = self.known(input);
                assert_eq!(zset.remove(&member), self.0.remove(&member));
            }
            7 => {
                let (rank, count) = (input.below(self.0.len() + 2), input.below(12));
                let going = self.ordered().into_iter().skip(rank).take(count);
                let going: Vec<Vec<u8>> = going.map(|(member, _)| member.to_vec()).collect();
                assert_eq!(zset.remove_range(rank, count), going.len());
                for member in going {
                    self.0.remove(&member);
                }
            }
            8 => {
                let mut rng = Rng::from_seed(u64::from(input.byte()));
                let sample = zset.sample(&mut rng).map(|(member, score)| (member.to_vec(), score));
                assert_eq!(sample.is_some(), !self.0.is_empty());
                assert!(sample.is_none_or(|(member, score)| self.0.get(&member) == Some(&score)));
            }
            _ => self.ask(zset, input),
        }
    }

    fn look(&self, object: &Object) {
        let Object::Zset(zset) = object else { panic!("a sorted set stays one") };
        for (member, score) in &self.0 {
            assert_eq!(zset.score(member), Some(*score));
        }
        let mut seen = Vec::new();
        let mut cursor = 0;
        loop {
            cursor = zset.scan(cursor, 7, |member, score| seen.push((member.to_vec(), score)));
            if cursor == 0 {
                break;
            }
        }
        seen.sort_by(|one, other| one.0.cmp(&other.0));
        let expected = self.0.iter().map(|(member, score)| (member.clone(), *score));
        assert!(seen.into_iter().eq(expected), "a scan hands out each member once");
    }
}
