//! A sorted set against a sorted vector, in both forms.

use super::{Put, Zset};
use crate::base::env::Rng;
use crate::data::element::Element;
use crate::data::thresholds::Thresholds;

type Model = Vec<(f64, Vec<u8>)>;

fn member(rng: &mut Rng, space: u64) -> Vec<u8> {
    let number = rng.below(space);
    match number % 20 {
        0 => number.to_string().into_bytes(),
        1 => vec![b'm'; number as usize % 90],
        2 if number % 400 == 2 => vec![b'l'; 3_000 + number as usize],
        _ => format!("member:{number}").into_bytes(),
    }
}

fn score(rng: &mut Rng) -> f64 {
    match rng.below(12) {
        0 => f64::INFINITY,
        1 => f64::NEG_INFINITY,
        2 => (rng.next_u64() as i64) as f64,
        3 => rng.below(1 << 40) as f64 / 1024.0,
        4 => -0.0,
        5 => 1e-300,
        _ => rng.below(8) as f64 - 4.0,
    }
}

fn sort(model: &mut Model) {
    model.sort_by(|a, b| a.partial_cmp(b).unwrap());
}

fn owned((member, score): (Element<'_>, f64)) -> (f64, Vec<u8>) {
    (score, member.to_vec())
}

fn same(set: &Zset, model: &Model, rng: &mut Rng) {
    assert_eq!((set.len(), set.is_empty()), (model.len(), model.is_empty()));
    let found: Model = set.iter().map(owned).collect();
    assert_eq!(&found, model);
    let rank = rng.below(model.len() as u64 + 2) as usize;
    assert!(set.iter_from(rank).map(owned).eq(model.iter().skip(rank).cloned()));
    let back: Model = set.iter_back_from(rank).map(owned).collect();
    if rank < model.len() {
        assert!(back.into_iter().eq(model[..=rank].iter().rev().cloned()));
    } else {
        assert!(back.is_empty());
    }
    let bound = score(rng);
    let expected = model.partition_point(|(score, _)| *score < bound);
    assert_eq!(set.position_by_score(|score| score < bound), expected);
    assert_eq!(set.position(|score, _| score < bound), expected);
    let (mut cursor, mut seen) = (0, Model::new());
    loop {
        cursor = set.scan(cursor, 6, |member, score| seen.push(owned((member, score))));
        if cursor == 0 {
            break;
        }
    }
    sort(&mut seen);
    assert_eq!(&seen, model);
    let mut copy = set.clone();
    assert_eq!(&copy, set);
    if let Some((_, member)) = model.first() {
        copy.remove(member);
        assert_ne!(&copy, set);
    }
}

fn step(set: &mut Zset, model: &mut Model, rng: &mut Rng, thresholds: &Thresholds, space: u64) {
    let member = member(rng, space);
    let found = model.iter().position(|(_, other)| *other == member);
    match rng.below(20) {
        0..=9 => {
            let score = score(rng);
            let expected = match found {
                None => Put::Added,
                Some(at) if model[at].0 == score => Put::Same,
                Some(_) => Put::Moved,
            };
            assert_eq!(set.put(&member, score, thresholds), expected);
            if expected != Put::Same {
                model.retain(|(_, other)| *other != member);
                let at = model.partition_point(|one| (one.0, &one.1) < (score, &member));
                model.insert(at, (score, member));
            }
        }
        10..=15 => {
            let expected = found.map(|at| model.remove(at).0);
            assert_eq!(set.remove(&member), expected);
        }
        16..=17 => {
            assert_eq!(set.score(&member), found.map(|at| model[at].0));
            assert_eq!(set.rank(&member), found.map(|at| (at, model[at].0)));
        }
        18 => {
            let sample = set.sample(rng).map(owned);
            assert_eq!(sample.is_none(), model.is_empty());
            assert!(sample.is_none_or(|sample| model.contains(&sample)));
        }
        _ if rng.below(10) == 0 => {
            let rank = rng.below(model.len() as u64 + 1) as usize;
            let count = rng.below(30) as usize;
            let end = (rank + count).min(model.len());
            assert_eq!(set.remove_range(rank, count), end - rank);
            model.drain(rank..end);
        }
        _ => {}
    }
}

#[test]
fn behaves_like_a_sorted_vector() {
    let mut rng = Rng::from_seed(31);
    for (space, entries, rounds, steps) in
        [(30, 128, 60, 500), (150, 20, 30, 1_500), (3_000, 40, 4, 12_000)]
    {
        let thresholds = Thresholds { zset_entries: entries, ..Thresholds::default() };
        for _ in 0..rounds {
            let (mut set, mut model) = (Zset::default(), Model::new());
            for count in 0..steps {
                step(&mut set, &mut model, &mut rng, &thresholds, space);
                if count % (steps / 10) == 0 {
                    same(&set, &model, &mut rng);
                }
            }
            same(&set, &model, &mut rng);
        }
    }
}

/// So many removals that chunks of the arena are emptied, and the tree has to follow.
#[test]
fn the_order_survives_moves() {
    let thresholds = Thresholds::default();
    let (mut set, mut model) = (Zset::default(), Model::new());
    let mut rng = Rng::from_seed(5);
    for number in 0..30_000_u64 {
        let (score, member) = (rng.below(50) as f64, format!("member:{number:06}").into_bytes());
        set.put(&member, score, &thresholds);
        model.push((score, member));
    }
    let full = set.heap_bytes();
    for number in 0..30_000 {
        if number % 10 != 0 {
            let member = format!("member:{number:06}").into_bytes();
            assert!(set.remove(&member).is_some());
        }
    }
    model.retain(|(_, member)| member.ends_with(b"0"));
    sort(&mut model);
    same(&set, &model, &mut rng);
    assert!(set.heap_bytes() < full / 3);
    assert_eq!(set.remove_range(10, 2_980), 2_980);
    model.drain(10..2_990);
    same(&set, &model, &mut rng);
}

#[test]
fn forms_change_where_upstreams_do() {
    let thresholds = Thresholds { zset_entries: 2, zset_value: 5, ..Thresholds::default() };
    let filled = |members: &[&str]| {
        let mut set = Zset::default();
        members.iter().for_each(|member| {
            set.put(member.as_bytes(), 1.0, &thresholds);
        });
        set.encoding()
    };
    assert_eq!(filled(&["a", "12345"]), "listpack");
    assert_eq!(filled(&["a", "b", "c"]), "skiplist");
    assert_eq!(filled(&["abcdef"]), "skiplist");
}
