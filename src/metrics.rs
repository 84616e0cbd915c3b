//! What the server counts, for INFO.

use std::collections::BTreeMap;

/// One command's figures (INFO commandstats).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommandStats {
    /// Times it was executed.
    pub calls: u64,
    /// Time it took altogether, in ticks of the stopwatch.
    pub(crate) ticks: u64,
    /// Times it was refused before it was executed.
    pub(crate) rejected: u64,
    /// Times it answered with an error.
    pub failed: u64,
    /// How its times are distributed.
    pub latency: Histogram,
}

/// A distribution of times in buckets an eighth of a power of two wide: 12 % of error at most, one
/// increment a call. Takes no memory before its first. (hdrhistogram takes 5 ns for each, this 2, and
/// 608 counters of 4 bytes, this 320.)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram(Option<Box<[u32; BUCKETS]>>);

/// Buckets up to 2^40 ticks, minutes on any machine.
const BUCKETS: usize = 8 * 40;

impl Histogram {
    /// Counts a time in ticks.
    #[inline]
    pub(crate) fn record(&mut self, ticks: u64) {
        let buckets = self.0.get_or_insert_with(|| Box::new([0; BUCKETS]));
        let count = &mut buckets[Self::bucket(ticks)];
        *count = count.saturating_add(1);
    }

    #[inline]
    fn bucket(ticks: u64) -> usize {
        let ticks = ticks.max(8);
        let power = ticks.ilog2() as usize;
        let eighth = (ticks >> (power - 3)) as usize & 7;
        ((power - 3) * 8 + eighth).min(BUCKETS - 1)
    }

    /// The largest time that a bucket counts, in ticks.
    fn upper(bucket: usize) -> u64 {
        (((8 + bucket as u64 % 8) + 1) << (bucket / 8)) - 1
    }

    /// How many times were counted.
    pub(crate) fn total(&self) -> u64 {
        self.0.as_ref().map_or(0, |buckets| buckets.iter().map(|count| u64::from(*count)).sum())
    }

    /// The time in ticks that so many percent of all stay within.
    pub(crate) fn at_percentile(&self, percentile: f64) -> u64 {
        let Some(buckets) = &self.0 else { return 0 };
        let wanted = ((percentile / 100.0) * self.total() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in buckets.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return Self::upper(bucket);
            }
        }
        Self::upper(BUCKETS - 1)
    }

    /// How many stay within each power of two of microseconds, as LATENCY HISTOGRAM has it: steps
    /// at which the number grows.
    pub(crate) fn powers_of_two(&self, nanos: impl Fn(u64) -> u64) -> Vec<(u64, u64)> {
        let mut steps: Vec<(u64, u64)> = Vec::new();
        let mut seen = 0;
        let counts = self.0.iter().flat_map(|buckets| buckets.iter().enumerate());
        for (bucket, count) in counts.filter(|(_, count)| **count > 0) {
            seen += u64::from(*count);
            let micros = nanos(Self::upper(bucket)).div_ceil(1000).max(1).next_power_of_two();
            match steps.last_mut() {
                Some(last) if last.0 == micros => last.1 = seen,
                _ => steps.push((micros, seen)),
            }
        }
        steps
    }
}

/// Counters since the start or the last CONFIG RESETSTAT.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Commands executed.
    pub commands: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections refused because of `maxclients`.
    pub(crate) connections_rejected: u64,
    /// Bytes of requests.
    pub(crate) input_bytes: u64,
    /// Bytes of replies.
    pub(crate) output_bytes: u64,
    /// Error replies.
    pub errors: u64,
    /// Error replies by their code word.
    pub(crate) errors_by_code: BTreeMap<String, u64>,
    /// Clients closed because their requests outgrew the buffer limit.
    pub(crate) query_buffer_disconnections: u64,
    /// Clients closed because their replies outgrew the buffer limit.
    pub(crate) output_buffer_disconnections: u64,
    /// Attempts to log in that failed.
    pub(crate) denied_logins: u64,
    /// Rounds of active expiry that ended for lack of time.
    pub(crate) expire_cycle_cut_short: u64,
    /// Replies that one tick wrote.
    pub replies: u64,
    /// Ticks of the actor.
    pub(crate) ticks: u64,
    /// Time that they took altogether, by the stopwatch.
    pub busy: u64,
    /// Time that the longest took, by the stopwatch.
    pub(crate) busy_max: u64,
    /// The most commands that one executed.
    pub(crate) commands_per_tick_max: u64,
    /// Time that cron took altogether, by the stopwatch.
    pub(crate) cron_busy: u64,
    /// Each command's figures, by the registry's numbers.
    pub(crate) by_command: Vec<CommandStats>,
    /// Rates over the last 16 samples of a tenth of a second: commands, request bytes, reply bytes,
    /// ticks.
    rate: [Rate; 4],
}

/// A rate over the last samples.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    last_count: u64,
    last_micros: u64,
    samples: [u64; 16],
    at: usize,
}

impl Rate {
    fn sample(&mut self, count: u64, now_micros: u64) {
        let micros = now_micros.saturating_sub(self.last_micros);
        if micros == 0 {
            return;
        }
        let per_second = (count.saturating_sub(self.last_count)) * 1_000_000 / micros;
        self.samples[self.at] = per_second;
        self.at = (self.at + 1) % self.samples.len();
        self.last_count = count;
        self.last_micros = now_micros;
    }

    fn mean(&self) -> u64 {
        self.samples.iter().sum::<u64>() / self.samples.len() as u64
    }
}

impl Metrics {
    /// Counters at zero for so many commands.
    pub(crate) fn new(commands: usize) -> Self {
        Self { by_command: vec![CommandStats::default(); commands], ..Self::default() }
    }

    /// Counts an error reply; `text` begins with its code word.
    pub(crate) fn count_error(&mut self, text: &[u8]) {
        // Clients can make up code words (scripts): a bound on how many are told apart.
        const CODES_MAX: usize = 128;
        self.errors += 1;
        // As in upstream, the code is the first word if it has at most 30 bytes and a space behind it.
        let end = text.iter().take(31).position(|byte| *byte == b' ');
        let code = end.map_or(&b"ERR"[..], |end| &text[..end]);
        let code = String::from_utf8_lossy(code);
        if let Some(count) = self.errors_by_code.get_mut(&*code) {
            *count += 1;
        } else if self.errors_by_code.len() < CODES_MAX {
            self.errors_by_code.insert(code.into_owned(), 1);
        }
    }

    /// Takes a sample for the rates; called ten times a second.
    pub(crate) fn sample_rates(&mut self, now_micros: u64) {
        let counts = [self.commands, self.input_bytes, self.output_bytes, self.ticks];
        for (rate, count) in self.rate.iter_mut().zip(counts) {
            rate.sample(count, now_micros);
        }
    }

    /// Commands a second.
    pub(crate) fn commands_per_second(&self) -> u64 {
        self.rate[0].mean()
    }

    /// Request bytes a second.
    pub(crate) fn input_per_second(&self) -> u64 {
        self.rate[1].mean()
    }

    /// Reply bytes a second.
    pub(crate) fn output_per_second(&self) -> u64 {
        self.rate[2].mean()
    }

    /// Ticks of the actor a second.
    pub(crate) fn ticks_per_second(&self) -> u64 {
        self.rate[3].mean()
    }

    /// Counts a tick of the actor.
    #[inline]
    pub(crate) fn note_tick(&mut self, took: u64, commands: u64) {
        self.ticks += 1;
        self.busy += took;
        self.busy_max = self.busy_max.max(took);
        self.commands_per_tick_max = self.commands_per_tick_max.max(commands);
    }

    /// CONFIG RESETSTAT.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.by_command.len());
    }
}
