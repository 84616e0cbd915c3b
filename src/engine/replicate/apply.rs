//! The Applier: the primary's stream becomes commands here and bytes of our own stream.
//!
//! Commands run as a client's do, in a session of their own, so that watchers, listeners and clients that
//! wait learn of them; but nothing is recorded: the bytes are appended to the journal as they came, a
//! whole unit at a time, and so offsets and bytes agree with the primary's. Keys whose time has come are
//! as good as any for the primary's commands ([`ExpiryMode::AsLogged`]), and absent for clients.
//!
//! While clients are paused (CLIENT PAUSE, both forms) or a slow script is suspended nothing is applied
//! either: what comes is kept, up to `client-query-buffer-limit`, past which the link is closed. It is
//! applied at the end of the tick in which the pause or the script is over.

use crate::base::mutation::{self, Mutation};
use crate::command::args::Args;
use crate::command::spec::Flags;
use crate::config::kinds::PropagationError;
use crate::engine::Engine;
use crate::engine::session::Doing;
use crate::engine::tick::transaction::Queued;
use crate::journal::Unlogged;
use crate::keyspace::databases::ExpiryMode;
use crate::resp::request::{BUFFER_BYTES_MAX, Bounds, Parser, Requests};

/// What has come of the stream and is not applied.
#[derive(Debug, Default)]
pub(crate) struct Applier {
    buffer: Vec<u8>,
    parser: Parser,
    /// Whether some of it came during a pause or a slow script, and is to be applied behind that.
    held: bool,
    /// A transaction's bytes so far.
    unit: Vec<u8>,
}

impl Applier {
    /// Bytes that have come and are not applied.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.buffer.len() + self.unit.len()
    }
}

/// The stream's arguments are bounded by the primary.
const BOUNDS: Bounds = Bounds { bulk_max: i64::MAX, authenticated: true };

impl Engine {
    /// Applies what has come, as far as it is whole.
    pub(in crate::engine) fn apply_stream(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.metrics.input_bytes += bytes.len() as u64;
        let Some(upstream) = &mut self.replication.upstream else { return Ok(()) };
        if upstream.applier.buffer.len() + bytes.len() > BUFFER_BYTES_MAX {
            return Err("a command of the primary is too long".to_owned());
        }
        if self.pause.until.is_some() || self.scripts.is_busy() {
            upstream.applier.buffer.extend_from_slice(bytes);
            upstream.applier.held = true;
            let most = self.settings.client_query_buffer_limit;
            return if upstream.applier.buffer.len() as u64 > most {
                Err("more has come from the primary than is kept while nothing is applied"
                    .to_owned())
            } else {
                Ok(())
            };
        }
        let mut applier = std::mem::take(&mut upstream.applier);
        applier.held = false;
        applier.buffer.extend_from_slice(bytes);
        let mut requests = Requests::default();
        let (used, result) = applier.parser.parse(&mut applier.buffer, BOUNDS, &mut requests);
        debug_assert!(!self.databases.unit.recording, "a replica's stream is its primary's");
        self.databases.set_expiry_mode(ExpiryMode::AsLogged);
        // A unit that doesn't say its database must not lose it on the way into the log.
        self.journal.assume_selected(self.sessions[self.replication.applier].db.0);
        let mut outcome = result.map_err(|error| format!("Protocol error from master: {error}"));
        for index in 0..requests.len() {
            let request = requests.command(index, &applier.buffer);
            let args = Args::new(&applier.buffer, request.ranges);
            let Some(encoded) = request.encoded else {
                let word = String::from_utf8_lossy(args.at(0)).into_owned();
                outcome = Err(format!(
                    "the primary's stream holds something that is no command of a stream: {word:?}"
                ));
                break;
            };
            if let Err(why) = self.apply(args, encoded, &mut applier.unit) {
                outcome = Err(why);
                break;
            }
        }
        self.follow_expiry_mode();
        applier.buffer.drain(..used);
        if let Some(upstream) = &mut self.replication.upstream {
            upstream.applier = applier;
        }
        outcome
    }

    /// Applies what came during a pause or a slow script that is over.
    pub(in crate::engine) fn apply_held_stream(&mut self) {
        let held = self.replication.upstream.as_ref().is_some_and(|one| one.applier.held);
        if held
            && self.pause.until.is_none()
            && !self.is_busy()
            && let Err(why) = self.apply_stream(&[])
        {
            self.lose_link(&why);
        }
    }

    fn apply(&mut self, args: Args<'_>, encoded: &[u8], unit: &mut Vec<u8>) -> Result<(), String> {
        let slot = self.replication.applier;
        let in_unit = !unit.is_empty();
        if !in_unit && args.is(0, "PING") && args.len() == 1 {
            return self.pass_on(Unlogged::Ping, encoded);
        }
        if !in_unit && args.is(0, "REPLCONF") {
            if args.len() == 3 && args.is(1, "GETACK") {
                self.pass_on(Unlogged::GetAck, encoded)?;
                self.acknowledge();
            }
            return Ok(());
        }
        let command = match self.registry.resolve_streamed(args) {
            Ok(command) => command,
            Err(what) => {
                self.skip_unknown(args, what)?;
                self.pass_unit(unit, encoded);
                return Ok(());
            }
        };
        let flags = self.registry[command].spec.flags;
        if mutation::is_on(Mutation::TransactionDivided)
            && (args.is(0, "MULTI") || args.is(0, "EXEC"))
        {
            self.pass_unit(unit, encoded);
            return Ok(());
        }
        let session = &mut self.sessions[slot];
        session.traffic.input_bytes += encoded.len() as u64;
        let queues = session.in_transaction() && !flags.contains(Flags::RUNS_IN_MULTI);
        if let (true, Some(transaction)) = (queues, &mut session.transaction) {
            transaction.queue(Queued::new(command, args), flags);
        } else {
            session.doing = Doing::Command;
            let (id, db) = (session.id, session.db);
            self.execute((slot, id, db), command, args, Some(encoded));
            let session = &mut self.sessions[slot];
            session.doing = Doing::Nothing;
            session.output.deferred.clear();
            let failed = session.output.buffer.starts_with(b"-");
            let answer = std::mem::take(&mut session.output.buffer);
            if failed {
                self.note_divergence(args, String::from_utf8_lossy(&answer[1..]).trim_end())?;
            }
        }
        self.pass_unit(unit, encoded);
        Ok(())
    }

    /// Hands a command's bytes on, or keeps them until the unit that they belong to is whole.
    fn pass_unit(&mut self, unit: &mut Vec<u8>, encoded: &[u8]) {
        let session = &self.sessions[self.replication.applier];
        let db = Some(session.db.0);
        if session.in_transaction() {
            unit.extend_from_slice(encoded);
        } else if unit.is_empty() {
            self.journal.append_raw(encoded, db);
        } else {
            unit.extend_from_slice(encoded);
            self.journal.append_raw(unit, db);
            unit.clear();
        }
    }

    /// A command that can't be executed is left out, where the stream's errors are to be ignored. Not
    /// with a log, which couldn't be loaded again.
    fn skip_unknown(&mut self, args: Args<'_>, what: &str) -> Result<(), String> {
        self.note_divergence(args, what)?;
        if self.log.is_none() {
            return Ok(());
        }
        let name = String::from_utf8_lossy(args.at(0));
        Err(format!("{what} '{name}' from the primary: the log can't hold what can't be executed"))
    }

    /// The data isn't the primary's any more: `propagation-error-behavior` says whether that matters.
    fn note_divergence(&self, args: Args<'_>, error: &str) -> Result<(), String> {
        let name = String::from_utf8_lossy(args.at(0)).to_lowercase();
        tracing::warn!(
            "== CRITICAL == This replica is sending an error to its primary: '{error}' after \
             processing the command '{name}'"
        );
        match self.settings.propagation_error_behavior {
            PropagationError::Ignore => Ok(()),
            PropagationError::Panic | PropagationError::PanicOnReplicas => Err(format!(
                "Following ends here, as propagation-error-behavior says: '{name}' can't be applied"
            )),
        }
    }

    /// What the log only notes has one form; another would count other bytes than the primary does.
    fn pass_on(&mut self, what: Unlogged, encoded: &[u8]) -> Result<(), String> {
        if encoded.eq_ignore_ascii_case(what.bytes()) {
            self.journal.append_unlogged(what);
            return Ok(());
        }
        Err("a PING or GETACK of unknown form in the stream of the primary".to_owned())
    }
}
