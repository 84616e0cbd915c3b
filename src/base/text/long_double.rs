//! Arithmetic of INCRBYFLOAT and HINCRBYFLOAT: the x87's 80-bit floats, in software.
//!
//! Upstream computes in C's `long double`, which on x86-64 has a 64-bit significand and exponents
//! to 10^±4932, and clients see the result's digits. So the format is fixed here on every machine.

use std::fmt;

use rustc_apfloat::ieee::{Double, X87DoubleExtended};
use rustc_apfloat::{Float, FloatConvert};

use super::float::Form;

/// Texts of this length and above are refused, as upstream does.
const TEXT_LEN_LIMIT: usize = 5 * 1024;
/// How many digits are printed behind the point, before trailing zeros go.
const PLACES: usize = 17;
/// One unit of whole numbers in units of the last printed place.
const UNIT: u128 = 10u128.pow(PLACES as u32);
/// A value is `significand * 2^(exponent field - EXPONENT_BIAS)`.
const EXPONENT_BIAS: i32 = 16383 + 63;
/// Big integers are kept in limbs of 19 decimal digits, the most that fit 64 bits.
const LIMB: u128 = 10u128.pow(LIMB_DIGITS as u32);
const LIMB_DIGITS: usize = 19;

/// An 80-bit extended-precision float that isn't NaN.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct LongDouble(X87DoubleExtended);

impl LongDouble {
    /// The number that `bytes` spells, in the forms that [`super::parse_f64`] takes. Refused are
    /// NaN, what overflows, and what underflows to zero.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() >= TEXT_LEN_LIMIT {
            return None;
        }
        let form = Form::of(bytes)?;
        let number = match &form {
            Form::Infinity { negative } => {
                return Some(Self(infinity(*negative)));
            }
            Form::Decimal(text) => text.parse::<X87DoubleExtended>().ok()?,
            Form::Hexadecimal(text) => text.parse::<X87DoubleExtended>().ok()?,
        };
        (number.is_finite() && (number.is_non_zero() || form.is_zero())).then_some(Self(number))
    }

    /// The nearest double.
    pub(crate) fn to_f64(self) -> f64 {
        let nearest: Double = self.0.convert(&mut false).value;
        f64::from_bits(nearest.to_bits() as u64)
    }

    /// The greatest finite number.
    pub(crate) fn greatest() -> Self {
        Self(X87DoubleExtended::largest())
    }

    /// The least finite number.
    pub(crate) fn least() -> Self {
        Self(-X87DoubleExtended::largest())
    }

    /// The nearest finite number.
    pub(crate) fn or_limit(self) -> Self {
        match (self.is_finite(), self.0.is_negative()) {
            (true, _) => self,
            (false, true) => Self::least(),
            (false, false) => Self::greatest(),
        }
    }

    /// Whether it is neither infinity.
    pub(crate) fn is_finite(self) -> bool {
        self.0.is_finite()
    }

    /// The sum of finite numbers, rounded to nearest; it may be infinite.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self((self.0 + other.0).value)
    }

    /// What this is more than another, where one of them is finite; it may be infinite.
    pub(crate) fn minus(self, other: Self) -> Self {
        Self((self.0 - other.0).value)
    }

    /// The sum, rounded to nearest; nothing where it is infinite or not a number.
    pub(crate) fn checked_add(self, other: Self) -> Option<Self> {
        let sum = (self.0 + other.0).value;
        sum.is_finite().then_some(Self(sum))
    }

    /// Appends the number in positional notation (`%.17Lf`) without trailing zeros: `3`, `0.1`,
    /// `-2.5`, never an exponent. Up to 4933 bytes. Zero, and what rounds to it, has no sign.
    pub(crate) fn push(self, out: &mut Vec<u8>) {
        if self.0.is_infinite() {
            out.extend_from_slice(if self.0.is_negative() { b"-inf" } else { b"inf" });
            return;
        }
        let bits = self.0.to_bits();
        let significand = bits as u64;
        let field = (bits >> 64) as i32 & 0x7fff;
        // Denormals have the exponent of the smallest normal numbers.
        let exponent = field.max(1) - EXPONENT_BIAS;
        let start = out.len();
        if self.0.is_negative() {
            out.push(b'-');
        }
        if exponent >= 0 {
            push_shifted(out, significand, exponent as u32);
        } else {
            push_fixed(out, round_shifted(u128::from(significand) * UNIT, exponent.unsigned_abs()));
        }
        if &out[start..] == b"-0" {
            out.truncate(start);
            out.push(b'0');
        }
    }
}

impl From<i64> for LongDouble {
    /// Exact: the significand has 64 bits.
    fn from(number: i64) -> Self {
        Self(X87DoubleExtended::from_i128(i128::from(number)).value)
    }
}

impl From<f64> for LongDouble {
    /// Exact; the number must not be NaN.
    fn from(number: f64) -> Self {
        Self(Double::from_bits(u128::from(number.to_bits())).convert(&mut false).value)
    }
}

impl fmt::Debug for LongDouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.push(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

/// `number / 2^shift`, rounded to nearest, ties to even.
fn round_shifted(number: u128, shift: u32) -> u128 {
    // `number` is below 2^121, so from there on it is less than half.
    if shift > 121 {
        return 0;
    }
    let quotient = number >> shift;
    let remainder = number - (quotient << shift);
    let half = 1u128 << (shift - 1);
    let up = remainder > half || remainder == half && quotient & 1 == 1;
    quotient + u128::from(up)
}

/// Appends `units` of the last printed place, without trailing zeros.
fn push_fixed(out: &mut Vec<u8>, units: u128) {
    super::push_u64(out, (units / UNIT) as u64);
    let fraction = (units % UNIT) as u64;
    if fraction == 0 {
        return;
    }
    out.push(b'.');
    push_padded(out, fraction, PLACES);
    let kept = out.iter().rposition(|&byte| byte != b'0').map_or(0, |last| last + 1);
    out.truncate(kept);
}

/// Appends `number` with zeros before it to a width of `digits`.
fn push_padded(out: &mut Vec<u8>, number: u64, digits: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number);
    out.resize(out.len() + digits - text.len(), b'0');
    out.extend_from_slice(text.as_bytes());
}

/// Appends `number * 2^shift`. The largest takes 273 rounds over at most 260 limbs.
fn push_shifted(out: &mut Vec<u8>, number: u64, mut shift: u32) {
    /// Bits a round: a limb shifted by them, and the carry, fit 128 bits with room to spare.
    const ROUND: u32 = 60;
    let mut limbs = vec![(u128::from(number) % LIMB) as u64];
    push_carry(&mut limbs, u128::from(number) / LIMB);
    while shift > 0 {
        let bits = shift.min(ROUND);
        let mut carry = 0u128;
        for limb in &mut limbs {
            let shifted = (u128::from(*limb) << bits) + carry;
            *limb = (shifted % LIMB) as u64;
            carry = shifted / LIMB;
        }
        push_carry(&mut limbs, carry);
        shift -= bits;
    }
    let mut limbs = limbs.into_iter().rev();
    super::push_u64(out, limbs.next().unwrap_or(0));
    for limb in limbs {
        push_padded(out, limb, LIMB_DIGITS);
    }
}

/// Adds what is left of a number above its limbs; it is less than one limb.
fn push_carry(limbs: &mut Vec<u64>, carry: u128) {
    if carry > 0 {
        debug_assert!(carry < LIMB, "shifted by less than a limb");
        limbs.push(carry as u64);
    }
}

fn infinity(negative: bool) -> X87DoubleExtended {
    if negative { -X87DoubleExtended::INFINITY } else { X87DoubleExtended::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text_of(number: LongDouble) -> String {
        format!("{number:?}")
    }

    fn sum(left: &str, right: &str) -> Option<String> {
        let read = |text: &str| LongDouble::parse(text.as_bytes());
        read(left)?.checked_add(read(right)?).map(text_of)
    }

    /// What redis-server 7.0.15 on x86-64 answers to INCRBYFLOAT.
    #[test]
    fn sums() {
        for (left, right, expected) in [
            ("0.1", "0.2", "0.3"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("-5", "5", "0"),
            ("-0.0", "-0.0", "0"),
            ("1e-20", "-3e-20", "0"),
            ("5e-18", "0", "0"),
            ("15e-18", "0", "0.00000000000000002"),
            ("0.000000000000000005", "0.000000000000000005", "0.00000000000000001"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("-9223372036854775808", "-1", "-9223372036854775809"),
            ("17179869184", "1", "17179869185"),
            ("1e17", "1e-17", "100000000000000000"),
            ("2.5e19", "0.5", "25000000000000000000"),
            ("3", "0x1.8p1", "6"),
            (".5", "5.", "5.5"),
            ("1.1", "-1.1", "0"),
            ("99999999999999999", "0.9", "99999999999999999.8984375"),
            ("123456789.123456789", "0.000000001", "123456789.12345678999554366"),
            ("1e30", "1", "1000000000000000000024696061952"),
            ("1e400", "-1e400", "0"),
        ] {
            assert_eq!(sum(left, right).as_deref(), Some(expected), "{left} + {right}");
        }
        for (left, right) in [
            ("1e4932", "1e4932"),
            ("-1e4932", "-1e4932"),
            ("inf", "1"),
            ("inf", "-inf"),
            ("1e-4951", "1"),
            ("1e5000", "1"),
            ("nan", "1"),
            ("", "1"),
            ("1 ", "1"),
        ] {
            assert_eq!(sum(left, right), None, "{left} + {right}");
        }
    }

    #[test]
    fn the_ends_of_the_range() {
        let largest = text_of(LongDouble::parse(b"0x1.fffffffffffffffep16383").unwrap());
        assert_eq!(largest.len(), 4933);
        assert!(largest.starts_with("1189731495357231765021263853030970205169063322294624"));
        assert!(largest.ends_with("9770240"));
        let smallest = LongDouble::parse(b"0x1p-16445").unwrap();
        assert_eq!(text_of(smallest), "0");
        assert_eq!(LongDouble::parse(b"0x1p-16447"), None);
        let long = [b"1.".as_slice(), &b"0".repeat(TEXT_LEN_LIMIT - 3)].concat();
        assert_eq!(LongDouble::parse(&long).map(text_of).as_deref(), Some("1"));
        assert_eq!(LongDouble::parse(&[long.as_slice(), b"0"].concat()), None);
    }

    proptest! {
        #[test]
        fn integers_are_exact(number: i64) {
            prop_assert_eq!(text_of(LongDouble::from(number)), number.to_string());
            let read = LongDouble::parse(number.to_string().as_bytes());
            prop_assert_eq!(read, Some(LongDouble::from(number)));
        }

        #[test]
        fn powers_of_two_match_wide_integers(significand: u64, shift in 0u32..64) {
            let mut out = Vec::new();
            push_shifted(&mut out, significand, shift);
            prop_assert_eq!(out, (u128::from(significand) << shift).to_string().into_bytes());
        }

        #[test]
        fn no_text_panics(text in "[-+]?(0x)?[0-9a-f.]{0,40}([ep][-+]?[0-9]{0,6})?") {
            if let Some(number) = LongDouble::parse(text.as_bytes()) {
                text_of(number);
            }
        }
    }
}
