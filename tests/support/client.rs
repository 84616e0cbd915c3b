//! A RESP client for tests: it sends arguments or raw bytes and reads whole replies of RESP2 and
//! RESP3 as values that can be compared and printed.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// A read that takes longer than this fails the test rather than hang it.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// One reply, as it came over the wire: a RESP2 null array is not a RESP3 null.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `+`
    Simple(Vec<u8>),
    /// `-`
    Error(Vec<u8>),
    /// `:`
    Integer(i64),
    /// `$`
    Bulk(Vec<u8>),
    /// `$-1`
    NullBulk,
    /// `*-1`
    NullArray,
    /// `_`
    Null,
    /// `*`
    Array(Vec<Value>),
    /// `%`, in the order received
    Map(Vec<(Value, Value)>),
    /// `~`, in the order received
    Set(Vec<Value>),
    /// `>`
    Push(Vec<Value>),
    /// `,` as its text: so that its form is compared, too
    Double(Vec<u8>),
    /// `#`
    Boolean(bool),
    /// `(`
    BigNumber(Vec<u8>),
    /// `=` with its three-letter format
    Verbatim(Vec<u8>),
}

impl Value {
    /// A bulk string.
    pub fn bulk(text: &str) -> Self {
        Self::Bulk(text.as_bytes().to_vec())
    }

    /// Whether it's an error reply.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }

    /// The bytes of anything that carries a string.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Simple(bytes)
            | Self::Error(bytes)
            | Self::Bulk(bytes)
            | Self::Double(bytes)
            | Self::BigNumber(bytes)
            | Self::Verbatim(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text of anything that carries a string, else its printed form.
    pub fn text(&self) -> String {
        match self.bytes() {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => self.to_string(),
        }
    }

    /// The number of an integer reply.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The elements of anything made of elements; a map's are its keys and values in turn.
    pub fn elements(&self) -> Vec<Value> {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => items.clone(),
            Self::Map(pairs) => pairs.iter().flat_map(|(k, v)| [k.clone(), v.clone()]).collect(),
            _ => Vec::new(),
        }
    }

    /// The value under a name, in a map or in a RESP2 array of names and values.
    pub fn field(&self, name: &str) -> Option<Value> {
        let elements = self.elements();
        elements.chunks(2).find(|pair| pair[0].bytes() == Some(name.as_bytes()))?.get(1).cloned()
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list(f: &mut fmt::Formatter<'_>, open: char, items: &[Value]) -> fmt::Result {
            write!(f, "{open}[")?;
            for (index, item) in items.iter().enumerate() {
                write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
            }
            f.write_str("]")
        }
        match self {
            Self::Simple(bytes) => write!(f, "+{}", bytes.escape_ascii()),
            Self::Error(bytes) => write!(f, "-{}", bytes.escape_ascii()),
            Self::Integer(number) => write!(f, ":{number}"),
            Self::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::NullBulk => f.write_str("$nil"),
            Self::NullArray => f.write_str("*nil"),
            Self::Null => f.write_str("_nil"),
            Self::Array(items) => list(f, '*', items),
            Self::Set(items) => list(f, '~', items),
            Self::Push(items) => list(f, '>', items),
            Self::Map(_) => list(f, '%', &self.elements()),
            Self::Double(text) => write!(f, ",{}", text.escape_ascii()),
            Self::Boolean(truth) => write!(f, "#{truth}"),
            Self::BigNumber(text) => write!(f, "({}", text.escape_ascii()),
            Self::Verbatim(text) => write!(f, "={}", text.escape_ascii()),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<TcpStream>,
    pushes: VecDeque<Value>,
}

impl Client {
    /// Connects to a port of this machine.
    pub fn try_connect(port: u16) -> io::Result<Self> {
        Self::try_connect_to("127.0.0.1", port, READ_TIMEOUT)
    }

    /// Connects to a server anywhere; it may take so long to answer anything.
    pub fn try_connect_to(host: &str, port: u16, patience: Duration) -> io::Result<Self> {
        let address = (host, port).to_socket_addrs()?.next();
        let address = address.ok_or(ErrorKind::AddrNotAvailable)?;
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { reader: BufReader::with_capacity(64 * 1024, stream), pushes: VecDeque::new() })
    }

    /// Sends one command and reads its reply.
    pub fn try_call<A: AsRef<[u8]>>(&mut self, argv: &[A]) -> io::Result<Value> {
        self.try_send_raw(&encode(argv))?;
        self.try_read()
    }

    /// Sends one command and reads its reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, argv: &[A]) -> Value {
        self.try_call(argv).unwrap_or_else(|error| panic!("{}: {error}", quote(argv)))
    }

    /// Sends one command, given as words between spaces.
    pub fn words(&mut self, line: &str) -> Value {
        self.call(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Sends all the commands at once, then reads all the replies.
    pub fn try_pipeline(&mut self, commands: &[Vec<Vec<u8>>]) -> io::Result<Vec<Value>> {
        let bytes: Vec<u8> = commands.iter().flat_map(|argv| encode(argv)).collect();
        self.try_send_raw(&bytes)?;
        commands.iter().map(|_| self.try_read()).collect()
    }

    /// Sends all the commands at once, then reads all the replies.
    pub fn pipeline(&mut self, commands: &[Vec<Vec<u8>>]) -> Vec<Value> {
        self.try_pipeline(commands).expect("replies to a pipeline")
    }

    /// Sends bytes as they are.
    pub fn try_send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Everything the server sends until it closes the connection.
    pub fn read_to_close(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.reader.read_to_end(&mut bytes) {
            // A server that closes with input unread resets the connection.
            Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error),
            _ => Ok(bytes),
        }
    }

    /// Says that nothing more will be sent; replies can still be read.
    pub fn finish_sending(&mut self) -> io::Result<()> {
        self.reader.get_mut().shutdown(std::net::Shutdown::Write)
    }

    /// Reads one reply. Pushes that come before it are set aside for [`Client::next_push`].
    pub fn try_read(&mut self) -> io::Result<Value> {
        loop {
            match self.read_value()? {
                push @ Value::Push(_) => self.pushes.push_back(push),
                value => return Ok(value),
            }
        }
    }

    /// Reads what comes next, a reply or a push. Not behind [`Client::try_read`], which sets pushes aside.
    pub fn next_value(&mut self) -> io::Result<Value> {
        self.read_value()
    }

    /// Whether something has arrived that nobody has read.
    pub fn has_answer(&mut self) -> bool {
        if !self.reader.buffer().is_empty() {
            return true;
        }
        let stream = self.reader.get_ref();
        stream.set_nonblocking(true).expect("a socket can be asked");
        let arrived = stream.peek(&mut [0]).is_ok();
        stream.set_nonblocking(false).expect("a socket can be asked");
        arrived
    }

    /// The pushes set aside so far.
    pub fn take_pushes(&mut self) -> Vec<Value> {
        self.pushes.drain(..).collect()
    }

    /// Ends the connection with a reset.
    pub fn abort(self) {
        let stream = self.reader.get_ref();
        // Without, dropping it closes it in the common way.
        let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }

    /// The oldest push not yet taken, read from the connection where there is none.
    pub fn next_push(&mut self) -> io::Result<Value> {
        match self.pushes.pop_front() {
            Some(push) => Ok(push),
            None => self.read_value(),
        }
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\r\n") {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed"));
        }
        line.truncate(line.len() - 2);
        Ok(line)
    }

    fn blob(&mut self, len: i64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len as usize + 2];
        self.reader.read_exact(&mut bytes)?;
        if !bytes.ends_with(b"\r\n") {
            return Err(malformed("no line end after a blob", &bytes));
        }
        bytes.truncate(len as usize);
        Ok(bytes)
    }

    fn values(&mut self, count: i64) -> io::Result<Vec<Value>> {
        (0..count).map(|_| self.read_value()).collect()
    }

    fn read_value(&mut self) -> io::Result<Value> {
        let line = self.line()?;
        let Some((&kind, rest)) = line.split_first() else {
            return Err(malformed("an empty line", &line));
        };
        let rest = rest.to_vec();
        let number = || {
            let text = std::str::from_utf8(&rest).ok().and_then(|text| text.parse::<i64>().ok());
            text.ok_or_else(|| malformed("a number was expected", &rest))
        };
        Ok(match kind {
            b'+' => Value::Simple(rest),
            b'-' => Value::Error(rest),
            b':' => Value::Integer(number()?),
            b'$' if number()? == -1 => Value::NullBulk,
            b'*' if number()? == -1 => Value::NullArray,
            b'$' => Value::Bulk(self.blob(number()?)?),
            b'*' => Value::Array(self.values(number()?)?),
            b'~' => Value::Set(self.values(number()?)?),
            b'>' => Value::Push(self.values(number()?)?),
            b'%' => {
                let mut flat = self.values(number()? * 2)?.into_iter();
                let mut pairs = Vec::new();
                while let (Some(key), Some(value)) = (flat.next(), flat.next()) {
                    pairs.push((key, value));
                }
                Value::Map(pairs)
            }
            b'_' => Value::Null,
            b',' => Value::Double(rest),
            b'#' => Value::Boolean(rest == b"t"),
            b'(' => Value::BigNumber(rest),
            b'=' => Value::Verbatim(self.blob(number()?)?),
            _ => return Err(malformed("an unknown reply type", &line)),
        })
    }
}

fn malformed(what: &str, bytes: &[u8]) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("{what}: \"{}\"", bytes.escape_ascii()))
}

/// A command in its wire form.
pub fn encode<A: AsRef<[u8]>>(argv: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", argv.len()).into_bytes();
    for argument in argv {
        let argument = argument.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Arguments from words of text.
pub fn argv(line: &str) -> Vec<Vec<u8>> {
    line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}

/// A command as one could type it into redis-cli.
pub fn quote<A: AsRef<[u8]>>(argv: &[A]) -> String {
    let quoted = argv.iter().map(|argument| {
        let argument = argument.as_ref();
        let plain = !argument.is_empty() && argument.iter().all(u8::is_ascii_graphic);
        let escaped = argument.escape_ascii().to_string();
        if plain && escaped.len() == argument.len() { escaped } else { format!("\"{escaped}\"") }
    });
    quoted.collect::<Vec<_>>().join(" ")
}
