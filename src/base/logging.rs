//! The log: its levels and shapes. (The layer that writes it follows.)
/// Least important messages that are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Upstream's: `PID:M 23 Nov 2026 12:00:00.000 * text`.
    #[default]
    Text,
    /// `key=value` pairs.
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
