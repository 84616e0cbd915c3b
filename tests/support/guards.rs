//! The guards of durability: what `docs/formats.md` lists, and what the code has.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

use std::collections::{BTreeMap, BTreeSet};

/// A line of the table in `docs/formats.md`.
pub struct Row {
    /// The constant, or the check.
    pub name: &'static str,
    /// The file that has it.
    pub place: &'static str,
    /// The file and the test that fails without it.
    pub shown: Vec<(&'static str, &'static str)>,
}

const FORMATS: &str = include_str!("../../docs/formats.md");

/// The table: lines of `| `name` | `file` | what it is | `file` `test`, ... |`.
pub fn table() -> Vec<Row> {
    let section = FORMATS.split("\n## ").find(|section| section.starts_with("Guards"));
    let lines = section.unwrap_or_default().lines().filter(|line| line.starts_with("| `"));
    let row = |line: &'static str| {
        let cells: Vec<Vec<&str>> = line
            .split('|')
            .map(|cell| cell.split('`').skip(1).step_by(2).collect::<Vec<_>>())
            .collect();
        let shown = cells[4].chunks(2).map(|pair| (pair[0], pair[1])).collect();
        Row { name: cells[1][0], place: cells[2][0], shown }
    };
    lines.map(row).collect()
}

/// The constants of this type in `src`: name, file, text.
pub fn sync_points() -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for (path, text) in sources() {
        for line in text.lines() {
            let line = line.trim();
            let plain = line.strip_prefix("pub const ");
            let constant = plain.or_else(|| line.strip_prefix("pub(crate) const "));
            let constant = constant.and_then(|rest| {
                let (name, rest) = rest.split_once(": SyncPoint = SyncPoint(\"")?;
                Some((name, rest.split('"').next()?))
            });
            if let Some((name, purpose)) = constant {
                found.push((name.to_owned(), path.clone(), purpose.to_owned()));
            }
        }
    }
    found
}

/// The purposes of the syncs whose need a test is to show.
pub fn points_of(test: &str) -> BTreeSet<&'static str> {
    let purposes: BTreeMap<String, String> =
        sync_points().into_iter().map(|(name, _, purpose)| (name, purpose)).collect();
    let shown = |row: &Row| row.shown.iter().any(|(_, name)| *name == test);
    let rows = table().into_iter().filter(shown);
    rows.filter_map(|row| purposes.get(row.name).map(|purpose| &*purpose.clone().leak())).collect()
}

/// The sources, each up to its tests, with their paths in the repository.
pub fn sources() -> Vec<(String, String)> {
    fn walk(dir: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        let entries = std::fs::read_dir(dir).unwrap();
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    walk(&root.join("src"), &mut paths);
    paths.sort();
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        (name, text)
    };
    paths.into_iter().map(read).filter(|(name, _)| !name.ends_with("tests.rs")).collect()
}
