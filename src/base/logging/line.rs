//! One line of the log, in each of its shapes.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};

use crate::base::logging::time::LocalTime;
use crate::base::logging::{LogFormat, LogLevel, Role, TimestampFormat};

/// An event's text and its further fields.
#[derive(Default)]
pub(super) struct Message {
    pub(super) text: String,
    pub(super) fields: Vec<(&'static str, String)>,
}

impl Message {
    /// All of it as one text.
    pub(super) fn with_fields(&self) -> String {
        let mut text = self.text.clone();
        for (name, value) in &self.fields {
            let _ = write!(text, " {name}={value}");
        }
        text
    }

    fn take(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.text = value;
        } else {
            self.fields.push((field.name(), value));
        }
    }
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }
}

/// How lines look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Style {
    pub(super) format: LogFormat,
    pub(super) timestamps: TimestampFormat,
    pub(super) role: Role,
}

impl Style {
    /// The line of a message, its end included.
    pub(super) fn line(self, level: LogLevel, now: &LocalTime, message: &Message) -> String {
        let process = std::process::id();
        let role = self.role;
        let time = now.format(self.timestamps);
        match self.format {
            LogFormat::Text => {
                let text = one_line(&message.with_fields());
                format!("{process}:{} {time} {} {text}\n", role.letter(), level.mark())
            }
            LogFormat::Logfmt => {
                let text = one_line(&message.with_fields()).replace('"', "'");
                format!(
                    "pid={process} role={} timestamp=\"{time}\" level={} message=\"{text}\"\n",
                    role.word(),
                    level.word()
                )
            }
            LogFormat::Json => {
                let time = match self.timestamps {
                    TimestampFormat::Milliseconds => time,
                    _ => json_text(&now.format(TimestampFormat::Iso8601)),
                };
                let mut line = format!(
                    "{{\"time\":{time},\"pid\":{process},\"role\":\"{}\",\"level\":\"{}\",\
                     \"message\":{}",
                    role.word(),
                    level.word(),
                    json_text(&message.text)
                );
                for (name, value) in &message.fields {
                    let _ = write!(line, ",{}:{}", json_text(name), json_text(value));
                }
                line.push_str("}\n");
                line
            }
        }
    }
}

/// The text with its line ends made visible: one message is one line.
fn one_line(text: &str) -> String {
    if text.contains(['\n', '\r']) {
        return text.replace('\n', "\\n").replace('\r', "\\r");
    }
    text.to_owned()
}

/// A JSON string (RFC 8259, section 7).
fn json_text(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\0'..='\x1f' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
