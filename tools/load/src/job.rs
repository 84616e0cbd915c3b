//! A background job of the server, and what it costs the clients.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::latency::Latencies;

/// A background job of the server, from its command until INFO tells that it's over. Its
/// connection has the number after the last of the load's.
pub struct Job {
    pub stream: TcpStream,
    name: String,
    /// What came of the reply awaited, until it's whole.
    reply: Vec<u8>,
    asked_at: Option<Instant>,
    rounds_left: u64,
    phase: Phase,
    phase_since: Instant,
    /// A quiet window is as long as the job before it took.
    pub quiet: Duration,
    current: Latencies,
    pub quiet_rounds: Rounds,
    pub running_rounds: Rounds,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Quiet,
    Running,
}

impl Job {
    /// Between two looks at INFO: rare enough not to be felt.
    const LOOK_INTERVAL: Duration = Duration::from_millis(20);
    const FIRST_QUIET: Duration = Duration::from_secs(1);

    pub fn new(stream: TcpStream, name: &str, rounds: u64) -> Self {
        let now = Instant::now();
        Self {
            stream,
            name: name.to_owned(),
            reply: Vec::new(),
            asked_at: None,
            rounds_left: rounds,
            phase: Phase::Quiet,
            phase_since: now,
            quiet: Self::FIRST_QUIET,
            current: Latencies::new(),
            quiet_rounds: Rounds::new(),
            running_rounds: Rounds::new(),
        }
    }

    /// Counts one latency of the load, and asks what there is to ask. Says whether all is measured.
    pub fn record(&mut self, nanos: u64) -> io::Result<bool> {
        self.current.record(nanos);
        let now = Instant::now();
        match self.phase {
            Phase::Quiet if now - self.phase_since >= self.quiet => {
                self.quiet_rounds.end(&mut self.current);
                (self.phase, self.phase_since, self.asked_at) = (Phase::Running, now, Some(now));
                self.stream.write_all(format!("{}\r\n", self.name).as_bytes())?;
            }
            Phase::Running
                if self.asked_at.is_none() && now - self.phase_since >= Self::LOOK_INTERVAL =>
            {
                self.asked_at = Some(now);
                self.stream.write_all(b"INFO persistence\r\n")?;
            }
            _ => {}
        }
        Ok(self.rounds_left == 0)
    }

    /// Takes what the job's connection received.
    pub fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reply.extend_from_slice(bytes);
        let text = String::from_utf8_lossy(&self.reply).into_owned();
        let Some((line, rest)) = text.split_once("\r\n") else { return Ok(()) };
        if line.starts_with('-') {
            return Err(io::Error::other(format!("{}: {line}", self.name)));
        }
        let len = line.strip_prefix('$').map_or(0, |len| len.parse().unwrap_or(0));
        if rest.len() < len {
            return Ok(());
        }
        self.reply.clear();
        self.asked_at = None;
        let running = ["rdb_bgsave_in_progress:1", "aof_rewrite_in_progress:1", "_scheduled:1"];
        if len > 0 && !running.iter().any(|field| rest.contains(field)) {
            self.quiet = self.phase_since.elapsed();
            self.running_rounds.end(&mut self.current);
            (self.phase, self.phase_since) = (Phase::Quiet, Instant::now());
            self.rounds_left -= 1;
        }
        Ok(())
    }
}

/// Latencies over several windows of one kind.
pub struct Rounds {
    all: Latencies,
    longest: Vec<u64>,
}

impl Rounds {
    /// What counts as long in the summary, in nanoseconds.
    const LONG: u64 = 3_000_000;

    fn new() -> Self {
        Self { all: Latencies::new(), longest: Vec::new() }
    }

    /// Ends a window: takes its latencies over.
    fn end(&mut self, window: &mut Latencies) {
        self.longest.push(window.max());
        self.all.take(window);
    }

    pub fn summary(&mut self) -> String {
        self.longest.sort_unstable();
        let rounds = self.longest.len();
        let long = self.longest.iter().filter(|nanos| **nanos > Self::LONG).count();
        let ms = |nanos: u64| nanos as f64 / 1e6;
        format!(
            "p50 {:.0} us, p99.9 {:.0} us, longest of a round {:.2} ms (median of {rounds}; {:.2} to \
             {:.2}; over 3 ms in {long})",
            self.all.quantile_us(0.50),
            self.all.quantile_us(0.999),
            ms(self.longest[rounds / 2]),
            ms(self.longest[0]),
            ms(self.all.max()),
        )
    }
}
