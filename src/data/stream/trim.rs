//! Taking the oldest entries out.

use crate::data::stream::Stream;
use crate::data::stream::id::StreamId;
use crate::data::stream::node::{Head, Node, Walk};
use crate::data::stream::nodes::Block;

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
}

/// What was taken out.
#[derive(Debug, Default)]
pub struct Trimmed {
    /// How many entries.
    pub count: usize,
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
        self.trim_blocks(trim, &mut trimmed);
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
                body.nodes.remove(at);
                body.len -= part;
                trimmed.count += part;
                continue;
            }
            if trim.roughly {
                break;
            }
            let going = going(node, body.len, trim.to);
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
        trimmed
    }

    /// Whole blocks go without a look at their nodes.
    fn trim_blocks(&mut self, trim: Trim, trimmed: &mut Trimmed) {
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
            trimmed.garbage.extend(body.nodes.take_first_block());
            trimmed.bytes += before.saturating_sub(body.nodes.heap_bytes());
            body.len -= part;
            trimmed.count += part;
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
