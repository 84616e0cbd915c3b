//! The functions of Lua's library `table`: they know proxies, and a script can be suspended in those
//! that take long.

use std::ffi::c_int;

use crate::base::text;
use crate::script::machine;
use crate::script::raw::{CFunction, Kind, Native, Raised, State, native};
use crate::script::sandbox::{self, READ_ONLY, is_proxy, push_real};

/// Elements from which on a sort without a function of the script's looks at the time.
const SORTED_AT_ONCE_MAX: usize = 1000;
/// Elements that one insertion or removal may move without looking at the time.
const MOVED_AT_ONCE_MAX: i64 = 1000;

/// Puts them into the library.
pub(super) fn install(lua: State, globals: c_int) {
    lua.get_field(globals, "table");
    let table = lua.top();
    for (name, guard) in [
        ("insert", native!(insert) as CFunction),
        ("remove", native!(remove)),
        ("sort", native!(sort)),
        ("setn", native!(changing)),
        ("foreach", native!(reading)),
        ("foreachi", native!(reading)),
        ("getn", native!(reading)),
        ("maxn", native!(max_number)),
    ] {
        lua.get_field(table, name);
        lua.push_function(guard, 1);
        lua.set_field(table, name);
    }
    lua.push_function(native!(concat), 0);
    lua.set_field(table, "concat");
    lua.pop(1);
}

fn pass_on(lua: State) -> Native {
    let Some(function) = sandbox::wrapped(lua) else { return Ok(0) };
    lua.go_on_as(function)
}

/// A function that changes the table it is given.
fn changing(lua: State) -> Native {
    if is_proxy(lua, 1) {
        return Err(lua.fail_plainly(READ_ONLY.as_bytes()));
    }
    pass_on(lua)
}

/// A function that reads the table it is given.
fn reading(lua: State) -> Native {
    if push_real(lua, 1) {
        lua.replace(1);
    }
    pass_on(lua)
}

/// Whether the first argument is a table with so many elements that moving them takes long.
fn is_long(lua: State, most: usize) -> bool {
    lua.kind(1) == Kind::Table && !is_proxy(lua, 1) && lua.raw_len(1) > most
}

fn insert(lua: State) -> Native {
    if lua.top() != 3
        || lua.kind(2) != Kind::Number
        || lua.kind(1) != Kind::Table
        || is_proxy(lua, 1)
    {
        return changing(lua);
    }
    let (place, len) = (lua.check_integer(2) as i32, lua.raw_len(1) as i32);
    if i64::from(len) - i64::from(place) < MOVED_AT_ONCE_MAX {
        return pass_on(lua);
    }
    for index in (place..=len).rev() {
        lua.raw_get_index(1, index);
        lua.raw_set_index(1, index + 1);
        machine::spend(lua, 1)?;
    }
    lua.raw_set_index(1, place);
    Ok(0)
}

fn remove(lua: State) -> Native {
    if lua.top() != 2 || lua.kind(2) != Kind::Number || !is_long(lua, MOVED_AT_ONCE_MAX as usize) {
        return changing(lua);
    }
    let (place, len) = (lua.check_integer(2) as i32, lua.raw_len(1) as i32);
    if !(1..=len).contains(&place) {
        return Ok(0);
    }
    lua.raw_get_index(1, place);
    for index in place..len {
        lua.raw_get_index(1, index + 1);
        lua.raw_set_index(1, index);
        machine::spend(lua, 1)?;
    }
    lua.push_nil();
    lua.raw_set_index(1, len);
    Ok(1)
}

fn sort(lua: State) -> Native {
    if lua.kind(2) == Kind::Nil && is_long(lua, SORTED_AT_ONCE_MAX) {
        lua.set_top(1);
        lua.push_function(native!(less), 0);
    }
    changing(lua)
}

/// What Lua compares by itself.
fn less(lua: State) -> Native {
    machine::spend(lua, 1)?;
    let less = lua.is_less(1, 2);
    lua.push_boolean(less);
    Ok(1)
}

/// The highest number that is a key.
fn max_number(lua: State) -> Native {
    lua.check_table(1);
    if push_real(lua, 1) {
        lua.replace(1);
    }
    lua.set_top(1);
    let mut highest = 0.0;
    lua.push_nil();
    while lua.next(1) {
        lua.pop(1);
        if lua.kind(-1) == Kind::Number && lua.number(-1) > highest {
            highest = lua.number(-1);
        }
        machine::spend(lua, 1)?;
    }
    lua.push_number(highest);
    Ok(1)
}

fn concat(lua: State) -> Native {
    if push_real(lua, 1) {
        lua.replace(1);
    }
    let separator: &[u8] = if lua.kind(2) == Kind::Nil { b"" } else { lua.check_bytes(2) };
    lua.check_table(1);
    // As C's casts to int do.
    let first = lua.optional_integer(3, 1) as i32;
    let last =
        if lua.kind(4) == Kind::Nil { lua.raw_len(1) as i32 } else { lua.check_integer(4) as i32 };
    lua.build(|out| {
        for index in first..=last {
            if index > first {
                out.add(separator);
            }
            lua.raw_get_index(1, index);
            if !matches!(lua.kind(-1), Kind::String | Kind::Number) {
                return Err(invalid_value(lua, index));
            }
            out.add_top();
            machine::spend(lua, 1)?;
        }
        Ok(())
    })?;
    Ok(1)
}

fn invalid_value(lua: State, index: c_int) -> Raised {
    let host = lua.host();
    host.scratch.clear();
    host.scratch.extend_from_slice(b"invalid value (");
    host.scratch.extend_from_slice(lua.type_name(-1).as_bytes());
    host.scratch.extend_from_slice(b") at index ");
    text::push_i64(&mut host.scratch, i64::from(index));
    host.scratch.extend_from_slice(b" in table for 'concat'");
    lua.fail_with(&host.scratch)
}
