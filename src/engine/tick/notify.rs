//! Keyspace notifications: the unit's notices as messages.
//!
//! A unit collects notices only of the classes that `notify-keyspace-events` names, and only while
//! anybody listens to anything: without listeners a change costs one comparison. They are published
//! when the command that caused them has run, so that in a transaction they stay in order with what
//! PUBLISH sends.

use crate::base::text;
use crate::config::kinds::EventClasses;
use crate::engine::Engine;
use crate::engine::tick::observe::Observers;
use crate::keyspace::unit::Classes;

/// Whether the letter's class is in the set.
fn has(classes: EventClasses, letter: u8) -> bool {
    EventClasses::of(letter).is_some_and(|class| classes.contains(class))
}

impl Engine {
    /// Tells the unit which notices are wanted. To be called when the setting, the listeners or
    /// the state of loading has changed.
    pub(in crate::engine) fn observe_events(&mut self) {
        let wanted = self.settings.notify_keyspace_events;
        let heard = !self.pubsub.directory.is_silent() && !self.persistence.loading;
        let placed = has(wanted, b'K') || has(wanted, b'E');
        self.databases.unit.observed = if heard && placed {
            EventClasses::LETTERS.iter().copied().filter(|letter| has(wanted, *letter)).collect()
        } else {
            Classes::default()
        };
    }

    /// Publishes what the unit has noted so far, and tells clients that track what it has touched.
    #[inline]
    pub(in crate::engine) fn publish_notices(&mut self) {
        if self.databases.unit.has_news() {
            self.publish_news();
        }
    }

    #[cold]
    fn publish_news(&mut self) {
        if self.observe.on.contains(Observers::TRACKING) {
            self.tell_touched();
        }
        self.publish_each_notice();
    }

    fn publish_each_notice(&mut self) {
        let wanted = self.settings.notify_keyspace_events;
        let mut notices = std::mem::take(&mut self.databases.unit.notices);
        let mut channel = Vec::with_capacity(64);
        for notice in &notices {
            let event = notice.event.name.as_bytes();
            if has(wanted, b'K') {
                name_channel(&mut channel, b"__keyspace@", notice.db.0, &notice.key);
                self.publish(&channel, event);
            }
            if has(wanted, b'E') {
                name_channel(&mut channel, b"__keyevent@", notice.db.0, event);
                self.publish(&channel, &notice.key);
            }
        }
        notices.clear();
        self.databases.unit.notices = notices;
    }
}

fn name_channel(channel: &mut Vec<u8>, head: &[u8], db: u32, tail: &[u8]) {
    channel.clear();
    channel.extend_from_slice(head);
    text::push_u64(channel, u64::from(db));
    channel.extend_from_slice(b"__:");
    channel.extend_from_slice(tail);
}
