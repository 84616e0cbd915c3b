//! Lua 5.1 for scripts and functions: the machine, its sandbox, its libraries, and the conversions
//! between Lua's values and replies. Knows no engine: commands go through [`Server`].
//!
//! ```text
//!  EVAL ──► engine/script ──► Machine::run ──► lua_pcall ──► redis.call ──► Server::call ──► engine
//!                                  │                              │
//!                        a Lua value becomes a reply    the reply becomes a Lua value
//! ```
//!
//! *State.* A [`machine::Machine`] owns one `lua_State` and its [`host::Host`]: the buffers that calls
//! reuse, the limit on memory, and, while a script runs, whom it calls. All of a machine's values stay
//! in it; what the engine keeps is a number of the machine's registry. Whether a script runs, has been
//! running for too long or is to be killed is the engine's state (`engine/script/busy.rs`), and Lua asks
//! for it at few places only ([`Server::check_time`]).
//!
//! *Owner.* The actor's thread. A script runs on a stack of its own, so that it can be suspended at any
//! depth; nobody touches the machine meanwhile.
//!
//! *Faults, and what answers them.*
//! - An endless loop: a hook every [`machine::HOOK_INSTRUCTIONS`] instructions asks for the time. What
//!   takes long within one instruction counts its steps and asks as well ([`machine::spend`]: patterns,
//!   sorting, codecs, compiling), or brings the hook forward (memory that is allocated,
//!   [`host::Host::account`]). What is left in one piece is the copying of a string.
//! - Too much memory: the allocator refuses, and Lua raises "not enough memory", which any pcall sees. What
//!   grows outside of Lua until it becomes a value is counted as if it were one ([`machine::spend_making`]).
//! - Recursion: Lua's own bounds (20,000 calls, 200 levels of C); codecs count their depth, patterns don't
//!   recurse.
//! - Bytecode is refused by its first byte, since Lua doesn't verify it.
//! - A script that changes what others see: every table that outlives a script is reached through a
//!   proxy that refuses assignment ([`sandbox`]).
//! - Errors jump (`longjmp`) over Rust's frames. So a function that Lua calls keeps nothing on its stack
//!   that must be dropped: buffers belong to the host. [`raw`] says where that can happen.
//!
//! *Proofs.* `tests/scripts` (published vulnerabilities, bounds, kills; random scripts
//! give redis-server's replies), upstream's suites unit/scripting and unit/functions.

pub(crate) mod base_lib;
mod bits;
mod cjson;
mod cjson_decode;
mod cmsgpack;
pub(crate) mod convert;
pub(crate) mod host;
pub(crate) mod machine;
mod pattern;
pub(crate) mod raw;
pub(crate) mod redis_lib;
pub(crate) mod register;
pub(crate) mod reply;
pub(crate) mod sandbox;
mod string_lib;
mod struct_lib;
mod table_lib;

use crate::command::args::Args;
use crate::resp::reply::Protocol;

/// What a script asks of the server.
pub(crate) trait Server {
    /// Runs a command and returns its reply's bytes, in the script's protocol version.
    fn call(&mut self, args: Args<'_>) -> &[u8];
    /// Chooses the protocol version of replies to [`Server::call`].
    fn set_protocol(&mut self, protocol: Protocol);
    /// The protocol version of replies to [`Server::call`].
    fn protocol(&self) -> Protocol;
    /// Which of the changes from here on reach the log, and which replicas.
    fn set_replication(&mut self, flags: u8);
    /// Whether the user may run a command; nothing where there is no such command.
    fn may_run(&self, args: Args<'_>) -> Option<bool>;
    /// Writes a line into the server's log.
    fn log(&self, level: u8, text: &[u8]);
    /// Looks at the time; suspends a script that has been running for too long. The error is why the
    /// script ends: somebody wants it to.
    fn check_time(&mut self) -> Result<Pace, &'static str>;
}

/// How long it was since the last look at the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// So short that looking costs more than it tells.
    Quick,
    /// As it should be.
    Right,
    /// Too long.
    Slow,
}
