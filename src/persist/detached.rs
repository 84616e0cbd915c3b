//! Log files that no log follows: the base that BGREWRITEAOF leaves where `appendonly` is no, and what
//! is left of a log that was turned off at run time.
//!
//! Upstream takes them for the newest data at the next start with `appendonly yes`, even if a
//! snapshot was written after them; here that is the default. So the manifest that names them is
//! marked with what `dump.rdb` was when the base was begun, or the log was turned off:
//! `#DETACHED:<crc32>:<bytes>:<last bytes>`, the checksum of its beginning and its length, or
//! `#DETACHED:none:<last bytes>`. If `dump.rdb` is another one when the mark is read, it came later and
//! holds more. No clock is asked, and no order of syncs: a snapshot gets its name in one step, and with
//! it stops being the one in the mark. Its beginning tells any two that we wrote apart, since it has a
//! random number in it.
//!
//! The mark goes with its manifest: opening the log replaces it, and so does Redis where it writes the
//! manifest. But Redis goes on in the last increment where there is one, and leaves the manifest alone:
//! so the mark has the length of the last file, and says nothing any more where that is another.

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;

use crate::base::checksum::crc32;
use crate::base::env::{Disk, SyncPoint};
use crate::base::text;
use crate::persist::log_rewrite::remove_leftovers;
use crate::persist::manifest::{BaseForm, Kind, Layout, Manifest, Part};

/// The base's name.
pub const SYNC_DETACHED_NAME: SyncPoint = SyncPoint("name of a base alone");
/// The name of the directory that it is in.
pub const SYNC_DETACHED_DIR: SyncPoint = SyncPoint("name of the directory of a base alone");
/// The name of the snapshot that is told apart from later ones.
pub(crate) const SYNC_STAMPED: SyncPoint = SyncPoint("name of the snapshot in a mark");
/// The last file of a log that was turned off, whose length is in the mark.
pub(crate) const SYNC_LAST: SyncPoint = SyncPoint("last file of a log turned off");

/// Of a snapshot's beginning: its auxiliary fields are in it.
const HEAD_BYTES: u64 = 512;

/// Which snapshot it is, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(Option<(u32, u64)>);

impl Stamp {
    /// The stamp of the snapshot in a data directory.
    fn of_snapshot(disk: &dyn Disk, layout: &Layout) -> io::Result<Self> {
        let path = layout.data_file(&layout.snapshot_name);
        if !disk.exists(&path)? {
            return Ok(Self(None));
        }
        let mut head = Vec::new();
        disk.open_read(&path)?.take(HEAD_BYTES).read_to_end(&mut head)?;
        Ok(Self(Some((crc32(&head), disk.len(&path)?))))
    }

    /// Reads what stands behind the mark.
    fn parse(told: &[u8]) -> Option<Self> {
        if told == b"none" {
            return Some(Self(None));
        }
        let (checksum, bytes) = told.split_at_checked(8)?;
        let checksum = std::str::from_utf8(checksum).ok()?;
        let stamp = Self(Some((
            u32::from_str_radix(checksum, 16).ok()?,
            text::parse_u64(bytes.strip_prefix(b":")?)?,
        )));
        // Only the form that is written, so that no other bytes mean the same.
        (stamp.to_string().as_bytes() == told).then_some(stamp)
    }

    /// Whether `now` is a snapshot that was written after this stamp was taken.
    fn is_superseded_by(self, now: Self) -> bool {
        now.0.is_some() && now != self
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("none"),
            Some((checksum, bytes)) => write!(f, "{checksum:08x}:{bytes}"),
        }
    }
}

/// What a manifest says of files that no log follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The snapshot that there was.
    snapshot: Stamp,
    /// Length of the last file that the manifest names.
    last_bytes: u64,
}

impl Mark {
    fn new(disk: &dyn Disk, layout: &Layout, snapshot: Stamp, last: &Part) -> io::Result<Self> {
        Ok(Self { snapshot, last_bytes: disk.len(&layout.log_file(&last.name))? })
    }

    /// Reads what stands behind `#DETACHED:`.
    pub(crate) fn parse(told: &[u8]) -> Option<Self> {
        let colon = told.iter().rposition(|byte| *byte == b':')?;
        let snapshot = Stamp::parse(&told[..colon])?;
        let mark = Self { snapshot, last_bytes: text::parse_u64(&told[colon + 1..])? };
        (mark.to_string().as_bytes() == told).then_some(mark)
    }

    /// Whether the data directory has a snapshot that is newer than the files of the manifest.
    pub(crate) fn is_superseded(
        self,
        disk: &dyn Disk,
        layout: &Layout,
        manifest: &Manifest,
    ) -> io::Result<bool> {
        let Some(last) = manifest.last() else { return Ok(true) };
        let path = layout.log_file(&last.name);
        // One that is gone is missed by whoever loads the log.
        let untouched = disk.exists(&path)? && disk.len(&path)? == self.last_bytes;
        Ok(untouched && self.snapshot.is_superseded_by(Stamp::of_snapshot(disk, layout)?))
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.snapshot, self.last_bytes)
    }
}

/// Marks the log that was turned off: what changes from now on is not in it. No snapshot may be under
/// way that was begun while it was on.
pub(crate) fn mark_left(disk: &dyn Disk, layout: &Layout) -> io::Result<()> {
    let Some(manifest) = Manifest::load(disk, layout)? else { return Ok(()) };
    let mut manifest = manifest.map_err(io::Error::other)?;
    let last = manifest.last().filter(|_| manifest.detached.is_none()).cloned();
    // An earlier mark stays: a snapshot may have come since.
    let Some(last) = last else { return Ok(()) };
    disk.open_append(&layout.log_file(&last.name))?.sync_at(SYNC_LAST)?;
    // A snapshot whose last sync failed has its name and may lose it again: the one before would be
    // another one than in the mark, and so be taken for a later one.
    disk.sync_dir_at(&layout.dir, SYNC_STAMPED)?;
    let snapshot = Stamp::of_snapshot(disk, layout)?;
    manifest.detached = Some(Mark::new(disk, layout, snapshot, &last)?);
    manifest.store(disk, layout)
}

/// A base on its way into the log's directory.
#[derive(Clone, Debug)]
pub struct DetachedBase {
    layout: Layout,
    stamp: Stamp,
    form: BaseForm,
    keep_history: bool,
}

impl DetachedBase {
    /// Begins one: to be called before its walk begins.
    pub fn begin(
        disk: &dyn Disk,
        layout: Layout,
        form: BaseForm,
        keep_history: bool,
    ) -> io::Result<Self> {
        let stamp = Stamp::of_snapshot(disk, &layout)?;
        disk.create_dir(&layout.log_dir)?;
        Ok(Self { layout, stamp, form, keep_history })
    }

    /// Where its bytes are written to first.
    pub fn temporary(&self) -> PathBuf {
        self.layout.base_temporary()
    }

    /// Puts it in the place of what the manifest named so far. It must be durable.
    pub(crate) fn install(&self, disk: &dyn Disk) -> io::Result<()> {
        let layout = &self.layout;
        let mut manifest = match Manifest::load(disk, layout)? {
            None => Manifest::default(),
            Some(manifest) => manifest.map_err(io::Error::other)?,
        };
        let number = manifest.numbers().0 + 1;
        let name = layout.base_name(number, self.form);
        disk.rename(&self.temporary(), &layout.log_file(&name))?;
        disk.sync_dir_at(&layout.log_dir, SYNC_DETACHED_NAME)?;
        disk.sync_dir_at(&layout.dir, SYNC_DETACHED_DIR)?;
        manifest.supersede();
        let base = Part { name, number, kind: Kind::Base, first_frame: None };
        manifest.detached = Some(Mark::new(disk, layout, self.stamp, &base)?);
        manifest.base = Some(base);
        manifest.store(disk, layout)?;
        remove_leftovers(disk, layout, &mut manifest, self.keep_history);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::Rng;
    use crate::base::sim_disk::SimDisk;
    use std::path::Path;

    /// Whether each power loss after a log was marked leaves the snapshot that the mark tells of. Its
    /// directory was not synced, as after a sync that failed.
    fn mark_holds(ignored: Option<SyncPoint>) -> bool {
        (0..40).all(|seed| {
            let disk = SimDisk::default();
            let layout = Layout::default_in(Path::new(""));
            disk.place(Path::new("dump.rdb"), b"old");
            disk.create_dir(&layout.log_dir).unwrap();
            disk.sync_dir(Path::new("")).unwrap();
            let mut manifest = Manifest::default();
            manifest.push_increment(b"x".to_vec(), 1, Some(1));
            manifest.store(&disk, &layout).unwrap();
            disk.place(&layout.log_file(b"x"), b"frames");
            // Written as the log was closed, and not synced.
            disk.open_append(&layout.log_file(b"x")).unwrap().append(b"#SYNCED").unwrap();
            let mut snapshot = disk.create(Path::new("temp")).unwrap();
            snapshot.append(b"new").unwrap();
            snapshot.sync().unwrap();
            disk.rename(Path::new("temp"), Path::new("dump.rdb")).unwrap();
            if let Some(point) = ignored {
                disk.ignore(point);
            }
            mark_left(&disk, &layout).unwrap();
            let left = disk.crash(&mut Rng::from_seed(seed));
            let manifest = Manifest::load(&left, &layout).unwrap().unwrap().unwrap();
            let is_new = left.contents(Path::new("dump.rdb")).unwrap() == b"new";
            let superseded = |disk: &SimDisk| {
                manifest.detached.unwrap().is_superseded(disk, &layout, &manifest).unwrap()
            };
            let before = superseded(&left);
            left.place(Path::new("dump.rdb"), b"newer");
            is_new && !before && superseded(&left)
        })
    }

    #[test]
    fn a_mark_tells_of_a_snapshot_that_a_power_loss_leaves() {
        assert!(mark_holds(None));
        for point in [SYNC_STAMPED, SYNC_LAST] {
            assert!(!mark_holds(Some(point)), "nothing noticed that {point:?} is left out");
        }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        for snapshot in [Stamp(None), Stamp(Some((0, 0))), Stamp(Some((u32::MAX, u64::MAX)))] {
            assert_eq!(Stamp::parse(snapshot.to_string().as_bytes()), Some(snapshot));
            let mark = Mark { snapshot, last_bytes: 7 };
            assert_eq!(Mark::parse(mark.to_string().as_bytes()), Some(mark));
            assert_eq!(Mark::parse(format!("{snapshot}").as_bytes()), None);
            assert_eq!(Mark::parse(format!("{snapshot}:07").as_bytes()), None);
        }
        let wrong =
            ["", "None", "none ", "0000000", "00000000", "00000000:", "0000000A:1", "00000000:01"];
        for told in wrong {
            assert_eq!(Stamp::parse(told.as_bytes()), None, "{told}");
        }
    }

    #[test]
    fn another_snapshot_is_a_later_one() {
        let (none, one, two) = (Stamp(None), Stamp(Some((1, 9))), Stamp(Some((2, 9))));
        for (then, now, superseded) in [
            (none, none, false),
            (none, one, true),
            (one, one, false),
            (one, two, true),
            (one, none, false),
        ] {
            assert_eq!(then.is_superseded_by(now), superseded, "{then} {now}");
        }
    }
}
