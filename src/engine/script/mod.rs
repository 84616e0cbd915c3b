//! Scripts' part in the engine: EVAL, FCALL and their forms, what a script's calls may do, and what
//! becomes of a script that runs for too long.
//!
//! By duty: [`eval`] finds scripts, [`cache`] keeps them, [`functions`] and [`library`] do the same for
//! functions, [`run`] runs one, [`admit`] says what it may do, [`caller`] runs the commands that it calls,
//! [`busy`] suspends one that runs for too long. The Lua machine itself is [`crate::script`].
//!
//! A script's commands run in a session of the engine's own, so that they go through the same dispatch as
//! EXEC's, inside the unit under way; what they answer is in that session's buffer until the machine has
//! made values of it.

use std::fmt;

use corosensei::stack::DefaultStack;

use crate::config::{REDIS_VERSION, VERSION};
use crate::engine::Engine;
use crate::engine::script::admit::Running;
use crate::engine::script::busy::{Standing, Suspended};
use crate::engine::script::cache::Cache;
use crate::engine::script::library::Libraries;
use crate::mailbox::SessionId;
use crate::script::machine::{Machine, Purpose, Versions};

mod admit;
mod busy;
mod cache;
mod caller;
pub(crate) mod eval;
pub(crate) mod functions;
mod library;
mod run;

/// Bytes that a machine may use.
const MACHINE_BYTES_MAX: usize = 1 << 30;

/// What the engine knows of scripts.
pub struct State {
    /// The machine of EVAL's scripts; not there before the first one, nor while one runs.
    machine: Option<Box<Machine>>,
    /// EVAL's scripts.
    cache: Cache,
    /// The machine of functions; likewise.
    functions_machine: Option<Box<Machine>>,
    /// Functions.
    libraries: Libraries,
    /// When a library that is being loaded has taken too long, in ticks.
    loading_until: Option<u64>,
    /// The session that scripts' commands run in.
    caller: SessionId,
    /// What runs, on whatever stack.
    running: Option<Running>,
    /// The command whose script stands still; not there during its slices.
    suspended: Option<Box<Suspended>>,
    /// How a script that runs on a stack of its own stands still.
    standing: Option<Standing>,
    /// When the slice is over that runs, in ticks; nothing before a script has stood still.
    slice_end: Option<u64>,
    /// `busy-reply-threshold` that was looked at last, and what that is in ticks.
    threshold: (u64, u64),
    /// DEBUG SET-DISABLE-DENY-SCRIPTS: scripts may call what is refused otherwise.
    pub(in crate::engine) all_allowed: bool,
    /// Whether the script that runs is to end.
    killed: bool,
    /// A stack for the next one.
    spare: Option<DefaultStack>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("running", &self.running).finish_non_exhaustive()
    }
}

impl State {
    /// No scripts. `caller` is the session that their commands will run in.
    pub(crate) fn new(caller: SessionId) -> Self {
        Self {
            machine: None,
            cache: Cache::default(),
            functions_machine: None,
            libraries: Libraries::default(),
            loading_until: None,
            caller,
            running: None,
            suspended: None,
            standing: None,
            slice_end: None,
            threshold: (0, u64::MAX),
            all_allowed: false,
            killed: false,
            spare: None,
        }
    }

    /// Whether a session is that of scripts' commands.
    #[inline]
    pub(in crate::engine) fn is_caller(&self, slot: SessionId) -> bool {
        slot == self.caller
    }

    /// Whether a script stands still.
    #[inline]
    pub(in crate::engine) fn is_busy(&self) -> bool {
        self.suspended.is_some()
    }

    /// Whose command runs in a session: the client's that has called the script, where the session is
    /// that of scripts.
    pub(in crate::engine) fn client_of(&self, slot: SessionId) -> SessionId {
        match &self.running {
            Some(running) if slot == self.caller => running.client,
            _ => slot,
        }
    }

    /// How many scripts were evicted.
    pub(crate) fn evicted(&self) -> u64 {
        self.cache.evicted()
    }

    /// What INFO and MEMORY STATS tell.
    pub(crate) fn figures(&self) -> Figures {
        let (scripts, script_bytes) = self.cache.size();
        let used = |machine: &Option<Box<Machine>>| {
            machine.as_ref().map_or(0, |machine| machine.used() as u64)
        };
        Figures {
            lua_bytes: used(&self.machine),
            scripts,
            script_bytes: script_bytes as u64,
            functions_lua_bytes: used(&self.functions_machine),
            functions: self.libraries.functions.len(),
            libraries: self.libraries.by_name.len(),
            library_bytes: self.libraries.bytes() as u64,
        }
    }
}

/// What scripts take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Bytes of the machine of EVAL's scripts.
    pub(crate) lua_bytes: u64,
    /// Those scripts.
    pub(crate) scripts: usize,
    /// Bytes that they take beside the machine.
    pub(crate) script_bytes: u64,
    /// Bytes of the machine of functions.
    pub(crate) functions_lua_bytes: u64,
    /// Functions.
    pub(crate) functions: usize,
    /// Their libraries.
    pub(crate) libraries: usize,
    /// Bytes that these take beside the machine.
    pub(crate) library_bytes: u64,
}

impl Engine {
    /// The machine of EVAL's scripts.
    #[expect(clippy::unnecessary_box_returns, reason = "it moves to and fro as a pointer")]
    fn take_machine(&mut self) -> Box<Machine> {
        self.scripts.machine.take().unwrap_or_else(|| self.make_machine(Purpose::Scripts))
    }

    /// The machine of functions.
    #[expect(clippy::unnecessary_box_returns, reason = "it moves to and fro as a pointer")]
    fn take_functions_machine(&mut self) -> Box<Machine> {
        self.scripts
            .functions_machine
            .take()
            .unwrap_or_else(|| self.make_machine(Purpose::Functions))
    }

    #[expect(clippy::unnecessary_box_returns, reason = "it moves to and fro as a pointer")]
    fn make_machine(&mut self, purpose: Purpose) -> Box<Machine> {
        let seed = self.rng.next_u64();
        let versions = Versions { redis: REDIS_VERSION, name: "redstart", own: VERSION };
        Box::new(Machine::new(purpose, MACHINE_BYTES_MAX, seed, versions))
    }
}
