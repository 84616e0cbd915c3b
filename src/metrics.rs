//! What the server counts, for INFO.

use std::collections::BTreeMap;

/// One command's figures (INFO commandstats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandStats {
    /// Times it was executed.
    pub calls: u64,
    /// Time it took altogether, in ticks of the stopwatch.
    pub ticks: u64,
    /// Times it was refused before it was executed.
    pub rejected: u64,
    /// Times it answered with an error.
    pub failed: u64,
}

/// Counters since the start or the last CONFIG RESETSTAT.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Commands executed.
    pub commands: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections refused because of `maxclients`.
    pub connections_rejected: u64,
    /// Bytes of requests.
    pub input_bytes: u64,
    /// Bytes of replies.
    pub output_bytes: u64,
    /// Error replies.
    pub errors: u64,
    /// Error replies by their code word.
    pub errors_by_code: BTreeMap<String, u64>,
    /// Clients closed because their requests outgrew the buffer limit.
    pub query_buffer_disconnections: u64,
    /// Clients closed because their replies outgrew the buffer limit.
    pub output_buffer_disconnections: u64,
    /// Rounds of active expiry that ended for lack of time.
    pub expire_cycle_cut_short: u64,
    /// Replies that one tick wrote.
    pub replies: u64,
    /// Ticks of the actor.
    pub ticks: u64,
    /// Each command's figures, by the registry's numbers.
    pub by_command: Vec<CommandStats>,
    /// Commands in the last 16 samples of a tenth of a second, for the rate.
    rate: [Rate; 3],
}

/// A rate over the last samples.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    last_count: u64,
    last_micros: i64,
    samples: [u64; 16],
    at: usize,
}

impl Rate {
    fn sample(&mut self, count: u64, now_micros: i64) {
        let micros = now_micros - self.last_micros;
        if micros <= 0 {
            return;
        }
        let per_second = (count.saturating_sub(self.last_count)) * 1_000_000 / micros as u64;
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
    pub fn new(commands: usize) -> Self {
        Self { by_command: vec![CommandStats::default(); commands], ..Self::default() }
    }

    /// Counts an error reply; `text` begins with its code word.
    pub fn count_error(&mut self, text: &[u8]) {
        // Clients can make up code words (scripts): a bound on how many are told apart.
        const CODES_MAX: usize = 128;
        self.errors += 1;
        let code = text.split(|byte| *byte == b' ').next().unwrap_or(b"ERR");
        let code = String::from_utf8_lossy(code);
        if let Some(count) = self.errors_by_code.get_mut(&*code) {
            *count += 1;
        } else if self.errors_by_code.len() < CODES_MAX {
            self.errors_by_code.insert(code.into_owned(), 1);
        }
    }

    /// Takes a sample for the rates; called ten times a second.
    pub fn sample_rates(&mut self, now_micros: i64) {
        let counts = [self.commands, self.input_bytes, self.output_bytes];
        for (rate, count) in self.rate.iter_mut().zip(counts) {
            rate.sample(count, now_micros);
        }
    }

    /// Commands a second.
    pub fn commands_per_second(&self) -> u64 {
        self.rate[0].mean()
    }

    /// Request bytes a second.
    pub fn input_per_second(&self) -> u64 {
        self.rate[1].mean()
    }

    /// Reply bytes a second.
    pub fn output_per_second(&self) -> u64 {
        self.rate[2].mean()
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&mut self) {
        *self = Self::new(self.by_command.len());
    }
}
