//! A whole engine without sockets or threads, for tests that must replay from a seed: the same
//! mailbox, parser, actor, log and recovery as in the server, on a simulated disk and clock.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![expect(clippy::expect_used, reason = "a test may fail this way")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use redstart::base::env::Env;
use redstart::config::change::{self, Origin as ConfigOrigin};
use redstart::config::settings::Settings;
use redstart::data::value::ValueRef;
use redstart::engine::Engine;
use redstart::engine::tick::actor::After;
use redstart::journal::{Previous, StreamPosition};
use redstart::keyspace::databases::DbIndex;
use redstart::mailbox::{Batch, Link, Mailbox, Message, Origin, Outlet, SessionId};
use redstart::resp::request::{Bounds, Parser, Requests};

/// What a key holds, for comparison: its bytes and its expiry.
pub type Contents = BTreeMap<(u32, Vec<u8>), (Vec<u8>, Option<i64>)>;

/// Where a client's replies arrive.
#[derive(Clone, Default)]
struct Capture(Rc<RefCell<Vec<u8>>>);

impl Outlet for Capture {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn notify_writable(&self, _: SessionId) {}

    fn close(&self) {}
}

/// One more client.
pub struct Peer {
    session: SessionId,
    replies: Capture,
}

impl Peer {
    /// What it has been told since the last call.
    pub fn take_replies(&self) -> Vec<u8> {
        std::mem::take(&mut *self.replies.0.borrow_mut())
    }
}

/// An engine and one client of it.
pub struct Embedded {
    pub engine: Engine,
    /// Where in a stream the data is that was found.
    pub found: Option<StreamPosition>,
    mailbox: Rc<Mailbox>,
    client: SessionId,
    replies: Capture,
    messages: Vec<Message>,
}

/// Settings with some directives changed, names and values as in a configuration file.
pub fn settings(directives: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::default();
    let pairs: Vec<(&[u8], &[u8])> =
        directives.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let origin = ConfigOrigin { local: true, loading: false };
    change::set(&mut settings, &pairs, origin).expect("directives of a test are right");
    settings
}

fn join(mailbox: &Mailbox) -> Peer {
    let (session, replies) = (mailbox.reserve(), Capture::default());
    let link = Arc::new(Link::new(Origin::Unix("test".into()), 0));
    mailbox.push(Message::Opened(session, link, Box::new(replies.clone())));
    Peer { session, replies }
}

impl Embedded {
    /// An engine that has loaded what the disk holds, and a client of it.
    pub fn open(env: Env, settings: Settings) -> Result<Self, String> {
        let mailbox = Rc::new(Mailbox::new());
        let mut engine = Engine::new(env, settings, None, Rc::clone(&mailbox));
        engine.load().map_err(|error| error.to_string())?;
        let Peer { session: client, replies } = join(&mailbox);
        // The stream goes on from there.
        let previous = engine.journal.history().previous;
        let found = previous.map(|Previous { id, end: offset }| StreamPosition { id, offset });
        Ok(Self { engine, found, mailbox, client, replies, messages: Vec::new() })
    }

    /// An engine that has loaded what the disk holds and leaves the disk alone.
    pub fn look(env: Env, settings: Settings) -> Result<Self, String> {
        let mailbox = Rc::new(Mailbox::new());
        let mut engine = Engine::new(env, settings, None, Rc::clone(&mailbox));
        let found = engine.look().map_err(|error| error.to_string())?.resume.position;
        let Peer { session: client, replies } = join(&mailbox);
        Ok(Self { engine, found, mailbox, client, replies, messages: Vec::new() })
    }

    /// One more client.
    pub fn join(&self) -> Peer {
        join(&self.mailbox)
    }

    /// Puts a command in line for the next turn.
    pub fn send(&self, words: &[&[u8]]) {
        self.send_from(self.client, words);
    }

    /// Puts a command of another client in line for the next turn.
    pub fn send_as(&self, peer: &Peer, words: &[&[u8]]) {
        self.send_from(peer.session, words);
    }

    fn send_from(&self, client: SessionId, words: &[&[u8]]) {
        let mut buffer = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            buffer.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            buffer.extend_from_slice(word);
            buffer.extend_from_slice(b"\r\n");
        }
        let mut requests = Requests::default();
        let bounds = Bounds { bulk_max: 512 << 20, authenticated: true };
        let (used, result) = Parser::default().parse(&mut buffer, bounds, &mut requests);
        assert!(used == buffer.len() && result.is_ok(), "the test's own request is well-formed");
        let batch = Batch { buffer, requests, ..Batch::default() };
        self.mailbox.push(Message::Requests(client, batch));
    }

    /// One tick of the actor.
    pub fn turn(&mut self) -> After {
        let mut cx = Context::from_waker(Waker::noop());
        self.engine.poll_tick(&mut cx, &mut self.messages)
    }

    /// Ticks until nothing is left to do in the background.
    pub fn settle(&mut self) {
        while self.turn() == After::Again {}
    }

    /// What has been answered since the last call.
    pub fn take_replies(&mut self) -> Vec<u8> {
        std::mem::take(&mut *self.replies.0.borrow_mut())
    }

    /// Sends a command, does a turn, and returns the answer.
    pub fn call(&mut self, words: &[&[u8]]) -> Vec<u8> {
        self.send(words);
        self.turn();
        self.take_replies()
    }

    /// Everything in all databases.
    pub fn contents(&mut self) -> Contents {
        let mut contents = Contents::new();
        for index in 0..self.engine.databases.count() {
            self.engine.databases.db(DbIndex(index)).for_each(|entry| {
                let value = match entry.value() {
                    ValueRef::Int(number) => number.to_string().into_bytes(),
                    ValueRef::Str(bytes) => bytes.to_vec(),
                    ValueRef::Object(object) => format!("{object:?}").into_bytes(),
                };
                let expiry = entry.expiry().map(|at| at.0);
                contents.insert((index, entry.key().to_vec()), (value, expiry));
            });
        }
        contents
    }
}
