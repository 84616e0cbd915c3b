//! Glob patterns as KEYS, SCAN, PSUBSCRIBE and CONFIG GET take them.
//!
//! `*` any bytes, `?` one byte, `[abc]`, `[a-z]`, `[^a]` one byte of (or not of) a class, `\x` the
//! byte x itself. The corners are upstream's, because clients have come to rely on them:
//! - a class without its closing bracket ends with the pattern;
//! - a range may be reversed, and its ends are compared as *signed* bytes, unless case is ignored;
//! - an escaped byte in a class keeps its case even when case is ignored;
//! - an empty text is matched by the empty pattern only, not by `*`;
//! - a pattern with more than 1000 runs of `*` to go through matches nothing.
//!
//! There is no recursion: when a byte doesn't match, it is enough to let the *last* star met take
//! one byte more, since all earlier stars have found their shortest match. Time is at most pattern
//! times text.

/// How many runs of stars may be entered; one more and nothing matches.
const STARS_MAX: usize = 1000;

/// Whether all of `text` matches `pattern`. `ignore_case` is about ASCII letters.
pub(crate) fn glob(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after a mismatch: the pattern behind the last star, and the text it stops at.
    let mut retry: Option<(usize, usize)> = None;
    let mut stars = 0;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            while pattern.get(p) == Some(&b'*') {
                p += 1;
            }
            if p == pattern.len() {
                return true;
            }
            stars += 1;
            if stars > STARS_MAX {
                return false;
            }
            retry = Some((p, t));
            continue;
        }
        let step = pattern.get(p..).and_then(|rest| one(rest, text[t], ignore_case));
        if let Some(width) = step {
            p += width;
            t += 1;
        } else if let Some((after_star, stop)) = retry {
            p = after_star;
            t = stop + 1;
            retry = Some((p, t));
        } else {
            return false;
        }
    }
    if !text.is_empty() {
        while pattern.get(p) == Some(&b'*') {
            p += 1;
        }
    }
    p == pattern.len()
}

/// Matches `byte` against the element that `pattern` begins with, which is no star. Returns the
/// element's width in the pattern where it matches.
#[inline]
fn one(pattern: &[u8], byte: u8, ignore_case: bool) -> Option<usize> {
    let literal = match *pattern {
        [] => return None,
        [b'?', ..] => return Some(1),
        [b'[', ..] => return class(pattern, byte, ignore_case),
        [b'\\', escaped, ..] => {
            return equal(escaped, byte, ignore_case).then_some(2);
        }
        [literal, ..] => literal,
    };
    equal(literal, byte, ignore_case).then_some(1)
}

/// [`one`] for a pattern that begins with a class.
fn class(pattern: &[u8], byte: u8, ignore_case: bool) -> Option<usize> {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut found = false;
    loop {
        match pattern[at..] {
            [] => break,
            [b'\\', escaped, ..] => {
                found |= escaped == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [start, b'-', end, ..] => {
                found |= in_range(start, end, byte, ignore_case);
                at += 3;
            }
            [literal, ..] => {
                found |= equal(literal, byte, ignore_case);
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

/// Whether `byte` lies between two bytes, in either order.
fn in_range(start: u8, end: u8, byte: u8, ignore_case: bool) -> bool {
    let (start, end) = if start as i8 > end as i8 { (end, start) } else { (start, end) };
    // The ends are put in order before they lose their case: `[Z-a]` ignoring case is `[z-a]`,
    // which holds nothing. And case goes by C's `tolower`, which makes bytes from 0x80 on positive,
    // except the last, which it takes for the end of a file.
    let fold = |byte: u8| match byte {
        0x80..=0xfe if ignore_case => i16::from(byte),
        _ if ignore_case => i16::from(byte.to_ascii_lowercase() as i8),
        _ => i16::from(byte as i8),
    };
    (fold(start)..=fold(end)).contains(&fold(byte))
}

#[inline]
fn equal(left: u8, right: u8, ignore_case: bool) -> bool {
    left == right || ignore_case && left.eq_ignore_ascii_case(&right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn elements() {
        for (pattern, text, matches) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", false),
            ("*", "a", true),
            ("a*", "a", true),
            ("a**", "a", true),
            ("*b", "aab", true),
            ("*b", "aabc", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("h?llo", "hallo", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hello", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h[a-c]llo", "hdllo", false),
            ("[a", "a", true),
            ("[a", "b", false),
            ("[", "[", false),
            ("[^", "x", true),
            ("[^]", "x", true),
            ("[]", "x", false),
            ("[a-]", "^", true),
            ("[a-]x", "x", true),
            ("[\\]]", "]", true),
            ("[\\", "\\", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("\\", "\\", true),
            ("a\\", "a\\", true),
            ("a\\", "a", false),
            ("*[^a]", "aab", true),
            ("?", "", false),
            ("A", "a", false),
        ] {
            assert_eq!(
                glob(pattern.as_bytes(), text.as_bytes(), false),
                matches,
                "{pattern} {text}"
            );
        }
        assert!(glob(b"ABc*", b"aBcD", true));
        assert!(glob(b"[A-C]", b"b", true));
        assert!(!glob(b"[\\A]", b"a", true));
        assert!(!glob(b"[Z-a]", b"z", true));
        assert!(glob(b"[\x01-\xff]", b"\0", false));
        assert!(!glob(b"[\x01-\xff]", b"a", false));
        assert!(glob(b"[c-\x80]", b"a", false));
        assert!(!glob(b"[c-\x80]", b"a", true));
    }

    #[test]
    fn many_stars_stay_cheap() {
        let text = b"a".repeat(50_000);
        let pattern = [b"a*".repeat(500).as_slice(), b"b"].concat();
        assert!(!glob(&pattern, &text, false));
        assert!(!glob(&b"*?".repeat(50_000), &text, false));
        assert!(glob(&b"*?".repeat(1000), &text, false));
        assert!(!glob(&b"*?".repeat(1001), &text, false));
    }

    /// The definition, by recursion, for patterns of stars, question marks and letters.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
            ([mark, rest @ ..], [byte, after @ ..]) if *mark == b'?' || mark == byte => {
                naive(rest, after)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?]{0,8}", text in "[ab]{1,10}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(glob(pattern, text, false), naive(pattern, text));
        }

        #[test]
        fn no_bytes_panic(pattern: Vec<u8>, text: Vec<u8>, ignore_case: bool) {
            glob(&pattern, &text, ignore_case);
        }
    }
}
