//! What everything else stands on: text and numbers, checksums, compression, and the outside world
//! (time, randomness, disk) behind interfaces that a test can replace. Knows nothing of Redis.

pub mod checksum;
pub mod crash;
pub mod disk;
pub mod env;
pub mod logging;
pub mod lzf;
pub mod pieces;
pub mod process;
pub mod sim_disk;
pub mod text;
