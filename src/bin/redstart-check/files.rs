//! Which files make up a log, and small questions about files.

use std::io::{self, BufRead, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use redstart::base::disk::SystemDisk;
use redstart::base::env::Disk;
use redstart::persist::manifest::{Kind, Layout, Manifest, Part};
use redstart::persist::scan::{Command, CommandFlaw, parse_command};

use crate::Failure;

/// Of a command that is no command, so much is read to find the line in which that shows.
const FLAWED_BYTES_MAX: u64 = 64 << 20;

/// A log: its files in order.
pub struct Log {
    pub layout: Layout,
    pub parts: Vec<Part>,
    pub paths: Vec<PathBuf>,
    pub is_multi_part: bool,
    /// Whether no log follows its base.
    pub is_detached: bool,
}

impl Log {
    /// The log that a manifest names.
    pub fn multi_part(manifest: &Path) -> Result<Self, Failure> {
        let log_dir = manifest.parent().map(Path::to_owned).unwrap_or_default();
        let name = manifest.file_name().unwrap_or_default().as_bytes();
        let Some(log_name) = name.strip_suffix(b".manifest") else {
            return Err(format!("{} is not named as a manifest", manifest.display()));
        };
        let layout = Layout {
            dir: log_dir.parent().map(Path::to_owned).unwrap_or_default(),
            log_name: log_name.to_vec(),
            snapshot_name: Vec::new(),
            log_dir,
        };
        let manifest = Manifest::load(&SystemDisk, &layout)
            .map_err(|error| format!("Cannot open file {}: {error}", manifest.display()))?
            .unwrap_or_else(|| Ok(Manifest::default()))
            .map_err(|error| format!("\n*** FATAL AOF MANIFEST FILE ERROR ***\n\n{error}"))?;
        let is_detached = manifest.detached.is_some();
        let parts: Vec<Part> = manifest.base.into_iter().chain(manifest.increments).collect();
        let paths = parts.iter().map(|part| layout.log_file(&part.name)).collect();
        Ok(Self { layout, parts, paths, is_multi_part: true, is_detached })
    }

    /// A log file by itself: to recovery, one as it was before there were manifests.
    pub fn single(path: &Path) -> Self {
        let dir = path.parent().map(Path::to_owned).unwrap_or_default();
        let name = path.file_name().unwrap_or_default().as_bytes().to_vec();
        let layout = Layout {
            // No directory has this name, so no manifest is found in it.
            log_dir: dir.join("\u{1}"),
            dir,
            log_name: name.clone(),
            snapshot_name: Vec::new(),
        };
        let parts = vec![Part { name, number: 1, kind: Kind::Base, first_frame: None }];
        let paths = vec![path.to_owned()];
        Self { layout, parts, paths, is_multi_part: false, is_detached: false }
    }

    /// How a file is called in the output.
    pub fn display(&self, index: usize) -> String {
        let path = &self.paths[index];
        let name = if self.is_multi_part { path.file_name() } else { None };
        name.map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into())
    }

    /// What a file is called before its name.
    pub fn kind(&self, index: usize) -> &'static str {
        match (self.is_multi_part, self.parts[index].kind) {
            (false, _) => "AOF",
            (true, Kind::Base) => "BASE AOF",
            (true, _) => "INCR AOF",
        }
    }
}

/// Whether a path is a file or directory that can be opened. Anything else is refused: opening a
/// pipe would wait for a writer, and a device may have no end.
pub fn open(path: &Path) -> Result<(), Failure> {
    let refused = |error| format!("Cannot open file {}: {}", path.display(), plain(&error));
    let kind = std::fs::metadata(path).map_err(refused)?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(format!("Cannot open file {}: not a regular file", path.display()));
    }
    SystemDisk.open_read(path).map(drop).map_err(refused)
}

/// The system's words for an error, without its number.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_owned()
}

pub fn len(path: &Path) -> Result<u64, Failure> {
    SystemDisk
        .len(path)
        .map_err(|error| format!("Cannot stat file {}: {}", path.display(), plain(&error)))
}

fn head_of(path: &Path, bytes: u64) -> Vec<u8> {
    let mut head = Vec::new();
    match SystemDisk.open_read(path) {
        // What can't be read is nothing, and said where the file is read in earnest.
        Ok(file) => drop(file.take(bytes).read_to_end(&mut head)),
        Err(_) => return head,
    }
    head
}

pub fn is_rdb(path: &Path) -> bool {
    let head = head_of(path, 6);
    head.starts_with(b"REDIS") || head.starts_with(b"VALKEY")
}

/// A manifest by its first line that is no comment, as upstream tells it.
pub fn is_manifest(path: &Path) -> bool {
    let head = head_of(path, 1 << 16);
    let mut lines = head.split(|byte| *byte == b'\n');
    lines.find(|line| !line.starts_with(b"#")).is_some_and(|line| line.starts_with(b"file"))
}

/// The number of the line, from 1, that begins at `end` or that it is in.
pub fn line_at(path: &Path, end: u64) -> io::Result<u64> {
    let mut source = io::BufReader::with_capacity(1 << 16, SystemDisk.open_read(path)?.take(end));
    let mut lines = 1;
    loop {
        let buffer = source.fill_buf()?;
        if buffer.is_empty() {
            return Ok(lines);
        }
        lines += memchr::memchr_iter(b'\n', buffer).count() as u64;
        let read = buffer.len();
        source.consume(read);
    }
}

/// Where in a piece that begins at `offset`, and is no command, that shows.
pub fn flaw_in(path: &Path, offset: u64) -> io::Result<u64> {
    let size = SystemDisk.len(path)?;
    let mut source = SystemDisk.open_read(path)?;
    io::copy(&mut (&mut source).take(offset), &mut io::sink())?;
    let mut piece = Vec::new();
    source.take(FLAWED_BYTES_MAX).read_to_end(&mut piece)?;
    if piece.first() != Some(&b'*') {
        return Ok(offset);
    }
    let mut command = Command::default();
    Ok(match parse_command(&piece, 0, &mut command) {
        Ok(()) => offset + command.end as u64,
        Err(CommandFlaw::Malformed(at, _)) => offset + at as u64,
        Err(CommandFlaw::Incomplete(_)) => size,
    })
}
