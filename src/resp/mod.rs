//! The wire protocol, RESP2 and RESP3: requests in, replies out, commands for the log. Knows no
//! command.

// What is stored or sent is never cut short: each cast that could do so says why it does not.
#![cfg_attr(
    not(test),
    warn(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap)
)]

pub mod record;
pub mod reply;
pub mod request;
