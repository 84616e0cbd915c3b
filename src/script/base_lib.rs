//! The functions of Lua's base library that can't stay as they are: they would go around the
//! protection of tables, load bytecode, or take a size without looking at it.

use std::ffi::c_int;

use crate::script::machine::{self, ALL};
use crate::script::raw::{CFunction, Kind, Native, Raised, State, native, upvalue};
use crate::script::sandbox::{READ_ONLY, is_proxy, push_real};

/// More values than `unpack` can ever return: Lua's stack has room for 8,000 of a function of C.
const UNPACK_MAX: i64 = 1 << 20;

/// How much of the garbage is collected between two looks at the time.
const COLLECTED_KIBIBYTES: c_int = 256;

/// Puts them into the table of globals.
pub(super) fn install(lua: State, globals: c_int) {
    let functions: [(&str, CFunction); 11] = [
        ("pcall", native!(pcall)),
        ("xpcall", native!(pcall_handled)),
        ("rawset", native!(raw_set)),
        ("rawget", native!(raw_get)),
        ("next", native!(next)),
        ("getmetatable", native!(get_metatable)),
        ("setmetatable", native!(set_metatable)),
        ("loadstring", native!(load_string)),
        ("load", native!(load)),
        ("unpack", native!(unpack)),
        ("collectgarbage", native!(collect_garbage)),
    ];
    for (name, function) in functions {
        lua.push_function(function, 0);
        lua.set_field(globals, name);
    }
    lua.get_field(globals, "next");
    lua.push_function(native!(pairs), 1);
    lua.set_field(globals, "pairs");
}

/// Makes a library of functions and puts it into the globals.
pub(super) fn set_library(lua: State, globals: c_int, name: &str, functions: &[(&str, CFunction)]) {
    lua.new_table(0, functions.len());
    let table = lua.top();
    for (function_name, function) in functions {
        lua.push_function(*function, 0);
        lua.set_field(table, function_name);
    }
    lua.set_field(globals, name);
}

/// `os` has a clock and nothing else.
pub(super) fn install_clock(lua: State, globals: c_int) {
    set_library(lua, globals, "os", &[("clock", native!(clock))]);
}

/// Processor time in seconds.
fn clock(lua: State) -> Native {
    lua.push_number(crate::script::raw::processor_seconds());
    Ok(1)
}

/// An error value as text.
pub(super) fn describe<'a>(lua: State, index: c_int) -> &'a [u8] {
    match lua.kind(index) {
        Kind::Nil => b"nil",
        Kind::Boolean if lua.boolean(index) => b"true",
        Kind::Boolean => b"false",
        Kind::Number | Kind::String => lua.text(index).unwrap_or_default(),
        _ => lua.type_name(index).as_bytes(),
    }
}

/// As Lua's; an error that is a table with a text is that text, as scripts of old expect.
fn pcall(lua: State) -> Native {
    lua.check_any(1);
    let outcome = lua.protected_call(lua.top() - 1, ALL, 0);
    lua.push_boolean(outcome.is_ok());
    lua.insert(1);
    if outcome.is_err() && lua.kind(2) == Kind::Table && !is_proxy(lua, 2) {
        lua.get_field(2, "err");
        if lua.kind(-1) == Kind::String {
            lua.replace(2);
        }
        lua.set_top(2);
    }
    Ok(lua.top())
}

/// `xpcall`, as Lua's but for [`handle`].
fn pcall_handled(lua: State) -> Native {
    lua.check_any(2);
    lua.set_top(2);
    lua.push_function(native!(handle), 1);
    lua.insert(1);
    let outcome = lua.protected_call(0, ALL, 1);
    lua.push_boolean(outcome.is_ok());
    lua.replace(1);
    Ok(lua.top())
}

/// Calls the script's error handler, which is the upvalue, unless the script has been told to end. That
/// error is raised by the hook, and Lua calls no hook while one is running: a handler that loops could
/// not be stopped.
fn handle(lua: State) -> Native {
    if !lua.host().hook.ended {
        lua.push_value(upvalue(1));
        lua.insert(1);
        lua.call(lua.top() - 1, 1);
    }
    Ok(1)
}

fn raw_set(lua: State) -> Native {
    lua.check_table(1);
    lua.check_any(2);
    lua.check_any(3);
    lua.set_top(3);
    if is_proxy(lua, 1) {
        return Err(lua.fail_plainly(READ_ONLY.as_bytes()));
    }
    lua.raw_set(1);
    Ok(1)
}

fn raw_get(lua: State) -> Native {
    lua.check_table(1);
    lua.check_any(2);
    lua.set_top(2);
    if push_real(lua, 1) {
        lua.replace(1);
    }
    lua.raw_get(1);
    Ok(1)
}

fn next(lua: State) -> Native {
    lua.check_table(1);
    lua.set_top(2);
    if push_real(lua, 1) {
        lua.replace(1);
    }
    if lua.next(1) {
        return Ok(2);
    }
    lua.push_nil();
    Ok(1)
}

fn pairs(lua: State) -> Native {
    lua.check_table(1);
    lua.push_value(upvalue(1));
    lua.push_value(1);
    lua.push_nil();
    Ok(3)
}

fn get_metatable(lua: State) -> Native {
    lua.check_any(1);
    let proxy = is_proxy(lua, 1);
    if !lua.get_metatable(1) {
        lua.push_nil();
        return Ok(1);
    }
    let meta = lua.top();
    lua.get_field(meta, "__metatable");
    // A proxy's is known to nobody.
    if lua.kind(-1) == Kind::Nil && !proxy {
        lua.pop(1);
    }
    Ok(1)
}

fn set_metatable(lua: State) -> Native {
    lua.check_table(1);
    if !matches!(lua.kind(2), Kind::Nil | Kind::Table) || lua.top() < 2 {
        lua.argument_error(2, c"nil or table expected");
    }
    lua.set_top(2);
    if is_proxy(lua, 1) {
        return Err(lua.fail_plainly(READ_ONLY.as_bytes()));
    }
    if lua.get_metatable(1) {
        let meta = lua.top();
        lua.get_field(meta, "__metatable");
        if lua.kind(-1) != Kind::Nil {
            return Err(lua.fail("cannot change a protected metatable"));
        }
        lua.set_top(2);
    }
    if push_real(lua, 2) {
        lua.pop(1);
    }
    lua.set_metatable(1);
    Ok(1)
}

/// Loads a text that is on top of the stack.
fn load_text(lua: State, text: &[u8], name: &[u8]) -> Native {
    let host = lua.host();
    host.scratch.clear();
    host.scratch.extend_from_slice(name);
    host.scratch.push(0);
    if text.first() == Some(&0x1b) {
        lua.push_nil();
        lua.push_bytes(b"attempt to load chunk with wrong mode");
        return Ok(2);
    }
    let name = std::ffi::CStr::from_bytes_until_nul(&host.scratch).unwrap_or(c"?");
    if lua.load(text, name).is_ok() {
        return Ok(1);
    }
    lua.push_nil();
    lua.insert(-2);
    Ok(2)
}

fn load_string(lua: State) -> Native {
    let text = lua.check_bytes(1);
    let name = if lua.kind(2) == Kind::Nil { text } else { lua.check_bytes(2) };
    load_text(lua, text, name)
}

/// Puts the pieces together that a function returns, and loads the whole.
fn load(lua: State) -> Native {
    lua.check_function(1);
    let name: &[u8] = if lua.kind(2) == Kind::Nil { b"=(load)" } else { lua.check_bytes(2) };
    lua.set_top(2);
    lua.push_bytes(b"");
    loop {
        lua.push_value(1);
        lua.call(0, 1);
        match lua.kind(-1) {
            Kind::Nil => break,
            Kind::String | Kind::Number => {
                if lua.text(-1).is_some_and(<[u8]>::is_empty) {
                    break;
                }
                lua.concat(2);
            }
            _ => {
                lua.push_nil();
                lua.push_bytes(b"reader function must return a string");
                return Ok(2);
            }
        }
        machine::pause_point(lua)?;
    }
    lua.pop(1);
    let text = lua.bytes(3).unwrap_or_default();
    load_text(lua, text, name)
}

fn unpack(lua: State) -> Native {
    lua.check_table(1);
    let proxy = push_real(lua, 1);
    if proxy {
        lua.replace(1);
    }
    let first = lua.optional_number(2, 1.0) as i64;
    let last =
        if lua.kind(3) == Kind::Nil { lua.raw_len(1) as i64 } else { lua.check_number(3) as i64 };
    if first > last {
        return Ok(0);
    }
    let count = i128::from(last) - i128::from(first) + 1;
    if count > i128::from(UNPACK_MAX) || !lua.check_stack(count as c_int) {
        return Err(lua.fail("too many results to unpack"));
    }
    for index in first..=last {
        lua.push_element(1, index);
    }
    Ok(count as c_int)
}

/// All garbage, in steps: what a cycle that had begun doesn't find, the next one does.
fn collect_all(lua: State) -> Result<(), Raised> {
    for _ in 0..2 {
        while !lua.collect_step(COLLECTED_KIBIBYTES) {
            machine::pause_point(lua)?;
        }
    }
    Ok(())
}

/// As Lua's, but for what would change how garbage is collected after the script.
fn collect_garbage(lua: State) -> Native {
    let option: &[u8] = if lua.kind(1) == Kind::Nil { b"collect" } else { lua.check_bytes(1) };
    match option {
        b"collect" => {
            collect_all(lua)?;
            lua.push_number(0.0);
        }
        b"count" => lua.push_number(lua.memory() as f64 / 1024.0),
        b"step" => {
            lua.collect(Some(0));
            lua.push_boolean(false);
        }
        b"stop" | b"restart" | b"setpause" | b"setstepmul" => lua.push_number(0.0),
        _ => lua.argument_error(1, c"invalid option"),
    }
    Ok(1)
}
