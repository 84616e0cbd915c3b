//! The table `redis`, called `server` as well.

use std::ffi::c_int;

use sha1::{Digest, Sha1};

use crate::base::text;
use crate::command::args::Args;
use crate::resp::reply::Protocol;
use crate::resp::request::{ARGUMENT_BYTES_MAX, Range};
use crate::script::convert;
use crate::script::host::{Host, Mode};
use crate::script::machine::{self, Purpose, Versions};
use crate::script::raw::{CFunction, Kind, Native, Raised, State, native, push_digits};
use crate::script::{reply, sandbox};

const LOG_LEVELS: [(&str, f64); 4] =
    [("LOG_DEBUG", 0.0), ("LOG_VERBOSE", 1.0), ("LOG_NOTICE", 2.0), ("LOG_WARNING", 3.0)];
const REPLICATION: [(&str, f64); 5] = [
    ("REPL_NONE", 0.0),
    ("REPL_AOF", 1.0),
    ("REPL_SLAVE", 2.0),
    ("REPL_REPLICA", 2.0),
    ("REPL_ALL", 3.0),
];

/// Bytes whose digest takes as long as one step of something else.
const DIGESTED_BYTES_A_STEP: usize = 4;

/// Puts the table into the globals.
pub(super) fn install(lua: State, globals: c_int, purpose: Purpose, versions: Versions) {
    lua.new_table(0, 32);
    let table = lua.top();
    let functions: [(&str, CFunction); 9] = [
        ("call", native!(call)),
        ("pcall", native!(pcall)),
        ("log", native!(log)),
        ("sha1hex", native!(sha1hex)),
        ("error_reply", native!(error_reply)),
        ("status_reply", native!(status_reply)),
        ("setresp", native!(set_resp)),
        ("set_repl", native!(set_repl)),
        ("acl_check_cmd", native!(acl_check_cmd)),
    ];
    for (name, function) in functions {
        lua.push_function(function, 0);
        lua.set_field(table, name);
    }
    if purpose == Purpose::Scripts {
        let functions: [(&str, CFunction); 3] = [
            ("replicate_commands", native!(replicate_commands)),
            ("breakpoint", native!(breakpoint)),
            ("debug", native!(debug)),
        ];
        for (name, function) in functions {
            lua.push_function(function, 0);
            lua.set_field(table, name);
        }
    }
    for (name, number) in LOG_LEVELS.iter().chain(&REPLICATION) {
        lua.push_number(*number);
        lua.set_field(table, name);
    }
    let names = [
        ("REDIS_VERSION", versions.redis),
        ("SERVER_VERSION", versions.own),
        ("SERVER_NAME", versions.name),
    ];
    for (name, value) in names {
        lua.push_bytes(value.as_bytes());
        lua.set_field(table, name);
    }
    let numbers = [("REDIS_VERSION_NUM", versions.redis), ("SERVER_VERSION_NUM", versions.own)];
    for (name, version) in numbers {
        lua.push_number(version_number(version));
        lua.set_field(table, name);
    }
    sandbox::protect(lua);
    for name in ["redis", "server"] {
        lua.push_value(table);
        lua.set_field(globals, name);
    }
    lua.pop(1);
    lua.get_field(globals, "math");
    let math = lua.top();
    lua.push_function(native!(random), 0);
    lua.set_field(math, "random");
    lua.push_function(native!(random_seed), 0);
    lua.set_field(math, "randomseed");
    lua.pop(1);
}

/// A byte for each part of a version.
fn version_number(version: &str) -> f64 {
    let parts = version.split('.').map(|part| part.parse().unwrap_or(0u32));
    f64::from(parts.fold(0, |number, part| number << 8 | part & 255))
}

/// An error of the server's own: a table with its text.
pub(super) fn error_table(lua: State, text: &[u8]) -> Raised {
    lua.new_table(0, 3);
    lua.push_bytes(b"ERR ");
    lua.push_bytes(text);
    lua.concat(2);
    lua.set_field(lua.top() - 1, "err");
    Raised
}

/// Gathers a command's words from a function's arguments.
fn gather(lua: State, host: &mut Host) -> Result<(), Raised> {
    let count = lua.top();
    if count == 0 {
        let text = b"Please specify at least one argument for this redis lib call";
        return Err(error_table(lua, text));
    }
    let words = &mut host.words;
    words.bytes.clear();
    words.ranges.clear();
    for index in 1..=count {
        let start = words.bytes.len();
        match lua.kind(index) {
            Kind::String => {
                let word = lua.bytes(index).unwrap_or_default();
                if start + word.len() > ARGUMENT_BYTES_MAX {
                    return Err(error_table(lua, b"the arguments are too long"));
                }
                words.bytes.extend_from_slice(word);
            }
            Kind::Number => push_number(&mut words.bytes, lua.number(index)),
            _ => {
                let text = b"Lua redis lib command arguments must be strings or integers";
                return Err(error_table(lua, text));
            }
        }
        words.ranges.push(Range::new(start, words.bytes.len() - start));
    }
    Ok(())
}

/// A number as an argument: 17 digits where it has a fraction.
fn push_number(out: &mut Vec<u8>, number: f64) {
    let whole = number as i64;
    #[expect(clippy::cast_precision_loss, reason = "compared, to see whether there was any")]
    if whole as f64 == number && whole.unsigned_abs() < 100_000_000_000_000_000 {
        if whole == 0 && number.is_sign_negative() {
            out.push(b'-');
        }
        text::push_i64(out, whole);
    } else {
        push_digits(out, number, 17);
    }
}

/// Runs a command; its reply, or an error, is on top.
fn run(lua: State) -> Native {
    let host = lua.host();
    let Some(server) = host.server().filter(|_| host.mode == Mode::Running) else {
        let text = b"redis.call/pcall can only be called inside a script invocation";
        return Err(error_table(lua, text));
    };
    gather(lua, host)?;
    let reply = server.call(Args::new(&host.words.bytes, &host.words.ranges));
    let failed = convert::is_error(reply);
    convert::push(lua, reply)?;
    if failed { Err(Raised) } else { Ok(1) }
}

fn call(lua: State) -> Native {
    run(lua)
}

fn pcall(lua: State) -> Native {
    match run(lua) {
        Ok(results) => Ok(results),
        Err(Raised) => Ok(1),
    }
}

fn log(lua: State) -> Native {
    let count = lua.top();
    if count < 2 {
        return Err(error_table(lua, b"redis.log() requires two arguments or more."));
    }
    if !lua.is_number(1) {
        return Err(error_table(lua, b"First argument must be a number (log level)."));
    }
    let level = lua.number(1);
    if !(0.0..=3.0).contains(&level) {
        return Err(error_table(lua, b"Invalid debug level."));
    }
    let host = lua.host();
    host.scratch.clear();
    for index in 2..=count {
        if let Some(word) = lua.text(index) {
            if index > 2 {
                host.scratch.push(b' ');
            }
            host.scratch.extend_from_slice(word);
        }
    }
    if let Some(server) = host.server() {
        server.log(level as u8, &host.scratch);
    }
    Ok(0)
}

fn sha1hex(lua: State) -> Native {
    if lua.top() != 1 {
        return Err(error_table(lua, b"wrong number of arguments"));
    }
    let mut digest = Sha1::new();
    for piece in lua.text(1).unwrap_or_default().chunks(DIGESTED_BYTES_A_STEP << 10) {
        digest.update(piece);
        machine::spend(lua, piece.len() / DIGESTED_BYTES_A_STEP)?;
    }
    lua.push_bytes(&hex(digest));
    Ok(1)
}

/// The SHA1 of a text in hexadecimal digits: a script's name.
pub(crate) fn hex_digest(text: &[u8]) -> [u8; 40] {
    hex(Sha1::new_with_prefix(text))
}

fn hex(digest: Sha1) -> [u8; 40] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [0; 40];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(digest.finalize()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    hex
}

/// The one argument of a function that wants a string; else the error is on top.
fn only_string<'a>(lua: State) -> Result<&'a [u8], Raised> {
    match lua.bytes(1) {
        Some(text) if lua.top() == 1 => Ok(text),
        _ => Err(error_table(lua, b"wrong number or type of arguments")),
    }
}

/// A text without a space gets a code word in front.
fn error_reply(lua: State) -> Native {
    let Ok(text) = only_string(lua) else { return Ok(1) };
    let text = reply::without_line_ends(reply::before_zero(text));
    let text = text.strip_prefix(b"-").unwrap_or(text);
    lua.new_table(0, 1);
    if memchr::memchr(b' ', text).is_some() {
        lua.push_bytes(text);
    } else {
        let start = text.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
        lua.push_bytes(b"ERR ");
        lua.push_bytes(&text[start.unwrap_or(text.len())..]);
        lua.concat(2);
    }
    lua.set_field(2, "err");
    Ok(1)
}

fn status_reply(lua: State) -> Native {
    if only_string(lua).is_err() {
        return Ok(1);
    }
    lua.new_table(0, 1);
    lua.push_value(1);
    lua.set_field(2, "ok");
    Ok(1)
}

fn set_resp(lua: State) -> Native {
    let host = lua.host();
    let Some(server) = host.server().filter(|_| host.mode == Mode::Running) else {
        let text = b"redis.setresp can only be called inside a script invocation";
        return Err(error_table(lua, text));
    };
    if lua.top() != 1 {
        return Err(error_table(lua, b"redis.setresp() requires one argument."));
    }
    match lua.number(1) as i64 {
        2 => server.set_protocol(Protocol::Resp2),
        3 => server.set_protocol(Protocol::Resp3),
        _ => return Err(error_table(lua, b"RESP version must be 2 or 3.")),
    }
    Ok(0)
}

fn set_repl(lua: State) -> Native {
    let host = lua.host();
    let Some(server) = host.server().filter(|_| host.mode == Mode::Running) else {
        let text = b"redis.set_repl can only be called inside a script invocation";
        return Err(error_table(lua, text));
    };
    if lua.top() != 1 {
        return Err(error_table(lua, b"redis.set_repl() requires two arguments."));
    }
    let flags = lua.number(1) as i64;
    if !(0..=3).contains(&flags) {
        let text = b"Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
        return Err(error_table(lua, text));
    }
    server.set_replication(flags as u8);
    Ok(0)
}

fn acl_check_cmd(lua: State) -> Native {
    let host = lua.host();
    let Some(server) = host.server().filter(|_| host.mode == Mode::Running) else {
        let text = b"redis.acl_check_cmd can only be called inside a script invocation";
        return Err(error_table(lua, text));
    };
    gather(lua, host)?;
    match server.may_run(Args::new(&host.words.bytes, &host.words.ranges)) {
        Some(may) => lua.push_boolean(may),
        None => {
            let text = b"Invalid command passed to redis.acl_check_cmd()";
            return Err(error_table(lua, text));
        }
    }
    Ok(1)
}

fn replicate_commands(lua: State) -> Native {
    lua.push_boolean(true);
    Ok(1)
}

/// There is no debugger: as without one.
fn breakpoint(lua: State) -> Native {
    lua.push_boolean(false);
    Ok(1)
}

fn debug(_: State) -> Native {
    Ok(0)
}

/// Numbers that `lrand48` of POSIX gives, so that a seed gives what it gives on every machine.
const RANDOM_MAX: f64 = 2_147_483_647.0;

fn next_random(host: &mut Host) -> f64 {
    host.random = host.random.wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xb) & 0xffff_ffff_ffff;
    (host.random >> 17) as f64
}

fn random(lua: State) -> Native {
    let host = lua.host();
    if host.mode != Mode::Running {
        let text = "math.random can only be called inside a script invocation";
        return Err(lua.fail(text));
    }
    let fraction = (next_random(host) % RANDOM_MAX) / RANDOM_MAX;
    match lua.top() {
        0 => lua.push_number(fraction),
        1 => {
            let upper = lua.check_number(1).trunc();
            if upper < 1.0 {
                lua.argument_error(1, c"interval is empty");
            }
            lua.push_number((fraction * upper).floor() + 1.0);
        }
        2 => {
            let (lower, upper) = (lua.check_number(1).trunc(), lua.check_number(2).trunc());
            if lower > upper {
                lua.argument_error(2, c"interval is empty");
            }
            lua.push_number((fraction * (upper - lower + 1.0)).floor() + lower);
        }
        _ => return Err(lua.fail("wrong number of arguments")),
    }
    Ok(1)
}

fn random_seed(lua: State) -> Native {
    let host = lua.host();
    if host.mode != Mode::Running {
        let text = "math.randomseed can only be called inside a script invocation";
        return Err(lua.fail(text));
    }
    let seed = lua.check_number(1) as i64 as u32;
    host.random = u64::from(seed) << 16 | 0x330e;
    Ok(0)
}
