//! What is asked of the server: pipelines of one request, whose keys change.

use fastrand::Rng;

/// Digits of a key's number; with `key:` before them a key has 16 bytes.
const KEY_DIGITS: usize = 12;
const KEY_PREFIX: &str = "key:";

/// What is asked of the server, again and again.
pub struct Request {
    /// One request in wire form.
    bytes: Vec<u8>,
    /// Where the key's digits are in it; none where the request has no key.
    digits_at: Option<usize>,
}

impl Request {
    pub fn new(name: &str, value_size: usize) -> Self {
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
pub enum Keys {
    /// Uniformly random ones below the bound.
    Random { random: Rng, bound: u64 },
    /// Each in turn, to fill a server with an exact number of keys.
    Sequential { next: u64, bound: u64 },
}

impl Keys {
    fn next(&mut self) -> u64 {
        match self {
            Self::Random { random, bound } => random.u64(..*bound),
            Self::Sequential { next, bound } => {
                let number = *next;
                *next = (number + 1) % *bound;
                number
            }
        }
    }
}

/// A pipeline of requests whose keys change each time it's sent.
pub struct Pipeline {
    bytes: Vec<u8>,
    request_len: usize,
    digits_at: Option<usize>,
    keys: Keys,
}

impl Pipeline {
    pub fn new(request: &Request, depth: usize, keys: Keys) -> Self {
        Self {
            bytes: request.bytes.repeat(depth),
            request_len: request.bytes.len(),
            digits_at: request.digits_at,
            keys,
        }
    }

    pub fn renew(&mut self) -> &[u8] {
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
