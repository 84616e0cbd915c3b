//! Loading at the start and behind a full sync, in slices: a thread recovers ahead ([`crate::persist::ahead`]),
//! and each tick puts some of what it found in its place, so that clients are answered meanwhile
//! (`-LOADING`, or what is allowed while loading); but at the start, where little is there, they find it
//! loaded. Keys are prefetched a window at a time, as commands are.
//!
//! When all is there, the log is opened and whoever wants to know is told; when it can't be loaded the
//! server ends. Nothing is written to the disk's files before: a shutdown meanwhile saves nothing.
//!
//! What is loaded beside the data ([`Place::Beside`]) goes into databases of its own, which take the place of
//! those in use for the time of a slice, so that a load is the same wherever it goes.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use crate::command::args::Args;
use crate::data::index::Room;
use crate::data::value::NewValue;
use crate::engine::Engine;
use crate::engine::show::info_memory::human;
use crate::keyspace::databases::{Databases, DbIndex};
use crate::persist::ahead::{Ahead, Batch, Item, Next, Packed};
use crate::persist::recover::{RecoverError, RecoverOptions, Recovered, Replay, Source};

/// Items that are prefetched together.
const WINDOW: usize = 16;
/// Time that one tick gives to loading, in microseconds: the longest that a client waits to be told.
const SLICE_MICROS: u64 = 3_000;
/// How long connections are left unaccepted while the server loads at its start, in nanoseconds. Most loads are
/// over by then, and the clients find the data; after it they are accepted, and told `-LOADING`.
/// redis-server does the same for the first two megabytes of a snapshot.
const UNTOLD_NANOS: u64 = 250_000_000;
/// Time between two lines in the log, in nanoseconds.
const REPORT_NANOS: u64 = 5_000_000_000;

/// What is known of the loading under way (INFO `loading_*`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// When it began, in seconds since the epoch.
    pub(crate) started_seconds: i64,
    /// Bytes of all files.
    pub(crate) total_bytes: u64,
    /// Bytes read.
    pub loaded_bytes: u64,
    /// What the snapshot's writer used, in bytes.
    pub(crate) snapshot_used_memory: u64,
}

impl Progress {
    /// How much is done, in percent.
    pub(crate) fn percent(&self) -> f64 {
        self.loaded_bytes.min(self.total_bytes) as f64 / self.total_bytes.max(1) as f64 * 100.0
    }

    /// How long it will still take, in seconds, if it goes on like this.
    pub(crate) fn seconds_left(&self, now_seconds: i64) -> i64 {
        let took = (now_seconds - self.started_seconds).max(0) as u64;
        let left = self.total_bytes.saturating_sub(self.loaded_bytes);
        let seconds = took.saturating_mul(left) / self.loaded_bytes.max(1);
        if seconds == 0 { 1 } else { seconds.min(i64::MAX as u64) as i64 }
    }
}

/// A loading under way.
#[derive(Debug)]
pub(crate) struct Load {
    ahead: Ahead,
    batch: Batch,
    /// The next item of the batch.
    position: usize,
    file: PathBuf,
    began_nanos: u64,
    reported_nanos: u64,
    /// What follows.
    end: LoadEnd,
    /// Where it goes, if not into the databases in use.
    beside: Option<Beside>,
}

impl Load {
    /// Whether clients are served what there was before.
    pub(crate) fn serves(&self) -> bool {
        self.beside.as_ref().is_some_and(|beside| beside.serves)
    }

    /// Bytes of the pages that tables beside those in use have mapped.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.beside.as_ref().map_or(0, |beside| beside.databases.segment_bytes())
    }
}

/// Where a load goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Into the databases in use.
    InUse,
    /// Into others beside them, which take their place if it succeeds.
    Beside {
        /// Whether clients are served what there is, meanwhile.
        serves: bool,
    },
}

/// What is loaded beside the data.
#[derive(Debug)]
pub(crate) struct Beside {
    pub(in crate::engine) databases: Box<Databases>,
    /// The texts of libraries of functions.
    pub(in crate::engine) libraries: Vec<Box<[u8]>>,
    serves: bool,
}

/// What follows when all is loaded, or can't be.
#[derive(Debug)]
pub(crate) enum LoadEnd {
    /// The start of the server: whom to tell. Where it can't be loaded the server ends.
    Start(Ready),
    /// A full sync.
    Sync,
}

/// Called once the data is there.
pub struct Ready(pub Box<dyn FnOnce(&Engine)>);

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ready")
    }
}

impl Engine {
    /// Begins to load what the disk has, on a thread and in the ticks that follow. `ready` is called
    /// when it is there.
    ///
    /// # Errors
    /// There can be no thread.
    pub fn begin_load(&mut self, ready: Ready) -> std::io::Result<()> {
        // Before anything is loaded: nothing of it may expire by itself.
        self.follow_configured();
        self.begin_load_with(self.recover_options(), LoadEnd::Start(ready), Place::InUse)
    }

    /// Begins to load what these options name.
    pub(in crate::engine) fn begin_load_with(
        &mut self,
        options: RecoverOptions,
        end: LoadEnd,
        place: Place,
    ) -> std::io::Result<()> {
        let ahead = Ahead::start(self.env.clone(), options, self.remote_waker())?;
        let now = self.env.clock.monotonic_nanos();
        let beside = match place {
            Place::InUse => {
                self.begin_loading();
                None
            }
            Place::Beside { serves } => {
                self.forget_loaded();
                self.persistence.loading = !serves;
                let databases = Box::new(self.databases.beside());
                Some(Beside { databases, libraries: Vec::new(), serves })
            }
        };
        self.persistence.load = Some(Load {
            ahead,
            batch: Batch::default(),
            position: 0,
            file: PathBuf::new(),
            began_nanos: now,
            reported_nanos: now,
            end,
            beside,
        });
        Ok(())
    }

    /// Puts some of what was recovered in its place; true where the next slice should follow soon.
    pub(in crate::engine) fn load_slice(&mut self) -> bool {
        let Some(mut load) = self.persistence.load.take() else { return false };
        let served = std::mem::replace(&mut self.persistence.loading, true);
        self.change_places(&mut load);
        let slice = self.load_some(&mut load);
        self.change_places(&mut load);
        self.persistence.loading = served;
        let again = matches!(slice, Slice::Full);
        match slice {
            Slice::Full | Slice::Empty => {
                if self.env.clock.monotonic_nanos().saturating_sub(load.began_nanos) >= UNTOLD_NANOS
                {
                    self.mailbox.accept();
                }
                self.persistence.load = Some(load);
            }
            Slice::End(result) => self.end_load(load, *result),
        }
        again
    }

    /// The databases that are loaded into are those in use, or are so no longer.
    fn change_places(&mut self, load: &mut Load) {
        if let Some(beside) = &mut load.beside {
            std::mem::swap(&mut self.databases, &mut *beside.databases);
        }
    }

    fn load_some(&mut self, load: &mut Load) -> Slice {
        let bound = self.env.stopwatch.ticks_of(SLICE_MICROS);
        let began = self.env.stopwatch.ticks();
        loop {
            if load.position == load.batch.items().len() {
                match load.ahead.poll() {
                    Next::Batch(batch) => {
                        load.ahead.recycle(std::mem::replace(&mut load.batch, batch));
                        load.position = 0;
                        self.report_progress(load);
                    }
                    Next::Nothing => return Slice::Empty,
                    Next::End(result) => return Slice::End(result),
                }
            }
            let delay = self.settings.key_load_delay;
            let window = if delay == 0 { WINDOW } else { 1 };
            let end = (load.position + window).min(load.batch.items().len());
            if let Err(error) = self.take_window(load, end) {
                return Slice::End(Box::new(Err(error)));
            }
            let is_slow = u64::try_from(delay).is_ok_and(|micros| micros > 0)
                && matches!(
                    load.batch.items()[load.position],
                    Item::Entry { .. } | Item::Command { .. }
                );
            if is_slow {
                std::thread::sleep(Duration::from_micros(delay.unsigned_abs()));
            }
            load.position = end;
            if self.env.stopwatch.ticks() - began > bound {
                return Slice::Full;
            }
        }
    }

    /// Takes the items up to `end`.
    fn take_window(&mut self, load: &mut Load, end: usize) -> Result<(), RecoverError> {
        let mut hashes = [0; WINDOW];
        self.prefetch_items(&load.batch, load.position, &mut hashes[..end - load.position]);
        for index in load.position..end {
            let owned = load.batch.take_owned(index);
            let batch = &load.batch;
            let snapshot_error = |error| RecoverError::Snapshot { file: load.file.clone(), error };
            match &batch.items()[index] {
                Item::Entry { db, key, value, expiry, access } => {
                    let hash = hashes[index - load.position];
                    let key = key.of(batch.bytes());
                    let mut owned = owned;
                    let value = match (value, &mut owned) {
                        (Packed::Str(range), _) => NewValue::Str(range.of(batch.bytes())),
                        (Packed::Owned(_), Some(value)) => value.as_new(),
                        (Packed::Owned(_), None) => unreachable!("it was taken out just now"),
                    };
                    self.load_entry(*db, hash, key, value, *expiry, *access)
                        .map_err(snapshot_error)?;
                }
                Item::Command { words, offset } => {
                    let args = Args::new(batch.bytes(), batch.words(*words));
                    if let Some(beside) = &mut load.beside {
                        // A snapshot holds no other commands than those that load its functions.
                        beside.libraries.push(args.at(args.len() - 1).into());
                        continue;
                    }
                    self.replay_command(args).map_err(|error| RecoverError::Command {
                        file: load.file.clone(),
                        offset: *offset,
                        error,
                    })?;
                }
                Item::File(path) => {
                    load.file.clone_from(path);
                    self.begin_file(path);
                }
                Item::Aux { key, value } => {
                    self.aux(key.of(batch.bytes()), value.of(batch.bytes()));
                }
                Item::Resize { db, keys } => self.resize(*db, *keys),
                Item::Progress(bytes) => self.progress(*bytes),
                Item::Expect(bytes) => self.expect(*bytes),
            }
        }
        Ok(())
    }

    /// Fetches what the items will look up into the cache, and leaves the hashes of entries' keys.
    fn prefetch_items(&mut self, batch: &Batch, from: usize, hashes: &mut [u64]) {
        let loader = self.sessions[self.loader].db;
        let mut wanted = [0; WINDOW];
        let (mut count, mut database) = (0, loader);
        for (hash, item) in hashes.iter_mut().zip(&batch.items()[from..]) {
            let (db, key) = match item {
                Item::Entry { db, key, .. } if *db < self.databases.count() => {
                    (DbIndex(*db), key.of(batch.bytes()))
                }
                Item::Command { words, .. } => {
                    let args = Args::new(batch.bytes(), batch.words(*words));
                    let command = self.registry.resolve_logged(args);
                    let key = command.and_then(|id| self.registry[id].spec.first_key());
                    let Some(key) = key.and_then(|index| args.get(index)) else { continue };
                    (loader, key)
                }
                _ => continue,
            };
            *hash = self.databases.db(db).hash(key);
            // One database a window: they change seldom.
            if count == 0 {
                database = db;
            }
            if db == database {
                wanted[count] = *hash;
                count += 1;
            }
        }
        if count > 1
            && let Some(table) = self.databases.table(database)
        {
            table.prefetch(&wanted[..count]);
        }
    }

    /// Tells the log now and then how far it is.
    fn report_progress(&mut self, load: &mut Load) {
        let now = self.env.clock.monotonic_nanos();
        if now - load.reported_nanos < REPORT_NANOS {
            return;
        }
        load.reported_nanos = now;
        let progress = self.persistence.progress;
        tracing::info!(
            "Loading: {:.0} % of {}, {} keys so far, about {} seconds left",
            progress.percent(),
            human(progress.total_bytes),
            self.databases.total_keys(),
            progress.seconds_left(self.now_micros / 1_000_000),
        );
    }

    /// All is there, or can't be loaded: then the server ends.
    fn end_load(&mut self, load: Load, result: Result<Recovered, RecoverError>) {
        let Load { ahead, end, began_nanos, beside, .. } = load;
        drop(ahead);
        if let Some(beside) = beside {
            return self.end_load_beside(beside, result);
        }
        self.end_loading();
        let ready = match end {
            LoadEnd::Start(ready) => ready,
            LoadEnd::Sync => {
                let loaded = received(result).map_err(|error| error.to_string());
                return self.sync_loaded(loaded);
            }
        };
        let opened = match result {
            Ok(recovered) => self.loaded(recovered, began_nanos),
            Err(error) => Err(error.into()),
        };
        match opened {
            Ok(()) => {
                (ready.0)(self);
                self.mailbox.accept();
            }
            Err(error) => {
                for line in error.to_string().lines() {
                    tracing::error!("{line}");
                }
                self.shutdown.exit_now(1);
            }
        }
    }

    /// What was loaded beside the data takes its place, or goes.
    fn end_load_beside(&mut self, mut beside: Beside, result: Result<Recovered, RecoverError>) {
        beside.databases.fit();
        beside.databases.room = Room::Usual;
        let loaded = match received(result) {
            Ok(()) => self.take_loaded(beside),
            Err(error) => Err(error.to_string()),
        };
        self.persistence.loading = false;
        self.follow_expiry_mode();
        self.observe_events();
        self.sync_loaded(loaded);
    }

    /// Gives up the loading under way: the server ends.
    pub(in crate::engine) fn abandon_load(&mut self) {
        self.persistence.load = None;
    }
}

/// What a slice came to.
enum Slice {
    /// There is more.
    Full,
    /// More is still to be recovered.
    Empty,
    /// That was all, or it can't be loaded.
    End(Box<Result<Recovered, RecoverError>>),
}

/// A file that was received, and has gone since, is no empty keyspace.
fn received(result: Result<Recovered, RecoverError>) -> Result<(), RecoverError> {
    result.and_then(|recovered| match recovered.source {
        Source::Nothing => Err(RecoverError::Received(ErrorKind::NotFound.into())),
        _ => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_parts_and_time() {
        let mut progress =
            Progress { started_seconds: 100, total_bytes: 1000, ..Progress::default() };
        assert_eq!(progress.percent(), 0.0);
        progress.loaded_bytes = 250;
        assert_eq!(progress.percent(), 25.0);
        assert_eq!(progress.seconds_left(110), 30);
        progress.loaded_bytes = 1001;
        assert_eq!((progress.percent(), progress.seconds_left(110)), (100.0, 1));
    }
}
