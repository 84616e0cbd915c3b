//! What the settings mean for the process as it starts: its log, its place in the background, its
//! number file, its supervisor. `main` calls these in upstream's order.

use std::path::Path;
use std::sync::Arc;

use crate::base::env::Clock;
use crate::base::logging::{LogOptions, SyslogOptions};
use crate::base::process::{self, DEFAULT_PID_FILE};
use crate::config::kinds::Supervised;
use crate::config::settings::Settings;

/// Who started the server and waits to hear from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supervisor {
    /// Nobody.
    None,
    /// systemd, through its socket.
    Systemd,
    /// upstart, through a stop signal.
    Upstart,
}

impl Settings {
    /// How the log is to be.
    pub fn log_options(&self, clock: Arc<dyn Clock>) -> LogOptions {
        let file = (!self.logfile.as_os_str().is_empty()).then(|| self.logfile.clone());
        let syslog = self.syslog_enabled.then(|| SyslogOptions {
            ident: self.syslog_ident.clone(),
            facility: self.syslog_facility.code(),
        });
        LogOptions {
            level: self.loglevel,
            format: self.log_format,
            timestamps: self.log_timestamp_format,
            file,
            syslog,
            clock,
        }
    }

    /// Who supervises the server, by `supervised` and by what the supervisor left in the
    /// environment.
    pub fn supervisor(&self) -> Supervisor {
        let systemd = process::started_by_systemd();
        let upstart = process::started_by_upstart();
        match self.supervised {
            Supervised::Systemd | Supervised::Auto if systemd => Supervisor::Systemd,
            Supervised::Upstart | Supervised::Auto if upstart => Supervisor::Upstart,
            _ => Supervisor::None,
        }
    }

    /// Whether to go to the background: a supervisor wants its child where it is.
    pub fn in_background(&self) -> bool {
        self.daemonize && self.supervisor() == Supervisor::None
    }

    /// The file for the process's number: one in the background always has one.
    pub fn pid_file(&self) -> Option<&Path> {
        if !self.pidfile.as_os_str().is_empty() {
            return Some(&self.pidfile);
        }
        self.in_background().then_some(Path::new(DEFAULT_PID_FILE))
    }
}

impl Supervisor {
    /// Tells the supervisor that the server is ready. A supervisor that can't be told is logged
    /// and changes nothing.
    pub fn ready(self) {
        let outcome = match self {
            Self::None => return,
            Self::Systemd => {
                process::notify_systemd("STATUS=Ready to accept connections\nREADY=1\n")
            }
            Self::Upstart => process::notify_upstart(),
        };
        if let Err(error) = outcome {
            tracing::warn!("Can't tell the supervisor that the server is ready: {error}");
        }
    }
}
