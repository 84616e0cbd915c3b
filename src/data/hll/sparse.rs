//! Registers in runs of equal ones, each of a byte or two, which together are all registers:
//!
//! ```text
//! 00llllll            l + 1 registers of 0                 (1 to 64)
//! 01llllll llllllll   l + 1 registers of 0                 (1 to 16384)
//! 1vvvvvll            l + 1 registers of v + 1             (1 to 4, of values up to 32)
//! ```
//!
//! A value is put by splitting the run that its register is in, and then joining equal neighbours of the
//! third kind nearby. Which bytes that leaves is upstream's documented procedure, step by step: the same
//! additions must leave the same string on either server.

use crate::data::hll::{Corrupted, HEADER_BYTES, REGISTERS, Store, forget_cardinality};

/// The greatest value of a run.
const VALUE_MAX: u8 = 32;
/// Registers of a run with a value.
const VALUE_LEN_MAX: usize = 4;
/// Registers of a run of zeros in one byte.
const SHORT_ZEROS_MAX: usize = 64;
/// Runs that are looked at for equal neighbours after a change.
const JOINED_MAX: usize = 5;
/// Bytes of the three runs that one becomes at most.
const SPLIT_BYTES_MAX: usize = 5;

/// All registers in one run.
pub(crate) const EMPTY: [u8; 2] = long_zeros(REGISTERS);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Zeros,
    LongZeros,
    Value(u8),
}

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    kind: Kind,
    /// Registers.
    len: usize,
}

impl Run {
    /// The run at the beginning of some bytes.
    #[inline]
    fn read(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        let low = usize::from(first & 0x3f);
        Some(match first >> 6 {
            0 => Self { kind: Kind::Zeros, len: low + 1 },
            1 => {
                let second = usize::from(*bytes.get(1)?);
                Self { kind: Kind::LongZeros, len: (low << 8 | second) + 1 }
            }
            _ => {
                let len = usize::from(first & 3) + 1;
                Self { kind: Kind::Value((first >> 2 & 0x1f) + 1), len }
            }
        })
    }

    fn bytes(self) -> usize {
        if self.kind == Kind::LongZeros { 2 } else { 1 }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "14 bits in two bytes")]
const fn long_zeros(len: usize) -> [u8; 2] {
    let [high, low] = ((len - 1) as u16).to_be_bytes();
    [0x40 | high, low]
}

#[expect(clippy::cast_possible_truncation, reason = "two bits")]
fn value_run(value: u8, len: usize) -> u8 {
    0x80 | (value - 1) << 2 | (len - 1) as u8
}

/// Runs in the making.
#[derive(Default)]
struct Runs {
    bytes: [u8; SPLIT_BYTES_MAX],
    len: usize,
}

impl Runs {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Registers of a kind; none where there are none.
    fn push_run(&mut self, kind: Kind, len: usize) {
        match kind {
            _ if len == 0 => {}
            Kind::Value(value) => self.push(&[value_run(value, len)]),
            #[expect(clippy::cast_possible_truncation, reason = "six bits")]
            _ if len <= SHORT_ZEROS_MAX => self.push(&[(len - 1) as u8]),
            _ => self.push(&long_zeros(len)),
        }
    }
}

/// Visits all runs: the first register, how many, and what they hold.
pub(crate) fn each_run(
    mut bytes: &[u8],
    mut each: impl FnMut(usize, usize, u8),
) -> Result<(), Corrupted> {
    let mut register = 0;
    while !bytes.is_empty() {
        let run = Run::read(bytes).ok_or(Corrupted)?;
        if run.len > REGISTERS - register {
            return Err(Corrupted);
        }
        let value = if let Kind::Value(value) = run.kind { value } else { 0 };
        each(register, run.len, value);
        register += run.len;
        bytes = &bytes[run.bytes()..];
    }
    if register == REGISTERS { Ok(()) } else { Err(Corrupted) }
}

/// The runs as PFDEBUG DECODE shows them, whether they make sense or not.
pub(crate) fn describe(mut bytes: &[u8]) -> String {
    let mut words = Vec::new();
    while let Some(run) = bytes.first().map(|first| {
        // Upstream reads a zero behind the end.
        Run::read(bytes)
            .unwrap_or(Run { kind: Kind::LongZeros, len: 1 + (usize::from(first & 0x3f) << 8) })
    }) {
        words.push(match run.kind {
            Kind::Zeros => format!("z:{}", run.len),
            Kind::LongZeros => format!("Z:{}", run.len),
            Kind::Value(value) => format!("v:{value},{}", run.len),
        });
        bytes = bytes.get(run.bytes()..).unwrap_or(&[]);
    }
    words.join(" ")
}

/// What came of raising a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Raised {
    /// It has changed, or not.
    Is(bool),
    /// Nothing was done: the value or the string would be too large for runs.
    TooLong,
}

/// Makes a register at least `value`.
pub(crate) fn raise(
    store: &mut impl Store,
    register: usize,
    value: u8,
    sparse_max: usize,
) -> Result<Raised, Corrupted> {
    if value > VALUE_MAX {
        return Ok(Raised::TooLong);
    }
    let bytes = store.bytes();
    let (mut at, mut before, mut first) = (HEADER_BYTES, None, 0);
    let run = loop {
        let run = Run::read(&bytes[at..]).ok_or(Corrupted)?;
        if register < first + run.len {
            break run;
        }
        first += run.len;
        before = Some(at);
        at += run.bytes();
    };
    let alone = value_run(value, 1);
    match run.kind {
        Kind::Value(held) if held >= value => return Ok(Raised::Is(false)),
        Kind::Value(_) | Kind::Zeros if run.len == 1 => store.bytes_mut()[at] = alone,
        kind => {
            let mut runs = Runs::default();
            runs.push_run(kind, register - first);
            runs.push(&[alone]);
            runs.push_run(kind, first + run.len - 1 - register);
            let grown = bytes.len() - run.bytes() + runs.len;
            if runs.len > run.bytes() && grown > sparse_max {
                return Ok(Raised::TooLong);
            }
            store.replace(at, run.bytes(), &runs.bytes[..runs.len]);
        }
    }
    join(store, before.unwrap_or(HEADER_BYTES));
    forget_cardinality(store.bytes_mut());
    Ok(Raised::Is(true))
}

/// Joins equal neighbours from a run on.
fn join(store: &mut impl Store, mut at: usize) {
    for _ in 0..JOINED_MAX {
        let Some(run) = Run::read(&store.bytes()[at..]) else { return };
        let next = at + run.bytes();
        if let Kind::Value(value) = run.kind
            && let Some(other) = store.bytes().get(next..).and_then(Run::read)
            && other.kind == run.kind
            && run.len + other.len <= VALUE_LEN_MAX
        {
            store.replace(at, 2, &[value_run(value, run.len + other.len)]);
        } else {
            at = next;
        }
    }
}
