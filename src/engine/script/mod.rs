//! Scripts' part in the engine: EVAL and its kin, what a script's calls may do, and what becomes of
//! one that runs for too long.
//!
//! By duty: [`eval`] finds and runs scripts, [`cache`] keeps them, [`admit`] says what a script may do,
//! [`caller`] runs the commands that a script calls. The Lua machine itself is [`crate::script`].
//!
//! A script's commands run in a session of the engine's own, so that they go through the same dispatch as
//! EXEC's, inside the unit under way; what they answer is in that session's buffer until the machine has
//! made values of it.

use crate::config::{REDIS_VERSION, VERSION};
use crate::engine::Engine;
use crate::engine::script::admit::Running;
use crate::engine::script::cache::Cache;
use crate::mailbox::SessionId;
use crate::script::machine::{Machine, Purpose, Versions};

mod admit;
mod cache;
mod caller;
pub(crate) mod eval;
mod run;

/// Bytes that a machine may use.
const MACHINE_BYTES_MAX: usize = 1 << 30;

/// What the engine knows of scripts.
#[derive(Debug)]
pub struct State {
    /// The machine of EVAL's scripts; not there before the first one, nor while one runs.
    machine: Option<Box<Machine>>,
    /// EVAL's scripts.
    cache: Cache,
    /// The session that scripts' commands run in.
    caller: SessionId,
    /// What runs.
    running: Option<Running>,
}

impl State {
    /// No scripts. `caller` is the session that their commands will run in.
    pub(crate) fn new(caller: SessionId) -> Self {
        Self { machine: None, cache: Cache::default(), caller, running: None }
    }

    /// How many scripts were evicted.
    pub(crate) fn evicted(&self) -> u64 {
        self.cache.evicted()
    }

    /// How many scripts are kept, and bytes that they take beside Lua's.
    pub(crate) fn kept(&self) -> (usize, usize) {
        self.cache.size()
    }

    /// Bytes that Lua uses.
    pub(crate) fn lua_bytes(&self) -> usize {
        self.machine.as_ref().map_or(0, |machine| machine.used())
    }
}

impl Engine {
    /// The machine of EVAL's scripts.
    fn take_machine(&mut self) -> Box<Machine> {
        self.scripts.machine.take().unwrap_or_else(|| {
            let seed = self.rng.next_u64();
            let versions = Versions { redis: REDIS_VERSION, name: "redstart", own: VERSION };
            Box::new(Machine::new(Purpose::Scripts, MACHINE_BYTES_MAX, seed, versions))
        })
    }
}
