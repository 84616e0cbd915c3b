//! From what the disk holds to data: recovery at the start, and loading a snapshot again later.
//!
//! Commands of the log run through the same handlers as a client's, in a session of their own, for
//! which nothing expires by itself and no limit holds. Nothing appends to the log meanwhile.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::task;

use crate::base::env::UnixMillis;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::Flags;
use crate::config::kinds;
use crate::data::index::Room;
use crate::data::value::NewValue;
use crate::engine::Engine;
use crate::engine::keep::load_slices::Progress;
use crate::engine::keep::persistence::Loaded;
use crate::engine::registry::Run;
use crate::engine::tick::transaction::Queued;
use crate::journal::CHUNK_BYTES;
use crate::keyspace::databases::DbIndex;
use crate::keyspace::unit::Unit;
use crate::persist::log::{Log, LogError, LogOptions};
use crate::persist::manifest::Layout;
use crate::persist::recover::{self, RecoverError, RecoverOptions, Recovered, Replay, Source};
use crate::persist::{scan, temporaries, worker};
use crate::rdb::decode::UnknownTypes;
use crate::rdb::encode::{self, EncodeOptions};
use crate::rdb::{Access, OwnedValue};
use crate::resp::reply::Reply;
use crate::resp::request::{BUFFER_BYTES_MAX, Range};

/// Why a server can't start with the data that it found.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The data is damaged, or can't be read.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The log can't be opened for what comes next.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The data loaded, but its log could not be started.
    #[error("{0}")]
    Start(String),
}

/// How other threads wake the actor.
#[derive(Debug, Default)]
pub(crate) struct RemoteWake(Mutex<Option<task::Waker>>);

impl RemoteWake {
    /// Remembers whom to wake.
    pub(in crate::engine) fn register(&self, waker: &task::Waker) {
        let mut registered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if registered.as_ref().is_none_or(|old| !old.will_wake(waker)) {
            *registered = Some(waker.clone());
        }
    }

    fn wake(&self) {
        let waker = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Engine {
    /// What other threads call when there is something to look at.
    pub(in crate::engine) fn remote_waker(&self) -> worker::Waker {
        let remote = Arc::clone(&self.remote);
        Arc::new(move || remote.wake())
    }

    /// Where the data's files are.
    pub(in crate::engine) fn layout(&self) -> Layout {
        let settings = &self.settings;
        Layout {
            dir: settings.dir.clone(),
            log_dir: settings.dir.join(&settings.appenddirname),
            log_name: settings.appendfilename.as_os_str().as_bytes().to_vec(),
            snapshot_name: settings.dbfilename.as_os_str().as_bytes().to_vec(),
        }
    }

    /// How the log is kept.
    pub(in crate::engine) fn log_options(&self) -> LogOptions {
        let settings = &self.settings;
        LogOptions {
            layout: self.layout(),
            policy: settings.appendfsync,
            timestamps: settings.aof_timestamp_enabled,
            pause_while_saving: settings.no_appendfsync_on_rewrite,
            keep_history: settings.aof_disable_auto_gc,
            write_out_bytes: settings.aof_write_out_bytes,
        }
    }

    pub(in crate::engine) fn recover_options(&self) -> RecoverOptions {
        let mut options = RecoverOptions::new(self.layout());
        options.appendonly = self.settings.appendonly;
        options.load_truncated = self.settings.aof_load_truncated;
        options.rdb_checksum = self.settings.rdbchecksum;
        options.unknown_types = match self.settings.rdb_load_unknown_types {
            kinds::UnknownTypes::Stop => UnknownTypes::Stop,
            kinds::UnknownTypes::Skip => UnknownTypes::Skip,
        };
        options.thresholds = self.limits.thresholds;
        options
    }

    /// Loads what the disk has, and opens the log where it is on. At the start, where there is nobody
    /// to serve meanwhile; [`Engine::begin_load`] is for a server.
    ///
    /// # Errors
    /// [`LoadError`]: what is damaged or can't be read.
    pub fn load(&mut self) -> Result<(), LoadError> {
        let began = self.env.clock.monotonic_nanos();
        let recovered = self.replay(&self.recover_options())?;
        self.loaded(recovered, began)
    }

    /// Says what was recovered, and opens the log where it is on.
    pub(in crate::engine) fn loaded(
        &mut self,
        recovered: Recovered,
        began_nanos: u64,
    ) -> Result<(), LoadError> {
        let seconds = (self.env.clock.monotonic_nanos() - began_nanos) as f64 / 1e9;
        let state = &self.persistence;
        if recovered.source == Source::Snapshot || state.loaded.keys + state.loaded.expired > 0 {
            tracing::info!(
                "Done loading RDB, keys loaded: {}, keys expired: {}.",
                state.loaded.keys,
                state.loaded.expired
            );
        }
        match recovered.source {
            Source::Nothing => {}
            Source::Snapshot => tracing::info!("DB loaded from disk: {seconds:.3} seconds"),
            Source::Log => {
                tracing::info!("DB loaded from append only file: {seconds:.3} seconds");
            }
        }
        if let Some(cut) = &recovered.cut {
            tracing::warn!(
                "The end of the append only file was cut off at {} offset {}: {} bytes, {} whole \
                 commands (expected {}, found {})",
                cut.file.display(),
                cut.offset,
                cut.bytes,
                cut.commands,
                cut.expected,
                cut.found
            );
        }
        temporaries::remove_leftovers(&*self.env.disk, &self.settings.dir);
        self.persistence.last_save_seconds = self.now_micros / 1_000_000;
        self.persistence.last_save = self.steady();
        self.resume_stream(recovered.resume.position);
        if self.settings.appendonly {
            self.open_log(recovered)?;
        }
        self.note_readers();
        Ok(())
    }

    fn open_log(&mut self, recovered: Recovered) -> Result<(), LoadError> {
        if recovered.source == Source::Snapshot {
            tracing::info!("Making the loaded snapshot the base of an append only file");
            self.start_log().map_err(LoadError::Start)?;
            // The log must be able to stand for the data before the first client is served.
            if !self.complete_first_base() {
                return Err(LoadError::Start("Can't write the append only file's base".into()));
            }
            return Ok(());
        }
        let base = if self.settings.aof_use_rdb_preamble { empty_base() } else { Vec::new() };
        let (options, wake) = (self.log_options(), self.remote_waker());
        let position = self.journal.end();
        let log = Log::open(self.env.clone(), options, recovered.resume, &base, position, wake)?;
        self.persistence.log_base_bytes = log.base_bytes().max(log.size_bytes());
        self.log = Some(log);
        Ok(())
    }

    fn replay(&mut self, options: &RecoverOptions) -> Result<Recovered, RecoverError> {
        let env = self.env.clone();
        let log = self.log.take();
        // Loading fills a unit of its own: one under way (a transaction that holds DEBUG RELOAD) goes
        // on behind it as it was.
        let mut outer = std::mem::take(&mut self.databases.unit);
        self.begin_loading();
        let mut result = recover::recover(&env, options, self);
        if options.appendonly
            && result.is_ok()
            && let Err(error) = self.redo(&outer)
        {
            // Its records are in no file yet.
            let file = options.layout.manifest();
            result = Err(RecoverError::Command { file, offset: 0, error });
        }
        self.end_loading();
        self.log = log;
        // As `dirty`, which is 0 now: no change since what was loaded.
        outer.changes = 0;
        self.databases.unit = outer;
        self.observe_events();
        result
    }

    /// Does again what a unit has done so far.
    fn redo(&mut self, unit: &Unit) -> Result<(), String> {
        let mut parsed = scan::Command::default();
        for (db, record) in unit.records() {
            self.sessions[self.loader].db = db;
            if scan::parse_command(record, 0, &mut parsed).is_err() {
                return Err("a record of the unit under way is no command".into());
            }
            let words: Vec<&[u8]> = parsed.words.iter().map(|word| &record[word.clone()]).collect();
            self.command(&words)?;
        }
        Ok(())
    }

    pub(in crate::engine) fn begin_loading(&mut self) {
        self.persistence.loading = true;
        self.follow_expiry_mode();
        self.databases.room = Room::All;
        self.observe_events();
        self.databases.unit.recording = false;
        self.forget_loaded();
    }

    /// A load begins: what is known of the last one goes.
    pub(in crate::engine) fn forget_loaded(&mut self) {
        let refuses_known = std::mem::take(&mut self.persistence.loaded.refuses_known);
        self.persistence.loaded = Loaded { refuses_known, ..Loaded::default() };
        self.persistence.progress =
            Progress { started_seconds: self.now_micros / 1_000_000, ..Progress::default() };
    }

    pub(in crate::engine) fn end_loading(&mut self) {
        self.persistence.loading = false;
        self.databases.fit();
        self.follow_expiry_mode();
        self.databases.room = Room::Usual;
        self.observe_events();
        self.databases.unit.clear();
        self.persistence.dirty = 0;
        let loader = &mut self.sessions[self.loader];
        loader.transaction = None;
        loader.output.buffer.clear();
        self.select_loaded();
    }

    /// The stream behind what was loaded begins with the database that it says.
    pub(in crate::engine) fn select_loaded(&mut self) {
        let db = self.persistence.loaded.stream_db.min(self.databases.count() - 1);
        self.sessions[self.replication.applier].db = DbIndex(db);
    }

    /// Loads what a start would load, and leaves the disk as it is.
    ///
    /// # Errors
    /// What is damaged or can't be read.
    pub fn look(&mut self) -> Result<Recovered, RecoverError> {
        let options = RecoverOptions { repair: false, ..self.recover_options() };
        self.replay(&options)
    }

    /// Empties all databases and loads them again: from the snapshot (DEBUG RELOAD), or from the
    /// log's files (DEBUG LOADAOF).
    ///
    /// # Errors
    /// What is damaged or can't be read; the data is gone then.
    pub(crate) fn reload(&mut self, from_log: bool, flush: bool) -> Result<(), RecoverError> {
        let mut options = self.recover_options();
        options.appendonly = from_log;
        options.log_only = from_log;
        options.repair = false;
        if flush {
            self.clear_functions();
            for index in 0..self.databases.count() {
                self.databases.flush(DbIndex(index), false);
            }
        }
        self.replay(&options)?;
        // What was left out because its time had come is still with replicas.
        for (db, key) in std::mem::take(&mut self.persistence.loaded.due) {
            self.databases.unit.record(DbIndex(db), &[b"DEL", &key]);
        }
        Ok(())
    }
}

/// The base of a log that begins with nothing.
fn empty_base() -> Vec<u8> {
    let mut base = Vec::new();
    let options = EncodeOptions::default();
    encode::header(&mut base, &options);
    encode::aux(&mut base, &options, b"redis-ver", crate::config::REDIS_VERSION.as_bytes());
    encode::aux(&mut base, &options, b"aof-base", b"1");
    encode::end(&mut base);
    let mut crc = crate::base::checksum::Crc64::new();
    crc.update(&base);
    encode::checksum(&mut base, Some(&crc));
    base
}

impl Replay for Engine {
    fn begin_file(&mut self, path: &Path) {
        tracing::debug!("Loading {}", path.display());
        let layout = self.layout();
        self.persistence.loaded.is_snapshot = *path == layout.data_file(&layout.snapshot_name);
        let loader = &mut self.sessions[self.loader];
        loader.db = DbIndex(0);
        loader.transaction = None;
    }

    fn entry(
        &mut self,
        db: u32,
        key: Vec<u8>,
        mut value: OwnedValue,
        expiry: Option<UnixMillis>,
        access: Access,
    ) -> Result<(), String> {
        let known = db < self.databases.count();
        if known
            && self.persistence.loaded.refuses_known
            && self.databases.db(DbIndex(db)).exists(&key)
        {
            return Err(format!("key '{}' is there already", key.escape_ascii()));
        }
        let hash = if known { self.databases.db(DbIndex(db)).hash(&key) } else { 0 };
        self.load_entry(db, hash, &key, value.as_new(), expiry, access)
    }

    fn function(&mut self, code: &[u8]) -> Result<(), String> {
        if self.persistence.loaded.refuses_known && self.scripts.knows_library(code) {
            return Err("a library is there already".to_owned());
        }
        self.command(&[b"FUNCTION", b"LOAD", b"REPLACE", code])
    }

    fn command(&mut self, words: &[&[u8]]) -> Result<(), String> {
        let bytes = words.iter().map(|word| word.len()).sum();
        if bytes > BUFFER_BYTES_MAX {
            return Err(format!("a command of {bytes} bytes is too long"));
        }
        let mut buffer = Vec::with_capacity(bytes);
        let mut ranges = Vec::with_capacity(words.len());
        for word in words {
            ranges.push(Range::new(buffer.len(), word.len()));
            buffer.extend_from_slice(word);
        }
        self.replay_command(Args::new(&buffer, &ranges))
    }

    fn aux(&mut self, key: &[u8], value: &[u8]) {
        let value = String::from_utf8_lossy(value);
        match key {
            b"redis-ver" | b"valkey-ver" => {
                tracing::info!("Loading RDB produced by version {value}");
            }
            b"ctime" => {
                if let Ok(written) = value.parse::<i64>() {
                    let age = (self.now_micros / 1_000_000 - written).max(0);
                    tracing::info!("RDB age {age} seconds");
                }
            }
            b"repl-stream-db" => {
                self.persistence.loaded.stream_db = value.parse().unwrap_or_default();
            }
            b"used-mem" => {
                let bytes = value.parse().unwrap_or_default();
                let megabytes = bytes as f64 / f64::from(1 << 20);
                tracing::info!("RDB memory usage when created {megabytes:.2} Mb");
                self.persistence.progress.snapshot_used_memory = bytes;
            }
            _ => {}
        }
    }

    fn resize(&mut self, db: u32, keys: u64) {
        if db < self.databases.count() {
            self.databases.db(DbIndex(db)).reserve(usize::try_from(keys).unwrap_or(usize::MAX));
        }
    }

    fn progress(&mut self, bytes: u64) {
        self.persistence.progress.loaded_bytes += bytes;
    }

    fn expect(&mut self, bytes: u64) {
        self.persistence.progress.total_bytes = bytes;
    }
}

impl Engine {
    /// Puts a key of a snapshot in its place. `hash` is its table's own of the key.
    #[inline]
    pub(in crate::engine) fn load_entry(
        &mut self,
        db: u32,
        hash: u64,
        key: &[u8],
        value: NewValue<'_>,
        expiry: Option<UnixMillis>,
        access: Access,
    ) -> Result<(), String> {
        if db >= self.databases.count() {
            return Err(format!(
                "a key is in database {db}, and 'databases' is {}",
                self.databases.count()
            ));
        }
        // Under a log the removal comes as a command of its own, which needs the key.
        // On a replica they stay until the primary says so.
        if self.persistence.loaded.is_snapshot
            && expiry.is_some_and(|at| at < self.now())
            && !self.is_replica()
        {
            self.persistence.loaded.expired += 1;
            self.note_due(db, key);
            return Ok(());
        }
        self.persistence.loaded.keys += 1;
        let access = match access {
            Access::Idle(seconds) if !self.limits.lfu => {
                Some(self.databases.access_from_idle(seconds.min(u64::from(u32::MAX)) as u32))
            }
            Access::Frequency(counter) if self.limits.lfu => {
                Some(self.databases.access_from_frequency(counter))
            }
            _ => None,
        };
        self.databases.db(DbIndex(db)).load(hash, key, value, expiry, access);
        Ok(())
    }

    /// Keeps a key in mind that is left out, for replicas that have it. What is more than the backlog can
    /// hold no replica goes on from.
    fn note_due(&mut self, db: u32, key: &[u8]) {
        let room = self.settings.repl_backlog_size.saturating_mul(2) + 2 * CHUNK_BYTES as u64;
        let state = &mut self.persistence;
        if state.loaded.due_bytes < room {
            state.loaded.due_bytes += key.len() as u64;
            state.loaded.due.push((db, key.into()));
        }
    }

    /// Runs a command of the log: through its handler, and past all that clients' commands are
    /// counted, measured and checked for.
    pub(in crate::engine) fn replay_command(&mut self, args: Args<'_>) -> Result<(), String> {
        let name = || String::from_utf8_lossy(args.at(0)).into_owned();
        let command = self.registry.resolve_streamed(args);
        let command = command.map_err(|what| format!("{what} '{}'", name()))?;
        let entry = &self.registry[command];
        let slot = self.loader;
        if let Some(transaction) = &mut self.sessions[slot].transaction
            && !matches!(entry.spec.name, "EXEC" | "DISCARD" | "MULTI")
        {
            transaction.queue(Queued::new(command, args), Flags::empty());
            return Ok(());
        }
        let result = match entry.run {
            Run::Data(handler) => {
                let session = &mut self.sessions[slot];
                let mut cx = Cx {
                    databases: &mut self.databases,
                    selected: session.db,
                    reply: Reply::new(&mut session.output.buffer, session.protocol),
                    now: UnixMillis(self.now_micros / 1000),
                    rng: &mut self.rng,
                    limits: &self.limits,
                    replaying: true,
                    in_script: false,
                };
                handler(&mut cx, args)
            }
            Run::Control(handler) => handler(self, slot, args),
        };
        self.databases.unit.clear();
        self.persistence.loaded.stream_db = self.sessions[slot].db.0;
        if matches!(result, Err(CommandError::CollectionFull)) {
            // Nothing that was acknowledged is left out.
            return Err(format!("'{}': more elements than a collection has room for", name()));
        }
        let session = &mut self.sessions[slot];
        // EXEC answers with its commands' errors, too, but not with one of its own.
        let failed = result
            .err()
            .map(|error| error.wire().to_vec())
            .or_else(|| session.output.buffer.strip_prefix(b"-").map(<[u8]>::to_vec));
        session.output.buffer.clear();
        if let Some(error) = failed {
            let text = String::from_utf8_lossy(&error).trim_end().to_owned();
            tracing::warn!("A command of the append only file failed: {} answers {text}", name());
        }
        Ok(())
    }
}
