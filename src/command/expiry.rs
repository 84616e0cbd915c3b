//! Expiry times among a command's arguments: the options `EX`, `PX`, `EXAT`, `PXAT`, `KEEPTTL` and
//! `PERSIST`, the number that a time is given as, and the conditions `NX`, `XX`, `GT` and `LT` under
//! which it takes the place of the one before.
//!
//! What the commands do differently is theirs: which of the words they take, whether an option may
//! be given twice, and when the number is looked at (SET and GETEX do that after all words).

use crate::base::env::UnixMillis;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::{self, CommandError};

/// The latest moment that a hash's field may expire at, in milliseconds: upstream keeps 46 bits.
const FIELD_MILLIS_MAX: i64 = (1 << 46) - 1;

/// What a number counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// The time of the command.
    Now,
    /// The Unix epoch.
    Epoch,
}

/// What a number counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
}

/// The numbers that are taken for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// Any: a time in the past is one, too (EXPIRE and the like).
    Any,
    /// More than 0 (SET and the like).
    Positive,
    /// From 0 up to what a hash's field can hold.
    Field,
}

/// How a number says a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// What it counts from.
    pub base: Base,
    /// What it counts in.
    pub unit: Unit,
}

impl Form {
    /// As `EX` takes it.
    pub(crate) const SECONDS: Self = Self { base: Base::Now, unit: Unit::Seconds };
    /// As `PX` takes it.
    pub(crate) const MILLIS: Self = Self { base: Base::Now, unit: Unit::Millis };
    /// As `EXAT` takes it.
    pub(crate) const UNIX_SECONDS: Self = Self { base: Base::Epoch, unit: Unit::Seconds };
    /// As `PXAT` takes it.
    pub(crate) const UNIX_MILLIS: Self = Self { base: Base::Epoch, unit: Unit::Millis };

    /// The form that an option's word means.
    fn named(args: Args<'_>, index: usize) -> Option<Self> {
        Some(match () {
            () if args.is(index, "EX") => Self::SECONDS,
            () if args.is(index, "PX") => Self::MILLIS,
            () if args.is(index, "EXAT") => Self::UNIX_SECONDS,
            () if args.is(index, "PXAT") => Self::UNIX_MILLIS,
            () => return None,
        })
    }

    /// The moment that the argument at `index` says; `command` is the name for errors, in lower
    /// case.
    ///
    /// # Errors
    /// No integer, one outside the range, or a moment past the end of time.
    pub(crate) fn moment(
        self,
        cx: &Cx<'_>,
        args: Args<'_>,
        index: usize,
        range: Range,
        command: &'static str,
    ) -> Result<UnixMillis, CommandError> {
        let number = args.int(index)?;
        let millis_max = match range {
            Range::Field if number < 0 => {
                return Err(CommandError::text("ERR invalid expire time, must be >= 0"));
            }
            Range::Positive if number <= 0 => return Err(CommandError::ExpireTime(command)),
            Range::Any | Range::Positive => i64::MAX,
            Range::Field => FIELD_MILLIS_MAX,
        };
        let millis = match self.unit {
            Unit::Seconds => number.checked_mul(1000),
            Unit::Millis => Some(number),
        };
        let start = match self.base {
            Base::Now => cx.now.0,
            Base::Epoch => 0,
        };
        millis
            .and_then(|millis| millis.checked_add(start))
            .filter(|millis| *millis <= millis_max)
            .map(UnixMillis)
            .ok_or(CommandError::ExpireTime(command))
    }
}

/// The word for no time that a command takes beside those for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timeless {
    /// `KEEPTTL`, of commands that would take the time away.
    Keep,
    /// `PERSIST`, of those that would leave it alone.
    Persist,
}

/// An expiry option as it was given, its number not yet looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// `KEEPTTL` or `PERSIST`.
    Timeless(Timeless),
    /// A time: how it is given, and the index of its number.
    Time(Form, usize),
}

impl Given {
    /// The option whose word is the argument at `index`, if it is one that the command takes. There
    /// may be no argument for the number behind it.
    pub(crate) fn at(args: Args<'_>, index: usize, taken: Timeless) -> Option<Self> {
        let word = match taken {
            Timeless::Keep => "KEEPTTL",
            Timeless::Persist => "PERSIST",
        };
        if args.is(index, word) {
            return Some(Self::Timeless(taken));
        }
        Form::named(args, index).map(|form| Self::Time(form, index + 1))
    }

    /// The index of the option's last argument.
    pub(crate) fn end(self, index: usize) -> usize {
        match self {
            Self::Timeless(_) => index,
            Self::Time(_, number) => number,
        }
    }

    /// Whether both are the same option, whatever their numbers.
    pub(crate) fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Time(form, _), Self::Time(other, _)) => form == other,
            _ => self == other,
        }
    }

    /// What the option asks for; `command` is the name for errors, in lower case.
    ///
    /// # Errors
    /// As [`Form::moment`].
    pub(crate) fn change(
        self,
        cx: &Cx<'_>,
        args: Args<'_>,
        range: Range,
        command: &'static str,
    ) -> Result<Change, CommandError> {
        Ok(match self {
            Self::Timeless(Timeless::Keep) => Change::Keep,
            Self::Timeless(Timeless::Persist) => Change::Persist,
            Self::Time(form, number) => Change::At(form.moment(cx, args, number, range, command)?),
        })
    }
}

/// What is to become of an expiry time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It stays.
    Keep,
    /// It is taken away.
    Persist,
    /// This one takes its place.
    At(UnixMillis),
}

/// When a new expiry time takes the place of the one before. No expiry time counts as one later than
/// all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Always.
    Always,
    /// `NX`: where there is none.
    NoneYet,
    /// `XX`: where there is one.
    SomeAlready,
    /// `GT`: where it is later.
    Greater,
    /// `LT`: where it is earlier.
    Less,
    /// `XX` and `LT`: where it is earlier than one that there is.
    LessThanSome,
}

impl Condition {
    /// The condition that an argument names.
    pub(crate) fn named(args: Args<'_>, index: usize) -> Option<Self> {
        Some(match () {
            () if args.is(index, "NX") => Self::NoneYet,
            () if args.is(index, "XX") => Self::SomeAlready,
            () if args.is(index, "GT") => Self::Greater,
            () if args.is(index, "LT") => Self::Less,
            () => return None,
        })
    }

    /// The condition that the arguments from `index` on name together.
    ///
    /// # Errors
    /// Another word, or conditions that can't hold together.
    pub(crate) fn all_from(args: Args<'_>, index: usize) -> Result<Self, CommandError> {
        let [mut none_yet, mut some_already, mut greater, mut less] = [false; 4];
        for at in index..args.len() {
            match Self::named(args, at) {
                Some(Self::NoneYet) => none_yet = true,
                Some(Self::SomeAlready) => some_already = true,
                Some(Self::Greater) => greater = true,
                Some(Self::Less) => less = true,
                _ => {
                    let mut text = b"ERR Unsupported option ".to_vec();
                    text.extend_from_slice(error::quotable(args.at(at)));
                    return Err(CommandError::quoting(text));
                }
            }
        }
        match (none_yet, some_already, greater, less) {
            (true, true, ..) | (true, _, true, _) | (true, _, _, true) => Err(CommandError::text(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            )),
            (_, _, true, true) => {
                Err(CommandError::text("ERR GT and LT options at the same time are not compatible"))
            }
            (true, ..) => Ok(Self::NoneYet),
            // There is none that is earlier than none, so XX adds nothing.
            (_, _, true, _) => Ok(Self::Greater),
            (_, true, _, true) => Ok(Self::LessThanSome),
            (_, true, ..) => Ok(Self::SomeAlready),
            (.., true) => Ok(Self::Less),
            _ => Ok(Self::Always),
        }
    }

    /// Whether `new` may take the place of `old`.
    pub(crate) fn admits(self, old: Option<UnixMillis>, new: UnixMillis) -> bool {
        match self {
            Self::Always => true,
            Self::NoneYet => old.is_none(),
            Self::SomeAlready => old.is_some(),
            Self::Greater => old.is_some_and(|old| new > old),
            Self::Less => old.is_none_or(|old| new < old),
            Self::LessThanSome => old.is_some_and(|old| new < old),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::request::Range as Bytes;

    /// The condition that some words name together, or the error's text.
    fn named(words: &[&str]) -> Result<Condition, String> {
        let buffer = words.concat().into_bytes();
        let mut start = 0;
        let mut range = |word: &&str| {
            let range = Bytes::new(start, word.len());
            start += word.len();
            range
        };
        let ranges: Vec<Bytes> = words.iter().map(&mut range).collect();
        Condition::all_from(Args::new(&buffer, &ranges), 0).map_err(|error| error.to_string())
    }

    #[test]
    fn conditions_together() {
        let none = "ERR NX and XX, GT or LT options at the same time are not compatible";
        let both = "ERR GT and LT options at the same time are not compatible";
        for (words, wanted) in [
            (&[][..], Ok(Condition::Always)),
            (&["nx", "NX"], Ok(Condition::NoneYet)),
            (&["xx"], Ok(Condition::SomeAlready)),
            (&["gt"], Ok(Condition::Greater)),
            (&["GT", "XX"], Ok(Condition::Greater)),
            (&["lt"], Ok(Condition::Less)),
            (&["XX", "lt"], Ok(Condition::LessThanSome)),
            (&["NX", "XX"], Err(none)),
            (&["LT", "NX"], Err(none)),
            (&["GT", "LT", "NX"], Err(none)),
            (&["LT", "GT"], Err(both)),
            (&["LT", "XX", "GT"], Err(both)),
            (&["NX", "XX", "EX"], Err("ERR Unsupported option EX")),
        ] {
            assert_eq!(named(words), wanted.map_err(str::to_owned), "{words:?}");
        }
    }

    #[test]
    fn conditions_admit() {
        let new = UnixMillis(10);
        let olds = [None, Some(UnixMillis(9)), Some(UnixMillis(10)), Some(UnixMillis(11))];
        for (condition, wanted) in [
            (Condition::Always, [true; 4]),
            (Condition::NoneYet, [true, false, false, false]),
            (Condition::SomeAlready, [false, true, true, true]),
            (Condition::Greater, [false, true, false, false]),
            (Condition::Less, [true, false, false, true]),
            (Condition::LessThanSome, [false, false, false, true]),
        ] {
            assert_eq!(olds.map(|old| condition.admits(old, new)), wanted, "{condition:?}");
        }
    }
}
