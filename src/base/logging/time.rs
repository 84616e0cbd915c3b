//! Local time, for people who read the log.

use crate::base::logging::TimestampFormat;

/// A point in time on the calendar and clock of this place.
pub(super) struct LocalTime {
    pub(super) unix_millis: i64,
    pub(super) year: i32,
    /// 0 to 11.
    pub(super) month: usize,
    pub(super) day: i32,
    pub(super) hour: i32,
    pub(super) minute: i32,
    pub(super) second: i32,
    /// East of Greenwich.
    pub(super) offset_seconds: i64,
}

impl LocalTime {
    /// The local time of an instant.
    pub(super) fn at(unix_micros: i64) -> Self {
        let unix_millis = unix_micros.div_euclid(1000);
        let seconds: libc::time_t = unix_millis.div_euclid(1000);
        // SAFETY: `tm` is plain integers and one pointer to a static text or null: zero is a value
        // of it.
        let mut parts: libc::tm = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers lead to live values of the right types; the function writes only
        // `parts` and is safe to call from several threads. Should it fail, `parts` stays zero.
        unsafe {
            libc::localtime_r(&raw const seconds, &raw mut parts);
        }
        Self {
            unix_millis,
            year: 1900 + parts.tm_year,
            month: usize::try_from(parts.tm_mon).unwrap_or(0).min(11),
            day: parts.tm_mday,
            hour: parts.tm_hour,
            minute: parts.tm_min,
            second: parts.tm_sec,
            offset_seconds: parts.tm_gmtoff,
        }
    }

    /// The time as text.
    pub(super) fn format(&self, format: TimestampFormat) -> String {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let Self { year, month, day, hour, minute, second, .. } = self;
        let millis = self.unix_millis.rem_euclid(1000);
        let clock = format!("{hour:02}:{minute:02}:{second:02}.{millis:03}");
        match format {
            TimestampFormat::Text => format!("{day:02} {} {year} {clock}", MONTHS[*month]),
            TimestampFormat::Iso8601 => {
                let sign = if self.offset_seconds < 0 { '-' } else { '+' };
                let minutes = self.offset_seconds.abs() / 60;
                let (hours, minutes) = (minutes / 60, minutes % 60);
                let month = month + 1;
                format!("{year}-{month:02}-{day:02}T{clock}{sign}{hours:02}:{minutes:02}")
            }
            TimestampFormat::Milliseconds => self.unix_millis.to_string(),
        }
    }
}
