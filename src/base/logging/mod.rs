//! The log: a `tracing` layer that prints lines of upstream's shape.
//!
//! ```text
//! 4711:M 23 Nov 2026 12:00:00.000 * Ready to accept connections
//! |    | |                        | text, then any further fields as name=value
//! |    | local time               `.` debug  `-` verbose  `*` notice  `#` warning
//! |    `C` starting  `M` primary  `S` replica
//! process number
//! ```
//!
//! Or the same as logfmt or JSON. `tracing`'s levels stand for upstream's so: `trace` is debug,
//! `debug` is verbose, `info` is notice, `warn` and `error` are warning.
//!
//! One line is one write. The log file is opened for appending, and opened anew once its name no
//! longer leads to it, so that any tool may rotate it. A line that can't be written is lost,
//! and nothing panics; but a line waits while the disk is slow or a pipe is full.

mod line;
mod target;
mod time;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;

use crate::base::env::Clock;
use crate::base::logging::line::{Message, Style};
use crate::base::logging::target::{LogFile, Syslog, Target};
use crate::base::logging::time::LocalTime;

/// Least important messages that are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// Details.
    Verbose,
    /// What an operator wants to know.
    #[default]
    Notice,
    /// What an operator must know.
    Warning,
    /// Nothing at all.
    Nothing,
}

impl LogLevel {
    fn of(level: Level) -> Self {
        match level {
            Level::TRACE => Self::Debug,
            Level::DEBUG => Self::Verbose,
            Level::INFO => Self::Notice,
            _ => Self::Warning,
        }
    }

    fn from_code(code: u8) -> Self {
        [Self::Debug, Self::Verbose, Self::Notice, Self::Warning]
            .into_iter()
            .find(|level| *level as u8 == code)
            .unwrap_or(Self::Nothing)
    }

    const fn mark(self) -> char {
        match self {
            Self::Debug => '.',
            Self::Verbose => '-',
            Self::Notice => '*',
            Self::Warning | Self::Nothing => '#',
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Verbose => "info",
            Self::Notice => "notice",
            Self::Warning | Self::Nothing => "warning",
        }
    }

    /// The severity of RFC 5424, section 6.2.1.
    const fn severity(self) -> u8 {
        match self {
            Self::Debug => 7,
            Self::Verbose => 6,
            Self::Notice => 5,
            Self::Warning | Self::Nothing => 4,
        }
    }

    const fn filter(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::TRACE,
            Self::Verbose => LevelFilter::DEBUG,
            Self::Notice => LevelFilter::INFO,
            Self::Warning => LevelFilter::WARN,
            Self::Nothing => LevelFilter::OFF,
        }
    }
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Upstream's: `PID:M 23 Nov 2026 12:00:00.000 * text`.
    #[default]
    Text,
    /// `key=value` pairs, as Valkey's `logfmt`.
    Logfmt,
    /// A JSON object.
    Json,
}

/// The shape of the time in a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampFormat {
    /// `23 Nov 2026 12:00:00.000`, local time.
    #[default]
    Text,
    /// `2026-11-23T12:00:00.000+01:00`, local time.
    Iso8601,
    /// Milliseconds since the Unix epoch.
    Milliseconds,
}

/// What the process is, for its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// Serving as a primary.
    #[default]
    Primary,
    /// Serving as a replica.
    Replica,
}

impl Role {
    const fn letter(self) -> char {
        match self {
            Self::Primary => 'M',
            Self::Replica => 'S',
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// How the log is to be.
#[derive(Clone)]
pub struct LogOptions {
    /// Least important messages.
    pub level: LogLevel,
    /// Shape of lines.
    pub format: LogFormat,
    /// Shape of the time.
    pub timestamps: TimestampFormat,
    /// File to append to; standard output where there is none.
    pub file: Option<PathBuf>,
    /// The system log, where messages go there as well.
    pub(crate) syslog: Option<SyslogOptions>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogOptions").field("level", &self.level).finish_non_exhaustive()
    }
}

/// How messages reach the system log.
#[derive(Clone, Debug)]
pub(crate) struct SyslogOptions {
    /// The name they carry.
    pub ident: String,
    /// The facility's number (RFC 5424, section 6.2.1).
    pub(crate) facility: u8,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log file can't be opened.
    #[error("can't open the log file '{}': {error}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is a log already.
    #[error("the log is already set up")]
    Twice,
}

/// Changes the log while it is in use. Clones change the same log.
#[derive(Clone, Debug)]
pub struct LogHandle {
    log: Arc<Log>,
}

/// Sets up the log of the process.
///
/// # Errors
/// The file can't be opened, or there is a log already.
pub fn init(options: LogOptions) -> Result<LogHandle, LogError> {
    let log = Arc::new(Log::new(options)?);
    let subscriber = Registry::default().with(LogLayer { log: Arc::clone(&log) });
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)?;
    Ok(LogHandle { log })
}

impl LogHandle {
    /// Changes the least important messages that are logged.
    pub(crate) fn set_level(&self, level: LogLevel) {
        self.log.level.store(level as u8, Ordering::Relaxed);
        // Call sites remember whether they are of interest.
        tracing::callsite::rebuild_interest_cache();
    }

    /// Changes the shape of lines and of the time in them.
    pub(crate) fn set_format(&self, format: LogFormat, timestamps: TimestampFormat) {
        let mut output = self.log.lock();
        output.style.format = format;
        output.style.timestamps = timestamps;
    }

    /// Changes what the process is.
    pub(crate) fn set_role(&self, role: Role) {
        self.log.lock().style.role = role;
    }
}

/// The log that layer and handle share.
struct Log {
    /// A [`LogLevel`]; apart from the rest, since every message looks at it.
    level: AtomicU8,
    output: Mutex<Output>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("level", &self.level()).finish_non_exhaustive()
    }
}

struct Output {
    style: Style,
    target: Target,
    syslog: Option<Syslog>,
}

impl Log {
    fn new(options: LogOptions) -> Result<Self, LogError> {
        let target = match options.file {
            // The full path: `dir` may change later, the log stays where it is.
            Some(path) => Target::File(LogFile::open(std::path::absolute(&path).unwrap_or(path))?),
            None => Target::Stdout,
        };
        let syslog = options.syslog.map(|options| Syslog { options, socket: None });
        let style =
            Style { format: options.format, timestamps: options.timestamps, role: Role::default() };
        let output = Output { style, target, syslog };
        Ok(Self {
            level: AtomicU8::new(options.level as u8),
            output: Mutex::new(output),
            clock: options.clock,
        })
    }

    fn level(&self) -> LogLevel {
        LogLevel::from_code(self.level.load(Ordering::Relaxed))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Output> {
        // A panic while a line was written spoils at most that line.
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, level: LogLevel, message: &Message) {
        let now = LocalTime::at(self.clock.unix_micros());
        let mut output = self.lock();
        let line = output.style.line(level, &now, message);
        output.target.write(line.as_bytes());
        if let Some(syslog) = &mut output.syslog {
            syslog.send(level, &message.with_fields());
        }
    }
}

/// The `tracing` side of the log.
struct LogLayer {
    log: Arc<Log>,
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        LogLevel::of(*metadata.level()) >= self.log.level()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.log.level().filter())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        self.log.write(LogLevel::of(*event.metadata().level()), &message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::SystemClock;

    fn options(file: Option<PathBuf>) -> LogOptions {
        LogOptions {
            level: LogLevel::Notice,
            format: LogFormat::Text,
            timestamps: TimestampFormat::Text,
            file,
            syslog: None,
            clock: Arc::new(SystemClock::default()),
        }
    }

    fn message(text: &str) -> Message {
        Message { text: text.to_owned(), fields: vec![("key", "v\"".to_owned())] }
    }

    #[test]
    fn lines_have_their_shapes() {
        let log = Log::new(options(None)).unwrap();
        let mut output = log.lock();
        let now = LocalTime {
            unix_millis: 1_795_431_600_007,
            year: 2026,
            month: 10,
            day: 3,
            hour: 1,
            minute: 2,
            second: 4,
            offset_seconds: -12_600,
        };
        let process = std::process::id();
        let mut line = |format, timestamps| {
            output.style.format = format;
            output.style.timestamps = timestamps;
            output.style.line(LogLevel::Notice, &now, &message("two\nlines"))
        };
        assert_eq!(
            line(LogFormat::Text, TimestampFormat::Text),
            format!("{process}:M 03 Nov 2026 01:02:04.007 * two\\nlines key=v\"\n")
        );
        assert_eq!(
            line(LogFormat::Logfmt, TimestampFormat::Iso8601),
            format!(
                "pid={process} role=primary timestamp=\"2026-11-03T01:02:04.007-03:30\" \
                 level=notice message=\"two\\nlines key=v'\"\n"
            )
        );
        assert_eq!(
            line(LogFormat::Json, TimestampFormat::Milliseconds),
            format!(
                "{{\"time\":1795431600007,\"pid\":{process},\"role\":\"primary\",\
                 \"level\":\"notice\",\"message\":\"two\\nlines\",\"key\":\"v\\\"\"}}\n"
            )
        );
    }

    #[test]
    fn levels_filter_and_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let log = Arc::new(Log::new(options(Some(path.clone()))).unwrap());
        let handle = LogHandle { log: Arc::clone(&log) };
        let subscriber = Registry::default().with(LogLayer { log });
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("hidden");
            tracing::info!(count = 3, "notice");
            handle.set_level(LogLevel::Debug);
            tracing::trace!("debug");
            handle.set_level(LogLevel::Nothing);
            tracing::error!("hidden");
        });
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].ends_with(" * notice count=3"), "{text}");
        assert!(lines[1].ends_with(" . debug"), "{text}");
    }

    #[test]
    fn a_rotated_file_is_opened_anew_and_a_lost_one_never_stops_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let log = Log::new(options(Some(path.clone()))).unwrap();
        log.write(LogLevel::Warning, &message("one"));
        std::fs::rename(&path, directory.path().join("log.1")).unwrap();
        log.write(LogLevel::Warning, &message("two"));
        assert!(std::fs::read_to_string(&path).unwrap().contains("# two"));
        std::fs::remove_dir_all(directory.path()).unwrap();
        log.write(LogLevel::Warning, &message("three"));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        let error = Log::new(options(Some(PathBuf::from("/nonexistent/log")))).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/log"), "{error}");
    }
}
