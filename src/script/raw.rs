//! Lua's C interface with Rust's types, and the only `unsafe` of scripts beside the machine's making.
//!
//! # Rules
//! A [`State`] is a pointer to a `lua_State` that lives: [`machine`](crate::script::machine) makes them
//! and hands them out for no longer than they live.
//!
//! Methods under "May raise" leave by `longjmp` where Lua has no memory left or the script is wrong:
//! frames between the call and the innermost `pcall` are abandoned, so whatever they would have dropped
//! is leaked. Callers own nothing then: what needs a buffer takes one of the host's.
//!
//! Bytes of a string stay where they are as long as the string is on Lua's stack or otherwise reachable.
//! The lifetime that [`State::bytes`] returns can't say that; callers don't keep it beyond the value.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;

use mlua_sys as ffi;

use crate::script::host::Host;

/// The index of the table that scripts can't reach.
pub(super) const REGISTRY: c_int = ffi::LUA_REGISTRYINDEX;
/// The index of the table of globals.
pub(super) const GLOBALS: c_int = ffi::LUA_GLOBALSINDEX;
/// As many results as there are.
pub(super) const ALL_RESULTS: c_int = ffi::LUA_MULTRET;

/// Bytes of a text that are compiled between two looks at the time.
const COMPILED_BYTES: usize = 16 << 10;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing, or no argument.
    Nil,
    Boolean,
    Number,
    String,
    Table,
    Function,
    /// Userdata, threads.
    Other,
}

/// A function of ours that Lua calls: the number of results on the stack, or an error whose value is
/// on top of it.
pub(super) type Native = Result<c_int, Raised>;

/// An error's value is on top of the stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raised;

/// A function as Lua wants it.
pub(super) type CFunction = ffi::lua_CFunction;

/// The functions that open Lua's own libraries.
pub(super) const LIBRARIES: [CFunction; 4] =
    [ffi::luaopen_base, ffi::luaopen_table, ffi::luaopen_string, ffi::luaopen_math];

/// Makes a [`CFunction`] of a function from [`State`] to [`Native`].
macro_rules! native {
    ($function:path) => {{
        unsafe extern "C-unwind" fn entry(state: *mut mlua_sys::lua_State) -> std::ffi::c_int {
            let lua = $crate::script::raw::State(state);
            match $function(lua) {
                Ok(results) => results,
                // SAFETY: Lua called us with this state; nothing here is to be dropped.
                Err($crate::script::raw::Raised) => unsafe { mlua_sys::lua_error(state) },
            }
        }
        entry as $crate::script::raw::CFunction
    }};
}
pub(super) use native;

/// A call of Lua's interface.
macro_rules! api {
    ($lua:expr, $name:ident $(, $argument:expr)*) => {
        // SAFETY: the state lives, and indices are in range (the rules at the top of the file).
        unsafe { ffi::$name($lua.0 $(, $argument)*) }
    };
}

/// Lua's state, as a function sees it: its arguments from index 1 on.
#[derive(Clone, Copy, Debug)]
pub(super) struct State(pub(super) *mut ffi::lua_State);

/// Functions of Lua that raise no error.
impl State {
    /// What belongs to the machine of this state.
    #[inline]
    pub(super) fn host<'a>(self) -> &'a mut Host {
        let mut host = ptr::null_mut();
        api!(self, lua_getallocf, &raw mut host);
        // SAFETY: the machine made the state with its host, which it keeps for as long. Functions that
        // Lua calls run one at a time, and each takes what it needs of the host anew.
        unsafe { &mut *host.cast::<Host>() }
    }

    /// How many values are on the stack.
    #[inline]
    pub(super) fn top(self) -> c_int {
        api!(self, lua_gettop)
    }

    /// Cuts the stack, or fills it up with nils.
    #[inline]
    pub(super) fn set_top(self, top: c_int) {
        api!(self, lua_settop, top);
    }

    /// Takes values off.
    #[inline]
    pub(super) fn pop(self, count: c_int) {
        self.set_top(-count - 1);
    }

    /// Pushes a copy.
    #[inline]
    pub(super) fn push_value(self, index: c_int) {
        api!(self, lua_pushvalue, index);
    }

    /// Moves the top below what is at an index.
    #[inline]
    pub(super) fn insert(self, index: c_int) {
        api!(self, lua_insert, index);
    }

    /// Moves the top to an index, over what is there.
    #[inline]
    pub(super) fn replace(self, index: c_int) {
        api!(self, lua_replace, index);
    }

    /// Takes out what is at an index.
    #[inline]
    pub(super) fn remove(self, index: c_int) {
        api!(self, lua_remove, index);
    }

    /// The type of what is at an index.
    #[inline]
    pub(super) fn kind(self, index: c_int) -> Kind {
        match api!(self, lua_type, index) {
            ffi::LUA_TNIL | ffi::LUA_TNONE => Kind::Nil,
            ffi::LUA_TBOOLEAN => Kind::Boolean,
            ffi::LUA_TNUMBER => Kind::Number,
            ffi::LUA_TSTRING => Kind::String,
            ffi::LUA_TTABLE => Kind::Table,
            ffi::LUA_TFUNCTION => Kind::Function,
            _ => Kind::Other,
        }
    }

    /// The type's name.
    pub(super) fn type_name(self, index: c_int) -> &'static str {
        let kind = api!(self, lua_type, index);
        let name = api!(self, lua_typename, kind);
        // SAFETY: names of types are constants of Lua's.
        unsafe { CStr::from_ptr(name) }.to_str().unwrap_or_default()
    }

    /// Whether there is a light userdata: `cjson.null`.
    pub(super) fn is_light(self, index: c_int) -> bool {
        api!(self, lua_type, index) == ffi::LUA_TLIGHTUSERDATA
    }

    /// The number at an index, also of a string that is one; 0 of anything else.
    #[inline]
    pub(super) fn number(self, index: c_int) -> f64 {
        api!(self, lua_tonumber, index)
    }

    /// Whether there is a number, or a string that is one.
    #[inline]
    pub(super) fn is_number(self, index: c_int) -> bool {
        api!(self, lua_isnumber, index) != 0
    }

    /// What counts as true.
    #[inline]
    pub(super) fn boolean(self, index: c_int) -> bool {
        api!(self, lua_toboolean, index) != 0
    }

    /// A string's bytes; nothing of anything else, numbers included.
    #[inline]
    pub(super) fn bytes<'a>(self, index: c_int) -> Option<&'a [u8]> {
        if self.kind(index) != Kind::String {
            return None;
        }
        let mut len = 0;
        let start = api!(self, lua_tolstring, index, &raw mut len);
        // SAFETY: a string of that length, which stays as long as its value (the rules above).
        Some(unsafe { std::slice::from_raw_parts(start.cast(), len) })
    }

    /// A string's or table's length.
    #[inline]
    pub(super) fn raw_len(self, index: c_int) -> usize {
        api!(self, lua_objlen, index)
    }

    /// The address of a table or function.
    #[inline]
    pub(super) fn address(self, index: c_int) -> *const c_void {
        api!(self, lua_topointer, index)
    }

    /// Pushes nil.
    #[inline]
    pub(super) fn push_nil(self) {
        api!(self, lua_pushnil);
    }

    /// Pushes a number.
    #[inline]
    pub(super) fn push_number(self, number: f64) {
        api!(self, lua_pushnumber, number);
    }

    /// Pushes a truth value.
    #[inline]
    pub(super) fn push_boolean(self, value: bool) {
        api!(self, lua_pushboolean, c_int::from(value));
    }

    /// Pushes the null of cjson.
    pub(super) fn push_null(self) {
        api!(self, lua_pushlightuserdata, ptr::null_mut());
    }

    /// Pushes a table's element by number, without metamethods.
    #[inline]
    pub(super) fn raw_get_index(self, table: c_int, number: c_int) {
        api!(self, lua_rawgeti_, table, number);
    }

    /// As [`State::raw_get_index`], by any whole number.
    pub(super) fn push_element(self, table: c_int, number: i64) {
        match c_int::try_from(number) {
            Ok(number) => self.raw_get_index(table, number),
            Err(_) => {
                self.push_number(number as f64);
                self.raw_get(table);
            }
        }
    }

    /// Replaces the key on top by its value, without metamethods.
    #[inline]
    pub(super) fn raw_get(self, table: c_int) {
        api!(self, lua_rawget_, table);
    }

    /// Pushes a value's metatable; false where it has none.
    #[inline]
    pub(super) fn get_metatable(self, index: c_int) -> bool {
        api!(self, lua_getmetatable, index) != 0
    }

    /// The top becomes a table's metatable.
    pub(super) fn set_metatable(self, index: c_int) {
        api!(self, lua_setmetatable, index);
    }

    /// The C function at an index.
    pub(super) fn c_function(self, index: c_int) -> Option<CFunction> {
        api!(self, lua_tocfunction, index)
    }

    /// Calls with errors caught: whether it went well; else the error is on top.
    #[inline]
    pub(super) fn protected_call(
        self,
        arguments: c_int,
        results: c_int,
        handler: c_int,
    ) -> Result<(), Fault> {
        match api!(self, lua_pcall, arguments, results, handler) {
            ffi::LUA_OK => Ok(()),
            ffi::LUA_ERRMEM => Err(Fault::Memory),
            _ => Err(Fault::Run),
        }
    }

    /// Pushes the function of a text; else the compiler's message.
    pub(super) fn load(self, text: &[u8], name: &CStr) -> Result<(), Fault> {
        // While the compiler runs nothing is collected: Lua 5.1 doesn't keep the chunk's name alive
        // (CVE-2025-49844).
        api!(self, lua_gc, ffi::LUA_GCSTOP, 0);
        let mut rest = text;
        let place = (&raw mut rest).cast();
        let outcome = api!(self, lua_load, read_piece, place, name.as_ptr());
        api!(self, lua_gc, ffi::LUA_GCRESTART, 0);
        if outcome == ffi::LUA_OK { Ok(()) } else { Err(Fault::Run) }
    }

    /// Bytes that Lua counts as in use.
    pub(super) fn memory(self) -> usize {
        let kibibytes = api!(self, lua_gc, ffi::LUA_GCCOUNT, 0);
        let rest = api!(self, lua_gc, ffi::LUA_GCCOUNTB, 0);
        kibibytes as usize * 1024 + rest as usize
    }

    /// Has a function called every so many instructions of this thread of Lua's.
    pub(super) fn hook(self, hook: ffi::lua_Hook, instructions: c_int) {
        api!(self, lua_sethook, Some(hook), ffi::LUA_MASKCOUNT, instructions);
    }
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no memory left.
    Memory,
    /// Anything else.
    Run,
}

/// May raise: not enough memory, or what the name says.
impl State {
    /// Makes sure that so many values fit on the stack; false where they never will.
    #[inline]
    pub(super) fn check_stack(self, count: c_int) -> bool {
        api!(self, lua_checkstack, count) != 0
    }

    /// Pushes a string.
    #[inline]
    pub(super) fn push_bytes(self, bytes: &[u8]) {
        api!(self, lua_pushlstring_, bytes.as_ptr().cast(), bytes.len());
    }

    /// Pushes the source of the innermost function of Lua's, from a level on, and returns its line.
    pub(super) fn push_position(self, level: c_int) -> Option<c_int> {
        for level in level..level + 2 {
            // SAFETY: a plain structure, filled in by Lua before it is read.
            let mut record: ffi::lua_Debug = unsafe { std::mem::zeroed() };
            if api!(self, lua_getstack, level, &raw mut record) == 0 {
                return None;
            }
            api!(self, lua_getinfo, c"Sl".as_ptr(), &raw mut record);
            // SAFETY: Lua has filled it in with a constant.
            if unsafe { CStr::from_ptr(record.what) } != c"C" {
                api!(self, lua_pushstring_, record.source);
                return Some(record.currentline);
            }
        }
        None
    }

    /// Pushes a function with so many values of the stack as its own.
    pub(super) fn push_function(self, function: CFunction, upvalues: c_int) {
        api!(self, lua_pushcclosure, function, upvalues);
    }

    /// Pushes a plain value that is Lua's from then on.
    pub(super) fn push_userdata<T: Copy>(self, value: T) {
        let place = api!(self, lua_newuserdata, size_of::<T>());
        // SAFETY: room for it, aligned for anything.
        unsafe { place.cast::<T>().write(value) };
    }

    /// What was pushed so. The caller knows its type.
    pub(super) fn userdata<'a, T: Copy>(self, index: c_int) -> &'a mut T {
        let place = api!(self, lua_touserdata, index);
        // SAFETY: a value of that type, which lives as long as the function whose own it is.
        unsafe { &mut *place.cast::<T>() }
    }

    /// Pushes a new table with room for so many.
    #[inline]
    pub(super) fn new_table(self, elements: usize, fields: usize) {
        let [elements, fields] =
            [elements, fields].map(|count| c_int::try_from(count).unwrap_or(c_int::MAX));
        api!(self, lua_createtable, elements, fields);
    }

    /// The top becomes a table's element, without metamethods.
    #[inline]
    pub(super) fn raw_set_index(self, table: c_int, number: c_int) {
        api!(self, lua_rawseti_, table, number);
    }

    /// The two on top become a table's key and value, without metamethods.
    #[inline]
    pub(super) fn raw_set(self, table: c_int) {
        api!(self, lua_rawset, table);
    }

    /// The top becomes a table's field, without metamethods. `table` counts from the bottom.
    pub(super) fn set_field(self, table: c_int, name: &str) {
        self.push_bytes(name.as_bytes());
        self.insert(-2);
        self.raw_set(table);
    }

    /// Pushes a table's field, without metamethods. `table` counts from the bottom.
    pub(super) fn get_field(self, table: c_int, name: &str) {
        self.push_bytes(name.as_bytes());
        self.raw_get(table);
    }

    /// As [`State::bytes`], a number being turned into a string in its place.
    #[inline]
    pub(super) fn text<'a>(self, index: c_int) -> Option<&'a [u8]> {
        if self.kind(index) == Kind::Number {
            api!(self, lua_tolstring, index, ptr::null_mut());
        }
        self.bytes(index)
    }

    /// Replaces a key on top by the next key and its value; false at the end, with nothing pushed.
    #[inline]
    pub(super) fn next(self, table: c_int) -> bool {
        api!(self, lua_next, table) != 0
    }

    /// Calls.
    pub(super) fn call(self, arguments: c_int, results: c_int) {
        api!(self, lua_call, arguments, results);
    }

    /// Goes on as a function of Lua's own, with the same arguments.
    pub(super) fn go_on_as(self, function: CFunction) -> Native {
        // SAFETY: called as Lua calls it; nothing here is to be dropped.
        Ok(unsafe { function(self.0) })
    }

    /// Puts so many strings and numbers together.
    pub(super) fn concat(self, count: c_int) {
        api!(self, lua_concat, count);
    }

    /// Keeps the top in the registry, by a number.
    pub(super) fn keep(self) -> c_int {
        api!(self, luaL_ref, REGISTRY)
    }

    /// Forgets what was kept.
    pub(super) fn forget(self, kept: c_int) {
        api!(self, luaL_unref, REGISTRY, kept);
    }

    /// A whole collection, or a step of it.
    pub(super) fn collect(self, step: Option<c_int>) {
        match step {
            None => api!(self, lua_gc, ffi::LUA_GCCOLLECT, 0),
            Some(size) => api!(self, lua_gc, ffi::LUA_GCSTEP, size),
        };
    }

    /// A step of the collection of garbage of so much; true where a cycle has ended.
    pub(super) fn collect_step(self, kibibytes: c_int) -> bool {
        api!(self, lua_gc, ffi::LUA_GCSTEP, kibibytes) != 0
    }

    /// An argument that is a string or number.
    pub(super) fn check_bytes<'a>(self, argument: c_int) -> &'a [u8] {
        let mut len = 0;
        let start = api!(self, luaL_checklstring, argument, &raw mut len);
        // SAFETY: as in `bytes`.
        unsafe { std::slice::from_raw_parts(start.cast(), len) }
    }

    /// An argument that is a number.
    pub(super) fn check_number(self, argument: c_int) -> f64 {
        api!(self, luaL_checknumber, argument)
    }

    /// An argument that is a number, or isn't there.
    pub(super) fn optional_number(self, argument: c_int, default: f64) -> f64 {
        api!(self, luaL_optnumber, argument, default)
    }

    /// An argument that is a whole number, or isn't there.
    pub(super) fn optional_integer(self, argument: c_int, default: i64) -> i64 {
        api!(self, luaL_optinteger, argument, default)
    }

    /// An argument that is a whole number.
    pub(super) fn check_integer(self, argument: c_int) -> i64 {
        api!(self, luaL_checkinteger, argument)
    }

    /// Replaces the key on top by a table's element, with metamethods.
    pub(super) fn get_element(self, table: c_int) {
        api!(self, lua_gettable_, table);
    }

    /// Whether one value is less than another, with metamethods.
    pub(super) fn is_less(self, one: c_int, other: c_int) -> bool {
        api!(self, lua_lessthan, one, other) != 0
    }

    /// Raises that there is no memory left.
    pub(super) fn out_of_memory(self) {
        api!(self, lua_newuserdata, isize::MAX as usize / 2);
    }

    /// Pushes the string that a function puts together. While it does, it leaves the stack's height as it
    /// finds it.
    pub(super) fn build(
        self,
        make: impl FnOnce(&mut Builder) -> Result<(), Raised>,
    ) -> Result<(), Raised> {
        let mut buffer = MaybeUninit::<ffi::luaL_Buffer>::uninit();
        // SAFETY: it stays where it is until its last use, since only a reference of it is lent.
        unsafe { ffi::luaL_buffinit(self.0, buffer.as_mut_ptr()) };
        make(&mut Builder(buffer.as_mut_ptr()))?;
        // SAFETY: as above.
        unsafe { ffi::luaL_pushresult(buffer.as_mut_ptr()) };
        Ok(())
    }

    /// An argument that is a table.
    pub(super) fn check_table(self, argument: c_int) {
        api!(self, luaL_checktype, argument, ffi::LUA_TTABLE);
    }

    /// An argument that is a function.
    pub(super) fn check_function(self, argument: c_int) {
        api!(self, luaL_checktype, argument, ffi::LUA_TFUNCTION);
    }

    /// An argument, nil included.
    pub(super) fn check_any(self, argument: c_int) {
        api!(self, luaL_checkany, argument);
    }

    /// Raises what is wrong with an argument.
    pub(super) fn argument_error(self, argument: c_int, text: &CStr) {
        api!(self, luaL_argerror, argument, text.as_ptr());
    }

    /// Pushes the place in the script, as errors begin with it.
    pub(super) fn push_where(self) {
        api!(self, luaL_where, 1);
    }

    /// An error of a text, with the place in the script in front.
    pub(super) fn fail(self, text: &str) -> Raised {
        self.fail_with(text.as_bytes())
    }

    /// As [`State::fail`], of bytes.
    pub(super) fn fail_with(self, text: &[u8]) -> Raised {
        self.push_where();
        self.push_bytes(text);
        self.concat(2);
        Raised
    }

    /// An error of a text as it is.
    pub(super) fn fail_plainly(self, text: &[u8]) -> Raised {
        self.push_bytes(text);
        Raised
    }
}

/// Gives the compiler the next piece of a text. What raises here ends the compilation.
unsafe extern "C-unwind" fn read_piece(
    state: *mut ffi::lua_State,
    rest: *mut c_void,
    size: *mut usize,
) -> *const c_char {
    if crate::script::machine::pause_point(State(state)).is_err() {
        // SAFETY: the error's value is on top; nothing is to be dropped.
        unsafe { ffi::lua_error(state) };
    }
    // SAFETY: `load` has given a place that lives as long as it waits for the compiler.
    let rest = unsafe { &mut *rest.cast::<&[u8]>() };
    let (piece, left) = rest.split_at(rest.len().min(COMPILED_BYTES));
    *rest = left;
    // SAFETY: the compiler's own variable.
    unsafe { *size = piece.len() };
    piece.as_ptr().cast()
}

/// A string that is being put together: some kibibytes on the stack of C, the rest on Lua's.
pub(super) struct Builder(*mut ffi::luaL_Buffer);

/// May raise: not enough memory.
impl Builder {
    /// Appends bytes.
    #[inline]
    pub(super) fn add(&mut self, bytes: &[u8]) {
        // SAFETY: `build` lends it while its buffer is there.
        unsafe { ffi::luaL_addlstring(self.0, bytes.as_ptr().cast(), bytes.len()) };
    }

    /// Takes the string or number on top off and appends it.
    #[inline]
    pub(super) fn add_top(&mut self) {
        // SAFETY: as in `add`.
        unsafe { ffi::luaL_addvalue(self.0) };
    }
}

/// The index of a function's own value.
pub(super) const fn upvalue(number: c_int) -> c_int {
    ffi::lua_upvalueindex(number)
}

/// Appends a number as C's `%.*g` writes it.
pub(super) fn push_digits(out: &mut Vec<u8>, number: f64, precision: c_int) {
    let mut digits = [0u8; 64];
    // SAFETY: it writes at most as many bytes as it is told.
    let len = unsafe {
        let (start, len) = (digits.as_mut_ptr().cast(), digits.len());
        libc::snprintf(start, len, c"%.*g".as_ptr(), precision, number)
    };
    out.extend_from_slice(&digits[..usize::try_from(len).unwrap_or(0).min(digits.len())]);
}

/// The number that C's `strtod` finds at the beginning of a string of Lua's, and how many bytes it
/// takes.
pub(super) fn leading_double(text: &[u8]) -> Option<(f64, usize)> {
    let start = text.as_ptr().cast();
    let mut end = ptr::null_mut();
    // SAFETY: Lua's strings end in a zero that isn't counted, so that it stops there at the latest.
    let number = unsafe { libc::strtod(start, &raw mut end) };
    let len = end as usize - start as usize;
    (len > 0 && len <= text.len()).then_some((number, len))
}

/// The processor time that the process has used, in seconds.
pub(super) fn processor_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it fills in the structure that it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
