//! REPLCONF, PSYNC, SYNC: how a replica introduces itself, asks for the data, and says how far it is.

use crate::base::mutation::{self, Mutation};
use crate::base::text;
use crate::command::args::Args;
use crate::command::error::{self, CommandError};
use crate::command::spec::{Arity, Command, Flags, Flow, Group, control};
use crate::engine::registry::CommandId;
use crate::engine::session::{Session, client_list};
use crate::engine::{ControlHandler, Engine};
use crate::journal::{ReplicationId, Unlogged};
use crate::mailbox::SessionId;
use crate::rdb::format::Dialect;
use crate::replication::replica::{Durable, Feed, Part, Replica, STANDS_STILL};

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] = &[
    control("REPLCONF", Arity::AtLeast(1), replconf as ControlHandler)
        .group(Group::Server)
        .flags(
            Flags::ADMIN
                .union(Flags::NOSCRIPT)
                .union(Flags::LOADING)
                .union(Flags::STALE)
                .union(Flags::ALLOW_BUSY),
        )
        .since("3.0.0")
        .summary("Tells a primary about a replica, and how far it is."),
    control("PSYNC", Arity::AtLeast(3), psync as ControlHandler)
        .group(Group::Server)
        .flags(SYNCS)
        .since("2.8.0")
        .syntax("replicationid offset")
        .summary("Follows this server from a place in its stream, or from a copy of all data."),
    control("SYNC", Arity::Exactly(1), sync as ControlHandler)
        .group(Group::Server)
        .flags(SYNCS)
        .summary("Follows this server from a copy of all data."),
];

const FAILING_OVER: CommandError = CommandError::text("NOMASTERLINK Can't SYNC while failing over");

const SYNCS: Flags =
    Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_ASYNC_LOADING).union(Flags::NO_MULTI);

fn replconf(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    let now = engine.steady();
    for at in (1..args.len()).step_by(2) {
        let value = args.at(at + 1);
        if args.is(at, "ACK") {
            engine.note_word(slot, value, args.from(at + 2));
            return Ok(Flow::Done);
        }
        let session = &mut engine.sessions[slot];
        let replica = session.replica.get_or_insert_with(|| Box::new(Replica::new(now)));
        if args.is(at, "listening-port") {
            let port = u16::try_from(args.int(at + 1)?);
            replica.port = port.map_err(|_| CommandError::NotInteger)?;
        } else if args.is(at, "ip-address") {
            let text = String::from_utf8_lossy(value).into_owned();
            if text.len() > ADDRESS_MAX {
                return Err(CommandError::owned(format!(
                    "ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
                    text.len()
                )));
            }
            replica.address = text;
        } else if args.is(at, "capa") {
            replica.understands_new_names |= value.eq_ignore_ascii_case(b"psync2");
            replica.takes_mark |= value.eq_ignore_ascii_case(b"eof");
        } else if args.is(at, "rdb-only") {
            replica.snapshot_only = match args.int(at + 1)? {
                0 => false,
                1 => true,
                _ => return Err(OUT_OF_RANGE),
            };
        } else if args.is(at, "rdb-filter-only") {
            replica.part = Some(part(value)?);
        } else if args.is(at, "version") {
            replica.reads = reader(value)?;
        } else if args.is(at, "getack") {
            // For primaries to send; a replica answers it on its link.
            return Ok(Flow::Done);
        } else {
            let word = error::quotable(args.at(at));
            let text = [b"ERR Unrecognized REPLCONF option: ", word].concat();
            return Err(CommandError::quoting(text));
        }
    }
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

/// The first version of Valkey that refuses Redis's form of hashes whose fields expire, and has its own.
const MAJOR_VALKEY: u8 = 9;

/// What a replica reads that says it has this version, as Valkey does from 8 on.
fn reader(version: &[u8]) -> Result<Dialect, CommandError> {
    let number = |part: &[u8]| text::parse_i64(part).and_then(|part| u8::try_from(part).ok());
    let parts: Option<Vec<u8>> = version.split(|byte| *byte == b'.').map(number).collect();
    match parts.as_deref() {
        Some([major, _, _]) if *major >= MAJOR_VALKEY => Ok(Dialect::Valkey),
        Some([_, _, _]) => Ok(Dialect::Redis),
        _ => {
            let word = error::quotable(version);
            Err(CommandError::quoting([b"ERR Unrecognized version format: ", word].concat()))
        }
    }
}

const OUT_OF_RANGE: CommandError =
    CommandError::text("ERR value is out of range, value must between 0 and 1");

/// What `rdb-filter-only` names.
fn part(value: &[u8]) -> Result<Part, CommandError> {
    let names = text::split_arguments(value);
    let names = names.map_err(|_| CommandError::text("ERR Missing rdb-filter-only values"))?;
    if let Some(unknown) = names.iter().find(|name| !name.eq_ignore_ascii_case(b"functions")) {
        let text = [b"ERR Unsupported rdb-filter-only option: ", error::quotable(unknown)];
        return Err(CommandError::quoting(text.concat()));
    }
    Ok(if names.is_empty() { Part::Nothing } else { Part::Functions })
}

/// The longest address that a replica may tell, as upstream has it.
const ADDRESS_MAX: usize = 255;

fn psync(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    if engine.sessions[slot].carries_a_stream() {
        return Ok(Flow::Done);
    }
    if !engine.replication.failover.is_idle() {
        return Err(FAILING_OVER);
    }
    // The wire counts from 1: it is the byte that the replica wants next.
    let Some(wanted) = text::parse_i64(args.at(2)) else {
        let name = replica_name(&engine.sessions[slot]);
        tracing::warn!("Replica {name} asks for synchronization but with a wrong offset");
        return Err(CommandError::NotInteger);
    };
    if args.is(3, "FAILOVER") {
        engine.take_over(args.at(1))?;
    }
    engine.introduce(slot)?;
    if engine.goes_on(slot, args.at(1), wanted) {
        return Ok(Flow::Done);
    }
    if args.at(1) != b"?" {
        engine.replication.counts.partial_refused += 1;
    }
    engine.await_full_sync(slot);
    Ok(Flow::Done)
}

fn sync(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    if engine.sessions[slot].carries_a_stream() {
        return Ok(Flow::Done);
    }
    if !engine.replication.failover.is_idle() {
        return Err(FAILING_OVER);
    }
    engine.introduce(slot)?;
    if let Some(replica) = &mut engine.sessions[slot].replica {
        replica.plain = true;
    }
    engine.await_full_sync(slot);
    Ok(Flow::Done)
}

/// What a write is refused with for lack of replicas.
pub(super) const NOT_ENOUGH: CommandError =
    CommandError::text("NOREPLICAS Not enough good replicas to write.");

impl Session {
    /// Whether what it gets is a stream already: a replica's, or a monitor's.
    fn carries_a_stream(&self) -> bool {
        self.is_fed() || self.hears.monitors
    }
}

impl Engine {
    /// Makes sure that the session is known as a replica. A replica whose own link is down can't be
    /// followed.
    fn introduce(&mut self, slot: SessionId) -> Result<(), CommandError> {
        if self.replication.upstream.as_ref().is_some_and(|upstream| !upstream.is_online()) {
            return Err(CommandError::text(
                "NOMASTERLINK Can't SYNC while not connected with my master",
            ));
        }
        let now = self.steady();
        let session = &mut self.sessions[slot];
        let replica = session.replica.get_or_insert_with(|| Box::new(Replica::new(now)));
        if replica.part.is_some() && !replica.takes_mark {
            return Err(CommandError::text("ERR Filtered replica requires EOF capability"));
        }
        tracing::info!("Replica {} asks for synchronization", replica_name(session));
        // What is published or invalidated would be written between the bytes of the stream.
        self.silence(slot);
        self.untrack(slot);
        Ok(())
    }

    /// Lets a replica go on where it is, if its history is ours and the backlog has what it lacks.
    fn goes_on(&mut self, slot: SessionId, id: &[u8], wanted: i64) -> bool {
        let name = replica_name(&self.sessions[slot]);
        let Some(id) = ReplicationId::parse(id) else {
            if id == b"?" {
                tracing::info!("Full resync requested by replica {name}");
            } else {
                tracing::info!("Partial resynchronization not accepted: unknown replication ID");
            }
            return false;
        };
        let Ok(offset) = u64::try_from(wanted.saturating_sub(1)) else { return false };
        if self.journal.is_broken() {
            tracing::info!(
                "Partial resynchronization not accepted: there was neither a log nor a backlog for a while"
            );
            return false;
        }
        let history = self.journal.history();
        if !history.continues(id, offset) {
            if let Some(previous) = history.previous.filter(|previous| previous.id == id) {
                tracing::info!(
                    "Partial resynchronization not accepted: Requested offset for second ID was \
                     {wanted}, but I can reply up to {}",
                    previous.end + 1
                );
            } else {
                tracing::info!(
                    "Partial resynchronization not accepted: Replication ID mismatch (Replica \
                     asked for '{id}', my replication IDs are '{}' and '{}')",
                    history.id,
                    history.previous.map_or("0".repeat(40), |previous| previous.id.to_string())
                );
            }
            return false;
        }
        let in_log = self.log.as_ref().is_some_and(|log| log.find(offset).is_some());
        if !self.journal.has_backlog() && (offset == self.journal.offset() || in_log) {
            // A restarted server has no backlog: its replicas lack nothing, or what is in the log.
            self.keep_backlog();
        }
        let left_out = self.journal.offset().saturating_sub(offset).min(64);
        let left_out = if mutation::is_on(Mutation::PartialSyncLeavesGap) { left_out } else { 0 };
        let Some(feed) = Feed::from(offset + left_out, &self.journal, self.log.as_ref()) else {
            tracing::info!(
                "Unable to partial resync with replica {name} for lack of backlog (Replica request \
                 was: {wanted})."
            );
            return false;
        };
        let new = self.journal.share_name();
        let session = &mut self.sessions[slot];
        let Some(replica) = &mut session.replica else { return false };
        let mut line = b"+CONTINUE".to_vec();
        if replica.understands_new_names {
            line.push(b' ');
            line.extend_from_slice(new.digits());
        }
        line.extend_from_slice(b"\r\n");
        replica.feed = feed;
        replica.acked = offset;
        session.output.buffer.extend_from_slice(&line);
        self.replication.counts.partial += 1;
        self.add_replica(slot);
        self.hold_backlog();
        tracing::info!(
            "Partial resynchronization request from {name} accepted. Sending {} bytes of backlog \
             starting from offset {wanted}.",
            self.journal.offset() - offset
        );
        true
    }

    /// A replica says how far it is. What is said wrongly, or by anybody else, is not answered either.
    fn note_word<'a>(
        &mut self,
        slot: SessionId,
        acked: &[u8],
        mut more: impl Iterator<Item = &'a [u8]>,
    ) {
        let offset =
            |word: &[u8]| text::parse_i64(word).map(|at| u64::try_from(at).unwrap_or_default());
        let now = self.steady();
        let replica = self.sessions[slot].replica.as_mut().filter(|replica| replica.is_fed());
        let (Some(replica), Some(acked)) = (replica, offset(acked)) else { return };
        let names_durable = more.next().is_some_and(|word| word.eq_ignore_ascii_case(b"FACK"));
        let durable = more.next().filter(|_| names_durable).and_then(offset);
        let stands_still = STANDS_STILL.iter().all(|word| more.next() == Some(*word));
        replica.heard = now;
        replica.acked = replica.acked.max(acked);
        // Who doesn't say it any more has turned its log off.
        replica.durable = durable.map(|at| Durable { at, goes_on: !stands_still });
        self.replication.heard = true;
        if let Feed::Sent(cursor) = replica.feed {
            let name = replica_name(&self.sessions[slot]);
            tracing::info!("Synchronization with replica {name} succeeded");
            if let Some(replica) = &mut self.sessions[slot].replica {
                replica.begin_stream(cursor, &self.journal, self.log.as_ref());
            }
            self.mark_dirty(slot);
        }
    }

    /// Replicas that follow the stream.
    pub(crate) fn online_replicas(&self) -> impl Iterator<Item = &Replica> {
        self.replicas().map(|(_, replica)| replica).filter(|replica| replica.is_online())
    }

    /// How many of them have the stream up to an offset.
    pub(crate) fn copies_at(&self, offset: u64) -> i64 {
        self.online_replicas().filter(|replica| replica.acked >= offset).count() as i64
    }

    /// How many of them have it durably.
    pub(crate) fn durable_copies_at(&self, offset: u64) -> i64 {
        let durable =
            |replica: &&Replica| replica.durable.is_some_and(|durable| durable.at >= offset);
        self.online_replicas().filter(durable).count() as i64
    }

    /// Refuses writes where fewer replicas than `min-replicas-to-write` were heard of lately.
    #[inline]
    pub(crate) fn check_replicas(&self) -> Result<(), CommandError> {
        let wanted = self.settings.min_replicas_to_write;
        let lag = self.settings.min_replicas_max_lag;
        // What a replica has is its primary's to confirm.
        if wanted == 0 || lag == 0 || self.is_replica() || self.good_replicas() >= wanted {
            return Ok(());
        }
        Err(NOT_ENOUGH)
    }

    /// How many replicas were heard of lately.
    pub(crate) fn good_replicas(&self) -> u64 {
        self.heard_replicas().count() as u64
    }

    /// Replicas that were heard of within `min-replicas-max-lag`; all that follow the stream, where that
    /// is 0.
    pub(in crate::engine) fn heard_replicas(&self) -> impl Iterator<Item = &Replica> {
        let lag_ms = self.settings.min_replicas_max_lag as i64 * 1000;
        let now = self.steady();
        self.online_replicas()
            .filter(move |replica| lag_ms == 0 || now.since(replica.heard) <= lag_ms)
    }

    /// The end of a tick, before the journal is sealed: asks replicas for their word where somebody
    /// waits for it.
    pub(crate) fn ask_replicas(&mut self) {
        self.ask_quorum();
        // During a pause the stream stands still: they are asked when it is over.
        if !self.pause.is_any()
            && std::mem::take(&mut self.replication.wants_word)
            && !self.replication.replicas.is_empty()
            && !self.is_replica()
        {
            self.journal.append_unlogged(Unlogged::GetAck);
            self.replication.asked = self.journal.offset();
        }
    }
}

impl Engine {
    /// What a replica's connection carries is the stream: one that sent a command with an answer is closed.
    #[cold]
    pub(in crate::engine) fn close_answered_replica(
        &mut self,
        slot: SessionId,
        command: Option<CommandId>,
        before: usize,
    ) {
        let session = &self.sessions[slot];
        let Some(answer) = session.output.buffer.get(before..).filter(|text| !text.is_empty())
        else {
            return;
        };
        let name = command.map_or("unknown", |command| self.registry[command].full_name.as_str());
        if let Some(error) = answer.strip_prefix(b"-") {
            let error = String::from_utf8_lossy(error);
            let error = error.trim_end();
            tracing::warn!(
                "== CRITICAL == This primary is sending an error to its replica: '{error}' after \
                 processing the command '{name}'"
            );
        }
        let mut client = Vec::new();
        client_list::push_line(&mut client, self, session);
        let client = String::from_utf8_lossy(&client);
        tracing::warn!(
            "Replica generated a reply to command '{name}', disconnecting it: {}",
            client.trim_end()
        );
        self.kill(slot);
    }
}

/// A replica's name in the log: its address as it announced it, or as we see it.
pub(crate) fn replica_name(session: &Session) -> String {
    let (address, port) = replica_address(session);
    if port == 0 { format!("client id #{}", session.id) } else { format!("{address}:{port}") }
}

/// The address that a replica says it has, or else that of its connection; and its port.
pub(crate) fn replica_address(session: &Session) -> (String, u16) {
    let peer = session.link.as_ref().map(|link| link.origin.peer_text()).unwrap_or_default();
    let host = peer.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
    match &session.replica {
        Some(replica) if !replica.address.is_empty() => (replica.address.clone(), replica.port),
        Some(replica) => (host.to_owned(), replica.port),
        None => (host.to_owned(), 0),
    }
}
