//! What the process is to the operating system: its place in the background, the file with its
//! number, and its limits.
//!
//! Called by `main` in the order upstream does it: background, number file, limits; and before any
//! thread is started.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::{Signal, raise};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// The number file of a server in the background that was given none.
pub(crate) const DEFAULT_PID_FILE: &str = "/var/run/redis.pid";

/// File descriptors that the server needs besides those of clients.
pub(crate) const RESERVED_FILES: u64 = 32;

/// File descriptors taken for granted where the system doesn't say.
const ASSUMED_FILES: u64 = 1024;

/// Where the kernel tells how many connections may wait at most.
const BACKLOG_LIMIT: &str = "/proc/sys/net/core/somaxconn";

/// Goes to the background: a new session without a terminal, standard streams closed. The working
/// directory stays. No other thread may have been started: it wouldn't be there any more.
///
/// # Errors
/// The system's.
pub fn daemonize() -> io::Result<()> {
    nix::unistd::daemon(true, false).map_err(io::Error::from)
}

/// Writes the process's number to a file.
///
/// # Errors
/// The file can't be written; upstream only logs that.
pub fn write_pid_file(path: &Path) -> io::Result<()> {
    std::fs::write(path, format!("{}\n", std::process::id()))
}

/// Removes the number file at the end; one that is gone already is no matter.
pub fn remove_pid_file(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!("Can't remove the pid file '{}': {error}", path.display());
    }
}

/// Processor time that the calling thread has taken, in nanoseconds; 0 where the system doesn't say.
pub(crate) fn thread_cpu_nanos() -> u64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map_or(0, |time| Duration::from(time).as_nanos() as u64)
}

/// Gives the calling thread idle priority: it runs only while no other thread wants the core. The actor
/// takes the core from it when it wakes up; from a thread of the usual priority, or of the lowest (nice 19),
/// it would get it at the scheduler's next tick, up to 4 ms later. Where both stay runnable, see
/// [`crate::base::courtesy`].
pub(crate) fn take_time_left_over() {
    // SCHED_IDLE of sched(7). Where it isn't allowed, the thread has the usual share: slower for
    // clients, and right.
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
}

/// Where systemd listens, if it started the process.
fn systemd_socket() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())
}

/// Whether systemd started the process and wants to hear from it.
pub(crate) fn started_by_systemd() -> bool {
    systemd_socket().is_some()
}

/// Whether upstart started the process.
pub(crate) fn started_by_upstart() -> bool {
    std::env::var_os("UPSTART_JOB").is_some()
}

/// Sends lines of `NAME=value` to systemd (`sd_notify(3)`); does nothing where there is none.
///
/// # Errors
/// The socket doesn't take them.
pub(crate) fn notify_systemd(lines: &str) -> io::Result<()> {
    let Some(name) = systemd_socket() else { return Ok(()) };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(lines.as_bytes(), &address).map(|_| ())
}

/// Tells upstart that the process is ready: it stops, and upstart lets it go on.
///
/// # Errors
/// The system's.
pub(crate) fn notify_upstart() -> io::Result<()> {
    raise(Signal::SIGSTOP).map_err(io::Error::from)
}

/// The limit on open files is too low for even one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Your current 'ulimit -n' of {current} is not enough for the server to start. Please increase \
     your open file limit to at least {needed}. Exiting."
)]
pub struct TooFewFiles {
    /// What there is.
    pub current: u64,
    /// What `maxclients` asks for.
    pub needed: u64,
}

/// Raises the limit on open files so that `maxclients` connections fit, and returns how many do.
/// Logs what it changed.
///
/// # Errors
/// Not even one client fits.
pub fn raise_file_limit(maxclients: u64) -> Result<u64, TooFewFiles> {
    let needed = maxclients.saturating_add(RESERVED_FILES);
    let (current, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => {
            tracing::warn!(
                "Unable to obtain the current NOFILE limit ({}), assuming {ASSUMED_FILES} and \
                 setting the max clients configuration accordingly.",
                error.desc()
            );
            return Ok(maxclients.min(ASSUMED_FILES - RESERVED_FILES));
        }
    };
    if current >= needed {
        return Ok(maxclients);
    }
    // Root may raise the hard limit; others only reach it.
    let (granted, error) = match setrlimit(Resource::RLIMIT_NOFILE, needed, needed.max(hard)) {
        Ok(()) => (needed, None),
        Err(error) => (raise_to_hard(current, hard.min(needed), hard), Some(error)),
    };
    let Some(error) = error.filter(|_| granted < needed) else {
        tracing::info!(
            "Increased maximum number of open files to {needed} (it was originally set to \
             {current})."
        );
        return Ok(maxclients);
    };
    if granted <= RESERVED_FILES {
        return Err(TooFewFiles { current, needed });
    }
    let fitting = granted - RESERVED_FILES;
    tracing::warn!(
        "You requested maxclients of {maxclients} requiring at least {needed} max file descriptors."
    );
    tracing::warn!(
        "Server can't set maximum open files to {needed} because of OS error: {}.",
        error.desc()
    );
    tracing::warn!(
        "Current maximum open files is {granted}. maxclients has been reduced to {fitting} to \
         compensate for low ulimit. If you need higher maxclients increase 'ulimit -n'."
    );
    Ok(fitting)
}

/// The limit after raising it to `wanted`, which the hard limit allows.
fn raise_to_hard(current: rlim_t, wanted: rlim_t, hard: rlim_t) -> rlim_t {
    match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
        Ok(()) => wanted.max(current),
        Err(_) => current,
    }
}

/// How many processors the machine has, whether or not this process may use them.
pub(crate) fn processors() -> usize {
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
    online.and_then(|count| usize::try_from(count).ok()).unwrap_or(1)
}

/// Warns where the kernel lets fewer connections wait than `tcp-backlog` asks for.
pub fn check_backlog(tcp_backlog: u64) {
    let limit = std::fs::read_to_string(BACKLOG_LIMIT)
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    if let Some(limit) = limit
        && limit < tcp_backlog
    {
        tracing::warn!(
            "WARNING: The TCP backlog setting of {tcp_backlog} cannot be enforced because \
             {BACKLOG_LIMIT} is set to the lower value of {limit}."
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_file_comes_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.pid");
        write_pid_file(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        remove_pid_file(&path);
        assert!(!path.exists());
        remove_pid_file(&path);
    }

    #[test]
    fn clients_that_fit_need_no_higher_limit() {
        let (before, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(raise_file_limit(1), Ok(1));
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap().0, before);
    }
}
