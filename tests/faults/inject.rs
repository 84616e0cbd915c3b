//! System calls of a running server that fail: `strace` attaches to it and gives the kernel's answer
//! in its place, for the calls on certain files, until it is told to stop.
//!
//! A call on a file is one whose first path or descriptor is it; so a renaming is known by the old
//! name. A call that was made to fail did nothing.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::server::Server;
use crate::until;

/// Opening or creating, as `strace` names it.
pub const OPEN: &str = "open,openat";
/// Writing.
pub const WRITE: &str = "write,writev,pwrite64";
/// Having the system write a part of a file to the disk.
pub const WRITE_OUT: &str = "sync_file_range";
/// Making a file durable, or a directory.
pub const SYNC: &str = "fdatasync,fsync";
/// Giving a file another name.
pub const RENAME: &str = "rename,renameat,renameat2";

/// A fault that lasts until this is dropped.
#[derive(Debug)]
pub struct Fault {
    strace: Child,
    dir: TempDir,
}

impl Fault {
    /// Has these calls fail with this error, on these files; on all where none is given.
    pub fn begin(server: &Server, calls: &str, error: &str, files: &[PathBuf]) -> Self {
        Self::tamper(server, calls, &format!("error={error}"), files)
    }

    /// Has these calls take longer by so much.
    pub fn slow(server: &Server, calls: &str, by: Duration, files: &[PathBuf]) -> Self {
        Self::tamper(server, calls, &format!("delay_enter={}", by.as_micros()), files)
    }

    fn tamper(server: &Server, calls: &str, how: &str, files: &[PathBuf]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let messages = File::create(dir.path().join("messages")).expect("a file");
        let strace = Command::new("strace")
            .args(["-f", "-p", &server.pid().to_string(), "-o"])
            .arg(dir.path().join("calls"))
            .arg(format!("--trace={calls}"))
            .arg(format!("--inject={calls}:{how}"))
            .args(files.iter().map(|file| format!("--trace-path={}", file.display())))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(messages)
            .spawn()
            .unwrap_or_else(|error| panic!("strace: {error}; tests/run.sh installs it"));
        let mut fault = Self { strace, dir };
        until("strace is attached", || {
            let messages = fault.read("messages");
            let ended = fault.strace.try_wait().expect("strace can be waited for");
            assert!(
                ended.is_none(),
                "strace can't trace the server, without which nothing is tested here. Is ptrace \
                 permitted on this machine (CAP_SYS_PTRACE, kernel.yama.ptrace_scope, seccomp)?\n\
                 {messages}"
            );
            messages.contains("attached")
        });
        fault
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    /// How many calls have met it so far.
    pub fn count(&self) -> usize {
        let calls = self.read("calls");
        calls.matches("(INJECTED)").count() + calls.matches("(DELAYED)").count()
    }

    /// Ends it. Panics where no call has met it: nothing was tested then.
    pub fn end(mut self) {
        self.detach();
        let calls = self.read("calls");
        assert!(self.count() > 0, "no call has met the fault:\n{calls}");
    }

    fn detach(&mut self) {
        // It may have ended with the server.
        let _ = kill(Pid::from_raw(self.strace.id() as i32), Signal::SIGTERM);
        let _ = self.strace.wait();
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        if let Ok(None) = self.strace.try_wait() {
            self.detach();
        }
    }
}
