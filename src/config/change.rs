//! CONFIG GET and CONFIG SET.
//!
//! A SET is all or nothing: [`set`] works on a copy and stores it only if every pair was accepted.
//! What a change leads to is applied by the engine, which keeps the old settings until that has
//! worked and otherwise puts them back and reports [`ConfigError::apply`].

use std::borrow::Cow;

use crate::base::text;
use crate::config::directives::{self, Directive, Mutability, Standing};
use crate::config::kinds::Allowed;
use crate::config::settings::Settings;

/// Why CONFIG SET changed nothing. `Display` is the reply's text, without `-`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A name that is no directive.
    #[error(
        "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
        String::from_utf8_lossy(.0)
    )]
    Unknown(Vec<u8>),
    /// A directive can't be set, or not to this value.
    #[error("ERR CONFIG SET failed (possibly related to argument '{argument}') - {reason}")]
    Failed {
        /// The directive's name.
        argument: String,
        /// What is wrong.
        reason: Cow<'static, str>,
    },
    /// A directive that must not change while data is being loaded.
    #[error("LOADING Redis is loading the dataset in memory")]
    Loading,
}

impl ConfigError {
    /// The error of a change that was valid but couldn't be applied.
    pub(crate) fn apply(argument: &str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Failed { argument: argument.to_owned(), reason: reason.into() }
    }
}

/// Who asks for a change, as far as it matters for protected directives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client is on this machine: a unix socket or a loopback address.
    pub local: bool,
    /// Data is being loaded.
    pub loading: bool,
}

/// The settings that match any of `patterns`: name and printed value.
///
/// A pattern without `[`, `*` or `?` is a name in any case of its letters; the answer repeats it
/// as it was asked. Each name appears once.
pub fn get(settings: &Settings, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for &pattern in patterns {
        if !pattern.iter().any(|byte| b"[*?".contains(byte)) {
            if let Some((row, _)) = directives::find(pattern) {
                add(&mut found, pattern, row, settings);
            }
            continue;
        }
        for row in directives::all().filter(|row| !row.hidden) {
            for name in std::iter::once(row.name).chain(row.alias) {
                if text::glob(pattern, name.as_bytes(), true) {
                    add(&mut found, name.as_bytes(), row, settings);
                }
            }
        }
    }
    found
}

fn add(found: &mut Vec<(Vec<u8>, Vec<u8>)>, name: &[u8], row: &Directive, settings: &Settings) {
    if !found.iter().any(|(present, _)| present.eq_ignore_ascii_case(name)) {
        found.push((name.to_vec(), row.print(settings)));
    }
}

/// Changes all settings of `pairs` (name, value) or none, and returns the rows whose value is now
/// another, in the order given.
///
/// # Errors
/// The first thing wrong, in upstream's order: names first, then values.
pub fn set(
    settings: &mut Settings,
    pairs: &[(&[u8], &[u8])],
    origin: Origin,
) -> Result<Vec<&'static Directive>, ConfigError> {
    let mut rows: Vec<(&'static Directive, &'static str)> = Vec::with_capacity(pairs.len());
    for (name, _) in pairs {
        let Some((row, spelling)) = directives::find(name) else {
            return Err(ConfigError::Unknown(name.to_vec()));
        };
        let typed = || String::from_utf8_lossy(name).into_owned();
        let failed =
            |reason| Err(ConfigError::Failed { argument: typed(), reason: Cow::Borrowed(reason) });
        if row.mutability == Mutability::Start {
            return failed("can't set immutable config");
        }
        let protected = row.mutability == Mutability::Protected;
        if protected && !may(settings.enable_protected_configs, origin) {
            return failed("can't set protected config");
        }
        if origin.loading && row.denied_loading {
            return Err(ConfigError::Loading);
        }
        if rows.iter().any(|(_, present)| *present == spelling) {
            return failed("duplicate parameter");
        }
        rows.push((row, spelling));
    }

    let mut changed = settings.clone();
    for ((row, spelling), (_, value)) in rows.iter().zip(pairs) {
        let words: Vec<&[u8]> = if row.takes_several() && value.is_empty() {
            Vec::new()
        } else if row.takes_several() {
            value.split(|byte| *byte == b' ').collect()
        } else {
            vec![value]
        };
        row.parse(&mut changed, &words)
            .and_then(|()| supported(row, &changed))
            .map_err(|reason| ConfigError::Failed { argument: (*spelling).to_owned(), reason })?;
    }
    changed.settle();

    let mut rows: Vec<&'static Directive> = rows.into_iter().map(|(row, _)| row).collect();
    rows.retain(|row| row.print(settings) != row.print(&changed));
    *settings = changed;
    Ok(rows)
}

/// Whether a client may do what `allowed` guards.
pub(crate) fn may(allowed: Allowed, origin: Origin) -> bool {
    match allowed {
        Allowed::Yes => true,
        Allowed::Local => origin.local,
        Allowed::No => false,
    }
}

/// Whether Redstart can do what a row is now set to.
pub(crate) fn supported(row: &Directive, settings: &Settings) -> Result<(), Cow<'static, str>> {
    let Standing::Refused(reason) = row.standing else { return Ok(()) };
    if row.is_default(settings) {
        return Ok(());
    }
    Err(format!("'{}' is not supported by Redstart yet: {reason}", row.name).into())
}
