//! What the fuzzing targets do with their inputs: each module's `run` takes any bytes, and panics
//! where the server would be wrong.
//!
//! The bodies are here, apart from libFuzzer, so that two may use them: `fuzz_targets`, which
//! searches for new inputs, and `tests/fuzz_corpus.rs` in the server's own tests, which runs all
//! inputs kept in `corpus/` with the stable toolchain. [`seeds`] makes most of those.
//!
//! Invariant: a `run` depends on nothing but its input, except that the hash tables key their
//! hashes anew in each process.

pub mod aof_recover;
pub mod collection_model;
pub mod collections;
pub mod hostile;
pub mod hyperloglog;
pub mod input;
pub mod listpack;
pub mod rdb_decode;
pub mod request;
pub mod restore;
pub mod seeds;
pub mod table_model;
pub mod wire;

/// A target by its name, which is that of its directory in `corpus/`.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 8] = [
    ("aof_recover", aof_recover::run),
    ("collection_model", collection_model::run),
    ("hyperloglog", hyperloglog::run),
    ("listpack", listpack::run),
    ("rdb_decode", rdb_decode::run),
    ("request", request::run),
    ("restore", restore::run),
    ("table_model", table_model::run),
];
