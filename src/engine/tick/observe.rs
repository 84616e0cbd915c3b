//! What looks at commands as they run, beside what they change: tracking, MONITOR, and the like.
//!
//! Nearly always nothing does. [`Observers`] says what does, in one byte that is compared with zero once
//! for each request and once for each call; all else here is behind that test. Whoever begins or ceases to
//! look sets its flag.

use bitflags::bitflags;

use crate::command::args::Args;
use crate::command::spec::Flags;
use crate::engine::Engine;
use crate::engine::registry::CommandId;
use crate::engine::session::tracking;
use crate::engine::show::{command_log, hotkeys, latency, monitor};
use crate::mailbox::SessionId;

bitflags! {
    /// What looks at commands.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Observers: u8 {
        /// A client tracks keys.
        const TRACKING = 1;
        /// A client monitors.
        const MONITOR = 2;
        /// HOTKEYS collects.
        const HOTKEYS = 4;
    }
}

/// Who looks, and what they keep.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Who there is.
    pub(crate) on: Observers,
    /// Who is to be told of which changes.
    pub(crate) tracking: tracking::State,
    /// SLOWLOG and COMMANDLOG.
    pub(crate) command_log: command_log::State,
    /// LATENCY.
    pub(crate) latency: latency::State,
    /// Who monitors.
    pub(crate) monitor: monitor::State,
    /// HOTKEYS.
    pub(crate) hotkeys: hotkeys::State,
}

impl Engine {
    /// Behind each call of a command, be it a client's, a transaction's or a script's: what it changed is
    /// told, and whoever looks at commands sees it.
    #[inline]
    pub(in crate::engine) fn after_call(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
    ) {
        self.publish_notices();
        if !self.observe.on.is_empty() {
            self.observe_call(slot, command, args);
        }
    }

    #[cold]
    fn observe_call(&mut self, slot: SessionId, command: CommandId, args: Args<'_>) {
        if self.observe.on.contains(Observers::TRACKING) {
            let client = self.scripts.client_of(slot);
            self.remember_reads(client, command, args);
        }
        if self.observe.on.contains(Observers::HOTKEYS) {
            self.count_hotkeys(slot, command, args);
        }
    }

    /// In front of a call: what runs scripts is shown before what they call.
    #[cold]
    pub(in crate::engine) fn begin_call(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
    ) {
        let flags = self.registry[command].spec.flags;
        if self.observe.on.contains(Observers::MONITOR) && flags.contains(Flags::RUNS_SCRIPTS) {
            self.feed_monitors(slot, command, args);
        }
        let written = self.sessions[slot].output.buffer.len();
        self.observe.hotkeys.enter_call(written);
    }

    /// Behind a call that isn't a new try of one that has waited.
    #[cold]
    pub(in crate::engine) fn end_call(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
        took: u64,
    ) {
        self.observe.hotkeys.leave_call(took);
        let hidden = Flags::ADMIN.union(Flags::SKIP_MONITOR);
        let flags = self.registry[command].spec.flags;
        if self.observe.on.contains(Observers::MONITOR) && !flags.intersects(hidden) {
            self.feed_monitors(slot, command, args);
        }
    }

    /// In front of each request of a client.
    #[cold]
    pub(in crate::engine) fn before_request(&mut self) {
        if self.observe.on.contains(Observers::TRACKING) {
            self.limit_tracked();
        }
    }

    /// Behind each request of a client, executed or not.
    #[cold]
    pub(in crate::engine) fn observe_request(
        &mut self,
        slot: SessionId,
        command: Option<CommandId>,
    ) {
        let keeps = |id: CommandId| self.registry[id].spec.flags.contains(Flags::KEEPS_CACHING);
        if self.observe.on.contains(Observers::TRACKING) && !command.is_some_and(keeps) {
            self.end_caching(slot);
        }
    }
}
