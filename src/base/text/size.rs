//! Amounts of memory as redis.conf and CONFIG SET write them: `100`, `1k`, `64mb`, `2GB`.

/// The bytes that a memory size names: digits, then one of `b`, `k`, `kb`, `m`, `mb`, `g`, `gb` in
/// any case, or nothing. The short units are powers of 1000, those with a `b` powers of 1024.
///
/// Without digits the amount is 0, as upstream has it. An amount over 64 bits is refused, where
/// upstream wraps around.
pub(crate) fn parse_memory(word: &[u8]) -> Option<u64> {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = word.split_at(digits);
    let unit = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    number
        .iter()
        .try_fold(0u64, |sum, byte| sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')))?
        .checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (word, bytes) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("100b", Some(100)),
            ("1k", Some(1000)),
            ("1kb", Some(1024)),
            ("3M", Some(3_000_000)),
            ("64Mb", Some(64 << 20)),
            ("1g", Some(1_000_000_000)),
            ("2GB", Some(2 << 30)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("18446744073709551615k", None),
            ("-1", None),
            ("+1", None),
            ("1 kb", None),
            ("1kb ", None),
            ("1t", None),
            ("1.5gb", None),
            ("gb", Some(0)),
            ("", Some(0)),
        ] {
            assert_eq!(parse_memory(word.as_bytes()), bytes, "{word:?}");
        }
    }
}
