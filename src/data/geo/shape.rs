//! What a search is about: a circle, a box or a polygon, what is inside, and which cells of the grid
//! cover it.
//!
//! The cells are so large that the one with the middle and its eight neighbours cover the shape;
//! neighbours that it doesn't reach are left out. Their order is the order of the results.

use super::{
    Area, Cell, EARTH_RADIUS, LATITUDE_MAX, LONGITUDE_MAX, Place, STEP_MAX, degrees, radians,
};

/// Half the equator of the map's projection, in metres: what the largest cells cover.
const HALF_EQUATOR: f64 = 20_037_726.37;

/// How far from the map's northern and eastern edges a place is certainly in a cell, in degrees.
const EDGE: f64 = 1e-9;

/// The neighbours of a cell by columns to the east and rows to the north, in the order in which they
/// are searched behind the cell itself.
const NEIGHBOURS: [(i32, i32); 8] =
    [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];

/// The outline of a search; lengths are metres.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outline {
    /// All within a radius.
    Circle(f64),
    /// All within half a width to the east and west and half a height to the north and south.
    Box {
        /// From west to east.
        width: f64,
        /// From south to north.
        height: f64,
    },
    /// All inside of a line through corners in order and back to the first.
    Polygon(Vec<Place>),
}

/// A shape at its place.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    middle: Place,
    outline: Outline,
    /// The middle of a circle once more, in the form that each distance needs.
    middle_radians: (f64, f64),
    /// The cosine of the middle's latitude.
    middle_cosine: f64,
    /// Squares of half chords above this are certainly outside of a circle.
    square_max: f64,
}

impl Shape {
    /// A circle or a box around a place.
    pub(crate) fn around(middle: Place, outline: Outline) -> Self {
        let latitude = radians(middle.latitude);
        let square_max = match outline {
            Outline::Circle(radius) if radius < EARTH_RADIUS * 3.0 => {
                let half_chord = (radius / (2.0 * EARTH_RADIUS)).sin();
                // A margin for rounding; what is within it is decided by its distance.
                half_chord * half_chord * (1.0 + 1e-9) + 1e-24
            }
            _ => f64::INFINITY,
        };
        Self {
            middle,
            outline,
            middle_radians: (radians(middle.longitude), latitude),
            middle_cosine: latitude.cos(),
            square_max,
        }
    }

    /// A polygon. Distances are from the mean of its corners as directions from the earth's middle.
    pub(crate) fn polygon(corners: Vec<Place>) -> Self {
        let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
        for corner in &corners {
            let (longitude, latitude) = (radians(corner.longitude), radians(corner.latitude));
            x += latitude.cos() * longitude.cos();
            y += latitude.cos() * longitude.sin();
            z += latitude.sin();
        }
        let longitude = degrees(y.atan2(x));
        let latitude = degrees(z.atan2((x * x + y * y).sqrt()));
        Self::around(Place { longitude, latitude }, Outline::Polygon(corners))
    }

    /// How far from the middle a place is that is inside; nothing for one that is outside.
    #[inline]
    pub(crate) fn distance(&self, place: Place) -> Option<f64> {
        match &self.outline {
            Outline::Circle(radius) => {
                let distance = self.distance_in_circle(place)?;
                (distance <= *radius || distance.is_nan()).then_some(distance)
            }
            Outline::Box { width, height } => {
                // North and south cost less, so they are looked at first.
                if self.middle.distance_north(place) > height / 2.0 {
                    return None;
                }
                let abeam = Place { longitude: self.middle.longitude, ..place };
                if place.distance(abeam) > width / 2.0 {
                    return None;
                }
                Some(self.middle.distance(place))
            }
            Outline::Polygon(corners) => {
                is_inside(corners, place).then(|| self.middle.distance(place))
            }
        }
    }

    /// [`Place::distance`] from the middle, or nothing as soon as it is certainly too far: most places
    /// are refused by their latitude, and without square root and arc sine.
    #[inline]
    fn distance_in_circle(&self, place: Place) -> Option<f64> {
        let latitude = radians(place.latitude);
        let along = ((latitude - self.middle_radians.1) / 2.0).sin();
        if along * along > self.square_max {
            return None;
        }
        let across = ((radians(place.longitude) - self.middle_radians.0) / 2.0).sin();
        if across == 0.0 {
            return Some(self.middle.distance_north(place));
        }
        let square = along * along + self.middle_cosine * latitude.cos() * across * across;
        // Above one it is only by rounding, and then there is no distance, which counts as inside.
        if square > self.square_max && square <= 1.0 {
            return None;
        }
        Some(2.0 * EARTH_RADIUS * square.sqrt().asin())
    }

    /// The smallest part of the map that certainly holds the shape.
    fn bounds(&self) -> Area {
        let Place { longitude, latitude } = self.middle;
        let (half_width, half_height) = match &self.outline {
            Outline::Circle(radius) => (*radius, *radius),
            Outline::Box { width, height } => (width / 2.0, height / 2.0),
            Outline::Polygon(corners) => return bounds_of(corners),
        };
        let high = degrees(half_height / EARTH_RADIUS);
        // The edge nearer to the pole is the shorter one, so it spans more degrees.
        let polar = if latitude < 0.0 { latitude - high } else { latitude + high };
        let wide = degrees(half_width / EARTH_RADIUS / radians(polar).cos());
        Area {
            west: longitude - wide,
            east: longitude + wide,
            south: latitude - high,
            north: latitude + high,
        }
    }

    /// The radius of a circle that holds the shape.
    fn reach(&self, bounds: &Area) -> f64 {
        match &self.outline {
            Outline::Circle(radius) => *radius,
            Outline::Box { width, height } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
            Outline::Polygon(_) => {
                let corners = [bounds.west, bounds.east].into_iter().flat_map(|longitude| {
                    [bounds.south, bounds.north].map(|latitude| Place { longitude, latitude })
                });
                corners.map(|corner| self.middle.distance(corner)).fold(0.0, f64::max)
            }
        }
    }

    /// The cells to be searched, in order. None is there twice.
    pub(crate) fn cells(&self) -> impl Iterator<Item = Cell> {
        let bounds = self.bounds();
        let mut middle = self.middle;
        if let Outline::Polygon(_) = self.outline {
            // Its middle may be nearer to the pole than the map ends, or on the map's edge, which is in
            // no cell.
            let within = |degrees: f64, most: f64| degrees.clamp(-most, most - EDGE);
            middle.latitude = within(middle.latitude, LATITUDE_MAX);
            middle.longitude = within(middle.longitude, LONGITUDE_MAX);
        }
        let mut step = step_for(self.reach(&bounds), middle.latitude);
        let mut own = Cell::of(middle, step, LATITUDE_MAX);
        while step > 1 && !reaches(own, &bounds) {
            step -= 1;
            own = Cell::of(middle, step, LATITUDE_MAX);
            // Upstream takes one step. A wide polygon may need more: the farthest point of its bounds need
            // not be a corner, so that `reach` is too small.
            if !matches!(self.outline, Outline::Polygon(_)) {
                break;
            }
        }
        let area = own.area();
        let wanted = move |(east, north): (i32, i32)| {
            // In the coarsest grid neighbours on either side are the same.
            step < 2
                || !(north < 0 && area.south < bounds.south
                    || north > 0 && area.north > bounds.north
                    || east < 0 && area.west < bounds.west
                    || east > 0 && area.east > bounds.east)
        };
        let mut last = None;
        std::iter::once(own)
            .chain(
                NEIGHBOURS
                    .into_iter()
                    .filter(move |to| wanted(*to))
                    .map(move |(east, north)| own.moved(east, north)),
            )
            .filter(move |cell| last.replace(*cell) != Some(*cell))
    }
}

/// Whether a cell's neighbours reach up to the bounds on each side.
fn reaches(cell: Cell, bounds: &Area) -> bool {
    let area = |east, north| cell.moved(east, north).area();
    !(area(0, 1).north < bounds.north
        || area(0, -1).south > bounds.south
        || area(1, 0).east < bounds.east
        || area(-1, 0).west > bounds.west)
}

/// The finest grid of which nine cells hold a circle; near the poles, where cells are narrow, coarser.
fn step_for(radius: f64, latitude: f64) -> u32 {
    if radius == 0.0 {
        return STEP_MAX;
    }
    let mut step: u32 = 1;
    let mut covered = radius;
    while covered < HALF_EQUATOR {
        covered *= 2.0;
        step += 1;
    }
    // One halving since the middle may be at its cell's edge, another for what the loop counts.
    let polar = u32::from(latitude.abs() > 66.0) + u32::from(latitude.abs() > 80.0);
    step.saturating_sub(2 + polar).clamp(1, STEP_MAX)
}

/// The part of the map around corners.
fn bounds_of(corners: &[Place]) -> Area {
    let none = Area {
        west: LONGITUDE_MAX,
        east: -LONGITUDE_MAX,
        south: LATITUDE_MAX,
        north: -LATITUDE_MAX,
    };
    corners.iter().fold(none, |area, corner| Area {
        west: area.west.min(corner.longitude),
        east: area.east.max(corner.longitude),
        south: area.south.min(corner.latitude),
        north: area.north.max(corner.latitude),
    })
}

/// Whether a line from the place to the east crosses the outline an odd number of times.
fn is_inside(corners: &[Place], place: Place) -> bool {
    let mut inside = false;
    let Some(mut from) = corners.last() else { return false };
    for to in corners {
        if (to.latitude > place.latitude) != (from.latitude > place.latitude) {
            let along = (place.latitude - to.latitude) / (from.latitude - to.latitude);
            let crossing = (from.longitude - to.longitude) * along + to.longitude;
            inside ^= place.longitude < crossing;
        }
        from = to;
    }
    inside
}
