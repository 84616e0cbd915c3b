//! A log and its recovery on a simulated disk that loses power, or is killed, at every operation.
//!
//! The data is the simplest that shows every mistake: units are numbered from 1, and having `n` of
//! them means having 1 to `n`. A unit that is lost, repeated, out of order or half there is seen when
//! it is replayed; so is a record in the wrong database. Invariant, at every crash:
//! durable <= recovered <= issued.
//!
//! A failure prints the seed and the operations of the run: `CRASH_SEED=n cargo test --test crash`
//! runs that seed alone.

#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

#[path = "support/guards.rs"]
mod guards;

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use redstart::base::env::{Disk, Env, Rng, Stopwatch, SyncPoint, Threads, UnixMillis};
use redstart::base::sim_disk::{Fault, SimClock, SimDisk};
use redstart::config::kinds::AppendFsync;
use redstart::data::value::ValueRef;
use redstart::journal::{Journal, ReplicationId, Unlogged};
use redstart::persist::aof_encode::{EXEC, MULTI};
use redstart::persist::detached::DetachedBase;
use redstart::persist::detached::{SYNC_DETACHED_DIR, SYNC_DETACHED_NAME};
use redstart::persist::log::{Log, LogError, LogOptions};
use redstart::persist::log_rewrite::RewriteEvent;
use redstart::persist::manifest::{BaseForm, Layout, SYNC_MANIFEST, SYNC_MANIFEST_NAME};
use redstart::persist::recover::{
    Check, RecoverError, RecoverOptions, Recovered, Replay, Source, recover,
};
use redstart::persist::snapshot::{
    SYNC_SNAPSHOT, SYNC_SNAPSHOT_NAME, SnapshotOptions, SnapshotWriter, Target, Trailer,
};
use redstart::rdb::encode::{self, EncodeOptions};
use redstart::rdb::{Access, OwnedValue};
use redstart::resp::record::push_command;

const NANOS: u64 = 300_000_000;
const POLICIES: [AppendFsync; 3] = [AppendFsync::Always, AppendFsync::Everysec, AppendFsync::No];

fn layout() -> Layout {
    Layout::default_in(Path::new(""))
}

fn env(disk: &SimDisk, clock: &Arc<SimClock>) -> Env {
    Env {
        clock: Arc::clone(clock) as Arc<_>,
        stopwatch: Stopwatch::default(),
        disk: Arc::new(disk.clone()),
        threads: Threads::None,
        seed: 1,
    }
}

/// An RDB file, but for its checksum, that says how many units there are.
fn snapshot(units: u64) -> Vec<u8> {
    let options = EncodeOptions::default();
    let mut out = Vec::new();
    encode::header(&mut out, &options);
    if units > 0 {
        encode::select_db(&mut out, 0);
        let value = ValueRef::Int(units as i64);
        encode::entry(&mut out, &options, b"units", value, None, Access::Unknown);
    }
    encode::end(&mut out);
    out
}

fn first_base() -> Vec<u8> {
    let mut out = snapshot(0);
    let checksum = redstart::base::checksum::crc64(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

fn db_of(unit: u64) -> u32 {
    (unit / 3 % 3) as u32
}

fn parts_of(unit: u64) -> u64 {
    1 + unit % 3
}

/// The records of a unit: one, or several that belong together.
fn records(unit: u64) -> Vec<Vec<u8>> {
    let parts = parts_of(unit);
    (0..parts)
        .map(|part| {
            let numbers = format!("{unit} {part} {parts}");
            // Some are longer than a sector.
            let filler =
                vec![b'x'; if unit.is_multiple_of(5) { 700 } else { (unit % 60) as usize }];
            let mut record = Vec::new();
            let words: [&[u8]; 3] = [b"UNIT", numbers.as_bytes(), &filler];
            push_command(&mut record, words.into_iter());
            record
        })
        .collect()
}

/// Replays units and looks at each.
#[derive(Default)]
struct Model {
    units: u64,
    db: u32,
    open: Option<Vec<(u32, Vec<u64>)>>,
}

impl Model {
    fn apply(&mut self, parts: &[(u32, Vec<u64>)]) -> Result<(), String> {
        let unit = self.units + 1;
        let expected: Vec<_> = (0..parts_of(unit))
            .map(|part| (db_of(unit), vec![unit, part, parts_of(unit)]))
            .collect();
        if parts != expected {
            return Err(format!("WRONG: expected unit {unit}, got {parts:?}"));
        }
        self.units = unit;
        Ok(())
    }
}

impl Replay for Model {
    fn begin_file(&mut self, _: &Path) {
        self.db = 0;
        assert!(self.open.is_none());
    }

    fn entry(
        &mut self,
        db: u32,
        key: Vec<u8>,
        value: OwnedValue,
        _: Option<UnixMillis>,
        _: Access,
    ) -> Result<(), String> {
        // What is damaged here is seen before the checksum at the end can tell.
        match (db, key.as_slice(), self.units, value) {
            (0, b"units", 0, OwnedValue::Int(units)) => self.units = units as u64,
            other => return Err(format!("a snapshot of something else: {other:?}")),
        }
        Ok(())
    }

    fn command(&mut self, words: &[&[u8]]) -> Result<(), String> {
        match words {
            [b"SELECT", db] => self.db = std::str::from_utf8(db).unwrap().parse().unwrap(),
            [b"MULTI"] => self.open = Some(Vec::new()),
            [b"DISCARD"] => self.open = None,
            [b"EXEC"] => {
                let parts = self.open.take().ok_or("WRONG: EXEC without MULTI")?;
                self.apply(&parts)?;
            }
            [b"UNIT", numbers, _] => {
                let numbers = std::str::from_utf8(numbers).unwrap();
                let numbers = numbers.split(' ').map(|word| word.parse().unwrap()).collect();
                let part = (self.db, numbers);
                match &mut self.open {
                    Some(open) => open.push(part),
                    None => self.apply(&[part])?,
                }
            }
            other => return Err(format!("WRONG: {other:?}")),
        }
        Ok(())
    }
}

/// How a run is changed to show that something is needed.
#[derive(Clone, Copy, Debug, Default)]
struct Sabotage {
    ignored: Option<SyncPoint>,
    unchecked: Option<Check>,
}

fn recovered(
    disk: &SimDisk,
    clock: &Arc<SimClock>,
    sabotage: Sabotage,
) -> Result<(Recovered, u64), RecoverError> {
    let mut model = Model::default();
    let options = RecoverOptions { unchecked: sabotage.unchecked, ..RecoverOptions::new(layout()) };
    let recovered = recover(&env(disk, clock), &options, &mut model)?;
    Ok((recovered, model.units))
}

/// One process: from recovery to its end, with random work in between.
struct Life<'a> {
    disk: &'a SimDisk,
    clock: Arc<SimClock>,
    rng: Rng,
    journal: Journal,
    log: Log,
    /// Units appended, ever.
    issued: u64,
    /// Units that a crash must not take.
    durable: u64,
    /// Offsets of units that are not durable yet.
    waiting: VecDeque<(u64, u64)>,
    base: Option<SnapshotWriter>,
    /// Whether the base comes from elsewhere, and nobody has synced it.
    given: bool,
}

impl<'a> Life<'a> {
    /// `floor` units are known to be durable. `None` where the disk did not let it begin.
    fn begin(
        disk: &'a SimDisk,
        seed: u64,
        floor: u64,
        sabotage: Sabotage,
    ) -> Result<Option<Self>, String> {
        let clock = Arc::new(SimClock::default());
        let (recovered, units) = match recovered(disk, &clock, sabotage) {
            Ok(recovered) => recovered,
            Err(RecoverError::Io { .. }) => return Ok(None),
            Err(error) => return Err(format!("{error}")),
        };
        if units < floor {
            return Err(format!("WRONG: {floor} units were durable, {units} are left"));
        }
        let policy = POLICIES[(seed % 3) as usize];
        let mut options = LogOptions::new(layout(), policy);
        options.timestamps = seed.is_multiple_of(2);
        options.write_out_bytes = 256;
        let world = env(disk, &clock);
        let wake: redstart::persist::worker::Waker = Arc::new(|| ());
        let enable = recovered.source == Source::Snapshot;
        let mut rng = Rng::from_seed(seed);
        let mut journal = Journal::new(ReplicationId::random(&mut rng));
        let position = recovered.resume.position;
        journal.resume(ReplicationId::random(&mut rng), position);
        journal.set_recording(true, || unreachable!("nothing has changed yet"));
        let end = journal.end();
        let log = if enable {
            Log::enable(world, options, end, wake)
        } else {
            Log::open(world, options, recovered.resume, &first_base(), end, wake)
        };
        let Ok(log) = log else { return Ok(None) };
        let mut life = Self {
            disk,
            clock,
            rng: Rng::from_seed(seed),
            journal,
            log,
            issued: units,
            durable: units,
            waiting: VecDeque::new(),
            base: None,
            given: false,
        };
        if enable {
            life.start_base();
        }
        Ok(Some(life))
    }

    fn note_durable(&mut self) {
        while self.waiting.front().is_some_and(|(offset, _)| *offset <= self.log.durable()) {
            self.durable = self.waiting.pop_front().unwrap().1;
        }
    }

    fn append_unit(&mut self) {
        self.issued += 1;
        let (unit, db) = (self.issued, db_of(self.issued));
        let records = records(unit);
        match records.as_slice() {
            [one] => self.journal.append(db, one),
            several => {
                self.journal.append_unit(several.iter().map(|record| (db, record.as_slice())));
            }
        }
        self.waiting.push_back((self.journal.offset(), unit));
        if unit.is_multiple_of(7) {
            self.journal.append_unlogged(Unlogged::Ping);
        }
    }

    fn commit(&mut self) -> Result<u64, LogError> {
        self.journal.seal(|sealed| self.log.commit(&sealed))
    }

    fn start_base(&mut self) {
        self.given = self.rng.below(2) == 0;
        let options = SnapshotOptions {
            temporary: self.log.base_temporary(),
            target: if self.given { Target::Transfer } else { Target::Base },
            trailer: Trailer::Checksum,
            incremental_sync: true,
        };
        let world = env(self.disk, &self.clock);
        match SnapshotWriter::create(&world, options, Arc::new(|| ())) {
            Ok(mut writer) => {
                let bytes = snapshot(self.issued);
                let (head, tail) = bytes.split_at(bytes.len() / 2);
                writer.write(head.to_vec());
                writer.write(tail.to_vec());
                self.base = Some(writer);
            }
            Err(_) => self.log.abort_rewrite(),
        }
    }

    fn finish_base(&mut self) {
        let Some(mut writer) = self.base.take() else { return };
        writer.finish();
        match writer.wait() {
            Ok(_) => {
                let temporary = self.log.base_temporary();
                if self.given {
                    self.log.finish_with_given(&temporary);
                } else {
                    self.log.finish_rewrite(&temporary);
                }
            }
            Err(_) => self.log.abort_rewrite(),
        }
    }

    fn poll(&mut self) {
        self.clock.advance(NANOS);
        let now = redstart::base::env::Clock::monotonic_nanos(&*self.clock);
        let status = self.log.poll(now);
        if let Some(RewriteEvent::Prepared) = status.rewrite
            && self.log.switch(self.journal.end())
        {
            self.start_base();
        }
        self.note_durable();
    }

    fn step(&mut self) {
        match self.rng.below(12) {
            0..=5 => {
                for _ in 0..=self.rng.below(2) {
                    self.append_unit();
                }
                // A failure stays until poll has tried again.
                let _ = self.commit();
                self.note_durable();
            }
            6..=8 => self.poll(),
            9 => {
                self.log.begin_rewrite();
                if self.rng.below(8) == 0 {
                    if let Some(mut a) = self.base.take() {
                        SnapshotWriter::abort(&mut a);
                    }
                    self.log.abort_rewrite();
                }
            }
            10 => self.finish_base(),
            _ => {
                if self.rng.below(8) == 0 {
                    if let Some(mut a) = self.base.take() {
                        SnapshotWriter::abort(&mut a);
                    }
                    self.log.abort_rewrite();
                }
            }
        }
    }

    /// Works until the power goes, or for so many steps. The units that are durable, and issued.
    fn live(&mut self, steps: u64) -> (u64, u64) {
        for _ in 0..steps {
            if self.disk.has_crashed() {
                break;
            }
            self.step();
        }
        (self.durable, self.issued)
    }
}

/// How a life ends: by power loss or by a kill, at an operation or when its work is done.
#[derive(Clone, Copy, Debug)]
struct End {
    at: Option<u64>,
    power: bool,
}

/// Lives on one disk, one after the other, and the check after the last.
/// Returns the operations of each life.
fn run(
    disk: SimDisk,
    seed: u64,
    ends: &[End],
    floor: u64,
    fault: Option<(u64, Fault)>,
    sabotage: Sabotage,
) -> Result<Vec<u64>, String> {
    let mut disk = disk;
    let (mut floor, mut ceiling) = (floor, floor);
    let mut operations = Vec::new();
    let mut history = Vec::new();
    for (index, end) in ends.iter().enumerate() {
        if let Some(point) = sabotage.ignored {
            disk.ignore(point);
        }
        if let Some(at) = end.at {
            disk.crash_at(at);
        }
        if let (0, Some((at, fault))) = (index, fault) {
            disk.inject(at, fault);
        }
        let tell = |disk: &SimDisk, error: String, history: &[String]| {
            format!(
                "{error}\nseed {seed}, {ends:?}, {sabotage:?}, fault {fault:?}\n{}\n{}",
                history.join("\n"),
                disk.trace().join("\n")
            )
        };
        match Life::begin(&disk, seed + 7 * index as u64, floor, sabotage) {
            Err(error) => return Err(tell(&disk, error, &history)),
            Ok(None) => {}
            Ok(Some(mut life)) => {
                if life.issued > ceiling {
                    let error =
                        format!("WRONG: {ceiling} units were issued, {} are there", life.issued);
                    return Err(tell(&disk, error, &history));
                }
                (floor, ceiling) = life.live(30);
            }
        }
        operations.push(disk.operations());
        history.extend(disk.trace());
        history.push(format!("life {index} ends: {floor} durable, {ceiling} issued"));
        let salt = end.at.unwrap_or_default() * 31 + seed * 1_000_003;
        disk = if end.power { disk.crash(&mut Rng::from_seed(salt)) } else { disk.kill() };
        // Everything may have been lost that was not durable: the next life may issue it anew.
        let (_, units) = match recovered(&disk, &Arc::default(), sabotage) {
            Ok(recovered) => recovered,
            Err(error) => return Err(tell(&disk, format!("{error}"), &history)),
        };
        if units < floor || units > ceiling {
            let error = format!("WRONG: {units} units, not from {floor} to {ceiling}");
            return Err(tell(&disk, error, &history));
        }
        // Recovered twice, it is the same: cutting the end is no loss of what stays.
        let (again, repeated) =
            recovered(&disk, &Arc::default(), sabotage).map_err(|error| error.to_string())?;
        if repeated != units || again.cut.is_some() {
            let error = format!("WRONG: {units} units, then {repeated}, {:?}", again.cut);
            return Err(tell(&disk, error, &history));
        }
        ceiling = units;
        floor = if end.power { floor } else { floor.min(units) };
    }
    Ok(operations)
}

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("CRASH_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..count).collect(),
    }
}

const WHOLE: End = End { at: None, power: true };

fn disk_with_snapshot() -> SimDisk {
    let disk = SimDisk::default();
    let mut bytes = snapshot(5);
    let checksum = redstart::base::checksum::crc64(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    disk.place(Path::new("dump.rdb"), &bytes);
    disk
}

/// A single-file log as Redis wrote it before 7.0: no frames.
fn disk_with_old_log() -> SimDisk {
    let mut bytes = Vec::new();
    for unit in 1..=5 {
        redstart::persist::aof_encode::push_select(&mut bytes, db_of(unit));
        let records = records(unit);
        let several = records.len() > 1;
        bytes.extend_from_slice(if several { MULTI } else { b"" });
        bytes.extend_from_slice(&records.concat());
        bytes.extend_from_slice(if several { EXEC } else { b"" });
    }
    let disk = SimDisk::default();
    disk.place(Path::new("appendonly.aof"), &bytes);
    disk
}

/// Increments that count for nothing, since no manifest names them: a log was turned on, and the power
/// went before it had its manifest.
fn disk_with_leftovers() -> SimDisk {
    let (finished, _) = finished(0);
    let paths = log_files(&finished);
    let bytes = paths.iter().map(|path| finished.contents(path).unwrap()).max_by_key(Vec::len);
    let disk = SimDisk::default();
    for name in ["1.incr.aof", "2.incr.aof", "3.incr.aof"] {
        let path = format!("appendonlydir/appendonly.aof.{name}");
        disk.place(Path::new(&path), bytes.as_deref().unwrap());
    }
    disk
}

/// What a run starts from, and how many units that is.
fn world(seed: u64) -> (SimDisk, u64) {
    match seed % 6 {
        1 => (disk_with_leftovers(), 0),
        3 => (disk_with_snapshot(), 5),
        5 => (disk_with_old_log(), 5),
        _ => (SimDisk::default(), 0),
    }
}

#[test]
fn power_loss_at_every_operation() {
    let mut crashes = 0;
    for seed in seeds(60) {
        let (disk, floor) = world(seed);
        let operations = run(disk, seed, &[WHOLE], floor, None, Sabotage::default()).unwrap()[0];
        for at in 0..operations {
            for power in [true, false] {
                let (disk, floor) = world(seed);
                let ends =
                    [End { at: Some(at), power }, End { at: Some(at % 40), power: true }, WHOLE];
                if let Err(error) = run(disk, seed, &ends, floor, None, Sabotage::default()) {
                    panic!("{error}");
                }
                crashes += 3;
            }
        }
    }
    println!("{crashes} crashes");
}

#[test]
fn faults_at_every_operation() {
    let mut injected = 0;
    for seed in seeds(12) {
        let (disk, floor) = world(seed);
        let operations = run(disk, seed, &[WHOLE], floor, None, Sabotage::default()).unwrap()[0];
        for at in 0..operations {
            for fault in [Fault::Io, Fault::Full, Fault::Short(3), Fault::Short(40)] {
                let (disk, floor) = world(seed);
                let ends = [WHOLE, End { at: Some(at % 50), power: true }];
                if let Err(error) =
                    run(disk, seed, &ends, floor, Some((at, fault)), Sabotage::default())
                {
                    panic!("{error}");
                }
                injected += 1;
            }
        }
    }
    println!("{injected} faults");
}

/// Starts on a log that another program copied there and did not sync, works, and loses power.
/// Returns the units that were promised and those that are left.
fn after_a_copy(seed: u64, sabotage: Sabotage) -> (u64, Result<u64, RecoverError>) {
    let (original, copied) = finished(seed);
    let disk = SimDisk::default();
    disk.create_dir(Path::new("appendonlydir")).unwrap();
    for path in log_files(&original) {
        let bytes = original.contents(&path).unwrap();
        disk.create(&path).unwrap().append(&bytes).unwrap();
    }
    let disk = disk.kill();
    if let Some(point) = sabotage.ignored {
        disk.ignore(point);
    }
    let mut life = Life::begin(&disk, seed, copied, sabotage).unwrap().unwrap();
    assert_eq!(life.issued, copied);
    let promised = life.live(seed % 9).0.max(copied);
    let left = disk.crash(&mut Rng::from_seed(seed));
    (promised, recovered(&left, &Arc::default(), sabotage).map(|found| found.1))
}

#[test]
fn what_another_program_wrote_is_durable_before_it_is_built_upon() {
    for seed in 0..60 {
        let (promised, left) = after_a_copy(seed, Sabotage::default());
        assert!(left.unwrap() >= promised, "seed {seed}");
    }
}

/// Whether the invariant fails in any run with this sabotage.
fn is_noticed(sabotage: Sabotage) -> bool {
    if (0..60).any(|seed| {
        let (promised, left) = after_a_copy(seed, sabotage);
        left.map_or(true, |units| units < promised)
    }) {
        return true;
    }
    for seed in 0..60 {
        let (disk, floor) = world(seed);
        let Ok(operations) = run(disk, seed, &[WHOLE], floor, None, sabotage) else { return true };
        for at in 0..operations[0] {
            for power in [true, false] {
                let (disk, floor) = world(seed);
                let ends =
                    [End { at: Some(at), power }, End { at: Some(at % 40), power: true }, WHOLE];
                if run(disk, seed, &ends, floor, None, sabotage).is_err() {
                    return true;
                }
            }
        }
    }
    false
}

#[test]
fn no_sync_can_be_left_out() {
    let mut points = BTreeSet::new();
    for seed in 0..24 {
        let (mut disk, mut floor) = world(seed);
        for life in 0..3 {
            if let Some(mut life) =
                Life::begin(&disk, seed + 7 * life, floor, Sabotage::default()).unwrap()
            {
                floor = life.live(40).0;
            }
            points.extend(disk.sync_points());
            disk = disk.crash(&mut Rng::from_seed(seed));
            recovered(&disk, &Arc::default(), Sabotage::default()).unwrap();
            points.extend(disk.sync_points());
        }
    }
    let listed = guards::points_of("no_sync_can_be_left_out");
    points.retain(|point| listed.contains(point.0));
    assert_eq!(points.len(), listed.len(), "docs/formats.md lists others than {points:?}");
    let missed: Vec<_> = points
        .into_iter()
        .filter(|point| !is_noticed(Sabotage { ignored: Some(*point), unchecked: None }))
        .collect();
    assert!(missed.is_empty(), "nothing noticed that these were left out: {missed:?}");
}

/// A disk with a log of several files, and how many units it has; everything is durable.
fn finished(seed: u64) -> (SimDisk, u64) {
    let disk = SimDisk::default();
    let mut life = Life::begin(&disk, seed, 0, Sabotage::default()).unwrap().unwrap();
    life.live(25);
    // An increment that a rewrite left behind, so that there are two.
    if let Some(mut a) = life.base.take() {
        SnapshotWriter::abort(&mut a);
    }
    life.log.abort_rewrite();
    life.log.begin_rewrite();
    life.poll();
    if let Some(mut a) = life.base.take() {
        SnapshotWriter::abort(&mut a);
    }
    life.log.abort_rewrite();
    for _ in 0..4 {
        life.append_unit();
        life.commit().unwrap();
    }
    life.log.close().unwrap();
    let issued = life.issued;
    (disk.kill(), issued)
}

fn log_files(disk: &SimDisk) -> Vec<std::path::PathBuf> {
    let mut names = disk.list(Path::new("appendonlydir")).unwrap();
    names.sort();
    names.into_iter().map(|name| Path::new("appendonlydir").join(name)).collect()
}

fn last_increment(paths: &[std::path::PathBuf]) -> &std::path::PathBuf {
    paths.iter().rfind(|path| path.to_string_lossy().ends_with("incr.aof")).unwrap()
}

#[test]
fn a_flipped_bit_is_reported_or_harms_nothing() {
    let mut flips = 0;
    for seed in [0, 3, 6] {
        let (disk, issued) = finished(seed);
        for path in log_files(&disk) {
            for bit in 0..disk.contents(&path).unwrap().len() as u64 * 8 {
                let flipped = disk.kill();
                flipped.flip(&path, bit).unwrap();
                flips += 1;
                // All of it was durable, and the last frame says so: nothing may be cut.
                match recovered(&flipped, &Arc::default(), Sabotage::default()) {
                    Ok((_, units)) => assert_eq!(units, issued, "{} bit {bit}", path.display()),
                    Err(error) => assert!(!error.to_string().contains("WRONG"), "{error}"),
                }
            }
        }
    }
    println!("{flips} flips");
}

#[test]
fn truncated_at_any_byte_the_log_is_a_prefix() {
    let (disk, issued) = finished(3);
    let paths = log_files(&disk);
    let last = last_increment(&paths);
    let mut previous = 0;
    for len in 0..=disk.contents(last).unwrap().len() as u64 {
        let cut = disk.kill();
        cut.open_append(last).unwrap().truncate(len).unwrap();
        let (_, units) = recovered(&cut, &Arc::default(), Sabotage::default()).unwrap();
        assert!((previous..=issued).contains(&units), "{units} at {len} bytes");
        previous = units;
    }
    assert_eq!(previous, issued);
    for path in paths.iter().filter(|path| path != &last) {
        for len in 0..disk.contents(path).unwrap().len() as u64 {
            let cut = disk.kill();
            cut.open_append(path).unwrap().truncate(len).unwrap();
            match recovered(&cut, &Arc::default(), Sabotage::default()) {
                Ok((_, units)) => assert_eq!(units, issued, "{} at {len}", path.display()),
                Err(error) => assert!(!error.to_string().contains("WRONG"), "{error}"),
            }
        }
    }
}

#[test]
fn no_check_can_be_left_out() {
    let noticed = |check| {
        let sabotage = Sabotage { ignored: None, unchecked: Some(check) };
        // The quicker way of noticing first.
        let at_rest = {
            let (disk, issued) = finished(3);
            let paths = log_files(&disk);
            let last = last_increment(&paths);
            paths.iter().any(|path| {
                let wrong = |disk: &SimDisk| match recovered(disk, &Arc::default(), sabotage) {
                    Ok((_, units)) => units != issued,
                    Err(error) => error.to_string().contains("WRONG"),
                };
                let len = disk.contents(path).unwrap().len() as u64;
                (0..len * 8).any(|bit| {
                    let flipped = disk.kill();
                    flipped.flip(path, bit).unwrap();
                    wrong(&flipped)
                }) || path != last
                    && (0..len).any(|len| {
                        let cut = disk.kill();
                        cut.open_append(path).unwrap().truncate(len).unwrap();
                        wrong(&cut)
                    })
            })
        };
        at_rest || is_noticed(sabotage)
    };
    for check in Check::ALL {
        assert!(noticed(check), "nothing noticed that {check:?} was left out");
    }
}

/// Writes a snapshot of so many units and puts it where `target` says. Whether that succeeded.
fn write_snapshot(disk: &SimDisk, units: u64, temporary: &Path, target: Target) -> bool {
    let temporary = temporary.to_owned();
    let trailer = Trailer::Checksum;
    let options = SnapshotOptions { temporary, target, trailer, incremental_sync: true };
    let world = env(disk, &Arc::default());
    SnapshotWriter::create(&world, options, Arc::new(|| ())).is_ok_and(|mut writer| {
        writer.write(snapshot(units));
        writer.finish();
        writer.wait().is_ok()
    })
}

fn save(disk: &SimDisk, units: u64) -> bool {
    write_snapshot(disk, units, Path::new("temp.rdb"), Target::Name("dump.rdb".into()))
}

/// BGREWRITEAOF without a log.
fn save_detached(disk: &SimDisk, units: u64) -> bool {
    let base = DetachedBase::begin(disk, layout(), BaseForm::Rdb, false);
    base.is_ok_and(|base| {
        let temporary = base.temporary();
        write_snapshot(disk, units, &temporary, Target::DetachedBase(base))
    })
}

/// How the data on a disk is replaced, and the syncs that this takes.
struct Replacement {
    /// What there is before it.
    prepare: fn() -> SimDisk,
    before: u64,
    replace: fn(&SimDisk, u64) -> bool,
    points: &'static [SyncPoint],
}

const REPLACEMENTS: &[Replacement] = &[
    Replacement {
        prepare: disk_with_snapshot,
        before: 5,
        replace: save,
        points: &[SYNC_SNAPSHOT, SYNC_SNAPSHOT_NAME],
    },
    // A base that no log follows, beside an older snapshot.
    Replacement {
        prepare: disk_with_snapshot,
        before: 5,
        replace: save_detached,
        points: &[
            SYNC_SNAPSHOT,
            SYNC_DETACHED_NAME,
            SYNC_DETACHED_DIR,
            SYNC_MANIFEST,
            SYNC_MANIFEST_NAME,
        ],
    },
    // A snapshot that is newer than such a base; the one before was older.
    Replacement {
        prepare: || disk_with_detached_base(&disk_with_snapshot()),
        before: 6,
        replace: save,
        points: &[SYNC_SNAPSHOT, SYNC_SNAPSHOT_NAME],
    },
    // The same where there was no snapshot before.
    Replacement {
        prepare: || disk_with_detached_base(&SimDisk::default()),
        before: 6,
        replace: save,
        points: &[SYNC_SNAPSHOT, SYNC_SNAPSHOT_NAME],
    },
    // Another such base in the place of the first.
    Replacement {
        prepare: || disk_with_detached_base(&SimDisk::default()),
        before: 6,
        replace: save_detached,
        points: &[SYNC_SNAPSHOT, SYNC_DETACHED_NAME, SYNC_MANIFEST, SYNC_MANIFEST_NAME],
    },
];

fn disk_with_detached_base(disk: &SimDisk) -> SimDisk {
    assert!(save_detached(disk, 6));
    disk.crash(&mut Rng::from_seed(1))
}

impl Replacement {
    /// Data of 7 units takes the place of what there was; the disk loses power on the way.
    /// Returns the units left, whether the writer said it was done, and the operations it took.
    fn run(&self, at: u64, seed: u64, ignored: Option<SyncPoint>) -> (u64, bool, u64) {
        let disk = (self.prepare)();
        if let Some(point) = ignored {
            disk.ignore(point);
        }
        disk.crash_at(at);
        let done = (self.replace)(&disk, 7);
        let operations = disk.operations();
        let left = disk.crash(&mut Rng::from_seed(seed));
        let found = recovered(&left, &Arc::default(), Sabotage::default());
        (found.map_or(0, |found| found.1), done, operations)
    }

    fn is_atomic(&self, ignored: Option<SyncPoint>) -> bool {
        let operations = self.run(u64::MAX, 0, None).2;
        (0..40).all(|seed| {
            (0..=operations).all(|at| {
                let (units, done, _) = self.run(at, seed, ignored);
                units == 7 || units == self.before && !done
            })
        })
    }
}

#[test]
fn data_is_replaced_wholly_or_not_at_all() {
    for (index, replacement) in REPLACEMENTS.iter().enumerate() {
        assert!(replacement.is_atomic(None), "replacement {index}");
        for point in replacement.points {
            let noticed = !replacement.is_atomic(Some(*point));
            assert!(noticed, "replacement {index}: {point:?} was left out, and nothing noticed");
        }
    }
}
