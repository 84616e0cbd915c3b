//! What holds commands back that may run otherwise: CLIENT PAUSE (all commands, or those that write,
//! for a time), FAILOVER and a shutdown that waits for replicas (those that write, so that the stream's
//! end stands still), MIGRATE (those that write, while keys are under way), and a walk whose writer
//! doesn't keep up (those that write, until it does: [`Run::Paced`]).
//!
//! A session whose next command has to wait is [`Run::Paused`]; the command is executed when the
//! pause is over, in the order in which the sessions were paused.

use std::collections::BTreeMap;

use crate::base::env::SteadyMillis;
use crate::command::args::Args;
use crate::command::spec::Flags;
use crate::engine::Engine;
use crate::engine::registry::CommandId;
use crate::engine::session::run::Run;
use crate::keyspace::databases::ExpiryMode;
use crate::mailbox::SessionId;

/// A pause in force.
#[derive(Debug, Default)]
pub struct Pause {
    /// When CLIENT PAUSE ends, where there is one.
    pub(crate) until: Option<SteadyMillis>,
    /// Whether reading commands wait too.
    pub all: bool,
    /// Whether a failover holds those that write, whatever CLIENT PAUSE and UNPAUSE say.
    pub handover: bool,
    /// Whether an end that waits for replicas does.
    ending: bool,
    /// How many errands hold those that write (MIGRATE).
    errands: usize,
    /// The sessions that it holds, first come first.
    held: BTreeMap<u64, SessionId>,
    /// The last place given in that line.
    places: u64,
}

impl Pause {
    /// How many sessions it holds.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether there is any: nobody writes then, and the server itself doesn't change the data.
    #[inline]
    pub(crate) fn is_any(&self) -> bool {
        self.until.is_some() | self.stands()
    }

    /// Whether there is one that isn't CLIENT PAUSE.
    #[inline]
    #[expect(clippy::needless_bitwise_bool, reason = "one branch for all")]
    pub fn stands(&self) -> bool {
        self.handover | self.ending | (self.errands > 0)
    }

    /// A session is held no more.
    pub(in crate::engine) fn leave(&mut self, place: u64) {
        self.held.remove(&place);
    }
}

impl Engine {
    /// Begins or extends a pause.
    pub(crate) fn pause_clients(&mut self, timeout_ms: i64, all: bool) {
        let running = self.is_client_pause();
        self.pause.all = all || (running && self.pause.all);
        let until = self.steady().later(timeout_ms);
        self.pause.until = self.pause.until.max(Some(until));
        self.follow_expiry_mode();
    }

    /// Ends the pause; what waited goes on.
    pub(crate) fn unpause_clients(&mut self) {
        self.pause.until = None;
        self.pause.all = false;
        self.resume_held();
    }

    /// A failover begins to hold clients that write, or ends.
    pub(in crate::engine) fn hold_for_handover(&mut self, holds: bool) {
        self.pause.handover = holds;
        if holds {
            self.follow_expiry_mode();
        } else {
            self.resume_held();
        }
    }

    /// An end that waits for replicas begins to hold clients that write, or is over.
    pub(in crate::engine) fn hold_for_end(&mut self, holds: bool) {
        self.pause.ending = holds;
        if holds {
            self.follow_expiry_mode();
        } else {
            self.resume_held();
        }
    }

    /// An errand begins to hold clients that write.
    pub(in crate::engine) fn hold_for_errand(&mut self) {
        self.pause.errands += 1;
        self.follow_expiry_mode();
    }

    /// An errand is over.
    pub(in crate::engine) fn end_hold_for_errand(&mut self) {
        self.pause.errands -= 1;
        if self.pause.errands == 0 {
            self.resume_held();
        }
    }

    /// A pause is over; those that another still holds come back to it in the same order.
    fn resume_held(&mut self) {
        self.follow_expiry_mode();
        for slot in std::mem::take(&mut self.pause.held).into_values() {
            self.go_on(slot);
        }
    }

    /// Ends the pause when its time is over, and serves those whose keys were filled as it began. To be
    /// called between units.
    pub(in crate::engine) fn check_pause(&mut self) {
        if self.pause.until.is_some() && !self.is_client_pause() {
            self.unpause_clients();
        }
        self.serve_waiting();
    }

    /// Whether a pause of whatever kind is in force: CLIENT PAUSE counts until its time is over.
    pub(in crate::engine) fn is_paused(&self) -> bool {
        self.pause.stands() || self.is_client_pause()
    }

    /// Whether CLIENT PAUSE holds commands back: its time isn't over.
    pub(crate) fn is_client_pause(&self) -> bool {
        self.pause.until.is_some_and(|until| until > self.steady())
    }

    /// Takes over what the pause and loading mean for keys whose time has come: during a pause the
    /// data stay as they are.
    pub(in crate::engine) fn follow_expiry_mode(&mut self) {
        self.databases.set_expiry_mode(if self.persistence.loading {
            ExpiryMode::AsLogged
        } else if self.is_replica() || self.is_paused() {
            ExpiryMode::Absent
        } else {
            ExpiryMode::Active
        });
    }

    /// Whether this command has to wait, for a pause or for a walk; the session is stopped then.
    #[inline]
    pub(in crate::engine) fn is_paused_for(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
    ) -> bool {
        (self.pause.is_any() || self.walk_holds_writers()) && self.holds(slot, command, args)
    }

    #[cold]
    fn holds(&mut self, slot: SessionId, command: CommandId, args: Args<'_>) -> bool {
        let flags = self.effective_flags(slot, command, args);
        let writes = flags.contains(Flags::WRITE);
        if self.pause.is_any() && (self.pause.all || writes || flags.contains(Flags::MAY_REPLICATE))
        {
            if self.sessions[slot].is_fed() {
                // What a replica says is no client's command.
                return false;
            }
            if self.may_stand_still(slot) {
                self.pause.places += 1;
                self.pause.held.insert(self.pause.places, slot);
                self.stop(slot, Run::Paused(self.pause.places));
            }
            return true;
        }
        let paced = writes && self.walk_holds_writers();
        if paced {
            self.pace(slot);
            self.stop(slot, Run::Paced);
        }
        paced
    }
}
