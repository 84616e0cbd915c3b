//! How each type of setting is read from text and printed, with upstream's words for what is wrong.
//!
//! A value that doesn't parse leaves the field as it was.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use crate::base::text;
use crate::config::directives::Kind;
use crate::config::kinds::{
    BindAddress, Choice, ClientMemory, EventClasses, OomValues, OutputLimit, OutputLimits,
    Percentiles, Primary, SavePoint, SavePoints, ShutdownFlags,
};

/// What is wrong with a value, in upstream's words.
pub(crate) type Wrong = Cow<'static, str>;

/// The most addresses that `bind` takes.
const BIND_MAX: usize = 16;

/// A setting's type.
pub trait Value {
    /// Reads the arguments of the directive.
    ///
    /// # Errors
    /// What is wrong with them.
    fn parse(&mut self, kind: &Kind, words: &[&[u8]]) -> Result<(), Wrong>;

    /// Appends the value as CONFIG GET prints it.
    fn print(&self, kind: &Kind, out: &mut Vec<u8>);

    /// Appends the value as a file has it; nothing for an empty one.
    fn write(&self, kind: &Kind, out: &mut Vec<u8>) {
        self.print(kind, out);
    }

    /// The words that the value can be, if they are few.
    fn words(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// A size with the largest unit that divides it.
pub(crate) fn in_units(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")];
    match UNITS.iter().find(|(unit, _)| bytes != 0 && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// A host name or address: nothing that a line of configuration would have to quote.
pub(crate) fn host(word: &[u8]) -> Option<&str> {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if !word.iter().all(plain) {
        return None;
    }
    std::str::from_utf8(word).ok()
}

/// The only argument.
fn single<'a>(words: &[&'a [u8]]) -> Result<&'a [u8], Wrong> {
    match words {
        [word] => Ok(word),
        _ => Err("wrong number of arguments".into()),
    }
}

impl Value for bool {
    fn parse(&mut self, _: &Kind, words: &[&[u8]]) -> Result<(), Wrong> {
        let word = single(words)?;
        *self = if word.eq_ignore_ascii_case(b"yes") {
            true
        } else if word.eq_ignore_ascii_case(b"no") {
            false
        } else {
            return Err("argument must be 'yes' or 'no'".into());
        };
        Ok(())
    }

    fn print(&self, _: &Kind, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"yes" } else { b"no" });
    }

    fn words(&self) -> Vec<&'static str> {
        vec!["yes", "no"]
    }
}

/// Reads a number of the notation and within the bounds that `kind` says.
fn parse_number(kind: &Kind, word: &[u8]) -> Result<i128, Wrong> {
    let (number, min, max) = match *kind {
        Kind::Memory { min, max } => {
            let bytes = text::parse_memory(word).map(i128::from);
            // Where a number below 0 means something, it has no unit.
            let below = || text::parse_i64(word).filter(|_| min < 0).map(i128::from);
            (bytes.or_else(below).ok_or("argument must be a memory value")?, min, max)
        }
        Kind::Octal { min, max } => {
            let number = std::str::from_utf8(word)
                .ok()
                .and_then(|word| i64::from_str_radix(word, 8).ok())
                .ok_or("argument couldn't be parsed as an octal number")?;
            (i128::from(number), min, max)
        }
        Kind::Number { min, max } => {
            let number =
                text::parse_i64(word).ok_or("argument couldn't be parsed into an integer")?;
            (i128::from(number), min, max)
        }
        Kind::Flag | Kind::Choice | Kind::Text | Kind::Single | Kind::Several => {
            return Err("argument couldn't be parsed into an integer".into());
        }
    };
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    Err(match kind {
        Kind::Octal { .. } => format!("argument must be between {min:o} and {max:o} inclusive"),
        _ => format!("argument must be between {min} and {max} inclusive"),
    }
    .into())
}

macro_rules! number {
    ($($type:ty),+) => {$(
        impl Value for $type {
            fn parse(&mut self, kind: &Kind, words: &[&[u8]]) -> Result<(), Wrong> {
                let number = parse_number(kind, single(words)?)?;
                // The row's bounds lie within the type: a test checks that.
                *self = Self::try_from(number).map_err(|_| "argument is out of range")?;
                Ok(())
            }

            fn print(&self, kind: &Kind, out: &mut Vec<u8>) {
                let _ = match kind {
                    Kind::Octal { .. } => write!(out, "{self:o}"),
                    _ => write!(out, "{self}"),
                };
            }

            fn write(&self, kind: &Kind, out: &mut Vec<u8>) {
                match (kind, u64::try_from(*self)) {
                    (Kind::Memory { .. }, Ok(bytes)) => {
                        out.extend_from_slice(in_units(bytes).as_bytes());
                    }
                    _ => self.print(kind, out),
                }
            }
        }
    )+};
}

number!(u16, u32, u64, i32, i64);

impl Value for Vec<u8> {
    fn parse(&mut self, _: &Kind, words: &[&[u8]]) -> Result<(), Wrong> {
        *self = single(words)?.to_vec();
        Ok(())
    }

    fn print(&self, _: &Kind, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn write(&self, _: &Kind, out: &mut Vec<u8>) {
        text::push_quoted(out, self);
    }
}

impl Value for String {
    fn parse(&mut self, _: &Kind, words: &[&[u8]]) -> Result<(), Wrong> {
        let text = std::str::from_utf8(single(words)?);
        text.map_err(|_| "argument must be text in UTF-8")?.clone_into(self);
        Ok(())
    }

    fn print(&self, _: &Kind, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn write(&self, _: &Kind, out: &mut Vec<u8>) {
        text::push_quoted(out, self.as_bytes());
    }
}

impl Value for PathBuf {
    fn parse(&mut self, _: &Kind, words: &[&[u8]]) -> Result<(), Wrong> {
        *self = Self::from(OsString::from_vec(single(words)?.to_vec()));
        Ok(())
    }

    fn print(&self, _: &Kind, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_os_str().as_bytes());
    }

    fn write(&self, _: &Kind, out: &mut Vec<u8>) {
        text::push_quoted(out, self.as_os_str().as_bytes());
    }
}

/// The message that lists the words of a choice.
fn none_of(words: &[&'static str]) -> Wrong {
    format!("argument(s) must be one of the following: {}", words.join(", ")).into()
}

impl<T: Choice> Value for T {
    fn parse(&mut self, _: &Kind, words: &[&[u8]]) -> Result<(), Wrong> {
        let word = single(words)?;
        *self = T::WORDS
            .iter()
            .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word))
            .ok_or_else(|| none_of(&self.words()))?
            .1;
        Ok(())
    }

    fn print(&self, _: &Kind, out: &mut Vec<u8>) {
        if let Some((word, _)) = T::WORDS.iter().find(|(_, variant)| variant == self) {
            out.extend_from_slice(word.as_bytes());
        }
    }

    fn words(&self) -> Vec<&'static str> {
        T::WORDS.iter().map(|(word, _)| *word).collect()
    }
}

/// A number that upstream reads with C's `strtoll`: the whole word, and nothing is zero.
fn loose_number<T: std::str::FromStr + Default>(word: &[u8]) -> Option<T> {
    if word.is_empty() {
        return Some(T::default());
    }
    std::str::from_utf8(word).ok()?.trim_start().parse().ok()
}

impl Value for SavePoints {
    fn parse(&mut self, _: &Kind, words: &[&[u8]]) -> Result<(), Wrong> {
        let words = if let [[]] = words { &[] } else { words };
        let point = |pair: &[&[u8]]| {
            let [seconds, changes] = pair else { return None };
            let point =
                SavePoint { seconds: loose_number(seconds)?, changes: loose_number(changes)? };
            (point.seconds >= 1).then_some(point)
        };
        *self =
            words.chunks(2).map(point).collect::<Option<_>>().ok_or("Invalid save parameters")?;
        Ok(())
    }

    fn print(&self, _: &Kind, out: &mut Vec<u8>) {
        for (index, point) in self.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            let _ = write!(out, "{space}{} {}", point.seconds, point.changes);
        }
    }
}

impl Value for Vec<BindAddress> {
    fn parse(&mut self, _: &Kind, words: &[&[u8]]) -> Result<(), Wrong> {
        if words.len() > BIND_MAX {
            return Err("Too many bind addresses specified.".into());
        }
        let words = if let [[]] = words { &[] } else { words };
        let address = |word: &&[u8]| {
            let text = host(word)?;
            let bare = text.strip_prefix('-');
            Some(BindAddress { text: bare.unwrap_or(text).to_owned(), optional: bare.is_some() })
        };
        *self = words
            .iter()
            .map(address)
            .collect::<Option<_>>()
            .ok_or("Failed to bind to specified addresses.")?;
        Ok(())
    }

    fn print(&self, _: &Kind, out: &mut Vec<u8>) {
        for (index, address) in self.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            let dash = if address.optional { "-" } else { "" };
            let _ = write!(out, "{space}{dash}{}", address.text);
        }
    }
}

impl Value for OutputLimits {
    fn parse(&mut self, _: &Kind, words: &[&[u8]]) -> Result<(), Wrong> {
        let mut limits = *self;
        for group in words.chunks(4) {
            let &[class, hard, soft, soft_seconds] = group else {
                return Err("Wrong number of arguments in buffer limit configuration.".into());
            };
            let class = class.to_ascii_lowercase();
            let limit = match class.as_slice() {
                b"normal" => &mut limits.normal,
                b"replica" | b"slave" => &mut limits.replica,
                b"pubsub" => &mut limits.pubsub,
                _ => {
                    return Err(
                        "Invalid client class specified in buffer limit configuration.".into()
                    );
                }
            };
            let parsed = || {
                Some(OutputLimit {
                    hard: text::parse_memory(hard)?,
                    soft: text::parse_memory(soft)?,
                    soft_seconds: loose_number(soft_seconds)?,
                })
            };
            *limit = parsed().ok_or(
                "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
            )?;
        }
        *self = limits;
        Ok(())
    }

    fn print(&self, _: &Kind, out: &mut Vec<u8>) {
        let classes = [("normal", self.normal), (" slave", self.replica), (" pubsub", self.pubsub)];
        for (class, limit) in classes {
            let _ = write!(out, "{class} {} {} {}", limit.hard, limit.soft, limit.soft_seconds);
        }
    }
}

impl Value for ClientMemory {
    fn parse(&mut self, _: &Kind, words: &[&[u8]]) -> Result<(), Wrong> {
        let word = single(words)?;
        if let Some(bytes) = text::parse_memory(word) {
            if bytes > i64::MAX as u64 {
                return Err(
                    format!("argument must be between -100 and {} inclusive", i64::MAX).into()
                );
            }
            *self = Self::Bytes(bytes);
            return Ok(());
        }
        let percent = word
            .strip_suffix(b"%")
            .and_then(text::parse_i64)
            .filter(|percent| *percent >= 0)
            .ok_or("argument must be a memory or percent value")?;
        *self = match u8::try_from(percent) {
            Ok(0) => Self::Bytes(0),
            Ok(percent @ 1..=100) => Self::Percent(percent),
            _ => return Err("percentage argument must be less or equal to 100".into()),
        };
        Ok(())
    }

    fn print(&self, _: &Kind, out: &mut Vec<u8>) {
        let _ = match self {
            Self::Bytes(bytes) => write!(out, "{bytes}"),
            Self::Percent(percent) => write!(out, "{percent}%"),
        };
    }

    fn write(&self, kind: &Kind, out: &mut Vec<u8>) {
        match self {
            Self::Bytes(bytes) => out.extend_from_slice(in_units(*bytes).as_bytes()),
            Self::Percent(_) => self.print(kind, out),
        }
    }
}

impl Value for OomValues {
    fn parse(&mut self, _: &Kind, words: &[&[u8]]) -> Result<(), Wrong> {
        let words: [&[u8]; 3] = words.try_into().map_err(|_| "wrong number of arguments")?;
        let mut values = [0; 3];
        for (value, word) in values.iter_mut().zip(words) {
            *value = loose_number(word)
                .filter(|value| (-2000..=2000).contains(value))
                .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
        }
        self.0 = values;
        Ok(())
    }

    fn print(&self, _: &Kind, out: &mut Vec<u8>) {
        let [primary, replica, background] = self.0;
        let _ = write!(out, "{primary} {replica} {background}");
    }
}

impl Value for Percentiles {
    fn parse(&mut self, _: &Kind, words: &[&[u8]]) -> Result<(), Wrong> {
        let words = if let [[]] = words { &[] } else { words };
        let mut percentiles = Self::with_capacity(words.len());
        for word in words {
            let percentile = text::parse_f64(word)
                .ok_or("Invalid latency-tracking-info-percentiles parameters")?;
            if !(0.0..=100.0).contains(&percentile) {
                return Err(
                    "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"
                        .into(),
                );
            }
            percentiles.push(percentile);
        }
        *self = percentiles;
        Ok(())
    }

    fn print(&self, _: &Kind, out: &mut Vec<u8>) {
        for (index, percentile) in self.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            let digits = format!("{percentile:.6}");
            let _ = write!(out, "{space}{}", digits.trim_end_matches('0').trim_end_matches('.'));
        }
    }
}

impl Value for Primary {
    fn parse(&mut self, _: &Kind, words: &[&[u8]]) -> Result<(), Wrong> {
        let &[name, port] = words else { return Err("wrong number of arguments".into()) };
        if name.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            *self = None;
            return Ok(());
        }
        let port = loose_number(port).ok_or("Invalid master port")?;
        let name = host(name).ok_or("Invalid master host")?;
        *self = Some((name.to_owned(), port));
        Ok(())
    }

    fn print(&self, _: &Kind, out: &mut Vec<u8>) {
        if let Some((host, port)) = self {
            let _ = write!(out, "{host} {port}");
        }
    }
}

impl Value for ShutdownFlags {
    fn parse(&mut self, _: &Kind, words: &[&[u8]]) -> Result<(), Wrong> {
        let mut flags = Self::default();
        for word in words {
            match word.to_ascii_lowercase().as_slice() {
                b"default" => {}
                b"save" => flags.save = true,
                b"nosave" => flags.nosave = true,
                b"now" => flags.now = true,
                b"force" => flags.force = true,
                _ => return Err(none_of(&self.words())),
            }
        }
        if words.is_empty() {
            return Err(none_of(&self.words()));
        }
        if flags.save && flags.nosave {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        *self = flags;
        Ok(())
    }

    fn print(&self, _: &Kind, out: &mut Vec<u8>) {
        if *self == Self::default() {
            out.extend_from_slice(b"default");
            return;
        }
        let set = [
            ("save", self.save),
            ("nosave", self.nosave),
            ("now", self.now),
            ("force", self.force),
        ];
        let words: Vec<&str> =
            set.into_iter().filter(|(_, set)| *set).map(|(word, _)| word).collect();
        out.extend_from_slice(words.join(" ").as_bytes());
    }

    fn words(&self) -> Vec<&'static str> {
        vec!["default", "save", "nosave", "now", "force"]
    }
}

impl Value for EventClasses {
    fn parse(&mut self, _: &Kind, words: &[&[u8]]) -> Result<(), Wrong> {
        let mut classes = Self::default();
        for &letter in single(words)? {
            let class = if letter == b'A' { Some(Self::everything()) } else { Self::of(letter) };
            classes = classes
                .union(class.ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?);
        }
        *self = classes;
        Ok(())
    }

    fn print(&self, _: &Kind, out: &mut Vec<u8>) {
        let all = self.contains(Self::everything());
        if all {
            out.push(b'A');
        }
        // `A` hides the classes it stands for, and also `n`, as upstream prints it.
        let hidden = if all { b"g$lshzxetdn".as_slice() } else { b"" };
        out.extend(Self::LETTERS.iter().filter(|letter| {
            !hidden.contains(letter) && Self::of(**letter).is_some_and(|class| self.contains(class))
        }));
    }
    fn write(&self, kind: &Kind, out: &mut Vec<u8>) {
        let mut letters = Vec::new();
        self.print(kind, &mut letters);
        text::push_quoted(out, &letters);
    }
}
