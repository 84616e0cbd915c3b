//! Doubles: read as C's `strtod` reads them, printed as Redis 7.2 prints them in replies.
//!
//! Printing is the shortest text that reads back as the same number. Redis 7.0 and older print
//! `%.17g` instead (`0.10000000000000001`). Upstream finds the shortest text with Grisu2, which in
//! about one of a thousand numbers misses it by a digit; we don't reproduce that.

use rustc_apfloat::Float;
use rustc_apfloat::ieee::Double;

use super::push_i64;

/// Integers up to this magnitude (2^52) print as integers, whatever zeros they end in.
const PLAIN_INTEGER_MAX: f64 = 4_503_599_627_370_496.0;

/// A text in one of the forms of `strtod` and `strtold`, all of it. What they take besides, leading
/// spaces and NaN, Redis refuses.
pub(super) enum Form<'a> {
    /// `inf` or `infinity` in any case.
    Infinity {
        /// Whether a minus stands before it.
        negative: bool,
    },
    /// Sign, digits with an optional point, optional exponent: what Rust's own parser takes.
    Decimal(&'a str),
    /// As the former in hexadecimal, given the `p0` that Rust's big floats insist on.
    Hexadecimal(String),
}

impl<'a> Form<'a> {
    /// Tells the form of a text.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let (negative, magnitude) = match bytes.first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        if magnitude.eq_ignore_ascii_case("inf") || magnitude.eq_ignore_ascii_case("infinity") {
            return Some(Self::Infinity { negative });
        }
        if let Some(digits) = magnitude.strip_prefix("0x").or_else(|| magnitude.strip_prefix("0X"))
        {
            let has_exponent = is_number(digits.as_bytes(), b'p', u8::is_ascii_hexdigit)?;
            return Some(Self::Hexadecimal(format!(
                "{}0x{digits}{}",
                if negative { "-" } else { "" },
                if has_exponent { "" } else { "p0" }
            )));
        }
        is_number(magnitude.as_bytes(), b'e', u8::is_ascii_digit)?;
        Some(Self::Decimal(text))
    }

    /// Whether the digits before the exponent are all zero, so that a result of zero is exact and
    /// no underflow.
    pub(super) fn is_zero(&self) -> bool {
        let (text, mark) = match self {
            Self::Infinity { .. } => return false,
            Self::Decimal(text) => (*text, b'e'),
            Self::Hexadecimal(text) => (text.as_str(), b'p'),
        };
        text.bytes()
            .take_while(|byte| byte.to_ascii_lowercase() != mark)
            .all(|byte| matches!(byte, b'0' | b'.' | b'+' | b'-' | b'x' | b'X'))
    }
}

/// Checks digits with an optional point and an optional exponent behind `mark`, which is decimal
/// in any case. Returns whether there is an exponent.
fn is_number(text: &[u8], mark: u8, is_digit: fn(&u8) -> bool) -> Option<bool> {
    let (mut digits, mut points) = (0usize, 0usize);
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        if is_digit(byte) {
            digits += 1;
        } else if *byte == b'.' && points == 0 {
            points += 1;
        } else {
            break;
        }
        rest = after;
    }
    if digits == 0 {
        return None;
    }
    let [byte, exponent @ ..] = rest else { return Some(false) };
    let exponent = match exponent {
        [b'+' | b'-', digits @ ..] | digits => digits,
    };
    let whole = byte.to_ascii_lowercase() == mark
        && !exponent.is_empty()
        && exponent.iter().all(u8::is_ascii_digit);
    whole.then_some(true)
}

/// The double that `bytes` spells: decimal or hexadecimal, with or without exponent, or an
/// infinity. Refused are NaN, what overflows, and what underflows to zero.
pub(crate) fn parse_f64(bytes: &[u8]) -> Option<f64> {
    let form = Form::of(bytes)?;
    let number = match &form {
        Form::Infinity { negative: false } => return Some(f64::INFINITY),
        Form::Infinity { negative: true } => return Some(f64::NEG_INFINITY),
        Form::Decimal(text) => text.parse().ok()?,
        Form::Hexadecimal(text) => f64::from_bits(text.parse::<Double>().ok()?.to_bits() as u64),
    };
    (number.is_finite() && (number != 0.0 || form.is_zero())).then_some(number)
}

/// Appends the text of a double: `inf`, `-inf`, `nan`, `-0`, integers without exponent up to 2^52,
/// and otherwise the shortest digits, with an exponent where upstream has one.
pub(crate) fn push_f64(out: &mut Vec<u8>, number: f64) {
    if number.is_nan() {
        out.extend_from_slice(b"nan");
    } else if number.is_infinite() {
        out.extend_from_slice(if number < 0.0 { b"-inf" } else { b"inf" });
    } else if number == 0.0 {
        out.extend_from_slice(if number.is_sign_negative() { b"-0" } else { b"0" });
    } else if number.abs() <= PLAIN_INTEGER_MAX && number.fract() == 0.0 {
        push_i64(out, number as i64);
    } else {
        push_shortest(out, number);
    }
}

/// [`push_f64`] for finite numbers that aren't zero.
fn push_shortest(out: &mut Vec<u8>, number: f64) {
    if number < 0.0 {
        out.push(b'-');
    }
    let (digits, exponent) = Digits::of(number.abs());
    let digits = digits.as_slice();
    let count = digits.len() as i32;
    // The power of ten of the first digit, as the scientific form shows it.
    let leading = exponent + count - 1;
    if (0..8).contains(&exponent) {
        out.extend_from_slice(digits);
        out.resize(out.len() + exponent as usize, b'0');
    } else if exponent < 0 && (exponent > -7 || leading.abs() < 4) {
        if leading < 0 {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + (-leading - 1) as usize, b'0');
            out.extend_from_slice(digits);
        } else {
            let (whole, fraction) = digits.split_at(leading as usize + 1);
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    } else {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if leading < 0 { b"e-" } else { b"e+" });
        push_i64(out, i64::from(leading.abs()));
    }
}

/// The significant digits of a number, without zeros at either end.
struct Digits {
    bytes: [u8; 17],
    len: usize,
}

impl Digits {
    /// The shortest digits of a positive number, and the power of ten of the last of them.
    fn of(number: f64) -> (Self, i32) {
        let mut digits = Self { bytes: [0; 17], len: 0 };
        let (mut exponent, mut point) = (0, None);
        let mut buffer = ryu::Buffer::new();
        let mut text = buffer.format_finite(number).bytes();
        let mut zeros = 0;
        for byte in text.by_ref() {
            match byte {
                b'.' => point = Some(0),
                b'e' => break,
                _ => {
                    point = point.map(|places: i32| places + 1);
                    if byte == b'0' {
                        // Counted only once a digit follows, or it was no digit but padding.
                        zeros += usize::from(digits.len > 0);
                    } else {
                        digits.push_zeros(zeros);
                        digits.bytes[digits.len] = byte;
                        digits.len += 1;
                        zeros = 0;
                    }
                }
            }
        }
        let mut negative = false;
        for byte in text {
            match byte {
                b'-' => negative = true,
                _ => exponent = exponent * 10 + i32::from(byte - b'0'),
            }
        }
        let exponent = if negative { -exponent } else { exponent };
        (digits, exponent - point.unwrap_or(0) + zeros as i32)
    }

    fn push_zeros(&mut self, count: usize) {
        self.bytes[self.len..self.len + count].fill(b'0');
        self.len += count;
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Appends the text of a double with 17 significant digits, as C's `%.17g` has it: no trailing zeros,
/// and an exponent where it is below -4 or above 16.
pub(crate) fn push_f64_17(out: &mut Vec<u8>, number: f64) {
    if !number.is_finite() || number == 0.0 {
        push_f64(out, number);
        return;
    }
    // One digit before the point, 16 behind it, and the exponent.
    let text = format!("{number:.16e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number < 0.0 {
        out.push(b'-');
    }
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    let end = digits.iter().rposition(|digit| *digit != b'0').map_or(1, |last| last + 1);
    let digits = &digits[..end];
    let point = |out: &mut Vec<u8>, whole: usize| {
        out.extend(digits.iter().copied().chain(std::iter::repeat(b'0')).take(whole));
        if digits.len() > whole {
            out.push(b'.');
            out.extend_from_slice(&digits[whole..]);
        }
    };
    match exponent {
        -4..=-1 => {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', exponent.unsigned_abs() as usize - 1));
            out.extend_from_slice(digits);
        }
        0..=16 => point(out, exponent as usize + 1),
        _ => {
            point(out, 1);
            out.extend_from_slice(format!("e{exponent:+03}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(number: f64) -> String {
        let mut out = Vec::new();
        push_f64(&mut out, number);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn seventeen_digits_are_those_of_c() {
        for (number, text) in [
            (0.1, "0.10000000000000001"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (1e16, "10000000000000000"),
            (123_456_789.125, "123456789.125"),
            (1e17, "1e+17"),
            (1.5e300, "1.5000000000000001e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (-1e-7, "-9.9999999999999995e-08"),
            (f64::INFINITY, "inf"),
            (0.0, "0"),
        ] {
            let mut out = Vec::new();
            push_f64_17(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn printing() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-5.0, "-5"),
            (0.1, "0.1"),
            (3.25, "3.25"),
            (-1.5, "-1.5"),
            (100.5, "100.5"),
            (1e15, "1000000000000000"),
            (4_503_599_627_370_496.0, "4503599627370496"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (1e17, "1e+17"),
            (1.234_567_8e17, "1.2345678e+17"),
            (1.234_567_89e16, "1.23456789e+16"),
            (1.234_567_891e16, "12345678910000000"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157e+308"),
            (0.001, "0.001"),
            (0.000_001, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-6, "1.5e-6"),
            (1.5e-5, "0.000015"),
            (1.25e-6, "1.25e-6"),
            (0.001_234_567_8, "0.0012345678"),
            (1.234_567_8e-4, "1.2345678e-4"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(printed(number), text);
        }
    }

    #[test]
    fn reading() {
        for (text, number) in [
            ("1", Some(1.0)),
            ("+1", Some(1.0)),
            ("-0", Some(-0.0)),
            ("007.50", Some(7.5)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("1e3", Some(1000.0)),
            ("1E+3", Some(1000.0)),
            ("1e-3", Some(0.001)),
            ("InF", Some(f64::INFINITY)),
            ("+infinity", Some(f64::INFINITY)),
            ("-INFINITY", Some(f64::NEG_INFINITY)),
            ("0x10", Some(16.0)),
            ("-0X1.8p1", Some(-3.0)),
            ("0x.8", Some(0.5)),
            ("0x8.", Some(8.0)),
            ("0x1P-1", Some(0.5)),
            ("0x0p99999", Some(0.0)),
            ("0e99999999999999999999", Some(0.0)),
            ("5e-324", Some(5e-324)),
            ("1e-400", None),
            ("1e400", None),
            ("-1e400", None),
            ("0x1p1024", None),
            ("0x1p-2000", None),
            ("1e99999999999999999999", None),
            ("", None),
            (".", None),
            ("-", None),
            ("+-1", None),
            ("e5", None),
            ("1e", None),
            ("1e+", None),
            ("1.2.3", None),
            ("0x", None),
            ("0x.", None),
            ("0x1p", None),
            ("0x1pa", None),
            ("-+0x1", None),
            ("0x-1", None),
            (" 1", None),
            ("1 ", None),
            ("1\0", None),
            ("1_0", None),
            ("infx", None),
            ("nan", None),
            ("-NaN", None),
            ("nan(1)", None),
        ] {
            let read = parse_f64(text.as_bytes());
            assert_eq!(read.map(f64::to_bits), number.map(f64::to_bits), "{text:?}");
        }
        assert_eq!(parse_f64(b"\xff"), None);
    }

    proptest! {
        #[test]
        fn reads_what_it_prints(number in any::<f64>()) {
            prop_assert_eq!(parse_f64(printed(number).as_bytes()), Some(number));
        }

        #[test]
        fn no_text_panics(text in "[-+]?(0x)?[0-9a-f.]{0,20}([ep][-+]?[0-9]{0,6})?") {
            parse_f64(text.as_bytes());
        }
    }
}
