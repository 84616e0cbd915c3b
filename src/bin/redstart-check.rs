//! Checks, and on demand cuts, the files of a data directory, offline.
//!
//! `redstart-check PATH` takes a data directory, the log's directory, a manifest, a single log file
//! or an RDB file. Called as `redis-check-aof` or `redis-check-rdb` (by a link of that name) it is
//! that tool: the words of its output are those that scripts written for them look for.
//!
//! The files are judged by the server's own recovery, which is told to change nothing; only then,
//! and only after a yes, is anything cut. Exit codes: 0 sound (or mended), 1 anything else.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgAction, Command, value_parser};
use redstart::base::disk::SystemDisk;
use redstart::base::env::{Disk, Env, UnixMillis};
use redstart::persist::manifest::{Kind, Layout, Manifest, Part};
use redstart::persist::recover::{Cut, RecoverError, RecoverOptions, Replay, recover};
use redstart::persist::scan::{Piece, Preface, Scanner};
use redstart::persist::tail;
use redstart::rdb::decode::{Checksum, Decoder, Event, Verdict};
use redstart::rdb::{Access, OwnedValue};

/// Why there is nothing more to say: it has been said, or is this.
type Failure = String;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let name = arguments.first().map(PathBuf::from).unwrap_or_default();
    let name = name.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    let matches = match command_line(&name).try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // Nobody is left to tell if this fails.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let Some(path) = matches.get_one::<PathBuf>("path") else { return ExitCode::FAILURE };
    let request = Request {
        fix: matches.get_flag("fix"),
        until: matches.get_one::<u64>("truncate-to-timestamp").copied(),
    };
    let outcome = if name.contains("check-rdb") { check_rdb(path) } else { request.check(path) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn command_line(name: &str) -> Command {
    Command::new("redstart-check")
        .bin_name(name.to_owned())
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .about("Checks the log (AOF) and snapshots (RDB) of Redstart, Redis or Valkey, offline")
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
            Arg::new("path")
                .required(true)
                .value_name("DIRECTORY|MANIFEST|LOG|RDB")
                .value_parser(value_parser!(PathBuf)),
        )
}

struct Request {
    fix: bool,
    until: Option<u64>,
}

/// A log: its files in order.
struct Log {
    layout: Layout,
    parts: Vec<Part>,
    paths: Vec<PathBuf>,
    multi_part: bool,
}

impl Request {
    fn check(&self, path: &Path) -> Result<(), Failure> {
        if path.is_dir() {
            return self.check_directory(path);
        }
        let mut head = [0; 9];
        let read = SystemDisk
            .open_read(path)
            .and_then(|mut file| read_some(&mut *file, &mut head))
            .map_err(|error| format!("Cannot open file {}: {error}", path.display()))?;
        let head = &head[..read];
        if is_manifest(path) {
            return self.check_log(&multi_part(path)?);
        }
        let rdb_name = path.extension().is_some_and(|extension| extension == "rdb");
        if rdb_name && (head.starts_with(b"REDIS") || head.starts_with(b"VALKEY")) {
            return check_rdb(path);
        }
        self.check_log(&single(path))
    }

    fn check_directory(&self, path: &Path) -> Result<(), Failure> {
        let mut found = false;
        for directory in [path.to_owned(), path.join("appendonlydir")] {
            for name in SystemDisk.list(&directory).unwrap_or_default() {
                let file = directory.join(&name);
                let extension = name.extension().unwrap_or_default();
                let temporary = name.as_os_str().as_bytes().starts_with(b"temp-");
                if extension == "manifest" && !temporary {
                    found = true;
                    self.check_log(&multi_part(&file)?)?;
                } else if extension == "rdb" && !temporary && directory == path {
                    // A base is checked with its manifest.
                    if !name.as_os_str().to_string_lossy().contains(".base.") {
                        found = true;
                        check_rdb(&file)?;
                    }
                }
            }
        }
        if found {
            Ok(())
        } else {
            Err(format!("No manifest and no RDB file in {}", path.display()))
        }
    }

    fn check_log(&self, log: &Log) -> Result<(), Failure> {
        println!(
            "Start checking {}",
            if log.multi_part { "Multi Part AOF" } else { "Old-Style AOF" }
        );
        for path in &log.paths {
            SystemDisk
                .len(path)
                .map_err(|error| format!("Cannot open file {}: {error}", path.display()))?;
        }
        if let Some(until) = self.until {
            return truncate_to(log, until);
        }
        let mut target = Counter::default();
        let options = RecoverOptions { repair: false, ..RecoverOptions::new(log.layout.clone()) };
        let outcome = recover(&Env::system(), &options, &mut target);
        let torn = match &outcome {
            Ok(recovered) => recovered.cut.as_ref().map(Tear::of_cut),
            Err(error) => Some(Tear::of_error(error)?),
        };
        let bad = torn.as_ref().map(|torn| log.index_of(&torn.file)).transpose()?;
        for (index, path) in log.paths.iter().enumerate() {
            log.announce(index);
            if index == 0 && is_rdb(path) {
                check_rdb(path).map_err(|failure| {
                    format!("{failure}\nRDB preamble of AOF file is not sane, aborting.")
                })?;
                println!("RDB preamble is OK, proceeding with AOF tail...");
            }
            match &torn {
                Some(torn) if bad == Some(index) => {
                    self.report_torn(log, index, torn)?;
                    break;
                }
                _ => log.report_sound(index)?,
            }
        }
        if log.multi_part {
            println!("All AOF files and manifest are valid");
        }
        Ok(())
    }

    /// A file that is sound up to somewhere: says so, and cuts it if that is wanted.
    fn report_torn(&self, log: &Log, index: usize, torn: &Tear) -> Result<(), Failure> {
        let path = &log.paths[index];
        let name = log.display(index);
        let size = len(path)?;
        println!("0x{:16x}: {}", torn.offset, torn.what);
        println!("{}", analyzed(&name, path, size, torn.offset)?);
        if !self.fix {
            return Err(format!("AOF {name} is not valid. Use the --fix option to try fixing it."));
        }
        let later: u64 = log.paths[index + 1..].iter().map(|path| len(path).unwrap_or(0)).sum();
        if later > 0 && !torn.framed {
            return Err(format!("Failed to truncate AOF {name} because it is not the last file"));
        }
        let survey = tail::survey(&SystemDisk, &log.paths[index..], torn.offset)
            .map_err(|error| error.to_string())?;
        println!(
            "This will shrink the AOF {name} from {size} bytes, with {} bytes, to {} bytes",
            size - torn.offset,
            torn.offset
        );
        if later > 0 {
            println!("and empty the {later} bytes of the files that follow it");
        }
        if survey.commands > 0 {
            println!("Lost will be {} commands that are whole and come later", survey.commands);
        }
        print!("Continue? [y/N]: ");
        let mut answer = String::new();
        let asked = io::stdout().flush().and_then(|()| io::stdin().lock().read_line(&mut answer));
        if asked.is_err() || !answer.trim_start().to_ascii_lowercase().starts_with('y') {
            return Err("Aborting...".into());
        }
        tail::cut(&SystemDisk, &log.paths[index..], torn.offset).map_err(|e| e.to_string())?;
        sync(&log.paths[index..]).map_err(|error| format!("Failed to sync AOF {name}: {error}"))?;
        println!("Successfully truncated AOF {name}");
        Ok(())
    }
}

/// Where a log can't be followed any further.
struct Tear {
    file: PathBuf,
    offset: u64,
    what: String,
    framed: bool,
}

impl Tear {
    fn of_cut(cut: &Cut) -> Self {
        let what = format!("Expected {}, got {}", cut.expected, cut.found);
        Self { file: cut.file.clone(), offset: cut.offset, what, framed: true }
    }

    fn of_error(error: &RecoverError) -> Result<Self, Failure> {
        match error {
            RecoverError::Damaged { file, offset, expected, found } => Ok(Self {
                file: file.clone(),
                offset: *offset,
                what: format!("Expected {expected}, got {found}"),
                framed: expected.contains("frame"),
            }),
            RecoverError::Truncated { file, offset, .. } => Ok(Self {
                file: file.clone(),
                offset: *offset,
                what: "Unexpected end of the file".into(),
                framed: false,
            }),
            RecoverError::Command { file, offset, error } => Ok(Self {
                file: file.clone(),
                offset: *offset,
                what: format!("{error} in AOF {}", file.display()),
                framed: false,
            }),
            RecoverError::Snapshot { file, .. } if is_rdb(file) => {
                // The check of the file says more.
                check_rdb(file)?;
                Err(format!("{error}\nRDB preamble of AOF file is not sane, aborting."))
            }
            other => Err(other.to_string()),
        }
    }
}

impl Log {
    fn index_of(&self, path: &Path) -> Result<usize, Failure> {
        let found = self.paths.iter().position(|known| known == path);
        found.ok_or_else(|| format!("{} is no file of this log", path.display()))
    }

    fn display(&self, index: usize) -> String {
        let path = &self.paths[index];
        let name = if self.multi_part { path.file_name() } else { None };
        name.map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into())
    }

    fn announce(&self, index: usize) {
        if !self.multi_part {
            return;
        }
        let first_increment = self.parts.iter().position(|part| part.kind == Kind::Increment);
        if self.parts[index].kind == Kind::Base {
            let format = if is_rdb(&self.paths[index]) { "RDB" } else { "RESP" };
            println!("Start to check BASE AOF ({format} format).");
        } else if first_increment == Some(index) {
            println!("Start to check INCR files.");
        }
    }

    fn report_sound(&self, index: usize) -> Result<(), Failure> {
        let (path, name) = (&self.paths[index], self.display(index));
        let kind = match (self.multi_part, self.parts[index].kind) {
            (false, _) => "AOF",
            (true, Kind::Base) => "BASE AOF",
            (true, _) => "INCR AOF",
        };
        let size = len(path)?;
        if size == 0 {
            println!("{kind} {name} is empty");
            return Ok(());
        }
        println!("{}", analyzed(&name, path, size, size)?);
        println!("{kind} {name} is valid");
        Ok(())
    }
}

fn analyzed(name: &str, path: &Path, size: u64, end: u64) -> Result<String, Failure> {
    let lines = lines_before(path, end).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(format!(
        "AOF analyzed: filename={name}, size={size}, ok_up_to={end}, ok_up_to_line={}, diff={}",
        lines + 1,
        size - end
    ))
}

fn lines_before(path: &Path, end: u64) -> io::Result<u64> {
    let mut source = SystemDisk.open_read(path)?.take(end);
    let mut buffer = vec![0; 1 << 16];
    let mut lines = 0;
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            return Ok(lines);
        }
        lines += memchr::memchr_iter(b'\n', &buffer[..read]).count() as u64;
    }
}

fn len(path: &Path) -> Result<u64, Failure> {
    SystemDisk.len(path).map_err(|error| format!("Cannot stat file {}: {error}", path.display()))
}

fn sync(paths: &[PathBuf]) -> io::Result<()> {
    paths.iter().try_for_each(|path| SystemDisk.open_append(path)?.sync())
}

fn read_some(source: &mut dyn Read, out: &mut [u8]) -> io::Result<usize> {
    let mut bytes = Vec::new();
    source.take(out.len() as u64).read_to_end(&mut bytes)?;
    out[..bytes.len()].copy_from_slice(&bytes);
    Ok(bytes.len())
}

fn starts_with(path: &Path, prefixes: &[&[u8]]) -> bool {
    let mut head = [0; 16];
    let read = SystemDisk.open_read(path).and_then(|mut file| read_some(&mut *file, &mut head));
    read.is_ok_and(|read| prefixes.iter().any(|prefix| head[..read].starts_with(prefix)))
}

fn is_rdb(path: &Path) -> bool {
    starts_with(path, &[b"REDIS", b"VALKEY"])
}

/// A manifest by its first line that is no comment, as upstream tells it.
fn is_manifest(path: &Path) -> bool {
    let Ok(source) = SystemDisk.open_read(path) else { return false };
    let mut lines = io::BufReader::new(source.take(1 << 16)).split(b'\n');
    let first = lines.find(|line| line.as_ref().is_ok_and(|line| !line.starts_with(b"#")));
    matches!(first, Some(Ok(line)) if line.starts_with(b"file"))
}

fn multi_part(manifest: &Path) -> Result<Log, Failure> {
    let log_dir = manifest.parent().map(Path::to_owned).unwrap_or_default();
    let name = manifest.file_name().unwrap_or_default().as_bytes();
    let Some(log_name) = name.strip_suffix(b".manifest") else {
        return Err(format!("{} is not named as a manifest", manifest.display()));
    };
    let layout = Layout {
        dir: log_dir.parent().map(Path::to_owned).unwrap_or_default(),
        log_name: log_name.to_vec(),
        snapshot_name: Vec::new(),
        log_dir,
    };
    let manifest = Manifest::load(&SystemDisk, &layout)
        .map_err(|error| format!("Cannot open file {}: {error}", manifest.display()))?
        .unwrap_or_else(|| Ok(Manifest::default()))
        .map_err(|error| format!("\n*** FATAL AOF MANIFEST FILE ERROR ***\n\n{error}"))?;
    let parts: Vec<Part> = manifest.base.into_iter().chain(manifest.increments).collect();
    let paths = parts.iter().map(|part| layout.log_file(&part.name)).collect();
    Ok(Log { layout, parts, paths, multi_part: true })
}

/// A log file by itself: to recovery, one as it was before there were manifests.
fn single(path: &Path) -> Log {
    let dir = path.parent().map(Path::to_owned).unwrap_or_default();
    let name = path.file_name().unwrap_or_default().as_bytes().to_vec();
    let layout = Layout {
        // No directory has this name, so no manifest is found in it.
        log_dir: dir.join("\u{1}"),
        dir,
        log_name: name.clone(),
        snapshot_name: Vec::new(),
    };
    let parts = vec![Part { name, number: 1, kind: Kind::Base, first_frame: None }];
    Log { layout, parts, paths: vec![path.to_owned()], multi_part: false }
}

/// Cuts the last file before the first annotation that tells a later time.
fn truncate_to(log: &Log, until: u64) -> Result<(), Failure> {
    for (index, path) in log.paths.iter().enumerate() {
        let name = log.display(index);
        let Some(offset) = first_after(path, until)? else { continue };
        if offset == 0 {
            return Err(format!("AOF {name} has nothing before timestamp {until}, aborting..."));
        }
        if index + 1 < log.paths.len() {
            return Err(format!(
                "Failed to truncate AOF {name} to timestamp {until} to offset {offset} because it \
                 is not the last file.\nIf you insist, please delete all files after this file \
                 according to the manifest file and delete the corresponding records in manifest \
                 file manually. Then re-run redis-check-aof."
            ));
        }
        let cut = SystemDisk.open_append(path).and_then(|mut file| {
            file.truncate(offset)?;
            file.sync()
        });
        cut.map_err(|error| format!("Failed to truncate AOF {name}: {error}"))?;
        println!("Successfully truncated AOF {name} to timestamp {until}");
        return Ok(());
    }
    let last = log.paths.len() - 1;
    println!("Truncate nothing in AOF {} to timestamp {until}", log.display(last));
    if log.multi_part {
        println!("All AOF files and manifest are valid");
    }
    Ok(())
}

fn first_after(path: &Path, until: u64) -> Result<Option<u64>, Failure> {
    let failed = |error: io::Error| format!("Failed to read from AOF {}: {error}", path.display());
    let size = len(path)?;
    let mut scanner = Scanner::new(SystemDisk.open_read(path).map_err(failed)?, size);
    if is_rdb(path) {
        let mut decoder =
            Decoder::new(&mut scanner, Checksum::Verify).map_err(|error| error.to_string())?;
        while decoder.next_event().map_err(|error| error.to_string())?.is_some() {}
        let rest = decoder.into_rest().0;
        scanner.push_back(&rest);
    }
    loop {
        let offset = scanner.offset();
        let seconds = match scanner.next_piece().map_err(failed)? {
            Piece::Note(seconds) => seconds,
            Piece::Frame { .. } => Preface::of(scanner.payload()).seconds,
            Piece::Command => None,
            Piece::End => return Ok(None),
            Piece::Flaw(flaw) => {
                return Err(format!(
                    "AOF {} format error at offset {offset}: expected {}, got {}",
                    path.display(),
                    flaw.expected,
                    flaw.found
                ));
            }
        };
        if seconds.is_some_and(|seconds| seconds > until) {
            return Ok(Some(offset));
        }
    }
}

/// Replays nothing; sees that transactions are whole.
#[derive(Default)]
struct Counter {
    in_transaction: bool,
}

impl Replay for Counter {
    fn begin_file(&mut self, _: &Path) {
        self.in_transaction = false;
    }

    fn entry(
        &mut self,
        _: u32,
        _: Vec<u8>,
        _: OwnedValue,
        _: Option<UnixMillis>,
        _: Access,
    ) -> Result<(), String> {
        Ok(())
    }

    fn function(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn command(&mut self, words: &[&[u8]]) -> Result<(), String> {
        let name = words.first().copied().unwrap_or_default();
        let (multi, exec) =
            (name.eq_ignore_ascii_case(b"MULTI"), name.eq_ignore_ascii_case(b"EXEC"));
        if multi && self.in_transaction {
            return Err("Unexpected MULTI".into());
        }
        if exec && !self.in_transaction {
            return Err("Unexpected EXEC".into());
        }
        if multi || exec || name == b"DISCARD" {
            self.in_transaction = multi;
        }
        Ok(())
    }
}

/// Checks the RDB file, or the RDB at the beginning of a log file, in the words of
/// redis-check-rdb.
fn check_rdb(path: &Path) -> Result<(), Failure> {
    println!("[offset 0] Checking RDB file {}", path.display());
    let source = SystemDisk
        .open_read(path)
        .map_err(|error| format!("Cannot open file {}: {error}", path.display()))?;
    let sick =
        |offset: u64, what: &str| format!("--- RDB ERROR DETECTED ---\n[offset {offset}] {what}");
    let mut decoder =
        Decoder::new(source, Checksum::Verify).map_err(|error| sick(0, &error.to_string()))?;
    let now = Env::system().clock.unix_micros() / 1000;
    let (mut keys, mut expiring, mut expired) = (0_u64, 0_u64, 0_u64);
    let mut modules: BTreeMap<String, u64> = BTreeMap::new();
    loop {
        let event = decoder.next_event();
        let offset = decoder.offset();
        match event.map_err(|error| sick(offset, &error.to_string()))? {
            None => break,
            Some(Event::Aux { key, value }) => {
                let (key, value) = (String::from_utf8_lossy(&key), String::from_utf8_lossy(&value));
                println!("[offset {offset}] AUX FIELD {key} = '{value}'");
            }
            Some(Event::SelectDb(db)) => println!("[offset {offset}] Selecting DB ID {db}"),
            Some(Event::Entry { expiry, .. }) => {
                keys += 1;
                expiring += u64::from(expiry.is_some());
                expired += u64::from(expiry.is_some_and(|expiry| expiry.0 < now));
            }
            Some(Event::ModuleAux { module }) => *modules.entry(module).or_default() += 1,
            Some(Event::ResizeDb { .. } | Event::EmptyKey(_) | Event::Function(_)) => {}
            Some(Event::End(verdict)) => match verdict {
                Verdict::Verified => println!("[offset {offset}] Checksum OK"),
                Verdict::Absent | Verdict::Ignored => println!(
                    "[offset {offset}] RDB file was saved with checksum disabled: no check \
                     performed."
                ),
            },
        }
    }
    let mut text = format!("[offset {}] \\o/ RDB looks OK! \\o/\n", decoder.offset());
    for (module, count) in modules {
        // Writing to a String can't fail.
        let _ = writeln!(text, "[info] {count} auxiliary fields of the module {module}");
    }
    println!(
        "{text}[info] {keys} keys read\n[info] {expiring} expires\n[info] {expired} already expired"
    );
    Ok(())
}
