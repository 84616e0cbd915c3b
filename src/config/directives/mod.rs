//! The table of directives: one row for each, from which come the file parser, the command line,
//! CONFIG GET, SET and REWRITE, and `--help`.
//!
//! A row gives the directive's name and alias, what values it takes, its default as one would
//! write it in a file, whether it can change at run time, whether Redstart heeds it, one sentence
//! on what it does, and the field of [`Settings`] that holds it. Rows are grouped by family, one
//! file each. To add one, add the field and the row.

mod data;
mod distributed;
mod network;
mod persistence;
mod process;
mod tls;

use std::sync::OnceLock;

use crate::config::settings::Settings;
use crate::config::value::Value;

/// What values a directive takes, as far as the field's type doesn't say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `yes` or `no`.
    Flag,
    /// A whole number within bounds, inclusive.
    Number {
        /// Least.
        min: i128,
        /// Greatest.
        max: i128,
    },
    /// Bytes, as a number with or without a unit (`100mb`), within bounds, inclusive.
    Memory {
        /// Least.
        min: i128,
        /// Greatest.
        max: i128,
    },
    /// A number in octal notation, within bounds, inclusive.
    Octal {
        /// Least.
        min: i128,
        /// Greatest.
        max: i128,
    },
    /// One of a few words.
    Choice,
    /// Text, as one argument.
    Text,
    /// A shape of its own, as one argument.
    Single,
    /// A shape of its own, as several arguments.
    Several,
}

/// When a directive may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutability {
    /// At start and by CONFIG SET.
    Runtime,
    /// Only at start.
    Start,
    /// At start, and by CONFIG SET where `enable-protected-configs` allows it.
    Protected,
}

/// What Redstart makes of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does what its sentence says.
    Implemented,
    /// Accepted, kept and shown, without effect, for the reason given.
    NoEffect(&'static str),
    /// Only its default is accepted, for the reason given: to go on without what it asks for could
    /// do harm.
    Refused(&'static str),
}

/// The field of a directive.
#[derive(Clone, Copy)]
pub struct Field {
    /// The field's name.
    pub name: &'static str,
    /// Access for reading.
    pub read: fn(&Settings) -> &dyn Value,
    /// Access for writing.
    pub write: fn(&mut Settings) -> &mut dyn Value,
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A check of an argument; the error is upstream's text.
pub(crate) type Check = fn(&[u8]) -> Result<(), &'static str>;

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Directive {
    /// The name that CONFIG REWRITE writes; lower case.
    pub name: &'static str,
    /// Another name for the same setting.
    pub(crate) alias: Option<&'static str>,
    /// What values it takes.
    pub kind: Kind,
    /// The default as written in a file; empty arguments are an empty text.
    pub default: &'static str,
    /// When it may be given.
    pub(crate) mutability: Mutability,
    /// Whether it is heeded.
    pub standing: Standing,
    /// Whether only its exact name shows it in CONFIG GET: switches for tests.
    pub hidden: bool,
    /// Whether its value must not show up where commands and lines of configuration are shown.
    pub secret: bool,
    /// Whether CONFIG SET refuses it while data is being loaded.
    pub(crate) denied_loading: bool,
    /// Whether CONFIG REWRITE writes it even at its default.
    pub(crate) always_written: bool,
    /// One sentence on what it does.
    pub doc: &'static str,
    /// A check of the argument beyond what the field's type does.
    pub check: Option<Check>,
    /// Where its value is.
    pub field: Field,
}

/// The families in the order of `--help`, with their headings.
pub(crate) const FAMILIES: &[(&str, &[Directive])] = &[
    ("Network and clients", network::ROWS),
    ("Process and log", process::ROWS),
    ("Durability", persistence::ROWS),
    ("Memory and data", data::ROWS),
    ("Replication and cluster", distributed::ROWS),
    ("TLS", tls::ROWS),
];

/// Names that are accepted with one argument in a file and then forgotten: upstream retired them.
pub(crate) const RETIRED: &[&str] =
    &["list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands"];

/// All rows.
pub fn all() -> impl Iterator<Item = &'static Directive> {
    FAMILIES.iter().flat_map(|(_, rows)| rows.iter())
}

/// The row of a name or alias in any case of its letters, and that name as the table spells it.
pub(crate) fn find(name: &[u8]) -> Option<(&'static Directive, &'static str)> {
    let is = |word: &&'static str| word.as_bytes().eq_ignore_ascii_case(name);
    all().find_map(|row| {
        Some(row.name).filter(is).or(row.alias.filter(is)).map(|spelling| (row, spelling))
    })
}

/// Whether a name is that of a directive whose value must not be shown.
pub(crate) fn is_secret(name: &[u8]) -> bool {
    find(name).is_some_and(|(row, _)| row.secret)
}

/// The settings without a configuration.
pub(crate) fn defaults() -> &'static Settings {
    static DEFAULTS: OnceLock<Settings> = OnceLock::new();
    DEFAULTS.get_or_init(Settings::default)
}

/// The greatest value of the C types that upstream's bounds are.
const INT: i128 = i32::MAX as i128;
const UINT: i128 = u32::MAX as i128;
const LONG: i128 = i64::MAX as i128;
const ULONG: i128 = u64::MAX as i128;

/// The accessors of a field.
macro_rules! field {
    ($name:ident) => {
        $crate::config::directives::Field {
            name: stringify!($name),
            read: |settings| &settings.$name,
            write: |settings| &mut settings.$name,
        }
    };
}
use field;

const fn row(name: &'static str, field: Field, kind: Kind, default: &'static str) -> Directive {
    Directive {
        name,
        alias: None,
        kind,
        default,
        mutability: Mutability::Runtime,
        standing: Standing::Implemented,
        hidden: false,
        secret: false,
        denied_loading: false,
        always_written: false,
        doc: "",
        check: None,
        field,
    }
}

/// A row of a yes-or-no directive.
const fn flag(name: &'static str, field: Field, default: &'static str) -> Directive {
    row(name, field, Kind::Flag, default)
}

/// A row of a number between bounds.
const fn number(
    name: &'static str,
    field: Field,
    (min, max): (i128, i128),
    default: &'static str,
) -> Directive {
    row(name, field, Kind::Number { min, max }, default)
}

/// A row of a size in bytes between bounds.
const fn memory(
    name: &'static str,
    field: Field,
    (min, max): (i128, i128),
    default: &'static str,
) -> Directive {
    row(name, field, Kind::Memory { min, max }, default)
}

/// A row of a number in octal notation between bounds.
const fn octal(
    name: &'static str,
    field: Field,
    (min, max): (i128, i128),
    default: &'static str,
) -> Directive {
    row(name, field, Kind::Octal { min, max }, default)
}

/// A row with one argument of its own shape.
const fn single(name: &'static str, field: Field, default: &'static str) -> Directive {
    row(name, field, Kind::Single, default)
}

/// A row of a text.
const fn text(name: &'static str, field: Field, default: &'static str) -> Directive {
    row(name, field, Kind::Text, default)
}

/// A row of one of a few words.
const fn choice(name: &'static str, field: Field, default: &'static str) -> Directive {
    row(name, field, Kind::Choice, default)
}

/// A row with several arguments.
const fn several(name: &'static str, field: Field, default: &'static str) -> Directive {
    row(name, field, Kind::Several, default)
}

impl Directive {
    const fn doc(self, doc: &'static str) -> Self {
        Self { doc, ..self }
    }

    const fn alias(self, alias: &'static str) -> Self {
        Self { alias: Some(alias), ..self }
    }

    const fn fixed(self) -> Self {
        Self { mutability: Mutability::Start, ..self }
    }

    const fn protected(self) -> Self {
        Self { mutability: Mutability::Protected, ..self }
    }

    const fn inert(self, reason: &'static str) -> Self {
        Self { standing: Standing::NoEffect(reason), ..self }
    }

    const fn refused(self, reason: &'static str) -> Self {
        Self { standing: Standing::Refused(reason), ..self }
    }

    const fn hidden(self) -> Self {
        Self { hidden: true, ..self }
    }

    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    const fn not_while_loading(self) -> Self {
        Self { denied_loading: true, ..self }
    }

    const fn always_written(self) -> Self {
        Self { always_written: true, ..self }
    }

    const fn check(self, check: Check) -> Self {
        Self { check: Some(check), ..self }
    }

    /// Whether CONFIG SET splits its value at spaces.
    pub(crate) const fn takes_several(&self) -> bool {
        matches!(self.kind, Kind::Several)
    }

    /// The value as CONFIG GET prints it.
    pub(crate) fn print(&self, settings: &Settings) -> Vec<u8> {
        let mut out = Vec::new();
        (self.field.read)(settings).print(&self.kind, &mut out);
        out
    }

    /// Parses `words` into the field.
    ///
    /// # Errors
    /// Upstream's text on what is wrong with them; the field is then unchanged.
    pub(crate) fn parse(
        &self,
        settings: &mut Settings,
        words: &[&[u8]],
    ) -> Result<(), crate::config::value::Wrong> {
        if !self.takes_several() && words.len() != 1 {
            return Err("wrong number of arguments".into());
        }
        if let (Some(check), [word]) = (self.check, words) {
            check(word)?;
        }
        (self.field.write)(settings).parse(&self.kind, words)
    }

    /// Whether the value is the default.
    pub(crate) fn is_default(&self, settings: &Settings) -> bool {
        self.print(settings) == self.print(defaults())
    }

    /// Parses the default into the field.
    pub(crate) fn reset(&self, settings: &mut Settings) {
        let words: Vec<&[u8]> = if self.takes_several() && !self.default.is_empty() {
            self.default.split(' ').map(str::as_bytes).collect()
        } else {
            vec![self.default.as_bytes()]
        };
        let outcome = (self.field.write)(settings).parse(&self.kind, &words);
        debug_assert!(outcome.is_ok(), "the default of {} doesn't parse: {outcome:?}", self.name);
    }
}
