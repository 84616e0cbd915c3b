//! What everything else stands on: text and numbers, checksums, compression, and the outside world
//! (time, randomness, disk) behind interfaces that a test can replace. Knows nothing of Redis.

pub mod checksum;
pub(crate) mod courtesy;
pub mod crash;
#[cfg(target_os = "linux")]
mod direct_file;
pub mod disk;
pub mod env;
pub mod logging;
pub(crate) mod lzf;
pub mod mutation;
pub(crate) mod pieces;
pub(crate) mod prefetch;
pub mod process;
pub mod sim_disk;
pub(crate) mod text;
