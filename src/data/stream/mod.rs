//! Streams: entries in the order of their ids, and groups of consumers that share them out.
//!
//! ```text
//! Stream ─► body ─┬─ nodes    listpacks of up to stream-node-max-entries entries (node, nodes)
//!                 ├─ counts   entries, last id, greatest deleted id, entries ever added
//!                 └─ groups   by name: last id delivered, what is pending, consumers (group, sorted)
//! ```
//! **Entries.** A node is upstream's listpack to the byte, so that nodes go into an RDB and come out of
//! one without being encoded again. Nodes lie in blocks of 256 that are found by bisection on the node's
//! first id; the last node is in the body itself, so that XADD touches just that. An entry in the middle
//! is found by walking its node.
//!
//! **Ids.** An id is a millisecond and a number in it, 128 bits in order. An id that is added is greater
//! than the last id, which stays when the entry goes: ids are never used again.
//!
//! **Memory.** An entry takes what its cells take; a node beside that an `Arc` and 24 bytes; a stream
//! of one node no block. What is pending takes 48 bytes an entry (see `group`). Deleting leaves an
//! entry's bytes in its node until all of the node's entries are deleted, as upstream does.
//!
//! **Bounds.** No step moves more than one node, one block of 256 nodes, or 512 pending entries. What
//! trimming takes out in whole blocks is handed to the caller ([`Trimmed::garbage`]), to be freed
//! elsewhere.
//!
//! **Snapshots.** A clone shares nodes, blocks and pending entries by `Arc`, so freezing a stream of
//! 5 M entries costs some hundred counters, and some thousand more for as many pending ones; whoever
//! changes what is shared copies one block or one node.
//!
//! A stream without an entry is a value like any other: it has its last id and its groups.
//!
//! Deliberately absent: squeezing deleted entries out of a node, but for the last one where XSETID goes
//! back behind them.

mod counting;
mod entries;
mod group;
mod id;
mod node;
mod nodes;
mod references;
mod released;
mod sorted;
#[cfg(test)]
mod tests;
mod trim;

use std::collections::BTreeMap;

use crate::data::element::Element;
use crate::data::listpack::Listpack;
use crate::data::stream::node::{Node, NodeError, OUT_OF_ORDER};
use crate::data::stream::nodes::Nodes;
use crate::data::thin::{Boxed, forms};
use crate::data::thresholds::Thresholds;

pub(crate) use entries::Bookmark;
pub use entries::Entries;
pub use group::ConsumerId;
pub(crate) use group::{Consumer, DELIVERIES_MAX};
pub use group::{Group, Pending};
pub(crate) use id::IdDigits;
pub use id::{IdText, StreamId};
pub(crate) use node::CheckedNode;
pub use references::{Forgotten, References};
pub(crate) use trim::Trimmed;
pub use trim::{Trim, TrimTo};

/// The most bytes that an entry's fields and values, or a node, may have.
pub(crate) const ENTRY_BYTES_MAX: usize = 1 << 30;
/// Where counts of entries end: the greatest number that commands and files can tell.
pub(crate) const COUNT_MAX: u64 = i64::MAX.cast_unsigned();
/// Bytes that a group takes in the map beside its name and its own heap, about.
const GROUP_BYTES: usize = size_of::<Group>() + 32;

/// See the file's head.
#[derive(Clone)]
pub struct Stream(Boxed<Body>);

forms!(struct Stream);

#[derive(Clone, Debug, Default, PartialEq)]
struct Body {
    nodes: Nodes,
    /// Entries that aren't deleted.
    len: usize,
    counts: Counts,
    groups: BTreeMap<Box<[u8]>, Group>,
    /// Bytes of the groups.
    group_bytes: usize,
}

/// What a stream knows of entries that it may no longer have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The id of the last entry that was added.
    pub last_id: StreamId,
    /// The greatest id that was deleted (not by trimming).
    pub(crate) max_deleted: StreamId,
    /// How many entries were ever added.
    pub added: u64,
}

/// An entry that is too large for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl Default for Stream {
    fn default() -> Self {
        Self(Boxed::new(Body::default()))
    }
}

impl Stream {
    /// How many entries there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.len
    }

    /// Whether there is no entry.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// The name that OBJECT ENCODING replies.
    #[expect(clippy::unused_self, reason = "asked alike of every collection")]
    pub(crate) fn encoding(&self) -> &'static str {
        "stream"
    }

    /// Bytes of heap that it owns, as if nothing were shared.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Body>() + self.0.nodes.heap_bytes() + self.0.group_bytes
    }

    /// The stream as it is now, for another thread.
    #[must_use]
    pub(crate) fn freeze(&self) -> Self {
        self.clone()
    }

    /// What it knows of entries that it may no longer have.
    #[inline]
    pub fn counts(&self) -> Counts {
        self.0.counts
    }

    /// Sets what it knows of such entries, as XSETID and files do. The last id must not be less than that
    /// of an entry.
    pub(crate) fn set_counts(&mut self, counts: Counts) {
        if counts.last_id < self.0.counts.last_id {
            self.rise_above(counts.last_id);
        }
        self.0.counts = counts;
    }

    /// Makes the last node one to which an entry behind `last_id` can be added: deleted entries that have
    /// greater ids go.
    fn rise_above(&mut self, last_id: StreamId) {
        let nodes = &mut self.0.nodes;
        let (Some(tail), Some(at)) = (nodes.tail(), nodes.last()) else { return };
        if tail.last_id() > last_id {
            let squeezed = tail.without_deleted();
            nodes.remove(at);
            squeezed.into_iter().for_each(|node| nodes.push(node));
        }
    }

    /// The first entry's id, where there is one.
    pub fn first_id(&self) -> Option<StreamId> {
        self.range(StreamId::MIN, StreamId::MAX).next_entry().map(|(id, _)| id)
    }

    /// The last entry's id, where there is one.
    pub(crate) fn last_entry_id(&self) -> Option<StreamId> {
        self.range_back(StreamId::MIN, StreamId::MAX).next_entry().map(|(id, _)| id)
    }

    /// Adds an entry; `fields` gives fields and values by turns. The id must be greater than the last.
    ///
    /// # Errors
    /// [`TooLarge`].
    #[inline]
    pub fn push<'a>(
        &mut self,
        id: StreamId,
        fields: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
        thresholds: &Thresholds,
    ) -> Result<(), TooLarge> {
        let body = &mut *self.0;
        debug_assert!(id > body.counts.last_id, "ids rise");
        let bytes = fields.clone().map(<[u8]>::len).sum::<usize>();
        if bytes > ENTRY_BYTES_MAX {
            return Err(TooLarge);
        }
        if !body.nodes.tail().is_some_and(|tail| has_room(tail, bytes, thresholds)) {
            body.nodes.push(Node::for_entry(id, fields.clone()));
        }
        body.nodes.edit_tail(|tail| tail.push(id, fields));
        body.len += 1;
        body.counts.added = COUNT_MAX.min(body.counts.added + 1);
        body.counts.last_id = id;
        Ok(())
    }

    /// Deletes the entry of an id; false where there is none.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let body = &mut *self.0;
        let Some(at) = body.nodes.find(id) else { return false };
        let is_last = body.nodes.get(at).is_some_and(|node| node.len() == 1);
        if is_last {
            if !self.contains(id) {
                return false;
            }
            self.0.nodes.remove(at);
        } else if body.nodes.edit(at, |node| node.delete(id)) != Some(true) {
            return false;
        }
        let body = &mut *self.0;
        body.len -= 1;
        body.counts.max_deleted = body.counts.max_deleted.max(id);
        true
    }

    /// Whether there is an entry of this id.
    pub(crate) fn contains(&self, id: StreamId) -> bool {
        self.range(id, id).next_entry().is_some()
    }

    /// The entries from one id to another, both included.
    #[inline]
    pub fn range(&self, start: StreamId, end: StreamId) -> Entries<'_> {
        Entries::forward(&self.0.nodes, start, end)
    }

    /// The same entries, from a bookmark at the start where that is good.
    pub(crate) fn range_from(
        &self,
        bookmark: Option<Bookmark>,
        start: StreamId,
        end: StreamId,
    ) -> Entries<'_> {
        Entries::forward_from(&self.0.nodes, bookmark, start, end)
    }

    /// The same entries, the last first.
    #[inline]
    pub fn range_back(&self, start: StreamId, end: StreamId) -> Entries<'_> {
        Entries::backward(&self.0.nodes, start, end)
    }

    /// How many nodes there are.
    pub(crate) fn node_count(&self) -> usize {
        self.0.nodes.count()
    }

    /// The nodes in order, as an RDB has them: what ids count from, and the entries.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (StreamId, &Listpack)> + Clone {
        self.0.nodes.iter().map(|node| (node.base, &*node.pack))
    }

    /// How many groups there are.
    pub(crate) fn group_count(&self) -> usize {
        self.0.groups.len()
    }

    /// The groups, in the order of their names.
    pub fn groups(&self) -> impl Iterator<Item = (&[u8], &Group)> {
        self.0.groups.iter().map(|(name, group)| (&**name, group))
    }

    /// A group.
    #[inline]
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.0.groups.get(name)
    }

    /// Makes a group; false where there is one of the name.
    pub fn add_group(&mut self, name: &[u8], group: Group) -> bool {
        let body = &mut *self.0;
        if body.groups.contains_key(name) {
            return false;
        }
        body.group_bytes += GROUP_BYTES + name.len() + group.heap_bytes();
        body.groups.insert(name.into(), group);
        true
    }

    /// Takes a group out.
    pub(crate) fn remove_group(&mut self, name: &[u8]) -> Option<Group> {
        let body = &mut *self.0;
        let group = body.groups.remove(name)?;
        body.group_bytes -= GROUP_BYTES + name.len() + group.heap_bytes();
        Some(group)
    }

    /// Changes a group, where there is one of the name.
    #[inline]
    pub fn edit_group<R>(
        &mut self,
        name: &[u8],
        change: impl FnOnce(&mut Group) -> R,
    ) -> Option<R> {
        let body = &mut *self.0;
        let group = body.groups.get_mut(name)?;
        body.group_bytes -= group.heap_bytes();
        let result = change(group);
        body.group_bytes += group.heap_bytes();
        Some(result)
    }

    /// Looks whether sums are what they should be.
    #[cfg(test)]
    fn check(&self) {
        let body = &*self.0;
        body.nodes.check();
        assert_eq!(body.len, body.nodes.iter().map(Node::len).sum::<usize>());
        let mut bytes = 0;
        for (name, group) in &body.groups {
            group.check();
            bytes += GROUP_BYTES + name.len() + group.heap_bytes();
        }
        assert_eq!(body.group_bytes, bytes);
    }
}

/// Whether a node takes an entry of so many bytes more.
#[inline]
fn has_room(node: &Node, bytes: usize, thresholds: &Thresholds) -> bool {
    let bytes_max = match thresholds.stream_node_bytes {
        0 => ENTRY_BYTES_MAX,
        bytes => bytes.min(ENTRY_BYTES_MAX),
    };
    node.pack.byte_len() + bytes < bytes_max
        && (thresholds.stream_node_entries == 0
            || node.len_with_deleted() < thresholds.stream_node_entries)
}

/// A stream in the making, from the nodes of an RDB.
#[derive(Debug, Default)]
pub(crate) struct StreamBuilder {
    stream: Stream,
    last: Option<StreamId>,
}

impl StreamBuilder {
    /// Looks whether bytes are a node, for [`Self::push`]; any thread can do that.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(base: StreamId, bytes: &[u8]) -> Result<CheckedNode, NodeError> {
        node::from_bytes(base, bytes)
    }

    /// Adds a node; one all of whose entries are deleted is left out.
    ///
    /// # Errors
    /// Where it doesn't come behind the one before.
    pub(crate) fn push(&mut self, checked: CheckedNode) -> Result<(), &'static str> {
        let CheckedNode { node, live, ends } = checked;
        if let Some((first, last)) = ends {
            if self.last.is_some_and(|before| before >= first) {
                return Err(OUT_OF_ORDER);
            }
            self.last = Some(last);
        } else {
            self.last = self.last.or(Some(node.base));
        }
        if live > 0 {
            let body = &mut *self.stream.0;
            body.len += live;
            body.nodes.push(node);
        }
        Ok(())
    }

    /// The stream, to which its counts and groups are still to be added.
    ///
    /// # Errors
    /// Where the last id is less than that of an entry.
    pub(crate) fn finish(mut self, counts: Counts) -> Result<Stream, &'static str> {
        if self.last.is_some_and(|last| last > counts.last_id) {
            self.stream.rise_above(counts.last_id);
        }
        if self.stream.last_entry_id().is_some_and(|last| last > counts.last_id) {
            return Err("a last id that is less than an entry's");
        }
        self.stream.set_counts(counts);
        Ok(self.stream)
    }

    /// The stream so far.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |element: Element<'_>| String::from_utf8_lossy(&element.to_vec()).into_owned();
        let mut list = f.debug_map();
        let mut entries = self.range(StreamId::MIN, StreamId::MAX);
        while let Some((id, _)) = entries.next_entry() {
            let fields = std::iter::from_fn(|| entries.next_field());
            let fields: Vec<_> = fields.map(|(name, value)| (text(name), text(value))).collect();
            list.entry(&format_args!("{id}"), &fields);
        }
        list.finish()?;
        let Counts { last_id, max_deleted, added } = self.counts();
        write!(f, " last {last_id} deleted {max_deleted} added {added} {:?}", self.0.groups)
    }
}

/// Equal where no client could tell them apart, and laid out alike.
impl PartialEq for Stream {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl Eq for Stream {}
