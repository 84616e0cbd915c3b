//! What a command can answer instead of a result. `Display` is the exact text on the wire, without
//! the leading `-` and the line end.

use std::borrow::Cow;

use crate::keyspace::databases::{EditError, WrongType};

/// An error reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The key holds another type.
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    /// Arguments that fit no form of the command.
    #[error("ERR syntax error")]
    Syntax,
    /// An argument or stored value that should be a signed 64-bit integer.
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    /// An argument or stored value that should be a float.
    #[error("ERR value is not a valid float")]
    NotFloat,
    /// A key that must exist does not.
    #[error("ERR no such key")]
    NoSuchKey,
    /// An index or offset outside the value.
    #[error("ERR index out of range")]
    IndexOutOfRange,
    /// A database number outside `0..databases`.
    #[error("ERR DB index is out of range")]
    DbIndex,
    /// The value would outgrow `proto-max-bulk-len`.
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    StringTooLong,
    /// A hash, set or sorted set is as large as it may get.
    #[error("ERR collection exceeds maximum allowed size (8 GiB of short elements)")]
    CollectionFull,
    /// An expiry time that is not in range; the field is the command's name in lower case.
    #[error("ERR invalid expire time in '{0}' command")]
    ExpireTime(&'static str),
    /// Wrong number of arguments; the field is the command's full name in lower case.
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(String),
    /// The primary is elsewhere (CLIENT CAPA REDIRECT).
    #[error("REDIRECT {host}:{port}")]
    Redirect {
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A text that quotes what a client sent, byte for byte; no line ends in it.
    #[error("{}", String::from_utf8_lossy(.0))]
    Quoting(Vec<u8>),
    /// Any other text; it carries its own code word, e.g. `ERR ...`.
    #[error("{0}")]
    Text(Cow<'static, str>),
}

impl CommandError {
    /// An error of a fixed text, code word included.
    pub(crate) const fn text(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// An error that quotes what a client sent, code word included. Line ends in it become spaces,
    /// since they would end the reply.
    pub(crate) fn quoting(mut text: Vec<u8>) -> Self {
        while matches!(text.last(), Some(b'\r' | b'\n')) {
            text.pop();
        }
        for byte in &mut text {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        Self::Quoting(text)
    }

    /// The text's bytes as they go on the wire.
    pub(crate) fn wire(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Quoting(text) => Cow::Borrowed(text),
            Self::Text(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
            other => Cow::Owned(other.to_string().into_bytes()),
        }
    }

    /// An error of a composed text, code word included. Line ends in it become spaces, since they
    /// would end the reply.
    pub(crate) fn owned(text: String) -> Self {
        if text.contains(['\r', '\n']) {
            return Self::Text(Cow::Owned(text.replace(['\r', '\n'], " ")));
        }
        Self::Text(Cow::Owned(text))
    }
}

/// As much of a client's word as an error quotes: up to a zero byte, where upstream's C strings end.
pub(crate) fn quotable(word: &[u8]) -> &[u8] {
    let end = word.iter().position(|byte| *byte == 0).unwrap_or(word.len());
    &word[..end]
}

impl From<WrongType> for CommandError {
    fn from(_: WrongType) -> Self {
        Self::WrongType
    }
}

impl From<EditError> for CommandError {
    fn from(error: EditError) -> Self {
        match error {
            EditError::WrongType => Self::WrongType,
            EditError::Full => Self::CollectionFull,
        }
    }
}
