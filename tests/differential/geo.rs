//! Random commands on places. They have keys of their own, since of members that are equally far away,
//! as many of other sorted sets are, upstream's COUNT chooses by how its sort goes.

use crate::generate::{GEO_KEYS, Generator, Step, Words};

/// A key of places; now and then another, from which COUNT doesn't choose.
fn key(g: &mut Generator) -> Vec<u8> {
    if g.random.chance(90) { g.random.pick(GEO_KEYS).into() } else { g.key() }
}

fn is_of_places(key: &[u8]) -> bool {
    GEO_KEYS.contains(&key)
}

/// Where what is found in a set is stored: distances never where COUNT will choose, since as places they lie
/// in the few cells of the small numbers, many in one.
fn destination(g: &mut Generator, source: &[u8], of_distances: bool) -> Vec<u8> {
    let is_of_places = is_of_places(source) && !of_distances;
    if is_of_places { g.random.pick(GEO_KEYS).into() } else { g.key() }
}

fn member(g: &mut Generator) -> Vec<u8> {
    match g.random.below(20) {
        0..=17 => format!("place {}", g.random.below(150)).into(),
        18 => format!("m{}", g.random.below(14)).into(),
        _ => g.value(),
    }
}

/// Longitude and latitude: of cities close together, or anywhere, or nowhere.
fn place(g: &mut Generator) -> [Vec<u8>; 2] {
    let near = |g: &mut Generator, at: f64| {
        let by = g.random.below(2_000_001) as f64 / 1e6 - 1.0;
        format!("{:.6}", at + by * by * by).into_bytes()
    };
    match g.random.below(40) {
        0..=14 => [near(g, 13.4), near(g, 38.1)],
        15..=18 => [near(g, -77.0), near(g, -38.9)],
        19..=20 => [near(g, 178.9), near(g, 0.5)],
        21..=22 => [near(g, -178.9), near(g, 66.0)],
        23..=24 => [near(g, 100.0), near(g, 80.0)],
        25 => [near(g, 1.0), near(g, -84.0)],
        26..=37 => {
            let at = |g: &mut Generator, limit: usize| {
                (g.random.below(2 * limit) as f64 / 1e6 - limit as f64 / 1e6).to_string()
            };
            [at(g, 180_000_000).into(), at(g, 85_000_000).into()]
        }
        38 => {
            let longitude = g.random.pick(&["180", "-180", "0", "181", "1e3", "inf", "0x10"]);
            let latitude = g.random.pick(&["85.05112878", "-85.05112878", "0", "86", "-inf"]);
            [longitude.into(), latitude.into()]
        }
        _ => [g.float(), g.float()],
    }
}

fn unit(g: &mut Generator) -> &'static str {
    g.random.pick(&["m", "km", "KM", "ft", "mi", "Mi", "km", "km", "m", "parsec"])
}

fn length(g: &mut Generator) -> Vec<u8> {
    match g.random.below(12) {
        0..=6 => {
            let exponent = g.random.below(5) as i32;
            let number = g.random.below(10_000) as f64 / 1000.0;
            format!("{:.3}", number * 10f64.powi(exponent)).into()
        }
        7..=8 => g.random.pick(&["0", "1", "100", "200", "500", "2000", "5000000", "1e9"]).into(),
        9 => g.random.pick(&["0.0001", "20015", "12742", "inf", "-0", "40000"]).into(),
        10 => g.random.below(300).to_string().into(),
        _ => g.float(),
    }
}

fn circle(g: &mut Generator) -> Vec<Vec<u8>> {
    vec![length(g), unit(g).into()]
}

/// Corners of a polygon: mostly around a place where there are others.
fn corners(g: &mut Generator) -> Vec<Vec<u8>> {
    let count = 3 + g.random.below(4);
    let said = if g.random.chance(96) { count.to_string().into() } else { g.integer() };
    [said].into_iter().chain((0..count).flat_map(|_| place(g))).collect()
}

/// From where and by what a search goes, in any order, seldom twice or not at all.
fn open_shape(g: &mut Generator, polygons: bool) -> Vec<Vec<u8>> {
    let mut options: Vec<Vec<Vec<u8>>> = Vec::new();
    let by = if polygons { g.random.pick(&[0, 1, 2, 2, 2, 2]) } else { g.random.below(2) };
    for _ in 0..g.random.pick(&[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 0]) {
        if by == 2 && g.random.chance(97) {
            continue;
        }
        options.push(if g.random.chance(35) {
            vec![b"FROMMEMBER".to_vec(), member(g)]
        } else {
            [b"FROMLONLAT".to_vec()].into_iter().chain(place(g)).collect()
        });
    }
    for _ in 0..g.random.pick(&[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 0]) {
        options.push(match if g.random.chance(96) { by } else { g.random.below(2) } {
            0 => [b"BYRADIUS".to_vec()].into_iter().chain(circle(g)).collect(),
            1 => {
                let sizes = [length(g), length(g), unit(g).into()];
                [b"BYBOX".to_vec()].into_iter().chain(sizes).collect()
            }
            _ => [b"BYPOLYGON".to_vec()].into_iter().chain(corners(g)).collect(),
        });
    }
    if g.random.chance(20) {
        options.reverse();
    }
    options.into_iter().flatten().collect()
}

/// What is wanted of what is found; seldom of use where the result is stored, which `may_count` or not.
fn wanted(g: &mut Generator, source: &[u8], stores: bool, may_count: bool) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    for word in ["WITHDIST", "WITHCOORD", "WITHHASH"] {
        if g.random.chance(if stores { 1 } else { 35 }) {
            words.push(word.into());
        }
    }
    if g.random.chance(50) {
        words.push(g.random.pick(&["ASC", "DESC", "asc"]).into());
    }
    if may_count && is_of_places(source) && g.random.chance(35) {
        let count = g.random.pick(&["1", "2", "3", "5", "10", "100", "1000", "0", "-1", "abc"]);
        words.extend([b"COUNT".to_vec(), count.into()]);
        if g.random.chance(35) {
            words.push(b"ANY".to_vec());
        }
    } else if g.random.chance(2) {
        words.push(g.random.pick(&["ANY", "COUNT", "STOREDIST", "STORE"]).into());
    }
    words
}

fn add(g: &mut Generator, count: usize) -> Step {
    let mut words = Words::new("GEOADD").and(key(g));
    if g.random.chance(25) {
        for _ in 0..=g.random.below(2) {
            words = words.and(g.random.pick(&["NX", "XX", "CH", "ch", "INCR"]));
        }
    }
    for _ in 0..count {
        let place = place(g);
        words = words.and_all(place).and(member(g));
    }
    if g.random.chance(2) { words.and("odd").exact() } else { words.exact() }
}

/// GEOSEARCH or GEOSEARCHSTORE.
fn search(g: &mut Generator, polygons: bool) -> Step {
    let stores = g.random.chance(25);
    let source = key(g);
    let of_distances = stores && g.random.chance(50);
    let mut words = if stores {
        Words::new("GEOSEARCHSTORE").and(destination(g, &source, of_distances)).and(&source)
    } else {
        Words::new("GEOSEARCH").and(&source)
    };
    let shape = open_shape(g, polygons);
    // Of what a wide polygon has, COUNT would store others, and as many: nothing would tell.
    let may_count = !(stores && polygons);
    words = words.and_all(shape).and_all(wanted(g, &source, stores, may_count));
    if of_distances {
        words = words.and("STOREDIST");
    }
    words.exact()
}

fn older_search(g: &mut Generator) -> Step {
    let by_member = g.random.chance(40);
    let name = match (by_member, g.random.chance(30)) {
        (true, true) => "GEORADIUSBYMEMBER_RO",
        (true, false) => "GEORADIUSBYMEMBER",
        (false, true) => "GEORADIUS_RO",
        (false, false) => "GEORADIUS",
    };
    let source = key(g);
    let mut words = Words::new(name).and(&source);
    words = if by_member { words.and(member(g)) } else { words.and_all(place(g)) };
    let stores = g.random.chance(25) && !name.ends_with("RO") || g.random.chance(1);
    words = words.and_all(circle(g)).and_all(wanted(g, &source, stores, true));
    if stores {
        let store = g.random.pick(&["STORE", "STOREDIST", "store"]);
        words = words.and(store).and(destination(g, &source, store == "STOREDIST"));
    }
    words.exact()
}

/// One command on places.
pub fn generate(g: &mut Generator) -> Step {
    match g.random.below(40) {
        0..=7 => {
            let count = 1 + g.random.below(4);
            add(g, count)
        }
        8 => {
            let count = 150 + g.random.below(100);
            add(g, count)
        }
        9..=12 => {
            let mut words = Words::new("GEODIST").and(key(g)).and(member(g)).and(member(g));
            if g.random.chance(50) {
                words = words.and(unit(g));
            }
            words.exact()
        }
        13..=18 => {
            let mut words = Words::new(g.random.pick(&["GEOPOS", "GEOHASH"])).and(key(g));
            for _ in 0..g.random.below(4) {
                words = words.and(member(g));
            }
            words.exact()
        }
        19..=29 => search(g, false),
        30..=36 => older_search(g),
        37 => {
            let score = g.random.pick(&["-1", "inf", "-inf", "4503599627370496", "1e19", "0.5"]);
            Words::new("ZADD").and(key(g)).and(score).and("odd place").exact()
        }
        38 => Words::new("ZREM").and(key(g)).and(member(g)).exact(),
        _ => Words::new("ZRANGE").and(key(g)).and("0").and("40").and("WITHSCORES").exact(),
    }
}

/// One command on places of those that only Valkey knows.
pub fn generate_polygons(g: &mut Generator) -> Step {
    match g.random.below(10) {
        0..=3 => {
            let count = 1 + g.random.below(100);
            add(g, count)
        }
        4 => Words::new("ZRANGE").and(key(g)).and("0").and("40").exact(),
        _ => search(g, true),
    }
}
