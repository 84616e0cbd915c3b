//! One server on which rounds are played, one after the other, each with connections of its own.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::plan::{Act, Command, Hold, Leave, Round, Stage};
use crate::support::client::{Client, Value, argv, encode};
use crate::support::contents;
use crate::support::server::{Program, Server};

/// How long a client may wait for what it is owed before it counts as forgotten.
const PATIENCE: Duration = Duration::from_secs(10);

/// What each client asks last: an answer shows that its connection still works.
const LAST: &str = "end-of-round";

/// The sleep of [`Hold::Asleep`]; longer than sending a stage takes on a quiet machine.
const SLEEP: &str = "DEBUG SLEEP 0.003";

/// How a client's connection was at the end of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its last command was answered.
    Answered,
    /// The server closed the connection.
    Closed,
    /// The client did; what it was sent is known in part at best.
    Left,
    /// Open, but the last command was not answered in [`PATIENCE`].
    Forgotten,
}

/// All that came over one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Replies in order.
    pub replies: Vec<Value>,
    /// Messages of channels, and RESP3's pushes, in order among themselves.
    pub messages: Vec<Value>,
    /// The connection's end.
    pub end: End,
    /// It had read all that it was sent, and left while the server had it parked.
    pub left_parked: bool,
}

/// What a round came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// By client.
    pub clients: Vec<Heard>,
    /// What the keys hold.
    pub contents: Vec<String>,
}

/// A client's side of a connection.
struct Peer {
    /// None where it has left.
    client: Option<Client>,
    id: i64,
    heard: Heard,
    half_closed: bool,
}

impl Peer {
    fn send(&mut self, bytes: &[u8]) {
        if let Some(client) = &mut self.client {
            // The server may have closed it; what it still says is read later.
            let _ = client.try_send_raw(bytes);
        }
    }

    /// Takes what has arrived; true at the connection's end or after the last answer.
    fn listen(&mut self) -> bool {
        let Some(client) = &mut self.client else { return true };
        while self.heard.end == End::Forgotten && client.has_answer() {
            match client.try_read() {
                Ok(value) if value == Value::bulk(LAST) => self.heard.end = End::Answered,
                Ok(value) if is_message(&value) => self.heard.messages.push(value),
                Ok(value) => self.heard.replies.push(without_identity(value)),
                Err(_) => self.heard.end = End::Closed,
            }
        }
        self.heard.messages.extend(client.take_pushes());
        self.heard.end != End::Forgotten
    }
}

/// A message of a channel as RESP2 has it.
fn is_message(value: &Value) -> bool {
    matches!(value, Value::Array(items) if items.first() == Some(&Value::bulk("message")))
}

/// HELLO tells the server's name, version and number of the client.
fn without_identity(value: Value) -> Value {
    let hello = value.elements().first() == Some(&Value::bulk("server"));
    if hello { Value::Simple(b"(hello)".to_vec()) } else { value }
}

/// A running server and the connections that watch over it.
pub struct World {
    program: Program,
    server: Server,
    control: Client,
    sleeper: Client,
    /// Redstart's promises beyond redis-server's are judged, too.
    pub strict: bool,
}

impl World {
    /// Starts a server.
    pub fn new(program: Program) -> Self {
        let directives = ["--appendonly", "no", "--save", "", "--enable-debug-command", "yes"];
        // Timeouts of CLIENT PAUSE are looked at by redis-server's cron.
        let server = Server::start_with(program, &[&directives[..], &["--hz", "500"]].concat());
        let (mut control, sleeper) = (server.connect(), server.connect());
        let strict = control.words("INFO server").text().contains("redstart_version");
        Self { program, server, control, sleeper, strict }
    }

    /// The server's name to print.
    pub fn name(&self) -> &'static str {
        self.program.name()
    }

    /// Plays a round. An error is the end of the server; it has been started anew then.
    pub fn play(&mut self, round: &Round) -> Result<Outcome, String> {
        match self.try_play(round) {
            Ok(outcome) => {
                if outcome.clients.iter().any(|heard| heard.end == End::Forgotten) {
                    *self = Self::new(self.program);
                }
                Ok(outcome)
            }
            Err(error) => {
                let text = format!("{}: {error}; its log:\n{}", self.name(), self.server.log());
                *self = Self::new(self.program);
                Err(text)
            }
        }
    }

    fn try_play(&mut self, round: &Round) -> io::Result<Outcome> {
        self.ask("CLIENT UNPAUSE")?;
        self.ask("FLUSHALL")?;
        let mut peers = (0..round.clients).map(|_| self.peer()).collect::<io::Result<Vec<_>>>()?;
        for stage in &round.stages {
            self.stage(stage, &mut peers)?;
        }
        self.finish(round, &mut peers)?;
        let contents = self.contents()?;
        let clients = peers.into_iter().map(|peer| peer.heard).collect();
        Ok(Outcome { clients, contents })
    }

    fn peer(&self) -> io::Result<Peer> {
        let mut client = Client::try_connect(self.server.port())?;
        let id = client.try_call(&["CLIENT", "ID"])?.integer().unwrap_or(0);
        let heard = Heard {
            replies: Vec::new(),
            messages: Vec::new(),
            end: End::Forgotten,
            left_parked: false,
        };
        Ok(Peer { client: Some(client), id, heard, half_closed: false })
    }

    fn ask(&mut self, line: &str) -> io::Result<Value> {
        self.control.try_call(&argv(line))
    }

    /// The server has read and answered all that was sent before: what it reads together with a PING
    /// runs before the PING's answer is written, and a second one makes up for whatever order the
    /// sockets were read in.
    fn barrier(&mut self) -> io::Result<()> {
        self.ask("PING")?;
        self.ask("PING")?;
        Ok(())
    }

    fn stage(&mut self, stage: &Stage, peers: &mut [Peer]) -> io::Result<()> {
        // Only those whose end meets with all else that this stage sends.
        let ends = stage.acts.iter().filter(|(_, act)| matches!(act, Act::Leave(_)));
        for (client, _) in ends.filter(|_| stage.hold == Hold::Stopped) {
            peers[*client].heard.left_parked = self.is_parked(peers[*client].id)?;
        }
        match stage.hold {
            Hold::Nothing => {}
            Hold::Stopped => self.server.halt(),
            Hold::Asleep => self.sleeper.try_send_raw(&encode(&argv(SLEEP)))?,
        }
        let ids: Vec<i64> = peers.iter().map(|peer| peer.id).collect();
        for (client, act) in &stage.acts {
            self.act(act, &mut peers[*client], &ids)?;
        }
        match stage.hold {
            Hold::Nothing => {}
            Hold::Stopped => self.server.proceed(),
            Hold::Asleep => drop(self.sleeper.try_read()?),
        }
        self.barrier()
    }

    fn act(&mut self, act: &Act, peer: &mut Peer, ids: &[i64]) -> io::Result<()> {
        match act {
            Act::Send { commands, cuts, apart } => {
                let bytes: Vec<u8> = commands.iter().flat_map(|c| wire(c, ids)).collect();
                let mut start = 0;
                for cut in cuts.iter().map(|cut| bytes.len() * cut / 1000).chain([bytes.len()]) {
                    peer.send(&bytes[start.min(cut)..cut]);
                    start = cut;
                    if *apart {
                        self.barrier()?;
                    }
                }
            }
            Act::HalfClose => {
                peer.half_closed = true;
                if let Some(client) = &mut peer.client {
                    let _ = client.finish_sending();
                }
            }
            Act::Leave(how) => {
                if *how == Leave::Unread {
                    peer.heard.left_parked = false;
                } else {
                    peer.listen();
                }
                if let Some(client) = peer.client.take()
                    && *how == Leave::Abort
                {
                    client.abort();
                }
                peer.heard.end = End::Left;
            }
            Act::Settle => {
                let start = Instant::now();
                while start.elapsed() < PATIENCE && self.is_parked(peer.id)? {}
            }
        }
        Ok(())
    }

    fn is_parked(&mut self, id: i64) -> io::Result<bool> {
        let line = self.ask(&format!("CLIENT LIST ID {id}"))?.text();
        let flags = line.split_whitespace().find_map(|word| word.strip_prefix("flags="));
        Ok(flags.is_some_and(|flags| flags.contains('b')))
    }

    /// Has every client answered that is still there, and reads all that came.
    fn finish(&mut self, round: &Round, peers: &mut [Peer]) -> io::Result<()> {
        self.ask("CLIENT UNPAUSE")?;
        for peer in peers.iter_mut().filter(|peer| !peer.half_closed) {
            peer.send(&[encode(&["RESET"]), encode(&["PING", LAST])].concat());
        }
        let start = Instant::now();
        loop {
            let open: Vec<&mut Peer> =
                peers.iter_mut().filter_map(|peer| (!peer.listen()).then_some(peer)).collect();
            if open.is_empty() || start.elapsed() > PATIENCE {
                break;
            }
            for peer in &open {
                if round.unblocks {
                    self.control.try_call(&argv(&format!("CLIENT UNBLOCK {}", peer.id)))?;
                }
            }
            thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }

    fn contents(&mut self) -> io::Result<Vec<String>> {
        let mut keys: Vec<String> =
            self.ask("KEYS *")?.elements().iter().map(Value::text).collect();
        keys.sort();
        let of_key = |key: &String| contents::of_key(&mut self.control, key);
        Ok(keys.iter().filter_map(of_key).collect())
    }
}

/// A command's bytes, with the numbers of clients in their places.
fn wire(command: &Command, ids: &[i64]) -> Vec<u8> {
    let words: Vec<String> = command
        .iter()
        .map(|word| match word.strip_prefix('{').and_then(|word| word.strip_suffix('}')) {
            Some(client) => ids[client.parse::<usize>().expect("a client")].to_string(),
            None => word.clone(),
        })
        .collect();
    encode(&words)
}
