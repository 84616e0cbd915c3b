//! A snapshot that comes from the primary: its file, and what becomes of our data.
//!
//! The file is written beside the data, which are served meanwhile. When all of it is there and its checksum
//! is right, it is loaded, by `repl-diskless-load`:
//! - as a rule what we had goes first, and clients are told `-LOADING`;
//! - with `swapdb` it is loaded into databases beside those in use, which take their place when the load
//!   has succeeded; where it fails, all is as before. Clients are served what we had where that is of the
//!   primary's history, and told `-LOADING` else. It takes the memory of both.
//!
//! The log is off while there is nothing to stand for; its files stay, so that a server that is killed comes
//! back with the old data at its old place. Behind the load the log begins anew, and the file that came
//! is its base.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::env::DiskFile;
use crate::base::mutation::{self, Mutation};
use crate::config::kinds::DisklessLoad;
use crate::engine::Engine;
use crate::engine::keep::load_slices::{Beside, LoadEnd, Place};
use crate::engine::keep::walks::Purpose;
use crate::engine::replicate::follow::Stage;
use crate::journal::{ReplicationId, StreamPosition};
use crate::keyspace::databases::DbIndex;
use crate::persist::manifest::BaseForm;
use crate::persist::recover::RecoverOptions;
use crate::rdb::arrival::Arrival;
use crate::rdb::format::VERSION_FIELD_EXPIRY;

/// A snapshot that is arriving.
pub(crate) struct Reception {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) path: PathBuf,
    /// What has come.
    pub(crate) arrival: Arrival,
    /// Bytes that are to come in all, where that is known.
    pub(crate) total: Option<u64>,
    position: StreamPosition,
}

impl fmt::Debug for Reception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reception").field("received", &self.arrival.bytes()).finish_non_exhaustive()
    }
}

/// What is being loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    position: StreamPosition,
    /// Whether the file may be the log's base: its version is no newer than those that this server writes.
    is_base: bool,
    place: Place,
}

impl Engine {
    pub(super) fn begin_reception(&mut self, id: &str, offset: u64) -> Result<(), String> {
        let path = self.reception_temporary();
        let id = ReplicationId::parse(id.as_bytes()).ok_or("a wrong replication ID")?;
        let file = self.env.disk.create(&path).map_err(|error| {
            format!("Opening the temp file needed for MASTER <-> REPLICA synchronization: {error}")
        })?;
        let Some(upstream) = &mut self.replication.upstream else { return Ok(()) };
        let position = StreamPosition { id, offset };
        let arrival = Arrival::default();
        let reception = Reception { file, path, arrival, total: None, position };
        upstream.stage = Stage::Receiving(Box::new(reception));
        Ok(())
    }

    /// The snapshot is there: it is loaded.
    pub(super) fn begin_sync_load(&mut self) -> Result<(), String> {
        let Some(upstream) = &mut self.replication.upstream else { return Ok(()) };
        let Stage::Receiving(reception) = &mut upstream.stage else {
            return Err("the end of a snapshot that nobody expects".to_owned());
        };
        let (path, position) = (reception.path.clone(), reception.position);
        let arrived = reception.arrival.end(self.settings.rdbchecksum);
        if arrived.is_err() {
            self.note_failed_sync();
        }
        let version = arrived.map_err(|error| {
            format!("Failed trying to load the MASTER synchronization DB from disk: {error}")
        })?;
        let is_base =
            version <= VERSION_FIELD_EXPIRY && self.base_form(Purpose::FirstBase) == BaseForm::Rdb;
        self.refuse_emptiness(&path, position)?;
        let place = match self.settings.repl_diskless_load {
            DisklessLoad::Swapdb => {
                Place::Beside { serves: self.journal.history().id == position.id }
            }
            _ => Place::InUse,
        };
        if place == Place::InUse {
            self.leave_old_files()?;
        }
        let Some(upstream) = &mut self.replication.upstream else { return Ok(()) };
        upstream.stage = Stage::Loading(Load { position, is_base, place });
        if place == Place::InUse {
            tracing::info!("MASTER <-> REPLICA sync: Flushing old data");
            self.clear_functions();
            for index in 0..self.databases.count() {
                self.databases.flush(DbIndex(index), self.settings.replica_lazy_flush);
            }
            self.publish_notices();
        }
        tracing::info!("MASTER <-> REPLICA sync: Loading DB in memory");
        let options = self.snapshot_options(&path);
        self.begin_load_with(options, LoadEnd::Sync, place).map_err(|error| {
            if place == Place::InUse {
                self.begin_with_nothing();
            }
            error.to_string()
        })
    }

    /// Whether clients are served what is to be replaced at once by a snapshot that comes or is loaded.
    pub(crate) fn awaits_exchange(&self) -> bool {
        let upstream = self.replication.upstream.as_ref();
        let comes = upstream.is_some_and(|upstream| match &upstream.stage {
            Stage::Receiving(reception) => {
                self.settings.repl_diskless_load == DisklessLoad::Swapdb
                    && self.journal.history().id == reception.position.id
            }
            _ => false,
        });
        comes || self.persistence.loads_beside()
    }

    /// Neither a walk nor the log stands for the data any more: they are about to become others.
    fn leave_old_files(&mut self) -> Result<(), String> {
        self.abort_walk();
        if self.log.is_some() {
            // Where that fails under `always`, the server ends with its files as they are.
            self.close_log().inspect_err(|_| self.note_failed_sync())?;
        }
        Ok(())
    }

    /// What is to be loaded of a full sync.
    pub(in crate::engine) fn snapshot_options(&self, path: &Path) -> RecoverOptions {
        let mut layout = self.layout();
        layout.snapshot_name =
            path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
        RecoverOptions { layout, appendonly: false, repair: false, ..self.recover_options() }
    }

    /// A full sync came to nothing: the next is asked for later each time, up to a minute.
    pub(in crate::engine) fn note_failed_sync(&mut self) {
        if let Some(upstream) = &mut self.replication.upstream {
            upstream.syncs_failed += 1;
        }
    }

    /// The snapshot of a full sync is loaded beside our data: it takes their place.
    pub(in crate::engine) fn take_loaded(&mut self, beside: Beside) -> Result<(), String> {
        let functions = self.replace_functions(&beside.libraries);
        functions.map_err(|error| String::from_utf8_lossy(&error.wire()).into_owned())?;
        self.leave_old_files()?;
        let mut old = beside.databases;
        let unit = self.begin_own_unit();
        self.databases.exchange(&mut old);
        self.finish_own_unit(unit);
        self.persistence.dirty = 0;
        self.select_loaded();
        self.serve_waiting();
        self.databases.free(*old, self.settings.replica_lazy_flush);
        Ok(())
    }

    /// The snapshot of a full sync is loaded, or can't be.
    pub(in crate::engine) fn sync_loaded(&mut self, result: Result<(), String>) {
        let stage = self.replication.upstream.as_ref().map(|upstream| &upstream.stage);
        let Some(&Stage::Loading(load)) = stage else { return };
        if let Err(error) = result {
            self.remove_received();
            self.note_failed_sync();
            if load.place == Place::InUse {
                self.begin_with_nothing();
            }
            return self.lose_link(&format!(
                "Failed trying to load the MASTER synchronization DB from disk: {error}"
            ));
        }
        let base = (load.is_base && self.settings.appendonly).then(|| self.reception_temporary());
        let ahead = if mutation::is_on(Mutation::OffsetNotAdopted) { 40 } else { 0 };
        let offset = load.position.offset + ahead;
        self.restart_stream(StreamPosition { offset, ..load.position }, base.as_deref());
        if base.is_none() {
            self.remove_received();
        }
        tracing::info!("MASTER <-> REPLICA sync: Finished with success");
        self.begin_stream();
    }

    /// Removes the file that a snapshot came in.
    fn remove_received(&self) {
        let path = self.reception_temporary();
        if let Err(error) = self.env.disk.remove(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("Can't remove {}: {error}", path.display());
        }
    }

    /// A full sync comes to nothing after what was there had gone: nobody, we included, may go on from
    /// where that was.
    fn begin_with_nothing(&mut self) {
        self.clear_functions();
        for index in 0..self.databases.count() {
            self.databases.flush(DbIndex(index), false);
        }
        self.publish_notices();
        self.databases.unit.clear();
        let id = ReplicationId::random(&mut self.rng);
        self.restart_stream(StreamPosition { id, offset: 0 }, None);
    }

    /// The data is that of another place in another history than before: the stream and the log begin
    /// there, and replicas of ours come back. The log's base is this file, or a walk's.
    fn restart_stream(&mut self, position: StreamPosition, base: Option<&Path>) {
        self.journal.adopt(position);
        self.keep_backlog();
        self.drop_replicas();
        if self.settings.appendonly
            && self.log.is_none()
            && let Err(error) = match base {
                Some(file) => self.start_log_on(file),
                None => self.start_log(),
            }
        {
            tracing::error!("Can't begin the append only file after the sync: {error}");
            self.persistence.wanted.first_base.ask();
        }
    }
}
