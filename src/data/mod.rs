//! The values a key can hold, apart from any protocol: nothing here knows RESP, a command, a key
//! or a file.
//!
//! Collections begin in a compact form, one [`block`] in upstream's own format ([`listpack`],
//! [`intset`]), and grow into structures that never stall.

// What is stored or sent is never cut short: each cast that could do so says why it does not.
#![cfg_attr(
    not(test),
    warn(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap)
)]

pub(crate) mod bits;
pub(crate) mod block;
pub mod element;
pub mod frozen;
pub(crate) mod geo;
pub mod hash;
pub mod hll;
pub(crate) mod index;
pub mod intset;
pub mod list;
pub mod listpack;
pub mod set;
pub mod stream;
pub(crate) mod string;
pub(crate) mod thin;
pub mod thresholds;
pub mod value;
pub mod zset;
