//! Listening sockets: TCP on several addresses, IPv4 and IPv6, and a Unix socket.
//!
//! Some connections are accepted together (`max-new-connections-per-cycle`), and further ones when the
//! actor has admitted or refused these: a burst at `maxclients` must not take the descriptors that log and
//! snapshots need.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, tcp};
use tokio::time::{Sleep, sleep};

use crate::mailbox::{Link, Mailbox, Origin};
use crate::net::connection::{self, Arrival};
use crate::net::transport::{ReadSide, WriteSide};

/// How long accepting waits after an error. It begins with the least, and doubles with each further error up
/// to the most; after a connection that was accepted it begins anew.
const WAIT_MIN: Duration = Duration::from_millis(1);
const WAIT_MAX: Duration = Duration::from_millis(100);
/// The least time between two warnings of it.
const QUIET: Duration = Duration::from_secs(1);

/// What every accepted TCP connection gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketOptions {
    /// Length of the queue of connections not yet accepted.
    pub backlog: i32,
    /// Seconds of silence after which the kernel asks whether the client is alive; 0 for never.
    pub(crate) keepalive_seconds: u64,
}

/// A listening TCP socket.
///
/// # Errors
/// What the operating system says, e.g. that the address is in use.
pub(crate) fn bind_tcp(
    address: IpAddr,
    port: u16,
    options: SocketOptions,
) -> io::Result<TcpListener> {
    let address = SocketAddr::new(address, port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    TcpListener::from_std(socket.into())
}

/// A listening Unix socket; a socket file that a server left behind is removed first.
///
/// # Errors
/// What the operating system says.
pub(crate) fn bind_unix(
    path: &Path,
    permissions: u32,
    group: &str,
    backlog: i32,
) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    socket.listen(backlog)?;
    if !group.is_empty() {
        let found = nix::unistd::Group::from_name(group)?
            .ok_or_else(|| io::Error::other(format!("there is no group '{group}'")))?;
        std::os::unix::fs::chown(path, None, Some(found.gid.as_raw()))?;
    }
    if permissions != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(permissions))?;
    }
    UnixListener::from_std(socket.into())
}

/// Accepts TCP connections for ever, once the mailbox wants them.
pub(crate) async fn accept_tcp(
    listener: Rc<TcpListener>,
    mailbox: Rc<Mailbox>,
    options: SocketOptions,
) {
    let poll = |cx: &mut Context<'_>| listener.poll_accept(cx);
    let begin = |(stream, peer)| match arrival_of_tcp(stream, peer, options) {
        Ok(arrival) => Some(arrival),
        Err(error) => {
            tracing::debug!("Error accepting a client connection: {error}");
            None
        }
    };
    accept(poll, begin, mailbox).await;
}

fn arrival_of_tcp(
    stream: TcpStream,
    peer: SocketAddr,
    options: SocketOptions,
) -> io::Result<Arrival<tcp::OwnedReadHalf, tcp::OwnedWriteHalf>> {
    stream.set_nodelay(true)?;
    if options.keepalive_seconds > 0 {
        // Three probes in as many thirds of the time, as upstream does.
        let time = Duration::from_secs(options.keepalive_seconds);
        let keepalive = TcpKeepalive::new()
            .with_time(time)
            .with_interval((time / 3).max(Duration::from_secs(1)))
            .with_retries(3);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    }
    let origin = Origin::Tcp { peer, local: stream.local_addr()? };
    let link = Arc::new(Link::new(origin, stream.as_raw_fd()));
    let (read, write) = stream.into_split();
    Ok(Arrival { read, write, link })
}

/// Accepts connections of the Unix socket for ever, once the mailbox wants them.
pub(crate) async fn accept_unix(listener: UnixListener, path: String, mailbox: Rc<Mailbox>) {
    let poll = |cx: &mut Context<'_>| listener.poll_accept(cx);
    let begin = |(stream, _): (tokio::net::UnixStream, _)| {
        let link = Arc::new(Link::new(Origin::Unix(path.clone()), stream.as_raw_fd()));
        let (read, write) = stream.into_split();
        Some(Arrival { read, write, link })
    };
    accept(poll, begin, mailbox).await;
}

/// Accepts connections for ever, turn by turn.
async fn accept<S, R: ReadSide, W: WriteSide>(
    poll: impl Fn(&mut Context<'_>) -> Poll<io::Result<S>>,
    begin: impl Fn(S) -> Option<Arrival<R, W>>,
    mailbox: Rc<Mailbox>,
) {
    mailbox.accepting().await;
    let mut failures = Failures::default();
    loop {
        let (accepted, failure) = accept_some(&poll, mailbox.arrivals_max()).await;
        let arrived: Vec<_> = accepted.into_iter().filter_map(&begin).collect();
        if !arrived.is_empty() {
            failures.wait = Duration::ZERO;
            // They are served also where this listener ends meanwhile (CONFIG SET port).
            let admission = connection::admit(arrived, Rc::clone(&mailbox));
            let _ = tokio::task::spawn_local(admission).await;
        }
        if let Some(error) = failure {
            if failures.note() {
                tracing::warn!("Accepting client connection: {error}");
            }
            sleep(failures.wait).await;
        }
    }
}

/// Waits for a connection, and takes what there are, up to so many, and the error that ended it.
async fn accept_some<S>(
    poll: impl Fn(&mut Context<'_>) -> Poll<io::Result<S>>,
    most: usize,
) -> (Vec<S>, Option<io::Error>) {
    std::future::poll_fn(|cx| {
        let mut accepted = Vec::new();
        while accepted.len() < most {
            match poll(cx) {
                Poll::Ready(Ok(one)) => accepted.push(one),
                Poll::Ready(Err(error)) => return Poll::Ready((accepted, Some(error))),
                Poll::Pending if accepted.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready((accepted, None))
    })
    .await
}

/// Errors of accepting, such as no more descriptors: waiting beats spinning on the same error, but not
/// for long, since a client that ends gives one back.
#[derive(Debug, Default)]
struct Failures {
    /// How long to wait now; nothing after a success.
    wait: Duration,
    /// Ends when the next may be logged.
    quiet: Option<Pin<Box<Sleep>>>,
}

impl Failures {
    /// One more; true where it should be logged.
    fn note(&mut self) -> bool {
        self.wait = (self.wait * 2).clamp(WAIT_MIN, WAIT_MAX);
        let mut look = Context::from_waker(Waker::noop());
        let quiet = self.quiet.as_mut().map(|sleep| sleep.as_mut().poll(&mut look));
        let warns = quiet.is_none_or(|over| over.is_ready());
        if warns {
            self.quiet = Some(Box::pin(sleep(QUIET)));
        }
        warns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each failure waited for 100 ms and left a line in the log.
    #[test]
    fn failures_wait_longer_and_are_logged_once_a_second() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut failures = Failures::default();
            let (mut passed, mut logged, mut waits) = (Duration::ZERO, 0, Vec::new());
            while passed < QUIET * 5 / 2 {
                logged += usize::from(failures.note());
                waits.push(failures.wait.as_millis());
                passed += failures.wait;
                sleep(failures.wait).await;
            }
            assert_eq!(logged, 3);
            assert_eq!(waits[..9], [1, 2, 4, 8, 16, 32, 64, 100, 100]);
            failures.wait = Duration::ZERO;
            assert!(!failures.note());
            assert_eq!(failures.wait, WAIT_MIN, "after a success it begins anew");
        });
    }
}
