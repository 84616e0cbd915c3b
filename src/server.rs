//! A whole server: sockets, mailbox and engine on one thread.
//!
//! The one place above all layers: it alone knows both the sockets and the engine.

use std::io;
use std::net::{IpAddr, Shutdown, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::kinds::BindAddress;
use crate::config::settings::Settings;
use crate::engine::keep::shutdown::Signal;
use crate::engine::tick::actor;
use crate::engine::{Dial, Engine, Relisten, SendErrand};
use crate::mailbox::{Link, Mailbox, Origin};
use crate::net::connection::{self, Arrival};
use crate::net::listener::{self, SocketOptions};
use crate::net::transport::{Network, Stream, Tcp};
use crate::net::{courier, uplink};

/// Why a server can't listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address of `bind` can't be used.
    #[error("Could not create server TCP listening socket {address}:{port}: bind: {error}")]
    Tcp {
        /// The address as configured.
        address: String,
        /// The port.
        port: u16,
        /// Why.
        error: io::Error,
    },
    /// The Unix socket can't be used.
    #[error("Failed opening Unix socket: bind: {0}")]
    Unix(io::Error),
    /// There is nothing to listen on.
    #[error("Configured to not listen anywhere, exiting.")]
    Nowhere,
}

impl ListenError {
    fn is_in_use(&self) -> bool {
        matches!(self, Self::Tcp { error, .. } if error.kind() == io::ErrorKind::AddrInUse)
    }
}

/// The sockets of a server.
#[derive(Debug, Default)]
pub struct Listeners {
    tcp: Vec<TcpListener>,
    unix: Option<(UnixListener, String)>,
    options: Option<SocketOptions>,
}

impl Listeners {
    /// Listens where the settings say. Must be called inside the runtime.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn open(settings: &Settings) -> Result<Self, ListenError> {
        let options = SocketOptions {
            backlog: settings.tcp_backlog.min(i32::MAX as u64) as i32,
            keepalive_seconds: settings.tcp_keepalive,
        };
        let mut listeners = Self { options: Some(options), ..Self::default() };
        listeners.tcp = open_all(settings, options)?;
        if !settings.unixsocket.as_os_str().is_empty() {
            let path = &settings.unixsocket;
            let socket = listener::bind_unix(
                path,
                settings.unixsocketperm,
                &settings.unixsocketgroup,
                options.backlog,
            )
            .map_err(ListenError::Unix)?;
            listeners.unix = Some((socket, path.display().to_string()));
        }
        if listeners.tcp.is_empty() && listeners.unix.is_none() {
            return Err(ListenError::Nowhere);
        }
        Ok(listeners)
    }

    /// Accepts connections once the mailbox wants them. Must be called inside a `LocalSet`. What comes
    /// back listens elsewhere when `port` or `bind` change.
    fn start(self, mailbox: &Rc<Mailbox>) -> Relisten {
        let options = self.options.unwrap_or(SocketOptions { backlog: 0, keepalive_seconds: 0 });
        if let Some((socket, path)) = self.unix {
            tokio::task::spawn_local(listener::accept_unix(socket, path, Rc::clone(mailbox)));
        }
        let mailbox = Rc::clone(mailbox);
        let accept = move |sockets: Vec<TcpListener>| -> Vec<Accepting> {
            let accept = |socket| Accepting::new(socket, &mailbox, options);
            sockets.into_iter().map(accept).collect()
        };
        let mut listening = accept(self.tcp);
        Relisten(Box::new(move |old, new| {
            let sockets = match open_all(new, options) {
                Ok(sockets) => sockets,
                // An address that overlaps one of ours: only without ours is it free.
                Err(error) if error.is_in_use() && old.port == new.port => {
                    listening.clear();
                    match open_all(new, options) {
                        Ok(sockets) => sockets,
                        Err(error) => {
                            let back = open_all(old, options).map_err(|error| error.to_string())?;
                            listening = accept(back);
                            return Err(error.to_string());
                        }
                    }
                }
                Err(error) => return Err(error.to_string()),
            };
            listening.clear();
            listening = accept(sockets);
            Ok(())
        }))
    }
}

/// A listening socket and the task that accepts its connections.
struct Accepting {
    socket: Rc<TcpListener>,
    task: tokio::task::JoinHandle<()>,
}

impl Accepting {
    fn new(socket: TcpListener, mailbox: &Rc<Mailbox>, options: SocketOptions) -> Self {
        let socket = Rc::new(socket);
        let accept = listener::accept_tcp(Rc::clone(&socket), Rc::clone(mailbox), options);
        Self { socket, task: tokio::task::spawn_local(accept) }
    }
}

/// The address is free at once; the descriptor goes with the task.
impl Drop for Accepting {
    fn drop(&mut self) {
        self.task.abort();
        if let Err(error) = socket2::SockRef::from(&*self.socket).shutdown(Shutdown::Both) {
            tracing::debug!("Closing a listening socket: {error}");
        }
    }
}

fn open_all(settings: &Settings, options: SocketOptions) -> Result<Vec<TcpListener>, ListenError> {
    if settings.port == 0 {
        return Ok(Vec::new());
    }
    let opened = settings.bind.iter().map(|bind| open_tcp(bind, settings.port, options));
    opened.filter_map(Result::transpose).collect()
}

fn open_tcp(
    bind: &BindAddress,
    port: u16,
    options: SocketOptions,
) -> Result<Option<TcpListener>, ListenError> {
    let failed = |error| ListenError::Tcp { address: bind.text.clone(), port, error };
    let address = match bind.text.as_str() {
        "*" => IpAddr::from([0, 0, 0, 0]),
        "::*" => IpAddr::from([0u16; 8]),
        text => match text.parse() {
            Ok(address) => address,
            Err(_) => match (text, port).to_socket_addrs().map_err(failed)?.next() {
                Some(found) => found.ip(),
                None => return Err(failed(io::ErrorKind::AddrNotAvailable.into())),
            },
        },
    };
    match listener::bind_tcp(address, port, options) {
        Ok(socket) => Ok(Some(socket)),
        // `-::1` on a machine without IPv6: the dash says that this is fine.
        Err(error) if bind.optional && is_unavailable(&error) => Ok(None),
        Err(error) => {
            tracing::warn!("{}", failed(io::Error::from(error.kind())));
            Err(failed(error))
        }
    }
}

fn is_unavailable(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ENOPROTOOPT)
    )
}

/// Serves until the end; returns the exit code and the engine as it was then.
pub async fn serve(mut engine: Engine, listeners: Listeners) -> (i32, Engine) {
    engine.outside.relisten = Some(listeners.start(&engine.mailbox));
    let courier = Box::new(courier::Sender::new(&engine.mailbox));
    engine.outside.courier = Some(SendErrand(courier));
    if let Err(error) = signal_hook::flag::register(libc::SIGINT, engine.shutdown.insisted()) {
        tracing::warn!("Can't tell a second SIGINT from the first: {error}");
    }
    // Upstream's watchdog: it must not end a server that isn't broken.
    if let Ok(mut alarms) = signal(SignalKind::alarm()) {
        tokio::task::spawn_local(async move {
            while alarms.recv().await.is_some() {
                tracing::warn!("Received SIGALRM, and answered it at once.");
            }
        });
    }
    for (kind, which) in
        [(SignalKind::terminate(), Signal::Term), (SignalKind::interrupt(), Signal::Int)]
    {
        let asked = engine.shutdown.asked();
        let mailbox = Rc::clone(&engine.mailbox);
        tokio::task::spawn_local(async move {
            // Without a handler the default action ends the process, which loses no more than a
            // crash would.
            let Ok(mut signals) = signal(kind) else { return };
            while signals.recv().await.is_some() {
                asked.set(Some(which));
                mailbox.wake();
            }
        });
    }
    follow_over(&mut engine, Rc::new(Tcp));
    Box::pin(actor::run(engine)).await
}

/// Serves on a network other than the system's until the end; returns the exit code and the engine as
/// it was then. All of a server but what belongs to a process: signals, CONFIG SET of what is listened
/// on, and MIGRATE. Must be called inside a `LocalSet`.
pub async fn serve_on<N: Network>(mut engine: Engine, network: Rc<N>) -> (i32, Engine) {
    let (accepting, mailbox) = (Rc::clone(&network), Rc::clone(&engine.mailbox));
    tokio::task::spawn_local(async move {
        mailbox.accepting().await;
        loop {
            let Stream { read, write, peer, local, descriptor } = accepting.accept().await;
            let link = Arc::new(Link::new(Origin::Tcp { peer, local }, descriptor));
            let arrived = vec![Arrival { read, write, link }];
            tokio::task::spawn_local(connection::admit(arrived, Rc::clone(&mailbox)));
        }
    });
    follow_over(&mut engine, network);
    Box::pin(actor::run(engine)).await
}

/// Has links to a primary made over a network.
fn follow_over<N: Network>(engine: &mut Engine, network: Rc<N>) {
    let mailbox = Rc::clone(&engine.mailbox);
    let dial = move |order| uplink::dial(order, &network, &mailbox);
    engine.outside.dial = Some(Dial(Box::new(dial)));
}
