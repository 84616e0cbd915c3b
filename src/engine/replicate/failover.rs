//! FAILOVER: this primary hands its place to a replica, and no write is lost on the way.
//!
//! ```text
//!            FAILOVER                 a target has all             PSYNC .. FAILOVER accepted
//!   Idle ───────────────► Syncing ─────────────────────► Handing ──────────────────────────► Idle
//!     ▲                      │  time is over, FORCE: the same ▲   │                         (a replica)
//!     └──────────────────────┴────────────────────────────────────┘
//!       time is over, FAILOVER ABORT                   refused, FAILOVER ABORT (a primary again)
//! ```
//! From the command on, clients that write are held (`Pause::handover`) and nothing else is added to the
//! stream, so that its end stands still: a replica that has acknowledged it has all there is. Then this
//! server follows the target and asks it, with the word FAILOVER behind PSYNC, to be the primary. What
//! was held is executed when the state is `Idle` again: refused by a replica, or executed after an abort.
//!
//! **Faults.** The target can't be reached: it is asked again once a second until it answers, or until
//! FAILOVER ABORT. The answer is lost: the target is the primary then, and refuses to be asked again as
//! such; it is followed. Before the first word has reached it, that refusal is one like any other.

use crate::base::env::SteadyMillis;
use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{Arity, Command, Flags, Flow, Group, control};
use crate::engine::replicate::primary::replica_address;
use crate::engine::{ControlHandler, Engine};
use crate::journal::{ReplicationId, Unlogged};
use crate::mailbox::SessionId;

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] =
    &[control("FAILOVER", Arity::AtLeast(1), failover as ControlHandler)
        .group(Group::Server)
        .flags(Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::STALE))
        .since("6.2.0")
        .syntax("[TO <host port:integer [FORCE]>:target] [ABORT] [TIMEOUT milliseconds]")
        .summary("Hands the primary's place to one of its replicas.")];

/// How far a failover is.
#[derive(Debug, Default)]
pub(crate) enum Failover {
    /// There is none.
    #[default]
    Idle,
    /// Writers are held until a replica has all.
    Syncing {
        /// The replica that is wanted; any where nothing is said.
        target: Option<(String, u16)>,
        /// When its time is over.
        deadline: Option<SteadyMillis>,
        /// Whether the target is asked even then.
        force: bool,
    },
    /// A replica is followed, and asked to be the primary.
    Handing {
        /// How many links have got as far as the question: past the first, the target may be the
        /// primary already.
        asked: u32,
    },
}

impl Failover {
    /// Its name as INFO tells it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Idle => "no-failover",
            Self::Syncing { .. } => "waiting-for-sync",
            Self::Handing { .. } => "failover-in-progress",
        }
    }

    /// Whether there is none.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    /// Whether the primary that is followed is to be asked to become one.
    pub(crate) fn is_handing(&self) -> bool {
        matches!(self, Self::Handing { .. })
    }
}

/// What the command's words say.
#[derive(Default)]
struct Wish {
    target: Option<(String, u16)>,
    timeout_ms: Option<i64>,
    force: bool,
}

fn failover(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    if args.len() == 2 && args.is(1, "ABORT") {
        if engine.replication.failover.is_idle() {
            return Err(CommandError::text("ERR No failover in progress."));
        }
        engine.abort_failover("Failover manually aborted");
        engine.sessions[slot].reply().ok();
        return Ok(Flow::Done);
    }
    let wish = Wish::read(args)?;
    engine.check_failover_wish(&wish)?;
    match &wish.target {
        Some((host, port)) => tracing::info!("FAILOVER requested to {host}:{port}."),
        None => tracing::info!("FAILOVER requested."),
    }
    let now = engine.steady();
    let deadline = wish.timeout_ms.map(|timeout| now.later(timeout));
    engine.replication.failover =
        Failover::Syncing { target: wish.target, deadline, force: wish.force };
    engine.hold_for_handover(true);
    // The last that gets into the stream: replicas say at once how far they are.
    engine.journal.append_unlogged(Unlogged::GetAck);
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

impl Wish {
    fn read(args: Args<'_>) -> Result<Self, CommandError> {
        let mut wish = Self::default();
        let mut at = 1;
        while at < args.len() {
            let left = args.len() - at - 1;
            if args.is(at, "TIMEOUT") && left >= 1 && wish.timeout_ms.is_none() {
                let timeout = args.int(at + 1)?;
                if timeout <= 0 {
                    return Err(CommandError::text("ERR FAILOVER timeout must be greater than 0"));
                }
                wish.timeout_ms = Some(timeout);
                at += 2;
            } else if args.is(at, "TO") && left >= 2 && wish.target.is_none() {
                let port = args.int(at + 2)?;
                let host = String::from_utf8_lossy(args.at(at + 1)).into_owned();
                // No replica has a port that is none.
                wish.target = Some((host, u16::try_from(port).unwrap_or(0)));
                at += 3;
            } else if args.is(at, "FORCE") && !wish.force {
                wish.force = true;
                at += 1;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(wish)
    }
}

impl Engine {
    fn check_failover_wish(&self, wish: &Wish) -> Result<(), CommandError> {
        if !self.replication.failover.is_idle() {
            return Err(CommandError::text("ERR FAILOVER already in progress."));
        }
        if self.is_replica() {
            return Err(CommandError::text("ERR FAILOVER is not valid when server is a replica."));
        }
        if self.replication.replicas.is_empty() {
            return Err(CommandError::text("ERR FAILOVER requires connected replicas."));
        }
        if wish.force && (wish.timeout_ms.is_none() || wish.target.is_none()) {
            return Err(CommandError::text(
                "ERR FAILOVER with force option requires both a timeout and target HOST and IP.",
            ));
        }
        let Some(target) = &wish.target else { return Ok(()) };
        let found = self.replicas().find(|(session, _)| replica_address(session) == *target);
        match found {
            None => Err(CommandError::text("ERR FAILOVER target HOST and PORT is not a replica.")),
            Some((_, replica)) if !replica.is_online() => {
                Err(CommandError::text("ERR FAILOVER target replica is not online."))
            }
            Some(_) => Ok(()),
        }
    }

    /// When the failover's time is over.
    pub(in crate::engine) fn failover_deadline(&self) -> Option<SteadyMillis> {
        match self.replication.failover {
            Failover::Syncing { deadline, .. } => deadline,
            _ => None,
        }
    }

    /// The end of a tick: goes on with a failover where a replica has all, or where its time is over.
    #[inline]
    pub(in crate::engine) fn failover_tick(&mut self) {
        if matches!(self.replication.failover, Failover::Syncing { .. }) {
            self.look_for_successor();
        }
    }

    #[cold]
    fn look_for_successor(&mut self) {
        let Failover::Syncing { target, deadline, force } = &self.replication.failover else {
            return;
        };
        if deadline.is_some_and(|deadline| deadline <= self.steady()) {
            match target {
                Some((host, port)) if *force => {
                    tracing::info!("Failover to {host}:{port} time out exceeded, failing over.");
                    let target = (host.clone(), *port);
                    self.hand_over(target);
                }
                _ => self.abort_failover("Replica never caught up before timeout"),
            }
            return;
        }
        let end = self.journal.offset();
        let successor = self.replicas().find_map(|(session, replica)| {
            let address = replica_address(session);
            let wanted = target.as_ref().is_none_or(|target| *target == address);
            (wanted && replica.is_online() && replica.acked == end).then_some(address)
        });
        if let Some((host, port)) = successor {
            tracing::info!("Failover target {host}:{port} is synced, failing over.");
            self.hand_over((host, port));
        }
    }

    fn hand_over(&mut self, (host, port): (String, u16)) {
        self.replication.failover = Failover::Handing { asked: 0 };
        self.follow(host, port);
    }

    /// The link has got as far as the question.
    pub(in crate::engine) fn note_failover_asked(&mut self) {
        if let Failover::Handing { asked } = &mut self.replication.failover {
            *asked += 1;
        }
    }

    /// The target is the primary now.
    pub(in crate::engine) fn failover_accepted(&mut self) {
        if self.replication.failover.is_handing() {
            tracing::info!("Failover target took over.");
            self.end_failover();
        }
    }

    /// The target says no.
    pub(in crate::engine) fn failover_refused(&mut self, answer: &str) {
        let Failover::Handing { asked } = self.replication.failover else { return };
        tracing::warn!("Failover target answers: {answer}");
        if asked > 1 && answer.contains(IS_PRIMARY) {
            // Only the answer to an earlier question was lost.
            self.failover_accepted();
        } else {
            self.abort_failover("Failover target rejected psync request");
        }
    }

    /// Gives a failover up: this server is a primary again, where it wasn't any more.
    pub(in crate::engine) fn abort_failover(&mut self, why: &str) {
        if self.replication.failover.is_idle() {
            return;
        }
        tracing::warn!("Aborting failover ({}): {why}", self.replication.failover.name());
        if self.replication.failover.is_handing() {
            self.unfollow();
        }
        self.end_failover();
    }

    fn end_failover(&mut self) {
        self.replication.failover = Failover::Idle;
        self.hold_for_handover(false);
    }

    /// PSYNC with the word FAILOVER: our primary asks us to take its place. Its history must be ours.
    pub(in crate::engine) fn take_over(&mut self, id: &[u8]) -> Result<(), CommandError> {
        tracing::info!("Failover request received for replid {}.", String::from_utf8_lossy(id));
        if !self.is_replica() {
            return Err(CommandError::owned(format!("ERR {IS_PRIMARY}")));
        }
        if ReplicationId::parse(id) != Some(self.journal.history().id) {
            return Err(CommandError::text("ERR PSYNC FAILOVER replid must match my replid."));
        }
        self.unfollow();
        tracing::info!("MASTER MODE enabled (failover request)");
        Ok(())
    }
}

/// What a primary answers when it is asked to become one.
const IS_PRIMARY: &str = "PSYNC FAILOVER can't be sent to a master.";
