//! Words in quotes: how inline commands and configuration lines are split, and how bytes are shown
//! in logs and in CLIENT and DEBUG replies. Splitting reverses showing.

/// A line with a quote that isn't closed, or with something other than space behind a closing one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unbalanced quotes")]
pub struct Unbalanced;

/// Appends `bytes` in double quotes: printable ASCII as it is, the rest escaped.
pub(crate) fn push_quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\x07' => out.extend_from_slice(b"\\a"),
            b'\x08' => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => {
                let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                out.extend_from_slice(&[b'\\', b'x', digits[0], digits[1]]);
            }
        }
    }
    out.push(b'"');
}

/// Splits a line into words at blanks. Within double quotes `\n`, `\r`, `\t`, `\b`, `\a` and
/// `\xHH` stand for bytes and a backslash takes any other byte literally; within single quotes only
/// `\'` is special. Quotes may begin inside a word, but after one that closes the word must end.
/// A NUL byte ends the line.
///
/// # Errors
/// [`Unbalanced`].
pub(crate) fn split_arguments(line: &[u8]) -> Result<Vec<Vec<u8>>, Unbalanced> {
    let line = &line[..memchr::memchr(0, line).unwrap_or(line.len())];
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|&byte| is_space(byte)) {
            at += 1;
        }
        if at == line.len() {
            return Ok(words);
        }
        let mut word = Vec::new();
        at = take_word(line, at, &mut word)?;
        words.push(word);
    }
}

/// Reads the word that begins at `at`. Returns where the line goes on behind it.
fn take_word(line: &[u8], mut at: usize, word: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    loop {
        let Some(&byte) = line.get(at) else { return Ok(at) };
        at += 1;
        match byte {
            // Vertical tab and form feed separate words only where a word has not begun.
            b' ' | b'\n' | b'\r' | b'\t' => return Ok(at),
            b'"' => return close(line, take_double_quoted(line, at, word)?),
            b'\'' => return close(line, take_single_quoted(line, at, word)?),
            _ => word.push(byte),
        }
    }
}

/// Reads up to the closing double quote. Returns where the line goes on behind it.
fn take_double_quoted(line: &[u8], mut at: usize, word: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    loop {
        let (byte, width) = match line[at..] {
            [] => return Err(Unbalanced),
            [b'"', ..] => return Ok(at + 1),
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex_value(high) << 4 | hex_value(low), 4)
            }
            [b'\\', b'n', ..] => (b'\n', 2),
            [b'\\', b'r', ..] => (b'\r', 2),
            [b'\\', b't', ..] => (b'\t', 2),
            [b'\\', b'b', ..] => (b'\x08', 2),
            [b'\\', b'a', ..] => (b'\x07', 2),
            [b'\\', escaped, ..] => (escaped, 2),
            [byte, ..] => (byte, 1),
        };
        word.push(byte);
        at += width;
    }
}

/// Reads up to the closing single quote. Returns where the line goes on behind it.
fn take_single_quoted(line: &[u8], mut at: usize, word: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    loop {
        let (byte, width) = match line[at..] {
            [] => return Err(Unbalanced),
            [b'\'', ..] => return Ok(at + 1),
            [b'\\', b'\'', ..] => (b'\'', 2),
            [byte, ..] => (byte, 1),
        };
        word.push(byte);
        at += width;
    }
}

/// Checks that a word ends where its quotes closed.
fn close(line: &[u8], at: usize) -> Result<usize, Unbalanced> {
    match line.get(at) {
        Some(&byte) if !is_space(byte) => Err(Unbalanced),
        _ => Ok(at),
    }
}

/// What C's `isspace` calls space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// The value of a hexadecimal digit.
fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quoted(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        push_quoted(&mut out, bytes);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn quoting() {
        assert_eq!(quoted(b""), r#""""#);
        assert_eq!(quoted(b"a \"b\" \\"), r#""a \"b\" \\""#);
        assert_eq!(quoted(b"\x01\n\r\t\x07\x08\x7f\xff~"), r#""\x01\n\r\t\a\b\x7f\xff~""#);
    }

    #[test]
    fn splitting() {
        for (line, words) in [
            (r"", Some(&[][..])),
            (" \t\r\n\x0b\x0c", Some(&[])),
            ("set  key\tvalue\r\n", Some(&["set", "key", "value"])),
            (r#"a "b c" 'd e'"#, Some(&["a", "b c", "d e"])),
            (r#""" ''"#, Some(&["", ""])),
            (r#"pre"fix ed""#, Some(&["prefix ed"])),
            (r#""a"b"#, None),
            (r#""a""b""#, None),
            (r"'a'b", None),
            (r#""a"#, None),
            (r"'a", None),
            (r#""a\"#, None),
            (r#""a\""#, None),
            (r#""\x41\x4g\n\r\t\b\a\q\\\"""#, Some(&["Ax4g\n\r\t\x08\x07q\\\""])),
            (r"'it\'s \n'", Some(&[r"it's \n"])),
            ("a\x0bb \x0bc", Some(&["a\x0bb", "c"])),
            ("\"a\"\x0bb", Some(&["a", "b"])),
            ("a b\0 c", Some(&["a", "b"])),
            ("\"a\0\"", None),
        ] {
            let expected = words.map(|words| words.iter().map(|w| w.as_bytes().to_vec()).collect());
            assert_eq!(split_arguments(line.as_bytes()).ok(), expected, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn splitting_reverses_quoting(words: Vec<Vec<u8>>) {
            let mut line = Vec::new();
            for word in &words {
                push_quoted(&mut line, word);
                line.push(b' ');
            }
            prop_assert_eq!(split_arguments(&line), Ok(words));
        }

        #[test]
        fn no_line_panics(line in "[a \"'\\\\x4\0]{0,20}") {
            let _ = split_arguments(line.as_bytes());
        }
    }
}
