//! What must hold of any outcome, whoever was read first:
//!
//! - A client that is still there has an answer to each of its commands, in order, of the command's
//!   kind, and none too many. One that ended has the answers to the first of its commands.
//! - The server closes no connection that nobody asked it to close.
//! - Each element that was pushed is in one reply or in one key. What may be missing is bounded by what
//!   clients took whose answers they didn't ask for or didn't stay for.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use crate::plan::{Act, Command, Round, command};
use crate::support::client::Value;
use crate::world::{End, Heard, Outcome};

/// Where elements went.
#[derive(Default)]
struct Account {
    /// Pushed, as a reply says.
    pushed: BTreeSet<String>,
    /// Pushed or not: there is no reply that tells.
    perhaps: BTreeSet<String>,
    /// In replies, and how many times.
    taken: BTreeMap<String, usize>,
    /// Elements that may be in replies that nobody has seen, at most.
    unseen: usize,
}

impl Account {
    fn seen(&mut self, command: &Command, reply: &Value) {
        if pushes(command) {
            self.pushed.extend(elements(command));
        } else if takes(command) > 0 {
            collect(reply, &mut self.taken);
        }
    }

    fn unseen(&mut self, command: &Command) {
        if pushes(command) {
            self.perhaps.extend(elements(command));
        }
        self.unseen += takes(command);
    }
}

/// All that is wrong with an outcome; nothing where it is right. With `strict`, what Redstart
/// promises beyond redis-server: a parked client that has gone takes nothing, and one that only stopped
/// sending gets all that it is owed.
pub fn judge(round: &Round, outcome: &Outcome, strict: bool) -> String {
    let mut account = Account::default();
    let mut problems = Vec::new();
    for (client, heard) in outcome.clients.iter().enumerate() {
        let mut walk = Walk::new(heard, &mut account);
        if let Err(problem) = walk.all(round, client, strict) {
            problems.push(format!("  c{client} ({:?}): {problem}", heard.end));
            let replies: Vec<String> = heard.replies.iter().map(crate::shorten).collect();
            problems.push(format!("    its replies: {}", replies.join(", ")));
        }
    }
    if problems.is_empty() {
        account.conserves(outcome, &mut problems);
    }
    problems.join("\n")
}

impl Account {
    fn conserves(&self, outcome: &Outcome, problems: &mut Vec<String>) {
        let mut places = self.taken.clone();
        for word in outcome.contents.iter().flat_map(|line| line.split('"')) {
            if is_element(word) {
                *places.entry(word.to_owned()).or_default() += 1;
            }
        }
        for (element, count) in &places {
            if *count > 1 {
                problems.push(format!("  {element} is in {count} places"));
            }
            if !self.pushed.contains(element) && !self.perhaps.contains(element) {
                problems.push(format!("  {element} is there, though nobody pushed it"));
            }
        }
        let missing: Vec<&String> =
            self.pushed.iter().filter(|element| !places.contains_key(*element)).collect();
        if missing.len() > self.unseen {
            let allowed = self.unseen;
            problems
                .push(format!("  lost: {missing:?}, of which {allowed} may be in unread replies"));
        }
    }
}

/// A client's commands against its replies.
struct Walk<'a> {
    heard: &'a Heard,
    account: &'a mut Account,
    replies: slice::Iter<'a, Value>,
    /// CLIENT REPLY OFF.
    silent: bool,
    /// CLIENT REPLY SKIP came before.
    skips: bool,
    /// What is queued, where a transaction is open.
    queued: Option<Vec<Command>>,
    watches: bool,
}

impl<'a> Walk<'a> {
    fn new(heard: &'a Heard, account: &'a mut Account) -> Self {
        let replies = heard.replies.iter();
        Self { heard, account, replies, silent: false, skips: false, queued: None, watches: false }
    }

    fn all(&mut self, round: &Round, client: usize, strict: bool) -> Result<(), String> {
        if self.heard.end == End::Forgotten {
            return Err("it is never answered again".into());
        }
        let mut commands: Vec<Command> = round.sent_by(client).cloned().collect();
        if self.heard.end == End::Answered {
            commands.push(command("RESET"));
        }
        let mut rest = commands.iter();
        let mut quits = false;
        while let Some(command) = rest.next() {
            if !self.answered(command)? {
                // Parked and alone with its end in this tick: none of the rest has run.
                let took_nothing = strict && round.quiescent && self.heard.left_parked;
                if !took_nothing {
                    // Of a transaction, too, that EXEC may or may not have executed.
                    let queued = self.queued.take().unwrap_or_default();
                    queued.iter().for_each(|command| self.account.unseen(command));
                    self.account.unseen(command);
                    rest.clone().for_each(|command| self.account.unseen(command));
                }
                self.may_lack(round, client, command, strict)?;
                return Ok(());
            }
            if command[0] == "QUIT" {
                quits = true;
                break;
            }
        }
        if let Some(reply) = self.replies.next() {
            return Err(format!("an answer too many: {reply}"));
        }
        if self.heard.end == End::Closed && !quits && !is_ended(round, client) {
            return Err("closed for no reason".into());
        }
        Ok(())
    }

    /// Whether this client's answers may end before this command's.
    fn may_lack(
        &self,
        round: &Round,
        client: usize,
        command: &Command,
        strict: bool,
    ) -> Result<(), String> {
        let lacks = format!("no answer to {}", command.join(" "));
        let killed = is_killed(round, client);
        match self.heard.end {
            End::Left => Ok(()),
            End::Closed if killed => Ok(()),
            End::Closed if stops_sending(round, client) => {
                let huge =
                    |command: &Command| command[0] == "GET" && command[1].starts_with("huge");
                let waits = round.sent_by(client).any(may_wait) || !round.unblocks;
                let excused = waits || (!strict && round.sent_by(client).any(huge));
                if excused { Ok(()) } else { Err(lacks) }
            }
            _ => Err(lacks),
        }
    }

    /// Takes one command's answer, where it has one; false where that is missing.
    fn answered(&mut self, command: &Command) -> Result<bool, String> {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let skipped = std::mem::take(&mut self.skips);
        match words[..] {
            ["CLIENT", "REPLY", "SKIP"] => {
                self.skips = !self.silent;
                return Ok(true);
            }
            ["CLIENT", "REPLY", "OFF"] => {
                self.silent = true;
                return Ok(true);
            }
            ["CLIENT", "REPLY", "ON"] => {
                self.silent = false;
                return self.next_is(command, false);
            }
            ["RESET"] => self.silent = false,
            _ => {}
        }
        self.next_is(command, skipped || self.silent)
    }

    fn next_is(&mut self, command: &Command, hidden: bool) -> Result<bool, String> {
        let reply = if hidden { None } else { self.replies.next() };
        if !hidden && reply.is_none() {
            return Ok(false);
        }
        let name = command[0].as_str();
        let in_transaction = self.queued.is_some();
        let fits = match name {
            "EXEC" => {
                let queued = self.queued.take().unwrap_or_default();
                let watches = std::mem::take(&mut self.watches);
                match reply {
                    Some(Value::Array(items)) => {
                        for (command, item) in queued.iter().zip(items) {
                            self.account.seen(command, item);
                        }
                        let pairs = queued.iter().zip(items);
                        let all = pairs.clone().all(|(command, item)| answers(command, item));
                        queued.len() == items.len() && all
                    }
                    Some(reply) => watches && is_nil(reply),
                    None => {
                        queued.iter().for_each(|command| self.account.unseen(command));
                        true
                    }
                }
            }
            "DISCARD" | "RESET" => {
                self.queued = None;
                self.watches = false;
                reply.is_none_or(|reply| answers(command, reply))
            }
            _ if in_transaction => {
                self.queued.as_mut().expect("an open transaction").push(command.clone());
                reply.is_none_or(|reply| *reply == Value::Simple(b"QUEUED".to_vec()))
            }
            _ => {
                match name {
                    "MULTI" => self.queued = Some(Vec::new()),
                    "WATCH" => self.watches = true,
                    _ => {}
                }
                match reply {
                    Some(reply) => self.account.seen(command, reply),
                    None => self.account.unseen(command),
                }
                reply.is_none_or(|reply| answers(command, reply))
            }
        };
        let what = || reply.map(ToString::to_string).unwrap_or_default();
        if fits {
            Ok(true)
        } else {
            Err(format!("{} is answered by {}", command.join(" "), what()))
        }
    }
}

/// Whether a reply is of the kind that a command has.
fn answers(command: &Command, reply: &Value) -> bool {
    if may_wait(command) && reply.is_error() {
        return reply.text().starts_with("UNBLOCKED ");
    }
    match command[0].as_str() {
        "ECHO" => *reply == Value::bulk(&command[1]),
        "RPUSH" | "LPUSH" | "ZADD" | "WAIT" | "SETRANGE" => reply.integer().is_some(),
        "CLIENT" if command[1] == "UNBLOCK" || command[1] == "KILL" => reply.integer().is_some(),
        "HELLO" => *reply == Value::Simple(b"(hello)".to_vec()),
        "RESET" => *reply == Value::Simple(b"RESET".to_vec()),
        "GET" => matches!(reply, Value::Bulk(_)) || is_nil(reply),
        _ if takes(command) > 0 || moves(command) => {
            matches!(reply, Value::Bulk(_) | Value::Array(_)) || is_nil(reply)
        }
        _ => *reply == Value::Simple(b"OK".to_vec()),
    }
}

fn is_nil(reply: &Value) -> bool {
    matches!(reply, Value::Null | Value::NullBulk | Value::NullArray)
}

fn pushes(command: &Command) -> bool {
    matches!(command[0].as_str(), "RPUSH" | "LPUSH" | "ZADD")
}

fn moves(command: &Command) -> bool {
    matches!(command[0].as_str(), "LMOVE" | "BLMOVE" | "BRPOPLPUSH")
}

/// How many elements a command takes out at most.
fn takes(command: &Command) -> usize {
    match command[0].as_str() {
        "LMPOP" | "BLMPOP" | "ZMPOP" | "BZMPOP" => 2,
        "LPOP" | "RPOP" | "BLPOP" | "BRPOP" | "ZPOPMIN" | "ZPOPMAX" | "BZPOPMIN" | "BZPOPMAX" => 1,
        _ => 0,
    }
}

fn may_wait(command: &Command) -> bool {
    command[0] == "WAIT" || (command[0].starts_with('B') && (takes(command) > 0 || moves(command)))
}

fn is_element(word: &str) -> bool {
    word.strip_prefix('e').is_some_and(|rest| rest.parse::<u32>().is_ok())
}

fn elements(command: &Command) -> impl Iterator<Item = String> {
    command.iter().filter(|word| is_element(word)).cloned()
}

fn collect(reply: &Value, taken: &mut BTreeMap<String, usize>) {
    if let Value::Bulk(_) = reply
        && is_element(&reply.text())
    {
        *taken.entry(reply.text()).or_default() += 1;
    }
    reply.elements().iter().for_each(|item| collect(item, taken));
}

fn is_killed(round: &Round, client: usize) -> bool {
    let kills = |command: &Command| {
        command[..2] == ["CLIENT", "KILL"] && command[3] == format!("{{{client}}}")
    };
    (0..round.clients)
        .any(|by| round.sent_by(by).any(|command| command.len() == 4 && kills(command)))
}

fn stops_sending(round: &Round, client: usize) -> bool {
    let acts = round.stages.iter().flat_map(|stage| &stage.acts);
    acts.into_iter().any(|(who, act)| *who == client && matches!(act, Act::HalfClose))
}

fn is_ended(round: &Round, client: usize) -> bool {
    is_killed(round, client) || stops_sending(round, client)
}
