//! What loading a snapshot has to say: keys and other things that are left out, each in the log, and how
//! many they were.

use crate::rdb::decode::PassedOver;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Notes {
    empty_keys: u64,
    skipped_keys: u64,
}

impl Notes {
    /// A key's collection has no elements.
    pub(super) fn empty_key(&mut self, key: &[u8]) {
        let key = String::from_utf8_lossy(key);
        tracing::warn!("Loading the RDB file, skipping empty key: {key}");
        self.empty_keys += 1;
    }

    /// A key is of a type that there is no place for.
    pub(super) fn skipped_key(&mut self, key: &[u8], type_name: &str) {
        let key = String::from_utf8_lossy(key);
        tracing::warn!(
            "Loading the RDB file, skipping the key {key}: a value of the type {type_name}"
        );
        self.skipped_keys += 1;
    }

    /// A module kept something outside of keys.
    pub(super) fn module(module: &str) {
        tracing::warn!("Skipping data of the module {module}, which is not there");
    }

    /// The snapshot ends.
    pub(super) fn finish(&self, passed_over: PassedOver) {
        if self.empty_keys > 0 {
            tracing::warn!("Done loading RDB, empty keys skipped: {}", self.empty_keys);
        }
        let PassedOver { key_metadata, producer_ids, slot_imports } = passed_over;
        for (count, what) in [
            (self.skipped_keys, "keys of other types"),
            (key_metadata, "keys of which modules knew something (the keys are there)"),
            (producer_ids, "ids of entries that streams' producers had sent (XADD IDMP)"),
            (slot_imports, "moves of slots between nodes of a cluster"),
        ] {
            if count > 0 {
                tracing::warn!(
                    "Done loading RDB, left out what this server doesn't have: {count} {what}"
                );
            }
        }
    }
}
