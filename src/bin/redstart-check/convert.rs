//! Rewrites an RDB file in an older version of the format: the way back from a newer server, and from one
//! vendor to the other.
//!
//! Whatever the file's version, its keys are read as the server reads them and written as the server
//! writes them with that `rdb-version`. What the version, or we, have no place for is left out only where it
//! is said how much of it there was; keys of types that we don't have stop the conversion unless they are
//! to be skipped. The new file is written beside its final name and gets that name when it is whole and on
//! the disk.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use redstart::base::checksum::Crc64;
use redstart::base::disk::SystemDisk;
use redstart::base::env::{Disk, DiskFile};
use redstart::rdb::decode::{Checksum, DecodeError, Decoder, Event, PassedOver, UnknownTypes};
use redstart::rdb::downgrade::Lost;
use redstart::rdb::encode::{self, EncodeOptions};

use crate::{Failure, files};

/// So much is written at once.
const PIECE_BYTES: usize = 1 << 20;
/// The first version that has libraries of functions (7.0).
const VERSION_FUNCTIONS: u16 = 10;

/// What to write, and where.
pub struct Request {
    pub version: u16,
    pub output: PathBuf,
    pub unknown_types: UnknownTypes,
}

/// What the new file has, and what it hasn't.
#[derive(Default)]
struct Counts {
    keys: u64,
    lost: Lost,
    functions: u64,
    empty: u64,
    modules: BTreeMap<String, u64>,
    skipped: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// Says what was left out.
    fn say_lost(&self, passed_over: PassedOver) {
        let Lost { field_expiries, released, stream_counts, active_times } = self.lost;
        let PassedOver { key_metadata, producer_ids, slot_imports } = passed_over;
        for (count, what) in [
            (field_expiries, "expiry times of fields of hashes: the fields stay for ever"),
            (
                released,
                "pending entries that were given back: a consumer with an empty name has them",
            ),
            (
                stream_counts,
                "streams' counts of what was added and deleted: readers reckon them anew",
            ),
            (active_times, "times at which consumers were active"),
            (self.functions, "libraries of functions"),
            (self.empty, "keys without elements"),
            (
                key_metadata,
                "keys of which modules knew something: the keys are there, without that",
            ),
            (producer_ids, "ids of entries that streams' producers had sent (XADD IDMP)"),
            (slot_imports, "moves of slots between nodes of a cluster"),
        ] {
            if count > 0 {
                println!("Left out: {count} {what}");
            }
        }
        for (module, count) in &self.modules {
            println!("Left out: {count} auxiliary fields of the module {module}");
        }
        for (type_name, count) in &self.skipped {
            println!("Left out: {count} keys of the type {type_name}");
        }
    }
}

/// The file in the making.
struct Output {
    file: Box<dyn DiskFile>,
    options: EncodeOptions,
    piece: Vec<u8>,
    crc: Crc64,
}

impl Output {
    fn flush(&mut self) -> io::Result<()> {
        self.crc.update(&self.piece);
        self.file.append(&self.piece)?;
        self.piece.clear();
        Ok(())
    }
}

impl Request {
    /// Converts a file and says what was left out.
    pub fn convert(&self, path: &Path) -> Result<(), Failure> {
        files::open(path)?;
        if !files::is_rdb(path) {
            return Err(format!("{} is no RDB file", path.display()));
        }
        if SystemDisk.exists(&self.output).unwrap_or(true) {
            return Err(format!("{} is there already", self.output.display()));
        }
        let name = self.output.file_name().unwrap_or_default().to_string_lossy();
        let temporary = self.output.with_file_name(format!("temp-{name}"));
        let outcome = self.write(path, &temporary);
        if outcome.is_err() {
            // What can't be removed is named `temp-`, and nothing takes it for data.
            let _ = SystemDisk.remove(&temporary);
        }
        let (counts, passed_over) = outcome?;
        println!(
            "{} keys of {} are in {}, which is of version {}",
            counts.keys,
            path.display(),
            self.output.display(),
            self.version
        );
        counts.say_lost(passed_over);
        Ok(())
    }

    fn write(&self, path: &Path, temporary: &Path) -> Result<(Counts, PassedOver), Failure> {
        let failed = |error: io::Error| {
            format!("{} can't be written: {}", temporary.display(), files::plain(&error))
        };
        let unreadable = |error: DecodeError| format!("{} can't be read: {error}", path.display());
        let source = SystemDisk.open_read(path).map_err(|error| {
            format!("Cannot open file {}: {}", path.display(), files::plain(&error))
        })?;
        let decoder = Decoder::new(source, Checksum::Verify).map_err(unreadable)?;
        let mut decoder = decoder.with_unknown_types(self.unknown_types);
        let options = EncodeOptions { version: self.version, compress: true };
        let file = SystemDisk.create(temporary).map_err(failed)?;
        let mut output = Output { file, options, piece: Vec::new(), crc: Crc64::new() };
        encode::header(&mut output.piece, &options);
        let mut counts = Counts::default();
        while let Some(event) = decoder.next_event().map_err(unreadable)? {
            self.put(event, &mut output, &mut counts);
            if output.piece.len() >= PIECE_BYTES {
                output.flush().map_err(failed)?;
            }
        }
        encode::end(&mut output.piece);
        output.flush().map_err(failed)?;
        let mut checksum = Vec::new();
        encode::checksum(&mut checksum, Some(&output.crc));
        output.file.append(&checksum).map_err(failed)?;
        output.file.sync().map_err(failed)?;
        SystemDisk.rename(temporary, &self.output).map_err(failed)?;
        let directory = self.output.parent().filter(|parent| !parent.as_os_str().is_empty());
        SystemDisk.sync_dir(directory.unwrap_or(Path::new("."))).map_err(failed)?;
        Ok((counts, decoder.passed_over()))
    }

    fn put(&self, event: Event, output: &mut Output, counts: &mut Counts) {
        let (piece, options) = (&mut output.piece, &output.options);
        match event {
            Event::Aux { key, value } => encode::aux(piece, options, &key, &value),
            Event::SelectDb(db) => encode::select_db(piece, db),
            Event::ResizeDb { keys, expires } => encode::resize_db(piece, keys, expires),
            Event::Entry { key, mut value, expiry, access } => {
                counts.lost.fit(&mut value, self.version);
                encode::entry(piece, options, &key, value.as_ref(), expiry, access);
                counts.keys += 1;
            }
            Event::Function(code) if self.version >= VERSION_FUNCTIONS => {
                encode::function(piece, options, &code);
            }
            Event::Function(_) => counts.functions += 1,
            Event::EmptyKey(_) => counts.empty += 1,
            Event::ModuleAux { module } => *counts.modules.entry(module).or_default() += 1,
            Event::Skipped { type_name, .. } => *counts.skipped.entry(type_name).or_default() += 1,
            Event::End(_) => {}
        }
    }
}
