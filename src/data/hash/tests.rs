//! A hash against a map, through all its forms.

use std::collections::BTreeMap;

use super::{Field, FieldExpiry, Hash};
use crate::base::env::{Rng, UnixMillis};
use crate::data::element::Element;
use crate::data::thresholds::Thresholds;

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<UnixMillis>)>;

fn owned(field: Field<'_>) -> (Vec<u8>, (Vec<u8>, Option<UnixMillis>)) {
    (field.name.to_vec(), (field.value.to_vec(), field.expiry))
}

fn same(hash: &Hash, model: &Model) {
    assert_eq!(hash.len(), model.len());
    assert_eq!(hash.is_empty(), model.is_empty());
    assert_eq!(hash.iter().map(owned).collect::<Model>(), *model);
    assert_eq!(hash.next_expiry(), model.values().filter_map(|(_, expiry)| *expiry).min());
    let mut copy = hash.clone();
    assert_eq!(&copy, hash);
    assert_eq!(format!("{copy:?}"), format!("{hash:?}"));
    if let Some(name) = model.keys().next() {
        copy.remove(name);
        assert_ne!(&copy, hash);
    }
    let (mut cursor, mut seen) = (0, Model::new());
    loop {
        cursor = hash.scan(cursor, 7, |field| seen.extend([owned(field)]));
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen, *model);
}

fn name(rng: &mut Rng, names: u64) -> Vec<u8> {
    match rng.below(8) {
        0 => rng.below(names).to_string().into_bytes(),
        1 => vec![b'n'; rng.below(40) as usize],
        _ => format!("field:{}", rng.below(names)).into_bytes(),
    }
}

fn value(rng: &mut Rng, long: bool) -> Vec<u8> {
    match rng.below(6) {
        0 => (rng.next_u64() as i64).to_string().into_bytes(),
        1 => (rng.below(200) as i64 - 100).to_string().into_bytes(),
        2 => Vec::new(),
        3 if long && rng.below(200) == 0 => vec![b'v'; 60 + rng.below(400) as usize],
        _ => format!("value {}", rng.next_u64() >> rng.below(60)).into_bytes(),
    }
}

fn expiry(rng: &mut Rng, now: i64) -> FieldExpiry {
    match rng.below(6) {
        0 => FieldExpiry::Keep,
        1 => FieldExpiry::At(UnixMillis(now + 1 + rng.below(50) as i64)),
        _ => FieldExpiry::Clear,
    }
}

fn step(hash: &mut Hash, model: &mut Model, rng: &mut Rng, now: i64, limits: (&Thresholds, u64)) {
    let name = name(rng, limits.1);
    match rng.below(20) {
        0..=8 => {
            let (value, expiry) = (value(rng, limits.1 > 20), expiry(rng, now));
            let old = model.get(&name).and_then(|(_, expiry)| *expiry);
            let is_new = hash.insert(&name, &value, expiry, limits.0);
            assert_eq!(is_new, !model.contains_key(&name));
            model.insert(name, (value, expiry.after(old)));
        }
        9..=12 => assert_eq!(hash.remove(&name), model.remove(&name).is_some()),
        13..=14 => {
            let at = Some(UnixMillis(now + 1 + rng.below(100) as i64)).filter(|_| rng.below(3) > 0);
            let found = model.get_mut(&name).map(|(_, expiry)| *expiry = at).is_some();
            assert_eq!(hash.set_expiry(&name, at), found);
        }
        15..=17 => {
            let found = model.get(&name);
            assert_eq!(hash.contains(&name), found.is_some());
            assert_eq!(hash.get(&name).map(Element::to_vec), found.map(|(value, _)| value.clone()));
            let field = hash.field(&name).map(|field| owned(field).1);
            assert_eq!(field.as_ref(), found);
        }
        18 => {
            let sample = hash.sample(rng).map(owned);
            assert_eq!(sample.is_none(), model.is_empty());
            assert!(sample.is_none_or(|(name, rest)| model.get(&name) == Some(&rest)));
        }
        _ => {
            let (max, mut removed) = (rng.below(4) as usize, Vec::new());
            hash.remove_due(UnixMillis(now), max, &mut removed);
            let due = |at: &Option<UnixMillis>| at.is_some_and(|at| at.0 <= now);
            let expected = model.values().filter(|(_, at)| due(at)).count().min(max);
            assert_eq!(removed.len(), expected);
            for name in removed {
                let (_, at) = model.remove(&*name).unwrap();
                assert!(due(&at));
            }
        }
    }
}

#[test]
fn behaves_like_a_map() {
    let mut rng = Rng::from_seed(11);
    // Small and packed most of the time; around the threshold; big.
    for (names, entries, rounds) in [(12, 512, 40), (60, 30, 40), (400, 20, 10)] {
        let thresholds = Thresholds { hash_entries: entries, ..Thresholds::default() };
        let mut forms = std::collections::BTreeSet::new();
        for _ in 0..rounds {
            let (mut hash, mut model, mut now) = (Hash::default(), Model::new(), 1_700_000_000_000);
            for index in 0..1500 {
                step(&mut hash, &mut model, &mut rng, now, (&thresholds, names));
                now += i64::from(rng.below(8) == 0);
                if index % 40 == 0 {
                    same(&hash, &model);
                }
                forms.insert(hash.encoding());
            }
            same(&hash, &model);
        }
        assert!(forms.len() >= 2, "{forms:?}");
    }
}

#[test]
fn grows_out_of_its_block() {
    let thresholds = Thresholds { hash_entries: 3, hash_value: 5, ..Thresholds::default() };
    let at = FieldExpiry::At(UnixMillis(5));
    let mut hash = Hash::default();
    for name in ["a", "b", "c"] {
        assert!(hash.insert(name.as_bytes(), b"12345", FieldExpiry::Keep, &thresholds));
    }
    assert_eq!(hash.encoding(), "listpack");
    assert!(!hash.set_expiry(b"none", Some(UnixMillis(7))));
    assert_eq!(hash.encoding(), "listpack", "nothing expires");
    let mut timed = hash.clone();
    assert!(!timed.insert(b"b", b"x", at, &thresholds));
    assert_eq!((timed.encoding(), timed.next_expiry()), ("listpackex", Some(UnixMillis(5))));
    for hash in [&mut hash, &mut timed] {
        let mut long = hash.clone();
        assert!(!long.insert(b"a", b"123456", FieldExpiry::Keep, &thresholds));
        assert_eq!((long.encoding(), long.len()), ("hashtable", 3));
        assert_eq!(long.next_expiry(), hash.next_expiry());
        assert!(hash.insert(b"d", b"", FieldExpiry::Keep, &thresholds));
        assert_eq!((hash.encoding(), hash.len()), ("hashtable", 4));
        hash.remove(b"d");
        assert_eq!(hash.encoding(), "hashtable");
    }
}

#[test]
fn blocks_from_elsewhere_are_put_in_order() {
    let thresholds = Thresholds::default();
    let pack = |words: &[&str]| {
        let mut pack = crate::data::listpack::Listpack::new();
        words.iter().for_each(|word| pack.push_back(word.as_bytes()));
        pack
    };
    let hash =
        Hash::from_timed(pack(&["a", "1", "0", "b", "2", "30", "c", "3", "20"]), &thresholds);
    let hash = hash.unwrap();
    let names: Vec<_> = hash.iter().map(|field| (field.name.to_vec(), field.expiry)).collect();
    assert_eq!(
        names,
        [
            (b"c".to_vec(), Some(UnixMillis(20))),
            (b"b".to_vec(), Some(UnixMillis(30))),
            (b"a".to_vec(), None)
        ]
    );
    assert!(Hash::from_timed(pack(&["a", "1"]), &thresholds).is_none());
    assert!(Hash::from_timed(pack(&["a", "1", "soon"]), &thresholds).is_none());
    assert!(Hash::from_timed(pack(&["a", "1", "-1"]), &thresholds).is_none());
    assert!(Hash::from_packed(pack(&["a", "1", "b"]), &thresholds).is_none());
    let few = Thresholds { hash_entries: 1, ..thresholds };
    let hash = Hash::from_packed(pack(&["a", "1", "b", "2"]), &few).unwrap();
    assert_eq!(
        (hash.encoding(), hash.get(b"b").map(Element::to_vec)),
        ("hashtable", Some(b"2".to_vec()))
    );
}

/// What Valkey writes may expire at the last moment there is, which must not be taken for a field that
/// never expires and loses its place in the order.
#[test]
fn the_latest_time_is_a_time() {
    let thresholds = Thresholds::default();
    let latest = UnixMillis(i64::MAX);
    let mut hash = Hash::default();
    hash.insert(b"stays", b"1", FieldExpiry::Clear, &thresholds);
    hash.insert(b"goes", b"2", FieldExpiry::At(latest), &thresholds);
    assert_eq!((hash.encoding(), hash.next_expiry()), ("listpackex", Some(latest)));
}
