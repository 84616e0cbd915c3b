//! What a library may do while it is loaded: register its functions.
//!
//! Its globals are `redis` (and `server`) alone then, with `register_function`, `log` and the constants,
//! as upstream: whatever else a library needs it asks for in its functions.

use std::ffi::c_int;

use crate::script::host::Mode;
use crate::script::machine::Kept;
use crate::script::raw::{Kind, Native, Raised, State, native};
use crate::script::{redis_lib, sandbox};

/// A function that a library has registered.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) name: Vec<u8>,
    pub(crate) kept: Kept,
    pub(crate) description: Option<Vec<u8>>,
    /// The names of its flags.
    pub(crate) flags: Vec<Vec<u8>>,
}

/// What an argument's name stands for, where the values are on the stack.
#[derive(Default)]
struct Given {
    name: c_int,
    callback: c_int,
    description: c_int,
    flags: c_int,
}

/// Pushes the table of globals that a library sees while it is loaded.
pub(super) fn push_globals(lua: State, real_globals: c_int) {
    lua.new_table(0, 2);
    let globals = lua.top();
    lua.new_table(0, 16);
    let table = lua.top();
    lua.get_field(real_globals, "redis");
    sandbox::push_real(lua, table + 1);
    let full = lua.top();
    lua.push_nil();
    while lua.next(full) {
        // The constants, and `log`.
        lua.push_value(-2);
        let name = lua.bytes(-1).unwrap_or_default();
        let constant = name.first().is_some_and(u8::is_ascii_uppercase) || name == b"log";
        lua.pop(1);
        if constant && !name.starts_with(b"REPL_") {
            lua.push_value(-2);
            lua.insert(-2);
            lua.raw_set(table);
        } else {
            lua.pop(1);
        }
    }
    lua.set_top(table);
    lua.push_function(native!(register_function), 0);
    lua.set_field(table, "register_function");
    sandbox::refuse_unknown(lua, table);
    sandbox::protect(lua);
    for name in ["redis", "server"] {
        lua.push_value(table);
        lua.set_field(globals, name);
    }
    lua.set_top(globals);
    sandbox::refuse_unknown(lua, globals);
}

/// Whether a function or library may have a name.
pub(crate) fn is_valid_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// What is said of a name that isn't valid.
pub(crate) const BAD_NAME: &str = "Library names can only contain letters, numbers, or \
                                   underscores(_) and must be at least one character long";

fn fail(lua: State, text: &str) -> Raised {
    redis_lib::error_table(lua, text.as_bytes())
}

fn register_function(lua: State) -> Native {
    if lua.host().mode != Mode::Loading {
        let text = "redis.register_function can only be called on FUNCTION LOAD command";
        return Err(fail(lua, text));
    }
    let given = match lua.top() {
        1 => named(lua)?,
        2 => positional(lua)?,
        _ => return Err(fail(lua, "wrong number of arguments to redis.register_function")),
    };
    if given.name == 0 {
        return Err(fail(lua, "redis.register_function must get a function name argument"));
    }
    if given.callback == 0 {
        return Err(fail(lua, "redis.register_function must get a callback argument"));
    }
    let name = lua.text(given.name).unwrap_or_default();
    if !is_valid_name(name) {
        return Err(fail(lua, BAD_NAME));
    }
    let host = lua.host();
    if host.registered.iter().any(|other| other.name.eq_ignore_ascii_case(name)) {
        return Err(fail(lua, "Function already exists in the library"));
    }
    check_flags(lua, given.flags)?;
    lua.push_value(given.callback);
    let kept = Kept(lua.keep());
    // Nothing raises from here on.
    let mut registered =
        Registered { name: name.to_vec(), kept, description: None, flags: Vec::new() };
    if given.description != 0 {
        registered.description = lua.text(given.description).map(<[u8]>::to_vec);
    }
    if given.flags != 0 {
        for index in 1..=lua.raw_len(given.flags) {
            lua.raw_get_index(given.flags, index as c_int);
            registered.flags.push(lua.bytes(-1).unwrap_or_default().to_vec());
            lua.pop(1);
        }
    }
    host.registered.push(registered);
    Ok(0)
}

fn positional(lua: State) -> Result<Given, Raised> {
    if lua.text(1).is_none() {
        return Err(fail(lua, "first argument to redis.register_function must be a string"));
    }
    if lua.kind(2) != Kind::Function {
        return Err(fail(lua, "second argument to redis.register_function must be a function"));
    }
    Ok(Given { name: 1, callback: 2, ..Given::default() })
}

/// The values of a table of named arguments, each left on the stack.
fn named(lua: State) -> Result<Given, Raised> {
    if lua.kind(1) != Kind::Table {
        return Err(fail(
            lua,
            "calling redis.register_function with a single argument is only applicable to Lua table \
             (representing named arguments).",
        ));
    }
    let mut given = Given::default();
    lua.push_nil();
    while lua.next(1) {
        let key = match lua.kind(-2) {
            Kind::String => lua.bytes(-2).unwrap_or_default(),
            Kind::Number => b"",
            _ => {
                let text = "named argument key given to redis.register_function is not a string";
                return Err(fail(lua, text));
            }
        };
        let value = lua.top();
        let kind = lua.kind(value);
        let textual = matches!(kind, Kind::String | Kind::Number);
        match key {
            b"function_name" if textual => given.name = value,
            b"function_name" => {
                let text =
                    "function_name argument given to redis.register_function must be a string";
                return Err(fail(lua, text));
            }
            b"description" if textual => given.description = value,
            b"description" => {
                let text = "description argument given to redis.register_function must be a string";
                return Err(fail(lua, text));
            }
            b"callback" if kind == Kind::Function => given.callback = value,
            b"callback" => {
                let text = "callback argument given to redis.register_function must be a function";
                return Err(fail(lua, text));
            }
            b"flags" if kind == Kind::Table => given.flags = value,
            b"flags" => {
                let text = "flags argument to redis.register_function must be a table representing \
                            function flags";
                return Err(fail(lua, text));
            }
            _ => return Err(fail(lua, "unknown argument given to redis.register_function")),
        }
        // The value stays where it is; the key is on top for the next.
        lua.push_value(value - 1);
    }
    Ok(given)
}

fn check_flags(lua: State, flags: c_int) -> Result<(), Raised> {
    const KNOWN: [&[u8]; 5] =
        [b"no-writes", b"allow-oom", b"allow-stale", b"no-cluster", b"allow-cross-slot-keys"];
    if flags == 0 {
        return Ok(());
    }
    for index in 1..=lua.raw_len(flags) {
        lua.raw_get_index(flags, index as c_int);
        if !lua.bytes(-1).is_some_and(|name| KNOWN.contains(&name)) {
            return Err(fail(lua, "unknown flag given"));
        }
        lua.pop(1);
    }
    Ok(())
}
