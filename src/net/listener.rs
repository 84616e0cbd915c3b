//! Listening sockets: TCP on several addresses, IPv4 and IPv6, and a Unix socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::mailbox::{Link, Mailbox, Origin};
use crate::net::connection;

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

/// Accepts TCP connections for ever, once the mailbox wants them; each is served by a task of its own.
pub(crate) async fn accept_tcp(
    listener: Rc<TcpListener>,
    mailbox: Rc<Mailbox>,
    options: SocketOptions,
) {
    mailbox.accepting().await;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(error) = start_tcp(stream, peer, &mailbox, options) {
                    tracing::debug!("Error accepting a client connection: {error}");
                }
            }
            Err(error) => accept_failed(&error).await,
        }
    }
}

fn start_tcp(
    stream: TcpStream,
    peer: SocketAddr,
    mailbox: &Rc<Mailbox>,
    options: SocketOptions,
) -> io::Result<()> {
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
    tokio::task::spawn_local(connection::serve(read, write, link, Rc::clone(mailbox)));
    Ok(())
}

/// Accepts connections of the Unix socket for ever, once the mailbox wants them.
pub(crate) async fn accept_unix(listener: UnixListener, path: String, mailbox: Rc<Mailbox>) {
    mailbox.accepting().await;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let link = Arc::new(Link::new(Origin::Unix(path.clone()), stream.as_raw_fd()));
                let (read, write) = stream.into_split();
                let mailbox = Rc::clone(&mailbox);
                tokio::task::spawn_local(connection::serve(read, write, link, mailbox));
            }
            Err(error) => accept_failed(&error).await,
        }
    }
}

/// Out of descriptors or memory: waiting a moment beats spinning on the same error.
async fn accept_failed(error: &io::Error) {
    tracing::warn!("Accepting client connection: {error}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
