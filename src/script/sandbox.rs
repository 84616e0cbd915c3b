//! What scripts see: the globals, and why they can't change them.
//!
//! Lua 5.1 has no table that can't be changed, so whatever outlives a script is reached through a
//! *proxy*: an empty table whose metatable looks everything up in the real one and refuses assignment.
//! The real table is never handed out: getmetatable says that a proxy has none, and the functions that
//! go around metamethods (rawset, next, table.insert, ...) know proxies (`base_lib`).
//!
//! ```text
//!  _G (proxy) ──__index──► globals ──__index──► error: nonexistent global variable
//!                            ├─ redis, server (proxy) ──► call, pcall, ...
//!                            ├─ string, math, table, ... (proxies)
//!                            └─ KEYS, ARGV
//! ```

use std::ffi::c_int;

use crate::script::machine::{Purpose, REAL_GLOBALS, Versions};
use crate::script::raw::{
    CFunction, GLOBALS, Kind, LIBRARIES, Native, Raised, State, native, upvalue,
};
use crate::script::redis_lib;
use crate::script::{base_lib, bits, cjson, cmsgpack, string_lib, struct_lib, table_lib};

/// What a script may use of Lua's own globals.
const ALLOWED: &[&str] = &[
    "_VERSION",
    "assert",
    "coroutine",
    "error",
    "gcinfo",
    "ipairs",
    "math",
    "rawequal",
    "select",
    "string",
    "table",
    "tonumber",
    "tostring",
    "type",
];

/// Makes the globals; the real table is left on the stack.
pub(super) fn build(lua: State, purpose: Purpose, versions: Versions) {
    for open in LIBRARIES {
        lua.push_function(open, 0);
        lua.call(0, 0);
    }
    lua.new_table(0, 40);
    debug_assert_eq!(lua.top(), REAL_GLOBALS, "the stack's layout");
    for name in ALLOWED {
        lua.get_field(GLOBALS, name);
        lua.set_field(REAL_GLOBALS, name);
    }
    base_lib::install(lua, REAL_GLOBALS);
    table_lib::install(lua, REAL_GLOBALS);
    string_lib::install(lua, REAL_GLOBALS);
    redis_lib::install(lua, REAL_GLOBALS, purpose, versions);
    bits::install(lua, REAL_GLOBALS);
    cjson::install(lua, REAL_GLOBALS);
    cmsgpack::install(lua, REAL_GLOBALS);
    struct_lib::install(lua, REAL_GLOBALS);
    base_lib::install_clock(lua, REAL_GLOBALS);
    for name in ["coroutine", "math", "string", "table", "bit", "cjson", "cmsgpack", "os", "struct"]
    {
        lua.get_field(REAL_GLOBALS, name);
        if lua.kind(-1) == Kind::Nil {
            lua.pop(1);
        } else {
            protect(lua);
            lua.set_field(REAL_GLOBALS, name);
        }
    }
    protect_strings(lua);
    refuse_unknown(lua, REAL_GLOBALS);
    lua.push_value(REAL_GLOBALS);
    protect(lua);
    if lua.get_metatable(-1) {
        // Scripts that ask for it get an empty one.
        let meta = lua.top();
        lua.new_table(0, 0);
        protect(lua);
        lua.set_field(meta, "__metatable");
        lua.pop(1);
    }
    lua.push_value(-1);
    lua.set_field(REAL_GLOBALS, "_G");
    lua.replace(GLOBALS);
}

/// What isn't in a table is an error.
pub(super) fn refuse_unknown(lua: State, table: c_int) {
    lua.new_table(0, 1);
    lua.push_function(native!(no_such_global), 0);
    lua.set_field(lua.top() - 1, "__index");
    lua.set_metatable(table);
}

/// The table on top becomes what the globals' proxy stands for.
pub(super) fn exchange_globals(lua: State) {
    let table = lua.top();
    lua.push_value(GLOBALS);
    if lua.get_metatable(-1) {
        let meta = lua.top();
        lua.push_value(table);
        lua.raw_set_index(meta, 1);
        lua.push_value(table);
        lua.set_field(meta, "__index");
    }
    lua.set_top(table - 1);
}

/// Replaces the table on top by a proxy of it.
pub(super) fn protect(lua: State) {
    let real = lua.top();
    lua.new_table(0, 0);
    lua.new_table(1, 2);
    let meta = lua.top();
    lua.push_value(real);
    lua.raw_set_index(meta, 1);
    lua.push_value(real);
    lua.set_field(meta, "__index");
    lua.push_function(native!(refuse_assignment), 0);
    lua.set_field(meta, "__newindex");
    lua.host().proxies.push(lua.address(meta));
    lua.set_metatable(meta - 1);
    lua.replace(real);
    lua.set_top(real);
}

/// Strings' methods are the protected library's.
fn protect_strings(lua: State) {
    lua.push_bytes(b"");
    if lua.get_metatable(-1) {
        let meta = lua.top();
        lua.get_field(REAL_GLOBALS, "string");
        lua.set_field(meta, "__index");
        // Who asks for it gets a proxy.
        lua.push_value(meta);
        protect(lua);
        lua.set_field(meta, "__metatable");
        lua.pop(1);
    }
    lua.pop(1);
}

/// Whether a value is a proxy.
#[inline]
pub(super) fn is_proxy(lua: State, index: c_int) -> bool {
    if !lua.get_metatable(index) {
        return false;
    }
    let address = lua.address(-1);
    lua.pop(1);
    lua.host().proxies.contains(&address)
}

/// Pushes the table that a proxy stands for; false where a value is none.
#[inline]
pub(super) fn push_real(lua: State, index: c_int) -> bool {
    if !lua.get_metatable(index) {
        return false;
    }
    if lua.host().proxies.contains(&lua.address(-1)) {
        lua.raw_get_index(-1, 1);
        lua.remove(-2);
        return true;
    }
    lua.pop(1);
    false
}

/// What is said where something protected would change.
pub(super) const READ_ONLY: &str = "Attempt to modify a readonly table";

fn refuse_assignment(lua: State) -> Native {
    Err(lua.fail(READ_ONLY))
}

fn no_such_global(lua: State) -> Native {
    let host = lua.host();
    host.scratch.clear();
    host.scratch.extend_from_slice(b"Script attempted to access nonexistent global variable '");
    let name = if lua.kind(2) == Kind::Number || lua.kind(2) == Kind::String {
        lua.text(2).unwrap_or_default()
    } else {
        return Err(
            lua.fail("Second argument to luaProtectedTableError must be a string or number")
        );
    };
    host.scratch.extend_from_slice(name);
    host.scratch.push(b'\'');
    lua.push_where();
    lua.push_bytes(&host.scratch);
    lua.concat(2);
    Err(Raised)
}

/// The first of a function's own values as a C function.
pub(super) fn wrapped(lua: State) -> Option<CFunction> {
    lua.c_function(upvalue(1))
}
