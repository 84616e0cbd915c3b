//! Random commands: the pools that keys and values come from, the families of generators, and the
//! mutations that make right commands wrong.
//!
//! Few keys and few values, so that commands meet; odd values, so that edges are met. No generated
//! command may depend on when it runs: expiry times are far away, or past, or refused.

use crate::compare::Check;
use crate::support::random::Random;
use crate::{
    bitmaps, connection, geo, hashes, hyperloglogs, keys, lists, sets, sorting, streams, strings,
    transactions, zsets,
};

/// One command and how its replies are compared.
#[derive(Clone, Debug)]
pub struct Step {
    /// The command's words.
    pub argv: Vec<Vec<u8>>,
    /// How its replies are compared.
    pub check: Check,
}

/// A command in the making.
pub struct Words(Vec<Vec<u8>>);

impl Words {
    /// Starts with the words of a line.
    pub fn new(line: &str) -> Self {
        Self(line.split(' ').map(|word| word.as_bytes().to_vec()).collect())
    }

    /// Adds a word.
    pub fn and(mut self, word: impl AsRef<[u8]>) -> Self {
        self.0.push(word.as_ref().to_vec());
        self
    }

    /// Adds words.
    pub fn and_all(mut self, words: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.0.extend(words);
        self
    }

    /// A step whose replies are compared to the byte.
    pub fn exact(self) -> Step {
        self.checked(Check::Exact)
    }

    /// A step whose replies are compared in this way.
    pub fn checked(self, check: Check) -> Step {
        Step { argv: self.0, check }
    }
}

/// A family's generator, and how often it's asked.
pub struct Family {
    /// What `DIFF_FAVOUR` calls it.
    pub name: &'static str,
    /// Its share among all weights.
    pub weight: usize,
    /// Makes one command.
    pub generate: fn(&mut Generator) -> Step,
}

/// Every family of commands.
pub const FAMILIES: &[Family] = &[
    Family { name: "strings", weight: 45, generate: strings::generate },
    Family { name: "bitmaps", weight: 30, generate: bitmaps::generate },
    Family { name: "hyperloglogs", weight: 30, generate: hyperloglogs::generate },
    Family { name: "geo", weight: 30, generate: geo::generate },
    Family { name: "hashes", weight: 45, generate: hashes::generate },
    Family { name: "lists", weight: 45, generate: lists::generate },
    Family { name: "sets", weight: 45, generate: sets::generate },
    Family { name: "zsets", weight: 45, generate: zsets::generate },
    Family { name: "streams", weight: 45, generate: streams::generate },
    Family { name: "sorting", weight: 8, generate: sorting::generate },
    Family { name: "keys", weight: 40, generate: keys::generate },
    Family { name: "connection", weight: 9, generate: connection::generate },
    Family { name: "transactions", weight: 6, generate: transactions::generate },
];

const KEYS: &[&[u8]] = &[
    b"k0",
    b"k1",
    b"k2",
    b"k3",
    b"k4",
    b"k5",
    b"k6",
    b"k7",
    b"k8",
    b"k9",
    b"a",
    b"{tag}:x",
    b"",
    b"key with space",
    b"bin\x00\xff\r\n",
    b"K0",
];

/// Sorted sets of one score only, so that their members' bytes have a meaning.
pub const LEX_KEYS: &[&[u8]] = &[b"lex:0", b"lex:1", b"lex:2"];

/// Keys that most stream commands are about.
pub const STREAM_KEYS: &[&[u8]] = &[b"stream:0", b"stream:1", b"stream:2"];
/// Sorted sets of places.
pub const GEO_KEYS: &[&[u8]] = &[b"geo:0", b"geo:1", b"geo:2"];

const LONG_KEY: usize = 300;
const LONGER_KEY: usize = 70_000;

/// Every key that can occur unspoiled.
pub fn all_keys() -> Vec<Vec<u8>> {
    let long = [vec![b'L'; LONG_KEY], vec![b'M'; LONGER_KEY]];
    let families = KEYS.iter().chain(LEX_KEYS).chain(STREAM_KEYS).chain(GEO_KEYS);
    families.map(|key| key.to_vec()).chain(long).collect()
}

/// Numbers as text, in and out of range, well and badly formed.
const INTEGERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "3",
    "5",
    "10",
    "-10",
    "100",
    "1000",
    "12345678",
    "2147483647",
    "-2147483648",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775806",
];
const NOT_INTEGERS: &[&str] = &[
    "",
    "abc",
    "1.5",
    " 1",
    "1 ",
    "+1",
    "01",
    "-0",
    "0x10",
    "1e3",
    "9223372036854775808",
    "-9223372036854775809",
    "99999999999999999999999",
    "--1",
    "-",
    "1\0",
];
const FLOATS: &[&str] = &[
    "0",
    "1",
    "-1",
    "0.1",
    "-0.1",
    "1.5",
    "3.14159265358979",
    "1e3",
    "1E-3",
    "5.0e3",
    "1e17",
    "1e300",
    "1e-300",
    "200.25",
    "0.000001",
    "123456789.123456789",
    "17179869184",
    "1e4932",
    "-1e400",
    "00.5",
    ".5",
    "5.",
    "0x1p3",
    "1e19",
    "9007199254740993",
];
const NOT_FLOATS: &[&str] = &[
    "", "abc", "nan", "-nan", "inf", "-inf", "+inf", "infinity", " 1.5", "1.5 ", "1.5abc", "1,5",
    "1e", "1e5000",
];

/// Commands whose words aren't spoiled: with others they could stop the server, change how it works,
/// or give replies that can't be compared.
const FRAGILE: &[&[u8]] = &[
    b"BGSAVE",
    b"BLMOVE",
    b"BLMPOP",
    b"BLPOP",
    b"BRPOP",
    b"BRPOPLPUSH",
    b"CLIENT",
    b"COMMAND",
    b"CONFIG",
    b"DEBUG",
    b"INFO",
    b"LASTSAVE",
    b"MEMORY",
    b"SAVE",
    b"SHUTDOWN",
    b"TIME",
    b"WAITAOF",
    b"XREAD",
    b"XREADGROUP",
];

/// The source of random commands.
pub struct Generator {
    /// Every choice comes from here.
    pub random: Random,
    families: &'static [Family],
    favoured: String,
    /// Serialised values that either server gave, to be restored.
    pub payloads: Vec<Vec<u8>>,
}

impl Generator {
    /// The generator of a seed. Every other command is of the family that `DIFF_FAVOUR` names.
    pub fn new(seed: u64, families: &'static [Family]) -> Self {
        let favoured = std::env::var("DIFF_FAVOUR").unwrap_or_default();
        let known = favoured.is_empty() || families.iter().any(|f| f.name == favoured);
        assert!(known, "no family is called {favoured}");
        Self { random: Random::new(seed), families, favoured, payloads: Vec::new() }
    }

    /// The next command.
    pub fn step(&mut self) -> Step {
        loop {
            let families = self.families;
            let total: usize = families.iter().map(|family| family.weight).sum();
            let mut place = self.random.below(total);
            let favoured = families.iter().find(|family| family.name == self.favoured);
            let favoured = favoured.filter(|_| self.random.chance(50));
            let family = favoured.or_else(|| {
                families.iter().find(|family| {
                    let found = place < family.weight;
                    place = place.saturating_sub(family.weight);
                    found
                })
            });
            let generate =
                family.map_or(strings::generate as fn(&mut Self) -> Step, |f| f.generate);
            let mut step = generate(self);
            if self.random.chance(7) && !FRAGILE.contains(&step.argv[0].as_slice()) {
                self.spoil(&mut step.argv);
            }
            if step.check == Check::Scan && step.argv.get(1).is_none_or(|cursor| cursor != b"0") {
                // A cursor that isn't a server's own means nothing to another.
                step.check = Check::Shape;
            }
            if sorts_by_nothing(&step.argv) && step.check == Check::Exact {
                // A set's own order, which each server has for itself.
                step.check = Check::Shape;
            }
            if self.random.chance(10) {
                self.mix_case(&mut step.argv[0]);
            }
            if !is_hazardous(&step.argv) {
                return step;
            }
        }
    }

    /// A key, most often one of the few.
    pub fn key(&mut self) -> Vec<u8> {
        match self.random.below(100) {
            0..=64 => KEYS[self.random.below(8)].to_vec(),
            65..=96 => self.random.pick(KEYS).to_vec(),
            97..=98 => vec![b'L'; LONG_KEY],
            _ => vec![b'M'; LONGER_KEY],
        }
    }

    /// One to four keys.
    pub fn keys(&mut self) -> Vec<Vec<u8>> {
        (0..=self.random.below(4)).map(|_| self.key()).collect()
    }

    /// A value of any kind.
    pub fn value(&mut self) -> Vec<u8> {
        match self.random.below(100) {
            0..=24 => self.integer(),
            25..=34 => self.float(),
            35..=49 => self
                .random
                .pick(&["", "a", "b", "hello", "Hello World", "foo bar", "OK", "nil"])
                .into(),
            // Around the limits of encodings: embstr 44, a byte of length, inline 192, and 254.
            50..=64 => {
                let len = self.random.pick(&[
                    19, 20, 21, 43, 44, 45, 63, 64, 127, 128, 191, 192, 193, 254, 255, 256,
                ]);
                vec![b'x'; len]
            }
            65..=79 => {
                let len = self.random.below(60);
                (0..len).map(|_| self.random.next() as u8).collect()
            }
            80..=94 => {
                let len = self.random.below(300);
                (0..len).map(|_| b'a' + self.random.below(3) as u8).collect()
            }
            95..=98 => b"compressible ".repeat(100 + self.random.below(100)),
            _ => vec![b'z'; 20_000],
        }
    }

    /// An integer's text, sometimes not quite one.
    pub fn integer(&mut self) -> Vec<u8> {
        match self.random.below(20) {
            0..=9 => self.random.between(-20, 300).to_string().into(),
            10..=12 => (self.random.next() as i64).to_string().into(),
            13..=17 => self.random.pick(INTEGERS).into(),
            _ => self.random.pick(NOT_INTEGERS).into(),
        }
    }

    /// An offset into a value.
    pub fn index(&mut self) -> Vec<u8> {
        if self.random.chance(75) {
            self.random.between(-50, 50).to_string().into()
        } else {
            self.integer()
        }
    }

    /// A float's text, sometimes not quite one.
    pub fn float(&mut self) -> Vec<u8> {
        match self.random.below(20) {
            0..=4 => self.integer(),
            5..=8 => {
                let (whole, part) = (self.random.between(-1000, 1000), self.random.below(100_000));
                format!("{whole}.{part}").into()
            }
            9..=17 => self.random.pick(FLOATS).into(),
            _ => self.random.pick(NOT_FLOATS).into(),
        }
    }

    /// A time to live that is far away, or none at all. `unit` is how many make up a second.
    pub fn time_to_live(&mut self, unit: i64) -> Vec<u8> {
        match self.random.below(20) {
            0..=14 => self.random.between(5_000 * unit, 10_000_000 * unit).to_string().into(),
            15 => b"0".to_vec(),
            16 => self.random.between(-100, -1).to_string().into(),
            17 => self
                .random
                .pick(&[
                    "9223372036854775807",
                    "9223372036854775",
                    "-9223372036854775808",
                    "9223372036854774000",
                ])
                .into(),
            _ => self.random.pick(NOT_INTEGERS).into(),
        }
    }

    /// A moment that is far away, or past. `unit` is how many make up a second.
    pub fn moment(&mut self, unit: i64) -> Vec<u8> {
        match self.random.below(20) {
            0..=13 => (self.random.between(4_000_000_000, 4_001_000_000) * unit
                + self.random.below(unit as usize) as i64)
                .to_string()
                .into(),
            14..=15 => self.random.between(1, 1_000_000 * unit).to_string().into(),
            16 => self.random.pick(&["0", "-1", "-1000"]).into(),
            17 => self
                .random
                .pick(&["9223372036854775807", "9223372036854775", "-9223372036854775808"])
                .into(),
            _ => self.random.pick(NOT_INTEGERS).into(),
        }
    }

    /// Option words of an expiry: `EX n` and its relatives.
    pub fn expiry_option(&mut self) -> Vec<Vec<u8>> {
        let word = self.random.pick(&["EX", "PX", "EXAT", "PXAT"]);
        let time = match word {
            "EX" => self.time_to_live(1),
            "PX" => self.time_to_live(1000),
            "EXAT" => self.moment(1),
            _ => self.moment(1000),
        };
        vec![word.into(), time]
    }

    /// Makes a right command (most often) wrong: one word less, more, doubled, or odd.
    fn spoil(&mut self, argv: &mut Vec<Vec<u8>>) {
        let place = 1 + self.random.below(argv.len());
        match self.random.below(5) {
            0 if argv.len() > 1 => {
                argv.pop();
            }
            1 if place < argv.len() => {
                argv.remove(place);
            }
            2 => {
                let word = self.odd_word();
                argv.insert(place, word);
            }
            3 if place < argv.len() => {
                let word = argv[place].clone();
                argv.push(word);
            }
            _ if place < argv.len() && place > 1 => argv[place] = self.odd_word(),
            _ => {
                let word = self.odd_word();
                argv.push(word);
            }
        }
    }

    fn odd_word(&mut self) -> Vec<u8> {
        match self.random.below(4) {
            0 => self.integer(),
            1 => self.key(),
            2 => self.float(),
            _ => self
                .random
                .pick(&[
                    "NX", "XX", "GT", "LT", "GET", "KEEPTTL", "EX", "PX", "REPLACE", "DB", "COUNT",
                    "MATCH", "TYPE", "bogus", "", "\r\n", "%s", "'quoted'",
                ])
                .into(),
        }
    }

    /// The same word in other letters.
    pub fn mix_case(&mut self, word: &mut [u8]) {
        for letter in word {
            *letter = if self.random.chance(50) {
                letter.to_ascii_uppercase()
            } else {
                letter.to_ascii_lowercase()
            };
        }
    }
}

/// Whether a word is the place of a bit, or of an integer, that makes a string very long.
fn is_far_bit(word: &[u8]) -> bool {
    let (digits, unit) = word.strip_prefix(b"#").map_or((word, 1), |digits| (digits, 64));
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<i128>().ok());
    number.is_some_and(|number| number.abs() * unit >= 1_000_000 && number.abs() < 1 << 33)
}

/// SORT by a pattern without an asterisk, unless it stores what it finds.
fn sorts_by_nothing(argv: &[Vec<u8>]) -> bool {
    let has = |word: &[u8]| argv.iter().any(|arg| arg.eq_ignore_ascii_case(word));
    argv[0].to_ascii_uppercase().starts_with(b"SORT")
        && !has(b"STORE")
        && argv.windows(2).any(|two| two[0].eq_ignore_ascii_case(b"BY") && !two[1].contains(&b'*'))
}

/// Whether a command's effect depends on when it runs, or takes long, or is another since 7.2.
fn is_hazardous(argv: &[Vec<u8>]) -> bool {
    let name = argv[0].to_ascii_uppercase();
    let has = |word: &[u8]| argv.iter().any(|arg| arg.eq_ignore_ascii_case(word));
    if name == b"SORT" && has(b"STORE") && has(b"BY") && has(b"ALPHA") {
        // What weighs the same stays in the order that it had, which a set has for itself.
        return true;
    }
    let far_below = |arg: &Vec<u8>| {
        std::str::from_utf8(arg)
            .ok()
            .and_then(|text| text.parse().ok())
            .is_some_and(|n: i64| n < -(1 << 60))
    };
    if name == b"BITFIELD" && has(b"SAT") && argv.iter().any(far_below) {
        // Upstream's sum overflows, and it stores the greatest number for the smallest.
        return true;
    }
    let count = argv.get(2).and_then(|arg| std::str::from_utf8(arg).ok()?.parse::<i64>().ok());
    if name == b"SPOP" && (argv.len() < 3 || count.is_some_and(|n| (1..100_000).contains(&n))) {
        // What it takes is chance.
        return true;
    }
    let by_bytes = argv.iter().any(|arg| arg.eq_ignore_ascii_case(b"BYLEX"))
        || name.ends_with(b"LEX")
        || name == b"ZLEXCOUNT";
    if by_bytes && !argv.iter().skip(1).take(2).any(|key| key.starts_with(b"lex:")) {
        return true;
    }
    if (name == b"ZRANK" || name == b"ZREVRANK") && argv.len() > 3 {
        // Right in 7.2 and wrong in 7.0, so that a transaction with it would be refused by one.
        return true;
    }
    let number =
        |index: usize| -> Option<i64> { std::str::from_utf8(argv.get(index)?).ok()?.parse().ok() };
    let soon = |index: usize, unit: i64| number(index).is_some_and(|n| n > 0 && n < 5_000 * unit);
    let name = argv[0].to_ascii_uppercase();
    match name.as_slice() {
        b"EXPIRE" | b"SETEX" | b"HEXPIRE" => soon(2, 1),
        b"PEXPIRE" | b"PSETEX" | b"RESTORE" | b"HPEXPIRE" => soon(2, 1000),
        b"SET" | b"GETEX" | b"HGETEX" | b"HSETEX" | b"MSETEX" => (2..argv.len()).any(|index| {
            let word = argv[index].to_ascii_uppercase();
            (word == b"EX" && soon(index + 1, 1)) || (word == b"PX" && soon(index + 1, 1000))
        }),
        // 7.0 keeps the name that a HELLO sets before it fails.
        b"HELLO" => {
            argv.len() != 4 && argv.iter().any(|word| word.eq_ignore_ascii_case(b"SETNAME"))
        }
        // So many of anything take all memory, unless they are refused.
        b"HRANDFIELD" | b"SRANDMEMBER" | b"ZRANDMEMBER" => number(2).is_some_and(|n| {
            n < -10_000 && n != i64::MIN && (argv.len() == 3 || n >= i64::MIN / 2)
        }),
        // Refused since 7.2; 7.0 removes all of them.
        b"LREM" => number(2) == Some(i64::MIN),
        // Other scores would leave the meaning of ranges by bytes open.
        b"ZADD" if LEX_KEYS.contains(&argv.get(1).map_or(&b""[..], Vec::as_slice)) => {
            argv.iter().skip(2).step_by(2).any(|score| score != b"0")
        }
        b"SETRANGE" => number(2).is_some_and(|n| (100_000..540_000_000).contains(&n)),
        // So long a string is built, compared and dumped again and again.
        b"SETBIT" => number(2).is_some_and(|n| (1_000_000..1 << 32).contains(&n)),
        b"BITFIELD" => argv.iter().skip(3).any(|word| is_far_bit(word)),
        _ => false,
    }
}
