//! What a data command's handler is given: the databases, the reply, and a frozen moment.

use crate::base::env::{Rng, UnixMillis};
use crate::data::thresholds::Thresholds;
use crate::keyspace::databases::{Databases, Db, DbIndex};
use crate::rdb::decode::Checksum;
use crate::resp::reply::Reply;

/// Bounds from the configuration that handlers look at.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest string a value may become, in bytes (`proto-max-bulk-len`).
    pub(crate) string_bytes_max: u64,
    /// How many databases there are.
    pub databases: u32,
    /// Whether DEL frees big values on another thread (`lazyfree-lazy-user-del`).
    pub(crate) lazy_user_del: bool,
    /// Whether FLUSHALL and FLUSHDB free on another thread (`lazyfree-lazy-user-flush`).
    pub(crate) lazy_user_flush: bool,
    /// Whether eviction is by frequency (`maxmemory-policy *-lfu`): OBJECT FREQ and IDLETIME.
    pub lfu: bool,
    /// Up to where collections keep their compact forms (`*-max-listpack-*`).
    pub thresholds: Thresholds,
    /// The version in which DUMP writes values (`rdb-version`).
    pub(crate) rdb_version: u16,
    /// How RESTORE takes the checksum of what it is given (`DEBUG SET-SKIP-CHECKSUM-VALIDATION`).
    pub(crate) payload_checksum: Checksum,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            string_bytes_max: 512 << 20,
            databases: 16,
            lazy_user_del: false,
            lazy_user_flush: false,
            lfu: false,
            thresholds: Thresholds::default(),
            rdb_version: crate::rdb::format::VERSION,
            payload_checksum: Checksum::Verify,
        }
    }
}

/// The context of one command.
///
/// Everything a handler may depend on is here, and time stands still in it, so that running the
/// command again on the same data gives the same result.
#[derive(Debug)]
pub struct Cx<'a> {
    /// All databases; [`Cx::db`] is the selected one.
    pub databases: &'a mut Databases,
    /// The selected database's number.
    pub selected: DbIndex,
    /// Where the answer goes.
    pub reply: Reply<'a>,
    /// The time at which the unit began.
    pub now: UnixMillis,
    /// Randomness, from the server's seed.
    pub rng: &'a mut Rng,
    /// Bounds from the configuration.
    pub limits: &'a Limits,
    /// Whether the command comes from our own log or the primary's stream: limits don't apply to what was
    /// accepted once.
    pub(crate) replaying: bool,
    /// Whether a script calls the command.
    pub(crate) in_script: bool,
}

impl Cx<'_> {
    /// The selected database.
    #[inline]
    pub(crate) fn db(&mut self) -> Db<'_> {
        self.databases.db(self.selected)
    }

    /// Puts a record into the log in the command's place. Only for [`Effect::Rewritten`] rows.
    ///
    /// [`Effect::Rewritten`]: crate::command::spec::Effect::Rewritten
    pub(crate) fn log(&mut self, record: &[&[u8]]) {
        self.databases.unit.record(self.selected, record);
    }

    /// As [`Cx::log`], of words that are given one after the other.
    pub(crate) fn log_words<'w>(&mut self, words: impl ExactSizeIterator<Item = &'w [u8]>) {
        self.databases.unit.record_words(self.selected, words);
    }

    /// Says that the command as it came is what belongs in the log. Only for
    /// [`Effect::Rewritten`] rows, where a form of the command needs no rewriting.
    ///
    /// [`Effect::Rewritten`]: crate::command::spec::Effect::Rewritten
    #[inline]
    pub(crate) fn log_verbatim(&mut self) {
        self.databases.unit.verbatim = true;
    }
}
