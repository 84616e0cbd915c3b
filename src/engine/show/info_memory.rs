//! How much memory is used for what: the figures behind INFO memory and MEMORY STATS.

use std::fmt::Write;
use std::sync::LazyLock;

use crate::config::directives;
use crate::engine::Engine;

/// A moment's figures, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Data and clients.
    pub used: u64,
    /// The largest `used` seen.
    pub(crate) peak: u64,
    /// `used` when the server had started.
    pub startup: u64,
    /// What the operating system counts for the process.
    pub resident: u64,
    /// Handed out by the allocator.
    pub(crate) allocated: u64,
    /// Pages of the allocator in use.
    pub active: u64,
    /// Pages of the allocator in memory.
    pub(crate) allocator_resident: u64,
    /// Tables' segments, mapped outside the allocator.
    pub tables: u64,
    /// Clients' buffers.
    pub clients: u64,
    /// Replicas' buffers, and what the backlog keeps for them beyond its size.
    pub(crate) replicas: u64,
    /// What serves neither data nor clients: the backlog, the log's buffer, scripts and libraries, and
    /// the tables' directories.
    pub(crate) auxiliary: u64,
}

impl Figures {
    /// The figures of now.
    pub(crate) fn of(engine: &mut Engine) -> Self {
        use tikv_jemalloc_ctl::stats;
        // The allocator's other figures are of the same moment as this one: asking it for a new moment
        // costs up to a millisecond. They fail only where the allocator is another one, as in tests.
        let used = engine.used_memory();
        engine.cron.peak_memory = engine.cron.peak_memory.max(used);
        let memory = || engine.databases.occupied().map(|(_, table)| table.memory());
        let held = |fed: bool| {
            let chosen = engine.sessions.clients().filter(|one| one.is_fed() == fed);
            chosen.map(|one| one.held().total as u64).sum::<u64>()
        };
        let backlog = engine.journal.backlog_memory() as u64;
        let alone = engine.replication.replicas.is_empty();
        let behind = if alone { 0 } else { engine.beyond_backlog() };
        let log = engine.log.as_ref().map_or(0, |log| log.pending_bytes() as u64);
        let scripts = engine.scripts.figures();
        let directories: u64 = memory().map(|memory| memory.directory_bytes as u64).sum();
        Self {
            used,
            peak: engine.cron.peak_memory,
            startup: engine.cron.startup_memory.min(used),
            resident: resident_bytes(),
            allocated: stats::allocated::read().unwrap_or(0) as u64,
            active: stats::active::read().unwrap_or(0) as u64,
            allocator_resident: stats::resident::read().unwrap_or(0) as u64,
            tables: memory().map(|memory| memory.segment_bytes as u64).sum(),
            clients: held(false),
            replicas: held(true) + behind,
            auxiliary: backlog - behind
                + log
                + scripts.script_bytes
                + scripts.library_bytes
                + directories,
        }
    }

    /// What is not data.
    pub(crate) fn overhead(&self) -> u64 {
        (self.startup + self.clients + self.replicas + self.auxiliary).min(self.used)
    }

    /// Data.
    pub(crate) fn dataset(&self) -> u64 {
        self.used - self.overhead()
    }

    /// Data's share of what came since the start, in percent.
    pub(crate) fn dataset_share(&self) -> f64 {
        ratio(self.dataset(), self.used.saturating_sub(self.startup).max(1)) * 100.0
    }

    /// `used`'s share of the peak, in percent.
    pub(crate) fn peak_share(&self) -> f64 {
        ratio(self.used, self.peak.max(1)) * 100.0
    }
}

/// A quotient; 0 where there is nothing to divide by.
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A size for people: `1.50M`.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [char; 4] = ['K', 'M', 'G', 'T'];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.2}{}", UNITS[unit])
}

/// The second number of `statm` is the resident pages.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    pages * 4096
}

/// Memory of the machine, in bytes.
pub(in crate::engine) static TOTAL_SYSTEM_BYTES: LazyLock<u64> = LazyLock::new(|| {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
});

/// INFO memory. Writing to a String can't fail.
pub(crate) fn push_section(out: &mut String, engine: &mut Engine) {
    let memory = Figures::of(engine);
    let settings = &engine.settings;
    let policy = directives::find(b"maxmemory-policy").map(|(row, _)| row.print(settings));
    let aof = engine.log.as_ref().map_or(0, |log| log.pending_bytes());
    let mut sized = |name: &str, bytes: u64| {
        let _ = write!(out, "{name}:{bytes}\r\n{name}_human:{}\r\n", human(bytes));
    };
    sized("used_memory", memory.used);
    sized("used_memory_rss", memory.resident);
    sized("used_memory_peak", memory.peak);
    let _ = write!(
        out,
        "used_memory_peak_perc:{:.2}%\r\nused_memory_overhead:{}\r\nused_memory_startup:{}\r\n\
         used_memory_dataset:{}\r\nused_memory_dataset_perc:{:.2}%\r\nallocator_allocated:{}\r\n\
         allocator_active:{}\r\nallocator_resident:{}\r\n",
        memory.peak_share(),
        memory.overhead(),
        memory.startup,
        memory.dataset(),
        memory.dataset_share(),
        memory.allocated,
        memory.active,
        memory.allocator_resident,
    );
    let mut sized = |name: &str, bytes: u64| {
        let _ = write!(out, "{name}:{bytes}\r\n{name}_human:{}\r\n", human(bytes));
    };
    sized("total_system_memory", *TOTAL_SYSTEM_BYTES);
    let scripts = engine.scripts.figures();
    sized("used_memory_lua", scripts.lua_bytes);
    sized("used_memory_vm_total", scripts.lua_bytes + scripts.functions_lua_bytes);
    sized("used_memory_scripts", scripts.script_bytes + scripts.library_bytes);
    sized("maxmemory", engine.settings.maxmemory);
    let _ = write!(
        out,
        "used_memory_vm_eval:{}\r\nused_memory_scripts_eval:{}\r\nnumber_of_cached_scripts:{}\r\n\
         number_of_functions:{}\r\nnumber_of_libraries:{}\r\nused_memory_vm_functions:{}\r\n\
         used_memory_functions:{}\r\n",
        scripts.lua_bytes,
        scripts.script_bytes,
        scripts.scripts,
        scripts.functions,
        scripts.libraries,
        scripts.functions_lua_bytes,
        scripts.library_bytes,
    );
    let backlog = engine.journal.backlog_memory();
    let fragmentation = memory.active.saturating_sub(memory.allocated);
    let _ = write!(
        out,
        "maxmemory_policy:{}\r\nallocator_frag_ratio:{:.2}\r\nallocator_frag_bytes:{fragmentation}\r\n\
         allocator_rss_ratio:{:.2}\r\nallocator_rss_bytes:{}\r\nrss_overhead_ratio:{:.2}\r\n\
         rss_overhead_bytes:{}\r\nmem_fragmentation_ratio:{:.2}\r\nmem_fragmentation_bytes:{}\r\n\
         mem_not_counted_for_evict:{}\r\nmem_replication_backlog:{backlog}\r\n\
         mem_total_replication_buffers:{backlog}\r\nmem_clients_slaves:{}\r\nmem_clients_normal:{}\r\n\
         mem_cluster_links:0\r\nmem_aof_buffer:{aof}\r\nmem_allocator:jemalloc-5.3.0\r\n\
         mem_tables_mapped:{}\r\nmem_overhead_db_hashtable_rehashing:0\r\nactive_defrag_running:0\r\nlazyfree_pending_objects:{}\r\n\
         lazyfreed_objects:{}\r\n",
        String::from_utf8_lossy(&policy.unwrap_or_default()),
        ratio(memory.active, memory.allocated),
        ratio(memory.allocator_resident, memory.active),
        memory.allocator_resident.saturating_sub(memory.active),
        ratio(memory.resident, memory.allocator_resident + memory.tables),
        memory.resident.saturating_sub(memory.allocator_resident + memory.tables),
        ratio(memory.resident, memory.used),
        memory.resident as i64 - memory.used as i64,
        engine.uncounted_memory(),
        memory.replicas,
        memory.clients,
        memory.tables,
        engine.databases.reclaimer.pending(),
        engine.databases.reclaimer.freed(),
    );
}
