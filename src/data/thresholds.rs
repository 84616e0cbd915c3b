//! Up to where collections keep their compact forms, and how large nodes are: the directives
//! `*-max-listpack-*` and `stream-node-max-*`.

/// Bounds of the compact forms. The defaults are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Fields of a hash in a listpack (`hash-max-listpack-entries`).
    pub hash_entries: usize,
    /// Bytes of each of its fields and values (`hash-max-listpack-value`).
    pub hash_value: usize,
    /// A list's node: elements where positive, -1 to -5 for 4 to 64 KiB (`list-max-listpack-size`).
    pub list_size: i64,
    /// Members of a set of integers (`set-max-intset-entries`).
    pub set_ints: usize,
    /// Members of a set in a listpack (`set-max-listpack-entries`).
    pub set_entries: usize,
    /// Bytes of each of them (`set-max-listpack-value`).
    pub set_value: usize,
    /// Members of a sorted set in a listpack (`zset-max-listpack-entries`).
    pub zset_entries: usize,
    /// Bytes of each of them (`zset-max-listpack-value`).
    pub zset_value: usize,
    /// Bytes of a stream's node; 0 for no limit (`stream-node-max-bytes`).
    pub stream_node_bytes: usize,
    /// Entries of a stream's node; 0 for no limit (`stream-node-max-entries`).
    pub stream_node_entries: usize,
    /// Bytes of a sparse HyperLogLog (`hll-sparse-max-bytes`).
    pub hll_sparse_bytes: usize,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            hash_entries: 512,
            hash_value: 64,
            list_size: -2,
            set_ints: 512,
            set_entries: 128,
            set_value: 64,
            zset_entries: 128,
            zset_value: 64,
            stream_node_bytes: 4096,
            stream_node_entries: 100,
            hll_sparse_bytes: 3_000,
        }
    }
}
