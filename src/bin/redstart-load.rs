//! A lean load generator: one thread, one epoll, closed loop. Each connection sends a pipeline of
//! requests, waits for all of its replies, and sends the next; so the load follows the server, and
//! at pipeline 1 the generator itself isn't the limit, as redis-benchmark is.
//!
//! Latency is from a pipeline's write to the last of its replies, kept in a histogram of
//! logarithmic buckets with 1/32 of precision.
//!
//! With `--job BGSAVE` (or BGREWRITEAOF) it measures what the job costs the clients: in each round a
//! quiet window, then the job, asked for on a connection of its own; latencies are kept apart, and
//! each round's longest is told, because on a shared machine the longest of all is the machine's.
//!
//! Deliberately absent: threads, TLS, open-loop load.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Digits of a key's number; with `key:` before them a key has 16 bytes.
const KEY_DIGITS: usize = 12;
const KEY_PREFIX: &str = "key:";

/// What is asked of the server, again and again.
struct Request {
    /// One request in wire form.
    bytes: Vec<u8>,
    /// Where the key's digits are in it; none where the request has no key.
    digits_at: Option<usize>,
}

impl Request {
    fn new(name: &str, value_size: usize) -> Self {
        let key = format!("{KEY_PREFIX}{:0width$}", 0, width = KEY_DIGITS);
        let value: String = ('a'..='z').cycle().take(value_size).collect();
        let argv: Vec<&str> = match name {
            "set" => vec!["SET", &key, &value],
            "get" => vec!["GET", &key],
            "incr" => vec!["INCR", &key],
            _ => vec!["PING"],
        };
        let mut bytes = format!("*{}\r\n", argv.len()).into_bytes();
        let mut digits_at = None;
        for (index, argument) in argv.iter().enumerate() {
            bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            if index == 1 {
                digits_at = Some(bytes.len() + KEY_PREFIX.len());
            }
            bytes.extend_from_slice(argument.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        Self { bytes, digits_at }
    }
}

/// Which keys are asked for.
enum Keys {
    /// Uniformly random ones below the bound (xorshift64).
    Random { state: u64, bound: u64 },
    /// Each in turn, to fill a server with an exact number of keys.
    Sequential { next: u64, bound: u64 },
}

impl Keys {
    fn next(&mut self) -> u64 {
        match self {
            Self::Random { state, bound } => {
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                *state % *bound
            }
            Self::Sequential { next, bound } => {
                let number = *next;
                *next = (number + 1) % *bound;
                number
            }
        }
    }
}

/// A pipeline of requests whose keys change each time it's sent.
struct Pipeline {
    bytes: Vec<u8>,
    request_len: usize,
    digits_at: Option<usize>,
    keys: Keys,
}

impl Pipeline {
    fn new(request: &Request, depth: usize, keys: Keys) -> Self {
        Self {
            bytes: request.bytes.repeat(depth),
            request_len: request.bytes.len(),
            digits_at: request.digits_at,
            keys,
        }
    }

    fn renew(&mut self) -> &[u8] {
        if let Some(digits_at) = self.digits_at {
            for request in self.bytes.chunks_exact_mut(self.request_len) {
                let mut number = self.keys.next();
                for digit in request[digits_at..digits_at + KEY_DIGITS].iter_mut().rev() {
                    *digit = b'0' + (number % 10) as u8;
                    number /= 10;
                }
            }
        }
        &self.bytes
    }
}

/// Counts whole replies in a stream of bytes: `+`, `-`, `:` lines and `$` blobs.
#[derive(Default)]
struct ReplyCounter {
    /// Bytes of a blob still to come, its line end included.
    blob_left: usize,
    /// The line being read, without its end.
    line: Vec<u8>,
}

impl ReplyCounter {
    /// The replies that end in `bytes`, or the server's error.
    fn count(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let mut replies = 0;
        while !bytes.is_empty() {
            if self.blob_left > 0 {
                let taken = self.blob_left.min(bytes.len());
                bytes = &bytes[taken..];
                self.blob_left -= taken;
                replies += usize::from(self.blob_left == 0);
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.line.extend_from_slice(bytes);
                break;
            };
            // The usual line is whole in this read: look at it in place.
            let (line, rest) = bytes.split_at(end + 1);
            bytes = rest;
            let blob_len = if self.line.is_empty() {
                Self::blob_len(line)?
            } else {
                self.line.extend_from_slice(line);
                let whole = std::mem::take(&mut self.line);
                Self::blob_len(&whole)?
            };
            match blob_len {
                Some(len) => self.blob_left = len + 2,
                None => replies += 1,
            }
        }
        Ok(replies)
    }

    /// The length of the blob that a reply's first line announces.
    fn blob_len(line: &[u8]) -> io::Result<Option<usize>> {
        match line.first() {
            Some(b'$') => {
                let text = String::from_utf8_lossy(&line[1..]);
                // `$-1` is a whole reply.
                Ok(text.trim_end().parse().ok())
            }
            Some(b'-') => {
                let text = String::from_utf8_lossy(line);
                Err(io::Error::other(format!("the server replied {}", text.trim_end())))
            }
            _ => Ok(None),
        }
    }
}

/// Nanoseconds in logarithmic buckets: 32 for each power of two.
struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    const SUB_BITS: u32 = 5;

    fn new() -> Self {
        Self { counts: vec![0; 64 << Self::SUB_BITS], total: 0, max: 0 }
    }

    fn bucket(nanos: u64) -> usize {
        let power = nanos.max(1).ilog2();
        if power < Self::SUB_BITS {
            return nanos as usize;
        }
        let shift = power - Self::SUB_BITS;
        (((shift + 1) as usize) << Self::SUB_BITS) + ((nanos >> shift) as usize & 31)
    }

    /// The least value that falls into a bucket.
    fn floor(bucket: usize) -> u64 {
        let (row, column) = (bucket >> Self::SUB_BITS, (bucket & 31) as u64);
        if row == 0 { column } else { (32 + column) << (row - 1) }
    }

    fn record(&mut self, nanos: u64) {
        self.counts[Self::bucket(nanos)] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// The value below which this share of all values lies, in microseconds.
    fn quantile_us(&self, share: f64) -> f64 {
        let rank = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Self::floor(bucket) as f64 / 1000.0;
            }
        }
        self.max as f64 / 1000.0
    }
}

struct Connection {
    stream: TcpStream,
    counter: ReplyCounter,
    outstanding: usize,
    sent_at: Instant,
}

impl Connection {
    fn send(&mut self, pipeline: &mut Pipeline, depth: usize) -> io::Result<()> {
        self.outstanding = depth;
        self.sent_at = Instant::now();
        // Blocking: what is outstanding is one pipeline, which socket buffers can hold.
        self.stream.write_all(pipeline.renew())
    }
}

fn open(host: &str, port: u16, count: usize, epoll: &Epoll) -> io::Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(count);
    for index in 0..count {
        let stream = TcpStream::connect((host, port))?;
        stream.set_nodelay(true)?;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        connections.push(Connection {
            stream,
            counter: ReplyCounter::default(),
            outstanding: 0,
            sent_at: Instant::now(),
        });
    }
    Ok(connections)
}

fn number<T: Copy + Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> T {
    // Every numeric argument is required or has a default.
    #[expect(clippy::unwrap_used, reason = "clap has checked it: required or defaulted")]
    *matches.get_one::<T>(name).unwrap()
}

/// A background job of the server, from its command until INFO tells that it's over. Its
/// connection has the number after the last of the load's.
struct Job {
    stream: TcpStream,
    name: String,
    /// What came of the reply awaited, until it's whole.
    reply: Vec<u8>,
    asked_at: Option<Instant>,
    rounds_left: u64,
    phase: Phase,
    phase_since: Instant,
    /// A quiet window is as long as the job before it took.
    quiet: Duration,
    current: Histogram,
    quiet_rounds: Rounds,
    running_rounds: Rounds,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Quiet,
    Running,
}

impl Job {
    /// Between two looks at INFO: rare enough not to be felt.
    const LOOK_INTERVAL: Duration = Duration::from_millis(20);
    const FIRST_QUIET: Duration = Duration::from_secs(1);

    fn new(stream: TcpStream, name: &str, rounds: u64) -> Self {
        let now = Instant::now();
        Self {
            stream,
            name: name.to_owned(),
            reply: Vec::new(),
            asked_at: None,
            rounds_left: rounds,
            phase: Phase::Quiet,
            phase_since: now,
            quiet: Self::FIRST_QUIET,
            current: Histogram::new(),
            quiet_rounds: Rounds::new(),
            running_rounds: Rounds::new(),
        }
    }

    /// Counts one latency of the load, and asks what there is to ask. Says whether all is measured.
    fn record(&mut self, nanos: u64) -> io::Result<bool> {
        self.current.record(nanos);
        let now = Instant::now();
        match self.phase {
            Phase::Quiet if now - self.phase_since >= self.quiet => {
                self.quiet_rounds.end(&mut self.current);
                (self.phase, self.phase_since, self.asked_at) = (Phase::Running, now, Some(now));
                self.stream.write_all(format!("{}\r\n", self.name).as_bytes())?;
            }
            Phase::Running
                if self.asked_at.is_none() && now - self.phase_since >= Self::LOOK_INTERVAL =>
            {
                self.asked_at = Some(now);
                self.stream.write_all(b"INFO persistence\r\n")?;
            }
            _ => {}
        }
        Ok(self.rounds_left == 0)
    }

    /// Takes what the job's connection received.
    fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reply.extend_from_slice(bytes);
        let text = String::from_utf8_lossy(&self.reply).into_owned();
        let Some((line, rest)) = text.split_once("\r\n") else { return Ok(()) };
        if line.starts_with('-') {
            return Err(io::Error::other(format!("{}: {line}", self.name)));
        }
        let len = line.strip_prefix('$').map_or(0, |len| len.parse().unwrap_or(0));
        if rest.len() < len {
            return Ok(());
        }
        self.reply.clear();
        self.asked_at = None;
        let running = ["rdb_bgsave_in_progress:1", "aof_rewrite_in_progress:1", "_scheduled:1"];
        if len > 0 && !running.iter().any(|field| rest.contains(field)) {
            self.quiet = self.phase_since.elapsed();
            self.running_rounds.end(&mut self.current);
            (self.phase, self.phase_since) = (Phase::Quiet, Instant::now());
            self.rounds_left -= 1;
        }
        Ok(())
    }
}

/// Latencies over several windows of one kind.
struct Rounds {
    all: Histogram,
    longest: Vec<u64>,
}

impl Rounds {
    /// What counts as long in the summary, in nanoseconds.
    const LONG: u64 = 3_000_000;

    fn new() -> Self {
        Self { all: Histogram::new(), longest: Vec::new() }
    }

    /// Ends a window: takes its latencies over.
    fn end(&mut self, window: &mut Histogram) {
        self.longest.push(window.max);
        for (sum, count) in self.all.counts.iter_mut().zip(&window.counts) {
            *sum += count;
        }
        self.all.total += window.total;
        self.all.max = self.all.max.max(window.max);
        *window = Histogram::new();
    }

    fn summary(&mut self) -> String {
        self.longest.sort_unstable();
        let rounds = self.longest.len();
        let long = self.longest.iter().filter(|nanos| **nanos > Self::LONG).count();
        let ms = |nanos: u64| nanos as f64 / 1e6;
        format!(
            "p50 {:.0} us, p99.9 {:.0} us, longest of a round {:.2} ms (median of {rounds}; {:.2} to \
             {:.2}; over 3 ms in {long})",
            self.all.quantile_us(0.50),
            self.all.quantile_us(0.999),
            ms(self.longest[rounds / 2]),
            ms(self.longest[0]),
            ms(self.all.max),
        )
    }
}

/// The load as it's asked for, and its connections.
struct Load {
    epoll: Epoll,
    connections: Vec<Connection>,
    pipeline: Pipeline,
    depth: usize,
    /// Requests to send, all in all.
    count: u64,
}

impl Load {
    fn new(matches: &ArgMatches) -> io::Result<Self> {
        let depth = number::<u64>(matches, "pipeline") as usize;
        let command = matches.get_one::<String>("command").map_or("ping", String::as_str);
        let request = Request::new(command, number::<u64>(matches, "value-size") as usize);
        let bound = number::<u64>(matches, "keys");
        let keys = if matches.get_flag("sequential") {
            Keys::Sequential { next: 0, bound }
        } else {
            Keys::Random { state: 0x0139_408d_cbbf_7a44 ^ u64::from(std::process::id()), bound }
        };
        let epoll = Epoll::new(EpollCreateFlags::empty())?;
        let connections = number::<u64>(matches, "connections") as usize;
        let connections = open(host(matches), number::<u16>(matches, "port"), connections, &epoll)?;
        Ok(Self {
            epoll,
            connections,
            pipeline: Pipeline::new(&request, depth, keys),
            depth,
            count: number::<u64>(matches, "count"),
        })
    }

    /// Sends and receives until the count is reached, or the job is measured. Each latency goes to
    /// the histogram, or to the job. Returns how many requests were answered.
    fn run(
        &mut self,
        mut histogram: Option<&mut Histogram>,
        mut job: Option<&mut Job>,
    ) -> io::Result<u64> {
        let mut buffer = vec![0; 64 * 1024];
        let mut events = vec![EpollEvent::empty(); 1024];
        let (mut sent, mut done) = (0, 0);
        for connection in &mut self.connections {
            if sent < self.count {
                connection.send(&mut self.pipeline, self.depth)?;
                sent += self.depth as u64;
            }
        }
        while done < sent {
            let ready = self.epoll.wait(&mut events, EpollTimeout::NONE)?;
            for event in &events[..ready] {
                let index = event.data() as usize;
                if let (Some(job), true) = (job.as_deref_mut(), index == self.connections.len()) {
                    let len = job.stream.read(&mut buffer)?;
                    job.receive(&buffer[..len])?;
                    continue;
                }
                let connection = &mut self.connections[index];
                let len = connection.stream.read(&mut buffer)?;
                if len == 0 {
                    return Err(io::Error::other("the server closed a connection"));
                }
                let replies = connection.counter.count(&buffer[..len])?;
                connection.outstanding = connection.outstanding.saturating_sub(replies);
                if replies == 0 || connection.outstanding > 0 {
                    continue;
                }
                done += self.depth as u64;
                let nanos = connection.sent_at.elapsed().as_nanos() as u64;
                if let Some(histogram) = histogram.as_deref_mut() {
                    histogram.record(nanos);
                }
                if let Some(job) = job.as_deref_mut() {
                    if job.record(nanos)? {
                        return Ok(done);
                    }
                    connection.send(&mut self.pipeline, self.depth)?;
                    sent += self.depth as u64;
                } else if sent < self.count {
                    connection.send(&mut self.pipeline, self.depth)?;
                    sent += self.depth as u64;
                }
            }
        }
        Ok(done)
    }
}

fn host(matches: &ArgMatches) -> &str {
    matches.get_one::<String>("host").map_or("127.0.0.1", String::as_str)
}

fn run(matches: &ArgMatches) -> io::Result<()> {
    let mut load = Load::new(matches)?;
    if let Some(name) = matches.get_one::<String>("job") {
        let stream = TcpStream::connect((host(matches), number::<u16>(matches, "port")))?;
        stream.set_nodelay(true)?;
        let token = load.connections.len() as u64;
        load.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        let mut job = Job::new(stream, name, number::<u64>(matches, "rounds"));
        load.run(None, Some(&mut job))?;
        println!("quiet {}", job.quiet_rounds.summary());
        println!("{name} {}", job.running_rounds.summary());
        println!("seconds {:.2}", job.quiet.as_secs_f64());
        return Ok(());
    }
    let mut histogram = matches.get_flag("latency").then(Histogram::new);
    let start = Instant::now();
    let done = load.run(histogram.as_mut(), None)?;
    let rate = done as f64 / start.elapsed().as_secs_f64();
    match histogram {
        None => println!("{rate:.0}"),
        Some(histogram) => println!(
            "{rate:.0} rps, p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us, max {:.1} us",
            histogram.quantile_us(0.50),
            histogram.quantile_us(0.99),
            histogram.quantile_us(0.999),
            histogram.max as f64 / 1000.0
        ),
    }
    Ok(())
}

fn arguments() -> Command {
    let positive = || value_parser!(u64).range(1..);
    Command::new("redstart-load")
        .about("Measures a Redis-protocol server with a closed loop of pipelined requests")
        .arg(Arg::new("port").required(true).value_parser(value_parser!(u16)))
        .arg(Arg::new("connections").required(true).value_parser(positive()))
        .arg(Arg::new("pipeline").required(true).value_parser(positive()))
        .arg(Arg::new("count").required(true).value_parser(positive()).help("requests, all in all"))
        .arg(Arg::new("command").required(true).value_parser(["set", "get", "incr", "ping"]))
        .arg(Arg::new("host").long("host").default_value("127.0.0.1"))
        .arg(
            Arg::new("keys")
                .long("keys")
                .value_parser(positive())
                .default_value("1000000")
                .help("how many different keys of 16 bytes"),
        )
        .arg(
            Arg::new("value-size")
                .long("value-size")
                .value_parser(value_parser!(u64))
                .default_value("16")
                .help("bytes of a value that is set"),
        )
        .arg(
            Arg::new("sequential")
                .long("sequential")
                .action(ArgAction::SetTrue)
                .help("keys in turn, not at random"),
        )
        .arg(
            Arg::new("latency")
                .long("latency")
                .action(ArgAction::SetTrue)
                .help("print percentiles, too"),
        )
        .arg(
            Arg::new("job")
                .long("job")
                .value_parser(["BGSAVE", "BGREWRITEAOF"])
                .help("measure latency while the server does this, and without; count is ignored"),
        )
        .arg(
            Arg::new("rounds")
                .long("rounds")
                .value_parser(positive())
                .default_value("15")
                .help("how often the job is done"),
        )
}

fn main() -> ExitCode {
    match run(&arguments().get_matches()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("redstart-load: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_monotone_and_precise() {
        let mut last = 0;
        for nanos in (0..100_000).chain([1 << 40, u64::MAX]) {
            let bucket = Histogram::bucket(nanos);
            assert!(bucket >= last, "{nanos}");
            last = bucket;
            let floor = Histogram::floor(bucket);
            assert!(floor <= nanos && nanos - floor <= nanos / 32, "{nanos} {floor}");
        }
    }

    #[test]
    fn replies_are_counted_across_any_cut() {
        let stream = b"+OK\r\n:12\r\n$-1\r\n$5\r\na\r\nbc\r\n$0\r\n\r\n+PONG\r\n";
        for cut in 0..stream.len() {
            let mut counter = ReplyCounter::default();
            let first = counter.count(&stream[..cut]).unwrap();
            assert_eq!(first + counter.count(&stream[cut..]).unwrap(), 6, "cut at {cut}");
        }
        assert!(ReplyCounter::default().count(b"-ERR no\r\n").is_err());
    }
}
