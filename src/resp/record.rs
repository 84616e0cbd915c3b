//! Commands in the form in which clients send them, written by us: for the log, and for replicas.

use crate::base::text;

/// Appends a command's arguments as an array of bulk strings.
#[inline]
pub fn push_command<'a>(out: &mut Vec<u8>, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    push_head(out, b'*', words.len());
    for word in words {
        push_bulk(out, word);
    }
}

/// Appends one argument.
#[inline]
pub(crate) fn push_bulk(out: &mut Vec<u8>, word: &[u8]) {
    push_head(out, b'$', word.len());
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

/// Appends what arguments (`*`) or one of them (`$`) begin with: how many follow, or its length.
#[inline]
pub(crate) fn push_head(out: &mut Vec<u8>, mark: u8, number: usize) {
    out.push(mark);
    text::push_u64(out, number as u64);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut out = Vec::new();
        push_command(&mut out, [&b"SET"[..], b"", b"a\r\nb"].into_iter());
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\na\r\nb\r\n");
    }
}
