//! A data directory's contents back into memory.
//!
//! Frames are numbered without a gap through all increments. The first place where that chain
//! breaks (a checksum, a gap, a repeat, an end that comes too early) is a *tear*. What follows from
//! it is decided in [`crate::persist::tail`]: a tear in what no later frame says was durable is what
//! a power loss leaves, and is cut off and reported; any other is damage and stops the start.
//!
//! Files that Redis wrote have no frames and load by upstream's rules: a command cut off at the
//! end, or a transaction without its end, is cut away where `aof-load-truncated` says so; anything
//! malformed stops. Redis also appends to our last file: commands without frames may follow frames,
//! never the other way round.
//!
//! Nothing of a frame is replayed before its checksum was right. No contents of the files make this
//! panic, or ask for more memory than the largest frame takes.
//!
//! Where the files say so, the data's place in the stream comes out as well: from the manifest or the
//! snapshot's fields, and then from frame to frame.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::env::{Disk, Env, SyncPoint, UnixMillis};
use crate::data::thresholds::Thresholds;
use crate::journal::StreamPosition;
use crate::persist::manifest::{Kind, Layout, Manifest, Part};
use crate::persist::recover_notes::Notes;
use crate::persist::recover_place::StreamPlace;
use crate::persist::scan::{Command, Piece, Preface, Scanner, parse_command};
use crate::persist::stream_files::FileMarks;
use crate::persist::tail::{self, Place, Settled, Tear};
use crate::rdb::decode::{Checksum, DecodeError, Decoder, Event, UnknownTypes};
use crate::rdb::{Access, OwnedValue};

pub use crate::persist::recover_error::{Cut, RecoverError};

/// The log's directory, made for an old single-file log.
pub(crate) const SYNC_UPGRADE_DIR: SyncPoint = SyncPoint("name of the directory for an old log");

/// The fewest bytes that a key takes in a snapshot: what says how many there are is believed no
/// further than the file's length allows.
const ENTRY_BYTES_MIN: u64 = 4;
/// Bytes between two calls of [`Replay::progress`].
const PROGRESS_BYTES: u64 = 1 << 20;

/// Who takes what was recovered.
pub trait Replay {
    /// A file begins: database 0 is selected, no transaction is open.
    fn begin_file(&mut self, path: &Path);
    /// An auxiliary field of a snapshot.
    fn aux(&mut self, _key: &[u8], _value: &[u8]) {}
    /// A database of a snapshot will have about so many keys: never more than the file has room for.
    fn resize(&mut self, _db: u32, _keys: u64) {}
    /// A key of a snapshot.
    fn entry(
        &mut self,
        db: u32,
        key: Vec<u8>,
        value: OwnedValue,
        expiry: Option<UnixMillis>,
        access: Access,
    ) -> Result<(), String>;
    /// A library of functions in a snapshot.
    fn function(&mut self, code: &[u8]) -> Result<(), String> {
        self.command(&[b"FUNCTION", b"LOAD", b"REPLACE", code])
    }
    /// A command, SELECT, MULTI and EXEC included. DISCARD where a transaction has no end.
    fn command(&mut self, words: &[&[u8]]) -> Result<(), String>;
    /// The command that follows begins, or the frame that it is in, at this offset of the file.
    fn position(&mut self, _offset: u64) {}
    /// So many bytes more have been read.
    fn progress(&mut self, _bytes: u64) {}
    /// So many bytes will be read.
    fn expect(&mut self, _bytes: u64) {}
}

/// What to recover and how strictly.
#[derive(Clone, Debug)]
pub struct RecoverOptions {
    /// Where the files are.
    pub layout: Layout,
    /// Up to where collections are kept compact.
    pub thresholds: Thresholds,
    /// Whether the log is what counts, or the snapshot.
    pub appendonly: bool,
    /// Whether nothing but the log counts: neither a snapshot in the place of one that isn't there,
    /// nor one that is newer than a base that no log follows.
    pub log_only: bool,
    /// Whether an end that is cut off is forgiven (`aof-load-truncated`).
    pub load_truncated: bool,
    /// Whether the checksum of a snapshot is checked (`rdbchecksum`).
    pub rdb_checksum: bool,
    /// What becomes of keys of types that there is no place for (`rdb-load-unknown-types`).
    pub unknown_types: UnknownTypes,
    /// Whether files may be changed: an end cut away, an old log moved. Without, recovery only
    /// looks, and reports what it would do.
    pub repair: bool,
    /// For tests: a check that is left out.
    #[doc(hidden)]
    pub unchecked: Option<Check>,
}

/// The checks of recovery, for a test to show that each is needed.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// That a frame is what it was.
    Checksum,
    /// That frames follow each other.
    Sequence,
    /// That a file begins with the frame that the manifest says.
    FirstFrame,
    /// That a tear is in what was not durable.
    Synced,
    /// That a snapshot, or a base, is what it was.
    Snapshot,
    /// That the manifest is what it was.
    Manifest,
}

impl Check {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Checksum,
        Self::Sequence,
        Self::FirstFrame,
        Self::Synced,
        Self::Snapshot,
        Self::Manifest,
    ];
}

impl RecoverOptions {
    /// Upstream's defaults.
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            thresholds: Thresholds::default(),
            appendonly: true,
            log_only: false,
            load_truncated: true,
            rdb_checksum: true,
            unknown_types: UnknownTypes::default(),
            repair: true,
            unchecked: None,
        }
    }

    fn checks(&self, check: Check) -> bool {
        self.unchecked != Some(check)
    }
}

/// Where the data came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// There was none.
    Nothing,
    /// A snapshot. Where the log is on, it needs a base: [`crate::persist::log::Log::enable`].
    Snapshot,
    /// The log.
    Log,
}

/// Where the log goes on, for [`crate::persist::log::Log::open`].
#[derive(Clone, Debug)]
pub struct Resume {
    /// The log's files.
    pub manifest: Manifest,
    /// The number of the next frame.
    pub next_frame: u64,
    /// Whether the last increment is ours to go on with.
    pub append_to_last: bool,
    /// Everything before it is known to have been durable when the log was written.
    pub settled: Place,
    /// Where in a stream the data is, where the files say so: what whoever has had that history up to
    /// there has.
    pub position: Option<StreamPosition>,
    /// What of the stream each increment has, by its name.
    pub stream: Vec<(Vec<u8>, FileMarks)>,
}

/// What was recovered.
#[derive(Debug)]
pub struct Recovered {
    /// Where the data came from.
    pub source: Source,
    /// Where the log goes on.
    pub resume: Resume,
    /// Commands replayed.
    pub commands: u64,
    /// Frames replayed.
    pub frames: u64,
    /// What was cut off.
    pub cut: Option<Cut>,
    /// Whether an old single-file log was moved into the log's directory.
    pub(crate) upgraded: bool,
}

/// Loads what a data directory holds into `target`.
pub fn recover(
    env: &Env,
    options: &RecoverOptions,
    target: &mut dyn Replay,
) -> Result<Recovered, RecoverError> {
    Recovery::new(Arc::clone(&env.disk), options, target).run()
}

pub(super) fn io_error(file: &Path) -> impl FnOnce(io::Error) -> RecoverError {
    move |source| RecoverError::Io { file: file.to_owned(), source }
}

struct Recovery<'a> {
    disk: Arc<dyn Disk>,
    options: &'a RecoverOptions,
    target: &'a mut dyn Replay,
    /// The number that the next frame must have, once one is known.
    next_frame: Option<u64>,
    /// The last time that an annotation told.
    seconds: Option<u64>,
    settled: Settled,
    place: StreamPlace,
    /// What of the stream the increments have.
    stream: Vec<(Vec<u8>, FileMarks)>,
    commands: u64,
    frames: u64,
    reported: u64,
    words: Command,
}

/// How the reading of one file ended.
enum FileEnd {
    /// With its last byte. The field says whether it held commands without frames.
    Whole { bare: bool },
    /// Before.
    Torn(Tear),
}

impl<'a> Recovery<'a> {
    fn new(disk: Arc<dyn Disk>, options: &'a RecoverOptions, target: &'a mut dyn Replay) -> Self {
        Self {
            disk,
            options,
            target,
            next_frame: None,
            seconds: None,
            stream: Vec::new(),
            settled: Settled::default(),
            place: StreamPlace::default(),
            commands: 0,
            frames: 0,
            reported: 0,
            words: Command::default(),
        }
    }

    fn run(self) -> Result<Recovered, RecoverError> {
        let layout = &self.options.layout;
        if !self.options.appendonly {
            return self.load_snapshot(Manifest::default());
        }
        let mut manifest =
            match Manifest::read(&*self.disk, layout).map_err(io_error(&layout.manifest()))? {
                None => Manifest::default(),
                Some(bytes) if self.options.checks(Check::Manifest) => Manifest::parse(&bytes)?,
                Some(bytes) => Manifest::parse_unchecked(&bytes)?,
            };
        let upgraded = self.is_old_log(&manifest)?;
        if upgraded {
            self.upgrade(&mut manifest)?;
        }
        if self.options.log_only {
            return self.load_log(manifest);
        }
        if manifest.is_empty() || self.is_superseded(&manifest)? {
            return self.load_snapshot(manifest);
        }
        let mut recovered = self.load_log(manifest)?;
        recovered.upgraded = upgraded;
        Ok(recovered)
    }

    fn recovered(self, source: Source, manifest: Manifest, append_to_last: bool) -> Recovered {
        let next_frame = self.next_frame.unwrap_or(1);
        let (settled, position, stream) =
            (self.settled.place(), self.place.position(), self.stream);
        Recovered {
            source,
            resume: Resume { manifest, next_frame, append_to_last, settled, position, stream },
            commands: self.commands,
            frames: self.frames,
            cut: None,
            upgraded: false,
        }
    }

    fn load_snapshot(mut self, manifest: Manifest) -> Result<Recovered, RecoverError> {
        let path = self.options.layout.data_file(&self.options.layout.snapshot_name);
        if !self.exists(&path)? {
            return Ok(self.recovered(Source::Nothing, manifest, false));
        }
        let len = self.disk.len(&path).map_err(io_error(&path))?;
        self.target.expect(len);
        self.target.begin_file(&path);
        let mut scanner = self.open(&path)?;
        self.snapshot(&path, &mut scanner)?;
        Ok(self.recovered(Source::Snapshot, manifest, false))
    }

    /// Upstream's three cases of a single-file log that is still to be moved.
    fn is_old_log(&self, manifest: &Manifest) -> Result<bool, RecoverError> {
        let layout = &self.options.layout;
        if !self.exists(&layout.data_file(&layout.log_name))? {
            return Ok(false);
        }
        let half_way = manifest.increments.is_empty()
            && manifest.base.as_ref().is_some_and(|base| base.name == layout.log_name)
            && !self.exists(&layout.log_file(&layout.log_name))?;
        Ok(manifest.is_empty() || half_way)
    }

    fn exists(&self, path: &Path) -> Result<bool, RecoverError> {
        self.disk.exists(path).map_err(io_error(path))
    }

    /// Moves a single-file log into the log's directory, as its base, in upstream's order: a crash
    /// in between leaves the third case above.
    fn upgrade(&self, manifest: &mut Manifest) -> Result<(), RecoverError> {
        let (layout, disk) = (&self.options.layout, &*self.disk);
        let name = layout.log_name.clone();
        let old = layout.data_file(&name);
        let base = Part { name: name.clone(), number: 1, kind: Kind::Base, first_frame: None };
        *manifest = Manifest { base: Some(base), ..Manifest::default() };
        if !self.options.repair {
            return Ok(());
        }
        let moved = || -> io::Result<()> {
            disk.create_dir(&layout.log_dir)?;
            disk.sync_dir_at(&layout.dir, SYNC_UPGRADE_DIR)?;
            manifest.store(disk, layout)?;
            // Opening the log makes it durable that it has moved.
            disk.rename(&old, &layout.log_file(&name))
        };
        moved().map_err(io_error(&old))
    }

    /// Whether the snapshot is newer than the manifest's files, which no log follows.
    fn is_superseded(&self, manifest: &Manifest) -> Result<bool, RecoverError> {
        let Some(mark) = manifest.detached else { return Ok(false) };
        let layout = &self.options.layout;
        let superseded = mark
            .is_superseded(&*self.disk, layout, manifest)
            .map_err(io_error(&layout.data_file(&layout.snapshot_name)))?;
        if superseded {
            tracing::warn!(
                "The append only file was turned off before {} was written: loading that",
                String::from_utf8_lossy(&layout.snapshot_name)
            );
        }
        Ok(superseded)
    }

    fn open(&self, path: &Path) -> Result<Scanner, RecoverError> {
        open_scanner(&*self.disk, path)
    }

    fn load_log(mut self, manifest: Manifest) -> Result<Recovered, RecoverError> {
        let layout = self.options.layout.clone();
        let parts: Vec<Part> = manifest.base.iter().chain(&manifest.increments).cloned().collect();
        let mut paths: Vec<PathBuf> =
            parts.iter().map(|part| layout.log_file(&part.name)).collect();
        let is_old = parts.first().is_some_and(|part| part.name == layout.log_name);
        if !self.options.repair && is_old {
            // An old log that was not moved because nothing may be changed.
            let old = layout.data_file(&layout.log_name);
            if !self.exists(&paths[0])? && self.exists(&old)? {
                paths[0] = old;
            }
        }
        let mut total = 0;
        for path in &paths {
            if !self.exists(path)? {
                return Err(RecoverError::Missing(path.clone()));
            }
            total += self.disk.len(path).map_err(io_error(path))?;
        }
        self.target.expect(total);
        // A base has its name only since it is durable.
        let file = usize::from(manifest.base.is_some());
        self.settled = Settled::from(Place { file, offset: 0 });
        self.place = StreamPlace::of_base(manifest.base_position);
        let mut append_to_last = false;
        for (index, path) in paths.iter().enumerate() {
            self.target.begin_file(path);
            match self.load_file(path, &parts[index], index)? {
                FileEnd::Whole { bare } => {
                    append_to_last = !bare && parts[index].kind == Kind::Increment;
                }
                FileEnd::Torn(tear) => {
                    // Behind a cut among frames, the last file has only frames, if any.
                    let ours = tear.framed && parts[parts.len() - 1].kind == Kind::Increment;
                    let cut = self.judge(&paths[index..], tear)?;
                    let mut recovered = self.recovered(Source::Log, manifest, ours);
                    recovered.cut = Some(cut);
                    return Ok(recovered);
                }
            }
        }
        Ok(self.recovered(Source::Log, manifest, append_to_last))
    }

    /// What a tear in the first of `paths` means: an error, or a cut, which is then made.
    fn judge(&mut self, paths: &[PathBuf], tear: Tear) -> Result<Cut, RecoverError> {
        let checked = self.options.checks(Check::Synced);
        let mut cut = tail::judge(&*self.disk, paths, tear, checked)?;
        if !self.options.load_truncated {
            return Err(RecoverError::Truncated { file: cut.file, offset: cut.offset, last: true });
        }
        cut.since = self.seconds;
        if self.options.repair {
            tail::cut(&*self.disk, paths, cut.offset)?;
        }
        Ok(cut)
    }

    fn load_file(
        &mut self,
        path: &Path,
        part: &Part,
        index: usize,
    ) -> Result<FileEnd, RecoverError> {
        let mut scanner = self.open(path)?;
        if !self.options.checks(Check::Checksum) {
            scanner.ignore_checksums();
        }
        let magics: [&[u8]; 2] = [b"REDIS", b"VALKEY"];
        let mut is_snapshot = false;
        for magic in magics {
            is_snapshot |= scanner.begins_with(magic).map_err(io_error(path))?;
        }
        if part.kind == Kind::Base && part.name.ends_with(b".rdb") && !is_snapshot {
            return Err(RecoverError::Snapshot {
                file: path.to_owned(),
                error: "an RDB file expected at offset 0, found something else".into(),
            });
        }
        if is_snapshot {
            self.snapshot(path, &mut scanner)?;
        }
        if self.next_frame.is_none() && self.options.checks(Check::FirstFrame) {
            self.next_frame = part.first_frame;
        }
        if part.kind == Kind::Increment {
            self.stream.push((part.name.clone(), FileMarks::default()));
        }
        let mut file = FileState::default();
        loop {
            let offset = scanner.offset();
            self.report(offset, false);
            let piece = scanner.next_piece().map_err(io_error(path))?;
            match piece {
                Piece::End => break,
                Piece::Note(None) if self.next_frame.is_some() && !file.bare => {
                    // Neither we nor Redis write this: it was the header of a frame.
                    let next_frame = self.next_frame.unwrap_or_default();
                    return Ok(FileEnd::Torn(Tear::unknown_annotation(offset, next_frame)));
                }
                Piece::Note(seconds) => self.seconds = seconds.or(self.seconds),
                Piece::Frame { sequence } => {
                    if let Some(tear) = self.check_frame(&mut file, offset, sequence) {
                        return Ok(FileEnd::Torn(tear));
                    }
                    let preface = self.replay_frame(path, &scanner, offset)?;
                    if let Some(synced) = preface.synced {
                        self.settled.note(sequence, synced, Place { file: index, offset });
                    }
                    self.next_frame = Some(sequence + 1);
                }
                Piece::Command => {
                    if !file.bare && !self.may_be_bare(path, &scanner, &file, offset)? {
                        let next_frame = self.next_frame.unwrap_or_default();
                        return Ok(FileEnd::Torn(Tear::between(offset, next_frame)));
                    }
                    file.bare = true;
                    self.replay_bare(path, &scanner, &mut file, offset)?;
                }
                Piece::Flaw(flaw) => {
                    let at = file.multi.unwrap_or(offset);
                    self.end_transaction(path, &mut file)?;
                    let framed = !file.bare && (file.framed || self.is_framed(path)?);
                    let next_frame = self.next_frame.unwrap_or_default();
                    let tear = Tear { offset: at, flaw, framed, next_frame, fatal: false };
                    return Ok(FileEnd::Torn(tear));
                }
            }
        }
        self.report(scanner.offset(), true);
        if let Some(at) = file.multi {
            self.end_transaction(path, &mut file)?;
            return Ok(FileEnd::Torn(Tear::open_transaction(at)));
        }
        Ok(FileEnd::Whole { bare: file.bare })
    }

    /// Whether commands without frames may begin here: where Redis went on with our log. It begins
    /// with SELECT (or MULTI), and no frame follows in that file; otherwise this is what is left of
    /// a frame whose header is lost.
    fn may_be_bare(
        &self,
        path: &Path,
        scanner: &Scanner,
        file: &FileState,
        offset: u64,
    ) -> Result<bool, RecoverError> {
        if self.next_frame.is_none() {
            return Ok(true);
        }
        let name = scanner.command().next().unwrap_or_default();
        if !name.eq_ignore_ascii_case(b"SELECT") && !name.eq_ignore_ascii_case(b"MULTI") {
            return Ok(false);
        }
        Ok(!file.framed || !tail::frames_follow(&*self.disk, path, offset)?)
    }

    /// Whether a file that can't be read from its first byte on is one of ours.
    fn is_framed(&self, path: &Path) -> Result<bool, RecoverError> {
        Ok(self.next_frame.is_some() || tail::frames_follow(&*self.disk, path, 0)?)
    }

    /// Whether a frame may come here; where not, the tear.
    fn check_frame(&self, file: &mut FileState, offset: u64, sequence: u64) -> Option<Tear> {
        let expected = self.next_frame;
        if file.bare {
            return Some(Tear::misplaced(offset, sequence));
        }
        file.framed = true;
        if sequence < u64::MAX
            && (expected.is_none_or(|expected| expected == sequence)
                || !self.options.checks(Check::Sequence))
        {
            return None;
        }
        Some(Tear::out_of_order(offset, expected.unwrap_or_default(), sequence))
    }

    fn replay_frame(
        &mut self,
        path: &Path,
        scanner: &Scanner,
        offset: u64,
    ) -> Result<Preface, RecoverError> {
        let payload = scanner.payload();
        let preface = Preface::of(payload);
        self.seconds = preface.seconds.or(self.seconds);
        let mut at = preface.end;
        self.target.position(offset);
        while at < payload.len() {
            if parse_command(payload, at, &mut self.words).is_err() {
                return Err(RecoverError::Damaged {
                    file: path.to_owned(),
                    offset,
                    expected: "commands in a frame".into(),
                    found: format!("something else at byte {at} of its payload"),
                    framed: true,
                });
            }
            at = self.words.end;
            let words: Vec<&[u8]> =
                self.words.words.iter().map(|word| &payload[word.clone()]).collect();
            self.target.command(&words).map_err(|error| RecoverError::Command {
                file: path.to_owned(),
                offset,
                error,
            })?;
            self.commands += 1;
        }
        self.frames += 1;
        if let Some((_, held)) = self.stream.last_mut() {
            held.note_read(scanner, offset);
        }
        self.place.pass_frame(scanner, preface.history).unwrap_or_else(|what| {
            tracing::warn!("{what}, in {} at offset {offset}", path.display());
        });
        Ok(preface)
    }

    fn replay_bare(
        &mut self,
        path: &Path,
        scanner: &Scanner,
        file: &mut FileState,
        offset: u64,
    ) -> Result<(), RecoverError> {
        let words: Vec<&[u8]> = scanner.command().collect();
        let name = words.first().copied().unwrap_or_default();
        if name.eq_ignore_ascii_case(b"MULTI") {
            file.multi = Some(offset);
        } else if name.eq_ignore_ascii_case(b"EXEC") {
            file.multi = None;
        }
        self.commands += 1;
        // Whoever wrote this had no stream of ours.
        self.place = StreamPlace::default();
        self.target.position(offset);
        self.target.command(&words).map_err(|error| RecoverError::Command {
            file: path.to_owned(),
            offset,
            error,
        })
    }

    fn end_transaction(&mut self, path: &Path, file: &mut FileState) -> Result<(), RecoverError> {
        let Some(offset) = file.multi.take() else { return Ok(()) };
        self.target.command(&[b"DISCARD"]).map_err(|error| RecoverError::Command {
            file: path.to_owned(),
            offset,
            error,
        })
    }

    /// The snapshot at the beginning of a file; the scanner is then behind it.
    fn snapshot(&mut self, path: &Path, scanner: &mut Scanner) -> Result<(), RecoverError> {
        let verified = self.options.rdb_checksum && self.options.checks(Check::Snapshot);
        let checksum = if verified { Checksum::Verify } else { Checksum::Ignore };
        let rest = self
            .decode(scanner, checksum)
            .map_err(|error| RecoverError::Snapshot { file: path.to_owned(), error })?;
        scanner.push_back(&rest);
        Ok(())
    }

    fn decode(&mut self, scanner: &mut Scanner, checksum: Checksum) -> Result<Vec<u8>, String> {
        let text = |error: DecodeError| error.to_string();
        // For all databases together.
        let mut keys_max = scanner.rest_bytes() / ENTRY_BYTES_MIN;
        let mut decoder =
            Decoder::new(scanner, checksum).map_err(text)?.with_thresholds(self.options.thresholds);
        decoder = decoder.with_unknown_types(self.options.unknown_types);
        let (mut db, mut notes) = (0, Notes::default());
        while let Some(event) = decoder.next_event().map_err(text)? {
            match event {
                Event::Aux { key, value } => {
                    self.place.note_field(&key, &value);
                    self.target.aux(&key, &value);
                }
                Event::SelectDb(selected) => db = selected,
                Event::ResizeDb { keys, expires: _ } => {
                    let keys = keys.min(keys_max);
                    keys_max -= keys;
                    self.target.resize(db, keys);
                }
                Event::Entry { key, value, expiry, access } => {
                    self.target.entry(db, key, value, expiry, access)?;
                    self.report(decoder.offset(), false);
                }
                Event::EmptyKey(key) => notes.empty_key(&key),
                Event::Skipped { key, type_name } => notes.skipped_key(&key, type_name),
                Event::Function(code) => self.target.function(&code)?,
                Event::ModuleAux { module } => Notes::module(&module),
                Event::End(_) => {}
            }
        }
        notes.finish(decoder.passed_over());
        Ok(decoder.into_rest().0)
    }

    fn report(&mut self, offset: u64, end_of_file: bool) {
        let bytes = offset.saturating_sub(self.reported);
        if bytes >= PROGRESS_BYTES || end_of_file {
            self.target.progress(bytes);
            self.reported = if end_of_file { 0 } else { offset };
        }
    }
}

/// What is known of the file that is being read.
#[derive(Default)]
struct FileState {
    framed: bool,
    bare: bool,
    /// Where the transaction begins that has no end yet.
    multi: Option<u64>,
}

pub(super) fn open_scanner(disk: &dyn Disk, path: &Path) -> Result<Scanner, RecoverError> {
    let len = disk.len(path).map_err(io_error(path))?;
    Ok(Scanner::new(disk.open_read(path).map_err(io_error(path))?, len))
}
