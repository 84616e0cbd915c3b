//! SORT and `SORT_RO`: the elements of a list, set or sorted set in an order that may come from other
//! keys, and what other keys say of them.
//!
//! A pattern with an asterisk names a key for each element: the element takes the asterisk's place.
//! `key->field` names a field of the hash at that key. The pattern `#` is the element itself.
//!
//! Texts that aren't stored are compared up to a zero byte, as upstream's C library compares them in
//! the C locale. Deliberately absent: other locales.

use std::cmp::Ordering;
use std::ops::Range;

use crate::base::text;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::{CommandError, quotable};
use crate::command::spec::{
    Arity::AtLeast, Begin, Command, DataHandler, Find, Flags, Flow, Key, read, write,
};
use crate::data::element::Element;
use crate::data::hash::Hash;
use crate::data::list::ListBuilder;
use crate::data::value::{NewValue, Object, ValueRef};
use crate::keyspace::databases::{Db, Expiry};
use crate::keyspace::unit::Event;

/// Commands that sort.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    sorter(write("SORT", AtLeast(2), |cx, args| sort(cx, args, true)))
        .flags(Flags::DENYOOM)
        .keys(&[SORTED, DERIVED, STORED])
        .since("1.0.0")
        .syntax(
            "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC|DESC] \
             [ALPHA]:sorting [STORE destination]",
        )
        .summary("Sorts the elements of a list, set or sorted set, and may store the result."),
    sorter(read("SORT_RO", AtLeast(2), |cx, args| sort(cx, args, false)))
        .keys(&[SORTED, DERIVED])
        .since("7.0.0")
        .syntax(
            "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC|DESC] \
             [ALPHA]:sorting",
        )
        .summary("Sorts the elements of a list, set or sorted set, without a place to store."),
];

const fn sorter(row: Command<DataHandler>) -> Command<DataHandler> {
    row.flags(Flags::DANGEROUS)
        .categories(&["set", "sortedset", "list"])
        .cost("O(N+M*log(N)) for N elements of which M are returned; O(N) where none are compared")
}

const SORTED: Key = Key::at(1).ro().access();
const UNKNOWN: Key = Key { begin: Begin::Unknown, find: Find::Unknown, ..Key::at(0) };
const DERIVED: Key = UNKNOWN.ro().access().notes(
    "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the \
     content of the key we sort",
);
const STORED: Key = UNKNOWN.ow().update().notes(
    "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere \
     in the argument array",
);

/// What is asked for.
#[derive(Default)]
struct Options<'a> {
    /// The pattern of the keys that give the order.
    by: Option<&'a [u8]>,
    /// Whether a pattern without an asterisk was given: the order stays as it is.
    unsorted: bool,
    get: Vec<&'a [u8]>,
    offset: i64,
    /// How many elements, all where negative.
    count: i64,
    alphabetic: bool,
    descending: bool,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>, may_store: bool) -> Result<Self, CommandError> {
        let mut options = Self { count: -1, ..Self::default() };
        let mut index = 2;
        while index < args.len() {
            let left = args.len() - index - 1;
            if args.is(index, "ASC") {
                options.descending = false;
            } else if args.is(index, "DESC") {
                options.descending = true;
            } else if args.is(index, "ALPHA") {
                options.alphabetic = true;
            } else if args.is(index, "LIMIT") && left >= 2 {
                (options.offset, options.count) = (args.int(index + 1)?, args.int(index + 2)?);
                index += 2;
            } else if may_store && args.is(index, "STORE") && left >= 1 {
                options.store = Some(args.at(index + 1));
                index += 1;
            } else if args.is(index, "BY") && left >= 1 {
                let pattern = args.at(index + 1);
                options.by = Some(pattern);
                options.unsorted |= asterisk(pattern).is_none();
                index += 1;
            } else if args.is(index, "GET") && left >= 1 {
                options.get.push(args.at(index + 1));
                index += 1;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        Ok(options)
    }

    /// Which of `len` elements are asked for.
    fn range(&self, len: usize) -> Range<usize> {
        let start = usize::try_from(self.offset).unwrap_or(0).min(len);
        let count = usize::try_from(self.count).unwrap_or(len);
        start..start.saturating_add(count).min(len)
    }
}

/// What elements are compared by.
enum Weight {
    Number(f64),
    /// Nothing where the element's key has nothing.
    Text(Option<Vec<u8>>),
}

struct Sortable {
    element: Vec<u8>,
    weight: Weight,
}

fn sort(cx: &mut Cx<'_>, args: Args<'_>, may_store: bool) -> Result<Flow, CommandError> {
    let mut options = Options::parse(args, may_store)?;
    let mut db = cx.databases.db(cx.selected);
    let Loaded { mut elements, order } = load(&mut db, args.at(1), &options)?;
    if order == Order::Chosen {
        options.offset = 0;
    } else if !options.unsorted || options.store.is_some() || cx.in_script {
        if options.unsorted {
            // What is stored, and what a script sees, must not depend on a set's inner order.
            (options.by, options.alphabetic) = (None, true);
        }
        elements = sorted(&mut db, elements, &options, order)?;
    }
    let chosen = &elements[options.range(elements.len())];
    match options.store {
        Some(destination) => store(cx, destination, chosen, &options),
        None => reply(cx, chosen, &options),
    }
    Ok(Flow::Done)
}

/// What the order of elements means before they are sorted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// They are in the order asked for, and only those asked for are there.
    Chosen,
    /// It decides between equal ones.
    Given,
    /// Nothing.
    Arbitrary,
}

/// The elements at a key.
struct Loaded {
    elements: Vec<Vec<u8>>,
    order: Order,
}

fn load(db: &mut Db<'_>, key: &[u8], options: &Options<'_>) -> Result<Loaded, CommandError> {
    let Some(entry) = db.read(key) else {
        return Ok(Loaded { elements: Vec::new(), order: Order::Given });
    };
    let ValueRef::Object(object) = entry.value() else { return Err(CommandError::WrongType) };
    let order = match &*object {
        Object::Set(_) => Order::Arbitrary,
        _ if options.unsorted => Order::Chosen,
        _ => Order::Given,
    };
    let range = match order {
        Order::Chosen => options.range(object.len()),
        _ => 0..object.len(),
    };
    // From the end on where that is asked for and nothing is going to be sorted.
    let backward = order == Order::Chosen && options.descending && !range.is_empty();
    let (first, count) = (range.start, range.len());
    let last = object.len().saturating_sub(1 + first);
    let elements = match &*object {
        Object::List(list) if backward => owned(list.iter_back_from(last).take(count)),
        Object::List(list) => owned(list.iter_from(first).take(count)),
        Object::Zset(zset) if backward => {
            owned(zset.iter_back_from(last).take(count).map(|(member, _)| member))
        }
        Object::Zset(zset) => owned(zset.iter_from(first).take(count).map(|(member, _)| member)),
        Object::Set(set) => owned(set.iter()),
        Object::Hash(_) | Object::Stream(_) => return Err(CommandError::WrongType),
    };
    Ok(Loaded { elements, order })
}

fn owned<'a>(elements: impl Iterator<Item = Element<'a>>) -> Vec<Vec<u8>> {
    elements.map(Element::to_vec).collect()
}

fn sorted(
    db: &mut Db<'_>,
    elements: Vec<Vec<u8>>,
    options: &Options<'_>,
    before: Order,
) -> Result<Vec<Vec<u8>>, CommandError> {
    let stored = options.store.is_some();
    let mut all_numbers = true;
    let mut sortables: Vec<Sortable> = Vec::with_capacity(elements.len());
    for element in elements {
        let weight = match (options.by, options.alphabetic) {
            (None, true) => Weight::Text(None),
            (Some(pattern), true) => Weight::Text(look_up(db, pattern, &element)),
            (by, false) => {
                let text = match by {
                    Some(pattern) => look_up(db, pattern, &element),
                    None => Some(element.clone()),
                };
                // An element whose key isn't there weighs nothing.
                let number = text.map_or(Some(0.0), |text| number_of(&text));
                all_numbers &= number.is_some();
                Weight::Number(number.unwrap_or(0.0))
            }
        };
        sortables.push(Sortable { element, weight });
    }
    if !all_numbers {
        return Err(CommandError::text("ERR One or more scores can't be converted into double"));
    }
    let by_key = options.by.is_some();
    sortables.sort_by(|a, b| {
        let order = match (&a.weight, &b.weight) {
            (Weight::Number(x), Weight::Number(y)) => {
                x.partial_cmp(y).unwrap_or(Ordering::Equal).then_with(|| a.element.cmp(&b.element))
            }
            (Weight::Text(x), Weight::Text(y)) if by_key => {
                let by_weight = match (x, y) {
                    (Some(x), Some(y)) => compare_texts(x, y, stored),
                    _ => x.is_some().cmp(&y.is_some()),
                };
                match before {
                    Order::Arbitrary => by_weight.then_with(|| a.element.cmp(&b.element)),
                    _ => by_weight,
                }
            }
            _ => compare_texts(&a.element, &b.element, stored),
        };
        if options.descending { order.reverse() } else { order }
    });
    Ok(sortables.into_iter().map(|sortable| sortable.element).collect())
}

fn compare_texts(a: &[u8], b: &[u8], whole: bool) -> Ordering {
    if whole { a.cmp(b) } else { quotable(a).cmp(quotable(b)) }
}

/// The number that a text spells for C's `strtod`: spaces may stand before it, and nothing at all is
/// zero.
fn number_of(bytes: &[u8]) -> Option<f64> {
    let text = quotable(bytes);
    if text.is_empty() {
        return Some(0.0);
    }
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let start = text.iter().position(|byte| !is_space(byte))?;
    text::parse_f64(&text[start..])
}

/// Where a pattern's asterisk is.
fn asterisk(pattern: &[u8]) -> Option<usize> {
    quotable(pattern).iter().position(|byte| *byte == b'*')
}

/// What a pattern says of an element.
fn look_up(db: &mut Db<'_>, pattern: &[u8], element: &[u8]) -> Option<Vec<u8>> {
    if pattern == b"#" {
        return Some(element.to_vec());
    }
    let (before, rest) = pattern.split_at(asterisk(pattern)?);
    let rest = &rest[1..];
    let arrow = rest.windows(2).position(|pair| pair == b"->").filter(|at| at + 2 < rest.len());
    let (behind, field) = match arrow {
        Some(at) => (&rest[..at], Some(&rest[at + 2..])),
        None => (rest, None),
    };
    let key = [before, element, behind].concat();
    match field {
        Some(field) => {
            let hash = db.read_as::<Hash>(&key).ok()??;
            hash.get(field).map(|value| value.to_vec())
        }
        None => match db.read_string(&key).ok()?? {
            ValueRef::Str(bytes) => Some(bytes.to_vec()),
            ValueRef::Int(number) => Some(itoa::Buffer::new().format(number).as_bytes().to_vec()),
            ValueRef::Object(_) => None,
        },
    }
}

fn reply(cx: &mut Cx<'_>, chosen: &[Vec<u8>], options: &Options<'_>) {
    cx.reply.array(chosen.len() * options.get.len().max(1));
    for element in chosen {
        if options.get.is_empty() {
            cx.reply.bulk(element);
        }
        for pattern in &options.get {
            match look_up(&mut cx.databases.db(cx.selected), pattern, element) {
                Some(found) => cx.reply.bulk(&found),
                None => cx.reply.null(),
            }
        }
    }
}

fn store(cx: &mut Cx<'_>, destination: &[u8], chosen: &[Vec<u8>], options: &Options<'_>) {
    let thresholds = &cx.limits.thresholds;
    let mut db = cx.databases.db(cx.selected);
    let mut list = ListBuilder::default();
    for element in chosen {
        if options.get.is_empty() {
            list.element(element, thresholds);
        }
        for pattern in &options.get {
            let found = look_up(&mut db, pattern, element);
            list.element(&found.unwrap_or_default(), thresholds);
        }
    }
    let list = list.finish(thresholds);
    let len = list.len();
    if len == 0 {
        db.remove(destination, cx.limits.lazy_user_del, Event::DEL);
    } else {
        let value = NewValue::Object(Object::List(list));
        db.put(destination, value, Expiry::Clear, Event::SORTSTORE);
        // Each element counts as a change, and putting the list was one.
        cx.databases.unit.changes += len as u64 - 1;
    }
    cx.reply.count(len);
}

#[cfg(test)]
mod tests {
    use super::{asterisk, number_of};

    #[test]
    fn numbers_are_read_as_c_does() {
        for (text, number) in [
            ("", Some(0.0)),
            (" 5", Some(5.0)),
            ("1e3", Some(1000.0)),
            ("0x10", Some(16.0)),
            ("7\0junk", Some(7.0)),
            ("5 ", None),
            (" ", None),
            ("five", None),
            ("nan", None),
        ] {
            assert_eq!(number_of(text.as_bytes()), number, "{text}");
        }
        assert_eq!(number_of(b"-inf"), Some(f64::NEG_INFINITY));
    }

    #[test]
    fn an_asterisk_behind_a_zero_byte_is_none() {
        assert_eq!(asterisk(b"w_*->f*"), Some(2));
        assert_eq!(asterisk(b"w\0*"), None);
    }
}
