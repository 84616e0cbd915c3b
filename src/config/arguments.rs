//! The command line: `redstart [CONFIG_FILE] [-] [--directive value ...]`.
//!
//! Upstream's form comes first: what follows `--` is a line of configuration that is read after
//! the file and after standard input, so the last word wins, and a directive takes all values up
//! to the next `--`. clap renders `--help` from the directive table and finds the name that was
//! meant by a misspelt one; it doesn't parse, since no parser of options accepts that form.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command};

use crate::base::env::Disk;
use crate::base::text;
use crate::config::directives::{self, Directive, Kind, Standing};
use crate::config::load::{LoadError, Loader, without_effect};
use crate::config::renames::CommandNames;
use crate::config::settings::Settings;
use crate::config::{REDIS_VERSION, VERSION};

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// To print this text and end with code 0.
    Print(String),
    /// To serve.
    Serve(Box<Configured>),
}

/// A server's configuration, read and checked, not yet in effect.
#[derive(Debug)]
pub struct Configured {
    /// The settings.
    pub settings: Settings,
    /// The full path of the configuration file, where one was given: what CONFIG REWRITE rewrites.
    pub file: Option<PathBuf>,
    /// Directives that are set without effect: to be logged as warnings.
    pub warnings: Vec<String>,
    /// There were no arguments at all: upstream logs that the defaults apply.
    pub bare: bool,
}

/// Reads the command line `arguments`, the program's name first, and the configuration that it
/// names, from `disk` and `stdin`. `commands` are those that it may rename.
///
/// # Errors
/// The configuration is wrong or can't be read. A name that is no directive comes with the one
/// that was probably meant.
pub fn configure(
    arguments: &[OsString],
    disk: &dyn Disk,
    stdin: &mut dyn Read,
    commands: CommandNames,
) -> Result<Invocation, LoadError> {
    let given = arguments.get(1..).unwrap_or_default();
    match given.first().map(|first| first.as_bytes()) {
        Some(b"-v" | b"--version") => return Ok(Invocation::Print(version())),
        Some(b"-h" | b"--help") => return Ok(Invocation::Print(help())),
        _ => {}
    }
    let plan = Plan::of(given);
    let mut loader = Loader::new(disk, commands);
    let mut config = match &plan.file {
        Some(file) => loader.contents(file)?,
        None => Vec::new(),
    };
    if plan.stdin {
        stdin.read_to_end(&mut config).map_err(LoadError::Stdin)?;
    }
    config.push(b'\n');
    config.extend_from_slice(&plan.options);
    loader.text(&config).map_err(suggest)?;
    let settings = loader.finish()?;
    let warnings = without_effect(&settings);
    let file = plan.file.map(|file| std::path::absolute(&file).unwrap_or(file));
    Ok(Invocation::Serve(Box::new(Configured { settings, file, warnings, bare: given.is_empty() })))
}

/// The command line taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    file: Option<PathBuf>,
    stdin: bool,
    /// Lines of configuration.
    options: Vec<u8>,
}

impl Plan {
    fn of(given: &[OsString]) -> Self {
        let mut plan = Self::default();
        let mut rest = given;
        if let Some((first, others)) = given.split_first()
            && !first.as_bytes().starts_with(b"-")
        {
            plan.file = Some(Path::new(first).to_owned());
            rest = others;
        }
        // A directive's first value may itself start with `--`; only after it comes the next one.
        let mut complete = true;
        for (index, argument) in rest.iter().enumerate() {
            let word = argument.as_bytes();
            let last = index + 1 == rest.len();
            if word == b"-" && (last || (index == 0 && plan.file.is_none())) {
                plan.stdin = true;
            } else if complete && word.starts_with(b"--") {
                let next = rest.get(index + 1).map(OsString::as_os_str);
                complete = plan.directive(word, next);
            } else {
                text::push_quoted(&mut plan.options, word);
                plan.options.push(b' ');
                complete = true;
            }
        }
        plan
    }

    /// Starts a line; says whether the directive may end here.
    fn directive(&mut self, word: &[u8], next: Option<&OsStr>) -> bool {
        if !self.options.is_empty() {
            self.options.push(b'\n');
        }
        self.options.extend_from_slice(&word[2..]);
        self.options.push(b' ');
        // `"--port 6380"` as one argument has its value with it.
        if text::split_arguments(word).is_ok_and(|words| words.len() != 1) {
            return true;
        }
        let next_is_directive = next.is_some_and(|next| next.as_bytes().starts_with(b"--"));
        // `--save` with nothing after it is what a program writes that joins an empty list.
        if word.eq_ignore_ascii_case(b"--save") && (next.is_none() || next_is_directive) {
            self.options.extend_from_slice(b"\"\"");
            return true;
        }
        word.eq_ignore_ascii_case(b"--sentinel") && next_is_directive
    }
}

/// What `--version` prints.
pub(crate) fn version() -> String {
    let sha = option_env!("REDSTART_COMMIT").unwrap_or("00000000");
    format!(
        "Redstart server v={VERSION} (Redis {REDIS_VERSION} compatible) sha={sha} malloc=jemalloc \
         bits={}\n",
        usize::BITS
    )
}

/// What `--help` prints.
pub(crate) fn help() -> String {
    command().render_help().to_string()
}

/// The command line as clap sees it: an option for each directive.
pub(crate) fn command() -> Command {
    let mut command = Command::new("redstart")
        .about("A Redis-protocol-compatible server that keeps what it acknowledges.")
        .override_usage(
            "redstart [CONFIG_FILE] [--directive value ...] [-]\n       \
             redstart -                (read the configuration from standard input)\n       \
             redstart -v | --version\n       \
             redstart -h | --help",
        )
        .after_help(
            "Every option is a line of configuration; options come after the file and standard \
             input, and the last one wins.\n\n\
             Examples:\n  redstart\n  redstart /etc/redis/redis.conf --port 7777\n  \
             redstart --maxmemory 2gb --maxmemory-policy allkeys-lru\n  \
             redstart --save \"900 1\" --appendfsync always\n  \
             echo 'maxmemory 128mb' | redstart -",
        )
        .disable_help_flag(true)
        .disable_version_flag(true);
    for (heading, rows) in directives::FAMILIES {
        for row in rows.iter().filter(|row| !row.hidden) {
            command = command.arg(argument(row).help_heading(*heading));
        }
    }
    command
}

fn argument(row: &'static Directive) -> Arg {
    let placeholder = match row.kind {
        Kind::Flag => "yes|no",
        Kind::Number { .. } => "number",
        Kind::Memory { .. } => "bytes",
        Kind::Octal { .. } => "octal",
        Kind::Choice => "word",
        Kind::Text | Kind::Single => "text",
        Kind::Several => "values",
    };
    let mut help = row.doc.to_owned();
    let mut add = |prefix: &str, text: &str, end: &str| help.extend([prefix, text, end]);
    if row.kind == Kind::Choice {
        let words = (row.field.read)(directives::defaults()).words();
        add(" One of ", &words.join(", "), ".");
    }
    if !row.default.is_empty() {
        add(" [default: ", row.default, "]");
    }
    match row.standing {
        Standing::Implemented => {}
        Standing::NoEffect(reason) => add(" [no effect: ", reason, "]"),
        Standing::Refused(reason) => add(" [not supported: ", reason, "]"),
    }
    let argument = Arg::new(row.name).long(row.name).value_name(placeholder).help(help);
    let argument = if row.takes_several() { argument.num_args(1..) } else { argument };
    match row.alias {
        Some(alias) => argument.alias(alias),
        None => argument,
    }
}

/// Adds the directive that was probably meant to the error of a line with a name that is none.
fn suggest(error: LoadError) -> LoadError {
    let LoadError::Line { line, text, reason } = error else { return error };
    let name = text.split_whitespace().next().unwrap_or_default();
    if directives::find(name.as_bytes()).is_some() {
        return LoadError::Line { line, text, reason };
    }
    let Some(meant) = meant(name) else { return LoadError::Line { line, text, reason } };
    let reason = format!("{reason}\nDid you mean '{meant}'?").into();
    LoadError::Line { line, text, reason }
}

/// The directive whose name is most like `name`, if any is.
fn meant(name: &str) -> Option<String> {
    let option = format!("--{}", name.to_ascii_lowercase());
    let error = command().try_get_matches_from(["redstart", &option]).err()?;
    let context = error.get(ContextKind::SuggestedArg)?;
    let ContextValue::String(meant) = context else { return None };
    let meant = meant.strip_prefix("--")?;
    // clap suggests what is only remotely alike; a slip keeps the first letter and the length.
    let alike = meant.as_bytes().first() == name.to_ascii_lowercase().as_bytes().first()
        && meant.len().abs_diff(name.len()) <= 3;
    alike.then(|| meant.to_owned())
}
