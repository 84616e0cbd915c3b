//! Places on the earth as scores of a sorted set: 26 bits of longitude and 26 of latitude by turns,
//! a geohash of 52 bits, which a double holds exactly.
//!
//! ```text
//! bit   51  50  49  48           1   0
//!       lon lat lon lat  . . .  lon lat      each halves the world once more
//! ```
//!
//! All places of one cell of the grid of `step` halvings share their first `2 * step` bits, so a
//! cell is a range of scores. [`shape`] says which cells a search must look at and what is inside.
//! Latitudes end at those of the web's map projection, which makes the world a square.
//!
//! Every formula is in the order of operations that upstream's replies show: distances and
//! coordinates agree to the last digit.

pub(crate) mod shape;

#[cfg(test)]
mod tests;

use std::f64::consts::PI;

/// Longitudes are within plus or minus this.
pub(crate) const LONGITUDE_MAX: f64 = 180.0;
/// Latitudes are within plus or minus this.
pub(crate) const LATITUDE_MAX: f64 = 85.051_128_78;
/// Latitudes as the geohashes that others exchange count them.
const LATITUDE_POLE: f64 = 90.0;

/// Halvings of each axis in a score.
pub(crate) const STEP_MAX: u32 = 26;

/// The earth's radius in metres that all distances are on.
pub(crate) const EARTH_RADIUS: f64 = 6_372_797.560_856;

/// Letters of a geohash as text.
const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
/// How many of them tell a place.
pub(crate) const TEXT_LEN: usize = 11;

/// Degrees as radians.
#[inline]
fn radians(degrees: f64) -> f64 {
    degrees * (PI / 180.0)
}

/// Radians as degrees.
#[inline]
fn degrees(radians: f64) -> f64 {
    radians / (PI / 180.0)
}

/// A place, in degrees.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Place {
    /// East of Greenwich.
    pub longitude: f64,
    /// North of the equator.
    pub latitude: f64,
}

impl Place {
    /// Whether a score can tell it.
    pub(crate) fn is_on_map(self) -> bool {
        self.longitude.abs() <= LONGITUDE_MAX && self.latitude.abs() <= LATITUDE_MAX
    }

    /// The score that tells it.
    #[expect(clippy::cast_precision_loss, reason = "only at the date line, as upstream's")]
    pub(crate) fn score(self) -> f64 {
        Cell::of(self, STEP_MAX, LATITUDE_MAX).bits as f64
    }

    /// The place that a score tells: the middle of its cell. Scores that no place has tell one, too.
    #[inline]
    pub(crate) fn of_score(score: f64) -> Self {
        let area = Cell { bits: wrapped(score), step: STEP_MAX }.area();
        let middle = |low, high, limit: f64| f64::midpoint(low, high).clamp(-limit, limit);
        Self {
            longitude: middle(area.west, area.east, LONGITUDE_MAX),
            latitude: middle(area.south, area.north, LATITUDE_MAX),
        }
    }

    /// Its geohash as text. Ten letters tell 50 bits; the last one is always zero.
    pub(crate) fn text(self) -> [u8; TEXT_LEN] {
        let bits = Cell::of(self, STEP_MAX, LATITUDE_POLE).bits;
        let mut text = [LETTERS[0]; TEXT_LEN];
        for (at, letter) in text[..TEXT_LEN - 1].iter_mut().enumerate() {
            *letter = LETTERS[(bits >> (47 - 5 * at) & 31) as usize];
        }
        text
    }

    /// Metres along the surface between two places, by the haversine formula.
    pub(crate) fn distance(self, other: Self) -> f64 {
        let (from, to) = (radians(self.longitude), radians(other.longitude));
        let across = ((to - from) / 2.0).sin();
        if across == 0.0 {
            return self.distance_north(other);
        }
        let (from, to) = (radians(self.latitude), radians(other.latitude));
        let along = ((to - from) / 2.0).sin();
        let square = along * along + from.cos() * to.cos() * across * across;
        2.0 * EARTH_RADIUS * square.sqrt().asin()
    }

    /// Metres between the circles of latitude of two places.
    #[inline]
    fn distance_north(self, other: Self) -> f64 {
        EARTH_RADIUS * (radians(other.latitude) - radians(self.latitude)).abs()
    }
}

/// The integer of a score, which any double can be: beyond the range it wraps around or is 2^63, as
/// x86 processors convert, and with them upstream.
#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "that is the point")]
fn wrapped(score: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    let convert = |score: f64| {
        if (-HALF..HALF).contains(&score) { score as i64 as u64 } else { 1 << 63 }
    };
    if score < HALF { convert(score) } else { convert(score - HALF) ^ (1 << 63) }
}

/// A part of the map, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Area {
    /// The least longitude.
    pub(crate) west: f64,
    /// The greatest.
    pub(crate) east: f64,
    /// The least latitude.
    pub(crate) south: f64,
    /// The greatest.
    pub(crate) north: f64,
}

/// A cell of the grid that has `2^step` columns and as many rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    /// The bits of column and row by turns.
    bits: u64,
    step: u32,
}

impl Cell {
    /// The cell in which a place is, on a map that ends at a latitude.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is on the map")]
    fn of(place: Place, step: u32, latitude_max: f64) -> Self {
        let scale = f64::from(1u32 << step);
        let part = |at: f64, limit: f64| (at + limit) / (limit + limit) * scale;
        let column = part(place.longitude, LONGITUDE_MAX) as u32;
        let row = part(place.latitude, latitude_max) as u32;
        Self { bits: spread(row) | spread(column) << 1, step }
    }

    /// The cell so many columns to the east and rows to the north, around the world's edges.
    fn moved(self, east: i32, north: i32) -> Self {
        let mask = (1u32 << self.step) - 1;
        let by = |at: u32, by: i32| if by == 0 { at } else { at.wrapping_add_signed(by) & mask };
        let (row, column) = (by(gather(self.bits), north), by(gather(self.bits >> 1), east));
        Self { bits: spread(row) | spread(column) << 1, step: self.step }
    }

    /// What it covers.
    fn area(self) -> Area {
        let scale = f64::from(1u32 << self.step);
        let edge = |at: f64, limit: f64| -limit + at / scale * (limit + limit);
        let (row, column) = (f64::from(gather(self.bits)), f64::from(gather(self.bits >> 1)));
        Area {
            west: edge(column, LONGITUDE_MAX),
            east: edge(column + 1.0, LONGITUDE_MAX),
            south: edge(row, LATITUDE_MAX),
            north: edge(row + 1.0, LATITUDE_MAX),
        }
    }

    /// The scores of what is in it: the first, and the one behind the last.
    #[expect(clippy::cast_precision_loss, reason = "a cell's edge has few bits")]
    pub(crate) fn scores(self) -> (f64, f64) {
        let unused = 2 * (STEP_MAX - self.step);
        ((self.bits << unused) as f64, ((self.bits + 1) << unused) as f64)
    }
}

/// Puts a zero above each bit.
#[inline]
fn spread(bits: u32) -> u64 {
    let mut bits = u64::from(bits);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// Takes every second bit, from the lowest on.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the last mask leaves 32 bits")]
fn gather(bits: u64) -> u32 {
    let mut bits = bits & 0x5555_5555_5555_5555;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ] {
        bits = (bits | bits >> shift) & mask;
    }
    bits as u32
}
