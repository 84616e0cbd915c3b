//! MIGRATE: keys go to another server, and from here once that has them.
//!
//! The values are sent as DUMP's bytes, all keys of a command as one request; a task of the network layer
//! waits for the answers ([`crate::mailbox::Courier`]). The client waits like one in a blocking command,
//! and clients that write are held ([`crate::engine::session::pause`]), so that what is removed at the end
//! is what was sent; others are served meanwhile, where upstream serves nobody. Keys whose RESTORE was
//! accepted are deleted here, with one DEL in the log, whatever became of the others. Such a request to
//! another server, from its sending to its last answer, is called an *errand*. Within a transaction or a script
//! the server waits for it and does nothing else, as upstream always does.
//!
//! **Faults.** The link breaks or is silent for the timeout: keys that weren't answered for stay, and may
//! be on both servers, as upstream has it. The client goes: its errand ends the same way.

use std::collections::BTreeMap;

use crate::base::text;
use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::secrets::Secrets;
use crate::command::spec::{Arity, Command, Effect, Flags, Flow, Group, Key, control};
use crate::engine::{ControlHandler, Engine};
use crate::keyspace::unit::Event;
use crate::mailbox::{Errand, ErrandEnd, ErrandTask, SessionId};
use crate::rdb::encode::dump_payload;
use crate::resp::record::push_command;

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] =
    &[control("MIGRATE", Arity::AtLeast(6), migrate as ControlHandler)
        .group(Group::Generic)
        .flags(Flags::WRITE)
        .keys(KEYS)
        .categories(&["dangerous"])
        .effect(Effect::Rewritten)
        .secrets(&SECRETS)
        .tips(&["nondeterministic_output"])
        .since("2.6.0")
        .cost("DUMP and DEL here, RESTORE there, and O(N) to send N bytes")
        .syntax(
            "host port:integer <key|\"\">:key_or_empty_string destination-db:integer \
             timeout:integer [COPY] [REPLACE] \
             [AUTH password|AUTH2 <username password>:username_password]:authentication \
             [KEYS key [key ...]]",
        )
        .summary("Moves keys to another server.")
        .history(&[
            ("3.0.0", "Takes `COPY` and `REPLACE`."),
            ("3.0.6", "Takes `KEYS`."),
            ("4.0.7", "Takes `AUTH`."),
            ("6.0.0", "Takes `AUTH2`."),
        ])
        .deviates(&[
            "clients that don't write are served meanwhile, except in a transaction or script",
        ])];

const KEYS: &[Key] = &[
    Key::at(3).rw().access().delete(),
    Key::after("KEYS", -2).range(-1, 1).rw().access().delete().incomplete(),
];
const SECRETS: Secrets = Secrets::Behind { from: 6, words: &[("AUTH", 1), ("AUTH2", 2)] };
/// The timeout where none is given, in milliseconds.
const TIMEOUT_MS: u64 = 1000;

/// What is sent.
#[derive(Debug)]
struct Sent {
    keys: Vec<Box<[u8]>>,
    /// Answers before those for the keys: AUTH and SELECT.
    before: usize,
    copies: bool,
}

/// A client's errand.
#[derive(Debug)]
pub(in crate::engine) struct Migration {
    number: u64,
    sent: Sent,
    #[expect(dead_code, reason = "dropped, it ends the errand")]
    task: Box<dyn ErrandTask>,
}

/// What the command's words say beyond the place.
#[derive(Default)]
struct Options<'a> {
    copies: bool,
    replaces: bool,
    login: Vec<&'a [u8]>,
    keys: Vec<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn read(args: Args<'a>) -> Result<Self, CommandError> {
        let mut options = Self { keys: vec![args.at(3)], ..Self::default() };
        let mut at = 6;
        while at < args.len() {
            let left = args.len() - at - 1;
            if args.is(at, "COPY") {
                options.copies = true;
            } else if args.is(at, "REPLACE") {
                options.replaces = true;
            } else if args.is(at, "AUTH") && left >= 1 {
                options.login = vec![args.at(at + 1)];
                at += 1;
            } else if args.is(at, "AUTH2") && left >= 2 {
                options.login = vec![args.at(at + 1), args.at(at + 2)];
                at += 2;
            } else if args.is(at, "KEYS") {
                if !args.at(3).is_empty() {
                    return Err(CommandError::text(
                        "ERR When using MIGRATE KEYS option, the key argument must be set to the \
                         empty string",
                    ));
                }
                options.keys = args.from(at + 1).collect();
                break;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }
}

/// The errands under way.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The last number given.
    number: u64,
    waiting: BTreeMap<u64, SessionId>,
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

fn migrate(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let options = Options::read(args)?;
    let patience = args.int(5)?;
    let target_db = args.int(4)?;
    let (mut keys, mut restores) = (Vec::new(), Vec::new());
    for key in &options.keys {
        engine.push_restore(slot, key, options.replaces, &mut restores, &mut keys);
    }
    if keys.is_empty() {
        engine.sessions[slot].reply().simple("NOKEY");
        return Ok(Flow::Done);
    }
    let port = text::parse_i64(args.at(2)).and_then(|port| u16::try_from(port).ok());
    let (Some(port), Some(courier)) = (port, &engine.outside.courier) else {
        return Err(broken("connecting to the client"));
    };
    let mut request = Vec::new();
    if !options.login.is_empty() {
        let login = [&[&b"AUTH"[..]], &options.login[..]].concat();
        push_command(&mut request, login.into_iter());
    }
    let db = target_db.to_string();
    push_command(&mut request, [&b"SELECT"[..], db.as_bytes()].into_iter());
    let before = 1 + usize::from(!options.login.is_empty());
    request.append(&mut restores);
    let number = engine.blocking.errands.next_number();
    let errand = Errand {
        number,
        host: String::from_utf8_lossy(args.at(1)).into_owned(),
        port,
        patience_ms: u64::try_from(patience).ok().filter(|ms| *ms > 0).unwrap_or(TIMEOUT_MS),
        request,
        answers: before + keys.len(),
        now: engine.steady(),
    };
    let sent = Sent { keys, before, copies: options.copies };
    if engine.sessions[slot].may_wait() {
        let task = courier.0.send(errand);
        engine.park_for_errand(slot, Box::new(Migration { number, sent, task }));
        return Ok(Flow::Done);
    }
    let end = courier.0.send_and_wait(errand);
    engine.remove_moved(slot, &sent, &end);
    end_error(&end).map_or(Ok(()), Err)?;
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

impl Engine {
    /// Links that are kept for further errands.
    pub(in crate::engine) fn kept_links(&self) -> usize {
        self.outside.courier.as_ref().map_or(0, |courier| courier.0.kept(self.steady()))
    }

    /// Adds what restores a key elsewhere, where it is there.
    fn push_restore(
        &mut self,
        slot: SessionId,
        key: &[u8],
        replaces: bool,
        request: &mut Vec<u8>,
        keys: &mut Vec<Box<[u8]>>,
    ) {
        let (now, version) = (self.now().0, self.limits.rdb_version);
        let mut db = self.databases.db(self.sessions[slot].db);
        let Some(entry) = db.read(key) else { return };
        // One whose time is about to come is sent with the shortest that there is.
        let ttl = entry.expiry().map_or(0, |at| (at.0 - now).max(1)).to_string();
        let payload = dump_payload(entry.value(), version);
        let mut words: Vec<&[u8]> = vec![b"RESTORE", key, ttl.as_bytes(), &payload];
        if replaces {
            words.push(b"REPLACE");
        }
        push_command(request, words.into_iter());
        keys.push(key.into());
    }

    /// A client waits for its errand. Writers wait with it, unless the keys stay.
    pub(in crate::engine) fn enter_errand(&mut self, errand: &Migration, slot: SessionId) {
        self.blocking.errands.waiting.insert(errand.number, slot);
        if !errand.sent.copies {
            self.hold_for_errand();
        }
    }

    /// It waits no more.
    pub(in crate::engine) fn leave_errand(&mut self, errand: &Migration) {
        self.blocking.errands.waiting.remove(&errand.number);
        if !errand.sent.copies {
            self.end_hold_for_errand();
        }
    }

    /// CLIENT UNBLOCK: what was sent may have arrived.
    pub(in crate::engine) fn give_up_errand(&mut self, slot: SessionId) {
        let error = broken("reading to target instance");
        self.sessions[slot].reply().error_bytes(&error.wire());
    }

    /// An errand has ended: what the other server has goes from here.
    pub(in crate::engine) fn take_errand(&mut self, number: u64, end: &ErrandEnd) {
        let Some(&slot) = self.blocking.errands.waiting.get(&number) else { return };
        let Some(errand) = self.take_errand_of(slot) else { return };
        let output = &mut self.sessions[slot].output;
        output.shows_data = true;
        let before = output.buffer.len();
        self.remove_moved(slot, &errand.sent, end);
        self.serve_waiting();
        match (end_error(end), self.sessions[slot].traffic.last_command) {
            (None, _) => self.sessions[slot].reply().ok(),
            (Some(error), Some(command)) => self.answer_error(slot, command, &error),
            (Some(error), None) => self.sessions[slot].reply().error_bytes(&error.wire()),
        }
        self.end_request(slot, before);
        self.tick.resumed.push_back(slot);
    }

    /// Removes the keys that the other server has accepted, unless they are to stay.
    fn remove_moved(&mut self, slot: SessionId, sent: &Sent, end: &ErrandEnd) {
        let accepted = end.answers.iter().take(sent.before).all(Result::is_ok);
        let answers = sent.keys.iter().zip(end.answers.iter().skip(sent.before));
        let moved = answers.filter(|(_, answer)| accepted && answer.is_ok()).map(|(key, _)| &**key);
        let moved: Vec<&[u8]> = moved.collect();
        if sent.copies || moved.is_empty() {
            return;
        }
        let index = self.sessions[slot].db;
        let unit = self.begin_unit(slot);
        let elsewhere = self.databases.policy.lazy_server_del;
        for key in &moved {
            self.databases.db(index).remove(key, elsewhere, Event::DEL);
        }
        let words = [&[&b"DEL"[..]], &moved[..]].concat();
        self.databases.unit.record(index, &words);
        self.finish_command(unit, slot, index, Args::new(&[], &[]), None);
    }
}

/// The error that the client is answered with; nothing where it is answered OK.
fn end_error(end: &ErrandEnd) -> Option<CommandError> {
    let refused = end.answers.iter().find_map(|answer| answer.as_ref().err());
    let refused = refused.map(|error| {
        CommandError::owned(format!("ERR Target instance replied with error: {error}"))
    });
    refused.or(end.broken.map(broken))
}

fn broken(what: &str) -> CommandError {
    CommandError::owned(format!("IOERR error or timeout {what}"))
}
