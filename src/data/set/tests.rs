//! A set against a sorted set of the standard library, through all its forms.

use std::collections::BTreeSet;

use super::Set;
use crate::base::env::Rng;
use crate::data::element::Element;
use crate::data::thresholds::Thresholds;

type Model = BTreeSet<Vec<u8>>;

fn member(rng: &mut Rng, space: u64, numbers: bool) -> Vec<u8> {
    let number = rng.below(space);
    match number % 12 {
        _ if numbers => (number as i64 * 70_001 - 5).to_string().into_bytes(),
        0 => number.to_string().into_bytes(),
        1 => vec![b'm'; number as usize % 90],
        _ => format!("member:{number}").into_bytes(),
    }
}

fn same(set: &Set, model: &Model) {
    assert_eq!((set.len(), set.is_empty()), (model.len(), model.is_empty()));
    assert_eq!(set.iter().map(Element::to_vec).collect::<Model>(), *model);
    let (mut cursor, mut seen) = (0, Model::new());
    loop {
        cursor = set.scan(cursor, 5, |member| assert!(seen.insert(member.to_vec())));
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen, *model);
    let mut copy = set.clone();
    assert_eq!(&copy, set);
    assert_eq!(format!("{copy:?}"), format!("{set:?}"));
    if let Some(first) = model.first() {
        copy.remove(first);
        assert_ne!(&copy, set);
    }
}

#[test]
fn behaves_like_a_set() {
    let mut rng = Rng::from_seed(21);
    for (space, entries, ints, steps) in
        [(30, 128, 512, 400), (200, 20, 30, 1_200), (2_000, 40, 60, 6_000)]
    {
        let thresholds =
            Thresholds { set_entries: entries, set_ints: ints, ..Thresholds::default() };
        let mut forms = BTreeSet::new();
        for round in 0..if space < 1_000 { 40 } else { 8 } {
            let (mut set, mut model) = (Set::default(), Model::new());
            for step in 0..steps {
                // Numbers only, until half of the time in every other round.
                let numbers = round % 2 == 0 && step < steps / 2;
                let member = member(&mut rng, space, numbers);
                match rng.below(10) {
                    0..=4 => {
                        assert_eq!(set.insert(&member, &thresholds), model.insert(member));
                    }
                    5..=7 => assert_eq!(set.remove(&member), model.remove(&member)),
                    8 => assert_eq!(set.contains(&member), model.contains(&member)),
                    _ => {
                        let sample = set.sample(&mut rng).map(Element::to_vec);
                        assert_eq!(sample.is_none(), model.is_empty());
                        assert!(sample.is_none_or(|member| model.contains(&member)));
                    }
                }
                if step % 150 == 0 {
                    same(&set, &model);
                }
                forms.insert(set.encoding());
            }
            same(&set, &model);
        }
        assert!(forms.len() >= 2, "{forms:?}");
    }
}

#[test]
fn forms_change_where_upstreams_do() {
    let thresholds =
        Thresholds { set_ints: 3, set_entries: 4, set_value: 5, ..Thresholds::default() };
    let filled = |members: &[&str]| {
        let mut set = Set::default();
        members.iter().for_each(|member| assert!(set.insert(member.as_bytes(), &thresholds)));
        set.encoding()
    };
    assert_eq!(filled(&["1", "2", "3"]), "intset");
    assert_eq!(filled(&["1", "2", "3", "4"]), "hashtable");
    assert_eq!(filled(&["1", "2", "a"]), "listpack");
    assert_eq!(filled(&["1", "2", "3", "a"]), "listpack");
    assert_eq!(filled(&["1", "2", "3", "a", "b"]), "hashtable");
    assert_eq!(filled(&["1", "abcdef"]), "hashtable");
    assert_eq!(filled(&["123456", "a"]), "hashtable");
    assert_eq!(filled(&["a", "b", "c", "12345"]), "listpack");
    assert_eq!(Set::for_members(b"1", 3, &thresholds).encoding(), "intset");
    assert_eq!(Set::for_members(b"a", 4, &thresholds).encoding(), "listpack");
    assert_eq!(Set::for_members(b"1", 5, &thresholds).encoding(), "hashtable");
}
