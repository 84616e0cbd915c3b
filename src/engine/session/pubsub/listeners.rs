//! Who listens to what: from a name to its listeners, and from a client to its names.
//!
//! Both directions share the name's bytes. A name that nobody listens to any more is forgotten, so
//! that the memory is what the subscriptions of the moment take. Channels and shard channels are
//! looked up once a message; patterns are all tried for every message, in the order of their bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use crate::mailbox::SessionId;

/// Bytes that a subscription takes beside the name, about: two tree entries and the shared counts.
const SUBSCRIPTION_BYTES: usize = 64;

/// What a subscription is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A channel.
    Channel,
    /// All channels that a pattern fits.
    Pattern,
    /// A shard channel: a world of its own, which patterns don't see.
    Shard,
}

/// The clients that listen to one name, in the order of their places.
pub(crate) type Listeners = BTreeSet<SessionId>;

/// All subscriptions by name.
#[derive(Debug, Default)]
pub struct Directory {
    /// By channel.
    pub channels: HashMap<Rc<[u8]>, Listeners, ahash::RandomState>,
    /// By shard channel.
    pub(crate) shards: HashMap<Rc<[u8]>, Listeners, ahash::RandomState>,
    /// By pattern.
    pub patterns: BTreeMap<Rc<[u8]>, Listeners>,
}

impl Directory {
    /// Whether nobody listens to a channel or a pattern.
    #[inline]
    pub(crate) fn is_silent(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty()
    }

    /// How many clients listen to a channel or shard channel by its name.
    pub(crate) fn count(&self, kind: Kind, name: &[u8]) -> usize {
        let listeners = match kind {
            Kind::Channel => self.channels.get(name),
            Kind::Shard => self.shards.get(name),
            Kind::Pattern => self.patterns.get(name),
        };
        listeners.map_or(0, BTreeSet::len)
    }

    /// The names somebody listens to.
    pub(crate) fn names(&self, kind: Kind) -> Box<dyn Iterator<Item = &[u8]> + '_> {
        match kind {
            Kind::Channel => Box::new(self.channels.keys().map(|name| &**name)),
            Kind::Shard => Box::new(self.shards.keys().map(|name| &**name)),
            Kind::Pattern => Box::new(self.patterns.keys().map(|name| &**name)),
        }
    }

    fn add(&mut self, kind: Kind, name: &[u8], who: SessionId) -> Rc<[u8]> {
        let known = match kind {
            Kind::Channel => self.channels.get_key_value(name).map(|(known, _)| known),
            Kind::Shard => self.shards.get_key_value(name).map(|(known, _)| known),
            Kind::Pattern => self.patterns.get_key_value(name).map(|(known, _)| known),
        };
        let name = known.map_or_else(|| Rc::from(name), Rc::clone);
        let listeners = match kind {
            Kind::Channel => self.channels.entry(Rc::clone(&name)).or_default(),
            Kind::Shard => self.shards.entry(Rc::clone(&name)).or_default(),
            Kind::Pattern => self.patterns.entry(Rc::clone(&name)).or_default(),
        };
        listeners.insert(who);
        name
    }

    fn remove(&mut self, kind: Kind, name: &[u8], who: SessionId) {
        let listeners = match kind {
            Kind::Channel => self.channels.get_mut(name),
            Kind::Shard => self.shards.get_mut(name),
            Kind::Pattern => self.patterns.get_mut(name),
        };
        let Some(listeners) = listeners else { return };
        listeners.remove(&who);
        if listeners.is_empty() {
            match kind {
                Kind::Channel => self.channels.remove(name),
                Kind::Shard => self.shards.remove(name),
                Kind::Pattern => self.patterns.remove(name),
            };
        }
    }
}

/// What one client listens to.
#[derive(Debug, Default)]
pub struct Subscriptions {
    channels: BTreeSet<Rc<[u8]>>,
    patterns: BTreeSet<Rc<[u8]>>,
    shards: BTreeSet<Rc<[u8]>>,
    name_bytes: usize,
}

impl Subscriptions {
    fn of(&mut self, kind: Kind) -> &mut BTreeSet<Rc<[u8]>> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shards,
        }
    }

    /// How many subscriptions of a kind there are.
    pub(crate) fn len(&self, kind: Kind) -> usize {
        match kind {
            Kind::Channel => self.channels.len(),
            Kind::Pattern => self.patterns.len(),
            Kind::Shard => self.shards.len(),
        }
    }

    /// Whether there is none of any kind.
    pub(crate) fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty() && self.shards.is_empty()
    }

    /// What a confirmation counts: shard channels by themselves, the other kinds together.
    pub(crate) fn counted_with(&self, kind: Kind) -> usize {
        match kind {
            Kind::Channel | Kind::Pattern => self.channels.len() + self.patterns.len(),
            Kind::Shard => self.shards.len(),
        }
    }

    /// One name of a kind, where there is any.
    pub(crate) fn first(&self, kind: Kind) -> Option<Rc<[u8]>> {
        let names = match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::Shard => &self.shards,
        };
        names.first().cloned()
    }

    /// Bytes that the subscriptions take, about.
    pub(crate) fn bytes(&self) -> usize {
        let count = self.channels.len() + self.patterns.len() + self.shards.len();
        size_of::<Self>() + self.name_bytes + count * SUBSCRIPTION_BYTES
    }

    /// Adds a subscription of the client at `who`, where it isn't there.
    pub(crate) fn subscribe(
        &mut self,
        directory: &mut Directory,
        kind: Kind,
        name: &[u8],
        who: SessionId,
    ) {
        if !self.of(kind).contains(name) {
            let name = directory.add(kind, name, who);
            self.name_bytes += name.len();
            self.of(kind).insert(name);
        }
    }

    /// Ends a subscription of the client at `who`, where it is there.
    pub(crate) fn unsubscribe(
        &mut self,
        directory: &mut Directory,
        kind: Kind,
        name: &[u8],
        who: SessionId,
    ) {
        if self.of(kind).remove(name) {
            self.name_bytes -= name.len();
            directory.remove(kind, name, who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 3] = [Kind::Channel, Kind::Pattern, Kind::Shard];

    #[test]
    fn a_name_without_listeners_is_forgotten() {
        let mut directory = Directory::default();
        let (mut one, mut two) = (Subscriptions::default(), Subscriptions::default());
        for kind in KINDS {
            one.subscribe(&mut directory, kind, b"news", SessionId(1));
            one.subscribe(&mut directory, kind, b"news", SessionId(1));
            two.subscribe(&mut directory, kind, b"news", SessionId(2));
            assert_eq!((one.len(kind), directory.count(kind, b"news")), (1, 2));
            one.unsubscribe(&mut directory, kind, b"news", SessionId(1));
            one.unsubscribe(&mut directory, kind, b"other", SessionId(1));
            assert_eq!(directory.names(kind).collect::<Vec<_>>(), [b"news"]);
            two.unsubscribe(&mut directory, kind, b"news", SessionId(2));
            assert_eq!(directory.names(kind).count(), 0);
        }
        assert!(one.is_empty() && two.is_empty() && directory.is_silent());
        assert_eq!(one.bytes(), size_of::<Subscriptions>());
    }

    #[test]
    fn shard_channels_count_by_themselves() {
        let mut directory = Directory::default();
        let mut mine = Subscriptions::default();
        mine.subscribe(&mut directory, Kind::Shard, b"a", SessionId(0));
        assert!(directory.is_silent());
        mine.subscribe(&mut directory, Kind::Channel, b"a", SessionId(0));
        mine.subscribe(&mut directory, Kind::Pattern, b"a*", SessionId(0));
        let counted = KINDS.map(|kind| mine.counted_with(kind));
        assert_eq!(counted, [2, 2, 1]);
    }
}
