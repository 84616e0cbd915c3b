//! Where lines of the log go: standard output, a file, and the system log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use crate::base::logging::{LogError, LogLevel, SyslogOptions};

/// Where the system log listens.
const SYSLOG_SOCKET: &str = "/dev/log";

/// Where lines go.
pub(super) enum Target {
    Stdout,
    File(LogFile),
}

impl Target {
    pub(super) fn write(&mut self, line: &[u8]) {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                let _ = out.write_all(line).and_then(|()| out.flush());
            }
            Self::File(file) => file.write(line),
        }
    }
}

/// A log file that follows its name.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Device and inode of `file`.
    identity: (u64, u64),
}

impl LogFile {
    pub(super) fn open(path: PathBuf) -> Result<Self, LogError> {
        let opened = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|file| Ok((file.metadata()?, file)));
        match opened {
            Ok((data, file)) => Ok(Self { path, file, identity: (data.dev(), data.ino()) }),
            Err(error) => Err(LogError::Open { path, error }),
        }
    }

    pub(super) fn write(&mut self, line: &[u8]) {
        let same = std::fs::metadata(&self.path)
            .is_ok_and(|data| (data.dev(), data.ino()) == self.identity);
        // Where the file can't be opened anew, lines go on to the one that is open.
        if !same && let Ok(file) = Self::open(self.path.clone()) {
            *self = file;
        }
        let _ = self.file.write_all(line);
    }
}

/// The system log, spoken to as RFC 3164 has it, without the time, which the receiver adds.
pub(super) struct Syslog {
    pub(super) options: SyslogOptions,
    pub(super) socket: Option<UnixDatagram>,
}

impl Syslog {
    pub(super) fn send(&mut self, level: LogLevel, text: &str) {
        let priority = self.options.facility * 8 + level.severity();
        let line = format!("<{priority}>{}[{}]: {text}", self.options.ident, std::process::id());
        let connect = || {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect(SYSLOG_SOCKET)?;
            io::Result::Ok(socket)
        };
        // A restarted system log listens on a new socket: try twice.
        for _ in 0..2 {
            if self.socket.is_none() {
                self.socket = connect().ok();
            }
            match self.socket.as_ref().map(|socket| socket.send(line.as_bytes())) {
                Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => self.socket = None,
                _ => return,
            }
        }
    }
}
