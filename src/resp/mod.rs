//! The wire protocol, RESP2 and RESP3: requests in, replies out, commands for the log. Knows no
//! command.

pub mod record;
pub mod reply;
pub mod request;
