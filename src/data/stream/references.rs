//! Groups' references to entries: what is to be delivered or acknowledged yet, and what becomes of
//! that when an entry goes.

use crate::data::stream::Stream;
use crate::data::stream::id::StreamId;

/// What becomes of an entry's references when it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum References {
    /// They stay, and what they refer to isn't there any more (KEEPREF).
    #[default]
    Keep,
    /// They go with it (DELREF).
    Remove,
    /// Only an entry that every group has read and acknowledged goes (ACKED).
    Acknowledged,
}

/// Entries that are no longer pending in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// The group's name.
    pub group: Box<[u8]>,
    /// Their ids.
    pub ids: Vec<StreamId>,
}

impl Stream {
    /// Whether a group has yet to read or to acknowledge an entry.
    pub fn is_referenced(&self, id: StreamId) -> bool {
        self.groups().any(|(_, group)| id > group.last_id || group.pending(id).is_some())
    }

    /// Entries are pending in no group any more; says where they were.
    pub fn forget(&mut self, ids: &[StreamId]) -> Vec<Forgotten> {
        let names: Vec<Box<[u8]>> = self.groups().map(|(name, _)| name.into()).collect();
        let forget = |group: Box<[u8]>| {
            let ids = self.edit_group(&group, |group| {
                ids.iter().copied().filter(|id| group.acknowledge(*id)).collect::<Vec<_>>()
            })?;
            (!ids.is_empty()).then_some(Forgotten { group, ids })
        };
        names.into_iter().filter_map(forget).collect()
    }
}
