//! What a blocking command says when there is nothing for it yet.
//!
//! Its handler looks at its keys, and where none of them has anything it writes no reply and returns
//! [`Flow::Block`]. The engine parks the client with the command's words and runs the same handler
//! again when one of the keys has changed, with the same words or with those that it gave. In a
//! transaction, and while the log is replayed, no client waits: the null reply is given at once.
//!
//! [`Flow::Block`]: crate::command::spec::Flow::Block

use std::ops::Range;

use crate::base::text::LongDouble;
use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::data::value::Type;
use crate::keyspace::waits::Awaited;

/// The longest timeout: added to the time, it must not pass what a signed number holds.
const MILLIS_MAX: i64 = i64::MAX - (1 << 48);

/// The reply of a wait that ends without anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NullReply {
    /// A null array.
    Array,
    /// A null bulk string where waiting is not allowed, a null array when the time is over: BLMOVE.
    BulkAtOnce,
}

/// What a client waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// A key of this type, or also that there is none any more.
    pub awaited: Awaited,
    /// The words with which the handler runs again, where they aren't the client's: what a word meant
    /// when the command came (XREAD's `$`) it means later, too. Keys stay in their places.
    pub words: Option<Vec<Vec<u8>>>,
    /// The arguments that name the keys.
    pub keys: Range<usize>,
    /// For how long, in milliseconds; `None` for ever.
    pub timeout_ms: Option<u64>,
    /// When the handler is to run again though no key has changed, in Unix milliseconds: time alone
    /// may bring something (XREADGROUP's CLAIM).
    pub again_ms: Option<i64>,
    /// What is answered when nothing came.
    pub(crate) on_timeout: NullReply,
}

impl Wait {
    /// A wait for a value of a type at one of the keys that these arguments name.
    pub(crate) fn for_value(
        kind: Type,
        keys: Range<usize>,
        timeout_ms: Option<u64>,
        on_timeout: NullReply,
    ) -> Self {
        let awaited = Awaited::value(kind);
        Self { awaited, words: None, keys, timeout_ms, again_ms: None, on_timeout }
    }
}

/// A timeout in seconds, which may have a fraction; 0 means for ever.
///
/// # Errors
/// Where the argument is no number, is negative, or is beyond what the clock holds.
pub(crate) fn timeout(args: Args<'_>, index: usize) -> Result<Option<u64>, CommandError> {
    const OUT_OF_RANGE: CommandError = CommandError::text("ERR timeout is out of range");
    let seconds = LongDouble::parse(args.at(index))
        .ok_or(CommandError::text("ERR timeout is not a float or out of range"))?;
    let millis = seconds.to_f64() * 1000.0;
    if millis > i64::MAX as f64 {
        return Err(OUT_OF_RANGE);
    }
    let millis = millis.ceil() as i64;
    match millis {
        ..0 => Err(CommandError::text("ERR timeout is negative")),
        0 => Ok(None),
        _ if millis > MILLIS_MAX => Err(OUT_OF_RANGE),
        _ => Ok(Some(millis as u64)),
    }
}

/// A timeout in whole milliseconds; 0 means for ever.
///
/// # Errors
/// Where the argument is no integer, is negative, or is beyond what the clock holds.
pub(crate) fn timeout_in_millis(args: Args<'_>, index: usize) -> Result<Option<u64>, CommandError> {
    let millis = args
        .int(index)
        .map_err(|_| CommandError::text("ERR timeout is not an integer or out of range"))?;
    match millis {
        ..0 => Err(CommandError::text("ERR timeout is negative")),
        0 => Ok(None),
        _ if millis > MILLIS_MAX => Err(CommandError::text("ERR timeout is out of range")),
        _ => Ok(Some(millis.unsigned_abs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::request::Range;

    #[test]
    fn timeouts_are_seconds_with_a_fraction() {
        let parsed = |text: &str| {
            let ranges = [Range::new(0, text.len())];
            timeout(Args::new(text.as_bytes(), &ranges), 0).map_err(|error| error.to_string())
        };
        assert_eq!(parsed("0"), Ok(None));
        assert_eq!(parsed("0.0001"), Ok(Some(1)));
        assert_eq!(parsed("1.5"), Ok(Some(1500)));
        assert_eq!(parsed("-1"), Err("ERR timeout is negative".into()));
        for text in ["", "x", "nan", "1e5000"] {
            assert_eq!(parsed(text), Err("ERR timeout is not a float or out of range".into()));
        }
        for text in ["1e300", "9223372036854775", "inf"] {
            assert_eq!(parsed(text), Err("ERR timeout is out of range".into()), "{text}");
        }
    }
}
