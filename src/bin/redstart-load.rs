//! A lean load generator: one thread, one epoll, closed loop. Each connection sends a pipeline of
//! requests, waits for all of its replies, and sends the next; so the load follows the server, and
//! at pipeline 1 the generator itself isn't the limit, as redis-benchmark is.
//!
//! Latency is from a pipeline's write to the last of its replies, kept in a histogram of
//! logarithmic buckets with 1/32 of precision. Deliberately absent: threads, TLS, open-loop load.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Instant;

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

fn run(matches: &ArgMatches) -> io::Result<()> {
    let depth = number::<u64>(matches, "pipeline") as usize;
    let count = number::<u64>(matches, "count");
    let command = matches.get_one::<String>("command").map_or("ping", String::as_str);
    let host = matches.get_one::<String>("host").map_or("127.0.0.1", String::as_str);
    let request = Request::new(command, number::<u64>(matches, "value-size") as usize);
    let bound = number::<u64>(matches, "keys");
    let keys = if matches.get_flag("sequential") {
        Keys::Sequential { next: 0, bound }
    } else {
        Keys::Random { state: 0x0139_408d_cbbf_7a44 ^ u64::from(std::process::id()), bound }
    };
    let mut pipeline = Pipeline::new(&request, depth, keys);

    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    let connection_count = number::<u64>(matches, "connections") as usize;
    let mut connections = open(host, number::<u16>(matches, "port"), connection_count, &epoll)?;
    let mut histogram = matches.get_flag("latency").then(Histogram::new);
    let mut buffer = vec![0; 64 * 1024];
    let mut events = vec![EpollEvent::empty(); 1024];
    let (mut sent, mut done) = (0, 0);

    let start = Instant::now();
    for connection in &mut connections {
        if sent < count {
            connection.send(&mut pipeline, depth)?;
            sent += depth as u64;
        }
    }
    while done < sent {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..ready] {
            let connection = &mut connections[event.data() as usize];
            let len = connection.stream.read(&mut buffer)?;
            if len == 0 {
                return Err(io::Error::other("the server closed a connection"));
            }
            let replies = connection.counter.count(&buffer[..len])?;
            connection.outstanding = connection.outstanding.saturating_sub(replies);
            if replies == 0 || connection.outstanding > 0 {
                continue;
            }
            done += depth as u64;
            if let Some(histogram) = &mut histogram {
                histogram.record(connection.sent_at.elapsed().as_nanos() as u64);
            }
            if sent < count {
                connection.send(&mut pipeline, depth)?;
                sent += depth as u64;
            }
        }
    }
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
