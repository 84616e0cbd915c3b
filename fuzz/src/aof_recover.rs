//! A data directory of any contents: recovery ends, with the data or with an error, and what it has
//! repaired it recovers again as the same.
//!
//! ```text
//! kind 0: files of any bytes
//!   present 1 | length 2, bytes | ... | the last file takes the rest
//! kind 1: a log as the server writes it, and one thing done to it that a disk can do
//!   frames: count 1, (file 1, records 1, words ..., notes 1) ... | damage
//! ```
//!
//! A structured log that loads in spite of its damage loads as a beginning of what was written, in
//! whole frames. A fuzzer that chose the bytes of frames would only find out how CRC-32 works, so the
//! damage is one that keeps them: cut, a bit flipped, zeros, frames lost or doubled or exchanged.

use std::path::Path;
use std::sync::Arc;

use redstart::base::checksum::crc64;
use redstart::base::env::{Env, Stopwatch, Threads, UnixMillis};
use redstart::base::sim_disk::{SimClock, SimDisk};
use redstart::journal::skipped::Skipped;
use redstart::persist::aof_encode::{
    FrameHeader, HEADER_BYTES_MAX, SYNCED_MARK, TIME_MARK, push_annotation, push_select,
};
use redstart::persist::frame::write_head;
use redstart::persist::manifest::{BaseForm, Kind, Layout, Manifest, Part};
use redstart::persist::recover::{RecoverOptions, Recovered, Replay, recover};
use redstart::persist::scan::Preface;
use redstart::rdb::encode::{self, EncodeOptions};
use redstart::rdb::{Access, OwnedValue};
use redstart::resp::record::push_command;

use super::input::Input;

/// The files of kind 0, by the bits of its first byte. Without a manifest, one is made that names
/// the base and the increments.
const FILES: [&str; 6] = [
    "appendonlydir/appendonly.aof.manifest",
    "appendonlydir/appendonly.aof.1.base.rdb",
    "appendonlydir/appendonly.aof.1.incr.aof",
    "appendonlydir/appendonly.aof.2.incr.aof",
    "appendonly.aof",
    "dump.rdb",
];
/// Frames of kind 1, and the increments that they are in.
const FRAMES_MAX: usize = 24;
const INCREMENTS: usize = 3;
/// More than any input can justify: a snapshot has its keys for itself.
const ENTRIES_MAX: usize = 1 << 16;

type Words = Vec<Vec<u8>>;

/// Takes what was recovered, transactions without an end left out.
#[derive(Debug, Default, PartialEq)]
struct Record {
    entries: Vec<(u32, Vec<u8>, OwnedValue, Option<UnixMillis>)>,
    commands: Vec<Words>,
    open: Option<usize>,
}

impl Replay for Record {
    fn begin_file(&mut self, _: &Path) {
        self.open = None;
    }

    fn entry(
        &mut self,
        db: u32,
        key: Vec<u8>,
        value: OwnedValue,
        expiry: Option<UnixMillis>,
        _: Access,
    ) -> Result<(), String> {
        assert!(self.entries.len() < ENTRIES_MAX, "each took bytes of the input");
        self.entries.push((db, key, value, expiry));
        Ok(())
    }

    fn command(&mut self, words: &[&[u8]]) -> Result<(), String> {
        assert!(!words.is_empty(), "a command has a name");
        match words[0].to_ascii_uppercase().as_slice() {
            b"MULTI" => self.open = self.open.or(Some(self.commands.len())),
            b"EXEC" => self.open = None,
            b"DISCARD" => {
                if let Some(at) = self.open.take() {
                    self.commands.truncate(at);
                    return Ok(());
                }
            }
            _ => {}
        }
        self.commands.push(words.iter().map(|word| word.to_vec()).collect());
        Ok(())
    }
}

fn layout() -> Layout {
    Layout::default_in(Path::new(""))
}

fn recovered(disk: &SimDisk, repair: bool) -> Result<(Recovered, Record), String> {
    let env = Env {
        clock: Arc::new(SimClock::default()),
        stopwatch: Stopwatch::default(),
        disk: Arc::new(disk.clone()),
        threads: Threads::None,
        seed: 1,
    };
    let mut record = Record::default();
    let options = RecoverOptions { repair, ..RecoverOptions::new(layout()) };
    let recovered = recover(&env, &options, &mut record).map_err(|error| error.to_string())?;
    Ok((recovered, record))
}

/// Looks at a directory, repairs it, and looks again.
fn recover_twice(disk: &SimDisk) -> Result<(Recovered, Record), String> {
    let looked = recovered(disk, false);
    let first = recovered(disk, true);
    match (&looked, &first) {
        (Ok((looked, seen)), Ok((first, record))) => {
            assert_eq!(seen, record);
            // An old log is moved before it is read, so the two may name it differently.
            let places = [&looked.cut, &first.cut]
                .map(|cut| cut.as_ref().map(|cut| (cut.offset, cut.bytes, cut.commands)));
            assert_eq!(places[0], places[1], "looking says what repairing does");
            let (again, same) = recovered(disk, true).expect("what was repaired can be recovered");
            assert_eq!(again.cut, None);
            assert_eq!(same.entries, record.entries);
            assert_eq!(same.commands, record.commands);
            assert_eq!(again.resume.next_frame, first.resume.next_frame);
            assert_eq!(again.resume.manifest, first.resume.manifest);
        }
        (Err(_), Err(_)) => {}
        _ => panic!("looking and repairing differ: {looked:?} and {first:?}"),
    }
    first
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.below(2) == 0 { any_files(&mut input) } else { damaged_log(&mut input) }
}

fn any_files(input: &mut Input<'_>) {
    let disk = SimDisk::default();
    let present = input.byte();
    let mut manifest = Manifest::default();
    for (index, name) in FILES.into_iter().enumerate() {
        if present & 1 << index == 0 {
            continue;
        }
        let is_last = present >> (index + 1) == 0;
        let len = if is_last { usize::MAX } else { input.below(1 << 16) };
        disk.place(Path::new(name), input.take(len));
        let name = name.trim_start_matches("appendonlydir/").as_bytes().to_vec();
        match index {
            1 => {
                let part = Part { name, number: 1, kind: Kind::Base, first_frame: None };
                manifest.base = Some(part);
            }
            2 | 3 => manifest.push_increment(name, index as u64 - 1, None),
            _ => {}
        }
    }
    if present & 1 == 0 && !manifest.is_empty() {
        disk.place(Path::new(FILES[0]), &manifest.to_bytes());
    }
    // Whatever comes of it.
    let _ = recover_twice(&disk);
}

/// A frame and the commands in it.
#[derive(Clone)]
struct Frame {
    bytes: Vec<u8>,
    commands: Vec<Words>,
}

impl Frame {
    fn read(input: &mut Input<'_>, sequence: u64, starts_file: bool) -> Self {
        let mut payload = Vec::new();
        let notes = input.byte();
        if notes.is_multiple_of(4) && sequence > 1 {
            let synced = (sequence - 1).saturating_sub(u64::from(notes >> 6));
            push_annotation(&mut payload, SYNCED_MARK, synced);
        }
        if notes & 4 != 0 {
            push_annotation(&mut payload, TIME_MARK, 1_700_000_000 + sequence);
        }
        let mut commands: Vec<Words> = Vec::new();
        if starts_file || notes & 8 != 0 {
            let db = u32::from(notes >> 4 & 3);
            push_select(&mut payload, db);
            commands.push(vec![b"SELECT".to_vec(), db.to_string().into_bytes()]);
        }
        let records: Vec<Words> = (0..input.below(4))
            .map(|_| vec![b"SET".to_vec(), input.word(), input.word()])
            .collect();
        let several = records.len() > 1;
        let alone = |name: &[u8]| several.then(|| vec![name.to_vec()]);
        commands.extend(alone(b"MULTI").into_iter().chain(records).chain(alone(b"EXEC")));
        for words in commands.iter().skip(usize::from(starts_file || notes & 8 != 0)) {
            push_command(&mut payload, words.iter().map(Vec::as_slice));
        }
        let bytes = if sequence.is_multiple_of(3) {
            // The earlier form.
            let mut room = [0; HEADER_BYTES_MAX];
            let start = FrameHeader::of(sequence, &payload).write_before(&mut room);
            [&room[start..], &payload].concat()
        } else {
            let (preface, units) = payload.split_at(Preface::of(&payload).end);
            let mut head = Vec::new();
            // The place need not be right: that costs the place, never data.
            let place = (u64::from(notes), &Skipped::default());
            write_head(&mut head, sequence, place, preface, units);
            [&head, units].concat()
        };
        Self { bytes, commands }
    }
}

/// The base of a log, with one key.
fn base() -> Vec<u8> {
    let options = EncodeOptions::default();
    let mut out = Vec::new();
    encode::header(&mut out, &options);
    encode::aux(&mut out, &options, b"aof-base", b"1");
    encode::select_db(&mut out, 0);
    let value = OwnedValue::Int(1);
    encode::entry(&mut out, &options, b"key", value.as_ref(), None, Access::Unknown);
    encode::end(&mut out);
    let checksum = crc64(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

fn damaged_log(input: &mut Input<'_>) {
    let mut frames: [Vec<Frame>; INCREMENTS] = Default::default();
    let (mut sequence, mut file) = (1, 0);
    let mut first_frames = [None; INCREMENTS];
    first_frames[0] = Some(1);
    for _ in 0..=input.below(FRAMES_MAX) {
        if input.below(6) == 0 && file + 1 < INCREMENTS {
            file += 1;
            first_frames[file] = Some(sequence);
        }
        let starts_file = frames[file].is_empty();
        frames[file].push(Frame::read(input, sequence, starts_file));
        sequence += 1;
    }
    let written: Vec<Words> =
        frames.iter().flatten().flat_map(|frame| frame.commands.clone()).collect();
    let damage = input.below(9);
    let hurt = input.below(file + 1);
    move_frames(&mut frames[hurt], damage, input);

    let disk = SimDisk::default();
    let part = |name: Vec<u8>| Part { name, number: 1, kind: Kind::Base, first_frame: None };
    let mut manifest =
        Manifest { base: Some(part(layout().base_name(1, BaseForm::Rdb))), ..Manifest::default() };
    let mut paths = vec![layout().log_file(&layout().base_name(1, BaseForm::Rdb))];
    disk.place(&paths[0], &base());
    for (index, first_frame) in first_frames.into_iter().enumerate().take(file + 1) {
        let name = layout().increment_name(index as u64 + 1);
        let path = layout().log_file(&name);
        let mut bytes =
            frames[index].iter().map(|frame| frame.bytes.as_slice()).collect::<Vec<_>>().concat();
        if index == hurt {
            hurt_bytes(&mut bytes, damage, input);
        }
        disk.place(&path, &bytes);
        paths.push(path);
        manifest.push_increment(name, index as u64 + 1, first_frame);
    }
    let mut lines = manifest.to_bytes();
    if damage == 7 {
        let at = input.below(lines.len() * 8);
        lines[at / 8] ^= 1 << (at % 8);
    }
    disk.place(&layout().manifest(), &lines);
    if damage == 8 {
        let path = &paths[input.below(paths.len())];
        let bits = disk.contents(path).map_or(0, |bytes| bytes.len() * 8);
        let _ = disk.flip(path, input.below(bits) as u64);
    }
    match recover_twice(&disk) {
        Ok((recovered, record)) => {
            assert_eq!(record.entries.len(), 1, "the base is whole or an error");
            assert!(written.starts_with(&record.commands), "only the end may be lost");
            if damage == 0 {
                assert_eq!(recovered.cut, None);
                assert_eq!(record.commands.len(), written.len());
            }
        }
        Err(error) => assert_ne!(damage, 0, "nothing was done to it: {error}"),
    }
}

/// Whole frames are lost, doubled or exchanged.
fn move_frames(frames: &mut Vec<Frame>, damage: usize, input: &mut Input<'_>) {
    if frames.is_empty() {
        return;
    }
    let (one, other) = (input.below(frames.len()), input.below(frames.len()));
    match damage {
        1 => {
            frames.remove(one);
        }
        2 => frames.insert(one, frames[other].clone()),
        3 => frames.swap(one, other),
        _ => {}
    }
}

/// Bytes are cut off, or become zeros, or one bit changes.
fn hurt_bytes(bytes: &mut Vec<u8>, damage: usize, input: &mut Input<'_>) {
    let at = input.below(bytes.len().max(1));
    match damage {
        4 => bytes.truncate(at),
        5 => {
            let end = (at + 1 + input.below(600)).min(bytes.len());
            bytes[at.min(end)..end].fill(0);
        }
        6 if !bytes.is_empty() => bytes[at] ^= 1 << input.below(8),
        _ => {}
    }
}
