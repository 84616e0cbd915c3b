//! What is left in the log when the server breaks: a report of a panic or a fatal signal, and then
//! the end of the process.
//!
//! A panic is always a bug of ours. Everything acknowledged is in the log files; going on with a
//! store that a half-done change has left would risk more than a restart does.

use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;

/// Has panics reported in the log before the process aborts.
pub fn install() {
    std::panic::set_hook(Box::new(report));
}

fn report(info: &PanicHookInfo<'_>) {
    let message = info
        .payload()
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| info.payload().downcast_ref::<String>().cloned())
        .unwrap_or_default();
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    tracing::error!("=== REDSTART BUG REPORT START: Cut & paste starting from here ===");
    tracing::error!("Redstart {} panicked: {message}", env!("CARGO_PKG_VERSION"));
    tracing::error!("at {place} in thread '{thread}'");
    tracing::error!("------ STACK TRACE ------");
    for line in Backtrace::force_capture().to_string().lines() {
        tracing::error!("{line}");
    }
    tracing::error!("------ STACK TRACE DONE ------");
    tracing::error!("=== REDSTART BUG REPORT END. ===");
    // An abort, whatever the profile says of panics: no destructor may run on a broken store.
    std::process::abort();
}
