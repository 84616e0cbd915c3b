//! Following a primary: REPLICAOF, and the state of the link.
//!
//! ```text
//!   Waiting ──dial──► Connecting ──► Handshake ──+CONTINUE────────────────► Online
//!      ▲                              │ +FULLRESYNC                          ▲
//!      │                              ▼                                      │
//!      │                          Receiving ──its end──► Loading ──it is there─┘
//!      └──── the link ends, from every state but Loading
//! ```
//! The primary that is wanted is `settings.replicaof`. A link that ends is dialled again after half a
//! second, after failed full syncs up to a minute later; cron looks once a second. What becomes of a
//! snapshot is told in [`receive`](super::receive). A unit that came in part is dropped with its link: the
//! offset doesn't count it, so the next link brings it again.

use std::fmt;
use std::sync::Arc;

use crate::base::env::SteadyMillis;
use crate::base::logging::Role;
use crate::base::mutation::{self, Mutation};
use crate::base::text;
use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{Arity, Command, Flags, Flow, Group, control};
use crate::config::kinds::AppendFsync;
use crate::config::value;
use crate::engine::replicate::apply::Applier;
use crate::engine::replicate::receive::{Load, Reception};
use crate::engine::session::blocking::Release;
use crate::engine::session::{Session, Traffic};
use crate::engine::{ControlHandler, Engine};
use crate::journal::ReplicationId;
use crate::mailbox::{Link, SessionId, Uplink, UplinkEvent, UplinkOrder};
use crate::replication::replica::STANDS_STILL;

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] = &[
    control("REPLICAOF", Arity::Exactly(3), replicaof as ControlHandler)
        .group(Group::Server)
        .flags(FOLLOWS)
        .since("5.0.0")
        .syntax(FOLLOWED)
        .summary("Follows another server, or none any more.")
        .deviates(&["Behind it in the same transaction a replica's writes are refused (READONLY), \
                     where Redis executes them and has what its primary hasn't. What the transaction \
                     wrote before is one unit of the stream so far."]),
    control("SLAVEOF", Arity::Exactly(3), replicaof as ControlHandler)
        .group(Group::Server)
        .flags(FOLLOWS)
        .deprecated("5.0.0", "REPLICAOF")
        .syntax(FOLLOWED)
        .summary("Follows another server, or none any more."),
];

const FOLLOWED: &str = "<<host:string port:integer>:host-port|<NO ONE>:no-one>:args";
const FOLLOWS: Flags =
    Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::STALE).union(Flags::NO_ASYNC_LOADING);

/// How far the link is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// There is none; the next is tried then.
    Waiting(SteadyMillis),
    /// It is being made.
    Connecting,
    /// We introduce ourselves, and wait for what we get: the stream or a snapshot.
    Handshake,
    /// A snapshot comes.
    Receiving(Box<Reception>),
    /// It is being loaded; the stream follows.
    Loading(Load),
    /// The stream comes.
    Online,
}

/// The primary that is followed.
pub(crate) struct Upstream {
    /// Its host.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// How far the link is.
    pub(crate) stage: Stage,
    uplink: Option<Box<dyn Uplink>>,
    /// The link's number: what earlier ones still say counts for nothing.
    number: u64,
    /// When something was last heard.
    pub(crate) heard: SteadyMillis,
    /// Since when the stream comes.
    pub(crate) online_since: SteadyMillis,
    /// Whether our data is from there: by a link since REPLICAOF, or at the start.
    pub(crate) is_source: bool,
    /// Full syncs that came to nothing, one after the other.
    pub(crate) syncs_failed: u32,
    /// How far it was told that the log is durable.
    told_durable: Option<u64>,
    /// Since when the link is down.
    pub(crate) down_since: SteadyMillis,
    pub(crate) applier: Applier,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

impl Upstream {
    /// Whether the stream comes.
    pub(crate) fn is_online(&self) -> bool {
        matches!(self.stage, Stage::Online)
    }
}

fn replicaof(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    if !engine.replication.failover.is_idle() {
        return Err(CommandError::text("ERR REPLICAOF not allowed while failing over."));
    }
    let before = engine.journal.offset();
    engine.commit_so_far();
    if engine.journal.offset() > before {
        engine.sessions[slot].written = engine.journal.offset();
    }
    if args.is(1, "NO") && args.is(2, "ONE") {
        engine.unfollow();
        engine.sessions[slot].reply().ok();
        return Ok(Flow::Done);
    }
    let port = text::parse_i64(args.at(2)).and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or(CommandError::text("ERR Invalid master port"))?;
    let host = String::from_utf8_lossy(args.at(1)).into_owned();
    if value::host(args.at(1)).is_none() {
        return Err(CommandError::text("ERR Invalid master host"));
    }
    let known = engine.settings.replicaof.as_ref();
    if known.is_some_and(|(name, at)| name.eq_ignore_ascii_case(&host) && *at == port) {
        tracing::info!(
            "REPLICAOF would result into synchronization with the master we are already \
             connected with. No operation performed."
        );
        engine.sessions[slot].reply().simple("OK Already connected to specified master");
        return Ok(Flow::Done);
    }
    engine.follow(host, port);
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

impl Engine {
    /// Whether this server follows a primary.
    #[inline]
    pub(crate) fn is_replica(&self) -> bool {
        self.replication.upstream.is_some()
    }

    /// Begins to follow a primary.
    pub(crate) fn follow(&mut self, host: String, port: u16) {
        tracing::info!("REPLICAOF {host}:{port} enabled");
        self.settings.replicaof = Some((host.clone(), port));
        self.end_waiting_replies();
        self.drop_link("another primary is followed");
        self.unblock_all();
        // The stream so far is what a primary that was our replica goes on from.
        // Its replicas stay: what becomes of them is known when the primary has answered.
        self.keep_backlog();
        self.set_upstream(host, port);
        self.dial();
    }

    /// At the start: follows the primary that the configuration names, as soon as the data is there.
    pub(in crate::engine) fn follow_configured(&mut self) {
        if let Some((host, port)) = self.settings.replicaof.clone() {
            self.set_upstream(host, port);
            if let Some(upstream) = &mut self.replication.upstream {
                upstream.is_source = true;
            }
        }
    }

    fn set_upstream(&mut self, host: String, port: u16) {
        let now = self.steady();
        let was_down = self.replication.upstream.as_ref().map(|old| old.down_since);
        self.replication.upstream = Some(Box::new(Upstream {
            host,
            port,
            stage: Stage::Waiting(now),
            uplink: None,
            number: 0,
            heard: now,
            online_since: now,
            is_source: false,
            syncs_failed: 0,
            told_durable: None,
            down_since: was_down.unwrap_or(now),
            applier: Applier::default(),
        }));
        self.note_role();
    }

    /// To be called when this server has become a replica or a primary.
    fn note_role(&mut self) {
        self.note_readers();
        self.follow_expiry_mode();
        self.note_writable_replica();
        if let Some(log) = &self.outside.log_handle {
            log.set_role(if self.is_replica() { Role::Replica } else { Role::Primary });
        }
    }

    /// What clients of a writable replica let expire only this server removes.
    pub(in crate::engine) fn note_writable_replica(&mut self) {
        let is_replica = self.is_replica();
        self.databases.remember_own_expiry(is_replica && !self.settings.replica_read_only);
        if !is_replica {
            self.databases.forget_own_expiry();
        }
    }

    /// Follows nobody any more: the data is ours from here on, under a name of its own.
    pub(in crate::engine) fn unfollow(&mut self) {
        if self.replication.upstream.is_none() {
            return;
        }
        self.drop_link("REPLICAOF NO ONE");
        self.settings.replicaof = None;
        self.replication.upstream = None;
        // They learn the new name when they come back.
        self.drop_replicas();
        let id = ReplicationId::random(&mut self.rng);
        let old = self.journal.history().id;
        if !mutation::is_on(Mutation::PromotionKeepsHistory) {
            self.journal.rename(id);
        }
        // Others are to come soon.
        self.replication.backlog_used = self.steady();
        // Who follows the new history must be told the database anew.
        self.journal.forget_selected();
        self.note_role();
        tracing::info!(
            "Setting secondary replication ID to {old}, valid up to offset: {}. New replication ID \
             is {id}",
            self.journal.offset() + 1
        );
        tracing::info!("MASTER MODE enabled (user request)");
    }

    /// Clients that wait for keys would wait for what only a primary brings about. They are told, and their
    /// connections end: what they sent behind it was meant for a primary. Not those that have asked for the
    /// end of the server: that comes.
    fn unblock_all(&mut self) {
        for slot in self.sessions.client_slots() {
            if self.awaits_end(slot) {
                continue;
            }
            let told = self.release(
                slot,
                Release::Error(CommandError::text(
                    "UNBLOCKED force unblock from blocking operation, instance state changed \
                     (master -> replica?)",
                )),
            );
            if told {
                self.leave(slot);
            }
        }
    }

    /// Replicas of ours come back and hear what we are now.
    pub(super) fn drop_replicas(&mut self) {
        for slot in self.replication.replicas.clone() {
            self.kill(slot);
        }
    }

    /// Tries a link.
    fn dial(&mut self) {
        let now = self.steady();
        let Some(dial) = &self.outside.dial else { return };
        let settings = &self.settings;
        let end = self.journal.end();
        let history = self.journal.history();
        let failover = self.replication.failover.is_handing();
        let position = match history.previous {
            // The target is a replica of ours: it knows our name and no other.
            _ if failover => (history.id.to_string(), end.offset as i64 + 1),
            _ if !self.journal.is_recording() => ("?".to_owned(), -1),
            // This server was promoted, nothing was written since, and no other server has heard the new
            // name. The primary that it follows now may have the old name, and can't have the new one. Once
            // another has heard it, that one may be the new primary: it knows this name and the one that it
            // gave itself, but not the one before.
            Some(previous) if previous.end == end.offset && !history.is_shared => {
                (previous.id.to_string(), end.offset as i64 + 1)
            }
            _ => (history.id.to_string(), end.offset as i64 + 1),
        };
        let port = settings.replica_announce_port;
        let Some(upstream) = &mut self.replication.upstream else { return };
        self.replication.links += 1;
        upstream.number = self.replication.links;
        upstream.stage = Stage::Connecting;
        upstream.heard = now;
        upstream.applier = Applier::default();
        tracing::info!("Connecting to MASTER {}:{}", upstream.host, upstream.port);
        let order = UplinkOrder {
            number: upstream.number,
            host: upstream.host.clone(),
            port: upstream.port,
            user: settings.masteruser.clone(),
            password: settings.masterauth.clone(),
            source: settings.bind_source_addr.clone(),
            announced_port: if port == 0 { settings.port } else { port },
            announced_address: settings.replica_announce_ip.clone(),
            position,
            failover,
        };
        tracing::info!("MASTER <-> REPLICA sync started");
        upstream.uplink = Some((dial.0)(order));
    }

    /// Something has come from the primary.
    pub(in crate::engine) fn take_uplink(&mut self, number: u64, event: UplinkEvent) {
        let now = self.steady();
        let Some(upstream) = &mut self.replication.upstream else { return };
        if upstream.number != number || upstream.uplink.is_none() {
            return;
        }
        upstream.heard = now;
        self.sessions[self.replication.applier].traffic.active = now;
        let outcome = match event {
            UplinkEvent::Connected(link) => {
                self.note_primary_link(link);
                Ok(())
            }
            UplinkEvent::SignOfLife => Ok(()),
            UplinkEvent::AsksForFailover => {
                self.note_failover_asked();
                Ok(())
            }
            UplinkEvent::Full { id, offset } => {
                self.failover_accepted();
                self.begin_reception(&id, offset)
            }
            UplinkEvent::Expect(total) => {
                if let Stage::Receiving(reception) = &mut upstream.stage {
                    reception.total = total;
                }
                Ok(())
            }
            UplinkEvent::Snapshot(piece) => match &mut upstream.stage {
                Stage::Receiving(reception) => {
                    reception.arrival.update(&piece);
                    reception.file.append(&piece).map_err(|error| {
                        format!("Write error or short write writing to the DB dump file: {error}")
                    })
                }
                _ => Err("a piece of a snapshot that nobody expects".to_owned()),
            },
            UplinkEvent::SnapshotEnd => self.begin_sync_load(),
            UplinkEvent::Continue { id } => self.go_on_with(id.as_deref()),
            UplinkEvent::Stream(bytes) => self.apply_stream(&bytes),
            UplinkEvent::Ended(why) => Err(why),
            UplinkEvent::Refused(answer) => {
                let why = format!("Unexpected reply to PSYNC from master: {answer}");
                self.lose_link(&why);
                self.failover_refused(&answer);
                return;
            }
        };
        if let Err(why) = outcome {
            self.lose_link(&why);
        }
    }

    /// The session that applies the stream is listed as a client once the stream comes.
    fn note_primary_link(&mut self, link: Arc<Link>) {
        let (id, now) = (self.take_client_id(), self.steady());
        let session = &mut self.sessions[self.replication.applier];
        session.id = id;
        session.link = Some(link);
        session.traffic = Traffic { created: now, active: now, ..Traffic::default() };
        if let Some(upstream) = &mut self.replication.upstream {
            upstream.stage = Stage::Handshake;
        }
    }

    /// The session of the primary that is followed, while its stream comes.
    pub(in crate::engine) fn primary_session(&self) -> Option<&Session> {
        let online = self.replication.upstream.as_ref().is_some_and(|one| one.is_online());
        self.sessions.get(self.replication.applier).filter(|_| online)
    }

    /// The snapshot is loaded: the stream may come.
    pub(super) fn begin_stream(&mut self) {
        let now = self.steady();
        if let Some(upstream) = &mut self.replication.upstream
            && let Some(uplink) = &upstream.uplink
        {
            upstream.stage = Stage::Online;
            upstream.online_since = now;
            (upstream.is_source, upstream.syncs_failed) = (true, 0);
            upstream.heard = now;
            uplink.resume();
            self.acknowledge();
        }
    }

    /// The primary lets us go on where we are, under another name if it says one.
    fn go_on_with(&mut self, id: Option<&str>) -> Result<(), String> {
        self.failover_accepted();
        if let Some(id) = id {
            let id = ReplicationId::parse(id.as_bytes()).ok_or("a wrong replication ID")?;
            if id != self.journal.history().id {
                tracing::info!("Master replication ID changed to {id}");
                self.journal.rename(id);
                self.journal.share_name();
                self.note_readers();
                self.drop_replicas();
            }
        }
        self.keep_backlog();
        let now = self.steady();
        if let Some(upstream) = &mut self.replication.upstream {
            upstream.stage = Stage::Online;
            upstream.online_since = now;
            (upstream.is_source, upstream.syncs_failed) = (true, 0);
        }
        tracing::info!("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.");
        // It knows nothing of our log yet.
        self.acknowledge();
        Ok(())
    }

    /// The link is over: it is tried again.
    pub(in crate::engine) fn lose_link(&mut self, why: &str) {
        tracing::warn!("{why}");
        let now = self.steady();
        let Some(upstream) = &self.replication.upstream else { return };
        // One that has lasted is tried again at once: what ended it is no answer to our coming.
        let lasted = upstream.is_online() && now.since(upstream.online_since) > RETRY_MS;
        self.drop_link(why);
        if let Some(upstream) = &mut self.replication.upstream {
            let backoff_ms = RETRY_MS << upstream.syncs_failed.min(7);
            upstream.stage = Stage::Waiting(now.later(backoff_ms));
        }
        if lasted && !self.persistence.loading {
            self.dial();
        }
    }

    /// Ends the link under way.
    fn drop_link(&mut self, why: &str) {
        let now = self.steady();
        let Some(upstream) = &mut self.replication.upstream else { return };
        if upstream.is_online() {
            upstream.down_since = now;
            tracing::info!("Connection with master ended: {why}");
        }
        upstream.uplink = None;
        upstream.applier = Applier::default();
        if let Stage::Receiving(reception) = &upstream.stage {
            // Where it can't be removed the next one takes its place.
            let _ = self.env.disk.remove(&reception.path);
        }
        // REPLICAOF is refused meanwhile, CLIENT KILL doesn't find the link, and its task tells nothing.
        debug_assert!(
            !self.persistence.loading,
            "a snapshot that has come wholly is loaded to its end"
        );
        upstream.stage = Stage::Waiting(now);
        let session = &mut self.sessions[self.replication.applier];
        session.transaction = None;
        session.link = None;
    }

    /// Tells the primary how far we are.
    pub(in crate::engine) fn acknowledge(&mut self) {
        let ahead = if mutation::is_on(Mutation::AcknowledgeUnapplied) { 300 } else { 0 };
        let offset = (self.journal.offset() + ahead).to_string();
        let durable = self.durable_here().map(|durable| durable.to_string());
        let mut words: Vec<&[u8]> = vec![b"REPLCONF", b"ACK", offset.as_bytes()];
        if let Some(durable) = &durable {
            words.extend([&b"FACK"[..], durable.as_bytes()]);
            if self.settings.appendfsync == AppendFsync::No {
                // A durable quorum of ours must not count on it. Upstream reads no further.
                words.extend(STANDS_STILL);
            }
        }
        let mut bytes = Vec::new();
        crate::resp::record::push_command(&mut bytes, words.into_iter());
        self.send_upstream(&bytes);
    }

    fn send_upstream(&self, bytes: &[u8]) {
        let uplink = self.replication.upstream.as_ref().and_then(|one| one.uplink.as_ref());
        if let Some(Err(error)) = uplink.map(|uplink| uplink.send(bytes)) {
            tracing::debug!("Can't write to the primary: {error}");
        }
    }

    /// How far the log stands for the data; nothing where there is none, or no base yet. What follows the
    /// last unit in the stream (PING, GETACK) is no data: where all units are durable, so is that.
    pub(in crate::engine) fn durable_here(&self) -> Option<u64> {
        let log = self.log.as_ref().filter(|log| !log.waiting_for_base())?;
        let durable = log.durable();
        if durable == log.offset() || mutation::is_on(Mutation::DurableBeforeSync) {
            return Some(durable.max(self.journal.sealed_end()));
        }
        Some(durable)
    }

    /// Tells the primary when more has become durable: somebody there may wait for it.
    pub(in crate::engine) fn tell_durable(&mut self) {
        let durable = self.durable_here();
        if let Some(upstream) = &mut self.replication.upstream
            && upstream.is_online()
            && durable > upstream.told_durable
        {
            upstream.told_durable = durable;
            self.acknowledge();
        }
    }

    /// Once a second: the next try, our word, and the end of a link that is silent.
    pub(in crate::engine) fn uplink_cron(&mut self) {
        let now = self.steady();
        let timeout_ms = self.settings.repl_timeout as i64 * 1000;
        let Some(upstream) = &self.replication.upstream else { return };
        let silent = now.since(upstream.heard) > timeout_ms;
        match &upstream.stage {
            Stage::Waiting(at) if *at <= now && !self.persistence.loading => self.dial(),
            Stage::Connecting | Stage::Handshake if silent => {
                self.lose_link("Timeout connecting to the PRIMARY...");
            }
            Stage::Online if silent => {
                self.lose_link("MASTER timeout: no data nor PING received...");
            }
            Stage::Receiving(_) if silent => self.lose_link(
                "Timeout receiving bulk data from MASTER... If the problem persists try to set the \
                 'repl-timeout' parameter in redis.conf to a larger value.",
            ),
            Stage::Online => self.acknowledge(),
            Stage::Loading(_) => self.send_upstream(b"\n"),
            _ => {}
        }
    }
}

/// How long after a link that failed the next is tried.
const RETRY_MS: i64 = 500;
