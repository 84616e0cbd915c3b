//! A list against a deque of vectors, and the rules by which it changes its form.

use std::collections::VecDeque;

use crate::base::env::Rng;
use crate::data::list::node::Limit;
use crate::data::list::{End, FrozenList, List, ListBuilder, Part};
use crate::data::thresholds::Thresholds;

type Model = VecDeque<Vec<u8>>;

fn thresholds(list_size: i64) -> Thresholds {
    Thresholds { list_size, ..Thresholds::default() }
}

fn check(list: &List, model: &Model, thresholds: &Thresholds) {
    assert_eq!(list.len(), model.len());
    if let List::Long(nodes) = list {
        nodes.check(Limit::of(thresholds));
    }
    assert!(list.iter().map(super::super::element::Element::to_vec).eq(model.iter().cloned()));
}

/// Mostly few different elements, so that values are found again; some numbers, some large.
fn element(rng: &mut Rng, large: usize) -> Vec<u8> {
    match rng.below(100) {
        0..=39 => format!("value:{}", rng.below(20)).into_bytes(),
        40..=59 => (rng.below(70_000) as i64 - 35_000).to_string().into_bytes(),
        60..=69 => rng.next_u64().to_string().into_bytes(),
        70..=94 => vec![b'a' + rng.below(3) as u8; rng.below(120) as usize],
        95..=98 => vec![b'm'; rng.below(large as u64) as usize],
        _ => vec![b'L'; large + 1 + rng.below(4) as usize],
    }
}

fn end(rng: &mut Rng) -> End {
    if rng.below(2) == 0 { End::Front } else { End::Back }
}

/// One random change of both; what they tell must be the same.
fn change(list: &mut List, model: &mut Model, rng: &mut Rng, thresholds: &Thresholds, wide: bool) {
    let large = Limit::of(thresholds).bytes;
    let index = rng.below(model.len() as u64 + 2) as usize;
    match rng.below(if wide { 110 } else { 300 }) {
        0..=39 => {
            let end = end(rng);
            let elements: Vec<Vec<u8>> = (0..=rng.below(4)).map(|_| element(rng, large)).collect();
            list.push(end, elements.iter().map(Vec::as_slice), thresholds);
            for element in elements {
                match end {
                    End::Front => model.push_front(element),
                    End::Back => model.push_back(element),
                }
            }
        }
        40..=59 => {
            let (pivot, new) = (element(rng, large), element(rng, large));
            let pivot = model.get(index).cloned().unwrap_or(pivot);
            let behind = rng.below(2) == 0;
            let found = model.iter().position(|element| *element == pivot);
            if let Some(found) = found {
                model.insert(found + usize::from(behind), new.clone());
            }
            assert_eq!(list.insert(&pivot, behind, &new, thresholds), found.is_some());
        }
        60..=79 => {
            let new = element(rng, large);
            assert_eq!(list.set(index, &new, thresholds), index < model.len());
            if let Some(place) = model.get_mut(index) {
                *place = new;
            }
        }
        80..=84 => {
            let (unwanted, most, from) = (element(rng, large), 1 + rng.below(3) as usize, end(rng));
            let most = if rng.below(4) == 0 { usize::MAX } else { most };
            let unwanted = model.get(index).cloned().unwrap_or(unwanted);
            assert_eq!(
                list.remove_equal(&unwanted, most, from, thresholds),
                remove_equal(model, &unwanted, most, from)
            );
        }
        85..=89 => {
            let count = rng.below(8) as usize;
            list.remove_range(index, count, thresholds);
            let index = index.min(model.len());
            model.drain(index..(index + count).min(model.len()));
        }
        90 if rng.below(20) == 0 => {
            let count = rng.below(model.len() as u64 + 1) as usize;
            list.trim(index, count, thresholds);
            model.truncate(index.saturating_add(count));
            model.drain(..index.min(model.len()));
        }
        _ => {
            let end = end(rng);
            let theirs = match end {
                End::Front => model.pop_front(),
                End::Back => model.pop_back(),
            };
            assert_eq!(list.pop(end, thresholds, |element| element.to_vec()), theirs);
        }
    }
}

fn remove_equal(model: &mut Model, unwanted: &[u8], most: usize, from: End) -> usize {
    let mut found: Vec<usize> =
        (0..model.len()).filter(|index| model[*index] == unwanted).collect();
    if from == End::Back {
        found.reverse();
    }
    found.truncate(most);
    found.sort_unstable();
    for index in found.iter().rev() {
        model.remove(*index);
    }
    found.len()
}

/// Compares what reads give.
fn read(list: &List, model: &Model, rng: &mut Rng) {
    let index = rng.below(model.len() as u64 + 2) as usize;
    assert_eq!(list.get(index).map(|element| element.to_vec()), model.get(index).cloned());
    let few = |iter: super::Elements<'_>| -> Vec<Vec<u8>> {
        let mut visited = Vec::new();
        iter.clone().visit(20, |element| visited.push(element.to_vec()));
        assert!(iter.take(20).map(|element| element.to_vec()).eq(visited.iter().cloned()));
        visited
    };
    assert_eq!(
        few(list.iter_from(index)),
        model.iter().skip(index).take(20).cloned().collect::<Vec<_>>()
    );
    let backward = model.iter().rev().skip(model.len().saturating_sub(index + 1));
    let expected = if index < model.len() { backward.take(20).cloned().collect() } else { vec![] };
    assert_eq!(few(list.iter_back_from(index)), expected);
    if let Some(wanted) = model.get(index) {
        for from in [End::Front, End::Back] {
            let within = rng.below(model.len() as u64 + 2) as usize;
            let found: Vec<usize> = list.distances_to(wanted, from, within).collect();
            let at = |distance: &usize| match from {
                End::Front => &model[*distance],
                End::Back => &model[model.len() - 1 - *distance],
            };
            let theirs: Vec<usize> =
                (0..model.len().min(within)).filter(|distance| at(distance) == wanted).collect();
            assert_eq!(found, theirs);
        }
    }
}

/// Says how often the list was in each form.
fn run(list_size: i64, steps: usize, wide: bool) -> [usize; 2] {
    let thresholds = thresholds(list_size);
    let mut rng = Rng::from_seed(list_size.unsigned_abs() * 2 + u64::from(wide));
    let (mut list, mut model) = (List::default(), Model::new());
    let mut frozen: Option<(FrozenList, Model)> = None;
    let (mut forms, mut longest) = ([0, 0], 0);
    for step in 0..steps {
        // Long lists and short ones by turns.
        let wide = wide && step % 2_000 < 1_600;
        change(&mut list, &mut model, &mut rng, &thresholds, wide);
        forms[usize::from(list.encoding() == "quicklist")] += 1;
        longest = longest.max(model.len());
        if step % 7 == 0 {
            read(&list, &model, &mut rng);
        }
        if step % 97 == 0 {
            check(&list, &model, &thresholds);
            if let Some((frozen, then)) = frozen.take() {
                assert!(frozen.iter().map(|element| element.to_vec()).eq(then));
            }
            if rng.below(2) == 0 {
                frozen = list.freeze().map(|frozen| (frozen, model.clone()));
            }
        }
    }
    check(&list, &model, &thresholds);
    assert!(!wide || longest > 1_000, "blocks are met: {longest}");
    // Taken apart and put together again it is the same.
    let mut builder = ListBuilder::default();
    for part in list.parts() {
        match part {
            Part::Packed(pack) => builder.pack(pack.clone()),
            Part::Plain(element) => builder.element(element, &thresholds),
        }
    }
    let rebuilt = builder.finish(&thresholds);
    assert_eq!(rebuilt, list);
    check(&rebuilt, &model, &thresholds);
    forms
}

#[test]
fn behaves_like_a_deque() {
    let mut forms = [0, 0];
    for list_size in [-1, -2, -5, 1, 3, 16, 200] {
        for wide in [true, false] {
            let met = run(list_size, 20_000, wide);
            forms = [forms[0] + met[0], forms[1] + met[1]];
        }
    }
    assert!(forms.iter().all(|count| *count > 20_000), "both forms are met: {forms:?}");
}

#[test]
fn encodings_follow_upstreams_rules() {
    let limit = thresholds(3);
    let list_of = |words: &str| {
        let mut list = List::default();
        let words: Vec<&str> = words.split(' ').collect();
        list.push(End::Back, words.iter().map(|word| word.as_bytes()), &limit);
        list
    };
    assert_eq!(list_of("a b c").encoding(), "listpack");
    let mut list = list_of("a b c d");
    assert_eq!(list.encoding(), "quicklist");
    list.remove_range(1, 3, &limit);
    assert_eq!(list.encoding(), "listpack", "one of three is at most half");
    let mut list = list_of("a a a d");
    assert_eq!(list.remove_equal(b"a", usize::MAX, End::Front, &limit), 3);
    assert_eq!(list.encoding(), "listpack");
    let mut list = list_of("a b c d");
    list.pop(End::Back, &limit, |_| ());
    assert_eq!(list.encoding(), "quicklist", "three are more than half");
    let mut list = list_of("a b c");
    assert!(!list.insert(b"nothing", false, b"x", &limit));
    assert_eq!(list.encoding(), "quicklist", "it gets ready before it looks for the pivot");
    let mut list = list_of("a b c");
    assert!(list.set(0, b"x", &limit));
    assert_eq!(list.encoding(), "quicklist");
    let (limit, large) = (thresholds(-1), vec![b'x'; 4_097]);
    let mut list = List::default();
    list.push(End::Back, [large.as_slice(), b"a", b"b"].into_iter(), &limit);
    list.remove_range(1, 2, &limit);
    assert_eq!(list.encoding(), "quicklist", "a large element stands alone");
    assert!(list.set(0, b"c", &limit));
    assert_eq!(list.encoding(), "listpack");
}

#[test]
fn a_frozen_list_goes_to_another_thread() {
    let limit = thresholds(-2);
    let mut list = List::default();
    let numbers: Vec<String> = (0..50_000).map(|number| number.to_string()).collect();
    list.push(End::Back, numbers.iter().map(|number| number.as_bytes()), &limit);
    let frozen = list.freeze().unwrap();
    let reader = std::thread::spawn(move || {
        frozen.iter().enumerate().all(|(index, element)| element.as_int() == Some(index as i64))
    });
    for _ in 0..25_000 {
        list.pop(End::Front, &limit, |_| ());
        list.push(End::Back, [b"new".as_slice()].into_iter(), &limit);
    }
    assert!(reader.join().is_ok_and(|all| all));
    assert_eq!(list.get(0).and_then(|element| element.as_int()), Some(25_000));
}
