//! Places as members of sorted sets: adding them, and asking where they are and how far apart.
//!
//! A place's score is its geohash (`crate::data::geo`); everything else about the set is as for other
//! sorted sets. Searches are in [`geo_search`](crate::command::geo_search).

use crate::base::text::{self, LongDouble};
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::AtLeast, Command, DataHandler, Flags, Flow, Group, Key, read, write,
};
use crate::command::zset::READ;
use crate::data::geo::Place;
use crate::data::zset::{Put, Zset};
use crate::keyspace::collection::Changed;
use crate::keyspace::unit::Event;
use crate::resp::reply::Reply;

/// Commands on single places.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    geo(write("GEOADD", AtLeast(5), geoadd as DataHandler))
        .flags(Flags::DENYOOM)
        .keys(&[Key::at(1).rw().update()])
        .since("3.2.0")
        .cost("O(log(N)) for each member")
        .syntax(
            "key [NX|XX] [CH]:change longitude:double latitude:double member [longitude:double \
             latitude:double member ...]",
        )
        .summary("Puts members with their places into a sorted set.")
        .history(&[("6.2.0", "Takes conditions and another way to count: `CH`, `NX`, `XX`.")]),
    geo(read("GEODIST", AtLeast(4), geodist as DataHandler))
        .keys(READ)
        .since("3.2.0")
        .cost("O(1)")
        .syntax("key member1 member2 [M|KM|FT|MI]:unit")
        .summary("Replies with the distance between the places of two members."),
    geo(read("GEOHASH", AtLeast(2), |cx, args| {
        each_member(cx, args, |reply, place| match place {
            Some(place) => reply.bulk(&place.text()),
            None => reply.null(),
        })
    }))
    .keys(READ)
    .since("3.2.0")
    .cost("O(N) for N members")
    .syntax("key member [member ...]")
    .summary("Replies with the places of members as geohash texts."),
    geo(read("GEOPOS", AtLeast(2), |cx, args| {
        each_member(cx, args, |reply, place| match place {
            Some(place) => reply_place(reply, place),
            None => reply.null_array(),
        })
    }))
    .keys(READ)
    .since("3.2.0")
    .cost("O(N) for N members")
    .syntax("key member [member ...]")
    .summary("Replies with the longitudes and latitudes of members."),
];

const fn geo(row: Command<DataHandler>) -> Command<DataHandler> {
    row.group(Group::Geo)
}

/// How many metres a unit is.
pub(super) fn unit_at(args: Args<'_>, index: usize) -> Result<f64, CommandError> {
    [("M", 1.0), ("KM", 1000.0), ("FT", 0.3048), ("MI", 1609.34)]
        .into_iter()
        .find(|(word, _)| args.is(index, word))
        .map(|(_, metres)| metres)
        .ok_or(CommandError::text("ERR unsupported unit provided. please use M, KM, FT, MI"))
}

/// The place whose longitude and latitude two arguments are.
pub(super) fn place_at(args: Args<'_>, index: usize) -> Result<Place, CommandError> {
    let degrees = |index| text::parse_f64(args.at(index)).ok_or(CommandError::NotFloat);
    let place = Place { longitude: degrees(index)?, latitude: degrees(index + 1)? };
    if place.is_on_map() {
        return Ok(place);
    }
    let Place { longitude, latitude } = place;
    Err(CommandError::owned(format!(
        "ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"
    )))
}

/// A distance as all replies have it: four digits behind the point.
pub(super) fn reply_distance(reply: &mut Reply<'_>, distance: f64) {
    reply.bulk(&digits_of(distance));
}

fn digits_of(distance: f64) -> Vec<u8> {
    let mut digits = Vec::with_capacity(24);
    let scaled = distance * 10_000.0;
    if !(0.0..1e12).contains(&scaled) {
        digits.extend_from_slice(format!("{distance:.4}").as_bytes());
        return digits;
    }
    // Upstream's rounding: of the product, which may be a tie where the distance is none.
    let rounded = scaled.round_ties_even() as u64;
    text::push_u64(&mut digits, rounded / 10_000);
    digits.push(b'.');
    for power in [1000, 100, 10, 1] {
        digits.push(b'0' + (rounded / power % 10) as u8);
    }
    digits
}

/// Longitude and latitude, each with all the digits that tell it.
pub(super) fn reply_place(reply: &mut Reply<'_>, place: Place) {
    let mut digits = Vec::with_capacity(24);
    reply.array(2);
    for degrees in [place.longitude, place.latitude] {
        digits.clear();
        LongDouble::from(degrees).push(&mut digits);
        reply.double_text(&digits);
    }
}

fn geoadd(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (mut new_only, mut known_only, mut count_moved) = (false, false, false);
    let mut first = 2;
    while first < args.len() {
        let option = match () {
            () if args.is(first, "NX") => &mut new_only,
            () if args.is(first, "XX") => &mut known_only,
            () if args.is(first, "CH") => &mut count_moved,
            () => break,
        };
        *option = true;
        first += 1;
    }
    let words = args.len() - first;
    if words == 0 || !words.is_multiple_of(3) || new_only && known_only {
        return Err(CommandError::Syntax);
    }
    let members = (first..args.len()).step_by(3);
    for at in members.clone() {
        place_at(args, at)?;
    }
    let thresholds = &cx.limits.thresholds;
    let (mut added, mut moved) = (0, 0);
    cx.databases.db(cx.selected).edit(args.at(1), Event::ZADD, |zset: &mut Zset| {
        if zset.is_empty() {
            *zset = Zset::for_members(words / 3, args.at(first + 2).len(), thresholds);
        }
        for at in members {
            let member = args.at(at + 2);
            let refused = (new_only || known_only) && zset.score(member).is_some() == new_only;
            let Ok(place) = place_at(args, at) else { continue };
            if refused {
                continue;
            }
            match zset.put(member, place.score(), thresholds) {
                Put::Added => added += 1,
                Put::Moved => moved += 1,
                Put::Same => {}
            }
        }
        Changed::count(added + moved, ())
    })?;
    cx.reply.count(if count_moved { added + moved } else { added });
    Ok(Flow::Done)
}

fn geodist(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let metres = match args.len() {
        4 => 1.0,
        5 => unit_at(args, 4)?,
        _ => return Err(CommandError::Syntax),
    };
    let places = cx.databases.db(cx.selected).read_as::<Zset>(args.at(1))?.and_then(|zset| {
        let place = |index| zset.score(args.at(index)).map(Place::of_score);
        Some((place(2)?, place(3)?))
    });
    match places {
        Some((from, to)) => reply_distance(&mut cx.reply, from.distance(to) / metres),
        None => cx.reply.null(),
    }
    Ok(Flow::Done)
}

/// Replies with something about the place of each member named.
fn each_member(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    answer: fn(&mut Reply<'_>, Option<Place>),
) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    let zset = db.read_as::<Zset>(args.at(1))?;
    cx.reply.array(args.len() - 2);
    for member in args.from(2) {
        let score = zset.as_ref().and_then(|zset| zset.score(member));
        answer(&mut cx.reply, score.map(Place::of_score));
    }
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::digits_of;

    #[test]
    fn a_distance_has_four_digits() {
        for distance in [0.0, 1.0, 0.99996, 166_274.151_56, 2e7, 1e13, 0.1 + 0.2] {
            let expected = format!("{distance:.4}");
            assert_eq!(String::from_utf8(digits_of(distance)).unwrap(), expected);
        }
        // Upstream rounds the product, here a tie; the number is a little less.
        assert_eq!(digits_of(8_822_366.515_95), b"8822366.5160");
        assert_eq!(format!("{:.4}", 8_822_366.515_95), "8822366.5159");
    }
}
