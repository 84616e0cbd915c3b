//! What one atomic step did: the one account from which log, watchers and notifications are fed.
//!
//! ```text
//!  Idle ──begin(origin)──► Open ──finish(guard): the engine commits──► Idle
//!                           │ ▲
//!                  begin()  └─┘  a guest's guard: its finish does nothing
//! ```
//! A unit begins with a command (or a transaction, a round of expiry, an eviction) and is ended once, by
//! whoever began it: only the owner's [`UnitGuard`] ends it, and a guard can't be copied. What begins a
//! unit while one is open (an eviction that a command of EXEC causes) joins it. Commands never see the
//! log: they change the keyspace, which fills the unit.

use crate::keyspace::databases::DbIndex;
use crate::resp::record::push_command;

/// What happened to a key, as keyspace notifications name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The event's name, e.g. `set`.
    pub name: &'static str,
    /// The class letter of `notify-keyspace-events`; a zero where they have no name for it.
    pub class: char,
    /// Who else hears of it.
    pub reach: Reach,
}

/// Who hears of an event beside listeners. What changes nothing but a stream's groups is no change of
/// the key to upstream's WATCH and CLIENT TRACKING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Clients that watch or track the key, and those that wait for it.
    Everybody,
    /// Clients that watch or track it: there is less of what others wait for.
    Watchers,
    /// Clients that wait for it.
    Waiters,
    /// Neither.
    Listeners,
}

impl Reach {
    /// Whether WATCH and CLIENT TRACKING see it.
    #[inline]
    pub(super) fn has_watchers(self) -> bool {
        matches!(self, Self::Everybody | Self::Watchers)
    }

    /// Whether blocked commands are tried again.
    #[inline]
    pub(super) fn has_waiters(self) -> bool {
        matches!(self, Self::Everybody | Self::Waiters)
    }
}

impl Event {
    /// What listeners aren't told: of a class that no letter stands for.
    pub(crate) const UNHEARD: Self = Self { name: "", class: '\0', reach: Reach::Everybody };
}

/// A set of event classes: a bit for each class letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Classes(u128);

impl Classes {
    /// All classes there can be.
    #[cfg(test)]
    pub(crate) const ALL: Self = Self(!1);

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
    (@reach) => { Reach::Everybody };
    (@reach $reach:ident) => { Reach::$reach };
    ($($name:ident = $text:expr, $class:expr $(, $reach:ident)?;)*) => {
        #[expect(missing_docs, reason = "the name on the wire says it")]
        impl Event {
            $(pub const $name: Self =
                Self { name: $text, class: $class, reach: events!(@reach $($reach)?) };)*
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
    SETBIT = "setbit", '$';
    PFADD = "pfadd", '$';
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
    GEOSEARCHSTORE = "geosearchstore", 'z';
    GEORADIUSSTORE = "georadiusstore", 'z';
    HSET = "hset", 'h';
    HDEL = "hdel", 'h';
    HINCRBY = "hincrby", 'h';
    HINCRBYFLOAT = "hincrbyfloat", 'h';
    HEXPIRE = "hexpire", 'h';
    HEXPIRED = "hexpired", 'h';
    HPERSIST = "hpersist", 'h';
    XADD = "xadd", 't';
    XDEL = "xdel", 't', Watchers;
    XTRIM = "xtrim", 't', Watchers;
    XSETID = "xsetid", 't', Listeners;
    XGROUP_CREATE = "xgroup-create", 't', Listeners;
    XGROUP_MKSTREAM = "xgroup-create", 't';
    XGROUP_SETID = "xgroup-setid", 't', Listeners;
    XGROUP_DESTROY = "xgroup-destroy", 't', Waiters;
    XGROUP_CREATECONSUMER = "xgroup-createconsumer", 't', Listeners;
    XGROUP_DELCONSUMER = "xgroup-delconsumer", 't', Listeners;
    PENDING = "", '\0', Listeners;
    CLAIMABLE = "", '\0', Waiters;
    RECODED = "", '\0', Listeners;
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

/// Who began a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The session with this number (CLIENT ID).
    Session(u64),
    /// The server itself: expiry, eviction.
    Server,
}

/// How far a unit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// None is under way.
    #[default]
    Idle,
    /// One is. A `group` (a transaction) stays one whatever its commands say.
    Open { origin: Origin, group: bool },
}

/// The right to end a unit, or no more than the word of having joined one. It must be given back with
/// [`Unit::finish`]; where debug assertions are on, losing one panics.
#[must_use = "a unit is ended by finish()"]
#[derive(Debug)]
pub struct UnitGuard {
    owner: bool,
}

#[cfg(debug_assertions)]
impl Drop for UnitGuard {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "a unit's guard was dropped: its unit is never ended");
    }
}

/// What a unit changed, for those who follow single keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// A key.
    Key(DbIndex, Box<[u8]>),
    /// A key that went since its time had come, or to make room: nobody's wish.
    Gone(DbIndex, Box<[u8]>),
    /// All keys of a database: it was emptied or exchanged.
    Database(DbIndex),
}

/// What one atomic step did.
#[derive(Debug, Default)]
pub struct Unit {
    phase: Phase,
    /// Changes made, as `rdb_changes_since_last_save` counts them.
    pub changes: u64,
    /// Whether the command as it came belongs in the log after the records.
    pub verbatim: bool,
    /// Whether all databases were emptied on a client's word.
    pub emptied: bool,
    /// Whether anybody wants records (log or replicas); without, none are kept.
    pub(crate) recording: bool,
    /// Of which events anybody wants notices; of others none are kept.
    pub(crate) observed: Classes,
    /// Notices in order.
    pub notices: Vec<Notice>,
    /// Whether anybody wants to know the keys that were touched; without, none are kept.
    pub tracing: bool,
    touched: Vec<Touched>,
    /// Encoded records, one behind the other.
    bytes: Vec<u8>,
    /// Each record's database and the end of its bytes.
    marks: Vec<(DbIndex, usize)>,
}

impl Unit {
    /// Begins a unit, or joins the one that is under way.
    #[inline]
    pub fn begin(&mut self, origin: Origin) -> UnitGuard {
        let owner = self.phase == Phase::Idle;
        if owner {
            self.phase = Phase::Open { origin, group: false };
        }
        UnitGuard { owner }
    }

    /// Ends what `guard` stands for. True for the owner's: the unit is over, and what it did is to be
    /// committed and cleared.
    #[inline]
    pub fn finish(&mut self, guard: UnitGuard) -> bool {
        let owner = guard.owner;
        std::mem::forget(guard);
        if owner {
            debug_assert!(self.is_open(), "a unit is ended once");
            self.phase = Phase::Idle;
        }
        owner
    }

    /// Whether a unit is under way.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.phase != Phase::Idle
    }

    /// Who began the unit under way.
    pub fn origin(&self) -> Option<Origin> {
        match self.phase {
            Phase::Idle => None,
            Phase::Open { origin, .. } => Some(origin),
        }
    }

    /// The unit under way consists of several commands that belong together.
    pub(crate) fn hold_together(&mut self) {
        if let Phase::Open { group, .. } = &mut self.phase {
            *group = true;
        }
    }

    /// Whether the unit under way is one command's alone.
    pub(crate) fn is_single(&self) -> bool {
        matches!(self.phase, Phase::Open { group: false, .. })
    }

    /// Whether nothing has changed so far.
    #[inline]
    pub(crate) fn is_blank(&self) -> bool {
        self.changes == 0 && self.marks.is_empty() && !self.emptied
    }

    /// Notes that a key was changed, where anybody wants to know.
    #[inline]
    pub(crate) fn touch(&mut self, db: DbIndex, key: &[u8], event: Event) {
        if self.tracing {
            self.keep_touched_key(db, key, event);
        }
    }

    /// Notes that all keys of a database were changed, where anybody wants to know.
    pub(crate) fn touch_all(&mut self, db: DbIndex) {
        if self.tracing {
            self.keep_touched(Touched::Database(db));
        }
    }

    #[cold]
    fn keep_touched_key(&mut self, db: DbIndex, key: &[u8], event: Event) {
        let gone = event == Event::EXPIRED || event == Event::EVICTED;
        let touched = if gone { Touched::Gone } else { Touched::Key };
        self.touched.push(touched(db, key.into()));
    }

    #[cold]
    fn keep_touched(&mut self, touched: Touched) {
        self.touched.push(touched);
    }

    /// What was touched, in order; a key that was changed twice is there twice.
    pub fn touched(&self) -> &[Touched] {
        &self.touched
    }

    /// Takes what was touched; [`Unit::give_touched`] gives the room for more back.
    pub(crate) fn take_touched(&mut self) -> Vec<Touched> {
        std::mem::take(&mut self.touched)
    }

    /// Gives back what [`Unit::take_touched`] took, emptied.
    pub(crate) fn give_touched(&mut self, mut touched: Vec<Touched>) {
        touched.clear();
        touched.shrink_to(1024);
        self.touched = touched;
    }

    /// Whether there is anything to tell: notices or touched keys.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.notices.len() | self.touched.len() != 0
    }

    /// Adds a record: a command's arguments, in RESP.
    pub(crate) fn record(&mut self, db: DbIndex, arguments: &[&[u8]]) {
        if !self.recording {
            return;
        }
        push_command(&mut self.bytes, arguments.iter().copied());
        self.marks.push((db, self.bytes.len()));
    }

    /// Adds a record of words that are given one after the other.
    pub(crate) fn record_words<'w>(
        &mut self,
        db: DbIndex,
        words: impl ExactSizeIterator<Item = &'w [u8]>,
    ) {
        if self.recording {
            push_command(&mut self.bytes, words);
            self.marks.push((db, self.bytes.len()));
        }
    }

    /// Adds a record that is encoded already.
    pub(crate) fn record_encoded(&mut self, db: DbIndex, encoded: &[u8]) {
        if self.recording {
            self.bytes.extend_from_slice(encoded);
            self.marks.push((db, self.bytes.len()));
        }
    }

    /// How many records there are.
    #[inline]
    pub(crate) fn record_count(&self) -> usize {
        self.marks.len()
    }

    /// The records in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = (DbIndex, &[u8])> {
        let mut start = 0;
        self.marks.iter().map(move |&(db, end)| {
            let record = &self.bytes[start..end];
            start = end;
            (db, record)
        })
    }

    /// Adds a notice, where anybody listens.
    #[inline]
    pub(crate) fn notice(&mut self, event: Event, db: DbIndex, key: &[u8]) {
        if self.observed.has(event) {
            self.keep_notice(event, db, key);
        }
    }

    #[cold]
    fn keep_notice(&mut self, event: Event, db: DbIndex, key: &[u8]) {
        self.notices.push(Notice { event, db, key: key.into() });
    }

    /// Forgets everything but who began it and who is listening.
    #[inline(always)]
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
        self.touched.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_guard_that_began_a_unit_ends_it() {
        let mut unit = Unit::default();
        let owner = unit.begin(Origin::Session(7));
        let guest = unit.begin(Origin::Server);
        assert!(!unit.finish(guest));
        assert_eq!(unit.origin(), Some(Origin::Session(7)));
        assert!(unit.is_single());
        unit.hold_together();
        assert!(!unit.is_single());
        assert!(unit.finish(owner));
        assert_eq!((unit.is_open(), unit.origin()), (false, None));
        let next = unit.begin(Origin::Server);
        assert!(unit.is_single() && unit.finish(next));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "never ended")]
    fn a_guard_that_is_lost_is_noticed() {
        drop(Unit::default().begin(Origin::Server));
    }

    #[test]
    fn keys_are_kept_only_where_somebody_wants_them() {
        let mut unit = Unit::default();
        unit.touch(DbIndex(1), b"k", Event::SET);
        assert_eq!(unit.touched(), []);
        unit.tracing = true;
        unit.touch(DbIndex(1), b"k", Event::SET);
        unit.touch(DbIndex(1), b"k", Event::EXPIRED);
        unit.touch_all(DbIndex(2));
        let key = || b"k"[..].into();
        let touched = [
            Touched::Key(DbIndex(1), key()),
            Touched::Gone(DbIndex(1), key()),
            Touched::Database(DbIndex(2)),
        ];
        assert_eq!(unit.touched(), touched);
        unit.clear();
        assert_eq!(unit.touched(), []);
    }
}
