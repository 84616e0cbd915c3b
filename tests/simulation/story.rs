//! What happens in a run, for whoever has to understand one that failed: what nemeses do, what the
//! servers write to their logs, each with its time and its host. Kept only where it is asked for.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

thread_local! {
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
    static PLACE: Cell<(usize, u64)> = const { Cell::new((0, 0)) };
}

/// From now on what happens is kept, or no more.
pub fn keep(kept: bool) {
    LINES.set(kept.then(Vec::new));
}

/// What was kept.
pub fn take() -> Vec<String> {
    LINES.take().unwrap_or_default()
}

/// Whether it is kept.
pub fn is_kept() -> bool {
    LINES.with_borrow(|lines| lines.is_some())
}

/// What happens from now on happens on that host at that time, in nanoseconds.
pub fn on(host: usize, now: u64) {
    PLACE.set((host, now));
}

/// Tells something of a host.
pub fn tell(host: usize, now: u64, what: fmt::Arguments<'_>) {
    LINES.with_borrow_mut(|lines| {
        if let Some(lines) = lines {
            let millis = now as f64 / 1e6;
            lines.push(format!("{millis:11.3} ms  host {host}: {what}"));
        }
    });
}

/// Tells something of a host of a world.
#[macro_export]
macro_rules! story {
    ($world:expr, $host:expr, $($what:tt)*) => {
        if $crate::story::is_kept() {
            $crate::story::tell($host, $world.now(), format_args!($($what)*));
        }
    };
}

/// Keeps what servers write to their logs.
pub struct Logs;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}

impl Subscriber for Logs {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_kept() && *metadata.level() <= tracing::Level::INFO
    }

    fn register_callsite(&self, _: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        tracing::subscriber::Interest::sometimes()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let (host, now) = PLACE.get();
        tell(host, now, format_args!("| {}", text.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
