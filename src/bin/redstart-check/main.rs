//! Checks, and on demand cuts, the files of a data directory, offline.
//!
//! `redstart-check PATH` takes a data directory, the log's directory, a manifest, a single log file
//! or an RDB file. Called by a name that has `check-aof` or `check-rdb` in it (through a link), it
//! takes that tool's arguments and no others, and gives its exit codes; the words of the output are
//! those that scripts written for these tools look for.
//!
//! The files are judged by the server's own recovery, which is told to change nothing; only then,
//! and only after a yes, is anything cut. Exit codes: 0 sound (or mended), 1 anything else.
//!
//! - `files`: which files make up a log, and small questions about files.
//! - `log`: checking and cutting a log.
//! - `rdb`: checking an RDB file, or the one that a log begins with.
//! - `convert`: writing an RDB file in another version.

mod convert;
mod files;
mod log;
mod rdb;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use redstart::base::disk::SystemDisk;
use redstart::base::env::Disk;
use redstart::config::REDIS_VERSION;
use redstart::rdb::decode::UnknownTypes;
use redstart::rdb::format::VERSION_VALKEY;

use files::Log;
use log::Request;

/// Why there is nothing more to say: it has been said (and this is empty), or is this.
type Failure = String;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().map(PathBuf::from).unwrap_or_default();
    let name = name.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    let given: Vec<&OsStr> = arguments.iter().skip(1).map(OsString::as_os_str).collect();
    let outcome = if name.contains("check-rdb") {
        as_check_rdb(&name, &given)
    } else if name.contains("check-aof") {
        as_check_aof(&name, &given)
    } else {
        match command_line(&name).try_get_matches_from(&arguments) {
            Ok(matches) => {
                let path = matches.get_one::<PathBuf>("path").cloned().unwrap_or_default();
                if let Some(version) = matches.get_one::<u16>("convert-to") {
                    return finish(conversion(&matches, *version, &path).convert(&path));
                }
                let request = Request {
                    fix: matches.get_flag("fix"),
                    until: matches.get_one::<u64>("truncate-to-timestamp").copied(),
                };
                check(&request, &path)
            }
            Err(error) => {
                // Nobody is left to tell if this fails.
                let _ = error.print();
                return ExitCode::from(u8::from(error.use_stderr()));
            }
        }
    };
    finish(outcome)
}

fn finish(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_empty() {
                println!("{failure}");
            }
            ExitCode::FAILURE
        }
    }
}

/// The conversion that the command line asks for.
fn conversion(matches: &ArgMatches, version: u16, path: &Path) -> convert::Request {
    let output = matches.get_one::<PathBuf>("output").cloned();
    let unknown_types = if matches.get_flag("skip-unknown-types") {
        UnknownTypes::Skip
    } else {
        UnknownTypes::Stop
    };
    convert::Request {
        version,
        output: output.unwrap_or_else(|| path.with_extension(format!("v{version}.rdb"))),
        unknown_types,
    }
}

fn command_line(name: &str) -> Command {
    Command::new("redstart-check")
        .bin_name(name.to_owned())
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .about("Checks the log (AOF) and snapshots (RDB) of Redstart, Redis or Valkey, offline")
        .after_help(
            "Through a link named redis-check-aof or redis-check-rdb it stands in for that tool.",
        )
        .arg(
            Arg::new("version")
                .short('v')
                .long("version")
                .action(ArgAction::Version)
                .help("Print the version"),
        )
        .arg(
            Arg::new("fix")
                .long("fix")
                .action(ArgAction::SetTrue)
                .help("Say what can't be read, ask, and cut it off"),
        )
        .arg(
            Arg::new("truncate-to-timestamp")
                .long("truncate-to-timestamp")
                .value_name("SECONDS")
                .value_parser(value_parser!(u64))
                .conflicts_with("fix")
                .help("Cut the log before the first annotation of a later time (Unix seconds)"),
        )
        .arg(
            Arg::new("convert-to")
                .long("convert-to")
                .value_name("VERSION")
                .value_parser(version)
                .conflicts_with_all(["fix", "truncate-to-timestamp"])
                .help(
                    "Write an RDB file anew in a version: 9 for Redis 5 and 6, 10 for 7.0, 11 for 7.2 \
                     and Valkey 7.2 and later, 12 for 7.4, 80 for Valkey 9",
                ),
        )
        .arg(
            Arg::new("output")
                .long("output")
                .value_name("FILE")
                .requires("convert-to")
                .value_parser(value_parser!(PathBuf))
                .help("Where to write it; beside the file, with the version in its name, otherwise"),
        )
        .arg(
            Arg::new("skip-unknown-types")
                .long("skip-unknown-types")
                .action(ArgAction::SetTrue)
                .requires("convert-to")
                .help("Leave keys of types out that can't be read, instead of giving up"),
        )
        .arg(
            Arg::new("path")
                .required(true)
                .value_name("DIRECTORY|MANIFEST|LOG|RDB")
                .value_parser(value_parser!(PathBuf)),
        )
}

/// A version that we write.
fn version(word: &str) -> Result<u16, &'static str> {
    match word.parse() {
        Ok(version @ (9..=12 | VERSION_VALKEY)) => Ok(version),
        _ => Err("9 to 12, or 80"),
    }
}

fn is_version_flag(word: &OsStr) -> bool {
    word == "-v" || word == "--version"
}

fn print_version(name: &str) {
    println!("{name} {REDIS_VERSION} (redstart-check {})", env!("CARGO_PKG_VERSION"));
}

/// The arguments of redis-check-rdb: a file.
fn as_check_rdb(name: &str, given: &[&OsStr]) -> Result<(), Failure> {
    match given {
        [flag] if is_version_flag(flag) => {
            print_version(name);
            Ok(())
        }
        [path] => rdb::check(Path::new(path)),
        _ => {
            eprintln!("Usage: {name} <rdb-file-name>");
            Err(String::new())
        }
    }
}

/// The arguments of redis-check-aof: an option at most, then a file.
fn as_check_aof(name: &str, given: &[&OsStr]) -> Result<(), Failure> {
    let (request, path) = match given {
        [flag] if is_version_flag(flag) => {
            print_version(name);
            return Ok(());
        }
        [path] => (Request::default(), *path),
        [option, path] if *option == "--fix" => (Request { fix: true, until: None }, *path),
        [option, seconds, path] if *option == "--truncate-to-timestamp" => {
            let until = seconds.to_str().and_then(|seconds| seconds.parse().ok());
            let until = until.ok_or("Invalid timestamp, aborting...")?;
            (Request { fix: false, until: Some(until) }, *path)
        }
        _ => {
            return Err(format!(
                "Usage: {name} [--fix|--truncate-to-timestamp $timestamp] \
                 <file.manifest|file.aof>"
            ));
        }
    };
    let path = Path::new(path);
    files::open(path)?;
    if path.is_dir() { check_directory(&request, path) } else { check_log_file(&request, path) }
}

fn check(request: &Request, path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return check_directory(request, path);
    }
    files::open(path)?;
    let rdb_name = path.extension().is_some_and(|extension| extension == "rdb");
    if rdb_name && files::is_rdb(path) {
        return rdb::check(path);
    }
    check_log_file(request, path)
}

fn check_log_file(request: &Request, path: &Path) -> Result<(), Failure> {
    if files::is_manifest(path) {
        println!("Start checking Multi Part AOF");
        request.check_log(&Log::multi_part(path)?)
    } else {
        println!("Start checking Old-Style AOF");
        request.check_log(&Log::single(path))
    }
}

fn check_directory(request: &Request, path: &Path) -> Result<(), Failure> {
    let mut found = false;
    for directory in [path.to_owned(), path.join("appendonlydir")] {
        let mut names = SystemDisk.list(&directory).unwrap_or_default();
        names.sort();
        for name in names {
            let file = directory.join(&name);
            let extension = name.extension().unwrap_or_default();
            let bytes = name.as_os_str().as_bytes();
            if bytes.starts_with(b"temp-") {
                continue;
            }
            // A base is checked with its manifest.
            let is_base = memchr::memmem::find(bytes, b".base.").is_some();
            if extension == "manifest" {
                check_log_file(request, &file)?;
            } else if extension == "rdb" && directory == path && !is_base {
                rdb::check(&file)?;
            } else {
                continue;
            }
            found = true;
        }
    }
    if found { Ok(()) } else { Err(format!("No manifest and no RDB file in {}", path.display())) }
}
