//! A Lua machine: making it, compiling, running.
//!
//! On the main thread's stack, from the bottom: the handler of errors, the table of globals that
//! proxies stand for.

use std::ffi::{CStr, c_int};
use std::ptr::NonNull;

use mlua_sys as ffi;

use crate::resp::reply::Protocol;
use crate::script::host::{Host, Mode, allocate};
use crate::script::raw::{ALL_RESULTS, Fault, Kind, Native, REGISTRY, Raised, State, native};
use crate::script::register::{self, Registered};
use crate::script::{Pace, Server, base_lib, redis_lib, reply, sandbox};

/// The most instructions between two looks at the time: some 10 microseconds where each is quick. Where
/// they aren't (long strings are put together) there are fewer.
pub(crate) const HOOK_INSTRUCTIONS: c_int = 4096;

/// Steps of functions of ours between two looks at the time: some 50 microseconds.
pub(super) const STEPS_BETWEEN_LOOKS: usize = 1 << 14;

/// Bytes that are copied as fast as one step of something else is made.
const BYTES_A_STEP: usize = 16;

/// Room that the scratch buffer keeps from one value to the next, in bytes.
const SCRATCH_KEPT_BETWEEN: usize = 1 << 20;

/// Where the handler of errors is on the stack.
const HANDLER: c_int = 1;
/// Where the globals are.
pub(super) const REAL_GLOBALS: c_int = 2;
/// Where the function is that calls a script and answers with what it returns.
const ENTRY: c_int = 3;
/// Values that stay on the stack.
const BASE: c_int = 3;

/// Runs between two steps of the collection of garbage.
const RUNS_BETWEEN_STEPS: u32 = 50;
/// Memory that a run may leave behind before all garbage is collected at once, in bytes.
const GARBAGE_MAX: usize = 16 << 20;

/// What a machine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// EVAL's scripts.
    Scripts,
    /// Libraries of functions.
    Functions,
}

/// A Lua machine.
#[derive(Debug)]
pub(crate) struct Machine {
    lua: State,
    host: NonNull<Host>,
    /// The globals of a library that is being loaded.
    loading: Option<Kept>,
    runs: u32,
    /// Bytes in use when all garbage was collected last.
    settled: usize,
}

/// A function that a machine keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept(pub(super) c_int);

/// What went wrong in a script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScriptError {
    /// The error with its code word.
    pub(crate) text: Vec<u8>,
    /// Where it happened: source and line.
    pub(crate) place: Option<(Vec<u8>, i64)>,
    /// Whether it has been counted already.
    pub(crate) counted: bool,
}

impl Machine {
    /// A machine that may use so many bytes.
    pub(crate) fn new(purpose: Purpose, limit: usize, seed: u64, versions: Versions) -> Self {
        let host = Box::leak(Box::new(Host::new(seed)));
        let host = NonNull::from(host);
        // SAFETY: the allocator gets the host that it asks for, which lives as long as the state.
        let state = unsafe { ffi::lua_newstate(allocate, host.as_ptr().cast()) };
        let Some(main) = NonNull::new(state) else {
            unreachable!("there is memory for an empty machine")
        };
        let lua = State(state);
        lua.host().main = Some(main);
        // Errors outside of every pcall would end the process. While the machine is made there is no
        // limit on memory, and later everything that may raise runs in one.
        lua.push_function(native!(handle_error), 0);
        sandbox::build(lua, purpose, versions);
        lua.push_function(native!(enter), 0);
        debug_assert_eq!(lua.top(), BASE, "the stack's layout");
        lua.host().hook.instructions = HOOK_INSTRUCTIONS;
        lua.hook(on_count, HOOK_INSTRUCTIONS);
        let loading = match purpose {
            Purpose::Scripts => None,
            Purpose::Functions => {
                register::push_globals(lua, REAL_GLOBALS);
                Some(Kept(lua.keep()))
            }
        };
        lua.host().limit = limit;
        let settled = lua.host().used;
        Self { lua, host, loading, runs: 0, settled }
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.lua.host().used
    }

    /// Compiles a script; else the compiler's message.
    pub(crate) fn compile(&mut self, text: &[u8], name: &CStr) -> Result<Kept, Vec<u8>> {
        self.guarded(|lua| {
            if text.first() == Some(&0x1b) {
                return Err(b"attempt to load chunk with wrong mode".to_vec());
            }
            if lua.load(text, name).is_err() {
                let message = lua.bytes(-1).unwrap_or_default().to_vec();
                lua.pop(1);
                return Err(message);
            }
            Ok(Kept(lua.keep()))
        })
    }

    /// Forgets a function.
    pub(crate) fn forget(&mut self, kept: Kept) {
        self.lua.forget(kept.0);
    }

    /// Without the limit on memory, what may raise only for that is safe outside of a pcall.
    fn guarded<R>(&mut self, work: impl FnOnce(State) -> R) -> R {
        let limit = std::mem::replace(&mut self.lua.host().limit, usize::MAX);
        let result = work(self.lua);
        self.lua.host().limit = limit;
        result
    }

    /// Runs a function with KEYS and ARGV as globals, or as its arguments where it is a library's. Its
    /// result is [`Machine::reply`] then, until [`Machine::settle`].
    pub(crate) fn run<'a>(
        &mut self,
        server: &mut dyn Server,
        kept: Kept,
        call: Call<
            impl ExactSizeIterator<Item = &'a [u8]>,
            impl ExactSizeIterator<Item = &'a [u8]>,
        >,
        client: Protocol,
    ) -> Result<(), ScriptError> {
        let lua = self.lua;
        let host = lua.host();
        debug_assert_eq!(lua.top(), BASE, "the stack's layout");
        host.serve(server, Mode::Running);
        host.client_protocol = client;
        lua.push_value(ENTRY);
        lua.raw_get_index(REGISTRY, kept.0);
        let limit = std::mem::replace(&mut host.limit, usize::MAX);
        push_list(lua, call.keys);
        push_list(lua, call.arguments);
        let arguments = if call.as_globals {
            lua.set_field(REAL_GLOBALS, "ARGV");
            lua.set_field(REAL_GLOBALS, "KEYS");
            1
        } else {
            3
        };
        lua.host().limit = limit;
        let outcome = lua.protected_call(arguments, 0, HANDLER);
        let result = outcome.map_err(|fault| self.error(fault));
        lua.set_top(BASE);
        lua.host().stop();
        result
    }

    /// The reply that the last run has made.
    pub(crate) fn reply(&self) -> &[u8] {
        &self.lua.host().reply.bytes
    }

    /// The errors in it: texts of those that are not counted yet.
    pub(crate) fn take_reply_errors(&mut self) -> Vec<Option<Vec<u8>>> {
        std::mem::take(&mut self.lua.host().reply.errors)
    }

    /// Runs the text of a library, which registers its functions with what `redis` is then.
    pub(crate) fn load_library(
        &mut self,
        server: &mut dyn Server,
        kept: Kept,
    ) -> Result<(), ScriptError> {
        let lua = self.lua;
        lua.host().serve(server, Mode::Loading);
        self.exchange_globals(true);
        lua.raw_get_index(REGISTRY, kept.0);
        let outcome = lua.protected_call(0, 0, HANDLER);
        let result = outcome.map_err(|fault| self.error(fault));
        self.exchange_globals(false);
        lua.set_top(BASE);
        lua.host().stop();
        self.settle();
        result
    }

    /// Says which globals there are: those of a library that is being loaded, or all.
    fn exchange_globals(&mut self, loading: bool) {
        let Some(kept) = self.loading else { return };
        self.guarded(|lua| {
            if loading {
                lua.raw_get_index(REGISTRY, kept.0);
            } else {
                lua.push_value(REAL_GLOBALS);
            }
            sandbox::exchange_globals(lua);
        });
    }

    /// What a library has registered.
    pub(crate) fn take_registered(&mut self) -> Vec<Registered> {
        std::mem::take(&mut self.lua.host().registered)
    }

    /// Takes the error off the stack.
    fn error(&mut self, fault: Fault) -> ScriptError {
        self.guarded(|lua| {
            let mut error = ScriptError::default();
            if fault == Fault::Memory || lua.kind(-1) != Kind::Table {
                let text = lua.text(-1).unwrap_or(b"unknown error");
                error.text = [b"ERR ", reply::before_zero(text)].concat();
                return error;
            }
            let table = lua.top();
            lua.get_field(table, "err");
            let text = lua.text(-1).unwrap_or(b"ERR unknown error");
            error.text = reply::before_zero(text).to_vec();
            lua.get_field(table, "source");
            if let Some(source) = lua.text(-1) {
                let source = source.to_vec();
                lua.get_field(table, "line");
                error.place = Some((source, lua.number(-1) as i64));
            }
            lua.get_field(table, "ignore_error_stats_update");
            error.counted = lua.boolean(-1);
            error
        })
    }

    /// After a run: the hook as it was, and garbage collected in time.
    pub(crate) fn settle(&mut self) {
        let lua = self.lua;
        let host = lua.host();
        host.reply.bytes.clear();
        host.reply.bytes.shrink_to(GARBAGE_MAX);
        if host.hook.hurried {
            host.hook.hurried = false;
            lua.hook(on_count, host.hook.instructions);
        }
        self.runs += 1;
        if host.used > self.settled + self.settled / 2 + GARBAGE_MAX {
            lua.collect(None);
            self.settled = host.used;
        } else if self.runs.is_multiple_of(RUNS_BETWEEN_STEPS) {
            lua.collect(Some(RUNS_BETWEEN_STEPS as c_int));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: nothing runs in it, and the host is freed behind what it allocated.
        unsafe {
            ffi::lua_close(self.lua.0);
            drop(Box::from_raw(self.host.as_ptr()));
        }
    }
}

/// What a script is called with.
#[derive(Debug)]
pub(crate) struct Call<K, A> {
    /// KEYS.
    pub(crate) keys: K,
    /// ARGV.
    pub(crate) arguments: A,
    /// Whether they are globals.
    pub(crate) as_globals: bool,
}

/// What the server calls itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Versions {
    /// The version of Redis that it behaves like.
    pub(crate) redis: &'static str,
    /// Its own name and version.
    pub(crate) name: &'static str,
    pub(crate) own: &'static str,
}

fn push_list<'a>(lua: State, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    lua.new_table(words.len(), 0);
    for (index, word) in words.enumerate() {
        lua.push_bytes(word);
        lua.raw_set_index(-2, index as c_int + 1);
    }
}

/// Calls the function that it is given with what follows, and makes a reply of its result.
fn enter(lua: State) -> Native {
    lua.call(lua.top() - 1, 1);
    reply::write(lua)?;
    Ok(0)
}

/// Makes a table of an error: its text, and the place in the script.
fn handle_error(lua: State) -> Native {
    lua.set_top(1);
    if lua.kind(1) != Kind::Table {
        let text = base_lib::describe(lua, 1);
        lua.push_bytes(b"ERR ");
        lua.push_bytes(text);
        lua.concat(2);
        lua.new_table(0, 3);
        lua.insert(-2);
        lua.set_field(2, "err");
        lua.replace(1);
    }
    if sandbox::is_proxy(lua, 1) {
        return Ok(1);
    }
    if let Some(line) = lua.push_position(1) {
        lua.set_field(1, "source");
        lua.push_number(f64::from(line));
        lua.set_field(1, "line");
    }
    Ok(1)
}

/// Looks at the time.
fn look_at_time(lua: State) -> Result<(), Raised> {
    let host = lua.host();
    let Some(server) = host.server() else { return Ok(()) };
    match server.check_time() {
        Ok(pace) => {
            let instructions = match pace {
                Pace::Quick => (host.hook.instructions * 4).min(HOOK_INSTRUCTIONS),
                Pace::Right => host.hook.instructions,
                Pace::Slow => (host.hook.instructions / 16).max(1),
            };
            if host.hook.hurried || instructions != host.hook.instructions {
                host.hook.hurried = false;
                host.hook.instructions = instructions;
                lua.hook(on_count, instructions);
            }
            Ok(())
        }
        Err(why) => {
            // Every further instruction fails as well, until the innermost pcall that goes on is left.
            host.hook.hurried = true;
            host.hook.ended = true;
            lua.hook(on_count, 1);
            Err(redis_lib::error_table(lua, why.as_bytes()))
        }
    }
}

/// Looks at the time within a function of ours that may take long.
pub(super) fn pause_point(lua: State) -> Result<(), Raised> {
    look_at_time(lua)
}

/// Counts steps of a function of ours that may take long, and looks at the time after so many. They
/// count over calls, so that many short ones count, too.
#[inline]
pub(super) fn spend(lua: State, steps: usize) -> Result<(), Raised> {
    let host = lua.host();
    if host.hook.fuel >= steps {
        host.hook.fuel -= steps;
        return Ok(());
    }
    host.hook.fuel = STEPS_BETWEEN_LOOKS;
    look_at_time(lua)
}

/// As [`spend`], for bytes that are copied or looked at.
pub(super) fn spend_bytes(lua: State, bytes: usize) -> Result<(), Raised> {
    spend(lua, bytes / BYTES_A_STEP)
}

/// As [`spend`] and [`spend_bytes`], where the scratch buffer grows into a value: raises where there
/// would be no memory for that.
#[inline]
pub(super) fn spend_making(lua: State, steps: usize, bytes: usize) -> Result<(), Raised> {
    let (host, steps) = (lua.host(), steps + bytes / BYTES_A_STEP);
    if host.hook.fuel < steps && !host.has_room(host.scratch.len() + bytes) {
        lua.out_of_memory();
    }
    spend(lua, steps)
}

/// Pushes what is in the scratch buffer, which is empty then.
pub(super) fn push_scratch(lua: State) {
    let host = lua.host();
    lua.push_bytes(&host.scratch);
    host.scratch.clear();
    host.scratch.shrink_to(SCRATCH_KEPT_BETWEEN);
}

unsafe extern "C-unwind" fn on_count(state: *mut ffi::lua_State, _: *mut ffi::lua_Debug) {
    if look_at_time(State(state)).is_err() {
        // SAFETY: the error's value is on top; nothing is to be dropped.
        unsafe { ffi::lua_error(state) };
    }
}

/// Brings the hook forward to the next instruction.
pub(super) fn hurry(main: NonNull<ffi::lua_State>) {
    State(main.as_ptr()).hook(on_count, 1);
}

/// As many results as there are, for callers elsewhere.
pub(super) const ALL: c_int = ALL_RESULTS;
