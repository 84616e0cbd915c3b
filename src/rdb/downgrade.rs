//! Making a value fit a version of the format: what the version can't hold is taken out of the value or
//! put another way, and counted, so that whoever converts a file can say so.

use crate::data::hash::Hash;
use crate::data::stream::{Group, Pending, Stream, StreamId};
use crate::data::value::Object;
use crate::rdb::{OwnedValue, format};

/// What of the values so far a version can't hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Expiry times of fields of hashes.
    pub field_expiries: u64,
    /// Pending entries of streams that were given back (XNACK). They go to a consumer with an empty
    /// name.
    pub released: u64,
    /// Streams whose readers reckon anew what was added and deleted.
    pub stream_counts: u64,
    /// Consumers of which it isn't told when they last got something.
    pub active_times: u64,
}

impl Lost {
    /// Changes a value to one that `version` can hold, and counts what that costs.
    pub fn fit(&mut self, value: &mut OwnedValue, version: u16) {
        match value {
            OwnedValue::Object(Object::Hash(hash)) if version < format::VERSION_FIELD_EXPIRY => {
                self.fit_hash(hash);
            }
            OwnedValue::Object(Object::Stream(stream)) => self.fit_stream(stream, version),
            _ => {}
        }
    }

    fn fit_hash(&mut self, hash: &mut Hash) {
        if hash.next_expiry().is_none() {
            return;
        }
        let timed = hash.iter().filter(|field| field.expiry.is_some());
        let names: Vec<Vec<u8>> = timed.map(|field| field.name.to_vec()).collect();
        for name in names {
            self.field_expiries += u64::from(hash.set_expiry(&name, None));
        }
    }

    fn fit_stream(&mut self, stream: &mut Stream, version: u16) {
        if version < format::VERSION_LISTPACK {
            let counts = stream.counts();
            let is_told = counts.max_deleted == StreamId::MIN
                && counts.added == stream.len() as u64
                && stream
                    .groups()
                    .all(|(_, group)| group.entries_read == stream.added_up_to(group.last_id));
            self.stream_counts += u64::from(!is_told);
        }
        if version < format::VERSION_SET_LISTPACK {
            let consumers = stream.groups().flat_map(|(_, group)| group.consumers());
            let differing = consumers.filter(|(_, one)| one.active_ms != Some(one.seen_ms));
            self.active_times += differing.count() as u64;
        }
        if !format::has_released(version) {
            let names: Vec<Vec<u8>> = stream.groups().map(|(name, _)| name.to_vec()).collect();
            for name in names {
                stream.edit_group(&name, |group| self.own_released(group));
            }
        }
    }

    fn own_released(&mut self, group: &mut Group) {
        let released: Vec<StreamId> = group.released().collect();
        if released.is_empty() {
            return;
        }
        let (consumer, _) = group.ensure(b"", 0);
        for id in released {
            if let Some(pending) = group.pending(id) {
                group.put(Pending { consumer, ..pending });
                self.released += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::UnixMillis;
    use crate::data::hash::FieldExpiry;
    use crate::data::stream::Counts;
    use crate::data::thresholds::Thresholds;

    #[test]
    fn what_a_version_cannot_hold_is_counted() {
        let thresholds = Thresholds::default();
        let mut hash = Hash::default();
        hash.insert(b"a", b"1", FieldExpiry::At(UnixMillis(5)), &thresholds);
        hash.insert(b"b", b"2", FieldExpiry::Clear, &thresholds);
        let mut value = OwnedValue::Object(Object::Hash(hash));
        let mut lost = Lost::default();
        lost.fit(&mut value, 12);
        assert_eq!(lost, Lost::default());
        lost.fit(&mut value, 11);
        lost.fit(&mut value, 11);
        assert_eq!(lost, Lost { field_expiries: 1, ..Lost::default() });

        let id = |ms| StreamId { ms, seq: 0 };
        let mut stream = Stream::default();
        stream.push(id(1), [&b"f"[..], b"v"].into_iter(), &thresholds).unwrap();
        let mut group = Group::new(id(1), Some(1));
        let (consumer, _) = group.ensure(b"c", 7);
        group.put(Pending { id: id(1), delivered_ms: 9, deliveries: 2, consumer });
        group.release(id(1), 3);
        stream.add_group(b"g", group);
        let counts = Counts { added: 5, ..stream.counts() };
        stream.set_counts(counts);
        let mut value = OwnedValue::Object(Object::Stream(stream));
        let mut lost = Lost::default();
        lost.fit(&mut value, 9);
        let all = Lost { released: 1, stream_counts: 1, active_times: 1, field_expiries: 0 };
        assert_eq!(lost, all);
        let OwnedValue::Object(Object::Stream(stream)) = value else { panic!("a stream") };
        let group = stream.group(b"g").unwrap();
        assert_eq!((group.released_len(), group.pending_len()), (0, 1));
        assert_eq!(group.consumers().map(|(name, _)| name).collect::<Vec<_>>(), [&b""[..], b"c"]);
    }
}
