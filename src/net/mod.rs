//! Sockets: listening, reading, and the writing end that the actor uses. Knows the mailbox, never
//! the engine; what to listen on is given.

pub(crate) mod connection;
pub(crate) mod courier;
pub(crate) mod listener;
pub(crate) mod uplink;
