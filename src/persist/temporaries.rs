//! Temporary files of snapshots: their names, and those that were left behind.

use std::path::{Path, PathBuf};

use crate::base::env::Disk;

/// The name of the temporary file of a snapshot in a directory, as upstream has it.
pub(crate) fn temporary_name(dir: &Path) -> PathBuf {
    dir.join(format!("temp-{}.rdb", std::process::id()))
}

/// Deletes the temporary files of snapshots that processes left behind which are no more.
pub(crate) fn remove_leftovers(disk: &dyn Disk, dir: &Path) {
    for name in disk.list(dir).unwrap_or_default() {
        let text = name.to_string_lossy();
        let number = text.strip_prefix("temp-").and_then(|rest| rest.strip_suffix(".rdb"));
        let number = number.map(|rest| {
            let kinds = ["repl-", "sync-"];
            kinds.into_iter().find_map(|kind| rest.strip_prefix(kind)).unwrap_or(rest)
        });
        let Some(number) = number.and_then(|number| number.parse::<u32>().ok()) else { continue };
        // Another server may share the directory, and be at it now.
        let process = Path::new("/proc").join(number.to_string());
        let lives = disk.exists(&process).unwrap_or(true);
        if !lives || number == std::process::id() {
            // Where it can't be removed it is only a waste of space.
            let _ = disk.remove(&dir.join(&name));
        }
    }
}
