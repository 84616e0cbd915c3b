//! Whether what is missing from a log was only its unsynced end, and cutting it off.
//!
//! A power loss takes any part of what was written since the last sync, so behind a frame that is
//! torn there may be later ones that are whole. What tells such an end from damage: a frame says
//! `#SYNCED:n` when the frames up to `n` were durable as it was written. If any whole frame behind
//! the tear claims the torn frame's number, then something was lost that must not be: damage.
//! Otherwise nothing behind the tear was ever promised, and it goes.
//!
//! Files are cut from the last to the torn one. No sync is needed on the way: whatever a crash
//! leaves of the cuts is the same tear, or a gap, with less behind it, and opening the log syncs all
//! its files before anything is added.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use crate::base::env::Disk;
use crate::persist::recover::{Cut, RecoverError, io_error, open_scanner};
use crate::persist::scan::{Command, Flaw, Preface, parse_command};

/// A place in the log's files: which of the manifest's base and increments, and the offset in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Counted from 0, the base included.
    pub file: usize,
    /// The offset.
    pub offset: u64,
}

/// Up to where frames say that the log was durable.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    place: Place,
    /// Frames that told of others and of which none has told yet.
    telling: VecDeque<(u64, Place)>,
}

impl Settled {
    /// So far nothing is known of what begins at this place.
    pub(crate) fn from(place: Place) -> Self {
        Self { place, telling: VecDeque::new() }
    }

    /// A frame that says of those up to `synced` that they were durable.
    pub(crate) fn note(&mut self, sequence: u64, synced: u64, place: Place) {
        self.telling.push_back((sequence, place));
        while let Some((_, place)) =
            self.telling.front().filter(|(at, _)| *at <= synced.saturating_add(1))
        {
            self.place = *place;
            self.telling.pop_front();
        }
    }

    /// Everything before it was durable.
    pub(crate) fn place(&self) -> Place {
        self.place
    }
}

/// A place where the log can't be followed any further.
#[derive(Debug)]
pub(crate) struct Tear {
    /// Where in the file.
    pub offset: u64,
    /// What is wrong there.
    pub flaw: Flaw,
    /// Whether it is among frames; if not, upstream's rules apply.
    pub framed: bool,
    /// The number of the frame that should be there; 0 where unknown.
    pub next_frame: u64,
    /// Whether no power loss can leave this.
    pub(crate) fatal: bool,
}

impl Tear {
    /// A frame that does not follow the last one.
    pub(crate) fn out_of_order(offset: u64, expected: u64, sequence: u64) -> Self {
        let flaw = Flaw {
            incomplete: false,
            expected: format!("frame {expected}"),
            found: format!("frame {sequence}"),
        };
        let fatal = sequence < expected || sequence == u64::MAX;
        Self { offset, flaw, framed: true, next_frame: expected, fatal }
    }

    /// A frame behind commands without frames.
    pub(crate) fn misplaced(offset: u64, sequence: u64) -> Self {
        let flaw = Flaw {
            incomplete: false,
            expected: "no frame behind commands that are in none".into(),
            found: format!("frame {sequence}"),
        };
        Self { offset, flaw, framed: true, next_frame: 0, fatal: true }
    }

    /// Commands without a frame between frames.
    pub(crate) fn between(offset: u64, expected: u64) -> Self {
        let flaw = Flaw {
            incomplete: false,
            expected: format!("frame {expected}"),
            found: "a command that is in no frame".into(),
        };
        Self { offset, flaw, framed: true, next_frame: expected, fatal: false }
    }

    /// A line that only looks like an annotation.
    pub(crate) fn unknown_annotation(offset: u64, expected: u64) -> Self {
        Self {
            flaw: Flaw {
                incomplete: false,
                expected: format!("frame {expected}"),
                found: "an annotation that nobody writes".into(),
            },
            ..Self::between(offset, expected)
        }
    }

    /// A transaction without its end, outside frames.
    pub(crate) fn open_transaction(offset: u64) -> Self {
        let flaw = Flaw {
            incomplete: true,
            expected: "EXEC of the transaction that begins here".into(),
            found: "the end of the file".into(),
        };
        Self { offset, flaw, framed: false, next_frame: 0, fatal: false }
    }
}

/// What is behind a tear.
#[derive(Debug, Default)]
pub struct Survey {
    /// Bytes in this file and the following ones.
    pub bytes: u64,
    /// Commands in whole frames among them.
    pub commands: u64,
    /// Whole frames among them: how many, the first, the last.
    pub frames: Option<(u64, u64, u64)>,
    /// The highest frame that any frame says was durable, and the frame that says so.
    pub synced: Option<(u64, u64)>,
}

/// What a tear in the first of `paths` means, the others being the files that follow it: what is to
/// be cut, or why nothing may be. `checked` is off only in a test.
pub(crate) fn judge(
    disk: &dyn Disk,
    paths: &[PathBuf],
    tear: Tear,
    checked: bool,
) -> Result<Cut, RecoverError> {
    let file = &paths[0];
    let damaged = |expected: String, found: String| {
        let (file, offset, framed) = (file.clone(), tear.offset, tear.framed);
        Err(RecoverError::Damaged { file, offset, expected, found, framed })
    };
    if tear.fatal || !tear.framed && !tear.flaw.incomplete {
        return damaged(tear.flaw.expected, tear.flaw.found);
    }
    let survey = survey(disk, paths, tear.offset)?;
    if tear.framed {
        if let Some((synced, by)) = survey.synced.filter(|(synced, _)| *synced >= tear.next_frame)
            && checked
        {
            let promise = format!(
                "{} (frame {by} says that frames up to {synced} were durable)",
                tear.flaw.expected
            );
            return damaged(promise, tear.flaw.found);
        }
    } else {
        let mut later = 0;
        for path in &paths[1..] {
            later += disk.len(path).map_err(io_error(path))?;
        }
        if later > 0 {
            let (file, offset) = (file.clone(), tear.offset);
            return Err(RecoverError::Truncated { file, offset, last: false });
        }
    }
    Ok(Cut {
        file: file.clone(),
        offset: tear.offset,
        bytes: survey.bytes,
        commands: survey.commands,
        since: None,
        expected: tear.flaw.expected,
        found: tear.flaw.found,
        framed: tear.framed,
    })
}

/// Cuts the first of `paths` at `offset` and empties the others.
pub fn cut(disk: &dyn Disk, paths: &[PathBuf], offset: u64) -> Result<(), RecoverError> {
    for (index, path) in paths.iter().enumerate().rev() {
        let len = if index == 0 { offset } else { 0 };
        let cut = disk.open_append(path).and_then(|mut file| file.truncate(len));
        cut.map_err(io_error(path))?;
    }
    Ok(())
}

/// Whether a whole frame begins anywhere from `offset` on.
pub(crate) fn frames_follow(
    disk: &dyn Disk,
    path: &Path,
    offset: u64,
) -> Result<bool, RecoverError> {
    let mut scanner = open_scanner(disk, path)?;
    scanner.skip(offset).map_err(io_error(path))?;
    Ok(scanner.find_frame().map_err(io_error(path))?.is_some())
}

/// What is behind `offset` in the first of `paths`, and in the others.
pub fn survey(disk: &dyn Disk, paths: &[PathBuf], offset: u64) -> Result<Survey, RecoverError> {
    let mut survey = Survey::default();
    for (index, path) in paths.iter().enumerate() {
        let len = disk.len(path).map_err(io_error(path))?;
        let start = if index == 0 { offset } else { 0 };
        survey.bytes += len.saturating_sub(start);
        let mut scanner = open_scanner(disk, path)?;
        scanner.skip(start).map_err(io_error(path))?;
        while let Some(sequence) = scanner.find_frame().map_err(io_error(path))? {
            let (count, first, _) = survey.frames.unwrap_or((0, sequence, sequence));
            survey.frames = Some((count + 1, first, sequence));
            survey.commands += count_commands(scanner.payload());
            let synced = Preface::of(scanner.payload()).synced.map(|synced| (synced, sequence));
            survey.synced = survey.synced.max(synced);
        }
    }
    Ok(survey)
}

fn count_commands(payload: &[u8]) -> u64 {
    let mut command = Command { end: Preface::of(payload).end, ..Command::default() };
    let mut count = 0;
    while parse_command(payload, command.end, &mut command).is_ok() {
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_a_frame_is_settled_when_the_frame_before_it_was_durable() {
        let place = |file, offset| Place { file, offset };
        let mut settled = Settled::from(place(1, 0));
        // Frame 3 tells of 1, frame 4 of 2, in the next file frame 5 of 4, the last frame of all.
        for (sequence, synced, at, known) in [
            (3, 1, place(1, 300), place(1, 0)),
            (4, 2, place(1, 400), place(1, 300)),
            (5, 4, place(2, 0), place(2, 0)),
            (6, 5, place(2, 90), place(2, 90)),
            (7, u64::MAX, place(2, 95), place(2, 95)),
        ] {
            settled.note(sequence, synced, at);
            assert_eq!(settled.place(), known, "frame {sequence}");
        }
    }
}
