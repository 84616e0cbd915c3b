//! A node: some neighbouring entries in one listpack, laid out as upstream has it (antirez, "Streams: a
//! new general purpose data structure in Redis", and what DUMP shows), so that a node goes into an RDB
//! as it is.
//!
//! ```text
//! master   | entries | deleted | fields N | field 1 | ... | field N | 0 |
//! entry    | flags | ms | seq | value 1 | ... | value N | elements |             same fields
//!          | flags | ms | seq | fields M | field 1 | value 1 | ... | elements |  others
//! ```
//! Each cell is an element of the listpack. `ms` and `seq` count from the node's base, which is the id
//! of the first entry it ever had. The fields of that entry are the master's: an entry with the same
//! ones has only its values (flag 2). `elements` is how many cells the entry has before that one, by
//! which a walk from the back finds its beginning. A deleted entry stays where it is with flag 1 until
//! its whole node goes.
//!
//! Invariant, checked by [`from_bytes`] for bytes from elsewhere: the cells are complete, the counts are
//! right, ids rise, and at least one entry isn't deleted. So walking a node can't fail.

use triomphe::Arc;

use crate::data::element::Element;
use crate::data::listpack::{self, Cells, Cursor, Entries, Iter, Listpack, ListpackError};
use crate::data::stream::id::StreamId;

/// The entry is deleted.
const DELETED: i64 = 1;
/// The entry has the master's fields.
const SAME_FIELDS: i64 = 2;
/// Cells of an entry before its fields: flags and both numbers of the id.
const HEAD_CELLS: usize = 3;
/// What an `Arc` allocates beside the value.
const ARC_BYTES: usize = 8;

/// One node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// What ids in it count from.
    pub(super) base: StreamId,
    pub(super) pack: Arc<Listpack>,
}

/// A number that is in a checked listpack.
#[inline]
fn number(element: Option<Element<'_>>) -> i64 {
    element.and_then(Element::as_int).unwrap_or_default()
}

/// A count that is in a checked listpack.
#[inline]
fn count_of(element: Option<Element<'_>>) -> usize {
    usize::try_from(number(element)).unwrap_or_default()
}

#[inline]
fn as_number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Node {
    /// A node without an entry, to which the first is to be added at once; its fields become the
    /// master's. `fields` gives fields and values by turns.
    pub(super) fn for_entry<'a>(base: StreamId, fields: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut entries = Entries::new();
        entries.push_int(0);
        entries.push_int(0);
        let mut names = Entries::new();
        fields.step_by(2).for_each(|name| names.push(name));
        entries.push_int(as_number(names.len()));
        let mut pack = Listpack::new();
        pack.push_back_encoded(&entries);
        names.push_int(0);
        pack.push_back_encoded(&names);
        Self { base, pack: Arc::new(pack) }
    }

    /// Bytes of heap, as if they were shared with nobody.
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        ARC_BYTES + size_of::<Listpack>() + self.pack.heap_bytes()
    }

    /// How many entries there are that aren't deleted.
    #[inline]
    pub(super) fn len(&self) -> usize {
        count_of(self.pack.iter().next())
    }

    /// How many entries there are, the deleted ones included.
    #[inline]
    pub(super) fn len_with_deleted(&self) -> usize {
        let mut cells = self.pack.iter();
        count_of(cells.next()) + count_of(cells.next())
    }

    /// Adds an entry behind all others. `fields` gives fields and values by turns.
    #[inline]
    pub(super) fn push<'a>(
        &mut self,
        id: StreamId,
        fields: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) {
        let pairs = fields.len() / 2;
        let same = self.has_fields(pairs, fields.clone().step_by(2));
        let mut entries = Entries::new();
        entries.push_int(if same { SAME_FIELDS } else { 0 });
        entries.push_int(id.ms.wrapping_sub(self.base.ms).cast_signed());
        entries.push_int(id.seq.wrapping_sub(self.base.seq).cast_signed());
        if same {
            fields.skip(1).step_by(2).for_each(|value| entries.push(value));
        } else {
            entries.push_int(as_number(pairs));
            fields.for_each(|word| entries.push(word));
        }
        let cells = as_number(entries.len());
        entries.push_int(cells);
        let pack = Arc::make_mut(&mut self.pack);
        pack.push_back_encoded(&entries);
        if let Some(first) = pack.first() {
            let count = pack.get(first).as_int().unwrap_or_default();
            pack.replace_int(first, count + 1);
        }
    }

    /// Whether the master's fields are these.
    #[inline]
    fn has_fields<'a>(&self, count: usize, mut names: impl Iterator<Item = &'a [u8]>) -> bool {
        let mut cells = self.pack.iter();
        cells.skip_front(2);
        count_of(cells.next()) == count
            && names.all(|name| cells.next().is_some_and(|field| field.is(name)))
    }

    /// Marks the entry of an id as deleted; false where there is none.
    pub(super) fn delete(&mut self, id: StreamId) -> bool {
        let mut walk = Walk::forward(self);
        while let Some(entry) = walk.next_entry() {
            if entry.id >= id {
                if entry.id > id || entry.is_deleted() {
                    return false;
                }
                self.mark(&[entry]);
                return true;
            }
        }
        false
    }

    /// Marks entries as deleted that aren't yet.
    pub(super) fn mark(&mut self, entries: &[Head]) {
        let (live, deleted) = (self.len(), self.len_with_deleted() - self.len());
        let pack = Arc::make_mut(&mut self.pack);
        // Flags are one byte with or without the mark, so that the cursors stay right.
        for entry in entries {
            pack.replace_int(entry.at, entry.flags | DELETED);
        }
        if let Some(first) = pack.first() {
            pack.replace_int(first, as_number(live.saturating_sub(entries.len())));
            if let Some(second) = pack.next(first) {
                pack.replace_int(second, as_number(deleted + entries.len()));
            }
        }
    }

    /// The same entries without those that are deleted; nothing where none is left.
    pub(super) fn without_deleted(&self) -> Option<Self> {
        let mut squeezed: Option<Self> = None;
        let mut walk = Walk::forward(self);
        while let Some(entry) = walk.next_entry() {
            if entry.is_deleted() {
                continue;
            }
            let fields = std::iter::from_fn(|| walk.next_field());
            let words: Vec<_> =
                fields.flat_map(|(name, value)| [name.to_vec(), value.to_vec()]).collect();
            let words = words.iter().map(|word| &**word);
            let node = squeezed.get_or_insert_with(|| Self::for_entry(entry.id, words.clone()));
            node.push(entry.id, words);
        }
        squeezed
    }

    /// The id of the last entry, be it deleted or not.
    pub(super) fn last_id(&self) -> StreamId {
        Walk::backward(self).next_entry().map_or(self.base, |entry| entry.id)
    }
}

/// What an entry is without its fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) id: StreamId,
    /// How many fields it has.
    pub(super) pairs: usize,
    flags: i64,
    /// Where it begins.
    at: Cursor,
}

impl Head {
    #[inline]
    pub(super) fn is_deleted(&self) -> bool {
        self.flags & DELETED != 0
    }
}

/// A walk over a node's entries, from either end.
#[derive(Clone, Debug)]
pub(super) struct Walk<'a> {
    node: &'a Node,
    /// Of the master.
    fields: Iter<'a>,
    field_count: usize,
    /// Where the entries begin, behind the master.
    entries_at: usize,
    /// What comes next of the present entry.
    cells: Iter<'a>,
    /// The master's fields that it still has values for, where its fields are the master's.
    names: Option<Iter<'a>>,
    /// Fields and values that are still to come of it.
    left: usize,
    direction: Direction,
}

/// Which way a walk goes, and where it is.
#[derive(Clone, Copy, Debug)]
enum Direction {
    /// The next entry begins where the present one's cells end; at first there is none present.
    Forward { begun: bool },
    /// The entry before this place is next: another entry's beginning, or the end.
    Backward { behind: Option<Cursor> },
    /// All entries were there.
    Done,
}

impl<'a> Walk<'a> {
    fn new(node: &'a Node, direction: Direction) -> Self {
        let mut cells = node.pack.iter();
        cells.skip_front(2);
        let field_count = count_of(cells.next());
        let fields = cells.clone();
        if let Direction::Forward { .. } = direction {
            cells.skip_front(field_count + 1);
        }
        let entries_at = cells.offset();
        Self { node, fields, field_count, entries_at, cells, names: None, left: 0, direction }
    }

    pub(super) fn forward(node: &'a Node) -> Self {
        Self::new(node, Direction::Forward { begun: false })
    }

    /// A walk that begins at an entry, so many bytes behind the first one's beginning ([`Walk::passed`]).
    pub(super) fn forward_from(node: &'a Node, passed: usize) -> Self {
        let mut walk = Self::forward(node);
        walk.cells.skip_bytes(passed);
        walk
    }

    /// Of a walk forward: how many bytes the entries have together up to the present one and with it. It
    /// stays the same when entries are added or marked as deleted.
    pub(super) fn passed(&self) -> usize {
        let mut cells = self.cells.clone();
        if let Direction::Forward { begun: true } = self.direction {
            cells.skip_front(self.cells_left());
        }
        cells.offset() - self.entries_at
    }

    /// Cells of the present entry that are still to come.
    #[inline]
    fn cells_left(&self) -> usize {
        1 + if self.names.is_some() { self.left } else { 2 * self.left }
    }

    pub(super) fn backward(node: &'a Node) -> Self {
        Self::new(node, Direction::Backward { behind: None })
    }

    /// Where the next entry begins.
    #[inline]
    fn step(&mut self) -> Option<Cursor> {
        match self.direction {
            Direction::Forward { begun } => {
                if begun {
                    self.cells.skip_front(self.cells_left());
                }
                self.direction = Direction::Forward { begun: true };
                self.cells.cursor()
            }
            Direction::Backward { behind } => {
                let pack = &self.node.pack;
                let last = match behind {
                    Some(at) => pack.previous(at),
                    None => pack.last(),
                }?;
                // The master ends with a 0.
                let count = count_of(Some(pack.get(last)));
                let mut at = (count > 0).then_some(last)?;
                for _ in 0..count {
                    at = pack.previous(at)?;
                }
                self.cells = pack.iter_from(at);
                self.direction = Direction::Backward { behind: Some(at) };
                Some(at)
            }
            Direction::Done => None,
        }
    }

    /// The next entry, be it deleted or not; its fields are read by [`Walk::next_field`].
    #[inline]
    pub(super) fn next_entry(&mut self) -> Option<Head> {
        let Some(at) = self.step() else {
            self.direction = Direction::Done;
            return None;
        };
        let flags = number(self.cells.next());
        let base = self.node.base;
        let ms = base.ms.wrapping_add(number(self.cells.next()).cast_unsigned());
        let seq = base.seq.wrapping_add(number(self.cells.next()).cast_unsigned());
        if flags & SAME_FIELDS != 0 {
            self.names = Some(self.fields.clone());
            self.left = self.field_count;
        } else {
            self.names = None;
            self.left = count_of(self.cells.next());
        }
        Some(Head { id: StreamId { ms, seq }, pairs: self.left, flags, at })
    }

    /// The next field of the present entry, and its value.
    #[inline]
    pub(super) fn next_field(&mut self) -> Option<(Element<'a>, Element<'a>)> {
        self.left = self.left.checked_sub(1)?;
        let name = match &mut self.names {
            Some(names) => names.next(),
            None => self.cells.next(),
        }?;
        Some((name, self.cells.next()?))
    }
}

/// What is wrong where ids don't rise, within a node or from one to the next.
pub(super) const OUT_OF_ORDER: &str = "entries that aren't in the order of their ids";

/// What is wrong with bytes that should be a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// They are no listpack.
    #[error(transparent)]
    Listpack(#[from] ListpackError),
    /// They are a listpack, but not a node's.
    #[error("{0}")]
    Content(&'static str),
}

/// A node from elsewhere that was looked at, but for its place among others.
#[derive(Debug)]
pub(crate) struct CheckedNode {
    pub(super) node: Node,
    /// Entries that aren't deleted.
    pub(super) live: usize,
    /// The ids of its first and its last entry; nothing if it has none.
    pub(super) ends: Option<(StreamId, StreamId)>,
}

/// Looks whether bytes from elsewhere are a node, in one walk over them.
///
/// # Errors
/// What is wrong with them.
pub(super) fn from_bytes(base: StreamId, bytes: &[u8]) -> Result<CheckedNode, NodeError> {
    let widened = listpack::widened(bytes);
    let mut cells = Cells::new(widened.as_deref().unwrap_or(bytes))?;
    match check(base, &mut cells) {
        Ok((live, ends)) => {
            let pack = Arc::new(Listpack::from_cells(&cells)?);
            Ok(CheckedNode { node: Node { base, pack }, live, ends })
        }
        // A walk that stopped at a damaged cell tells so.
        Err(found) => {
            while cells.pass() {}
            cells.end()?;
            Err(NodeError::Content(found))
        }
    }
}

/// Entries that aren't deleted, and the ids of the first and the last of all.
type Found = (usize, Option<(StreamId, StreamId)>);

fn check(base: StreamId, cells: &mut Cells<'_>) -> Result<Found, &'static str> {
    const CUT: &str = "a stream's node that breaks off";
    let (live, deleted, fields) = (count(cells)?, count(cells)?, count(cells)?);
    for _ in 0..fields {
        cells.pass().then_some(()).ok_or(CUT)?;
    }
    if cells.int() != Some(0) {
        return Err("a master entry without its end");
    }
    let (mut found_live, mut found_deleted) = (0, 0);
    let mut ends: Option<(StreamId, StreamId)> = None;
    // An entry without a count would pass for the master's end on the way back.
    while !cells.is_at_end() {
        // In one byte, as every writer has them: marking an entry as deleted writes just that.
        let flags = cells.small().map_or(-1, i64::from);
        if !(0..=(DELETED | SAME_FIELDS)).contains(&flags) {
            return Err("unknown flags");
        }
        let (Some(ms), Some(seq)) = (cells.int(), cells.int()) else {
            return Err("an id that is no number");
        };
        let ms = base.ms.wrapping_add(ms.cast_unsigned());
        let seq = base.seq.wrapping_add(seq.cast_unsigned());
        let id = StreamId { ms, seq };
        let own_fields = flags & SAME_FIELDS == 0;
        let words = if own_fields { count(cells)?.saturating_mul(2) } else { fields };
        for _ in 0..words {
            cells.pass().then_some(()).ok_or(CUT)?;
        }
        if count(cells)? != HEAD_CELLS + usize::from(own_fields) + words {
            return Err("an entry with a wrong count of elements");
        }
        if id < base || ends.is_some_and(|(_, last)| last >= id) {
            return Err(OUT_OF_ORDER);
        }
        ends = Some((ends.map_or(id, |(first, _)| first), id));
        if flags & DELETED != 0 { found_deleted += 1 } else { found_live += 1 }
    }
    if (live, deleted) != (found_live, found_deleted) {
        return Err("a wrong count of entries");
    }
    Ok((live, ends))
}

/// Passes over a cell that is a count.
#[inline]
fn count(cells: &mut Cells<'_>) -> Result<usize, &'static str> {
    let number = cells.int().ok_or("a count that is no number")?;
    usize::try_from(number).map_err(|_| "a negative count")
}
