//! Integers in canonical decimal: the one text of each number, so that a string that parses can be
//! stored as the number and printed again unchanged.
//!
//! Canonical means: no sign but a leading minus, no leading zero, no `-0`, no space. Everything
//! that is written to a key comes through [`parse_i64`], so it rejects by length and by the first
//! and last byte before it looks at the rest.

/// The longest canonical text of a 64-bit integer: `-9223372036854775808`.
const LEN_MAX: usize = 20;

/// The signed 64-bit integer whose canonical decimal text `bytes` is.
#[inline]
pub(crate) fn parse_i64(bytes: &[u8]) -> Option<i64> {
    let (&first, &last) = (bytes.first()?, bytes.last()?);
    if bytes.len() > LEN_MAX || !last.is_ascii_digit() {
        return None;
    }
    match first {
        b'1'..=b'9' => i64::try_from(positive(bytes)?).ok(),
        // A minus can't be the last byte here, so a digit follows it.
        b'-' if bytes[1] != b'0' => 0i64.checked_sub_unsigned(positive(&bytes[1..])?),
        b'0' if bytes.len() == 1 => Some(0),
        _ => None,
    }
}

/// The unsigned 64-bit integer whose canonical decimal text `bytes` is.
#[inline]
pub(crate) fn parse_u64(bytes: &[u8]) -> Option<u64> {
    match bytes.first()? {
        b'1'..=b'9' if bytes.len() <= LEN_MAX => positive(bytes),
        b'0' if bytes.len() == 1 => Some(0),
        _ => None,
    }
}

/// The number that a run of at most [`LEN_MAX`] digits spells.
#[inline]
fn positive(digits: &[u8]) -> Option<u64> {
    // 19 digits always fit, so only a twentieth needs the overflow check.
    let (head, tail) = digits.split_at(digits.len().min(19));
    let mut number = 0u64;
    for &byte in head {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u64::from(digit);
    }
    for &byte in tail {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

/// Appends the decimal text of a signed integer.
#[inline]
pub(crate) fn push_i64(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends the decimal text of an unsigned integer.
#[inline]
pub(crate) fn push_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_texts_only() {
        for (text, number) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("-7", Some(-7)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("-9223372036854775808", Some(i64::MIN)),
            ("-9223372036854775809", None),
            ("99999999999999999999", None),
            ("18446744073709551616", None),
            ("", None),
            ("-", None),
            ("--1", None),
            ("-0", None),
            ("-01", None),
            ("00", None),
            ("01", None),
            ("+1", None),
            (" 1", None),
            ("1 ", None),
            ("1a1", None),
            ("1/1", None),
            ("1:1", None),
            ("100000000000000000000000", None),
        ] {
            assert_eq!(parse_i64(text.as_bytes()), number, "{text:?}");
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"99999999999999999999"), None);
        assert_eq!(parse_u64(b"-1"), None);
        assert_eq!(parse_u64(b"0"), Some(0));
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_library(text in "[-+]?[0-9]{0,21}[ a]?") {
            let number = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
            prop_assert_eq!(parse_i64(text.as_bytes()), number);
            let number = text.parse::<u64>().ok().filter(|number| number.to_string() == text);
            prop_assert_eq!(parse_u64(text.as_bytes()), number);
        }

        #[test]
        fn prints_what_it_reads(number: i64) {
            let mut text = Vec::new();
            push_i64(&mut text, number);
            prop_assert_eq!(parse_i64(&text), Some(number));
        }
    }
}
