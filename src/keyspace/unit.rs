//! What one atomic step did: the one account from which log, watchers and notifications are fed.
//!
//! A unit begins with a command (or a transaction, an expiry, an eviction) and ends with the
//! engine's commit, which takes the records out and clears it. Commands never see the log: they
//! change the keyspace, which fills the unit.

use crate::keyspace::databases::DbIndex;
use crate::resp::record::push_command;

/// What happened to a key, as keyspace notifications name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The event's name, e.g. `set`.
    pub name: &'static str,
    /// The class letter of `notify-keyspace-events`.
    pub class: char,
}

/// A set of event classes: a bit for each class letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes(u128);

impl Classes {
    /// All classes there can be.
    pub const ALL: Self = Self(u128::MAX);

    /// Whether an event's class is in the set.
    #[inline]
    const fn has(self, event: Event) -> bool {
        self.0 & (1 << (event.class as u32 & 127)) != 0
    }
}

impl FromIterator<u8> for Classes {
    fn from_iter<I: IntoIterator<Item = u8>>(letters: I) -> Self {
        Self(letters.into_iter().fold(0, |set, letter| set | (1 << (letter & 127))))
    }
}

macro_rules! events {
    ($($name:ident = $text:expr, $class:expr;)*) => {
        #[expect(missing_docs, reason = "the name on the wire says it")]
        impl Event {
            $(pub const $name: Self = Self { name: $text, class: $class };)*
        }
    };
}

events! {
    DEL = "del", 'g';
    EXPIRE = "expire", 'g';
    PERSIST = "persist", 'g';
    RENAME_FROM = "rename_from", 'g';
    RENAME_TO = "rename_to", 'g';
    MOVE_FROM = "move_from", 'g';
    MOVE_TO = "move_to", 'g';
    COPY_TO = "copy_to", 'g';
    RESTORE = "restore", 'g';
    SET = "set", '$';
    APPEND = "append", '$';
    SETRANGE = "setrange", '$';
    INCRBY = "incrby", '$';
    INCRBYFLOAT = "incrbyfloat", '$';
    EXPIRED = "expired", 'x';
    EVICTED = "evicted", 'e';
    NEW = "new", 'n';
    KEYMISS = "keymiss", 'm';
    LPUSH = "lpush", 'l';
    RPUSH = "rpush", 'l';
    LPOP = "lpop", 'l';
    RPOP = "rpop", 'l';
    LINSERT = "linsert", 'l';
    LSET = "lset", 'l';
    LTRIM = "ltrim", 'l';
    LREM = "lrem", 'l';
    SORTSTORE = "sortstore", 'l';
    SADD = "sadd", 's';
    SREM = "srem", 's';
    SPOP = "spop", 's';
    SINTERSTORE = "sinterstore", 's';
    SUNIONSTORE = "sunionstore", 's';
    SDIFFSTORE = "sdiffstore", 's';
    ZADD = "zadd", 'z';
    ZINCR = "zincr", 'z';
    ZREM = "zrem", 'z';
    ZREMRANGEBYRANK = "zremrangebyrank", 'z';
    ZREMRANGEBYSCORE = "zremrangebyscore", 'z';
    ZREMRANGEBYLEX = "zremrangebylex", 'z';
    ZPOPMIN = "zpopmin", 'z';
    ZPOPMAX = "zpopmax", 'z';
    ZUNIONSTORE = "zunionstore", 'z';
    ZINTERSTORE = "zinterstore", 'z';
    ZDIFFSTORE = "zdiffstore", 'z';
    ZRANGESTORE = "zrangestore", 'z';
    HSET = "hset", 'h';
    HDEL = "hdel", 'h';
    HINCRBY = "hincrby", 'h';
    HINCRBYFLOAT = "hincrbyfloat", 'h';
    HEXPIRE = "hexpire", 'h';
    HEXPIRED = "hexpired", 'h';
    HPERSIST = "hpersist", 'h';
}

/// One note for keyspace notifications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What happened.
    pub event: Event,
    /// In which database.
    pub db: DbIndex,
    /// To which key.
    pub key: Box<[u8]>,
}

/// What one atomic step did.
#[derive(Debug, Default)]
pub struct Unit {
    /// Changes made, as `rdb_changes_since_last_save` counts them.
    pub changes: u64,
    /// Whether the command as it came belongs in the log after the records.
    pub verbatim: bool,
    /// Whether all databases were emptied on a client's word.
    pub emptied: bool,
    /// Whether anybody wants records (log or replicas); without, none are kept.
    pub recording: bool,
    /// Of which events anybody wants notices; of others none are kept.
    pub observed: Classes,
    /// Notices in order.
    pub notices: Vec<Notice>,
    /// Encoded records, one behind the other.
    bytes: Vec<u8>,
    /// Each record's database and the end of its bytes.
    marks: Vec<(DbIndex, usize)>,
}

impl Unit {
    /// Adds a record: a command's arguments, in RESP.
    pub fn record(&mut self, db: DbIndex, arguments: &[&[u8]]) {
        if !self.recording {
            return;
        }
        push_command(&mut self.bytes, arguments.iter().copied());
        self.marks.push((db, self.bytes.len()));
    }

    /// Adds a record that is encoded already.
    pub fn record_encoded(&mut self, db: DbIndex, encoded: &[u8]) {
        if self.recording {
            self.bytes.extend_from_slice(encoded);
            self.marks.push((db, self.bytes.len()));
        }
    }

    /// How many records there are.
    #[inline]
    pub fn record_count(&self) -> usize {
        self.marks.len()
    }

    /// The records in order.
    pub fn records(&self) -> impl Iterator<Item = (DbIndex, &[u8])> {
        let mut start = 0;
        self.marks.iter().map(move |&(db, end)| {
            let record = &self.bytes[start..end];
            start = end;
            (db, record)
        })
    }

    /// Adds a notice, where anybody listens.
    #[inline]
    pub fn notice(&mut self, event: Event, db: DbIndex, key: &[u8]) {
        if self.observed.has(event) {
            self.keep_notice(event, db, key);
        }
    }

    #[cold]
    fn keep_notice(&mut self, event: Event, db: DbIndex, key: &[u8]) {
        self.notices.push(Notice { event, db, key: key.into() });
    }

    /// Ends the unit: forgets everything but who is listening.
    #[inline]
    pub fn clear(&mut self) {
        self.changes = 0;
        self.verbatim = false;
        self.emptied = false;
        if !self.marks.is_empty() {
            self.marks.clear();
            self.bytes.clear();
            // A transaction of gigabytes must not keep its buffer forever.
            self.bytes.shrink_to(1 << 20);
        }
        self.notices.clear();
    }
}
