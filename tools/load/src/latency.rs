//! Latencies in a histogram of three significant digits.

use hdrhistogram::Histogram;

/// How long replies took, in nanoseconds.
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// Longer ones count as this long: an hour.
    const NANOS_MAX: u64 = 3_600_000_000_000;

    pub fn new() -> Self {
        #[expect(clippy::unwrap_used, reason = "these bounds are in range")]
        Self(Histogram::new_with_max(Self::NANOS_MAX, 3).unwrap())
    }

    pub fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    /// Takes those of another in, and empties it.
    pub fn take(&mut self, other: &mut Self) {
        #[expect(clippy::unwrap_used, reason = "both have the same bounds")]
        self.0.add(&other.0).unwrap();
        other.0.reset();
    }

    /// The longest, in nanoseconds.
    pub fn max(&self) -> u64 {
        self.0.max()
    }

    /// The value below which this share of all values is, in microseconds.
    pub fn quantile_us(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1000.0
    }
}
