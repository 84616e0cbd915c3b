//! Sockets: listening, reading, and the writing end that the actor uses. Knows the mailbox, never
//! the engine; what to listen on is given. What a socket is, is behind [`transport`], so that a
//! simulation can bring its own.

pub(crate) mod connection;
pub(crate) mod courier;
pub(crate) mod listener;
pub mod transport;
pub(crate) mod uplink;
