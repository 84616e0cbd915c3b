//! Taking the oldest entries out.

use crate::data::stream::Stream;
use crate::data::stream::id::StreamId;
use crate::data::stream::node::{Head, Node, Walk};
use crate::data::stream::nodes::Block;
use crate::data::stream::references::{Forgotten, References};

/// What to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimTo {
    /// So many of the newest entries (MAXLEN).
    Len(usize),
    /// Entries from this id on (MINID).
    From(StreamId),
}

/// What to take out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// What to keep.
    pub to: TrimTo,
    /// Whether only whole nodes go (`~`).
    pub roughly: bool,
    /// The most entries to take out; 0 for no limit.
    pub limit: usize,
    /// What becomes of pending entries whose entry goes.
    pub references: References,
}

/// What was taken out.
#[derive(Debug, Default)]
pub struct Trimmed {
    /// How many entries.
    pub count: usize,
    /// Which, where that was needed to look after pending entries.
    pub ids: Vec<StreamId>,
    /// What is no longer pending.
    pub forgotten: Vec<Forgotten>,
    /// What became of references; none were looked at where the stream has no group.
    pub references: References,
    /// Blocks of nodes, to be freed wherever there is time for it.
    garbage: Vec<Block>,
    /// Their bytes.
    bytes: usize,
}

impl Trimmed {
    /// Bytes of what is to be freed.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is to be freed, where that is much.
    pub(crate) fn garbage(self) -> Option<Box<dyn Send>> {
        (!self.garbage.is_empty()).then(|| Box::new(self.garbage) as Box<dyn Send>)
    }
}

impl Trim {
    /// Whether a part of the stream goes that has so many of its `len` entries, the last of them
    /// `last_id`.
    fn takes(&self, len: usize, part: usize, last_id: impl FnOnce() -> StreamId) -> bool {
        match self.to {
            TrimTo::Len(keep) => len - part >= keep,
            TrimTo::From(id) => last_id() < id,
        }
    }

    fn exceeds(&self, count: usize) -> bool {
        self.limit > 0 && count > self.limit
    }
}

impl Stream {
    /// Takes the oldest entries out.
    pub fn trim(&mut self, trim: Trim) -> Trimmed {
        let mut trimmed = Trimmed::default();
        if self.group_count() > 0 {
            trimmed.references = trim.references;
        }
        if trimmed.references == References::Acknowledged {
            return self.trim_acknowledged(trim);
        }
        let wants_ids = trimmed.references == References::Remove;
        self.trim_blocks(trim, wants_ids, &mut trimmed);
        while let Some(at) = self.0.nodes.first() {
            let body = &mut *self.0;
            if matches!(trim.to, TrimTo::Len(keep) if body.len <= keep) {
                break;
            }
            let Some(node) = body.nodes.get(at) else { break };
            let part = node.len();
            if trim.exceeds(trimmed.count + part) {
                break;
            }
            if trim.takes(body.len, part, || node.last_id()) {
                if wants_ids {
                    push_ids(&mut trimmed.ids, node);
                }
                body.nodes.remove(at);
                body.len -= part;
                trimmed.count += part;
                continue;
            }
            if trim.roughly {
                break;
            }
            let going = going(node, body.len, trim.to);
            if wants_ids {
                trimmed.ids.extend(going.iter().map(|entry| entry.id));
            }
            body.len -= going.len();
            trimmed.count += going.len();
            if going.len() < part {
                if !going.is_empty() {
                    body.nodes.edit(at, |node| node.mark(&going));
                }
                break;
            }
            // What it keeps was deleted before.
            body.nodes.remove(at);
        }
        if wants_ids {
            trimmed.forgotten = self.forget(&trimmed.ids);
        }
        trimmed
    }

    /// Takes out, entry by entry, the oldest that all groups have read and acknowledged.
    fn trim_acknowledged(&mut self, trim: Trim) -> Trimmed {
        let unread = self.groups().map(|(_, group)| group.last_id).min().unwrap_or_default();
        let end = if trim.roughly { unread.min(self.whole_nodes_end(trim)) } else { unread };
        let mut ids = Vec::new();
        let mut looked_at = 0;
        let mut entries = self.range(StreamId::MIN, end);
        while let Some((id, _)) = entries.next_entry() {
            let stays = match trim.to {
                TrimTo::Len(keep) => self.len() - ids.len() <= keep,
                TrimTo::From(from) => id >= from,
            };
            looked_at += 1;
            if stays || trim.exceeds(looked_at) {
                break;
            }
            if !self.is_referenced(id) {
                ids.push(id);
            }
        }
        for id in &ids {
            self.delete(*id);
        }
        Trimmed { count: ids.len(), ids, references: trim.references, ..Trimmed::default() }
    }

    /// The last id of the nodes that would go whole.
    fn whole_nodes_end(&self, trim: Trim) -> StreamId {
        let (mut len, mut end) = (self.len(), StreamId::MIN);
        for node in self.0.nodes.iter() {
            if !trim.takes(len, node.len(), || node.last_id()) {
                break;
            }
            len -= node.len();
            end = node.last_id();
        }
        end
    }

    /// Whole blocks go without a look at their nodes.
    fn trim_blocks(&mut self, trim: Trim, wants_ids: bool, trimmed: &mut Trimmed) {
        let body = &mut *self.0;
        while let Some(part) = body.nodes.first_block_len() {
            let last_id = || body.nodes.first_block_last().map_or(StreamId::MAX, Node::last_id);
            if trim.exceeds(trimmed.count + part) || !trim.takes(body.len, part, last_id) {
                return;
            }
            if matches!(trim.to, TrimTo::Len(keep) if body.len <= keep) {
                return;
            }
            let before = body.nodes.heap_bytes();
            let block = body.nodes.take_first_block();
            if wants_ids {
                let nodes = block.iter().flat_map(Block::nodes);
                nodes.for_each(|node| push_ids(&mut trimmed.ids, node));
            }
            trimmed.garbage.extend(block);
            trimmed.bytes += before.saturating_sub(body.nodes.heap_bytes());
            body.len -= part;
            trimmed.count += part;
        }
    }
}

/// The ids of a node's entries.
fn push_ids(ids: &mut Vec<StreamId>, node: &Node) {
    let mut walk = Walk::forward(node);
    while let Some(entry) = walk.next_entry() {
        if !entry.is_deleted() {
            ids.push(entry.id);
        }
    }
}

/// The entries of the first node that go, of `len` entries in all.
fn going(node: &Node, mut len: usize, to: TrimTo) -> Vec<Head> {
    let mut going = Vec::new();
    let mut walk = Walk::forward(node);
    while let Some(entry) = walk.next_entry() {
        let stays = match to {
            TrimTo::Len(keep) => len <= keep,
            TrimTo::From(id) => entry.id >= id,
        };
        if stays {
            break;
        }
        if !entry.is_deleted() {
            len -= 1;
            going.push(entry);
        }
    }
    going
}
