//! Errands to other servers (MIGRATE): a request is written, its answers are read, and the actor is told.
//! In a transaction or a script, which can't be interrupted, the actor waits for the end itself.
//!
//! Links are kept for the next errand to the same server: at most [`LINKS_MAX`], each for
//! [`IDLE_MS_MAX`]. A kept link that turns out to be closed before anything was answered is made
//! anew once. Each connecting, write and read has the errand's patience. Replies are decoded by
//! redis-protocol; one that is longer than [`REPLY_MAX`] ends the errand.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::base::env::SteadyMillis;
use crate::mailbox::{Courier, Errand, ErrandEnd, ErrandTask, Mailbox, Message};

/// Links that are kept.
const LINKS_MAX: usize = 64;
/// How long a link is kept without an errand, in milliseconds.
const IDLE_MS_MAX: i64 = 10_000;
/// The longest answer: an error's text.
const REPLY_MAX: usize = 64 << 10;

const CONNECTING: &str = "connecting to the client";
const WRITING: &str = "writing to target instance";

type Links = Rc<RefCell<HashMap<(String, u16), Idle>>>;

struct Idle {
    stream: TcpStream,
    since: SteadyMillis,
}

/// Makes errands on tasks of their own. Errands must be begun inside a `LocalSet`.
pub(crate) struct Sender {
    links: Links,
    mailbox: Rc<Mailbox>,
}

impl Sender {
    pub(crate) fn new(mailbox: &Rc<Mailbox>) -> Self {
        Self { links: Links::default(), mailbox: Rc::clone(mailbox) }
    }
}

#[derive(Debug)]
struct Task(tokio::task::AbortHandle);

impl ErrandTask for Task {}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Courier for Sender {
    fn send(&self, errand: Errand) -> Box<dyn ErrandTask> {
        let (links, mailbox) = (Rc::clone(&self.links), Rc::clone(&self.mailbox));
        let task = tokio::task::spawn_local(async move {
            let end = run(&errand, &links).await;
            mailbox.push(Message::Errand(errand.number, end));
        });
        Box::new(Task(task.abort_handle()))
    }

    fn send_and_wait(&self, errand: Errand) -> ErrandEnd {
        // A runtime can't wait inside another: it has a thread of its own.
        let wait = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok::<_, std::io::Error>(runtime.block_on(run(&errand, &Links::default())))
        };
        let thread = std::thread::Builder::new().name("migrate".to_owned()).spawn(wait);
        let end = thread.map(std::thread::JoinHandle::join);
        let Ok(Ok(Ok(end))) = end else {
            return ErrandEnd { broken: Some(CONNECTING), ..ErrandEnd::default() };
        };
        end
    }

    fn kept(&self, now: SteadyMillis) -> usize {
        let mut links = self.links.borrow_mut();
        forget_old(&mut links, now);
        links.len()
    }
}

fn forget_old(links: &mut HashMap<(String, u16), Idle>, now: SteadyMillis) {
    links.retain(|_, idle| now.since(idle.since) < IDLE_MS_MAX);
}

async fn run(errand: &Errand, links: &Links) -> ErrandEnd {
    let name = (errand.host.clone(), errand.port);
    let kept = {
        let mut links = links.borrow_mut();
        forget_old(&mut links, errand.now);
        links.remove(&name)
    };
    let mut end = ErrandEnd::default();
    if let Some(idle) = kept {
        let mut stream = idle.stream;
        end = talk(&mut stream, errand).await;
        if end.broken.is_none() {
            keep(links, name, stream, errand.now);
            return end;
        }
        if !end.answers.is_empty() || end.timed_out {
            return end;
        }
    }
    let connect = TcpStream::connect((errand.host.as_str(), errand.port));
    let mut stream = match patiently(errand, &mut end, connect).await {
        Ok(stream) => stream,
        // Upstream doesn't look how connecting ended: a refusal reaches it as it writes.
        Err(Some(ErrorKind::ConnectionRefused)) => {
            end.broken = Some(WRITING);
            return end;
        }
        Err(_) => {
            end.broken = Some(CONNECTING);
            return end;
        }
    };
    // Nothing is lost where the system refuses: small errands take longer then.
    let _ = stream.set_nodelay(true);
    let end = talk(&mut stream, errand).await;
    if end.broken.is_none() {
        keep(links, name, stream, errand.now);
    }
    end
}

fn keep(links: &Links, name: (String, u16), stream: TcpStream, since: SteadyMillis) {
    let mut links = links.borrow_mut();
    let oldest = || links.iter().min_by_key(|(_, idle)| idle.since).map(|one| one.0);
    if links.len() >= LINKS_MAX
        && let Some(oldest) = oldest().cloned()
    {
        links.remove(&oldest);
    }
    links.insert(name, Idle { stream, since });
}

/// What comes of an attempt within the errand's patience; without an error its time ran out.
async fn patiently<T>(
    errand: &Errand,
    end: &mut ErrandEnd,
    attempt: impl Future<Output = std::io::Result<T>>,
) -> Result<T, Option<ErrorKind>> {
    match timeout(Duration::from_millis(errand.patience_ms), attempt).await {
        Ok(result) => result.map_err(|error| {
            tracing::debug!("MIGRATE: {error}");
            Some(error.kind())
        }),
        Err(_) => {
            end.timed_out = true;
            Err(None)
        }
    }
}

async fn talk(stream: &mut TcpStream, errand: &Errand) -> ErrandEnd {
    let mut end = ErrandEnd::default();
    for part in errand.request.chunks(64 << 10) {
        if patiently(errand, &mut end, stream.write_all(part)).await.is_err() {
            end.broken = Some(WRITING);
            return end;
        }
    }
    let mut buffer = Vec::new();
    while end.answers.len() < errand.answers {
        match decode(&buffer) {
            Ok(Some((OwnedFrame::Error(text), used))) => {
                buffer.drain(..used);
                end.answers.push(Err(text.clone()));
            }
            Ok(Some((_, used))) => {
                buffer.drain(..used);
                end.answers.push(Ok(()));
            }
            Ok(None) if buffer.len() <= REPLY_MAX => {
                let read = patiently(errand, &mut end, stream.read_buf(&mut buffer)).await;
                if !read.is_ok_and(|count| count > 0) {
                    end.broken = Some("reading to target instance");
                    return end;
                }
            }
            _ => {
                end.broken = Some("reading to target instance");
                return end;
            }
        }
    }
    end
}
