//! The loop of a work queue: producers that add entries to one stream, and a group's consumers that
//! read and acknowledge them.
//!
//! A connection has one request under way, whose reply it waits for. A producer sends XADD again and
//! again. A consumer sends XREADGROUP with BLOCK and, where it got entries, one XACK of all of them.
//! What counts is acknowledged entries.
//!
//! Deliberately absent: claiming what other consumers left, trimming, more than one stream.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches, Command, value_parser};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::{host, number};

const KEY: &str = "redstart-load:stream";
const GROUP: &str = "group";

/// The depth of an entry's ID in XREADGROUP's reply: streams, a stream, its entries, an entry.
const ID_DEPTH: usize = 4;

/// The subcommand and its arguments.
pub fn arguments() -> Command {
    let positive = || value_parser!(u64).range(1..);
    let option = |name: &'static str, default: &'static str| {
        Arg::new(name).long(name).value_parser(positive()).default_value(default)
    };
    Command::new("streams")
        .about("Producers and a group's consumers of one stream: acknowledged entries a second")
        .arg(Arg::new("port").long("port").required(true).value_parser(value_parser!(u16)))
        .arg(Arg::new("host").long("host").default_value("127.0.0.1"))
        .arg(option("producers", "50").help("connections that add"))
        .arg(option("consumers", "50").help("connections that read and acknowledge"))
        .arg(option("count", "10").help("entries that one read asks for at most"))
        .arg(option("block", "100").help("milliseconds that a read waits for entries"))
        .arg(option("seconds", "3").help("how long it goes on"))
}

/// Runs the loop, and prints what came of it.
pub fn run(matches: &ArgMatches) -> io::Result<()> {
    let duration = Duration::from_secs(number::<u64>(matches, "seconds"));
    let mut queue = Queue::new(matches)?;
    let start = Instant::now();
    queue.run(start + duration)?;
    let rate = |count: u64| count as f64 / start.elapsed().as_secs_f64();
    println!(
        "{:.0} acknowledged/s, {:.0} added/s, {:.0} reads/s, {:.0} empty reads/s",
        rate(queue.acknowledged),
        rate(queue.added),
        rate(queue.reads),
        rate(queue.empty_reads)
    );
    Ok(())
}

/// What a connection waits for.
#[derive(Clone, Copy)]
enum Awaited {
    Added,
    Entries,
    Acknowledged,
}

struct Connection {
    stream: TcpStream,
    awaited: Awaited,
    /// What it sends when it has nothing to acknowledge: XADD, or XREADGROUP of its consumer.
    request: Vec<u8>,
    /// What came of the reply awaited.
    reply: Vec<u8>,
}

struct Queue {
    epoll: Epoll,
    connections: Vec<Connection>,
    added: u64,
    acknowledged: u64,
    reads: u64,
    empty_reads: u64,
}

impl Queue {
    fn new(matches: &ArgMatches) -> io::Result<Self> {
        let address = (host(matches), number::<u16>(matches, "port"));
        let (count, block) = (number::<u64>(matches, "count"), number::<u64>(matches, "block"));
        let mut control = TcpStream::connect(address)?;
        ask(&mut control, &["DEL", KEY])?;
        ask(&mut control, &["XGROUP", "CREATE", KEY, GROUP, "$", "MKSTREAM"])?;
        let (count, block) = (count.to_string(), block.to_string());
        let add = ["XADD", KEY, "*", "sensor-id", "1234", "temperature", "19.8"];
        let producers = number::<u64>(matches, "producers") as usize;
        let consumers = number::<u64>(matches, "consumers") as usize;
        let epoll = Epoll::new(EpollCreateFlags::empty())?;
        let mut connections = Vec::with_capacity(producers + consumers);
        for index in 0..producers + consumers {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
            let name = format!("consumer:{index}");
            let read = ["XREADGROUP", "GROUP", GROUP, &name, "COUNT", &count, "BLOCK", &block];
            let (awaited, request) = if index < producers {
                (Awaited::Added, encode(&add))
            } else {
                (Awaited::Entries, encode(&[&read[..], &["STREAMS", KEY, ">"]].concat()))
            };
            connections.push(Connection { stream, awaited, request, reply: Vec::new() });
        }
        Ok(Self { epoll, connections, added: 0, acknowledged: 0, reads: 0, empty_reads: 0 })
    }

    fn run(&mut self, end: Instant) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut events = vec![EpollEvent::empty(); 1024];
        for connection in &mut self.connections {
            connection.stream.write_all(&connection.request)?;
        }
        while Instant::now() < end {
            let ready = self.epoll.wait(&mut events, EpollTimeout::from(100_u8))?;
            for event in &events[..ready] {
                self.receive(event.data() as usize, &mut buffer)?;
            }
        }
        Ok(())
    }

    /// Takes what a connection received, and sends its next request behind a whole reply.
    fn receive(&mut self, index: usize, buffer: &mut [u8]) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let len = connection.stream.read(buffer)?;
        if len == 0 {
            return Err(io::Error::other("the server closed a connection"));
        }
        connection.reply.extend_from_slice(&buffer[..len]);
        let mut ids = Vec::new();
        let mut reply = Reply { bytes: &connection.reply, at: 0 };
        let Some(number) = reply.value(0, &mut ids)? else { return Ok(()) };
        let mut acknowledge = Vec::new();
        match connection.awaited {
            Awaited::Added => self.added += 1,
            Awaited::Acknowledged => {
                self.acknowledged += number;
                connection.awaited = Awaited::Entries;
            }
            Awaited::Entries if ids.is_empty() => self.empty_reads += 1,
            Awaited::Entries => {
                self.reads += 1;
                acknowledge = encode_acknowledge(&connection.reply, &ids);
                connection.awaited = Awaited::Acknowledged;
            }
        }
        connection.reply.clear();
        let next = if acknowledge.is_empty() { &connection.request } else { &acknowledge };
        connection.stream.write_all(next)
    }
}

fn encode<T: AsRef<[u8]>>(words: &[T]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.as_ref().len()).as_bytes());
        bytes.extend_from_slice(word.as_ref());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn encode_acknowledge(reply: &[u8], ids: &[Range<usize>]) -> Vec<u8> {
    let mut words: Vec<&[u8]> = vec![b"XACK", KEY.as_bytes(), GROUP.as_bytes()];
    words.extend(ids.iter().map(|id| &reply[id.clone()]));
    encode(&words)
}

/// Sends a command and reads its reply of one line.
fn ask(stream: &mut TcpStream, words: &[&str]) -> io::Result<()> {
    stream.write_all(&encode(words))?;
    let (mut reply, mut buffer) = (Vec::new(), [0; 1024]);
    while (Reply { bytes: &reply, at: 0 }).value(0, &mut Vec::new())?.is_none() {
        match stream.read(&mut buffer)? {
            0 => return Err(io::Error::other("the server closed a connection")),
            len => reply.extend_from_slice(&buffer[..len]),
        }
    }
    Ok(())
}

/// A reply in RESP2 of which all or a part is there.
struct Reply<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reply<'_> {
    /// Skips one value, and notes where the IDs of entries are. Returns the number that a `:` line
    /// has and 0 for all else, or none where the value isn't whole.
    fn value(&mut self, depth: usize, ids: &mut Vec<Range<usize>>) -> io::Result<Option<u64>> {
        let rest = &self.bytes[self.at..];
        let Some(end) = memchr::memchr(b'\n', rest) else { return Ok(None) };
        let line = String::from_utf8_lossy(&rest[..end]);
        let number = line.trim_end().get(1..).and_then(|text| text.parse::<i64>().ok());
        self.at += end + 1;
        match (rest[0], number) {
            (b'-', _) => Err(io::Error::other(format!("the server replied {}", line.trim_end()))),
            (b'*', Some(count)) => {
                for index in 0..count {
                    let known = ids.len();
                    if self.value(depth + 1, ids)?.is_none() {
                        return Ok(None);
                    }
                    // An entry's first element is its ID; the other is an array of its fields.
                    if depth + 1 == ID_DEPTH && index > 0 {
                        ids.truncate(known);
                    }
                }
                Ok(Some(0))
            }
            (b'$', Some(len)) if len >= 0 => {
                let blob = self.at..self.at + len as usize;
                self.at = blob.end + 2;
                if depth == ID_DEPTH {
                    ids.push(blob);
                }
                Ok((self.at <= self.bytes.len()).then_some(0))
            }
            (b':', Some(number)) => Ok(Some(number as u64)),
            _ => Ok(Some(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_once_a_reply_is_whole() {
        let reply = b"*1\r\n*2\r\n$1\r\ns\r\n*2\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n\
            *2\r\n$3\r\n1-1\r\n*-1\r\n";
        for cut in 0..reply.len() {
            let mut cut_off = Reply { bytes: &reply[..cut], at: 0 };
            assert_eq!(cut_off.value(0, &mut Vec::new()).unwrap(), None, "cut at {cut}");
        }
        let mut ids = Vec::new();
        assert_eq!(Reply { bytes: reply, at: 0 }.value(0, &mut ids).unwrap(), Some(0));
        let texts: Vec<&[u8]> = ids.iter().map(|id| &reply[id.clone()]).collect();
        assert_eq!(texts, [b"1-0", b"1-1"]);
        assert_eq!(encode_acknowledge(reply, &ids[..1]), encode(&["XACK", KEY, GROUP, "1-0"]));
    }

    #[test]
    fn lines_have_numbers_or_errors() {
        let number = |bytes: &[u8]| Reply { bytes, at: 0 }.value(0, &mut Vec::new());
        assert_eq!(number(b":12\r\n").unwrap(), Some(12));
        assert_eq!(number(b"*-1\r\n").unwrap(), Some(0));
        assert_eq!(number(b"$-1\r\n").unwrap(), Some(0));
        assert!(number(b"-ERR no\r\n").is_err());
    }
}
