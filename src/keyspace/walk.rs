//! The walk of a snapshot over all databases: which tables are still to be walked, and what becomes
//! of those that a FLUSH takes out of service meanwhile.

use crate::keyspace::databases::{Databases, DbIndex};
use crate::keyspace::table::{EntrySink, Table};

/// A snapshot under way over all databases.
pub(super) struct Walk {
    /// Tables that still have to be walked, as they were called at the beginning.
    pub(super) tables: Vec<DbIndex>,
    /// Tables that a FLUSH took out of service in the meantime, still to be walked.
    pub(super) orphans: Vec<Table>,
}

impl Databases {
    /// Begins a snapshot of all databases: from now on each entry is handed to its database's sink
    /// exactly once, as it was at this moment, either by [`Databases::snapshot_slice`] or right
    /// before it changes. Returns the number of keys, and of those that expire, by database.
    pub(crate) fn begin_snapshot(
        &mut self,
        mut sink: impl FnMut(DbIndex) -> Box<dyn EntrySink>,
    ) -> Vec<(DbIndex, u64, u64)> {
        assert!(self.walk.is_none(), "one snapshot at a time");
        let mut tables = Vec::new();
        let mut sizes = Vec::new();
        for (index, table) in self.tables.iter_mut().enumerate() {
            if let Some(table) = table
                && !table.is_empty()
            {
                let index = DbIndex(index as u32);
                table.begin_snapshot(sink(index));
                tables.push(index);
                sizes.push((index, table.len() as u64, table.expires_len() as u64));
            }
        }
        tables.reverse();
        self.walk = Some(Walk { tables, orphans: Vec::new() });
        sizes
    }

    /// Goes on with the snapshot for about `entries` entries; true when it is complete.
    pub(crate) fn snapshot_slice(&mut self, entries: usize) -> bool {
        let Some(walk) = &mut self.walk else { return true };
        if let Some(orphan) = walk.orphans.last_mut() {
            if orphan.snapshot_slice(entries)
                && let Some(done) = walk.orphans.pop()
            {
                self.reclaimer.free_table(Box::new(done));
            }
        } else if let Some(&index) = walk.tables.last() {
            let done = match &mut self.tables[index.0 as usize] {
                Some(table) => table.snapshot_slice(entries),
                None => true,
            };
            if done {
                walk.tables.pop();
            }
        }
        let complete = walk.tables.is_empty() && walk.orphans.is_empty();
        if complete {
            self.walk = None;
        }
        complete
    }

    /// Ends a snapshot that will not be completed.
    pub(crate) fn abort_snapshot(&mut self) {
        if let Some(walk) = self.walk.take() {
            for index in walk.tables {
                if let Some(table) = &mut self.tables[index.0 as usize] {
                    table.abort_snapshot();
                }
            }
        }
    }
}
