//! A sorted set: members, each with a score, in the order of scores and, where those are equal, of
//! the members' bytes.
//!
//! ```text
//! Packed   member, score, ... in order      a listpack                 OBJECT ENCODING listpack
//! Big      an index over an arena, and      skiplist, as upstream calls it
//!          the order in a [`tree`]
//! ```
//!
//! Everything by order is said in ranks: a bound is first turned into the rank of what is behind it
//! ([`Zset::position`]), and ranges are read and removed by rank. Scores are never NaN.

mod nodes;
pub(crate) mod tree;

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::fmt;

use crate::base::env::Rng;
use crate::base::text;
use crate::data::element::Element;
use crate::data::index::{self, Body, Handle, Room, Shape, Table};
use crate::data::listpack::{self, Cursor, Listpack};
use crate::data::thin::{Boxed, forms};
use crate::data::thresholds::Thresholds;
use crate::data::zset::tree::{Ranked, Tree};

/// A sorted set.
#[derive(Clone)]
pub enum Zset {
    /// Members and scores in one block.
    Packed(Listpack),
    /// Too big for a block.
    Big(Boxed<Big>),
}

forms!(Zset { Packed = 0, Big = 1 });

/// What putting a member did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is new.
    Added,
    /// It has another score now.
    Moved,
    /// It had that score already.
    Same,
}

/// Elements of a member in a listpack.
const PAIR: usize = 2;

impl Default for Zset {
    fn default() -> Self {
        Self::Packed(Listpack::new())
    }
}

/// The score that an element of a listpack tells.
#[inline]
fn score_of(element: Element<'_>) -> f64 {
    match element {
        Element::Int(number) => number as f64,
        Element::Bytes(bytes) => text::parse_f64(bytes).unwrap_or_default(),
    }
}

/// Whole numbers up to this magnitude (2^52) are held as integers in a listpack. So a negative zero
/// becomes a positive one there, as upstream's does.
const INTEGER_MAX: f64 = 4_503_599_627_370_496.0;

/// Scores first, then bytes.
#[inline]
fn compare(a: (f64, &[u8]), b: (f64, &[u8])) -> Ordering {
    a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(b.1))
}

impl Zset {
    /// An empty set in the form that suits so many members, the longest of so many bytes.
    pub(crate) fn for_members(count: usize, longest: usize, thresholds: &Thresholds) -> Self {
        if count <= thresholds.zset_entries && longest <= thresholds.zset_value {
            return Self::default();
        }
        Self::Big(Boxed::new(Big::default()))
    }

    /// Becomes a tree at once where one command brings more members than a listpack takes, be some of them
    /// there twice: as Redis 7.2 does it.
    pub(crate) fn expect(&mut self, count: usize, thresholds: &Thresholds) {
        if matches!(self, Self::Packed(_)) && count > thresholds.zset_entries {
            self.make_big();
        }
    }

    /// A set of members and scores by turns, none of which is there twice; in order unless
    /// `is_sorted` says otherwise.
    pub(crate) fn from_packed(pack: Listpack, is_sorted: bool, thresholds: &Thresholds) -> Self {
        let longest = pack.pairs().map(|(member, _)| member.len()).max().unwrap_or(0);
        let fits = pack.len() / PAIR <= thresholds.zset_entries && longest <= thresholds.zset_value;
        let set = Self::Packed(pack);
        if fits && is_sorted {
            return set;
        }
        let mut sorted = Self::for_members(set.len(), longest, thresholds);
        for (member, score) in &set {
            member.with_bytes(|bytes| sorted.put(bytes, score, thresholds));
        }
        sorted
    }

    /// How many members there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Packed(pack) => pack.len() / PAIR,
            Self::Big(big) => big.tree.len(),
        }
    }

    /// Whether there is none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Packed(pack) => pack.is_empty(),
            Self::Big(big) => big.tree.len() == 0,
        }
    }

    /// The name that OBJECT ENCODING replies.
    pub(crate) fn encoding(&self) -> &'static str {
        match self {
            Self::Packed(_) => "listpack",
            Self::Big(_) => "skiplist",
        }
    }

    /// Bytes of heap that the set owns. Costs the same for any size.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Packed(pack) => pack.heap_bytes(),
            Self::Big(big) => size_of::<Big>() + big.table.heap_bytes() + big.tree.heap_bytes(),
        }
    }

    /// Whether nothing more may be added: it is as large as it may get.
    #[inline]
    pub(crate) fn is_full(&self, room: Room) -> bool {
        matches!(self, Self::Big(big) if big.table.is_full(room))
    }

    /// Whether all members are in one block, so that walking over them costs next to nothing.
    #[inline]
    pub(crate) fn is_compact(&self) -> bool {
        matches!(self, Self::Packed(_))
    }

    /// The listpack of members and scores, where the set is one.
    pub(crate) fn as_packed(&self) -> Option<&Listpack> {
        match self {
            Self::Packed(pack) => Some(pack),
            Self::Big(_) => None,
        }
    }

    /// The score of a member.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Packed(pack) => {
                let at = pack.find(pack.first()?, member, PAIR)?;
                Some(score_of(pack.get(pack.next(at)?)))
            }
            Self::Big(big) => Some(big.table.get(member)?.score()),
        }
    }

    /// Puts a member with a score, new or not.
    pub fn put(&mut self, member: &[u8], score: f64, thresholds: &Thresholds) -> Put {
        debug_assert!(!score.is_nan(), "a score has its place in the order");
        match self {
            Self::Packed(pack) => {
                let found = pack.first().and_then(|first| pack.find(first, member, PAIR));
                if let Some(at) = found {
                    if pack.next(at).is_some_and(|at| score_of(pack.get(at)) == score) {
                        return Put::Same;
                    }
                    pack.remove(at, PAIR);
                    insert_packed(pack, member, score);
                    return Put::Moved;
                }
                let fits = pack.len() / PAIR < thresholds.zset_entries
                    && member.len() <= thresholds.zset_value
                    && pack.byte_len() + member.len() < listpack::BYTES_MAX;
                if fits {
                    insert_packed(pack, member, score);
                    return Put::Added;
                }
                self.make_big();
                self.put(member, score, thresholds)
            }
            Self::Big(big) => big.put(member, score),
        }
    }

    /// Removes a member, and gives its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Packed(pack) => {
                let at = pack.find(pack.first()?, member, PAIR)?;
                let score = score_of(pack.get(pack.next(at)?));
                pack.remove(at, PAIR);
                Some(score)
            }
            Self::Big(big) => big.remove(member),
        }
    }

    fn make_big(&mut self) {
        let mut big = Big::default();
        for (rank, (member, score)) in self.iter().enumerate() {
            let body = Body { score, ..Body::default() };
            let (handle, _) = member.with_bytes(|bytes| big.table.put(bytes, &body));
            big.tree.insert(rank, Ranked { score, handle });
        }
        *self = Self::Big(Boxed::new(big));
    }

    /// The rank of a member, from 0 for the first, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match self {
            Self::Packed(pack) => {
                for (rank, (found, score)) in pack.pairs().enumerate() {
                    if found.is(member) {
                        return Some((rank, score_of(score)));
                    }
                }
                None
            }
            Self::Big(big) => {
                let score = big.table.get(member)?.score();
                Some((big.rank(score, member), score))
            }
        }
    }

    /// How many members come before: `is_before` must hold for those, from the first on, and for none
    /// behind them.
    pub fn position(&self, is_before: impl Fn(f64, Element<'_>) -> bool) -> usize {
        match self {
            Self::Packed(pack) => pack
                .pairs()
                .take_while(|(member, score)| is_before(score_of(*score), *member))
                .count(),
            Self::Big(big) => big.tree.position(|one| {
                is_before(one.score, Element::Bytes(big.table.at(one.handle).key()))
            }),
        }
    }

    /// How many members have scores for which that holds, which must be those of the first ones.
    pub fn position_by_score(&self, is_before: impl Fn(f64) -> bool) -> usize {
        match self {
            Self::Packed(_) => self.position(|score, _| is_before(score)),
            // Members aren't looked at, which saves walking through the arena.
            Self::Big(big) => big.tree.position(|one| is_before(one.score)),
        }
    }

    /// The members from a rank on.
    pub fn iter_from(&self, rank: usize) -> Iter<'_> {
        Iter(self.walk_from(rank))
    }

    /// The members whose scores are at least `low` and below `high`, each without looking at it.
    pub(crate) fn within(&self, low: f64, high: f64) -> impl Iterator<Item = (Unread<'_>, f64)> {
        let mut walk = self.walk_from(self.position_by_score(|score| score < low));
        std::iter::from_fn(move || walk.next()).take_while(move |(_, score)| *score < high)
    }

    fn walk_from(&self, rank: usize) -> Walk<'_> {
        match self {
            Self::Packed(pack) => Walk::Packed(match pack_cursor(pack, rank) {
                Some(at) => pack.iter_from(at),
                None => at_end(pack),
            }),
            Self::Big(big) => Walk::Forward(&big.table, big.tree.iter_from(rank)),
        }
    }

    /// The members from a rank backwards to the first.
    pub fn iter_back_from(&self, rank: usize) -> Iter<'_> {
        Iter(match self {
            Self::Packed(pack) => Walk::PackedBack(match pack_cursor(pack, rank) {
                Some(at) => pack.iter_up_to(pack.next(at).unwrap_or(at)),
                None => at_end(pack),
            }),
            Self::Big(big) => Walk::Backward(&big.table, big.tree.iter_back_from(rank)),
        })
    }

    /// All members in order.
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(0)
    }

    /// Removes members from a rank on; says how many.
    pub fn remove_range(&mut self, rank: usize, count: usize) -> usize {
        let count = count.min(self.len().saturating_sub(rank));
        match self {
            Self::Packed(pack) => {
                if count > 0
                    && let Some(at) = pack_cursor(pack, rank)
                {
                    pack.remove(at, count * PAIR);
                }
            }
            Self::Big(big) => big.remove_range(rank, count),
        }
        count
    }

    /// Goes on with a scan from `cursor` for about `count` members and returns where to go on; 0 is
    /// both the beginning and the end. Members present throughout are handed out. A set in one block
    /// is handed out whole.
    pub fn scan(&self, cursor: u64, count: usize, mut each: impl FnMut(Element<'_>, f64)) -> u64 {
        match self {
            Self::Packed(_) => {
                self.iter().for_each(|(member, score)| each(member, score));
                0
            }
            Self::Big(big) => big.table.scan(cursor, count, |entry| {
                each(Element::Bytes(entry.key()), entry.score());
            }),
        }
    }

    /// One of the members, each with the same chance.
    pub fn sample(&self, rng: &mut Rng) -> Option<(Element<'_>, f64)> {
        if self.is_empty() {
            return None;
        }
        self.iter_from(rng.index(self.len())).next()
    }

    /// The members as they are now, for another thread; nothing for a set in one block.
    pub(crate) fn freeze(&self) -> Option<index::Frozen> {
        match self {
            Self::Packed(_) => None,
            Self::Big(big) => Some(big.table.freeze()),
        }
    }
}

fn pack_cursor(pack: &Listpack, rank: usize) -> Option<Cursor> {
    pack.seek(rank.checked_mul(PAIR)?)
}

/// A count of elements or nodes. There are fewer than 2^32: each element has an entry of its own in an
/// index, which has as many places.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "see above")]
fn narrow(count: usize) -> u32 {
    count as u32
}

/// An iterator that has nothing left.
fn at_end(pack: &Listpack) -> listpack::Iter<'_> {
    let mut none = pack.iter();
    none.by_ref().for_each(drop);
    none
}

/// Puts a member that isn't there where it belongs.
fn insert_packed(pack: &mut Listpack, member: &[u8], score: f64) {
    let mut digits = Vec::new();
    let number = if score.fract() == 0.0 && score.abs() <= INTEGER_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "it is a whole number in range")]
        Element::Int(score as i64)
    } else {
        text::push_f64(&mut digits, score);
        Element::Bytes(&digits)
    };
    let pair = [Element::of(member), number];
    // New members often come last.
    if last_packed(pack).is_none_or(|(last, found)| {
        last.with_bytes(|last| compare((found, last), (score, member)).is_lt())
    }) {
        pack.push_back_all(&pair);
        return;
    }
    let mut next = pack.first();
    while let Some(at) = next {
        let Some(score_at) = pack.next(at) else { break };
        let found = score_of(pack.get(score_at));
        if pack.get(at).with_bytes(|bytes| compare((found, bytes), (score, member)).is_gt()) {
            pack.insert_all_before(at, &pair);
            return;
        }
        next = pack.next(score_at);
    }
    pack.push_back_all(&pair);
}

fn last_packed(pack: &Listpack) -> Option<(Element<'_>, f64)> {
    let score = pack.last()?;
    Some((pack.get(pack.previous(score)?), score_of(pack.get(score))))
}

/// A sorted set that outgrew its block: an index of members and scores, and their order.
#[derive(Clone)]
pub struct Big {
    table: Table,
    tree: Tree,
}

impl Default for Big {
    fn default() -> Self {
        Self { table: Table::new(Shape::Scores), tree: Tree::default() }
    }
}

impl Big {
    /// How many members come before one.
    fn rank(&self, score: f64, member: &[u8]) -> usize {
        self.tree.position(|one| {
            // Entries are looked at only where scores don't decide.
            match one.score.partial_cmp(&score) {
                Some(Ordering::Less) => true,
                Some(Ordering::Greater) => false,
                _ => self.table.at(one.handle).key() < member,
            }
        })
    }

    fn put(&mut self, member: &[u8], score: f64) -> Put {
        let Some(handle) = self.table.find(member) else {
            let rank = self.rank(score, member);
            let (handle, _) = self.table.put(member, &Body { score, ..Body::default() });
            self.tree.insert(rank, Ranked { score, handle });
            return Put::Added;
        };
        let old = self.table.at(handle).score();
        if old == score {
            return Put::Same;
        }
        let rank = self.rank(old, member);
        self.table.set_score(handle, score);
        let (from, to) = (rank.checked_sub(1), rank + 1);
        let is_after = |other: Ranked| other.score < score;
        let stays = from.and_then(|rank| self.tree.get(rank)).is_none_or(is_after)
            && self.tree.get(to).is_none_or(|other| score < other.score);
        if stays {
            self.tree.set(rank, Ranked { score, handle });
        } else {
            self.tree.remove(rank);
            let rank = self.rank(score, member);
            self.tree.insert(rank, Ranked { score, handle });
        }
        Put::Moved
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let score = self.table.get(member)?.score();
        let rank = self.rank(score, member);
        self.tree.remove(rank);
        self.table.remove(member);
        self.follow_moves();
        Some(score)
    }

    fn remove_range(&mut self, rank: usize, count: usize) {
        // One by one, since each removal may move other entries, which the tree must still know.
        for _ in 0..count {
            let Some(one) = self.tree.remove(rank) else { return };
            let member = self.table.at(one.handle).key().to_vec();
            self.table.remove(&member);
            self.follow_moves();
        }
    }

    /// The tree learns where entries have gone to.
    fn follow_moves(&mut self) {
        for (old, new) in self.table.take_moves() {
            let entry = self.table.at(new);
            let (score, member) = (entry.score(), entry.key());
            // Others that moved, too, are still named by their old places here, where their bytes are
            // until they are let go.
            let rank = self.tree.position(|one| match one.score.partial_cmp(&score) {
                Some(Ordering::Less) => true,
                Some(Ordering::Greater) => false,
                _ => one.handle != old && self.table.at(one.handle).key() < member,
            });
            self.tree.set(rank, Ranked { score, handle: new });
        }
        self.table.let_go();
    }
}

/// Members and their scores, in order one way or the other.
#[derive(Clone, Debug)]
pub struct Iter<'a>(Walk<'a>);

#[derive(Clone, Debug)]
enum Walk<'a> {
    Packed(listpack::Iter<'a>),
    PackedBack(listpack::Iter<'a>),
    Forward(&'a Table, tree::Forward<'a>),
    Backward(&'a Table, tree::Backward<'a>),
}

/// A member that a walk came to. Where it is an entry of a big set's arena, it is fetched from there
/// only when it's asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unread<'a> {
    /// Its bytes, which the walk went over.
    Read(Element<'a>),
    /// Its entry.
    At(&'a Table, Handle),
}

impl<'a> Unread<'a> {
    /// The member.
    #[inline]
    pub(crate) fn element(self) -> Element<'a> {
        match self {
            Self::Read(element) => element,
            Self::At(table, handle) => Element::Bytes(table.at(handle).key()),
        }
    }
}

impl<'a> Walk<'a> {
    #[inline]
    fn next(&mut self) -> Option<(Unread<'a>, f64)> {
        let (table, one) = match self {
            Self::Packed(elements) => {
                let member = elements.next()?;
                return Some((Unread::Read(member), score_of(elements.next()?)));
            }
            Self::PackedBack(elements) => {
                let score = score_of(elements.next_back()?);
                return Some((Unread::Read(elements.next_back()?), score));
            }
            Self::Forward(table, elements) => (table, elements.next()?),
            Self::Backward(table, elements) => (table, elements.next()?),
        };
        Some((Unread::At(table, one.handle), one.score))
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Element<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (member, score) = self.0.next()?;
        Some((member.element(), score))
    }
}

impl<'a> IntoIterator for &'a Zset {
    type Item = (Element<'a>, f64);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl PartialEq for Zset {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

/// In order.
impl fmt::Debug for Zset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.iter().map(|(member, score)| {
            (member.with_bytes(|bytes| bytes.escape_ascii().to_string()), score)
        });
        f.debug_list().entries(pairs).finish()
    }
}
