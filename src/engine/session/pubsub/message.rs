//! A message on its way to many: encoded once for each protocol version, at the first listener that
//! speaks it.

use crate::resp::reply::{Protocol, Reply};

/// What the buffers for encoding keep at most between two messages, in bytes.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

/// Buffers for the forms of a message, one a protocol version; empty until wanted.
#[derive(Debug, Default)]
pub(crate) struct Forms([Vec<u8>; 2]);

impl Forms {
    /// Forgets the message before.
    pub(crate) fn clear(&mut self) {
        for form in &mut self.0 {
            form.clear();
        }
    }

    /// The message in a protocol version, written at the first call for it.
    #[inline]
    pub(crate) fn of(&mut self, protocol: Protocol, write: impl FnOnce(&mut Reply<'_>)) -> &[u8] {
        let form = match protocol {
            Protocol::Resp2 => &mut self.0[0],
            Protocol::Resp3 => &mut self.0[1],
        };
        if form.is_empty() {
            write(&mut Reply::new(form, protocol));
        }
        form
    }

    /// Lets go of what a huge message needed.
    pub(crate) fn shrink(&mut self) {
        for form in &mut self.0 {
            form.clear();
            form.shrink_to(SCRATCH_BYTES_MAX);
        }
    }
}

/// One message as its listeners get it.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    forms: &'a mut Forms,
    words: [&'a [u8]; 4],
}

impl<'a> Message<'a> {
    /// A message for listeners of the channel itself; `word` is `message` or `smessage`.
    pub(crate) fn plain(
        forms: &'a mut Forms,
        word: &'a str,
        channel: &'a [u8],
        payload: &'a [u8],
    ) -> Self {
        forms.clear();
        Self { forms, words: [&[], word.as_bytes(), channel, payload] }
    }

    /// A message for listeners of a pattern that fits the channel.
    pub(crate) fn matched(
        forms: &'a mut Forms,
        pattern: &'a [u8],
        channel: &'a [u8],
        payload: &'a [u8],
    ) -> Self {
        forms.clear();
        Self { forms, words: [b"pmessage", pattern, channel, payload] }
    }

    /// Its bytes in a protocol version.
    #[inline]
    pub(crate) fn bytes(&mut self, protocol: Protocol) -> &[u8] {
        let words = if self.words[0].is_empty() { &self.words[1..] } else { &self.words[..] };
        self.forms.of(protocol, |reply| {
            reply.push(words.len());
            for word in words {
                reply.bulk(word);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_gets_its_form() {
        let mut forms = Forms::default();
        let mut message = Message::plain(&mut forms, "message", b"c", b"");
        assert_eq!(message.bytes(Protocol::Resp2), b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$0\r\n\r\n");
        assert_eq!(message.bytes(Protocol::Resp3), b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$0\r\n\r\n");
        let mut message = Message::matched(&mut forms, b"", b"c", b"x");
        assert_eq!(
            message.bytes(Protocol::Resp2),
            b"*4\r\n$8\r\npmessage\r\n$0\r\n\r\n$1\r\nc\r\n$1\r\nx\r\n"
        );
        forms.shrink();
    }
}
