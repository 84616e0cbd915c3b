//! What time brings: expired keys, idle clients, automatic snapshots, the end of a pause.

use crate::engine::Engine;
use crate::engine::session::run::Run;
use crate::keyspace::databases::ExpiryMode;

/// What cron keeps between its rounds.
#[derive(Debug)]
pub struct State {
    hz: u64,
    rounds: u64,
    /// DEBUG SET-ACTIVE-EXPIRE.
    pub(crate) active_expire: bool,
    /// DEBUG PAUSE-CRON.
    pub(crate) paused: bool,
    /// Stopwatch ticks from which SLOWLOG or LATENCY keep a command.
    pub(crate) slow_ticks: u64,
    /// The most memory seen in use, in bytes.
    pub(crate) peak_memory: u64,
    /// Memory in use when the server had started, in bytes.
    pub(crate) startup_memory: u64,
}

impl State {
    /// As at the start.
    pub(crate) fn new(hz: u64) -> Self {
        Self {
            hz: hz.max(1),
            rounds: 0,
            active_expire: true,
            paused: false,
            slow_ticks: u64::MAX,
            peak_memory: 0,
            startup_memory: 0,
        }
    }

    /// Rounds a second.
    pub(crate) fn hz(&self) -> u64 {
        self.hz
    }

    /// Sets the rounds a second.
    pub(crate) fn set_hz(&mut self, hz: u64) {
        self.hz = hz.max(1);
    }
}

/// Keys of a replica's own that are looked at in a round.
const OWN_ROUND: usize = 1000;

impl Engine {
    /// One round.
    pub fn cron_tick(&mut self) {
        self.refresh_time();
        if self.cron.paused || self.is_busy() {
            return;
        }
        self.cron.rounds += 1;
        self.act_on_signal();
        let every =
            |millis: u64| self.cron.rounds.is_multiple_of((millis * self.cron.hz / 1000).max(1));
        let (tenth, second) = (every(100), every(1000));
        let began = self.latency_begins();
        self.expire_round();
        self.note_latency("expire-cycle", began);
        self.note_longest_expiry();
        self.check_pause();
        self.release_overdue();
        if tenth {
            self.metrics.sample_rates(self.env.clock.monotonic_nanos() / 1000);
            self.cron.peak_memory = self.cron.peak_memory.max(self.used_memory());
            self.persistence_cron();
            self.evict_in_background();
            self.limit_tracked();
            self.check_client_memory();
            self.end_overdue_replies();
            self.end_overdue_hotkeys();
        }
        if second {
            self.close_idle_clients();
            self.stream_cron();
            self.replicas_cron();
            self.uplink_cron();
            if self.metrics.commands_per_second() < 1000 {
                self.mailbox.shrink();
                self.output.spares.shrink();
            }
        }
    }

    /// A bounded round of active expiry. Where many keys are due, rounds follow each other in the
    /// background until they are gone, a slice at a time.
    fn expire_round(&mut self) {
        let active = self.databases.expiry_mode() == ExpiryMode::Active;
        if self.databases.own_expiring() > 0 && self.cron.active_expire {
            self.expire_own_round();
        }
        if !self.cron.active_expire || !active || self.walk_holds_writers() {
            return;
        }
        let effort = self.settings.active_expire_effort.clamp(1, 10) as usize;
        let began = self.env.clock.monotonic_nanos();
        // About a quarter of the time at most, in slices of a fifth of a millisecond each.
        let bound = 250_000_000 / self.cron.hz / 10 * effort as u64;
        loop {
            let unit = self.begin_own_unit();
            let mut removed = self.databases.expire_due(16 * effort, 200);
            removed += self.databases.expire_fields_due(200);
            self.finish_own_unit(unit);
            if removed < 200 {
                break;
            }
            if self.env.clock.monotonic_nanos() - began > bound {
                self.metrics.expire_cycle_cut_short += 1;
                break;
            }
        }
    }

    /// On a replica: removes what its own clients let expire.
    #[cold]
    fn expire_own_round(&mut self) {
        if self.persistence.loading || self.pause.is_any() {
            return;
        }
        let unit = self.begin_own_unit();
        self.databases.expire_own_due(OWN_ROUND);
        self.finish_own_unit(unit);
    }

    /// Closes clients that have been silent for `timeout` seconds, and those over the soft limit.
    fn close_idle_clients(&mut self) {
        let now = self.steady();
        let timeout_ms = self.settings.timeout as i64 * 1000;
        for slot in self.sessions.client_slots() {
            let session = &self.sessions[slot];
            // Those that wait in a command, or are held by a pause, are silent by no choice of theirs,
            // and listeners and monitors by nature.
            let silent = !session.is_listening()
                && !session.hears.monitors
                && session.replica.is_none()
                && !matches!(session.run, Run::Parked(_) | Run::Paused(_) | Run::Paced);
            let idle = silent && now.since(session.traffic.active) > timeout_ms;
            if timeout_ms > 0 && idle {
                tracing::debug!("Closing idle client");
                self.kill(slot);
            } else if session.output.soft_limit_since.is_some() {
                self.check_output_limit(slot);
            }
        }
    }
}
