//! The simulated network: hosts, and connections between them that are delayed, cut and held up.
//!
//! A connection is two directions, each a line of segments on their way and what has arrived. Segments of
//! one direction never overtake each other, as TCP promises; connections overtake each other freely.
//! What a link that is blocked or a host without power doesn't take is sent again later (`RETRY`), so
//! that a partition delays and doesn't lose; loss that TCP can't mend is a reset. A sender has room for
//! `WINDOW` bytes that the other side hasn't read.
//!
//! A process that ends closes its connections: the other sides get what was written, then the end, or a
//! reset. A host that loses its power says nothing; who sends to it afterwards gets a reset when it is up
//! again, or nothing for as long as it isn't.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use redstart::base::env::Rng;
use redstart::base::sim_disk::SimDisk;
use redstart::net::transport::{Network, ReadSide, Stream, WriteSide};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{sleep, timeout};

/// Bytes that may be on their way or unread.
const WINDOW: usize = 64 << 10;
/// After so long a segment is sent again that didn't get through.
const RETRY: u64 = 200_000_000;
/// After so long connecting is given up.
const CONNECT_PATIENCE: Duration = Duration::from_secs(4);
/// The port that servers listen on.
pub const PORT: u16 = 6379;

/// The address of a host.
pub fn address(host: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, host as u8 + 1))
}

/// Which host has an address; none for one that nobody has.
fn host_of(address: &str) -> Option<usize> {
    let last = address.strip_prefix("10.0.0.")?.parse::<usize>().ok()?;
    last.checked_sub(1)
}

#[derive(Debug)]
enum Segment {
    Data(Vec<u8>),
    End,
    Reset,
}

/// One side of a connection, and what is on its way to it.
#[derive(Debug)]
struct End {
    host: usize,
    address: SocketAddr,
    /// What is on its way, each with the time at which it arrives.
    coming: VecDeque<(u64, Segment)>,
    coming_bytes: usize,
    /// Whether the next arrival is scheduled.
    awaited: bool,
    arrived: VecDeque<u8>,
    /// The other side sends no more.
    ended: bool,
    reset: bool,
    /// This side has ended its sending, or both.
    is_done: bool,
    shut: bool,
    /// How many of its two halves the process holds; none is a socket that is closed.
    halves: u8,
    reader: Option<Waker>,
    writer: Option<Waker>,
    watcher: Option<Waker>,
}

impl End {
    fn new(host: usize, address: SocketAddr) -> Self {
        Self {
            host,
            address,
            coming: VecDeque::new(),
            coming_bytes: 0,
            awaited: false,
            arrived: VecDeque::new(),
            ended: false,
            reset: false,
            is_done: false,
            shut: false,
            halves: 2,
            reader: None,
            writer: None,
            watcher: None,
        }
    }

    fn wake(&mut self) {
        let wakers = [self.reader.take(), self.writer.take(), self.watcher.take()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn is_closed(&self) -> bool {
        self.halves == 0
    }
}

#[derive(Debug)]
struct Connection {
    ends: [End; 2],
}

/// A host's power, its process, and who knocks.
#[derive(Default)]
struct Host {
    powered: bool,
    listens: bool,
    knocking: VecDeque<u64>,
    acceptor: Option<Waker>,
    next_port: u16,
    /// What was written since this disk has crashed was written by nobody.
    disk: Option<SimDisk>,
}

impl Host {
    fn is_dying(&self) -> bool {
        self.disk.as_ref().is_some_and(SimDisk::has_crashed)
    }
}

/// What happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The next segment arrives at this side of a connection.
    Arrival(u64, usize),
}

/// What the network has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub connections: u64,
    pub segments: u64,
    pub bytes: u64,
    pub resets: u64,
}

struct State {
    now: u64,
    rng: Rng,
    hosts: Vec<Host>,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    /// Directions in which nothing gets through.
    blocked: BTreeSet<(usize, usize)>,
    /// Nanoseconds more that something takes.
    slowed: BTreeMap<(usize, usize), u64>,
    counts: Counts,
    /// A digest of everything that arrived, where and when.
    trace: u64,
}

/// The network. Clones are the same.
#[derive(Clone)]
pub struct Net(Rc<RefCell<State>>);

impl State {
    fn schedule(&mut self, at: u64, event: Event) {
        self.events.insert((at, self.next_event), event);
        self.next_event += 1;
    }

    fn note(&mut self, parts: &[u64]) {
        for part in parts {
            self.trace = (self.trace.rotate_left(5) ^ part).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    fn latency(&mut self, from: usize, to: usize) -> u64 {
        let usual = 50_000 + self.rng.below(400_000);
        // One in some hundred takes its time.
        let odd = if self.rng.below(200) == 0 { self.rng.below(20_000_000) } else { 0 };
        usual + odd + self.slowed.get(&(from, to)).copied().unwrap_or(0)
    }

    /// Puts a segment on its way to a side of a connection.
    fn send(&mut self, id: u64, to: usize, segment: Segment) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (from_host, to_host) = (connection.ends[1 - to].host, connection.ends[to].host);
        let latency = self.latency(from_host, to_host);
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let end = &mut connection.ends[to];
        let last = end.coming.back().map_or(0, |(at, _)| *at);
        let at = last.max(now + latency);
        if let Segment::Data(bytes) = &segment {
            end.coming_bytes += bytes.len();
        }
        end.coming.push_back((at, segment));
        self.await_arrival(id, to);
    }

    /// Schedules the next arrival, unless it is.
    fn await_arrival(&mut self, id: u64, to: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let end = &mut connection.ends[to];
        if let (false, Some(&(at, _))) = (end.awaited, end.coming.front()) {
            end.awaited = true;
            self.schedule(at, Event::Arrival(id, to));
        }
    }

    /// Lets arrive what is due.
    fn arrive(&mut self, id: u64, to: usize) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.ends[to].awaited = false;
        }
        while self.arrive_one(id, to) {}
        self.await_arrival(id, to);
        self.forget(id);
    }

    /// False where nothing more can arrive now.
    fn arrive_one(&mut self, id: u64, to: usize) -> bool {
        let now = self.now;
        let retry_at = now + RETRY + self.rng.below(RETRY / 4);
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let (from_host, to_host) = (connection.ends[1 - to].host, connection.ends[to].host);
        let end = &mut connection.ends[to];
        let Some(next) = end.coming.front_mut().filter(|(at, _)| *at <= now) else { return false };
        if self.blocked.contains(&(from_host, to_host)) || !self.hosts[to_host].powered {
            next.0 = retry_at;
            return false;
        }
        let Some((_, segment)) = end.coming.pop_front() else { return false };
        self.counts.segments += 1;
        let (mut kind, mut amount) = (0, 0);
        match segment {
            _ if end.is_closed() && !matches!(segment, Segment::Reset) => {
                let is_data = matches!(segment, Segment::Data(_));
                if is_data && !connection.ends[1 - to].reset {
                    self.send(id, 1 - to, Segment::Reset);
                }
            }
            Segment::Data(bytes) => {
                (kind, amount) = (1, bytes.len() as u64);
                end.coming_bytes -= bytes.len();
                end.arrived.extend(bytes);
                end.wake();
            }
            Segment::End => {
                kind = 2;
                end.ended = true;
                end.wake();
            }
            Segment::Reset => {
                kind = 3;
                self.counts.resets += 1;
                end.reset = true;
                end.arrived.clear();
                end.wake();
            }
        }
        self.counts.bytes += amount;
        self.note(&[now, id, to as u64, kind, amount]);
        true
    }

    /// Lets a connection go that no process holds and on which nothing is under way.
    fn forget(&mut self, id: u64) {
        let over = |end: &End| end.is_closed() && end.coming.is_empty();
        if self.connections.get(&id).is_some_and(|one| one.ends.iter().all(over)) {
            self.connections.remove(&id);
        }
    }

    /// Ends both directions at once, and loses what is on its way.
    fn cut(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        for end in &mut connection.ends {
            end.coming.clear();
            end.coming_bytes = 0;
            end.arrived.clear();
            end.reset = true;
            end.wake();
        }
        self.counts.resets += 1;
        self.forget(id);
    }

    fn end_sending(&mut self, id: u64, side: usize, hard: bool) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let end = &mut connection.ends[side];
        if std::mem::replace(&mut end.is_done, true) || end.reset {
            return;
        }
        self.send(id, 1 - side, if hard { Segment::Reset } else { Segment::End });
    }

    fn drop_half(&mut self, id: u64, side: usize, writing: bool) {
        let Some(connection) = self.connections.get(&id) else { return };
        let host = connection.ends[side].host;
        let silent = !self.hosts[host].powered || self.hosts[host].is_dying();
        if writing && !silent {
            self.end_sending(id, side, false);
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.ends[side].halves -= 1;
        if connection.ends[side].is_closed() {
            // What nobody will read is refused, as is what comes later.
            let unread = !connection.ends[side].arrived.is_empty();
            connection.ends[side].arrived.clear();
            if unread && !silent {
                connection.ends[side].is_done = false;
                self.end_sending(id, side, true);
            }
        }
        self.forget(id);
    }
}

impl Net {
    /// A network of so many hosts, which are all there and run no server.
    pub fn new(hosts: usize, seed: u64) -> Self {
        let host = || Host { powered: true, next_port: 40_000, ..Host::default() };
        Self(Rc::new(RefCell::new(State {
            now: 0,
            rng: Rng::from_seed(seed),
            hosts: (0..hosts).map(|_| host()).collect(),
            connections: BTreeMap::new(),
            next_connection: 0,
            events: BTreeMap::new(),
            next_event: 0,
            blocked: BTreeSet::new(),
            slowed: BTreeMap::new(),
            counts: Counts::default(),
            trace: 0,
        })))
    }

    /// What a process on a host sees of it.
    pub fn at(&self, host: usize) -> Socket {
        Socket { net: self.clone(), host }
    }

    /// When something happens next.
    pub fn next_at(&self) -> Option<u64> {
        self.0.borrow().events.first_key_value().map(|((at, _), _)| *at)
    }

    /// Has happen what is due.
    pub fn advance(&self, now: u64) {
        let mut state = self.0.borrow_mut();
        state.now = now;
        while let Some(entry) = state.events.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let Event::Arrival(id, to) = entry.remove();
            state.arrive(id, to);
        }
    }

    /// Adds to the digest of what has happened.
    pub fn note(&self, parts: &[u64]) {
        self.0.borrow_mut().note(parts);
    }

    /// A digest of everything that has happened.
    pub fn trace(&self) -> u64 {
        self.0.borrow().trace
    }

    /// What was done.
    pub fn counts(&self) -> Counts {
        self.0.borrow().counts
    }

    /// Nothing gets from one host to another any more, or everything does again.
    pub fn block(&self, from: usize, to: usize, blocked: bool) {
        let mut state = self.0.borrow_mut();
        if blocked {
            state.blocked.insert((from, to));
        } else {
            state.blocked.remove(&(from, to));
        }
    }

    /// What goes from one host to another takes so much longer, in nanoseconds.
    pub fn slow(&self, from: usize, to: usize, nanos: u64) {
        self.0.borrow_mut().slowed.insert((from, to), nanos);
    }

    /// Everything gets through again, as fast as ever.
    pub fn heal(&self) {
        let mut state = self.0.borrow_mut();
        state.blocked.clear();
        state.slowed.clear();
    }

    /// Cuts a connection that a host has. False where there is none.
    pub fn cut_one(&self, host: usize) -> bool {
        let mut state = self.0.borrow_mut();
        let has =
            |one: &Connection| one.ends.iter().any(|end| end.host == host && !end.is_closed());
        let ids: Vec<u64> =
            state.connections.iter().filter(|(_, one)| has(one)).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return false;
        }
        let at = state.rng.below(ids.len() as u64) as usize;
        state.cut(ids[at]);
        true
    }

    /// A host's process begins to listen; what it writes once its disk has crashed is written by nobody.
    pub fn listen(&self, host: usize, disk: &SimDisk) {
        let mut state = self.0.borrow_mut();
        let host = &mut state.hosts[host];
        (host.powered, host.listens) = (true, true);
        host.disk = Some(disk.clone());
    }

    /// A host's process is about to be dropped: killed, or with the power.
    pub fn die(&self, host: usize, power: bool) {
        let mut state = self.0.borrow_mut();
        state.hosts[host].listens = false;
        state.hosts[host].powered = !power;
        (state.hosts[host].acceptor, state.hosts[host].disk) = (None, None);
        for id in std::mem::take(&mut state.hosts[host].knocking) {
            if let Some(connection) = state.connections.get_mut(&id) {
                connection.ends[1].halves = 0;
                if !power {
                    state.end_sending(id, 1, true);
                }
            }
        }
        let ids: Vec<u64> = state.connections.keys().copied().collect();
        for id in ids {
            for side in 0..2 {
                let lost = state.rng.below(3) == 0;
                let Some(connection) = state.connections.get_mut(&id) else { continue };
                if connection.ends[side].host != host {
                    continue;
                }
                if power {
                    if lost {
                        // What had not left the machine.
                        let coming = &mut connection.ends[1 - side].coming;
                        let kept = coming.len() / 2;
                        let gone: usize = coming
                            .drain(kept..)
                            .map(|(_, segment)| match segment {
                                Segment::Data(bytes) => bytes.len(),
                                _ => 0,
                            })
                            .sum();
                        connection.ends[1 - side].coming_bytes -= gone;
                    }
                    connection.ends[side].is_done = true;
                }
            }
        }
    }
}

/// The network as a process on a host sees it.
#[derive(Clone)]
pub struct Socket {
    net: Net,
    host: usize,
}

impl Socket {
    fn stream(&self, id: u64, side: usize) -> Stream<ReadHalf, WriteHalf> {
        let state = self.net.0.borrow();
        let ends = &state.connections[&id].ends;
        let (local, peer) = (ends[side].address, ends[1 - side].address);
        let half = || Half { net: self.net.clone(), id, side };
        let descriptor = id as i32;
        Stream { read: ReadHalf(half()), write: WriteHalf(half()), peer, local, descriptor }
    }

    /// One try, in time.
    async fn try_to_connect(&self, host: &str, port: u16) -> io::Result<u64> {
        loop {
            let latency = {
                let mut state = self.net.0.borrow_mut();
                host_of(host)
                    .filter(|to| *to < state.hosts.len())
                    .map(|to| (to, state.latency(self.host, to) + state.latency(to, self.host)))
            };
            // Nobody is there who would refuse.
            let Some((to, latency)) = latency else { return std::future::pending().await };
            sleep(Duration::from_nanos(latency)).await;
            match self.knock(to, port) {
                Some(answer) => return answer,
                None => sleep(Duration::from_secs(1)).await,
            }
        }
    }

    /// None where nobody hears it.
    fn knock(&self, to: usize, port: u16) -> Option<io::Result<u64>> {
        let mut state = self.net.0.borrow_mut();
        let is_blocked = |a, b| state.blocked.contains(&(a, b));
        if !state.hosts[to].powered || is_blocked(self.host, to) || is_blocked(to, self.host) {
            return None;
        }
        if !state.hosts[to].listens || port != PORT {
            return Some(Err(io::ErrorKind::ConnectionRefused.into()));
        }
        let own_port = state.hosts[self.host].next_port;
        state.hosts[self.host].next_port = own_port.checked_add(1).unwrap_or(40_000);
        let id = state.next_connection;
        state.next_connection += 1;
        state.counts.connections += 1;
        let ends = [
            End::new(self.host, SocketAddr::new(address(self.host), own_port)),
            End::new(to, SocketAddr::new(address(to), port)),
        ];
        state.connections.insert(id, Connection { ends });
        state.hosts[to].knocking.push_back(id);
        if let Some(waker) = state.hosts[to].acceptor.take() {
            waker.wake();
        }
        Some(Ok(id))
    }
}

impl Network for Socket {
    type Read = ReadHalf;
    type Write = WriteHalf;

    async fn connect(
        &self,
        host: &str,
        port: u16,
        _: Option<IpAddr>,
    ) -> io::Result<Stream<ReadHalf, WriteHalf>> {
        let connected = timeout(CONNECT_PATIENCE, self.try_to_connect(host, port)).await;
        let id = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(self.stream(id, 0))
    }

    async fn accept(&self) -> Stream<ReadHalf, WriteHalf> {
        let id = poll_fn(|cx| {
            let mut state = self.net.0.borrow_mut();
            let host = &mut state.hosts[self.host];
            match host.knocking.pop_front() {
                Some(id) => Poll::Ready(id),
                None => {
                    host.acceptor = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        });
        let id = id.await;
        self.stream(id, 1)
    }
}

struct Half {
    net: Net,
    id: u64,
    side: usize,
}

/// The reading side of a connection.
pub struct ReadHalf(Half);

/// The writing side of a connection.
pub struct WriteHalf(Half);

impl Half {
    fn with<T>(&self, gone: T, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.net.0.borrow_mut();
        if state.connections.contains_key(&self.id) { act(&mut state) } else { gone }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let (id, side) = (self.id, self.side);
        self.with(Err(io::ErrorKind::BrokenPipe.into()), |state| {
            let ends = &state.connections[&id].ends;
            if state.hosts[ends[side].host].is_dying() {
                return Ok(bytes.len());
            }
            if ends[side].reset {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if ends[side].is_done {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let other = &ends[1 - side];
            let room = WINDOW.saturating_sub(other.coming_bytes + other.arrived.len());
            let taken = room.min(bytes.len());
            if taken == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            // Now and then in two, so that what is one write is not one read.
            let part = if state.rng.below(12) == 0 {
                state.rng.below(taken as u64 + 1) as usize
            } else {
                0
            };
            for piece in [&bytes[..part], &bytes[part..taken]] {
                if !piece.is_empty() {
                    state.send(id, 1 - side, Segment::Data(piece.to_vec()));
                }
            }
            Ok(taken)
        })
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (id, side) = (self.0.id, self.0.side);
        let gone = Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        self.0.with(gone, |state| {
            let Some(connection) = state.connections.get_mut(&id) else { return Poll::Pending };
            let end = &mut connection.ends[side];
            if end.reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if end.arrived.is_empty() {
                if end.ended || end.shut {
                    return Poll::Ready(Ok(()));
                }
                end.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let taken = end.arrived.len().min(buffer.remaining());
            for byte in end.arrived.drain(..taken) {
                buffer.put_slice(&[byte]);
            }
            // There is room again.
            if let Some(waker) = connection.ends[1 - side].writer.take() {
                waker.wake();
            }
            Poll::Ready(Ok(()))
        })
    }
}

impl ReadSide for ReadHalf {
    async fn ended(&self) {
        poll_fn(|cx| {
            let (id, side) = (self.0.id, self.0.side);
            self.0.with(Poll::Ready(()), |state| {
                let Some(connection) = state.connections.get_mut(&id) else {
                    return Poll::Ready(());
                };
                let end = &mut connection.ends[side];
                if end.ended || end.reset || end.shut {
                    return Poll::Ready(());
                }
                end.watcher = Some(cx.waker().clone());
                Poll::Pending
            })
        })
        .await;
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let (id, side) = (self.0.id, self.0.side);
                self.0.with((), |state| {
                    if let Some(connection) = state.connections.get_mut(&id) {
                        connection.ends[side].writer = Some(cx.waker().clone());
                    }
                });
                Poll::Pending
            }
            outcome => Poll::Ready(outcome),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (id, side) = (self.0.id, self.0.side);
        self.0.with((), |state| state.end_sending(id, side, false));
        Poll::Ready(Ok(()))
    }
}

impl WriteSide for WriteHalf {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    async fn writable(&self) {
        poll_fn(|cx| {
            let (id, side) = (self.0.id, self.0.side);
            self.0.with(Poll::Ready(()), |state| {
                let Some(connection) = state.connections.get_mut(&id) else {
                    return Poll::Ready(());
                };
                let other = &connection.ends[1 - side];
                let full = other.coming_bytes + other.arrived.len() >= WINDOW;
                let end = &mut connection.ends[side];
                if end.reset || end.is_done || !full {
                    return Poll::Ready(());
                }
                end.writer = Some(cx.waker().clone());
                Poll::Pending
            })
        })
        .await;
    }

    fn shut(&self) {
        let (id, side) = (self.0.id, self.0.side);
        self.0.with((), |state| {
            state.end_sending(id, side, false);
            if let Some(connection) = state.connections.get_mut(&id) {
                connection.ends[side].shut = true;
                connection.ends[side].wake();
            }
        });
    }
}

impl Drop for ReadHalf {
    fn drop(&mut self) {
        let (id, side) = (self.0.id, self.0.side);
        self.0.with((), |state| state.drop_half(id, side, false));
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        let (id, side) = (self.0.id, self.0.side);
        self.0.with((), |state| state.drop_half(id, side, true));
    }
}
