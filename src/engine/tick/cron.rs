//! What time brings: expired keys, idle clients, automatic snapshots, the end of a pause.

use crate::command::args::Args;
use crate::config::directives;
use crate::engine::Engine;
use crate::engine::registry::CommandId;
use crate::engine::session::run::Run;
use crate::keyspace::databases::ExpiryMode;
use crate::mailbox::SessionId;

/// Entries of the slow log.
#[derive(Clone, Debug)]
pub(crate) struct SlowEntry {
    /// A number that is never used again.
    pub id: u64,
    /// When, in seconds since the epoch.
    pub(crate) unix_seconds: i64,
    /// How long it took, in microseconds.
    pub micros: u64,
    /// The arguments, shortened.
    pub args: Vec<Vec<u8>>,
    /// The client's address.
    pub peer: String,
    /// The client's name.
    pub name: Vec<u8>,
}

/// What cron keeps between its rounds.
#[derive(Debug)]
pub struct State {
    hz: u64,
    rounds: u64,
    /// DEBUG SET-ACTIVE-EXPIRE.
    pub(crate) active_expire: bool,
    /// DEBUG PAUSE-CRON.
    pub(crate) paused: bool,
    /// Stopwatch ticks past which a command is slow.
    pub(crate) slow_ticks: u64,
    /// SLOWLOG.
    pub(crate) slow_log: std::collections::VecDeque<SlowEntry>,
    next_slow_id: u64,
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
            slow_log: std::collections::VecDeque::new(),
            next_slow_id: 0,
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
/// Arguments of a slow command that are kept, and bytes of each.
const SLOW_ARGS_MAX: usize = 32;
const SLOW_ARG_BYTES_MAX: usize = 128;

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
        self.expire_round();
        self.check_pause();
        self.release_overdue();
        if tenth {
            self.metrics.sample_rates(self.now_micros);
            self.cron.peak_memory = self.cron.peak_memory.max(self.used_memory());
            self.persistence_cron();
            self.evict_in_background();
            self.limit_tracked();
            self.check_client_memory();
            self.end_overdue_replies();
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
        let now_ms = self.now().0;
        let timeout_ms = self.settings.timeout as i64 * 1000;
        for slot in self.sessions.client_slots() {
            let session = &self.sessions[slot];
            // Those that wait in a command, or are held by a pause, are silent by no choice of theirs,
            // and listeners and monitors by nature.
            let silent = !session.is_listening()
                && !session.hears.monitors
                && session.replica.is_none()
                && !matches!(session.run, Run::Parked(_) | Run::Paused(_) | Run::Paced);
            let idle = silent && now_ms - session.traffic.active_ms > timeout_ms;
            if timeout_ms > 0 && idle {
                tracing::debug!("Closing idle client");
                self.kill(slot);
            } else if session.output.soft_limit_since_ms != 0 {
                self.check_output_limit(slot);
            }
        }
    }

    /// Remembers a slow command.
    #[cold]
    pub(in crate::engine) fn note_slow(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
        ticks: u64,
    ) {
        use crate::command::spec::Flags;
        if self.registry[command].has(Flags::SKIP_SLOWLOG) || self.settings.slowlog_max_len == 0 {
            return;
        }
        let shown = if args.len() > SLOW_ARGS_MAX { SLOW_ARGS_MAX - 1 } else { args.len() };
        let secrets = self.registry[command].spec.secrets;
        let mut words: Vec<Vec<u8>> = secrets
            .shown(args, shown, directives::is_secret)
            .iter()
            .map(|word| shortened(word))
            .collect();
        if args.len() > shown {
            words.push(format!("... ({} more arguments)", args.len() - shown).into_bytes());
        }
        let Some(session) = self.sessions.get(slot) else { return };
        let entry = SlowEntry {
            id: self.cron.next_slow_id,
            unix_seconds: self.now_micros / 1_000_000,
            micros: self.env.stopwatch.micros(ticks),
            args: words,
            peer: session.link.as_ref().map(|link| link.origin.peer_text()).unwrap_or_default(),
            name: session.identity.name.clone(),
        };
        self.cron.next_slow_id += 1;
        self.cron.slow_log.push_front(entry);
        self.cron.slow_log.truncate(self.settings.slowlog_max_len as usize);
    }

    /// Takes over what the settings say of slow commands.
    pub(crate) fn apply_slow_threshold(&mut self) {
        let micros = self.settings.slowlog_log_slower_than;
        self.cron.slow_ticks = match u64::try_from(micros) {
            Err(_) => u64::MAX,
            Ok(micros) => self.env.stopwatch.ticks_of(micros),
        };
        self.cron.slow_log.truncate(self.settings.slowlog_max_len as usize);
    }
}

fn shortened(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= SLOW_ARG_BYTES_MAX {
        return arg.to_vec();
    }
    let mut text = arg[..SLOW_ARG_BYTES_MAX].to_vec();
    text.extend_from_slice(
        format!("... ({} more bytes)", arg.len() - SLOW_ARG_BYTES_MAX).as_bytes(),
    );
    text
}
