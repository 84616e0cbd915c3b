//! CLIENT TRACKING, CACHING, GETREDIR and TRACKINGINFO.

use std::collections::BTreeSet;

use crate::command::args::Args;
use crate::command::error::{self, CommandError};
use crate::command::spec::Flow;
use crate::engine::Engine;
use crate::engine::session::client::switch;
use crate::engine::session::tracking::table::Reader;
use crate::engine::session::tracking::{Mode, Redirect, Tracking};
use crate::mailbox::SessionId;

const NOT_TRACKING: CommandError = CommandError::text(
    "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
     OPTOUT mode enabled",
);

/// The options of CLIENT TRACKING.
#[derive(Debug, Default)]
struct Options<'a> {
    redirect: Option<u64>,
    prefixes: Vec<&'a [u8]>,
    broadcast: bool,
    opt_in: bool,
    opt_out: bool,
    no_loop: bool,
}

impl<'a> Options<'a> {
    fn parse(engine: &Engine, args: Args<'a>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut index = 3;
        while index < args.len() {
            let valued = index + 1 < args.len();
            if valued && args.is(index, "REDIRECT") {
                if options.redirect.is_some() {
                    return Err(CommandError::text(
                        "ERR A client can only redirect to a single other client",
                    ));
                }
                let id = u64::try_from(args.int(index + 1)?).unwrap_or(u64::MAX);
                if engine.sessions.find(id).is_none() {
                    return Err(CommandError::text(
                        "ERR The client ID you want redirect to does not exist",
                    ));
                }
                options.redirect = Some(id);
                index += 1;
            } else if valued && args.is(index, "PREFIX") {
                options.prefixes.push(args.at(index + 1));
                index += 1;
            } else if args.is(index, "BCAST") {
                options.broadcast = true;
            } else if args.is(index, "OPTIN") {
                options.opt_in = true;
            } else if args.is(index, "OPTOUT") {
                options.opt_out = true;
            } else if args.is(index, "NOLOOP") {
                options.no_loop = true;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        Ok(options)
    }

    /// Whether they fit each other, and the mode that the client is in.
    fn check(&self, current: Option<&Mode>) -> Result<(), CommandError> {
        if !self.broadcast && !self.prefixes.is_empty() {
            return Err(CommandError::text("ERR PREFIX option requires BCAST mode to be enabled"));
        }
        if current.is_some_and(|mode| matches!(mode, Mode::Broadcast(_)) != self.broadcast) {
            return Err(CommandError::text(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, \
                 and then re-enabling it with a different mode.",
            ));
        }
        if self.broadcast && (self.opt_in || self.opt_out) {
            return Err(CommandError::text("ERR OPTIN and OPTOUT are not compatible with BCAST"));
        }
        if self.opt_in && self.opt_out {
            return Err(CommandError::text(
                "ERR You can't specify both OPTIN mode and OPTOUT mode",
            ));
        }
        if matches!(current, Some(Mode::OptOut)) && self.opt_in
            || matches!(current, Some(Mode::OptIn)) && self.opt_out
        {
            return Err(CommandError::text(
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, \
                 and then re-enabling it with a different mode.",
            ));
        }
        if let Some(Mode::Broadcast(mine)) = current {
            for new in &self.prefixes {
                if let Some(old) = mine.iter().find(|old| overlap(old, new)) {
                    return Err(overlapping(new, b"an existing", old));
                }
            }
        }
        for (index, one) in self.prefixes.iter().enumerate() {
            if let Some(other) = self.prefixes[index + 1..].iter().find(|two| overlap(one, two)) {
                return Err(overlapping(one, b"another provided", other));
            }
        }
        Ok(())
    }
}

/// Whether there are keys that begin with both.
fn overlap(one: &[u8], other: &[u8]) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn overlapping(new: &[u8], kind: &[u8], old: &[u8]) -> CommandError {
    let (new, old) = (error::quotable(new), error::quotable(old));
    const END: &[u8] = b"'. Prefixes for a single client must not overlap.";
    CommandError::quoting(
        [b"ERR Prefix '", new, b"' overlaps with ", kind, b" prefix '", old, END].concat(),
    )
}

/// CLIENT TRACKING.
pub(crate) fn tracking(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let options = Options::parse(engine, args)?;
    if switch(args, 2)? {
        options
            .check(engine.sessions[slot].hears.tracking.as_ref().map(|tracking| &tracking.mode))?;
        engine.track(slot, &options);
    } else {
        engine.untrack(slot);
    }
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

/// CLIENT CACHING.
pub(crate) fn caching(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let session = &mut engine.sessions[slot];
    let Some(tracking) = &mut session.hears.tracking else { return Err(NOT_TRACKING) };
    match (args.is(2, "YES"), &tracking.mode) {
        (true, Mode::OptIn) => tracking.caching = true,
        (true, _) => {
            return Err(CommandError::text(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            ));
        }
        (false, _) if !args.is(2, "NO") => return Err(CommandError::Syntax),
        (false, Mode::OptOut) => tracking.caching = true,
        (false, _) => {
            return Err(CommandError::text(
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
            ));
        }
    }
    session.reply().ok();
    Ok(Flow::Done)
}

/// The number that stands for a session's redirection.
pub(crate) fn redirection(tracking: Option<&Tracking>) -> i64 {
    match tracking.map(|tracking| tracking.redirect) {
        None => -1,
        Some(Redirect::Own) => 0,
        Some(Redirect::To(id) | Redirect::Broken(id)) => id as i64,
    }
}

/// CLIENT GETREDIR.
pub(crate) fn get_redirection(
    engine: &mut Engine,
    slot: SessionId,
    _: Args<'_>,
) -> Result<Flow, CommandError> {
    let session = &mut engine.sessions[slot];
    let target = redirection(session.hears.tracking.as_deref());
    session.reply().int(target);
    Ok(Flow::Done)
}

/// What CLIENT TRACKINGINFO calls a client's choices.
fn words(tracking: Option<&Tracking>) -> Vec<&'static str> {
    let Some(tracking) = tracking else { return vec!["off"] };
    let mut words = vec!["on"];
    match tracking.mode {
        Mode::Read => {}
        Mode::Broadcast(_) => words.push("bcast"),
        Mode::OptIn => {
            words.push("optin");
            words.extend(tracking.caching.then_some("caching-yes"));
        }
        Mode::OptOut => {
            words.push("optout");
            words.extend(tracking.caching.then_some("caching-no"));
        }
    }
    words.extend(tracking.no_loop.then_some("noloop"));
    if matches!(tracking.redirect, Redirect::Broken(_)) {
        words.push("broken_redirect");
    }
    words
}

/// CLIENT TRACKINGINFO.
pub(crate) fn tracking_info(
    engine: &mut Engine,
    slot: SessionId,
    _: Args<'_>,
) -> Result<Flow, CommandError> {
    let session = &mut engine.sessions[slot];
    let tracking = session.hears.tracking.take();
    let words = words(tracking.as_deref());
    let mut reply = session.reply();
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(words.len());
    words.iter().for_each(|word| reply.bulk(word.as_bytes()));
    reply.bulk(b"redirect");
    reply.int(redirection(tracking.as_deref()));
    reply.bulk(b"prefixes");
    match tracking.as_deref().map(|tracking| &tracking.mode) {
        Some(Mode::Broadcast(prefixes)) => {
            reply.array(prefixes.len());
            prefixes.iter().for_each(|prefix| reply.bulk(prefix));
        }
        _ => reply.array(0),
    }
    session.hears.tracking = tracking;
    Ok(Flow::Done)
}

impl Engine {
    /// A client tracks as its options say. Prefixes are added to those it has.
    fn track(&mut self, slot: SessionId, options: &Options<'_>) {
        let session = &mut self.sessions[slot];
        let reader = Reader::of(session);
        let before = session.hears.tracking.take();
        let caching = before.as_ref().is_some_and(|tracking| tracking.caching);
        let before = before.map(|tracking| tracking.mode);
        self.observe.tracking.clients += usize::from(before.is_none());
        let mode = match before {
            _ if options.opt_in => Mode::OptIn,
            _ if options.opt_out => Mode::OptOut,
            before if options.broadcast => {
                let mut prefixes = match before {
                    Some(Mode::Broadcast(prefixes)) => prefixes,
                    _ => BTreeSet::new(),
                };
                let all: &[&[u8]] = &[b""];
                let new = if options.prefixes.is_empty() { all } else { &options.prefixes };
                for prefix in new {
                    self.observe.tracking.prefixes.add(prefix, reader);
                    prefixes.insert(Box::from(*prefix));
                }
                Mode::Broadcast(prefixes)
            }
            _ => Mode::Read,
        };
        let redirect = options.redirect.map_or(Redirect::Own, Redirect::To);
        let tracking = Tracking { mode, redirect, no_loop: options.no_loop, caching };
        session.hears.tracking = Some(Box::new(tracking));
        self.observe_tracking();
    }
}
