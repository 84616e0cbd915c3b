//! What a network is to the server: the system's sockets, or those of a simulation.
//!
//! Everything here is resolved at compile time but for what the actor writes to, which is an
//! [`Outlet`](crate::mailbox::Outlet) anyway: over the system's sockets it costs nothing.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpSocket, TcpStream, lookup_host, tcp, unix};

/// The reading side of a connection.
pub trait ReadSide: AsyncRead + Unpin + 'static {
    /// Ends when the other side has ended its sending, or both, whatever is unread.
    fn ended(&self) -> impl Future<Output = ()>;
}

/// The writing side of a connection. Dropped, it ends the sending.
pub trait WriteSide: AsyncWrite + Unpin + 'static {
    /// Writes what is taken now.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Ends when more is taken, or none ever will be.
    fn writable(&self) -> impl Future<Output = ()>;
    /// Ends the connection in both directions.
    fn shut(&self);
}

/// A connection.
#[derive(Debug)]
pub struct Stream<R, W> {
    /// Its reading side.
    pub read: R,
    /// Its writing side.
    pub write: W,
    /// The other side's address.
    pub peer: SocketAddr,
    /// Ours.
    pub local: SocketAddr,
    /// The socket's number, for CLIENT LIST.
    pub descriptor: i32,
}

/// A connection of a network.
pub type StreamOf<N> = Stream<<N as Network>::Read, <N as Network>::Write>;

/// Where connections are made.
pub trait Network: 'static {
    /// The reading side of its connections.
    type Read: ReadSide;
    /// Their writing side.
    type Write: WriteSide;
    /// Connects to a port of a host, from an address where one is wanted.
    fn connect(
        &self,
        host: &str,
        port: u16,
        source: Option<IpAddr>,
    ) -> impl Future<Output = io::Result<StreamOf<Self>>>;
    /// The next connection that comes in. The system's sockets are accepted by
    /// [`listener`](crate::net::listener).
    fn accept(&self) -> impl Future<Output = StreamOf<Self>> {
        std::future::pending()
    }
}

/// The system's TCP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tcp;

impl Network for Tcp {
    type Read = tcp::OwnedReadHalf;
    type Write = tcp::OwnedWriteHalf;

    async fn connect(
        &self,
        host: &str,
        port: u16,
        source: Option<IpAddr>,
    ) -> io::Result<StreamOf<Self>> {
        let stream = connect(host, port, source).await?;
        // Nothing is lost where the system refuses: acknowledgements are later then.
        let _ = stream.set_nodelay(true);
        let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
        let descriptor = stream.as_raw_fd();
        let (read, write) = stream.into_split();
        Ok(Stream { read, write, peer, local, descriptor })
    }
}

async fn connect(host: &str, port: u16, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let place = (host, port);
    let Some(source) = source else { return TcpStream::connect(place).await };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for target in lookup_host(place).await?.filter(|target| target.is_ipv4() == source.is_ipv4()) {
        let socket = if source.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind((source, 0).into())?;
        match socket.connect(target).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl ReadSide for tcp::OwnedReadHalf {
    async fn ended(&self) {
        ended(self.as_ref().as_fd()).await;
    }
}

impl ReadSide for unix::OwnedReadHalf {
    async fn ended(&self) {
        ended(self.as_ref().as_fd()).await;
    }
}

macro_rules! write_side {
    ($half:ty) => {
        impl WriteSide for $half {
            #[inline]
            fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
                Self::try_write(self, bytes)
            }

            async fn writable(&self) {
                // An error shows itself at the write that follows.
                let _ = Self::writable(self).await;
            }

            fn shut(&self) {
                // Already closed by the other side is as good.
                let _ = socket2::SockRef::from(self.as_ref()).shutdown(std::net::Shutdown::Both);
            }
        }
    };
}

write_side!(tcp::OwnedWriteHalf);
write_side!(unix::OwnedWriteHalf);

/// Ends when the other side of a socket has ended its sending, or both.
///
/// What the descriptor's registration tells comes a turn of the event loop later, and what others
/// have sent in this turn would be executed before it: so the socket is asked first.
async fn ended(socket: BorrowedFd<'_>) {
    let end =
        PollFlags::from_bits_retain(libc::POLLRDHUP) | PollFlags::POLLHUP | PollFlags::POLLERR;
    // How many descriptors have one of these events: nix's flags don't know POLLRDHUP.
    if poll(&mut [PollFd::new(socket, end)], PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
        return;
    }
    // Only readiness is asked of it, for which a Unix socket does as well.
    let copy = socket.try_clone_to_owned().map(std::net::TcpStream::from);
    // Without descriptors to spare, the end shows itself when reading goes on.
    let Ok(watched) = copy.and_then(TcpStream::from_std) else {
        return std::future::pending().await;
    };
    while let Ok(ready) = watched.ready(Interest::READABLE).await {
        if ready.is_read_closed() {
            return;
        }
        // What is there to read was seen; the next event is the end, or more to read.
        let seen = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = watched.try_io(Interest::READABLE, seen);
    }
}
