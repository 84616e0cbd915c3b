//! Places against what is known of the world, and searches against looking at every place.

use super::shape::{Outline, Shape};
use super::*;
use crate::base::env::Rng;

fn place(longitude: f64, latitude: f64) -> Place {
    Place { longitude, latitude }
}

#[test]
fn the_documented_places_of_sicily() {
    let (palermo, catania) = (place(13.361_389, 38.115_556), place(15.087_269, 37.502_669));
    assert_eq!(palermo.score(), 3_479_099_956_230_698.0);
    assert_eq!(&Place::of_score(palermo.score()).text(), b"sqc8b49rny0");
    let [from, to] = [palermo, catania].map(|place| Place::of_score(place.score()));
    assert_eq!(format!("{:.4}", from.distance(to)), "166274.1516");
    assert_eq!(from.distance(from), 0.0);
}

#[test]
fn any_score_tells_a_place_on_the_map() {
    let scores =
        [0.0, -0.0, -1.0, 4.5e15, 9.3e18, 1.9e19, -1e30, f64::INFINITY, f64::NEG_INFINITY, 0.5];
    for score in scores {
        assert!(Place::of_score(score).is_on_map(), "{score}");
    }
    assert_eq!(wrapped(-1.0), u64::MAX);
    assert_eq!(wrapped(f64::NEG_INFINITY), 1 << 63);
    assert_eq!(wrapped(f64::INFINITY), 0);
}

#[test]
fn bits_are_spread_and_gathered() {
    let mut rng = Rng::from_seed(1);
    for _ in 0..1000 {
        let bits = rng.next_u64() as u32;
        assert_eq!(gather(spread(bits)), bits);
        assert_eq!(spread(bits).count_ones(), bits.count_ones());
        assert_eq!(spread(bits) & !0x5555_5555_5555_5555, 0);
    }
}

fn random_place(rng: &mut Rng) -> Place {
    let at = |rng: &mut Rng, limit: f64| (rng.below(2_000_001) as f64 / 1e6 - 1.0) * limit;
    place(at(rng, LONGITUDE_MAX), at(rng, LATITUDE_MAX))
}

/// A shape whose cells must hold all that is inside. Boxes and circles over a pole or the date line
/// are cut off by the map's edge, as upstream's are, so they stay clear of it.
fn random_shape(rng: &mut Rng) -> Shape {
    let size = 10f64.powf(rng.below(6000) as f64 / 1000.0);
    let middle = place(random_place(rng).longitude * 0.8, random_place(rng).latitude * 0.7);
    match rng.below(4) {
        0 => Shape::around(middle, Outline::Circle(size)),
        1 => {
            let height = size * (rng.below(100) + 1) as f64 / 100.0;
            Shape::around(middle, Outline::Box { width: size, height })
        }
        // Around much of the world. Once only one more cell on each side was looked at than the corners'
        // distance asks for.
        2 => Shape::polygon((0..3 + rng.below(5)).map(|_| random_place(rng)).collect()),
        _ => {
            let wide = size / 1e5;
            let corners = (0..3 + rng.below(5)).map(|_| {
                let by = random_place(rng);
                place(
                    middle.longitude + by.longitude / LONGITUDE_MAX * wide,
                    middle.latitude + by.latitude / LATITUDE_MAX * wide,
                )
            });
            Shape::polygon(corners.collect())
        }
    }
}

/// In how many cells a score is, each given by its scores.
fn how_many_hold(cells: &[(f64, f64)], score: f64) -> usize {
    cells.iter().filter(|(low, high)| (*low..*high).contains(&score)).count()
}

#[test]
fn cells_hold_all_that_is_inside_once() {
    let mut rng = Rng::from_seed(2);
    let (mut inside, mut shapes) = (0, 0);
    while shapes < 3_000 {
        let shape = random_shape(&mut rng);
        let cells: Vec<(f64, f64)> = shape.cells().map(Cell::scores).collect();
        shapes += 1;
        for _ in 0..60 {
            // Places all over the shape's cells, and a few all over the world.
            let score = if rng.below(10) == 0 {
                random_place(&mut rng).score()
            } else {
                let (low, high) = cells[rng.below(cells.len() as u64) as usize];
                low + (high - low) * (rng.below(1 << 30) as f64 / f64::from(1u32 << 30))
            };
            let score = score.floor();
            let found = how_many_hold(&cells, score);
            assert!(found <= 1, "{shape:?}: a place is in {found} cells");
            if shape.distance(Place::of_score(score)).is_some() {
                assert_eq!(found, 1, "{shape:?} holds {:?}", Place::of_score(score));
                inside += 1;
            }
        }
    }
    assert!(inside > 10_000, "only {inside} places were inside");
}

#[test]
fn a_circle_refuses_early_only_what_is_too_far() {
    let mut rng = Rng::from_seed(3);
    for _ in 0..200_000 {
        let (middle, other) = (random_place(&mut rng), random_place(&mut rng));
        let distance = middle.distance(other);
        // At the distance itself, a bit below it, and anywhere.
        for radius in [distance, distance.next_down().max(0.0), distance * rng.below(3) as f64] {
            let found = Shape::around(middle, Outline::Circle(radius)).distance(other);
            assert_eq!(found, (distance <= radius).then_some(distance), "{middle:?} {other:?}");
        }
    }
}

#[test]
fn a_polygon_may_be_hollow() {
    let corners = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (5.0, 1.0), (0.0, 10.0)];
    let shape = Shape::polygon(corners.map(|(x, y)| place(x, y)).to_vec());
    assert!(shape.distance(place(1.0, 5.0)).is_some());
    assert!(shape.distance(place(9.0, 5.0)).is_some());
    assert!(shape.distance(place(5.0, 5.0)).is_none());
    assert!(shape.distance(place(-1.0, 5.0)).is_none());
}

/// The middle of a polygon around a pole is north of the map, and that of one on both sides of the map's
/// edge is on the edge: its cell was none of the map's, and most places weren't found.
#[test]
fn a_polygon_whose_middle_is_off_the_map_has_all_its_places() {
    let north =
        [(-76.8, -39.0), (8.0, 57.2), (-160.1, -54.0), (-178.9, 65.9), (13.4, 38.7), (124.7, 31.7)];
    let edge = [(170.0, 10.0), (-170.0, 10.0), (-170.0, -10.0), (170.0, -10.0)];
    let south = north.map(|(x, y)| (x, -y));
    let mut rng = Rng::from_seed(4);
    for corners in [&north[..], &south, &edge] {
        let shape = Shape::polygon(corners.iter().map(|(x, y)| place(*x, *y)).collect());
        let cells: Vec<(f64, f64)> = shape.cells().map(Cell::scores).collect();
        let mut inside = 0;
        for _ in 0..10_000 {
            let score = random_place(&mut rng).score();
            if shape.distance(Place::of_score(score)).is_some() {
                let found = how_many_hold(&cells, score);
                assert_eq!(found, 1, "{corners:?} {:?}", Place::of_score(score));
                inside += 1;
            }
        }
        assert!(inside > 500, "{inside}");
    }
}
