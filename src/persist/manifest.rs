//! Which files make up the log: upstream's manifest of a multi-part append-only file.
//!
//! One line a file, `file NAME seq NUMBER type b|h|i`: at most one base (the state at some moment),
//! history (superseded, to be deleted), and increments in order (what happened since the base).
//! Names with odd bytes are quoted. Further pairs of words are ignored by upstream's loaders; we
//! add `firstframe NUMBER`, the number of the first frame in the file (in the first increment, for a
//! base), where it is known, so that a missing beginning is noticed. Lines that begin with `#` are
//! skipped; our last one is `#CRC32:` and the checksum of all before it, so that a flipped bit can't
//! drop a file. Before it stand `#STREAM:`, where in the stream the base is ([`crate::journal`]), and
//! `#DETACHED:` where no log follows the base (see [`crate::persist::detached`]). Redis leaves all of
//! these away when it writes the manifest: one with none of them needs no checksum.
//!
//! The manifest is replaced as a whole: temporary file, sync, rename, sync of the directory. What
//! it names must be durable before it is.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::checksum::crc32;
use crate::base::env::{Disk, SyncPoint};
use crate::base::text;
use crate::journal::StreamPosition;
use crate::persist::detached::Mark;

/// Upstream's longest line.
const LINE_BYTES_MAX: usize = 1024;
/// How the line with the checksum begins.
const CHECKSUM_MARK: &[u8] = b"#CRC32:";
/// How the line begins that says that no log follows the base.
const DETACHED_MARK: &[u8] = b"#DETACHED:";
/// How the line begins that says where in the stream the base is.
const STREAM_MARK: &[u8] = b"#STREAM:";
/// The manifest's contents, before it gets its name.
pub const SYNC_MANIFEST: SyncPoint = SyncPoint("manifest contents");
/// The manifest's name.
pub const SYNC_MANIFEST_NAME: SyncPoint = SyncPoint("manifest name");

/// Where the files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The data directory.
    pub dir: PathBuf,
    /// The log's directory within it (`appenddirname`).
    pub log_dir: PathBuf,
    /// How the names of the log's files begin (`appendfilename`).
    pub log_name: Vec<u8>,
    /// The snapshot's name (`dbfilename`).
    pub snapshot_name: Vec<u8>,
}

impl Layout {
    /// The layout of a data directory with the default names.
    pub fn default_in(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            log_dir: dir.join("appendonlydir"),
            log_name: b"appendonly.aof".to_vec(),
            snapshot_name: b"dump.rdb".to_vec(),
        }
    }

    /// A file of the log.
    pub fn log_file(&self, name: &[u8]) -> PathBuf {
        self.log_dir.join(OsStr::from_bytes(name))
    }

    /// A file of the data directory.
    pub(crate) fn data_file(&self, name: &[u8]) -> PathBuf {
        self.dir.join(OsStr::from_bytes(name))
    }

    /// The manifest.
    pub fn manifest(&self) -> PathBuf {
        self.log_file(&[&self.log_name, b".manifest".as_slice()].concat())
    }

    /// What the next manifest is written to first.
    pub(crate) fn manifest_temporary(&self) -> PathBuf {
        self.log_file(&[b"temp-", self.log_name.as_slice(), b".manifest"].concat())
    }

    /// What the next base is written to first.
    pub(crate) fn base_temporary(&self) -> PathBuf {
        self.log_file(format!("temp-rewriteaof-bg-{}.aof", std::process::id()).as_bytes())
    }

    /// The increment of a log that has no base yet. Each attempt has a number of its own: the
    /// file of the last one is still written while the next is prepared.
    pub(crate) fn increment_temporary(&self, attempt: u64) -> PathBuf {
        let suffix = format!(".{attempt}.incr");
        self.log_file(&[b"temp-", self.log_name.as_slice(), suffix.as_bytes()].concat())
    }

    /// Whether a file of the log's directory is one that an end of the process left behind.
    pub(crate) fn is_leftover(&self, name: &[u8]) -> bool {
        let ours = [b"temp-", self.log_name.as_slice(), b"."].concat();
        name.starts_with(&ours) || name.starts_with(b"temp-rewriteaof-bg-")
    }

    /// The name of a base.
    pub fn base_name(&self, number: u64, form: BaseForm) -> Vec<u8> {
        let suffix = match form {
            BaseForm::Rdb => "rdb",
            BaseForm::Commands => "aof",
        };
        [self.log_name.as_slice(), format!(".{number}.base.{suffix}").as_bytes()].concat()
    }

    /// The name of an increment.
    pub fn increment_name(&self, number: u64) -> Vec<u8> {
        [self.log_name.as_slice(), format!(".{number}.incr.aof").as_bytes()].concat()
    }
}

/// How a base is written (`aof-use-rdb-preamble`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseForm {
    /// As RDB.
    Rdb,
    /// As the commands that make the data.
    Commands,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The state that the increments start from.
    Base,
    /// Superseded.
    History,
    /// Changes.
    Increment,
}

impl Kind {
    fn letter(self) -> u8 {
        match self {
            Self::Base => b'b',
            Self::History => b'h',
            Self::Increment => b'i',
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The file's name in the log's directory.
    pub name: Vec<u8>,
    /// Its number among its kind.
    pub number: u64,
    /// What it is for.
    pub kind: Kind,
    /// The number of the first frame that it holds, or will hold, where known.
    pub first_frame: Option<u64>,
}

/// The files that make up the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The state that the increments start from.
    pub base: Option<Part>,
    /// Superseded files.
    pub history: Vec<Part>,
    /// Changes since the base, in order.
    pub increments: Vec<Part>,
    /// Where in the stream the data of the base is, where that is known.
    pub base_position: Option<StreamPosition>,
    /// That no log follows these files, and what there was beside them.
    pub detached: Option<Mark>,
}

/// Why a manifest can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// The line, counted from 1; 0 where it is about the whole file.
    pub line: usize,
    /// What the line says.
    pub text: String,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            writeln!(f, "Reading the manifest file, at line {}", self.line)?;
            writeln!(f, ">>> '{}'", self.text)?;
        }
        write!(f, "{}", self.what)
    }
}

impl std::error::Error for ManifestError {}

impl Manifest {
    /// Whether it names no data.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.increments.is_empty()
    }

    /// The last file of the data.
    pub(crate) fn last(&self) -> Option<&Part> {
        self.increments.last().or(self.base.as_ref())
    }

    /// The highest numbers used for bases and increments.
    pub(crate) fn numbers(&self) -> (u64, u64) {
        let base = self.base.as_ref().map_or(0, |part| part.number);
        let increment = self.increments.last().map_or(0, |part| part.number);
        self.history.iter().fold((base, increment), |(base, increment), part| {
            if memchr::memmem::find(&part.name, b".base.").is_some() {
                (base.max(part.number), increment)
            } else {
                (base, increment.max(part.number))
            }
        })
    }

    /// Everything becomes history.
    pub(crate) fn supersede(&mut self) {
        self.base_position = None;
        let superseded = self.base.take().into_iter().chain(self.increments.drain(..));
        self.history.extend(superseded.map(|part| Part {
            kind: Kind::History,
            first_frame: None,
            ..part
        }));
    }

    /// Appends an increment.
    pub fn push_increment(&mut self, name: Vec<u8>, number: u64, first_frame: Option<u64>) {
        self.increments.push(Part { name, number, kind: Kind::Increment, first_frame });
    }

    /// The file's text.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.lines();
        if let Some(position) = self.base_position {
            out.extend_from_slice(STREAM_MARK);
            out.extend_from_slice(format!("{position}\n").as_bytes());
        }
        if let Some(mark) = self.detached {
            out.extend_from_slice(DETACHED_MARK);
            out.extend_from_slice(format!("{mark}\n").as_bytes());
        }
        let checksum = crc32(&out);
        out.extend_from_slice(CHECKSUM_MARK);
        out.extend_from_slice(format!("{checksum:08x}\n").as_bytes());
        out
    }

    fn lines(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for part in self.base.iter().chain(&self.history).chain(&self.increments) {
            out.extend_from_slice(b"file ");
            if part.name.iter().all(|byte| byte.is_ascii_graphic() && !b"\"'\\".contains(byte)) {
                out.extend_from_slice(&part.name);
            } else {
                text::push_quoted(&mut out, &part.name);
            }
            out.extend_from_slice(b" seq ");
            text::push_u64(&mut out, part.number);
            out.extend_from_slice(b" type ");
            out.push(part.kind.letter());
            if let Some(first) = part.first_frame {
                out.extend_from_slice(b" firstframe ");
                text::push_u64(&mut out, first);
            }
            out.push(b'\n');
        }
        out
    }

    /// Reads a manifest's text.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        Self::parse_lines(bytes, true)
    }

    /// [`Manifest::parse`] without its checksum, for a test that shows what that is good for.
    pub(super) fn parse_unchecked(bytes: &[u8]) -> Result<Self, ManifestError> {
        Self::parse_lines(bytes, false)
    }

    fn parse_lines(bytes: &[u8], verified: bool) -> Result<Self, ManifestError> {
        let mut manifest = Self::default();
        if bytes.is_empty() {
            let what = "Found an empty AOF manifest";
            return Err(ManifestError { line: 0, text: String::new(), what });
        }
        let (mut start, mut checked) = (0, false);
        for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let before = &bytes[..start];
            start += line.len();
            let outcome = if let Some(told) = line.strip_prefix(CHECKSUM_MARK) {
                let right = told == format!("{:08x}\n", crc32(before)).as_bytes() || !verified;
                checked = true;
                if right { Ok(()) } else { Err("The AOF manifest's checksum is wrong") }
            } else if let Some(told) = line.strip_prefix(DETACHED_MARK) {
                manifest.detached = Mark::parse(told.trim_ascii_end());
                let known = manifest.detached.is_some();
                if known { Ok(()) } else { Err("The AOF manifest's mark of a base alone is wrong") }
            } else if let Some(told) = line.strip_prefix(STREAM_MARK) {
                manifest.base_position = StreamPosition::parse(told.trim_ascii_end());
                let known = manifest.base_position.is_some();
                if known { Ok(()) } else { Err("The AOF manifest's place in the stream is wrong") }
            } else if line.starts_with(b"#") {
                Ok(())
            } else {
                manifest.read_line(line)
            };
            outcome.map_err(|what| ManifestError {
                line: index + 1,
                text: String::from_utf8_lossy(line.trim_ascii()).into_owned(),
                what,
            })?;
        }
        let mut ours = manifest.base.iter().chain(&manifest.increments);
        let marked = manifest.detached.is_some() || manifest.base_position.is_some();
        let is_ours = marked || ours.any(|part| part.first_frame.is_some());
        if verified && !checked && is_ours {
            let what = "The AOF manifest's last line, its checksum, is missing";
            return Err(ManifestError { line: 0, text: String::new(), what });
        }
        Ok(manifest)
    }

    fn read_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        const INVALID: &str = "Invalid AOF manifest file format";
        if line.len() > LINE_BYTES_MAX || !line.ends_with(b"\n") {
            return Err("The AOF manifest file contains too long line");
        }
        let words = text::split_arguments(line.trim_ascii()).map_err(|_| INVALID)?;
        if words.len() < 6 || words.len() % 2 == 1 {
            return Err(INVALID);
        }
        let (mut name, mut number, mut kind, mut first_frame) = (None, None, None, None);
        for pair in words.chunks_exact(2) {
            let (word, value) = (&pair[0], &pair[1]);
            if word.eq_ignore_ascii_case(b"file") {
                if value.contains(&b'/') || value.contains(&0) {
                    return Err("File can't be a path, just a filename");
                }
                name = Some(value.clone());
            } else if word.eq_ignore_ascii_case(b"seq") {
                number = text::parse_u64(value);
            } else if word.eq_ignore_ascii_case(b"type") {
                kind = value.first().copied();
            } else if word.eq_ignore_ascii_case(b"firstframe") {
                first_frame = text::parse_u64(value);
            }
        }
        let (Some(name), Some(number), Some(kind)) = (name, number, kind) else {
            return Err(INVALID);
        };
        if name.is_empty() || number == 0 {
            return Err(INVALID);
        }
        let kind = match kind {
            b'b' => Kind::Base,
            b'h' => Kind::History,
            b'i' => Kind::Increment,
            _ => return Err("Unknown AOF file type"),
        };
        let part = Part { name, number, kind, first_frame };
        match kind {
            Kind::Base if self.base.is_some() => {
                return Err("Found duplicate base file information");
            }
            Kind::Base => self.base = Some(part),
            Kind::History => self.history.push(part),
            Kind::Increment => {
                if self.increments.last().is_some_and(|last| last.number >= number) {
                    return Err("Found a non-monotonic sequence number");
                }
                self.increments.push(part);
            }
        }
        Ok(())
    }

    /// Reads the manifest of a data directory, where there is one.
    pub fn load(
        disk: &dyn Disk,
        layout: &Layout,
    ) -> io::Result<Option<Result<Self, ManifestError>>> {
        Ok(Self::read(disk, layout)?.map(|bytes| Self::parse(&bytes)))
    }

    /// The manifest's text, where there is one.
    pub(super) fn read(disk: &dyn Disk, layout: &Layout) -> io::Result<Option<Vec<u8>>> {
        let path = layout.manifest();
        if !disk.exists(&path)? {
            return Ok(None);
        }
        // Far more than any manifest holds, so that a wrong file can't fill memory.
        const BYTES_MAX: u64 = 16 << 20;
        let mut bytes = Vec::new();
        disk.open_read(&path)?.take(BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Replaces the manifest on disk. Everything that it names must be durable.
    pub(crate) fn store(&self, disk: &dyn Disk, layout: &Layout) -> io::Result<()> {
        self.replace(disk, layout)?;
        disk.sync_dir_at(&layout.log_dir, SYNC_MANIFEST_NAME)
    }

    /// Replaces the manifest by one that says the same but for history: whichever of the two a
    /// crash leaves is right, so its name need not be durable.
    pub(crate) fn store_eventually(&self, disk: &dyn Disk, layout: &Layout) -> io::Result<()> {
        self.replace(disk, layout)
    }

    fn replace(&self, disk: &dyn Disk, layout: &Layout) -> io::Result<()> {
        let temporary = layout.manifest_temporary();
        let mut file = disk.create(&temporary)?;
        file.append(&self.to_bytes())?;
        file.sync_at(SYNC_MANIFEST)?;
        disk.rename(&temporary, &layout.manifest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"file a.2.base.rdb seq 2 type b\n\
        file a.1.incr.aof seq 1 type h\n\
        file a.4.incr.aof seq 4 type i firstframe 17\n\
        file a.5.incr.aof seq 5 type i\n";

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let text = String::from_utf8(TEXT.to_vec()).unwrap();
        assert!(Manifest::parse(TEXT).is_err(), "its checksum is missing");
        let redis = Manifest::parse(text.replace(" firstframe 17", "").as_bytes()).unwrap();
        let mut manifest = redis;
        manifest.increments[0].first_frame = Some(17);
        let place = format!("{}:77", "0123456789".repeat(4));
        manifest.base_position = StreamPosition::parse(place.as_bytes());
        assert!(manifest.base_position.is_some());
        let written = manifest.to_bytes();
        assert!(written.starts_with(TEXT));
        assert_eq!(Manifest::parse(&written).unwrap(), manifest);
        for bit in 0..written.len() * 8 {
            let mut flipped = written.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                Manifest::parse(&flipped).is_ok_and(|read| read == manifest)
                    || Manifest::parse(&flipped).is_err(),
                "bit {bit}"
            );
        }
        assert_eq!(manifest.numbers(), (2, 5));
        assert_eq!(manifest.increments[0].first_frame, Some(17));
        let upstream = Manifest::parse(b"# note\nFILE x seq 3 type incr other pair\r\n").unwrap();
        assert_eq!(upstream.increments[0].number, 3);
    }

    #[test]
    fn the_mark_of_a_base_alone_is_kept_and_checked() {
        let mut manifest = Manifest::parse(b"file a.2.base.rdb seq 2 type b\n").unwrap();
        manifest.detached = Mark::parse(b"0a0b0c0d:123:4567");
        let written = manifest.to_bytes();
        assert_eq!(Manifest::parse(&written).unwrap(), manifest);
        for bit in 0..written.len() * 8 {
            let mut flipped = written.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = Manifest::parse(&flipped);
            assert!(read.is_err() || read.is_ok_and(|read| read == manifest), "bit {bit}");
        }
    }

    #[test]
    fn faults_are_told_with_their_line() {
        let what = |text: &[u8]| Manifest::parse(text).unwrap_err();
        assert_eq!(what(b"").what, "Found an empty AOF manifest");
        let two = what(b"file a seq 1 type b\nfile b seq 2 type b\n");
        assert_eq!((two.line, two.what), (2, "Found duplicate base file information"));
        assert!(two.to_string().contains(">>> 'file b seq 2 type b'"));
        let invalid = "Invalid AOF manifest file format";
        for text in ["\n", "file a seq 1\n", "file a seq 0 type b\n", "file a seq x type b\n"] {
            assert_eq!(what(text.as_bytes()).what, invalid, "{text}");
        }
        assert_eq!(what(b"file a seq 1 type z\n").what, "Unknown AOF file type");
        assert_eq!(what(b"file a/b seq 1 type b\n").what, "File can't be a path, just a filename");
        let order = what(b"file a seq 2 type i\nfile b seq 2 type i\n");
        assert_eq!(order.what, "Found a non-monotonic sequence number");
        let long = [b"file a seq 1 type b ".as_slice(), &[b'x'; 1100]].concat();
        assert_eq!(what(&long).what, "The AOF manifest file contains too long line");
    }
}
