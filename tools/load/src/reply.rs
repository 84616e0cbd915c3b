//! Replies, which are only counted.

use std::io;

/// Counts whole replies in a stream of bytes: `+`, `-`, `:` lines and `$` blobs.
#[derive(Default)]
pub struct ReplyCounter {
    /// Bytes of a blob still to come, its line end included.
    blob_left: usize,
    /// The line being read, without its end.
    line: Vec<u8>,
}

impl ReplyCounter {
    /// The replies that end in `bytes`, or the server's error.
    pub fn count(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let mut replies = 0;
        while !bytes.is_empty() {
            if self.blob_left > 0 {
                let taken = self.blob_left.min(bytes.len());
                bytes = &bytes[taken..];
                self.blob_left -= taken;
                replies += usize::from(self.blob_left == 0);
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.line.extend_from_slice(bytes);
                break;
            };
            // The usual line is whole in this read: look at it in place.
            let (line, rest) = bytes.split_at(end + 1);
            bytes = rest;
            let blob_len = if self.line.is_empty() {
                Self::blob_len(line)?
            } else {
                self.line.extend_from_slice(line);
                let whole = std::mem::take(&mut self.line);
                Self::blob_len(&whole)?
            };
            match blob_len {
                Some(len) => self.blob_left = len + 2,
                None => replies += 1,
            }
        }
        Ok(replies)
    }

    /// The length of the blob that a reply's first line announces.
    fn blob_len(line: &[u8]) -> io::Result<Option<usize>> {
        match line.first() {
            Some(b'$') => {
                let text = String::from_utf8_lossy(&line[1..]);
                // `$-1` is a whole reply.
                Ok(text.trim_end().parse().ok())
            }
            Some(b'-') => {
                let text = String::from_utf8_lossy(line);
                Err(io::Error::other(format!("the server replied {}", text.trim_end())))
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_counted_across_any_cut() {
        let stream = b"+OK\r\n:12\r\n$-1\r\n$5\r\na\r\nbc\r\n$0\r\n\r\n+PONG\r\n";
        for cut in 0..stream.len() {
            let mut counter = ReplyCounter::default();
            let first = counter.count(&stream[..cut]).unwrap();
            assert_eq!(first + counter.count(&stream[cut..]).unwrap(), 6, "cut at {cut}");
        }
        assert!(ReplyCounter::default().count(b"-ERR no\r\n").is_err());
    }
}
