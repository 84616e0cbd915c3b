//! Which files the log is in: opening it, and replacing what it has grown to by the state itself.
//!
//! ```text
//!          begin_rewrite            switch           finish_rewrite
//!  Idle ───────────────► Preparing ────► Running ──────────────────► Finishing ──► Idle
//!                new increment, named   │ new frames go there,        base renamed, manifest,
//!                in the manifest        │ the walk for the new base   old files deleted
//!                                       │ begins at this moment
//! ```
//!
//! Preparing and finishing wait for the disk on a worker; the actor goes on writing, to the old
//! increment until [`Log::switch`]. Every name is durable before a manifest that has it is, and
//! a manifest is durable before anything that it no longer has is deleted. So a crash at any moment
//! leaves either the old base with all increments or the new base with the last one.
//!
//! A log that is turned on while there is data has no base yet: its frames go to a temporary
//! increment that no manifest names before the first base is finished.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::env::{Disk, DiskFile, Env, SyncPoint};
use crate::journal::StreamPosition;
use crate::persist::log::{Doing, Log, LogError, LogOptions, Segment};
use crate::persist::manifest::{BaseForm, Kind, Layout, Manifest, Part};
use crate::persist::recover::Resume;
use crate::persist::stream_files::{FileMarks, StreamFiles};
use crate::persist::tail::Place;
use crate::persist::worker::Waker;

/// The log's directory in the data directory.
pub(crate) const SYNC_LOG_DIR: SyncPoint = SyncPoint("name of the log's directory");
/// The same, for a log that is turned on.
pub(crate) const SYNC_ENABLED_DIR: SyncPoint = SyncPoint("name of the directory of an enabled log");
/// The name of an increment.
pub(crate) const SYNC_INCREMENT_NAME: SyncPoint = SyncPoint("increment name");
/// The emptiness of an increment whose name a crash had left.
pub(crate) const SYNC_EMPTIED: SyncPoint = SyncPoint("emptied increment");
/// The contents of a base that has come from elsewhere.
pub(crate) const SYNC_GIVEN_BASE: SyncPoint = SyncPoint("contents of a base that was given");
/// The contents of the first base.
pub(crate) const SYNC_FIRST_BASE: SyncPoint = SyncPoint("contents of the first base");
/// The names of the first base and increment.
pub(crate) const SYNC_FIRST_NAMES: SyncPoint = SyncPoint("names of the first base and increment");
/// The name of a new base.
pub(crate) const SYNC_BASE_NAME: SyncPoint = SyncPoint("base name");
/// What was recovered, before anything is added to it.
pub(crate) const SYNC_RECOVERED: SyncPoint = SyncPoint("recovered files");
/// Of what was recovered, what no frame says was durable: written again before it is synced.
pub(crate) const SYNC_UNSETTLED: SyncPoint = SyncPoint("recovered frames never called durable");
/// The manifest that was recovered.
pub(crate) const SYNC_RECOVERED_MANIFEST: SyncPoint = SyncPoint("recovered manifest");
/// The names of what was recovered.
pub(crate) const SYNC_RECOVERED_NAMES: SyncPoint = SyncPoint("names of recovered files");

/// How far a rewrite is.
pub(super) enum Rewrite {
    Idle,
    Preparing,
    /// Given up while preparing.
    Cancelled,
    /// The next increment is there and named.
    Prepared(Prepared),
    /// The walk is being written. `generation` is the increment's that goes with the new base.
    /// The data that is walked is at `position` of the stream.
    Running {
        first_frame: u64,
        offset: u64,
        generation: u64,
        position: StreamPosition,
    },
    Finishing {
        offset: u64,
        generation: u64,
        frame: u64,
    },
}

/// The next increment, before the switch.
pub(super) struct Prepared {
    segment: Segment,
    /// None where the log has no base yet, and the increment a temporary name.
    manifest: Option<Manifest>,
}

/// What a job on the files' worker came to.
pub(super) enum RewriteStep {
    Prepared(io::Result<Prepared>),
    Finished(io::Result<Finished>),
    Removed,
}

/// The new base is in place.
pub(super) struct Finished {
    manifest: Manifest,
    base_bytes: u64,
}

/// A step of a rewrite is done.
#[derive(Debug)]
pub enum RewriteEvent {
    /// The next increment is there. The engine calls [`Log::switch`] and starts its walk before it
    /// executes another command.
    Prepared,
    /// The new base is in place and durable.
    Finished,
    /// It failed, and is over: the log is as before.
    Failed(LogError),
}

impl Log {
    /// Opens the log of a data directory after recovery, for a stream that goes on from `position`. Where
    /// there was none, it begins with `first_base`: the bytes of an RDB file of an empty server, or
    /// nothing for a base in commands.
    #[expect(clippy::needless_pass_by_value, reason = "the log keeps it, in its workers")]
    pub fn open(
        env: Env,
        options: LogOptions,
        resume: Resume,
        first_base: &[u8],
        position: StreamPosition,
        wake: Waker,
    ) -> Result<Self, LogError> {
        Self::open_files(env, options, resume, first_base, position, &wake)
            .map_err(LogError::new(Doing::Open))
    }

    fn open_files(
        env: Env,
        options: LogOptions,
        resume: Resume,
        first_base: &[u8],
        position: StreamPosition,
        wake: &Waker,
    ) -> io::Result<Self> {
        let disk = Arc::clone(&env.disk);
        let layout = &options.layout;
        disk.create_dir(&layout.log_dir)?;
        disk.sync_dir_at(&layout.dir, SYNC_LOG_DIR)?;
        let mut manifest = resume.manifest;
        // From now on this log follows what was left alone, and the mark must be gone before its first
        // frame: a snapshot would be taken for newer than that. With a new increment the manifest is new.
        let was_left = manifest.detached.take().is_some();
        let (base_number, increment_number) = manifest.numbers();
        if manifest.is_empty() {
            let form = if first_base.is_empty() { BaseForm::Commands } else { BaseForm::Rdb };
            let name = layout.base_name(base_number + 1, form);
            let first_frame = Some(resume.next_frame);
            let mut base = disk.create(&layout.log_file(&name))?;
            base.append(first_base)?;
            base.sync_at(SYNC_FIRST_BASE)?;
            let part = Part { name, number: base_number + 1, kind: Kind::Base, first_frame };
            manifest.base = Some(part);
            manifest.base_position = Some(position);
        } else {
            make_durable(&*disk, layout, &manifest, resume.settled)?;
        }
        let segment = match manifest.increments.last() {
            Some(last) if resume.append_to_last && !was_left => {
                let path = layout.log_file(&last.name);
                let bytes = disk.len(&path)?;
                Segment::new(disk.open_append(&path)?, bytes, 1)?
            }
            _ => {
                let name = layout.increment_name(increment_number + 1);
                let file = create_increment(&*disk, &layout.log_file(&name))?;
                disk.sync_dir_at(&layout.log_dir, SYNC_FIRST_NAMES)?;
                manifest.push_increment(name, increment_number + 1, Some(resume.next_frame));
                manifest.store(&*disk, layout)?;
                Segment::new(file, 0, 1)?
            }
        };
        remove_temporaries(&*disk, layout);
        remove_leftovers(&*disk, layout, &mut manifest, options.keep_history);
        let sizes = sizes(&*disk, layout, &manifest);
        let files = recovered_stream(&*disk, layout, &manifest, &segment, &resume.stream);
        let mut log = Self::assemble(env, options, manifest, segment, position, wake);
        log.stream_files = files;
        log.sequence = resume.next_frame;
        log.durability.synced_frame = resume.next_frame - 1;
        log.durability.frame = resume.next_frame - 1;
        (log.older.base, log.older.increments) = sizes;
        Ok(log)
    }

    /// Starts a log for data that has none: `appendonly` was turned on, or the data came from a
    /// snapshot. The caller starts its walk before it executes another command, as after
    /// [`Log::switch`]; the log counts for recovery once [`RewriteEvent::Finished`] has come. The data is
    /// at `position` of the stream.
    #[expect(clippy::needless_pass_by_value, reason = "the log keeps it, in its workers")]
    pub fn enable(
        env: Env,
        options: LogOptions,
        position: StreamPosition,
        wake: Waker,
    ) -> Result<Self, LogError> {
        Self::enable_files(env, options, position, &wake).map_err(LogError::new(Doing::Open))
    }

    fn enable_files(
        env: Env,
        options: LogOptions,
        position: StreamPosition,
        wake: &Waker,
    ) -> io::Result<Self> {
        let disk = Arc::clone(&env.disk);
        let layout = &options.layout;
        disk.create_dir(&layout.log_dir)?;
        disk.sync_dir_at(&layout.dir, SYNC_ENABLED_DIR)?;
        let mut manifest = match Manifest::load(&*disk, layout)? {
            None => Manifest::default(),
            Some(manifest) => manifest.map_err(io::Error::other)?,
        };
        manifest.detached = None;
        remove_temporaries(&*disk, layout);
        let segment = temporary_increment(&*disk, layout, 1)?;
        let mut log = Self::assemble(env, options, manifest, segment, position, wake);
        log.stream_files.begin(Arc::clone(&log.current.handle), FileMarks::default());
        log.durability.waiting = true;
        let offset = position.offset;
        log.rewrite = Rewrite::Running { first_frame: 1, offset, generation: 1, position };
        Ok(log)
    }

    /// Whether a rewrite is going on.
    pub(crate) fn rewriting(&self) -> bool {
        !matches!(self.rewrite, Rewrite::Idle)
    }

    /// Whether the log has no base yet (see [`Log::enable`]).
    pub fn waiting_for_base(&self) -> bool {
        self.durability.waiting
    }

    /// Bytes of the base (INFO `aof_base_size`).
    pub(crate) fn base_bytes(&self) -> u64 {
        self.older.base
    }

    /// Where the engine writes the new base: [`Log::finish_rewrite`] gives it its name.
    pub fn base_temporary(&self) -> PathBuf {
        self.options.layout.base_temporary()
    }

    /// Says how the base is written that a rewrite is making. Before [`Log::finish_rewrite`].
    pub(crate) fn set_base_form(&mut self, form: BaseForm) {
        self.base_form = form;
    }

    /// Starts a rewrite: prepares the next increment. [`RewriteEvent::Prepared`] follows.
    /// Does nothing where one is going on.
    pub fn begin_rewrite(&mut self) {
        if matches!(self.rewrite, Rewrite::Cancelled) {
            // The same increment will do.
            self.rewrite = Rewrite::Preparing;
        }
        if self.rewriting() {
            return;
        }
        self.rewrite = Rewrite::Preparing;
        self.numbers.1 += 1;
        let number = self.numbers.1;
        let generation = self.current.generation + 1;
        let disk = Arc::clone(&self.env.disk);
        let layout = self.options.layout.clone();
        let manifest = (!self.durability.waiting).then(|| self.manifest.clone());
        self.steps.run(move || {
            RewriteStep::Prepared(prepare(&*disk, &layout, manifest, number, generation))
        });
    }

    /// The moment that the new base stands for: what was appended so far goes to the old increment,
    /// what follows to the new one. The data is at `position` of the stream. False where nothing was
    /// prepared.
    pub fn switch(&mut self, position: StreamPosition) -> bool {
        let prepared = match std::mem::replace(&mut self.rewrite, Rewrite::Idle) {
            Rewrite::Prepared(prepared) => prepared,
            other => {
                self.rewrite = other;
                return false;
            }
        };
        self.finish_current();
        let generation = prepared.segment.generation;
        let old = std::mem::replace(&mut self.current, prepared.segment);
        self.older.increments += old.bytes;
        self.previous.push(old);
        self.stream_files.begin(Arc::clone(&self.current.handle), FileMarks::default());
        if let Some(manifest) = prepared.manifest {
            self.manifest = manifest;
        } else {
            // The temporary increment before has served: the base that is begun now has it all.
            self.older.increments = 0;
            self.previous.clear();
        }
        self.begin_file();
        let (first_frame, offset) = (self.sequence, self.written);
        self.rewrite = Rewrite::Running { first_frame, offset, generation, position };
        // Upstream, too, makes the old increment durable now, whatever the policy.
        self.start_sync();
        true
    }

    /// The new base is complete and synced at `temporary`: puts it in place.
    /// [`RewriteEvent::Finished`] or [`RewriteEvent::Failed`] follows.
    pub fn finish_rewrite(&mut self, temporary: &Path) {
        self.place_base(temporary, true);
    }

    /// [`Log::finish_rewrite`] with a file that is complete, and is yet to be synced: what a primary has
    /// sent is the base of the log that goes on from there.
    pub fn finish_with_given(&mut self, file: &Path) {
        self.set_base_form(BaseForm::Rdb);
        self.place_base(file, false);
    }

    fn place_base(&mut self, temporary: &Path, synced: bool) {
        let Rewrite::Running { first_frame, offset, generation, position } = self.rewrite else {
            return;
        };
        self.rewrite = Rewrite::Finishing { offset, generation, frame: first_frame - 1 };
        // A number is used once, also where finishing fails: which manifest a crash would leave
        // is not known then, and either must find the base that it means.
        self.numbers.0 += 1;
        let mut manifest = self.manifest.clone();
        let newest = if self.durability.waiting { None } else { manifest.increments.pop() };
        let increment = newest.unwrap_or_else(|| {
            self.numbers.1 += 1;
            let name = self.options.layout.increment_name(self.numbers.1);
            Part { name, number: self.numbers.1, kind: Kind::Increment, first_frame: None }
        });
        manifest.supersede();
        let name = self.options.layout.base_name(self.numbers.0, self.base_form);
        let number = self.numbers.0;
        let first_frame = Some(first_frame);
        manifest.base = Some(Part { name, number, kind: Kind::Base, first_frame });
        manifest.increments = vec![Part { first_frame, ..increment }];
        manifest.base_position = Some(position);
        let job = Finish {
            layout: self.options.layout.clone(),
            temporary: temporary.to_owned(),
            synced,
            manifest,
            increment_temporary: self.current.temporary.take(),
            keep_history: self.options.keep_history,
        };
        let disk = Arc::clone(&self.env.disk);
        self.steps.run(move || RewriteStep::Finished(job.run(&*disk)));
    }

    /// Gives a rewrite up. What was written since the switch stays in its increment.
    pub fn abort_rewrite(&mut self) {
        match self.rewrite {
            Rewrite::Running { .. } => {
                self.rewrite = Rewrite::Idle;
                let (disk, path) = (Arc::clone(&self.env.disk), self.base_temporary());
                self.steps.run(move || {
                    // It is a leftover either way; the next rewrite overwrites it.
                    let _ = disk.remove(&path);
                    RewriteStep::Removed
                });
            }
            Rewrite::Preparing => self.rewrite = Rewrite::Cancelled,
            Rewrite::Prepared(_) => {
                if let Rewrite::Prepared(prepared) =
                    std::mem::replace(&mut self.rewrite, Rewrite::Idle)
                {
                    self.adopt(prepared.manifest);
                }
            }
            Rewrite::Idle | Rewrite::Cancelled | Rewrite::Finishing { .. } => {}
        }
    }

    /// The increment that was prepared in vain is in the manifest and stays empty, which is
    /// harmless: the next one has a higher number.
    fn adopt(&mut self, manifest: Option<Manifest>) {
        if let Some(manifest) = manifest {
            self.manifest = manifest;
        }
    }

    /// Waits until the workers are done with what they were given, e.g. before the end.
    pub(crate) fn wait_for_rewrite(&mut self) -> Option<RewriteEvent> {
        let mut last = None;
        while let Some(step) = self.steps.wait() {
            last = self.step_done(step).or(last);
        }
        last
    }

    pub(super) fn poll_rewrite(&mut self) -> Option<RewriteEvent> {
        let step = self.steps.poll()?;
        self.step_done(step)
    }

    fn step_done(&mut self, step: RewriteStep) -> Option<RewriteEvent> {
        match step {
            RewriteStep::Prepared(Ok(prepared)) if matches!(self.rewrite, Rewrite::Cancelled) => {
                self.rewrite = Rewrite::Idle;
                self.adopt(prepared.manifest);
                None
            }
            RewriteStep::Prepared(Ok(prepared)) => {
                self.rewrite = Rewrite::Prepared(prepared);
                Some(RewriteEvent::Prepared)
            }
            RewriteStep::Finished(Ok(finished)) => {
                self.finished(finished);
                Some(RewriteEvent::Finished)
            }
            RewriteStep::Prepared(Err(source)) => {
                self.abandon(Kind::Increment);
                Some(self.failed(source))
            }
            RewriteStep::Finished(Err(source)) => {
                self.abandon(Kind::Base);
                if self.waiting_for_base() {
                    // It had a temporary name before.
                    self.abandon(Kind::Increment);
                }
                Some(self.failed(source))
            }
            RewriteStep::Removed => None,
        }
    }

    fn failed(&mut self, source: io::Error) -> RewriteEvent {
        self.rewrite = Rewrite::Idle;
        RewriteEvent::Failed(LogError { doing: Doing::Rewrite, source })
    }

    /// The last file of a kind came to nothing. It may be there, and the manifest on the disk may
    /// name it; the next manifest that replaces that one says that it is to be deleted.
    fn abandon(&mut self, kind: Kind) {
        let layout = &self.options.layout;
        let (name, number) = match kind {
            Kind::Base => (layout.base_name(self.numbers.0, self.base_form), self.numbers.0),
            _ => (layout.increment_name(self.numbers.1), self.numbers.1),
        };
        let kind = Kind::History;
        self.manifest.history.push(Part { name, number, kind, first_frame: None });
    }

    fn finished(&mut self, finished: Finished) {
        let Rewrite::Finishing { offset, generation, frame } =
            std::mem::replace(&mut self.rewrite, Rewrite::Idle)
        else {
            return;
        };
        self.manifest = finished.manifest;
        self.stream_files.supersede();
        self.older.base = finished.base_bytes;
        self.older.increments = 0;
        // All that the old files held is in the base, which is durable: they need no sync, and a
        // failure of theirs no longer matters.
        self.previous.retain(|segment| segment.generation >= generation);
        let durability = &mut self.durability;
        durability.waiting = false;
        if durability.failed.as_ref().is_some_and(|(failed, _)| *failed < generation) {
            durability.failed = None;
            durability.kept = None;
        }
        durability.synced = durability.synced.max(offset);
        durability.synced_frame = durability.synced_frame.max(frame);
        durability.settle();
    }
}

/// The stream in the files that recovery has read, the last of which is `current` or comes before it.
fn recovered_stream(
    disk: &dyn Disk,
    layout: &Layout,
    manifest: &Manifest,
    current: &Segment,
    read: &[(Vec<u8>, FileMarks)],
) -> StreamFiles {
    let mut files = StreamFiles::default();
    let last = manifest.increments.last().map(|part| &part.name);
    for (name, held) in read {
        if Some(name) != last
            && let Ok(file) = disk.open_append(&layout.log_file(name))
        {
            // One that can't be read on makes a gap, and nothing before it is of use.
            files.begin(Arc::from(file), held.clone());
        }
    }
    let held = read.iter().find(|(name, _)| Some(name) == last).map(|(_, held)| held.clone());
    files.begin(Arc::clone(&current.handle), held.unwrap_or_default());
    files
}

/// Creates the next increment and has the manifest name it; without a manifest, the temporary one.
fn prepare(
    disk: &dyn Disk,
    layout: &Layout,
    manifest: Option<Manifest>,
    number: u64,
    generation: u64,
) -> io::Result<Prepared> {
    let Some(mut manifest) = manifest else {
        let segment = temporary_increment(disk, layout, generation)?;
        return Ok(Prepared { segment, manifest: None });
    };
    let name = layout.increment_name(number);
    let file = create_increment(disk, &layout.log_file(&name))?;
    let segment = Segment::new(file, 0, generation)?;
    manifest.push_increment(name.clone(), number, None);
    let named = disk
        .sync_dir_at(&layout.log_dir, SYNC_INCREMENT_NAME)
        .and_then(|()| manifest.store(disk, layout));
    if named.is_err() {
        remove_unnamed(disk, layout, &name);
    }
    named.map(|()| Prepared { segment, manifest: Some(manifest) })
}

/// Deletes a new file of a rewrite that failed, unless the manifest on the disk has come to name it.
fn remove_unnamed(disk: &dyn Disk, layout: &Layout, name: &[u8]) {
    let named = match Manifest::load(disk, layout) {
        Ok(None) => false,
        Ok(Some(Ok(manifest))) => {
            manifest.base.iter().chain(&manifest.increments).any(|part| part.name == name)
        }
        Ok(Some(Err(_))) | Err(_) => true,
    };
    if !named {
        // Where it can't be removed it is only a waste of space.
        let _ = disk.remove(&layout.log_file(name));
    }
}

struct Finish {
    layout: Layout,
    temporary: PathBuf,
    /// Whether its contents are durable.
    synced: bool,
    increment_temporary: Option<PathBuf>,
    manifest: Manifest,
    keep_history: bool,
}

impl Finish {
    fn run(mut self, disk: &dyn Disk) -> io::Result<Finished> {
        if let Err(error) = self.put_in_place(disk) {
            let _ = disk.remove(&self.temporary);
            if let Some(base) = &self.manifest.base {
                remove_unnamed(disk, &self.layout, &base.name);
            }
            return Err(error);
        }
        let layout = &self.layout;
        if self.increment_temporary.is_some() {
            remove_temporaries(disk, layout);
        }
        remove_leftovers(disk, layout, &mut self.manifest, self.keep_history);
        let (base_bytes, _) = sizes(disk, layout, &self.manifest);
        Ok(Finished { manifest: self.manifest, base_bytes })
    }

    fn put_in_place(&self, disk: &dyn Disk) -> io::Result<()> {
        let layout = &self.layout;
        if !self.synced {
            disk.open_append(&self.temporary)?.sync_at(SYNC_GIVEN_BASE)?;
        }
        if let Some(base) = &self.manifest.base {
            disk.rename(&self.temporary, &layout.log_file(&base.name))?;
        }
        if let (Some(increment), Some(temporary)) =
            (self.manifest.increments.last(), &self.increment_temporary)
        {
            disk.rename(temporary, &layout.log_file(&increment.name))?;
        }
        disk.sync_dir_at(&layout.log_dir, SYNC_BASE_NAME)?;
        self.manifest.store(disk, layout)
    }
}

/// Creates an increment. A crash may have left a file of its name, with frames that count for
/// nothing: they must not come back once a manifest names it.
fn create_increment(disk: &dyn Disk, path: &Path) -> io::Result<Box<dyn DiskFile>> {
    let is_leftover = disk.exists(path)?;
    let file = disk.create(path)?;
    if is_leftover {
        file.sync_at(SYNC_EMPTIED)?;
    }
    Ok(file)
}

fn temporary_increment(disk: &dyn Disk, layout: &Layout, generation: u64) -> io::Result<Segment> {
    let path = layout.increment_temporary(generation);
    let mut segment = Segment::new(create_increment(disk, &path)?, 0, generation)?;
    segment.temporary = Some(path);
    Ok(segment)
}

/// Deletes what an earlier process began and did not finish.
fn remove_temporaries(disk: &dyn Disk, layout: &Layout) {
    for name in disk.list(&layout.log_dir).unwrap_or_default() {
        if layout.is_leftover(name.as_os_str().as_bytes()) {
            // Where it can't be removed it is only a waste of space.
            let _ = disk.remove(&layout.log_dir.join(name));
        }
    }
}

/// What a killed process wrote may be in memory only: before anything is promised on top of it, it
/// must be on the disk. If a sync of that process failed, the system may hold what it should have
/// written for written, and a sync of ours would do nothing: what no frame says was durable is
/// written again first.
fn make_durable(
    disk: &dyn Disk,
    layout: &Layout,
    manifest: &Manifest,
    settled: Place,
) -> io::Result<()> {
    for (index, part) in manifest.base.iter().chain(&manifest.increments).enumerate() {
        let path = layout.log_file(&part.name);
        if index >= settled.file {
            let from = if index == settled.file { settled.offset } else { 0 };
            disk.write_again(&path, from, SYNC_UNSETTLED)?;
        }
        disk.open_append(&path)?.sync_at(SYNC_RECOVERED)?;
    }
    disk.open_append(&layout.manifest())?.sync_at(SYNC_RECOVERED_MANIFEST)?;
    disk.sync_dir_at(&layout.log_dir, SYNC_RECOVERED_NAMES)
}

/// Deletes superseded files, now that the manifest without them is durable. A file that can't be
/// deleted is only a waste of space.
pub(super) fn remove_leftovers(
    disk: &dyn Disk,
    layout: &Layout,
    manifest: &mut Manifest,
    keep: bool,
) {
    if keep || manifest.history.is_empty() {
        return;
    }
    for part in &manifest.history {
        let path = layout.log_file(&part.name);
        if disk.exists(&path).unwrap_or(true)
            && let Err(error) = disk.remove(&path)
        {
            tracing::warn!("Can't remove the history file {}: {error}", path.display());
        }
    }
    manifest.history.clear();
    if let Err(error) = manifest.store_eventually(disk, layout) {
        tracing::warn!("Can't take history out of the AOF manifest: {error}");
    }
}

/// Bytes of the base, and of all increments but the last.
fn sizes(disk: &dyn Disk, layout: &Layout, manifest: &Manifest) -> (u64, u64) {
    let size = |part: &Part| disk.len(&layout.log_file(&part.name)).unwrap_or_default();
    let earlier =
        manifest.increments.split_last().map_or(0, |(_, parts)| parts.iter().map(size).sum());
    (manifest.base.as_ref().map_or(0, size), earlier)
}
