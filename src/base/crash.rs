//! What is left in the log when the server breaks: a report of a panic or a fatal signal, and then
//! the end of the process.
//!
//! A panic is always a bug of ours. Everything acknowledged is in the log files; going on with a
//! store that a half-done change has left would risk more than a restart does.
//!
//! The report of a signal is made inside its handler, where strictly speaking hardly anything is
//! allowed. The process is lost by then; a report that gets stuck is ended by the second signal,
//! which finds the default action in place. The main thread, which works on the data, has an
//! alternate stack large enough for the report: the one that the standard library sets up takes a
//! line on a stack overflow, but no stack trace.
//!
//! Beside them, the signals that must not end the server: those that upstream ignores.

use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet, Signal};

/// Signals that mean that the process is broken.
const FATAL: [Signal; 5] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGABRT];

/// Signals that upstream ignores: the terminal that started the server is gone, a socket is.
const IGNORED: [Signal; 2] = [Signal::SIGHUP, Signal::SIGPIPE];

/// The alternate stack, in bytes; making a stack trace takes about a tenth of it.
const STACK_BYTES: usize = 512 * 1024;

/// Set by the first report, so that its own end (an abort) makes no second one.
static REPORTED: AtomicBool = AtomicBool::new(false);

/// Has panics, and fatal signals if `signals`, reported in the log before the process ends.
pub fn install(signals: bool) {
    std::panic::set_hook(Box::new(report_panic));
    if !signals {
        return;
    }
    enlarge_signal_stack();
    for fatal in FATAL {
        let flags = SaFlags::SA_NODEFER | SaFlags::SA_RESETHAND | SaFlags::SA_ONSTACK;
        let action = SigAction::new(SigHandler::Handler(report_signal), flags, SigSet::empty());
        // SAFETY: the handler is a plain function that lives as long as the program. What it calls
        // is not safe in general after an asynchronous signal; these signals end the process, and
        // the handler is reset before it runs, so a fault inside it ends the process too.
        if let Err(error) = unsafe { signal::sigaction(fatal, &action) } {
            tracing::warn!("Can't install the crash report for {fatal}: {error}");
        }
    }
}

/// Has signals ignored that must not end the server. What comes before this still does.
pub fn ignore_harmless() {
    for harmless in IGNORED {
        // SAFETY: no handler is installed that could run.
        if let Err(error) = unsafe { signal::signal(harmless, SigHandler::SigIgn) } {
            tracing::warn!("Can't ignore {harmless}: {error}");
        }
    }
}

/// Gives the calling thread a stack for signal handlers that stays for good.
fn enlarge_signal_stack() {
    let memory = Box::leak(vec![0u8; STACK_BYTES].into_boxed_slice());
    let stack =
        libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: STACK_BYTES };
    // SAFETY: the memory is `STACK_BYTES` long, is never freed, and nothing else uses it.
    if unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) } != 0 {
        tracing::warn!(
            "Can't set the stack for crash reports: {}",
            std::io::Error::last_os_error()
        );
    }
}

fn report_panic(info: &PanicHookInfo<'_>) {
    let message = info
        .payload()
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| info.payload().downcast_ref::<String>().cloned())
        .unwrap_or_default();
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    report(&format!("panicked: {message} at {place} in thread '{thread}'"));
    // An abort, whatever the profile says of panics: no destructor may run on a broken store.
    std::process::abort();
}

extern "C" fn report_signal(number: i32) {
    let name = Signal::try_from(number).map_or("unknown", Signal::as_str);
    report(&format!("crashed by signal: {number} ({name})"));
    // The handler is reset: this time the signal does what it does by default.
    if let Ok(fatal) = Signal::try_from(number) {
        let _ = signal::raise(fatal);
    }
}

fn report(what: &str) {
    if REPORTED.swap(true, Ordering::SeqCst) {
        return;
    }
    tracing::error!("=== REDSTART BUG REPORT START: Cut & paste starting from here ===");
    tracing::error!("Redstart {} {what}", env!("CARGO_PKG_VERSION"));
    tracing::error!("------ STACK TRACE ------");
    for line in Backtrace::force_capture().to_string().lines() {
        tracing::error!("{line}");
    }
    tracing::error!("------ STACK TRACE DONE ------");
    tracing::error!("=== REDSTART BUG REPORT END. ===");
}
