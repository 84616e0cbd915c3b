//! Reading configuration text: files with their includes, standard input, and directives from the
//! command line, which are all the same language.
//!
//! A line is a directive and its arguments, quoted as `redis-cli` quotes; `#` starts a comment
//! line. Later lines override earlier ones, except that `save` lines add up. Loading stops at the
//! first line that is wrong, with upstream's message and the line.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use crate::base::env::Disk;
use crate::base::text;
use crate::config::REDIS_VERSION;
use crate::config::change::supported;
use crate::config::default_user::DefaultUser;
use crate::config::directives::{self, Directive, Standing};
use crate::config::renames::CommandNames;
use crate::config::settings::Settings;

/// How deep files may include each other; upstream recurses until its stack ends.
const INCLUDES_MAX: usize = 16;

/// Why the configuration can't be used. `Display` is what goes to standard error; the process then
/// ends with code 1.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A line is wrong.
    #[error(
        "\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***\n\
         Reading the configuration file, at line {line}\n>>> '{text}'\n{reason}"
    )]
    Line {
        /// Its number, from 1, within its file.
        line: usize,
        /// The line.
        text: String,
        /// What is wrong.
        reason: Cow<'static, str>,
    },
    /// All lines are right, but not together.
    #[error("\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***\n{0}")]
    Whole(Cow<'static, str>),
    /// A file can't be read.
    #[error("Fatal error, can't open config file '{}': {}", path.display(), reason(error))]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Standard input can't be read.
    #[error("Fatal error, can't read config from stdin: {}", reason(.0))]
    Stdin(io::Error),
}

/// The system's words for an error, without the number that Rust adds.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.clone(), |(words, _)| words.to_owned())
}

/// Settings as they are being read.
#[derive(Debug)]
pub(crate) struct Loader<'a> {
    disk: &'a dyn Disk,
    commands: CommandNames,
    settings: Settings,
    /// A `save` line has been read: the next one adds to it.
    saves: bool,
    /// What `user default` says.
    user: Option<DefaultUser>,
    depth: usize,
}

impl<'a> Loader<'a> {
    /// Starts with the defaults; files come from `disk`, and `commands` are those to rename.
    pub(crate) fn new(disk: &'a dyn Disk, commands: CommandNames) -> Self {
        Self { disk, commands, settings: Settings::default(), saves: false, user: None, depth: 0 }
    }

    /// Reads a whole configuration.
    ///
    /// # Errors
    /// The first line that is wrong, or the file that it includes in vain.
    pub(crate) fn text(&mut self, text: &[u8]) -> Result<(), LoadError> {
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = trim(line);
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            match self.line(line) {
                Ok(()) => {}
                Err(Stop::Wrong(reason)) => {
                    let text = String::from_utf8_lossy(&shown(line)).into_owned();
                    return Err(LoadError::Line { line: index + 1, text, reason });
                }
                Err(Stop::Included(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads a file; a name with `*`, `?` or `[` is a pattern, and no file may match it.
    ///
    /// # Errors
    /// As [`Loader::text`], or the file can't be read.
    pub(crate) fn file(&mut self, path: &Path) -> Result<(), LoadError> {
        let text = self.contents(path)?;
        self.text(&text)
    }

    /// What [`Loader::file`] reads: of a pattern, all files in the order of their names.
    pub(crate) fn contents(&self, path: &Path) -> Result<Vec<u8>, LoadError> {
        let pattern = path.as_os_str().as_bytes().iter().any(|byte| b"*?[".contains(byte));
        let paths = if pattern { expand(self.disk, path) } else { vec![path.to_owned()] };
        let mut contents = Vec::new();
        for path in paths {
            self.disk
                .open_read(&path)
                .and_then(|mut file| file.read_to_end(&mut contents))
                .map_err(|error| LoadError::Open { path, error })?;
        }
        Ok(contents)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// `user default` and `requirepass` contradict each other, or there is a log file that can't be
    /// opened: that must come out before the server relies on it.
    pub(crate) fn finish(mut self) -> Result<Settings, LoadError> {
        self.settings.settle();
        if let Some(user) = self.user {
            let requirepass = std::mem::take(&mut self.settings.requirepass);
            self.settings.requirepass =
                user.agreed(requirepass).map_err(|reason| LoadError::Whole(reason.into()))?;
        }
        if !self.settings.logfile.as_os_str().is_empty() {
            let path = self.settings.dir.join(&self.settings.logfile);
            self.disk.open_append(&path).map_err(|error| {
                LoadError::Whole(format!("Can't open the log file: {}", reason(&error)).into())
            })?;
        }
        Ok(self.settings)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Stop> {
        let words = text::split_arguments(line)
            .map_err(|_| Stop::wrong("Unbalanced quotes in configuration line"))?;
        let Some((name, arguments)) = words.split_first() else { return Ok(()) };
        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        if let Some((row, _)) = directives::find(name) {
            return self.directive(row, &arguments).map_err(Stop::Wrong);
        }
        match (name.to_ascii_lowercase().as_slice(), arguments.as_slice()) {
            (b"include", [path]) => self.include(path),
            (b"rename-command", [command, new]) => {
                self.commands.rename(command, new).map_err(Stop::wrong)?;
                self.settings.rename_command.push((command.to_vec(), new.to_vec()));
                Ok(())
            }
            (b"user", [b"default", words @ ..]) => {
                if self.user.is_some() {
                    return Err(Stop::wrong("'user default' is there twice"));
                }
                self.user = Some(DefaultUser::parse(words).map_err(Stop::Wrong)?);
                Ok(())
            }
            (b"user", [_, ..]) => Err(Stop::wrong(
                "'user' is supported by Redstart for 'default' only: access control lists are not there yet",
            )),
            (b"loadmodule", [_, ..]) => Err(Stop::wrong(
                "'loadmodule' is not supported by Redstart: it has no interface for modules",
            )),
            (b"sentinel", []) => Err(Stop::wrong(
                "'sentinel' is not supported by Redstart: run the Sentinel of Redis or Valkey",
            )),
            (b"sentinel", _) => Err(Stop::wrong("sentinel directive while not in sentinel mode")),
            (name, [_]) if directives::RETIRED.iter().any(|retired| retired.as_bytes() == name) => {
                Ok(())
            }
            (name, arguments) if name.contains(&b'.') => Err(Stop::wrong(match arguments {
                [] => "Module config specified without value",
                _ => {
                    "Module configuration is not supported by Redstart: it has no interface for \
                      modules"
                }
            })),
            _ => Err(Stop::wrong("Bad directive or wrong number of arguments")),
        }
    }

    fn directive(&mut self, row: &Directive, arguments: &[&[u8]]) -> Result<(), Cow<'static, str>> {
        let split;
        let inner: Vec<&[u8]>;
        // Several arguments may come as one: `save "900 1"`.
        let arguments = match arguments {
            [one] if row.takes_several() && !one.is_empty() => {
                split = text::split_arguments(one)
                    .map_err(|_| "Unbalanced quotes in configuration line")?;
                inner = split.iter().map(Vec::as_slice).collect();
                inner.as_slice()
            }
            _ => arguments,
        };
        if row.name != "save" {
            let directory = self.settings.dir.clone();
            row.parse(&mut self.settings, arguments)?;
            if row.name == "dir" {
                // A later `dir` starts from the earlier one, as if each had been entered.
                self.settings.dir = directory.join(&self.settings.dir);
                match self.disk.exists(&self.settings.dir) {
                    Ok(true) => {}
                    Ok(false) => return Err("No such file or directory".into()),
                    Err(error) => return Err(error.to_string().into()),
                }
            }
            return supported(row, &self.settings);
        }
        let earlier = self.settings.save.clone();
        row.parse(&mut self.settings, arguments)?;
        if self.saves && arguments != [b""] {
            let added = std::mem::replace(&mut self.settings.save, earlier);
            self.settings.save.extend(added);
        }
        self.saves = true;
        Ok(())
    }

    fn include(&mut self, path: &[u8]) -> Result<(), Stop> {
        if self.depth == INCLUDES_MAX {
            return Err(Stop::wrong("include is nested too deep"));
        }
        self.depth += 1;
        // Upstream changes its working directory where it reads `dir`: later names follow it.
        let path = self.settings.dir.join(OsStr::from_bytes(path));
        let outcome = self.file(&path);
        self.depth -= 1;
        outcome.map_err(Stop::Included)
    }
}

/// Why reading stopped at a line.
enum Stop {
    Wrong(Cow<'static, str>),
    Included(LoadError),
}

impl Stop {
    fn wrong(reason: &'static str) -> Self {
        Self::Wrong(Cow::Borrowed(reason))
    }
}

/// What to tell people about directives that are set without effect.
pub(crate) fn without_effect(settings: &Settings) -> Vec<String> {
    directives::all()
        .filter(|row| !row.is_default(settings))
        .filter_map(|row| match row.standing {
            Standing::NoEffect(reason) => {
                Some(format!("'{}' is set but has no effect: {reason}", row.name))
            }
            Standing::Implemented | Standing::Refused(_) => None,
        })
        .collect()
}

/// A line without the white space around it.
pub(crate) fn trim(line: &[u8]) -> &[u8] {
    let space = |byte: &u8| b" \t\r\n".contains(byte);
    let start = line.iter().position(|byte| !space(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !space(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

/// A line as an error may quote it: without a secret.
fn shown(line: &[u8]) -> Cow<'_, [u8]> {
    let end = |from: usize| {
        let space = |byte: &u8| b" \t".contains(byte);
        line[from..].iter().position(space).map_or(line.len(), |after| from + after)
    };
    let name = &line[..end(0)];
    let shown = if directives::is_secret(name) {
        name
    } else if name.eq_ignore_ascii_case(b"user") {
        // Its words may be passwords, but for the first.
        &line[..end((name.len() + 1).min(line.len()))]
    } else {
        line
    };
    if shown.len() == line.len() {
        return Cow::Borrowed(line);
    }
    Cow::Owned([shown, b" (redacted)"].concat())
}

/// The files that match a pattern, sorted. Wildcards may stand in any component; a leading dot
/// must be written out.
fn expand(disk: &dyn Disk, pattern: &Path) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::new()];
    for component in pattern.components() {
        let name = component.as_os_str().as_bytes();
        let wild = matches!(component, Component::Normal(_))
            && name.iter().any(|byte| b"*?[".contains(byte));
        let mut next = Vec::new();
        for path in paths {
            if !wild {
                next.push(path.join(component));
                continue;
            }
            let directory = if path.as_os_str().is_empty() { Path::new(".") } else { &path };
            let Ok(entries) = disk.list(directory) else { continue };
            next.extend(entries.iter().filter_map(|entry| entry.file_name()).filter_map(|entry| {
                let hidden = entry.as_bytes().starts_with(b".") && !name.starts_with(b".");
                let matches = !hidden && text::glob(name, entry.as_bytes(), false);
                matches.then(|| path.join(entry))
            }));
        }
        next.sort_unstable();
        paths = next;
    }
    paths.retain(|path| disk.exists(path).unwrap_or(true));
    paths
}
