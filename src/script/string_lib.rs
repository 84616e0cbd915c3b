//! The functions of Lua's library `string` that can take long, so that a script can be suspended in
//! them: patterns ([`pattern`](super::pattern)), and those whose result is as long as a script wants.

use std::ffi::c_int;

use crate::script::machine::{self, STEPS_BETWEEN_LOOKS};
use crate::script::pattern::{Capture, Fail, Matcher};
use crate::script::raw::{Builder, CFunction, Kind, Native, Raised, State, native, upvalue};

/// Bytes of a long string between two counts of steps.
const PIECE_BYTES: usize = 64 << 10;

/// Bytes of a format that Lua's own function still reads: it can't be suspended.
const FORMAT_BYTES_MAX: usize = 1 << 20;

/// Bytes of a string that Lua's own function still quotes for `%q`.
const QUOTED_BYTES_MAX: usize = 1 << 10;

/// Puts them into the library.
pub(super) fn install(lua: State, globals: c_int) {
    let functions: [(&str, CFunction); 9] = [
        ("find", native!(find)),
        ("match", native!(match_once)),
        ("gmatch", native!(gmatch)),
        ("gfind", native!(gmatch)),
        ("gsub", native!(gsub)),
        ("rep", native!(rep)),
        ("reverse", native!(reverse)),
        ("lower", native!(lower)),
        ("upper", native!(upper)),
    ];
    lua.get_field(globals, "string");
    let table = lua.top();
    for (name, function) in functions {
        lua.push_function(function, 0);
        lua.set_field(table, name);
    }
    lua.get_field(table, "format");
    lua.push_function(native!(format), 1);
    lua.set_field(table, "format");
    lua.pop(1);
}

fn raise(lua: State, fail: Fail) -> Raised {
    match fail {
        Fail::Wrong(text) => lua.fail(text),
        Fail::Ended(raised) => raised,
    }
}

/// Takes an anchor off a pattern.
fn anchored(pattern: &[u8]) -> (bool, &[u8]) {
    pattern.strip_prefix(b"^").map_or((false, pattern), |rest| (true, rest))
}

/// Pushes one of a match's groups; the first is the whole match where there is none.
fn push_capture(
    lua: State,
    matcher: &Matcher<'_>,
    index: usize,
    (text, from, to): (&[u8], usize, usize),
) -> Result<(), Raised> {
    match matcher.captures().get(index) {
        Some(&Capture::Text(from, to)) => lua.push_bytes(&text[from as usize..to as usize]),
        Some(&Capture::Place(at)) => lua.push_number(f64::from(at) + 1.0),
        Some(Capture::Open(_)) => return Err(lua.fail("unfinished capture")),
        None if index == 0 => lua.push_bytes(&text[from..to]),
        None => return Err(lua.fail("invalid capture index")),
    }
    Ok(())
}

/// Pushes all of a match's groups, or `whole` of the match where there are none.
fn push_captures(
    lua: State,
    matcher: &Matcher<'_>,
    found: (&[u8], usize, usize),
    whole: usize,
) -> Result<c_int, Raised> {
    let count = matcher.captures().len().max(whole);
    if !lua.check_stack(count as c_int) {
        return Err(lua.fail("stack overflow (too many captures)"));
    }
    for index in 0..count {
        push_capture(lua, matcher, index, found)?;
    }
    Ok(count as c_int)
}

/// Whether a pattern is a text as it is.
fn is_plain(pattern: &[u8]) -> bool {
    let end = memchr::memchr(0, pattern).unwrap_or(pattern.len());
    !pattern[..end].iter().any(|byte| b"^$*+?.([%-".contains(byte))
}

fn find(lua: State) -> Native {
    search(lua, true)
}

fn match_once(lua: State) -> Native {
    search(lua, false)
}

fn search(lua: State, find: bool) -> Native {
    let text = lua.check_bytes(1);
    let pattern = lua.check_bytes(2);
    let place = lua.optional_integer(3, 1);
    let from_end = place.saturating_add(text.len() as i64 + 1);
    let place = if place < 0 { from_end.max(0) } else { place };
    let start = usize::try_from(place - 1).unwrap_or(0).min(text.len());
    if find && (lua.boolean(4) || is_plain(pattern)) {
        let found = memchr::memmem::find(&text[start..], pattern);
        machine::spend_bytes(lua, found.unwrap_or(text.len() - start))?;
        let Some(at) = found else {
            lua.push_nil();
            return Ok(1);
        };
        lua.push_number((start + at + 1) as f64);
        lua.push_number((start + at + pattern.len()) as f64);
        return Ok(2);
    }
    let (anchor, pattern) = anchored(pattern);
    let mut matcher = Matcher::new(lua, text, pattern);
    let found = if anchor {
        matcher.match_at(start).map(|end| end.map(|end| (start, end)))
    } else {
        matcher.find(start)
    };
    let Some((from, to)) = found.map_err(|fail| raise(lua, fail))? else {
        lua.push_nil();
        return Ok(1);
    };
    if !find {
        return push_captures(lua, &matcher, (text, from, to), 1);
    }
    lua.push_number((from + 1) as f64);
    lua.push_number(to as f64);
    Ok(2 + push_captures(lua, &matcher, (text, from, to), 0)?)
}

fn gmatch(lua: State) -> Native {
    lua.check_bytes(1);
    lua.check_bytes(2);
    lua.set_top(2);
    lua.push_number(0.0);
    lua.push_function(native!(next_match), 3);
    Ok(1)
}

/// The function that gmatch returns: its own values are the text, the pattern and where to go on.
fn next_match(lua: State) -> Native {
    let [text, pattern] = [1, 2].map(|number| lua.bytes(upvalue(number)).unwrap_or_default());
    let start = lua.number(upvalue(3)) as usize;
    let mut matcher = Matcher::new(lua, text, pattern);
    let Some((from, to)) = matcher.find(start).map_err(|fail| raise(lua, fail))? else {
        return Ok(0);
    };
    lua.push_number((to + usize::from(to == from)) as f64);
    lua.replace(upvalue(3));
    push_captures(lua, &matcher, (text, from, to), 1)
}

fn gsub(lua: State) -> Native {
    let text = lua.check_bytes(1);
    let (anchor, pattern) = anchored(lua.check_bytes(2));
    let kind = lua.kind(3);
    // As C's cast to int does.
    let most = lua.optional_integer(4, text.len() as i64 + 1) as i32;
    if !matches!(kind, Kind::Number | Kind::String | Kind::Function | Kind::Table) {
        lua.argument_error(3, c"string/function/table expected");
    }
    let most = usize::try_from(most).unwrap_or(0);
    let replacement = lua.text(3).unwrap_or_default();
    let mut matcher = Matcher::new(lua, text, pattern);
    let (mut at, mut count) = (0, 0);
    lua.build(|out| {
        while count < most {
            let found = if anchor {
                matcher.match_at(at).map(|end| end.map(|end| (at, end)))
            } else {
                matcher.find(at)
            };
            let Some((from, to)) = found.map_err(|fail| raise(lua, fail))? else { break };
            out.add(&text[at..from]);
            at = from;
            count += 1;
            let found = (text, from, to);
            match kind {
                Kind::Function | Kind::Table => replace(lua, out, &matcher, found)?,
                _ => replace_by_text(lua, out, &matcher, found, replacement)?,
            }
            if to > from {
                at = to;
            } else if at < text.len() {
                out.add(&text[at..=at]);
                at += 1;
            } else {
                break;
            }
            if anchor {
                break;
            }
        }
        out.add(&text[at..]);
        Ok(())
    })?;
    lua.push_number(count as f64);
    Ok(2)
}

/// Appends what a table or a function has for a match; the match itself where that is nothing.
fn replace(
    lua: State,
    out: &mut Builder,
    matcher: &Matcher<'_>,
    found @ (text, from, to): (&[u8], usize, usize),
) -> Result<(), Raised> {
    if lua.kind(3) == Kind::Table {
        push_capture(lua, matcher, 0, found)?;
        lua.get_element(3);
    } else {
        lua.push_value(3);
        let arguments = push_captures(lua, matcher, found, 1)?;
        lua.call(arguments, 1);
    }
    match lua.kind(-1) {
        Kind::String | Kind::Number => out.add_top(),
        _ if !lua.boolean(-1) => {
            lua.pop(1);
            out.add(&text[from..to]);
        }
        _ => {
            let host = lua.host();
            host.scratch.clear();
            for part in ["invalid replacement value (a ", lua.type_name(-1), ")"] {
                host.scratch.extend_from_slice(part.as_bytes());
            }
            return Err(lua.fail_with(&host.scratch));
        }
    }
    Ok(())
}

/// Appends a text in which `%1` stands for a match's group.
fn replace_by_text(
    lua: State,
    out: &mut Builder,
    matcher: &Matcher<'_>,
    found @ (text, from, to): (&[u8], usize, usize),
    mut replacement: &[u8],
) -> Result<(), Raised> {
    while let Some(percent) = memchr::memchr(b'%', replacement) {
        out.add(&replacement[..percent]);
        match replacement.get(percent + 1).copied().unwrap_or_default() {
            b'0' => out.add(&text[from..to]),
            digit @ b'1'..=b'9' => {
                push_capture(lua, matcher, usize::from(digit - b'1'), found)?;
                out.add_top();
            }
            byte => out.add(&[byte]),
        }
        replacement = replacement.get(percent + 2..).unwrap_or_default();
    }
    out.add(replacement);
    Ok(())
}

fn rep(lua: State) -> Native {
    let text = lua.check_bytes(1);
    // As C's cast to int does.
    let count = usize::try_from(lua.check_integer(2) as i32).unwrap_or(0);
    let host = lua.host();
    let len = text.len().saturating_mul(count);
    if !host.has_room(len) {
        lua.out_of_memory();
    }
    if len == 0 {
        lua.push_bytes(b"");
        return Ok(1);
    }
    host.scratch.clear();
    host.scratch.reserve(len);
    // As many as make a piece, then whole pieces of these.
    let piece = (PIECE_BYTES / text.len()).clamp(1, count);
    for _ in 0..piece {
        host.scratch.extend_from_slice(text);
    }
    while host.scratch.len() < len {
        let more = (piece * text.len()).min(len - host.scratch.len());
        host.scratch.extend_from_within(..more);
        machine::spend_bytes(lua, more)?;
    }
    machine::push_scratch(lua);
    Ok(1)
}

/// Lua's own function, but what is long is quoted here, where a script can be suspended.
fn format(lua: State) -> Native {
    let Some(function) = lua.c_function(upvalue(1)) else { return Ok(0) };
    let text = lua.check_bytes(1);
    if text.len() > FORMAT_BYTES_MAX {
        return Err(lua.fail("format is too long"));
    }
    let is_long = |index| lua.kind(index) == Kind::String && lua.raw_len(index) > QUOTED_BYTES_MAX;
    if (2..=lua.top()).any(is_long) {
        let is_quoted = |argument: c_int, conversion: u8| {
            conversion == b'q' && argument <= lua.top() && is_long(argument)
        };
        let mut specifiers = Specifiers { text, at: 0, argument: 1 };
        let mut any = false;
        while let Some((_, conversion)) = specifiers.next() {
            if is_quoted(specifiers.argument, conversion) {
                quote(lua, specifiers.argument)?;
                any = true;
            }
        }
        if any {
            take_as_they_are(lua, text, is_quoted);
        }
    }
    lua.go_on_as(function)
}

/// Puts a string's quoted form in its place on the stack.
fn quote(lua: State, index: c_int) -> Result<(), Raised> {
    let text = lua.bytes(index).unwrap_or_default();
    let host = lua.host();
    host.scratch.clear();
    host.scratch.push(b'"');
    for piece in text.chunks(QUOTED_BYTES_MAX) {
        for &byte in piece {
            match byte {
                b'"' | b'\\' | b'\n' => host.scratch.extend([b'\\', byte]),
                b'\r' => host.scratch.extend(b"\\r"),
                0 => host.scratch.extend(b"\\000"),
                _ => host.scratch.push(byte),
            }
        }
        // Four bytes are the longest form of one, and each is looked at singly.
        machine::spend_making(lua, piece.len() / 4, 4 * QUOTED_BYTES_MAX)?;
    }
    host.scratch.push(b'"');
    machine::push_scratch(lua);
    lua.replace(index);
    Ok(())
}

/// Makes `%s` of the `%q` whose strings are quoted already.
fn take_as_they_are(lua: State, text: &[u8], is_quoted: impl Fn(c_int, u8) -> bool) {
    let host = lua.host();
    host.scratch.clear();
    let mut specifiers = Specifiers { text, at: 0, argument: 1 };
    let mut copied = 0;
    while let Some((start, conversion)) = specifiers.next() {
        if is_quoted(specifiers.argument, conversion) {
            host.scratch.extend_from_slice(&text[copied..start]);
            host.scratch.extend_from_slice(b"%s");
            copied = specifiers.at;
        }
    }
    host.scratch.extend_from_slice(&text[copied..]);
    machine::push_scratch(lua);
    lua.replace(1);
}

/// Walks over a format's specifiers: where each begins, and its letter.
struct Specifiers<'a> {
    text: &'a [u8],
    /// Behind the last one.
    at: usize,
    /// The last one's argument.
    argument: c_int,
}

impl Specifiers<'_> {
    fn next(&mut self) -> Option<(usize, u8)> {
        loop {
            let start = self.at + memchr::memchr(b'%', &self.text[self.at..])?;
            let rest = &self.text[start + 1..];
            let modifiers = rest.iter().take_while(|byte| b"-+ #.0123456789".contains(byte));
            let len = modifiers.count();
            let letter = *rest.get(len)?;
            self.at = start + len + 2;
            if len > 0 || letter != b'%' {
                self.argument += 1;
                return Some((start, letter));
            }
        }
    }
}

/// Pushes a string of as many bytes as the first argument, made piece by piece.
fn transform(lua: State, append: impl Fn(&mut Vec<u8>, &[u8], usize)) -> Native {
    let text = lua.check_bytes(1);
    let host = lua.host();
    if !host.has_room(text.len()) {
        lua.out_of_memory();
    }
    host.scratch.clear();
    for at in (0..text.len()).step_by(STEPS_BETWEEN_LOOKS) {
        append(&mut host.scratch, text, at);
        machine::spend_bytes(lua, (text.len() - at).min(STEPS_BETWEEN_LOOKS))?;
    }
    machine::push_scratch(lua);
    Ok(1)
}

/// The piece of a text that begins at a place.
fn piece(text: &[u8], at: usize) -> &[u8] {
    &text[at..text.len().min(at + STEPS_BETWEEN_LOOKS)]
}

fn reverse(lua: State) -> Native {
    transform(lua, |out, text, at| {
        let end = text.len() - at;
        let begin = end.saturating_sub(STEPS_BETWEEN_LOOKS);
        out.extend(text[begin..end].iter().rev());
    })
}

fn lower(lua: State) -> Native {
    transform(lua, |out, text, at| {
        out.extend(piece(text, at).iter().map(u8::to_ascii_lowercase));
    })
}

fn upper(lua: State) -> Native {
    transform(lua, |out, text, at| {
        out.extend(piece(text, at).iter().map(u8::to_ascii_uppercase));
    })
}
