//! What the stream has between records: SELECT, and MULTI and EXEC around a unit of several.

use bytes::BufMut;

use crate::base::text;

/// What precedes several records that belong together.
pub const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
/// What follows them.
pub const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// Appends `SELECT db`.
pub fn push_select(out: &mut impl BufMut, db: u32) {
    let mut number = Vec::with_capacity(10);
    text::push_u64(&mut number, u64::from(db));
    out.put_slice(b"*2\r\n$6\r\nSELECT\r\n$");
    // A number below 2^32 has at most ten digits.
    let digits = number.len() as u8;
    if digits == 10 {
        out.put_slice(b"10");
    } else {
        out.put_u8(b'0' + digits);
    }
    out.put_slice(b"\r\n");
    out.put_slice(&number);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::record::push_command;

    #[test]
    fn what_stands_between_records_is_commands() {
        for db in [0, 9, 15, 999_999_999, u32::MAX] {
            let (mut out, mut wanted) = (Vec::new(), Vec::new());
            push_select(&mut out, db);
            let number = db.to_string();
            push_command(&mut wanted, [&b"SELECT"[..], number.as_bytes()].into_iter());
            assert_eq!(out, wanted);
        }
        let mut pushed = Vec::new();
        push_command(&mut pushed, [b"MULTI".as_slice()].into_iter());
        push_command(&mut pushed, [b"EXEC".as_slice()].into_iter());
        assert_eq!([MULTI, EXEC].concat(), pushed);
    }
}
