//! What the clients of a crash run ask for: commands of all types, seeded, with results that depend
//! on chance, time and each other.
//!
//! There are few keys, so that commands meet; collections are compact up to few elements, so that
//! they grow past that and back; and in some runs one collection is so big that a snapshot freezes
//! it instead of copying it.

use redstart::base::env::Rng;

/// A command's words.
pub type Words = Vec<Vec<u8>>;

/// Directives that make small data meet every form of it.
pub const SMALL_FORMS: [(&str, &str); 6] = [
    ("hash-max-listpack-entries", "6"),
    ("hash-max-listpack-value", "24"),
    ("set-max-intset-entries", "6"),
    ("set-max-listpack-entries", "6"),
    ("zset-max-listpack-entries", "6"),
    ("list-max-listpack-size", "4"),
];

/// A command of words without spaces.
pub fn words(text: &str) -> Words {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// Makes units; a unit is what is recovered together or not at all.
pub struct Workload {
    rng: Rng,
    /// Which collection is big in this run, if any is.
    big: Option<char>,
    built: bool,
    /// Whether the log is turned on and off.
    pub toggles: bool,
}

impl Workload {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed);
        let big = ['l', 'h', 'e', 'z'][rng.below(4) as usize];
        let toggles = rng.below(2) == 0;
        Self { big: (rng.below(4) == 0).then_some(big), built: false, toggles, rng }
    }

    /// The commands of the next unit, in the database that they select.
    pub fn unit(&mut self) -> Vec<Words> {
        let db = self.rng.below(3);
        let mut unit = vec![words(&format!("SELECT {db}"))];
        if let Some(kind) = self.big.filter(|_| !self.built) {
            self.built = true;
            unit.push(build(kind));
        } else if self.rng.below(6) == 0 {
            unit.push(words("MULTI"));
            for _ in 0..2 + self.rng.below(3) {
                if self.rng.below(3) == 0 {
                    let other = self.rng.below(3);
                    unit.push(words(&format!("SELECT {other}")));
                }
                let command = self.command();
                unit.push(command);
            }
            if self.rng.below(8) == 0 {
                let jobs = ["BGSAVE", "BGREWRITEAOF", "CONFIG SET appendonly yes"];
                let toggles = if self.toggles { 3 } else { 2 };
                unit.insert(3, words(jobs[self.rng.below(toggles) as usize]));
            }
            unit.push(words("EXEC"));
        } else {
            let command = self.command();
            unit.push(command);
        }
        unit
    }

    /// A command that waits, in database 0.
    pub fn waiting(&mut self) -> Words {
        let n = self.rng.below(3);
        words(&match self.rng.below(4) {
            0 => format!("BLPOP l:{n} 0"),
            1 => format!("BLMOVE l:{n} l:0 RIGHT LEFT 0"),
            2 => format!("BLMPOP 0 2 l:0 l:{n} LEFT COUNT 2"),
            _ => format!("BZPOPMIN z:0 z:{n} 0"),
        })
    }

    fn value(&mut self) -> String {
        match self.rng.below(8) {
            0 => "x".repeat(30 + self.rng.below(700) as usize),
            1..=3 => self.rng.below(100).to_string(),
            _ => format!("v{}", self.rng.below(50)),
        }
    }

    fn command(&mut self) -> Words {
        if self.big.is_some() && self.rng.below(3) == 0 {
            return self.change_of_big();
        }
        let n = self.rng.below(3);
        words(&match self.rng.below(7) {
            0 => self.string(n),
            1 => self.list(n),
            2 => self.hash(n),
            3 => self.set(n),
            4 => self.zset(n),
            _ => self.generic(n),
        })
    }

    fn string(&mut self, n: u64) -> String {
        let (value, soon) = (self.value(), 50 + self.rng.below(2500));
        match self.rng.below(9) {
            0 => format!("SET s:{n} {value} PX {soon}"),
            1 => format!("SET s:{n} {value} KEEPTTL"),
            2 => format!("APPEND s:{n} {value}"),
            3 => format!("INCR i:{n}"),
            4 => format!("INCRBYFLOAT i:{n} 0.25"),
            5 => format!("SETRANGE s:{n} {} {value}", self.rng.below(40)),
            6 => format!("GETDEL s:{n}"),
            7 => format!("GETEX s:{n} PX {soon}"),
            _ => format!("MSET s:0 {value} s:1 {value} i:{n} {soon}"),
        }
    }

    fn list(&mut self, n: u64) -> String {
        let (value, other) = (self.value(), self.value());
        match self.rng.below(9) {
            0..=2 => format!("RPUSH l:{n} {value} {other} {value}"),
            3 => format!("LPUSH l:{n} {value}"),
            4 => format!("LPOP l:{n} 2"),
            5 => format!("LTRIM l:{n} 0 {}", 3 + self.rng.below(6)),
            6 => format!("LSET l:{n} -1 {value}"),
            7 => format!("LREM l:{n} 1 {value}"),
            _ => format!("LMOVE l:{n} l:0 LEFT RIGHT"),
        }
    }

    fn hash(&mut self, n: u64) -> String {
        let (value, field) = (self.value(), self.rng.below(10));
        let soon = 50 + self.rng.below(2500);
        match self.rng.below(8) {
            0..=2 => format!("HSET h:{n} f{field} {value} f{} {soon}", field / 2),
            3 => format!("HDEL h:{n} f{field}"),
            4 => format!("HINCRBY h:{n} count 3"),
            5 => format!("HPERSIST h:{n} FIELDS 1 f{field}"),
            _ => format!("HPEXPIRE h:{n} {soon} FIELDS 2 f{field} f{}", field / 2),
        }
    }

    fn set(&mut self, n: u64) -> String {
        let (value, number) = (self.value(), self.rng.below(30));
        match self.rng.below(9) {
            0..=1 => format!("SADD e:{n} {number} {} {}", number + 1, number * 2),
            2 => format!("SADD e:{n} {value} m{number}"),
            3 => format!("SREM e:{n} {number}"),
            4 => format!("SPOP e:{n}"),
            5 => format!("SPOP e:{n} {}", 1 + self.rng.below(4)),
            6 => format!("SMOVE e:{n} e:0 {number}"),
            7 => format!("SUNIONSTORE e:{n} e:0 e:1"),
            _ => format!("SDIFFSTORE e:{n} e:0 e:1"),
        }
    }

    fn zset(&mut self, n: u64) -> String {
        let (number, member) = (self.rng.below(90), self.rng.below(12));
        match self.rng.below(8) {
            0..=2 => format!("ZADD z:{n} {number} m{member} {number}.5 m{}", member / 2),
            3 => format!("ZINCRBY z:{n} 0.75 m{member}"),
            4 => format!("ZREM z:{n} m{member}"),
            5 => format!("ZPOPMIN z:{n} 2"),
            6 => format!("ZUNIONSTORE z:{n} 2 z:0 z:1 WEIGHTS 2 1"),
            _ => format!("ZRANGESTORE z:{n} z:0 0 4"),
        }
    }

    fn generic(&mut self, n: u64) -> String {
        let kind = ['s', 'i', 'l', 'h', 'e', 'z'][self.rng.below(6) as usize];
        let (m, db) = (self.rng.below(3), self.rng.below(3));
        let soon = 50 + self.rng.below(2500);
        match self.rng.below(12) {
            0..=1 => format!("PEXPIRE {kind}:{n} {soon}"),
            2 => format!("PERSIST {kind}:{n}"),
            3 => format!("RENAME {kind}:{n} {kind}:{m}"),
            4 => format!("COPY {kind}:{n} {kind}:{m} DB {db} REPLACE"),
            5 => format!("MOVE {kind}:{n} {db}"),
            6 => format!("DEL {kind}:{n}"),
            7 => format!("UNLINK {kind}:{n} {kind}:{m}"),
            8 => format!("SORT l:{n} ALPHA STORE l:{m}"),
            9 => format!("SORT e:{n} BY nosort GET # STORE l:{m}"),
            10 if self.rng.below(12) == 0 => "FLUSHDB".into(),
            10 if self.rng.below(4) == 0 => format!("SWAPDB 0 {db}"),
            _ => format!("EXPIRE {kind}:{n} {}", 1 + self.rng.below(3)),
        }
    }

    fn change_of_big(&mut self) -> Words {
        let at = self.rng.below(80);
        words(&match (self.big.unwrap_or('l'), self.rng.below(4)) {
            ('l', 0) => format!("LSET big:l {at} changed{at}"),
            ('l', 1) => format!("RPUSH big:l more{at}"),
            ('l', 2) => "LPOP big:l".into(),
            ('l', _) => format!("LINSERT big:l BEFORE changed{at} before"),
            ('h', 0) => format!("HDEL big:h {}", number(at)),
            ('h', 1) => format!("HPEXPIRE big:h {} FIELDS 1 {}", 100 + at * 9, number(at)),
            ('h', _) => format!("HSET big:h {} changed{at}", number(at)),
            ('e', 0) => "SPOP big:e".into(),
            ('e', 1) => format!("SREM big:e {}", long(at)),
            ('e', _) => format!("SADD big:e more{at}"),
            (_, 0) => "ZPOPMAX big:z 2".into(),
            (_, 1) => format!("ZREM big:z {}", long(at)),
            (_, _) => format!("ZADD big:z {at} {}", long(at)),
        })
    }
}

fn number(at: u64) -> String {
    format!("field{at}")
}

fn long(at: u64) -> String {
    format!("member{at}{}", "y".repeat(1000))
}

/// The command that makes a collection of more than 64 KiB.
fn build(kind: char) -> Words {
    let mut list = match kind {
        'l' => words("RPUSH big:l"),
        'h' => words("HSET big:h"),
        'e' => words("SADD big:e"),
        _ => words("ZADD big:z"),
    };
    for at in 0..80 {
        match kind {
            'h' => list.extend([number(at), long(at)].map(String::into_bytes)),
            'z' => list.extend([at.to_string(), long(at)].map(String::into_bytes)),
            _ => list.push(long(at).into_bytes()),
        }
    }
    list
}
