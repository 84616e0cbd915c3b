//! A lean load generator: one thread, one epoll, closed loop. Each connection sends a pipeline of
//! requests, waits for all of its replies, and sends the next; so the load follows the server, and
//! at pipeline 1 the generator itself isn't the limit, as redis-benchmark is.
//!
//! Latency is from a pipeline's write to the last of its replies.
//!
//! With `--job BGSAVE` (or BGREWRITEAOF) it measures what the job costs the clients: in each round a
//! quiet window, then the job, asked for on a connection of its own; latencies are kept apart, and
//! each round's longest is told, because on a shared machine the longest of all is the machine's.
//!
//! `redstart-load streams` is another load: the producers and consumers of a stream (streams.rs).
//!
//! Deliberately absent: threads, TLS, open-loop load.

mod job;
mod latency;
mod load;
mod reply;
mod request;
mod streams;

use std::io;
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use nix::sys::epoll::{EpollEvent, EpollFlags};

use job::Job;
use latency::Latencies;
use load::Load;

fn number<T: Copy + Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> T {
    // Every numeric argument is required or has a default.
    #[expect(clippy::unwrap_used, reason = "clap has checked it: required or defaulted")]
    *matches.get_one::<T>(name).unwrap()
}

fn host(matches: &ArgMatches) -> &str {
    matches.get_one::<String>("host").map_or("127.0.0.1", String::as_str)
}

fn run(matches: &ArgMatches) -> io::Result<()> {
    if let Some(("streams", matches)) = matches.subcommand() {
        return streams::run(matches);
    }
    let mut load = Load::new(matches)?;
    if let Some(name) = matches.get_one::<String>("job") {
        let stream = TcpStream::connect((host(matches), number::<u16>(matches, "port")))?;
        stream.set_nodelay(true)?;
        let token = load.connections.len() as u64;
        load.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        let mut job = Job::new(stream, name, number::<u64>(matches, "rounds"));
        load.run(None, Some(&mut job))?;
        println!("quiet {}", job.quiet_rounds.summary());
        println!("{name} {}", job.running_rounds.summary());
        println!("seconds {:.2}", job.quiet.as_secs_f64());
        return Ok(());
    }
    let mut latencies = matches.get_flag("latency").then(Latencies::new);
    let start = Instant::now();
    let done = load.run(latencies.as_mut(), None)?;
    let rate = done as f64 / start.elapsed().as_secs_f64();
    match latencies {
        None => println!("{rate:.0}"),
        Some(latencies) => println!(
            "{rate:.0} rps, p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us, max {:.1} us",
            latencies.quantile_us(0.50),
            latencies.quantile_us(0.99),
            latencies.quantile_us(0.999),
            latencies.max() as f64 / 1000.0
        ),
    }
    Ok(())
}

fn arguments() -> Command {
    let positive = || value_parser!(u64).range(1..);
    Command::new("redstart-load")
        .about("Measures a Redis-protocol server with a closed loop of pipelined requests")
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true)
        .subcommand(streams::arguments())
        .arg(Arg::new("port").required(true).value_parser(value_parser!(u16)))
        .arg(Arg::new("connections").required(true).value_parser(positive()))
        .arg(Arg::new("pipeline").required(true).value_parser(positive()))
        .arg(Arg::new("count").required(true).value_parser(positive()).help("requests, all in all"))
        .arg(Arg::new("command").required(true).value_parser(["set", "get", "incr", "ping"]))
        .arg(Arg::new("host").long("host").default_value("127.0.0.1"))
        .arg(
            Arg::new("keys")
                .long("keys")
                .value_parser(positive())
                .default_value("1000000")
                .help("how many different keys of 16 bytes"),
        )
        .arg(
            Arg::new("value-size")
                .long("value-size")
                .value_parser(value_parser!(u64))
                .default_value("16")
                .help("bytes of a value that is set"),
        )
        .arg(
            Arg::new("sequential")
                .long("sequential")
                .action(ArgAction::SetTrue)
                .help("keys in turn, not at random"),
        )
        .arg(
            Arg::new("latency")
                .long("latency")
                .action(ArgAction::SetTrue)
                .help("print percentiles, too"),
        )
        .arg(
            Arg::new("job")
                .long("job")
                .value_parser(["BGSAVE", "BGREWRITEAOF"])
                .help("measure latency while the server does this, and without; count is ignored"),
        )
        .arg(
            Arg::new("rounds")
                .long("rounds")
                .value_parser(positive())
                .default_value("15")
                .help("how often the job is done"),
        )
}

fn main() -> ExitCode {
    match run(&arguments().get_matches()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("redstart-load: {error}");
            ExitCode::FAILURE
        }
    }
}
