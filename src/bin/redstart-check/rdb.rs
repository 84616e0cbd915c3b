//! Checks an RDB file, or the RDB at the beginning of a log file, in the words of redis-check-rdb.

use std::collections::BTreeMap;
use std::path::Path;

use redstart::base::disk::SystemDisk;
use redstart::base::env::{Disk, Env};
use redstart::rdb::decode::{Checksum, DecodeError, Decoder, Event, Verdict};

use crate::{Failure, files};

/// What was read.
#[derive(Default)]
struct Counts {
    keys: u64,
    expiring: u64,
    expired: u64,
    modules: BTreeMap<String, u64>,
    /// What is being read, as redis-check-rdb calls it.
    doing: &'static str,
}

/// Checks a file and prints what is found. An RDB may be followed by something else.
pub fn check(path: &Path) -> Result<(), Failure> {
    println!("[offset 0] Checking RDB file {}", path.display());
    files::open(path)?;
    if path.is_dir() {
        return Err(format!("Cannot open file {}: Is a directory", path.display()));
    }
    let source = SystemDisk.open_read(path).map_err(|error| {
        format!("Cannot open file {}: {}", path.display(), files::plain(&error))
    })?;
    let mut counts = Counts { doing: "start", ..Counts::default() };
    let outcome = read(source, &mut counts);
    if let Err((offset, error)) = &outcome {
        println!("--- RDB ERROR DETECTED ---\n[offset {offset}] {}", headline(error));
        println!("[additional info] While doing: {}", counts.doing);
        println!("[additional info] {error}");
    }
    if let Ok(offset) = outcome {
        println!("[offset {offset}] \\o/ RDB looks OK! \\o/");
    }
    for (module, count) in &counts.modules {
        println!("[info] {count} auxiliary fields of the module {module}");
    }
    println!("[info] {} keys read", counts.keys);
    println!("[info] {} expires", counts.expiring);
    println!("[info] {} already expired", counts.expired);
    outcome.map(drop).map_err(|_| String::new())
}

/// Reads to the end; says where that is, or where it went wrong.
fn read(source: impl std::io::Read, counts: &mut Counts) -> Result<u64, (u64, DecodeError)> {
    let mut decoder = Decoder::new(source, Checksum::Verify).map_err(|error| (0, error))?;
    let now = Env::system().clock.unix_micros() / 1000;
    loop {
        counts.doing = "read-type";
        let event = decoder.next_event();
        let offset = decoder.offset();
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                if matches!(error, DecodeError::Checksum { .. }) {
                    counts.doing = "check-sum";
                }
                return Err((offset, error));
            }
        };
        match event {
            None => return Ok(offset),
            Some(Event::Aux { key, value }) => {
                let (key, value) = (String::from_utf8_lossy(&key), String::from_utf8_lossy(&value));
                println!("[offset {offset}] AUX FIELD {key} = '{value}'");
            }
            Some(Event::SelectDb(db)) => println!("[offset {offset}] Selecting DB ID {db}"),
            Some(Event::Entry { expiry, .. }) => {
                counts.keys += 1;
                counts.expiring += u64::from(expiry.is_some());
                counts.expired += u64::from(expiry.is_some_and(|expiry| expiry.0 < now));
            }
            Some(Event::ModuleAux { module }) => *counts.modules.entry(module).or_default() += 1,
            Some(
                Event::ResizeDb { .. }
                | Event::EmptyKey(_)
                | Event::Skipped { .. }
                | Event::Function(_),
            ) => {}
            Some(Event::End(Verdict::Verified)) => println!("[offset {offset}] Checksum OK"),
            Some(Event::End(Verdict::Absent | Verdict::Ignored)) => println!(
                "[offset {offset}] RDB file was saved with checksum disabled: no check performed."
            ),
        }
    }
}

/// An error's kind in the words that redis-check-rdb has for it, where it has any.
fn headline(error: &DecodeError) -> String {
    match error {
        DecodeError::Truncated { .. } => "Unexpected EOF reading RDB file".into(),
        DecodeError::Magic { .. } => "Wrong signature trying to load DB from file".into(),
        DecodeError::Version { found } => format!("Can't handle RDB format version {found}"),
        DecodeError::Checksum { .. } => "RDB CRC error".into(),
        DecodeError::Opcode { found, .. } => format!("Invalid object type: {found}"),
        _ => "Internal error in RDB reading".into(),
    }
}
