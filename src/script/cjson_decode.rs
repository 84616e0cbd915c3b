//! From JSON to Lua values.

use crate::base::text;
use crate::script::cjson::{ARRAY_MARK, Settings};
use crate::script::machine;
use crate::script::raw::{Raised, State, leading_double};

/// What a value counts beside the bytes of its text: as one step.
const STEP_BYTES: usize = 16;

/// What the input goes on with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    /// Its text is `Decoder::text`.
    String,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    /// The input is wrong, and how.
    Wrong(&'static str),
}

impl Token {
    /// What errors call it.
    fn name(self) -> &'static str {
        match self {
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::String => "T_STRING",
            Self::Number(_) => "T_NUMBER",
            Self::Boolean(_) => "T_BOOLEAN",
            Self::Null => "T_NULL",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::End => "T_END",
            Self::Wrong(what) => what,
        }
    }
}

/// Where a string's bytes are.
#[derive(Clone, Copy, Debug)]
enum Text {
    /// In the input, as they stand.
    Input(usize, usize),
    /// In the scratch buffer.
    Scratch,
}

struct Decoder<'a> {
    lua: State,
    settings: Settings,
    input: &'a [u8],
    at: usize,
    /// Where the last token began.
    token_at: usize,
    text: Text,
    scratch: &'a mut Vec<u8>,
    depth: usize,
}

/// Pushes the value that a text stands for.
pub(super) fn decode(lua: State, input: &[u8], settings: Settings) -> Result<(), Raised> {
    if input.len() >= 2 && (input[0] == 0 || input[1] == 0) {
        return Err(lua.fail("JSON parser does not support UTF-16 or UTF-32"));
    }
    let scratch = &mut lua.host().scratch;
    let text = Text::Scratch;
    let mut decoder = Decoder { lua, settings, input, at: 0, token_at: 0, text, scratch, depth: 0 };
    let token = decoder.next();
    decoder.value(token)?;
    match decoder.next() {
        Token::End => Ok(()),
        token => Err(decoder.unexpected("the end", token)),
    }
}

impl Decoder<'_> {
    fn unexpected(&mut self, expected: &str, found: Token) -> Raised {
        self.scratch.clear();
        for part in ["Expected ", expected, " but found ", found.name(), " at character "] {
            self.scratch.extend_from_slice(part.as_bytes());
        }
        text::push_u64(self.scratch, self.token_at as u64 + 1);
        self.lua.fail_with(self.scratch)
    }

    fn value(&mut self, token: Token) -> Result<(), Raised> {
        machine::spend_bytes(self.lua, STEP_BYTES + self.at - self.token_at)?;
        match token {
            Token::String => self.push_text(),
            Token::Number(number) => self.lua.push_number(number),
            Token::Boolean(value) => self.lua.push_boolean(value),
            Token::Null => self.lua.push_null(),
            Token::ObjectBegin => self.object()?,
            Token::ArrayBegin => self.array()?,
            other => return Err(self.unexpected("value", other)),
        }
        Ok(())
    }

    fn push_text(&self) {
        self.lua.push_bytes(match self.text {
            Text::Input(start, end) => &self.input[start..end],
            Text::Scratch => self.scratch,
        });
    }

    fn descend(&mut self) -> Result<(), Raised> {
        self.depth += 1;
        if self.depth <= self.settings.decode_depth_max && self.lua.check_stack(4) {
            return Ok(());
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(b"Found too many nested data structures (");
        text::push_u64(self.scratch, self.depth as u64);
        self.scratch.extend_from_slice(b") at character ");
        text::push_u64(self.scratch, self.at as u64);
        Err(self.lua.fail_with(self.scratch))
    }

    fn object(&mut self) -> Result<(), Raised> {
        self.descend()?;
        self.lua.new_table(0, 0);
        let table = self.lua.top();
        let mut token = self.next();
        if token == Token::ObjectEnd {
            self.depth -= 1;
            return Ok(());
        }
        loop {
            if token != Token::String {
                return Err(self.unexpected("object key string", token));
            }
            self.push_text();
            match self.next() {
                Token::Colon => {}
                other => return Err(self.unexpected("colon", other)),
            }
            token = self.next();
            self.value(token)?;
            self.lua.raw_set(table);
            match self.next() {
                Token::ObjectEnd => break,
                Token::Comma => token = self.next(),
                other => return Err(self.unexpected("comma or object end", other)),
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn array(&mut self) -> Result<(), Raised> {
        self.descend()?;
        self.lua.new_table(0, 0);
        let mut token = self.next();
        if token == Token::ArrayEnd {
            if self.settings.mark_arrays {
                self.lua.new_table(0, 1);
                self.lua.push_boolean(true);
                self.lua.set_field(self.lua.top() - 1, ARRAY_MARK);
                self.lua.set_metatable(-2);
            }
            self.depth -= 1;
            return Ok(());
        }
        for index in 1.. {
            self.value(token)?;
            self.lua.raw_set_index(-2, index);
            match self.next() {
                Token::ArrayEnd => break,
                Token::Comma => token = self.next(),
                other => return Err(self.unexpected("comma or array end", other)),
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads the next token.
    fn next(&mut self) -> Token {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.input.get(self.at) {
            self.at += 1;
        }
        self.token_at = self.at;
        let Some(&byte) = self.input.get(self.at) else { return Token::End };
        let single = match byte {
            b'{' => Token::ObjectBegin,
            b'}' => Token::ObjectEnd,
            b'[' => Token::ArrayBegin,
            b']' => Token::ArrayEnd,
            b':' => Token::Colon,
            b',' => Token::Comma,
            b'"' => return self.string(),
            0 => Token::End,
            _ => return self.word(byte),
        };
        self.at += 1;
        single
    }

    fn word(&mut self, first: u8) -> Token {
        let rest = &self.input[self.at..];
        for (word, token) in [
            (&b"true"[..], Token::Boolean(true)),
            (b"false", Token::Boolean(false)),
            (b"null", Token::Null),
        ] {
            if rest.starts_with(word) {
                self.at += word.len();
                return token;
            }
        }
        match first {
            b'-' | b'0'..=b'9' => self.number(rest),
            // What JSON doesn't have, and C's strtod reads.
            b'+' | b'i' | b'I' | b'n' | b'N'
                if self.settings.decode_invalid && leading_double(rest).is_some() =>
            {
                self.number(rest)
            }
            _ => Token::Wrong("invalid token"),
        }
    }

    fn number(&mut self, rest: &[u8]) -> Token {
        if !self.settings.decode_invalid && is_invalid_number(rest) {
            return Token::Wrong("invalid number");
        }
        match leading_number(rest) {
            Some((number, len)) => {
                self.at += len;
                Token::Number(number)
            }
            None => Token::Wrong("invalid number"),
        }
    }

    fn string(&mut self) -> Token {
        let start = self.at + 1;
        let rest = &self.input[start..];
        let Some(end) = memchr::memchr3(b'"', b'\\', 0, rest) else {
            self.at = self.input.len();
            self.token_at = self.at;
            return Token::Wrong("unexpected end of string");
        };
        if rest[end] == b'"' {
            self.at = start + end + 1;
            self.text = Text::Input(start, start + end);
            return Token::String;
        }
        self.text = Text::Scratch;
        self.scratch.clear();
        self.scratch.extend_from_slice(&rest[..end]);
        self.at = start + end;
        loop {
            let Some(&byte) = self.input.get(self.at) else {
                self.token_at = self.at;
                return Token::Wrong("unexpected end of string");
            };
            match byte {
                b'"' => {
                    self.at += 1;
                    return Token::String;
                }
                0 => {
                    self.token_at = self.at;
                    return Token::Wrong("unexpected end of string");
                }
                b'\\' => {
                    if let Err(wrong) = self.escape() {
                        self.token_at = self.at;
                        return Token::Wrong(wrong);
                    }
                }
                _ => {
                    self.scratch.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    /// One escaped character, at its backslash.
    fn escape(&mut self) -> Result<(), &'static str> {
        let byte = match self.input.get(self.at + 1) {
            Some(b'b') => 8,
            Some(b't') => 9,
            Some(b'n') => 10,
            Some(b'f') => 12,
            Some(b'r') => 13,
            Some(&byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'u') => {
                let (letter, len) =
                    unicode(&self.input[self.at..]).ok_or("invalid unicode escape code")?;
                let mut bytes = [0; 4];
                self.scratch.extend_from_slice(letter.encode_utf8(&mut bytes).as_bytes());
                self.at += len;
                return Ok(());
            }
            _ => return Err("invalid escape code"),
        };
        self.scratch.push(byte);
        self.at += 2;
        Ok(())
    }
}

/// The four hexadecimal digits behind `\u`.
fn code_unit(escape: &[u8]) -> Option<u32> {
    let digits = escape.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

/// The character of `\uXXXX`, or of two that belong together, and how many bytes that takes.
fn unicode(escape: &[u8]) -> Option<(char, usize)> {
    let unit = code_unit(escape)?;
    if (0xd800..0xdc00).contains(&unit) {
        let low = code_unit(&escape[6..]).filter(|low| (0xdc00..0xe000).contains(low))?;
        return char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
            .map(|letter| (letter, 12));
    }
    char::from_u32(unit).map(|letter| (letter, 6))
}

/// Whether what begins like a number is none of JSON's: hexadecimal, with zeros in front, infinite.
fn is_invalid_number(text: &[u8]) -> bool {
    if text.first() == Some(&b'+') {
        return true;
    }
    let text = text.strip_prefix(b"-").unwrap_or(text);
    match text.first() {
        Some(b'0') => text.get(1).is_some_and(|next| matches!(next, b'x' | b'X' | b'0'..=b'9')),
        Some(b'1'..=b'9') => false,
        _ => {
            let word: Vec<u8> = text.iter().take(3).map(u8::to_ascii_lowercase).collect();
            word == b"inf" || word == b"nan"
        }
    }
}

/// The number at a text's beginning, and how many bytes it takes.
fn leading_number(text: &[u8]) -> Option<(f64, usize)> {
    let digits = text.iter().skip(usize::from(text[0] == b'-'));
    let count = digits.take_while(|byte| byte.is_ascii_digit()).count();
    let sign = usize::from(text[0] == b'-');
    let next = text.get(sign + count);
    if (1..=15).contains(&count) && !matches!(next, Some(b'.' | b'e' | b'E' | b'x' | b'X')) {
        let value = text[sign..sign + count]
            .iter()
            .fold(0i64, |value, digit| value * 10 + i64::from(digit - b'0'));
        let number = value as f64;
        return Some((if sign == 1 { -number } else { number }, sign + count));
    }
    leading_double(text)
}
