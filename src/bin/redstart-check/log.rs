//! Checks a log, and cuts what can't be followed off it.

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use redstart::base::disk::SystemDisk;
use redstart::base::env::{Disk, Env, UnixMillis};
use redstart::persist::manifest::Kind;
use redstart::persist::recover::{Cut, RecoverError, RecoverOptions, Replay, recover};
use redstart::persist::scan::{Piece, Preface, Scanner};
use redstart::persist::tail;
use redstart::rdb::decode::{Checksum, Decoder};
use redstart::rdb::{Access, OwnedValue};

use crate::files::{self, Log, len};
use crate::{Failure, rdb};

const VALID: &str = "All AOF files and manifest are valid";
const PREAMBLE_DAMAGED: &str = "RDB preamble of AOF file is not sane, aborting.";

/// What is asked for.
#[derive(Default)]
pub struct Request {
    /// To cut off what can't be read.
    pub fix: bool,
    /// To cut off what is later than this, in seconds since the Unix epoch.
    pub until: Option<u64>,
}

/// Where a log can't be followed any further.
struct Tear {
    file: PathBuf,
    offset: u64,
    what: String,
    /// Whether it is among frames.
    framed: bool,
    /// Whether only the end is missing.
    incomplete: bool,
    /// Whether it is no command, other than a command that can't stand there.
    is_malformed: bool,
}

/// What the judgement of a whole log came to.
enum Verdict {
    Sound,
    Torn(Tear),
    Missing(PathBuf),
    /// The RDB that this file begins with can't be read.
    Preamble(PathBuf),
}

impl Request {
    /// Checks a log, file by file, and mends it where that is asked for.
    pub fn check_log(&self, log: &Log) -> Result<(), Failure> {
        if log.is_detached {
            println!(
                "No log follows: BGREWRITEAOF wrote the base while appendonly was no, or it was turned off"
            );
        }
        // What is missing is told below; what is there must be a file.
        for path in log.paths.iter().filter(|path| path.exists()) {
            files::open(path)?;
        }
        let verdict = if self.until.is_some() { Verdict::Sound } else { judge(log)? };
        for index in 0..log.paths.len() {
            announce(log, index);
            let path = &log.paths[index];
            if matches!(&verdict, Verdict::Missing(missing) if missing == path) {
                return self.replace_missing(log, index);
            }
            check_opens(path)?;
            if index == 0 && files::is_rdb(path) {
                let sound = rdb::check(path);
                if sound.is_err() || matches!(&verdict, Verdict::Preamble(file) if file == path) {
                    return Err(PREAMBLE_DAMAGED.into());
                }
                println!("RDB preamble is OK, proceeding with AOF tail...");
            }
            match (&verdict, self.until) {
                (_, Some(until)) => {
                    if truncate_to(log, index, until)? {
                        break;
                    }
                }
                (Verdict::Torn(tear), None) if tear.file == *path => {
                    return self.report_torn(log, index, tear);
                }
                _ => report_sound(log, index)?,
            }
        }
        if log.is_multi_part {
            println!("{VALID}");
        }
        Ok(())
    }

    /// A file that is sound up to somewhere: says so, and cuts it if that is wanted.
    fn report_torn(&self, log: &Log, index: usize, tear: &Tear) -> Result<(), Failure> {
        let (path, name) = (&log.paths[index], log.display(index));
        let size = len(path)?;
        let io = |error: io::Error| format!("Cannot read file {name}: {}", files::plain(&error));
        println!("0x{:16x}: {}", tear.offset, tear.what);
        // Upstream tells the line in which it shows, not the one in which the command begins.
        let shows = match (tear.framed, tear.incomplete) {
            (true, _) => tear.offset,
            (false, true) => size,
            (false, false) => files::flaw_in(path, tear.offset).map_err(io)?,
        };
        if tear.is_malformed && shows == tear.offset {
            println!("AOF {name} format error");
        }
        print_analyzed(log, index, (size, tear.offset), shows)?;
        if !self.fix {
            return Err(format!("AOF {name} is not valid. Use the --fix option to try fixing it."));
        }
        let later = bytes_behind(log, index);
        if !tear.framed && later > 0 {
            return Err(format!("Failed to truncate AOF {name} because it is not the last file"));
        }
        println!(
            "This will shrink the AOF {name} from {size} bytes, with {} bytes, to {} bytes",
            size - tear.offset,
            tear.offset
        );
        if tear.framed {
            print_losses(log, index, tear.offset)?;
        }
        if later > 0 {
            println!("and empty the {later} bytes of the files that follow it");
        }
        confirm()?;
        cut(log, index, tear.offset)?;
        println!("Successfully truncated AOF {name}");
        if log.is_multi_part {
            println!("{VALID}");
        }
        Ok(())
    }

    /// A file that the manifest names is gone: an empty one can stand for it. What follows from
    /// that, checking again tells.
    fn replace_missing(&self, log: &Log, index: usize) -> Result<(), Failure> {
        let (path, name) = (&log.paths[index], log.display(index));
        let opened = check_opens(path);
        if !self.fix || log.parts[index].kind != Kind::Increment {
            return opened;
        }
        println!("INCR AOF {name} is missing. Bring it back from a backup, if there is one.");
        println!("This will create it empty: what it held is lost, and the rest is checked again");
        confirm()?;
        let created = SystemDisk.create(path).and_then(|file| {
            file.sync()?;
            SystemDisk.sync_dir(&log.layout.log_dir)
        });
        created
            .map_err(|error| format!("Failed to create AOF {name}: {}", files::plain(&error)))?;
        self.check_log(log)
    }
}

/// Has recovery look at the whole log.
fn judge(log: &Log) -> Result<Verdict, Failure> {
    let mut target = Counter::default();
    let options =
        RecoverOptions { repair: false, log_only: true, ..RecoverOptions::new(log.layout.clone()) };
    let error = match recover(&Env::system(), &options, &mut target) {
        Ok(recovered) => {
            return Ok(recovered.cut.as_ref().map_or(Verdict::Sound, Verdict::of_cut));
        }
        Err(error) => error,
    };
    Ok(match error {
        RecoverError::Damaged { file, offset, expected, found, framed } => Verdict::Torn(Tear {
            framed,
            what: format!("Expected {expected}, got {found}"),
            incomplete: false,
            is_malformed: !framed,
            file,
            offset,
        }),
        RecoverError::Truncated { file, offset, .. } => Verdict::Torn(Tear {
            what: "Reached EOF before the end of what begins here".into(),
            framed: false,
            incomplete: true,
            is_malformed: false,
            file,
            offset,
        }),
        RecoverError::Command { file, offset, error } => Verdict::Torn(Tear {
            what: format!("{error} in AOF {}", file.display()),
            framed: false,
            incomplete: false,
            is_malformed: false,
            file,
            offset,
        }),
        RecoverError::Missing(file) => Verdict::Missing(file),
        RecoverError::Snapshot { file, .. } if files::is_rdb(&file) => Verdict::Preamble(file),
        other => return Err(other.to_string()),
    })
}

impl Verdict {
    fn of_cut(cut: &Cut) -> Self {
        let framed = cut.framed;
        let what = if !framed && cut.expected.starts_with("EXEC ") {
            "Reached EOF before reading EXEC for MULTI".into()
        } else {
            format!("Expected {}, got {}", cut.expected, cut.found)
        };
        let (file, offset) = (cut.file.clone(), cut.offset);
        Self::Torn(Tear { file, offset, what, framed, incomplete: !framed, is_malformed: false })
    }
}

fn check_opens(path: &Path) -> Result<(), Failure> {
    files::open(path).map_err(|failure| format!("{failure}, aborting..."))
}

fn announce(log: &Log, index: usize) {
    if !log.is_multi_part {
        return;
    }
    let first_increment = log.parts.iter().position(|part| part.kind == Kind::Increment);
    if log.parts[index].kind == Kind::Base {
        let format = if files::is_rdb(&log.paths[index]) { "RDB" } else { "RESP" };
        println!("Start to check BASE AOF ({format} format).");
    } else if first_increment == Some(index) {
        println!("Start to check INCR files.");
    }
}

fn report_sound(log: &Log, index: usize) -> Result<(), Failure> {
    let (kind, name) = (log.kind(index), log.display(index));
    let size = len(&log.paths[index])?;
    if size == 0 {
        println!("{kind} {name} is empty");
        return Ok(());
    }
    print_analyzed(log, index, (size, size), size)?;
    println!("{kind} {name} is valid");
    Ok(())
}

/// `(size, end)`: how long the file is, and up to where it is sound. `shows`: the place whose line
/// is told.
fn print_analyzed(
    log: &Log,
    index: usize,
    (size, end): (u64, u64),
    shows: u64,
) -> Result<(), Failure> {
    let path = &log.paths[index];
    let line = files::line_at(path, shows);
    let line = line.map_err(|error| format!("{}: {}", path.display(), files::plain(&error)))?;
    println!(
        "AOF analyzed: filename={}, size={size}, ok_up_to={end}, ok_up_to_line={line}, diff={}",
        log.display(index),
        size - end
    );
    Ok(())
}

/// Says, file by file, what is behind a place among frames.
fn print_losses(log: &Log, index: usize, offset: u64) -> Result<(), Failure> {
    for (at, path) in log.paths.iter().enumerate().skip(index) {
        let start = if at == index { offset } else { 0 };
        let survey = tail::survey(&SystemDisk, std::slice::from_ref(path), start)
            .map_err(|error| error.to_string())?;
        let name = log.display(at);
        match survey.frames {
            None => println!("{name}: {} bytes from offset {start}, no whole frame", survey.bytes),
            Some((count, first, last)) => println!(
                "{name}: {} bytes from offset {start}, with {count} whole frames, {first} to \
                 {last}, of {} commands",
                survey.bytes, survey.commands
            ),
        }
        if let Some((synced, by)) = survey.synced {
            println!("{name}: frame {by} says that all frames up to {synced} were durable");
        }
    }
    Ok(())
}

/// How much is in the files that follow one. Where there is nothing, that is the last as far as
/// cutting goes: our server begins a new file behind one of Redis's.
fn bytes_behind(log: &Log, index: usize) -> u64 {
    log.paths[index + 1..].iter().map(|path| len(path).unwrap_or(0)).sum()
}

fn confirm() -> Result<(), Failure> {
    print!("Continue? [y/N]: ");
    let mut answer = String::new();
    let asked = io::stdout().flush().and_then(|()| io::stdin().lock().read_line(&mut answer));
    if asked.is_err() || !answer.starts_with(['y', 'Y']) {
        return Err("Aborting...".into());
    }
    Ok(())
}

/// Cuts a file, empties those that follow it, and makes that durable.
fn cut(log: &Log, index: usize, offset: u64) -> Result<(), Failure> {
    let failed = |error: String| format!("Failed to truncate AOF {}: {error}", log.display(index));
    let paths = &log.paths[index..];
    tail::cut(&SystemDisk, paths, offset).map_err(|error| failed(error.to_string()))?;
    paths
        .iter()
        .try_for_each(|path| SystemDisk.open_append(path)?.sync())
        .map_err(|error| failed(files::plain(&error)))
}

/// Cuts a file before the first annotation that tells a later time. False where there is none.
fn truncate_to(log: &Log, index: usize, until: u64) -> Result<bool, Failure> {
    let (path, name) = (&log.paths[index], log.display(index));
    let Some((offset, framed)) = first_after(path, until)? else {
        println!("Truncate nothing in AOF {name} to timestamp {until}");
        println!("{} {name} is valid", log.kind(index));
        return Ok(false);
    };
    let path = path.display();
    if offset == 0 {
        return Err(format!("AOF {path} has nothing before timestamp {until}, aborting..."));
    }
    let last = bytes_behind(log, index) == 0;
    if !last && !framed {
        return Err(format!(
            "Failed to truncate AOF {path} to timestamp {until} to offset {offset} because it is \
             not the last file.\nIf you insist, please delete all files after this file according \
             to the manifest file and delete the corresponding records in manifest file manually. \
             Then re-run redis-check-aof."
        ));
    }
    if framed {
        print_losses(log, index, offset)?;
    }
    if !last {
        // Upstream refuses here; by hand it would take a manifest with a new checksum.
        println!(
            "This will shrink the AOF {name} to {offset} bytes and empty those that follow it"
        );
        confirm()?;
    }
    cut(log, index, offset)?;
    println!("Successfully truncated AOF {name} to timestamp {until}");
    Ok(true)
}

/// Where the first piece begins that has a later time, and whether that is a frame.
fn first_after(path: &Path, until: u64) -> Result<Option<(u64, bool)>, Failure> {
    let failed = |error: io::Error| format!("Failed to read from AOF {}: {error}", path.display());
    let size = len(path)?;
    let mut scanner = Scanner::new(SystemDisk.open_read(path).map_err(failed)?, size);
    if files::is_rdb(path) {
        let mut decoder =
            Decoder::new(&mut scanner, Checksum::Verify).map_err(|error| error.to_string())?;
        while decoder.next_event().map_err(|error| error.to_string())?.is_some() {}
        let rest = decoder.into_rest().0;
        scanner.push_back(&rest);
    }
    loop {
        let offset = scanner.offset();
        let (seconds, framed) = match scanner.next_piece().map_err(failed)? {
            Piece::Note(seconds) => (seconds, false),
            Piece::Frame { .. } => (Preface::of(scanner.payload()).seconds, true),
            Piece::Command => (None, false),
            Piece::End => return Ok(None),
            Piece::Flaw(flaw) => {
                return Err(format!(
                    "AOF {} format error\n0x{offset:16x}: Expected {}, got {}\nAOF {} is not \
                     valid. Use the --fix option to try fixing it.",
                    path.display(),
                    flaw.expected,
                    flaw.found,
                    path.display()
                ));
            }
        };
        if seconds.is_some_and(|seconds| seconds > until) {
            return Ok(Some((offset, framed)));
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
