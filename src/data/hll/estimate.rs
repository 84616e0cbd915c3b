//! From registers to a cardinality: the estimator of Otmar Ertl, "New cardinality estimation algorithms
//! for HyperLogLog sketches" (2017), section 4: it needs no more than how many registers hold each value,
//! and no correction for small or large cardinalities.

use crate::data::hll::{REGISTERS, RUN_BITS, dense};

/// Different values that a register can hold.
const VALUES: usize = dense::MAX as usize + 1;
/// Tables that are counted into by turns, so that equal neighbours don't wait for each other.
const TABLES: usize = 4;
/// 1 / (2 ln 2): the paper's constant for many registers.
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// How many registers hold each value.
#[derive(Debug)]
pub(crate) struct Histogram([[u32; VALUES]; TABLES]);

impl Default for Histogram {
    fn default() -> Self {
        Self([[0; VALUES]; TABLES])
    }
}

impl Histogram {
    /// So many registers with a value.
    #[expect(clippy::cast_possible_truncation, reason = "there are 2^14 registers")]
    pub(crate) fn add(&mut self, value: u8, registers: usize) {
        self.0[0][usize::from(value & dense::MAX)] += registers as u32;
    }

    /// Eight registers, a byte each.
    #[inline(always)]
    pub(crate) fn add_eight(&mut self, eight: u64) {
        for (place, value) in eight.to_le_bytes().into_iter().enumerate() {
            self.0[place % TABLES][usize::from(value & dense::MAX)] += 1;
        }
    }

    /// How many hold a value.
    fn with(&self, value: usize) -> f64 {
        f64::from(self.0.iter().map(|table| table[value]).sum::<u32>())
    }

    /// The cardinality that they tell of.
    pub(crate) fn estimate(&self) -> u64 {
        let registers = REGISTERS as f64;
        let mut sum = registers * tau((registers - self.with(RUN_BITS + 1)) / registers);
        for value in (1..=RUN_BITS).rev() {
            sum = (sum + self.with(value)) * 0.5;
        }
        sum += registers * sigma(self.with(0) / registers);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "no sum is negative, and beyond 64 bits the cast stops"
        )]
        let whole = (ALPHA * registers * registers / sum).round() as u64;
        whole
    }
}

/// The paper's sigma, of the share of the registers that hold nothing.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut factor, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * factor;
        factor += factor;
        if sum == before {
            return sum;
        }
    }
}

/// The paper's tau, of the share of the registers that aren't full.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut factor, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        factor *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * factor;
        if sum == before {
            return sum / 3.0;
        }
    }
}
