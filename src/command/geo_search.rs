//! Searches for places: GEOSEARCH and its older forms, replying with what they find or storing it.
//!
//! A search walks the scores of the few cells that cover its shape. Of each place that is inside, it
//! keeps where its member is; members are looked up for the reply, after sorting and COUNT.

use crate::base::text;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::geo::{place_at, reply_distance, reply_place, unit_at};
use crate::command::spec::{
    Arity::AtLeast, Command, DataHandler, Flags, Flow, Group, Key, read, write,
};
use crate::command::zset::READ;
use crate::command::zset_range::store;
use crate::data::geo::Place;
use crate::data::geo::shape::{Outline, Shape};
use crate::data::thresholds::Thresholds;
use crate::data::zset::{Unread, Zset};
use crate::keyspace::unit::Event;
use crate::resp::reply::Reply;

/// Commands that search.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    searching(read("GEOSEARCH", AtLeast(7), |cx, args| search(cx, args, Form::Search)))
        .keys(READ)
        .since("6.2.0")
        .syntax(
            "key <FROMMEMBER member|FROMLONLAT longitude:double latitude:double>:from <<<BYRADIUS \
             radius:double> <M|KM|FT|MI>:unit>:circle|<<BYBOX width:double> height:double \
             <M|KM|FT|MI>:unit>:box|<<BYPOLYGON num-vertices:integer> <longitude:double \
             latitude:double [longitude:double latitude:double ...]>:vertices>:polygon>:by \
             [ASC|DESC] [COUNT count [ANY]]:count [WITHCOORD] [WITHDIST] [WITHHASH]",
        )
        .summary("Replies with the members whose places are in a circle, a box or a polygon.")
        .history(&[
            ("7.0.0", "Takes units in capitals, too."),
            ("9.0.0", "Searches in polygons: `BYPOLYGON` (of Valkey)."),
        ]),
    searching(write("GEOSEARCHSTORE", AtLeast(8), |cx, args| search(cx, args, Form::Store)))
        .flags(Flags::DENYOOM)
        .keys(&[Key::at(1).ow().update(), Key::at(2).ro().access()])
        .since("6.2.0")
        .syntax(
            "destination source <FROMMEMBER member|FROMLONLAT longitude:double latitude:double>:from \
             <<<BYRADIUS radius:double> <M|KM|FT|MI>:unit>:circle|<<BYBOX width:double> \
             height:double <M|KM|FT|MI>:unit>:box|<<BYPOLYGON num-vertices:integer> \
             <longitude:double latitude:double [longitude:double latitude:double \
             ...]>:vertices>:polygon>:by [ASC|DESC] [COUNT count [ANY]]:count [STOREDIST]",
        )
        .summary("Stores the members whose places are in a circle, a box or a polygon.")
        .history(&[
            ("7.0.0", "Takes units in capitals, too."),
            ("9.0.0", "Searches in polygons: `BYPOLYGON` (of Valkey)."),
        ]),
    searching(write("GEORADIUS", AtLeast(6), |cx, args| search(cx, args, Form::Radius)))
        .flags(Flags::DENYOOM)
        .keys(&[
            Key::at(1).ro().access(),
            Key::after("STORE", 6).ow().update(),
            Key::after("STOREDIST", 6).ow().update(),
        ])
        .since("3.2.0")
        .deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument")
        .syntax(
            "key longitude:double latitude:double radius:double <M|KM|FT|MI>:unit [WITHCOORD] \
             [WITHDIST] [WITHHASH] [COUNT count [ANY]]:count [ASC|DESC] [STORE key] [STOREDIST key]",
        )
        .summary("Replies with or stores the members whose places are in a circle around a place.")
        .history(&[
            ("6.2.0", "Takes whatever it finds first: `ANY`."),
            ("7.0.0", "Takes units in capitals, too."),
        ]),
    searching(read("GEORADIUS_RO", AtLeast(6), |cx, args| search(cx, args, Form::RadiusOnly)))
        .keys(READ)
        .since("3.2.10")
        .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument")
        .syntax(
            "key longitude:double latitude:double radius:double <M|KM|FT|MI>:unit [WITHCOORD] \
             [WITHDIST] [WITHHASH] [COUNT count [ANY]]:count [ASC|DESC]",
        )
        .summary("Replies with the members whose places are in a circle around a place.")
        .history(&[("6.2.0", "Takes whatever it finds first: `ANY`.")]),
    searching(write("GEORADIUSBYMEMBER", AtLeast(5), |cx, args| search(cx, args, Form::Member)))
        .flags(Flags::DENYOOM)
        .keys(&[
            Key::at(1).ro().access(),
            Key::after("STORE", 5).ow().update(),
            Key::after("STOREDIST", 5).ow().update(),
        ])
        .since("3.2.0")
        .deprecated(
            "6.2.0",
            "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
        )
        .syntax(
            "key member radius:double <M|KM|FT|MI>:unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT \
             count [ANY]]:count [ASC|DESC] [STORE key] [STOREDIST key]",
        )
        .summary("Replies with or stores the members whose places are in a circle around another's.")
        .history(&[("7.0.0", "Takes units in capitals, too.")]),
    searching(read("GEORADIUSBYMEMBER_RO", AtLeast(5), |cx, args| {
        search(cx, args, Form::MemberOnly)
    }))
    .keys(READ)
    .since("3.2.10")
    .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments")
    .syntax(
        "key member radius:double <M|KM|FT|MI>:unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count \
         [ANY]]:count [ASC|DESC]",
    )
    .summary("Replies with the members whose places are in a circle around another's."),
];

const DEVIATIONS: &[&str] = &[
    "of members that are equally far away `COUNT` takes those that were found first; upstream's sort \
     takes any",
    "a polygon that is wide, or near a pole, has all the places inside of it, of which Valkey misses \
     some",
];

const fn searching(row: Command<DataHandler>) -> Command<DataHandler> {
    row.group(Group::Geo)
        .cost("O(N+log(M)) for N members in the cells around the shape, of M in the set")
        .deviates(DEVIATIONS)
}

/// Which arguments say what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// GEOSEARCH: options say everything.
    Search,
    /// GEOSEARCHSTORE: the same behind the destination.
    Store,
    /// GEORADIUS: a circle around a place; an option stores.
    Radius,
    /// `GEORADIUS_RO`.
    RadiusOnly,
    /// GEORADIUSBYMEMBER: a circle around a member's place.
    Member,
    /// `GEORADIUSBYMEMBER_RO`.
    MemberOnly,
}

impl Form {
    /// The argument that names the set.
    fn source(self) -> usize {
        if self == Self::Store { 2 } else { 1 }
    }

    /// Where the options begin.
    fn options(self) -> usize {
        match self {
            Self::Search => 2,
            Self::Store => 3,
            Self::Radius | Self::RadiusOnly => 6,
            Self::Member | Self::MemberOnly => 5,
        }
    }

    /// Whether options say what is searched.
    fn is_open(self) -> bool {
        matches!(self, Self::Search | Self::Store)
    }

    /// Whether an option says where the result is stored.
    fn may_store(self) -> bool {
        matches!(self, Self::Radius | Self::Member)
    }
}

/// Around what is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Middle {
    Unsaid,
    Place(Place),
    /// A member's place.
    Member(Place),
    /// The place of a member of a set that isn't there.
    Nowhere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// As found.
    Found,
    Nearest,
    Farthest,
}

/// What is asked for.
struct Request<'a> {
    middle: Middle,
    outline: Option<Outline>,
    /// The unit of distances, in metres.
    unit: f64,
    order: Order,
    /// How many members at most; 0 for all.
    count: usize,
    /// The first ones found will do.
    any: bool,
    with_distance: bool,
    with_hash: bool,
    with_place: bool,
    /// Where the result is stored.
    destination: Option<&'a [u8]>,
    /// Distances are stored as scores.
    store_distances: bool,
}

impl<'a> Request<'a> {
    fn parse(args: Args<'a>, form: Form, zset: Option<&Zset>) -> Result<Self, CommandError> {
        let mut request = Self {
            middle: Middle::Unsaid,
            outline: None,
            unit: 1.0,
            order: Order::Found,
            count: 0,
            any: false,
            with_distance: false,
            with_hash: false,
            with_place: false,
            destination: (form == Form::Store).then(|| args.at(1)),
            store_distances: false,
        };
        match form {
            Form::Search | Form::Store => {}
            Form::Radius | Form::RadiusOnly => {
                request.middle = Middle::Place(place_at(args, 2)?);
                request.circle(args, 4)?;
            }
            Form::Member | Form::MemberOnly => {
                request.middle = member_place(zset, args.at(2))?;
                if zset.is_some() {
                    request.circle(args, 3)?;
                }
            }
        }
        let mut at = form.options();
        while at < args.len() {
            at += match request.plain_option(args, at, form)? {
                0 => request.shape_option(args, at, form, zset)?,
                words => words,
            };
        }
        request.check(args, form)?;
        if request.count > 0 && request.order == Order::Found && !request.any {
            // So many at most means the nearest.
            request.order = Order::Nearest;
        }
        Ok(request)
    }

    /// Reads an option that all forms have, or of where to store; says how many words it has, 0 where it
    /// is none of them.
    fn plain_option(
        &mut self,
        args: Args<'a>,
        at: usize,
        form: Form,
    ) -> Result<usize, CommandError> {
        let left = args.len() - at - 1;
        match () {
            () if args.is(at, "WITHDIST") => self.with_distance = true,
            () if args.is(at, "WITHHASH") => self.with_hash = true,
            () if args.is(at, "WITHCOORD") => self.with_place = true,
            () if args.is(at, "ANY") => self.any = true,
            () if args.is(at, "ASC") => self.order = Order::Nearest,
            () if args.is(at, "DESC") => self.order = Order::Farthest,
            () if args.is(at, "COUNT") && left >= 1 => {
                let count = args.int(at + 1)?;
                if count <= 0 {
                    return Err(CommandError::text("ERR COUNT must be > 0"));
                }
                self.count = usize::try_from(count).unwrap_or(usize::MAX);
                return Ok(2);
            }
            () if form == Form::Store && args.is(at, "STOREDIST") => self.store_distances = true,
            () if form.may_store() && left >= 1 => {
                self.store_distances = match () {
                    () if args.is(at, "STORE") => false,
                    () if args.is(at, "STOREDIST") => true,
                    () => return Ok(0),
                };
                self.destination = Some(args.at(at + 1));
                return Ok(2);
            }
            () => return Ok(0),
        }
        Ok(1)
    }

    /// Reads an option that says what is searched; says how many words it has.
    fn shape_option(
        &mut self,
        args: Args<'a>,
        at: usize,
        form: Form,
        zset: Option<&Zset>,
    ) -> Result<usize, CommandError> {
        let left = if form.is_open() { args.len() - at - 1 } else { 0 };
        let is_polygon = matches!(self.outline, Some(Outline::Polygon(_)));
        let from_member = matches!(self.middle, Middle::Member(_) | Middle::Nowhere);
        let from_place = matches!(self.middle, Middle::Place(_));
        if left >= 1 && args.is(at, "FROMMEMBER") && !from_place && !is_polygon {
            self.middle = member_place(zset, args.at(at + 1))?;
            return Ok(2);
        }
        if left >= 2 && args.is(at, "FROMLONLAT") && !from_member && !is_polygon {
            self.middle = Middle::Place(place_at(args, at + 1)?);
            return Ok(3);
        }
        match (&self.outline, left) {
            (None | Some(Outline::Circle(_)), 2..) if args.is(at, "BYRADIUS") => {
                self.circle(args, at + 1)?;
                Ok(3)
            }
            (None | Some(Outline::Box { .. }), 3..) if args.is(at, "BYBOX") => {
                self.rectangle(args, at + 1)?;
                Ok(4)
            }
            (None | Some(Outline::Polygon(_)), 1..)
                if args.is(at, "BYPOLYGON") && self.middle == Middle::Unsaid =>
            {
                self.polygon(args, at + 1)
            }
            _ => Err(CommandError::Syntax),
        }
    }

    fn circle(&mut self, args: Args<'_>, at: usize) -> Result<(), CommandError> {
        let radius =
            text::parse_f64(args.at(at)).ok_or(CommandError::text("ERR need numeric radius"))?;
        if radius < 0.0 {
            return Err(CommandError::text("ERR radius cannot be negative"));
        }
        self.unit = unit_at(args, at + 1)?;
        self.outline = Some(Outline::Circle(radius * self.unit));
        Ok(())
    }

    fn rectangle(&mut self, args: Args<'_>, at: usize) -> Result<(), CommandError> {
        let number = |at, error| text::parse_f64(args.at(at)).ok_or(CommandError::text(error));
        let width = number(at, "ERR need numeric width")?;
        let height = number(at + 1, "ERR need numeric height")?;
        if width < 0.0 || height < 0.0 {
            return Err(CommandError::text("ERR height or width cannot be negative"));
        }
        self.unit = unit_at(args, at + 2)?;
        self.outline = Some(Outline::Box { width: width * self.unit, height: height * self.unit });
        Ok(())
    }

    fn polygon(&mut self, args: Args<'_>, at: usize) -> Result<usize, CommandError> {
        let corners = text::parse_i64(args.at(at))
            .filter(|count| i32::try_from(*count).is_ok())
            .ok_or(CommandError::text("ERR invalid number of vertices"))?;
        let corners = usize::try_from(corners).unwrap_or(0);
        if corners < 3 || args.len() - at - 1 < 2 * corners {
            return Err(CommandError::text(
                "ERR GEOSEARCH BYPOLYGON must have at least 3 vertices",
            ));
        }
        let places = (0..corners).map(|corner| place_at(args, at + 1 + 2 * corner));
        self.outline = Some(Outline::Polygon(places.collect::<Result<_, _>>()?));
        Ok(2 + 2 * corners)
    }

    /// What options together must and must not say.
    fn check(&self, args: Args<'_>, form: Form) -> Result<(), CommandError> {
        let detailed = self.with_distance || self.with_hash || self.with_place;
        if self.destination.is_some() && detailed {
            return Err(CommandError::text(if form == Form::Store {
                "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            } else {
                "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and \
                 WITHCOORD options"
            }));
        }
        let one_of = |words: &str| {
            let start = format!("ERR exactly one of {words} can be specified for ");
            CommandError::quoting([start.as_bytes(), args.at(0)].concat())
        };
        let is_polygon = matches!(self.outline, Some(Outline::Polygon(_)));
        if form.is_open() && self.middle == Middle::Unsaid && !is_polygon {
            return Err(one_of("FROMMEMBER or FROMLONLAT"));
        }
        if form.is_open() && self.outline.is_none() {
            return Err(one_of("BYRADIUS and BYBOX"));
        }
        if self.any && self.count == 0 {
            return Err(CommandError::text("ERR the ANY argument requires COUNT argument"));
        }
        Ok(())
    }

    /// What is searched, where there is such a place.
    fn shape(&mut self) -> Option<Shape> {
        match (self.outline.take()?, self.middle) {
            (Outline::Polygon(corners), _) => Some(Shape::polygon(corners)),
            (outline, Middle::Place(place) | Middle::Member(place)) => {
                Some(Shape::around(place, outline))
            }
            (_, Middle::Unsaid | Middle::Nowhere) => None,
        }
    }
}

/// The place of a member.
fn member_place(zset: Option<&Zset>, member: &[u8]) -> Result<Middle, CommandError> {
    let Some(zset) = zset else { return Ok(Middle::Nowhere) };
    let score = zset.score(member);
    let score = score.ok_or(CommandError::text("ERR could not decode requested zset member"))?;
    Ok(Middle::Member(Place::of_score(score)))
}

/// A member whose place is inside.
struct Found<'a> {
    member: Unread<'a>,
    score: f64,
    /// From the shape's middle, in metres.
    distance: f64,
    /// Among those found, so that equal distances have an order.
    number: usize,
}

/// The members inside of a shape, no more than `limit` where that isn't 0.
fn find<'a>(zset: &'a Zset, shape: &Shape, limit: usize) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    for cell in shape.cells() {
        let (low, high) = cell.scores();
        for (member, score) in zset.within(low, high) {
            let Some(distance) = shape.distance(Place::of_score(score)) else { continue };
            found.push(Found { member, score, distance, number: found.len() });
            if found.len() == limit {
                return found;
            }
        }
    }
    found
}

/// Leaves the first `count` in an order.
fn sort(found: &mut Vec<Found<'_>>, order: Order, count: usize) {
    let compare = |a: &Found<'_>, b: &Found<'_>| {
        let nearer = a.distance.total_cmp(&b.distance);
        let by_distance = if order == Order::Farthest { nearer.reverse() } else { nearer };
        by_distance.then(a.number.cmp(&b.number))
    };
    if order != Order::Found {
        if count < found.len() {
            found.select_nth_unstable_by(count, compare);
            found.truncate(count);
        }
        found.sort_unstable_by(compare);
    }
    found.truncate(count);
}

fn search(cx: &mut Cx<'_>, args: Args<'_>, form: Form) -> Result<Flow, CommandError> {
    let thresholds = &cx.limits.thresholds;
    let mut db = cx.databases.db(cx.selected);
    let zset = db.read_as::<Zset>(args.at(form.source()))?;
    let mut request = Request::parse(args, form, zset.as_deref())?;
    let mut found = match (&zset, request.shape()) {
        (Some(zset), Some(shape)) => {
            find(zset, &shape, if request.any { request.count } else { 0 })
        }
        _ => Vec::new(),
    };
    let count = if request.count == 0 { found.len() } else { request.count.min(found.len()) };
    sort(&mut found, request.order, count);
    let Some(destination) = request.destination else {
        reply_found(&mut cx.reply, &found, &request);
        return Ok(Flow::Done);
    };
    let found_count = found.len() as u64;
    let result = collect(&found, &request, thresholds);
    let event = if form == Form::Store { Event::GEOSEARCHSTORE } else { Event::GEORADIUSSTORE };
    store(cx, destination, result, event);
    // Each member counts as a change, as upstream counts; the key has counted as one.
    cx.databases.unit.changes += found_count.saturating_sub(1);
    Ok(Flow::Done)
}

fn reply_found(reply: &mut Reply<'_>, found: &[Found<'_>], request: &Request<'_>) {
    let details = [request.with_distance, request.with_hash, request.with_place];
    let details = details.into_iter().filter(|wanted| *wanted).count();
    reply.array(found.len());
    for one in found {
        if details > 0 {
            reply.array(1 + details);
        }
        reply.element(one.member.element());
        if request.with_distance {
            reply_distance(reply, one.distance / request.unit);
        }
        if request.with_hash {
            reply.int(one.score as i64);
        }
        if request.with_place {
            reply_place(reply, Place::of_score(one.score));
        }
    }
}

/// What was found as a sorted set.
fn collect(found: &[Found<'_>], request: &Request<'_>, thresholds: &Thresholds) -> Zset {
    let longest = found.iter().map(|one| one.member.element().len()).max().unwrap_or(0);
    let mut result = Zset::for_members(found.len(), longest, thresholds);
    for one in found {
        let score = if request.store_distances { one.distance / request.unit } else { one.score };
        one.member.element().with_bytes(|bytes| result.put(bytes, score, thresholds));
    }
    result
}
