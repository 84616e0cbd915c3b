//! Clients: writers and readers of what is checked, and a load of all types beside them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use redis_protocol::resp2::types::OwnedFrame;
use redstart::base::env::Rng;
use tokio::time::sleep;

use crate::client::{Client, Lost, Outcome, encode, number, outcome, text};
use crate::linear::{Action, Operation};
use crate::net::Socket;
use crate::record::Record;
use crate::workload::{Words, Workload};
use crate::world::World;

/// Scripts promise what commands do.
const SCRIPT_GETS: &str = "return(redis.call('GET',KEYS[1]))";
const SCRIPT_SETS: &str = "return(redis.call('SET',KEYS[1],ARGV[1]))";

/// What all clients share.
#[derive(Clone)]
pub struct Scene {
    pub world: World,
    pub record: Rc<Record>,
    /// Hosts with servers: the first so many.
    pub servers: usize,
    /// The primary, as far as clients are told.
    pub known: Rc<Cell<usize>>,
    /// Clients stop.
    pub over: Rc<Cell<bool>>,
    /// Nothing is lost that is acknowledged.
    pub keeps: bool,
    /// Keys of the load expire: then what is at a place in the stream depends on the time as well.
    pub expires: bool,
}

/// A client's own part.
pub struct Actor {
    pub scene: Scene,
    pub socket: Socket,
    pub rng: Rng,
    pub number: u64,
}

/// How long a client waits for a reply.
const PATIENCE: Duration = Duration::from_millis(1500);

impl Actor {
    /// Where to write: nearly always to the primary.
    fn choose(&mut self) -> usize {
        if self.rng.below(10) == 0 { self.any_host() } else { self.scene.known.get() }
    }

    fn any_host(&mut self) -> usize {
        self.rng.below(self.scene.servers as u64) as usize
    }

    async fn connect(&mut self, host: usize) -> Option<Client> {
        let connected = Client::checked(&self.socket, host, PATIENCE).await;
        if connected.is_err() {
            self.think(200).await;
        }
        connected.ok()
    }

    async fn think(&mut self, millis: u64) {
        let micros = 200 + self.rng.below(millis * 1000);
        sleep(Duration::from_micros(micros)).await;
    }

    fn is_over(&self) -> bool {
        self.scene.over.get()
    }

    /// Writes new keys in pipelines, reads each back on the same connection, and looks at the order of
    /// the replies.
    pub async fn keep_writing(mut self) {
        let mut sequence = 0;
        while !self.is_over() {
            let host = self.choose();
            let Some(mut client) = self.connect(host).await else { continue };
            for _ in 0..2 + self.rng.below(40) {
                if self.write_some(&mut client, &mut sequence).await.is_err() || self.is_over() {
                    break;
                }
                self.think(12).await;
            }
        }
    }

    async fn write_some(&mut self, client: &mut Client, sequence: &mut u64) -> Result<(), Lost> {
        let count = 1 + self.rng.below(5);
        let mut bytes = Vec::new();
        let keys: Vec<String> =
            (0..count).map(|at| format!("q:{}:{}", self.number, *sequence + at)).collect();
        for key in &keys {
            encode(&mut bytes, &[b"SET", key.as_bytes(), key.as_bytes()]);
            encode(&mut bytes, &[b"GET", key.as_bytes()]);
            encode(&mut bytes, &[b"ECHO", key.as_bytes()]);
        }
        *sequence += count;
        client.send(&bytes).await?;
        let record = Rc::clone(&self.scene.record);
        for key in keys {
            let written = client.reply().await.inspect_err(|_| {
                record.count(|counts| counts.unknown += 1);
            })?;
            let done = match outcome(written) {
                Outcome::Done(reply) if text(&reply).as_deref() == Some("OK") => true,
                Outcome::Done(reply) => {
                    record.problem(format!("SET {key} is answered {reply:?}"));
                    false
                }
                Outcome::Refused => {
                    record.count(|counts| counts.refused += 1);
                    false
                }
                Outcome::Unknown => {
                    record.count(|counts| counts.unknown += 1);
                    false
                }
            };
            if done {
                record.count(|counts| counts.acknowledged += 1);
                record.acknowledged.borrow_mut().push(key.clone());
            }
            let read = client.reply().await?;
            if done && !matches!(read, OwnedFrame::Error(_)) {
                record.count(|counts| counts.own_writes_read += 1);
                if text(&read).as_ref() != Some(&key) {
                    let host = client.host;
                    record.problem(format!("host {host}: {key} reads {read:?} after its SET"));
                }
            }
            let echo = client.reply().await?;
            if !matches!(echo, OwnedFrame::Error(_)) && text(&echo).as_ref() != Some(&key) {
                record.problem(format!("the reply in the place of {key}'s ECHO is {echo:?}"));
            }
        }
        Ok(())
    }

    /// Works on registers that several clients share, one operation at a time.
    pub async fn use_registers(mut self) {
        let mut value = self.number << 32;
        while !self.is_over() {
            let host = self.choose();
            let Some(mut client) = self.connect(host).await else { continue };
            for _ in 0..2 + self.rng.below(60) {
                value += 1;
                if !self.use_register(&mut client, value).await || self.is_over() {
                    break;
                }
                self.think(10).await;
            }
        }
    }

    async fn use_register(&mut self, client: &mut Client, value: u64) -> bool {
        let now = self.scene.world.now();
        // Others take their place from time to time: a search can't take a long history.
        let key = format!("r:{}:{}", now / 3_000_000_000, self.rng.below(8));
        let (command, action) = match self.rng.below(5) {
            0 => (format!("GET {key}"), Action::Read(0)),
            1 => (format!("EVAL {SCRIPT_GETS} 1 {key}"), Action::Read(0)),
            2 => (format!("SET {key} {value}"), Action::Write(value)),
            3 => (format!("EVAL {SCRIPT_SETS} 1 {key} {value}"), Action::Write(value)),
            _ => (format!("SET {key} {value} GET"), Action::SwapUnknown(value)),
        };
        let outcome = client.run(&command).await;
        let ended = self.scene.world.now();
        let (action, ended) = match (outcome, action) {
            (Outcome::Refused, _) => return true,
            (Outcome::Unknown, action) => (action, None),
            (Outcome::Done(reply), Action::Read(_)) => (Action::Read(number(&reply)), Some(ended)),
            (Outcome::Done(reply), Action::SwapUnknown(new)) => {
                (Action::Swap { old: number(&reply), new }, Some(ended))
            }
            (Outcome::Done(_), action) => (action, Some(ended)),
        };
        let operation = Operation { action, began: now, ended };
        self.scene.record.register(&key, client.host, operation);
        ended.is_some()
    }

    /// Writes two keys in one transaction, or reads both anywhere: they are always the same.
    pub async fn use_pairs(mut self) {
        let mut value = self.number << 32;
        while !self.is_over() {
            let writes = self.rng.below(2) == 0;
            let host = if writes { self.choose() } else { self.any_host() };
            let Some(mut client) = self.connect(host).await else { continue };
            for _ in 0..2 + self.rng.below(30) {
                value += 1;
                let done = if writes {
                    write_pair(&mut client, value).await
                } else {
                    self.read_pair(&mut client).await
                };
                if done.is_err() || self.is_over() {
                    break;
                }
                self.think(15).await;
            }
        }
    }

    async fn read_pair(&mut self, client: &mut Client) -> Result<(), Lost> {
        let reply = client.call("MGET p:a p:b").await?;
        if let OwnedFrame::Array(pair) = &reply {
            self.scene.record.count(|counts| counts.pairs_read += 1);
            if pair[0] != pair[1] {
                let host = client.host;
                self.scene.record.problem(format!("host {host} shows half a unit: {reply:?}"));
            }
        }
        Ok(())
    }

    /// Writes, and reads elsewhere what a token stands for.
    pub async fn follow_tokens(mut self) {
        let (mut value, mut life) = (0, 0);
        while !self.is_over() {
            let (from, to) = (self.choose(), self.any_host());
            // What was sent on a connection that is lost may still be executed, behind what follows here.
            life += 1;
            let key = format!("c:{}:{life}", self.number);
            let Some(mut first) = self.connect(from).await else { continue };
            let Some(mut second) = self.connect(to).await else { continue };
            for _ in 0..2 + self.rng.below(20) {
                value += 1;
                if self.follow_token(&key, &mut first, &mut second, value).await.is_err() {
                    break;
                }
                if self.is_over() {
                    break;
                }
                self.think(30).await;
            }
        }
    }

    /// What the second connection reads is no older than what the first has seen, be it its own write or
    /// what it read on a replica.
    async fn follow_token(
        &mut self,
        key: &str,
        first: &mut Client,
        second: &mut Client,
        value: u64,
    ) -> Result<(), Lost> {
        let mut bytes = Vec::new();
        let writes = first.host == self.scene.known.get();
        if writes {
            encode(&mut bytes, &[b"SET", key.as_bytes(), value.to_string().as_bytes()]);
        } else {
            encode(&mut bytes, &[b"GET", key.as_bytes()]);
        }
        encode(&mut bytes, &[b"CAUSAL", b"TOKEN"]);
        first.send(&bytes).await?;
        let seen = first.reply().await?;
        let token = first.reply().await?;
        let seen = match (writes, outcome(seen)) {
            (true, Outcome::Done(_)) => value,
            (false, Outcome::Done(reply)) => number(&reply),
            _ => return Ok(()),
        };
        let Some(token) = text(&token) else { return Ok(()) };
        let mut bytes = Vec::new();
        encode(&mut bytes, &[b"CAUSAL", b"WAIT", token.as_bytes(), b"700"]);
        encode(&mut bytes, &[b"GET", key.as_bytes()]);
        second.send(&bytes).await?;
        let waited = second.reply().await?;
        let read = second.reply().await?;
        if waited == OwnedFrame::Integer(1) && !matches!(read, OwnedFrame::Error(_)) {
            self.scene.record.count(|counts| counts.tokens_awaited += 1);
            if number(&read) < seen {
                let what = format!(
                    "host {} shows {key} = {} behind token {token}, which host {} gave with {seen}",
                    second.host,
                    number(&read),
                    first.host
                );
                self.scene.record.problem(what);
            }
        }
        Ok(())
    }

    /// A load of all types, in databases of its own.
    pub async fn load(mut self) {
        let mut workload = Workload::new(self.rng.next_u64());
        workload.toggles = false;
        while !self.is_over() {
            let host = self.scene.known.get();
            let connected = Client::connect(&self.socket, host, PATIENCE).await;
            let Ok(mut client) = connected else {
                self.think(200).await;
                continue;
            };
            for _ in 0..5 + self.rng.below(60) {
                let mut bytes = Vec::new();
                let units = 1 + self.rng.below(4);
                let expires = self.scene.expires;
                let lasts = |command: &Words| expires || !sets_expiry(command);
                let commands = (0..units).flat_map(|_| workload.unit()).filter(lasts);
                let commands: Vec<Words> = commands.collect();
                for command in &commands {
                    encode(&mut bytes, &command.iter().map(Vec::as_slice).collect::<Vec<_>>());
                }
                if client.send(&bytes).await.is_err() || self.is_over() {
                    break;
                }
                let mut lost = false;
                for _ in &commands {
                    lost |= client.reply().await.is_err();
                    if lost {
                        break;
                    }
                }
                if lost {
                    break;
                }
                self.think(20).await;
            }
        }
    }

    /// Compares the data of servers that are at the same place in the stream.
    pub async fn audit(mut self) {
        while !self.is_over() {
            let host = self.any_host();
            let Some(mut client) = self.connect(host).await else { continue };
            let _ = self.look(&mut client).await;
            self.think(60).await;
        }
    }

    /// Notes where a server is and what it has.
    pub async fn look(&mut self, client: &mut Client) -> Result<(), Lost> {
        let mut bytes = Vec::new();
        encode(&mut bytes, &[b"MULTI"]);
        encode(&mut bytes, &[b"DEBUG", b"DIGEST"]);
        encode(&mut bytes, &[b"INFO", b"replication"]);
        encode(&mut bytes, &[b"EXEC"]);
        client.send(&bytes).await?;
        for _ in 0..3 {
            client.reply().await?;
        }
        let OwnedFrame::Array(answers) = client.reply().await? else { return Ok(()) };
        let (Some(digest), Some(info)) = (text(&answers[0]), text(&answers[1])) else {
            return Ok(());
        };
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().to_owned()
        };
        // Without a reader the stream stands still while data changes.
        if field("repl_backlog_active:") != "1" {
            return Ok(());
        }
        // While a snapshot is loaded the place is still that of the data before.
        if field("master_sync_in_progress:") == "1" || self.scene.expires {
            return Ok(());
        }
        let offset = field("master_repl_offset:").parse().unwrap_or_default();
        self.scene.record.place(client.host, &field("master_replid:"), offset, &digest);
        Ok(())
    }
}

/// Whether a command of the load gives something an end.
fn sets_expiry(command: &Words) -> bool {
    let is_expiry = |word: &Vec<u8>| word == b"PX" || word.ends_with(b"EXPIRE");
    command.iter().any(is_expiry)
}

async fn write_pair(client: &mut Client, value: u64) -> Result<(), Lost> {
    let value = value.to_string();
    let mut bytes = Vec::new();
    encode(&mut bytes, &[b"MULTI"]);
    encode(&mut bytes, &[b"SET", b"p:a", value.as_bytes()]);
    encode(&mut bytes, &[b"SET", b"p:b", value.as_bytes()]);
    encode(&mut bytes, &[b"EXEC"]);
    client.send(&bytes).await?;
    for _ in 0..4 {
        client.reply().await?;
    }
    Ok(())
}
