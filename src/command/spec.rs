//! One row a command: everything that is known of it, said once.
//!
//! From the rows come dispatch, COMMAND and its subcommands, ACL categories, key positions, arity
//! errors, the propagation rule, and `redis-compat.md`. Rows are const slices next to their
//! handlers, listed once by family; there is no registration at run time.
//!
//! A row is generic over its handler: data commands ([`DataHandler`]) live in this layer, control
//! commands (CLIENT, CONFIG, ...) in the engine, and both are described by the same [`Spec`].

use bitflags::bitflags;

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::secrets::Secrets;
use crate::command::wait::Wait;

/// How many arguments a command takes, its name included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Just so many.
    Exactly(usize),
    /// So many or more.
    AtLeast(usize),
}

impl Arity {
    /// Whether `count` arguments fit.
    #[inline]
    pub(crate) const fn admits(self, count: usize) -> bool {
        match self {
            Self::Exactly(wanted) => count == wanted,
            Self::AtLeast(least) => count >= least,
        }
    }

    /// COMMAND's form: positive for exactly, negative for at least.
    pub(crate) const fn signed(self) -> i64 {
        match self {
            Self::Exactly(wanted) => wanted as i64,
            Self::AtLeast(least) => -(least as i64),
        }
    }
}

macro_rules! flags {
    ($($(#[doc = $doc:literal])* $name:ident = $bit:expr, $text:expr;)*) => {
        bitflags! {
            /// A set of command flags.
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct Flags: u32 {
                $($(#[doc = $doc])* const $name = 1 << $bit;)*
            }
        }

        impl Flags {
            /// Every flag with the name that COMMAND INFO replies, in upstream's order.
            const NAMES: &[(Self, &str)] = &[$((Self::$name, $text)),*];

            /// The names of those that are set, but for what COMMAND INFO doesn't show.
            pub(crate) fn names(self) -> impl Iterator<Item = &'static str> + Clone {
                let shown = move |(flag, name): &&(Self, &str)| {
                    self.contains(*flag) && !name.is_empty()
                };
                Self::NAMES.iter().filter(shown).map(|(_, name)| *name)
            }
        }
    };
}

flags! {
    /// May change data.
    WRITE = 0, "write";
    /// Never changes data.
    READONLY = 1, "readonly";
    /// Refused when memory is over `maxmemory` and nothing can be evicted.
    DENYOOM = 2, "denyoom";
    /// Runs upstream code that modules bring.
    MODULE = 3, "module";
    /// For administrators.
    ADMIN = 4, "admin";
    /// About publish and subscribe.
    PUBSUB = 5, "pubsub";
    /// Not allowed in scripts.
    NOSCRIPT = 6, "noscript";
    /// May block the client.
    BLOCKING = 7, "blocking";
    /// Allowed while the data set is loading.
    LOADING = 8, "loading";
    /// Allowed on a replica with stale data.
    STALE = 9, "stale";
    /// Not shown by MONITOR.
    SKIP_MONITOR = 10, "skip_monitor";
    /// Not in the slow log.
    SKIP_SLOWLOG = 11, "skip_slowlog";
    /// Allowed on an importing slot without ASKING.
    ASKING = 12, "asking";
    /// Constant or logarithmic time.
    FAST = 13, "fast";
    /// Allowed before authentication.
    NO_AUTH = 14, "no_auth";
    /// May go to replicas though it is no write; COMMAND doesn't show it.
    MAY_REPLICATE = 15, "";
    /// May have no key at all though it has key specs.
    NO_MANDATORY_KEYS = 16, "no_mandatory_keys";
    /// Needs `enable-*-command` permission; COMMAND doesn't show it.
    PROTECTED = 17, "";
    /// Not allowed during asynchronous loading of a replica.
    NO_ASYNC_LOADING = 18, "no_async_loading";
    /// Not allowed inside MULTI.
    NO_MULTI = 19, "no_multi";
    /// Allowed while a script runs too long.
    ALLOW_BUSY = 20, "allow_busy";
    /// Key positions can't be told from the first, last and step numbers.
    MOVABLE_KEYS = 21, "movablekeys";
    /// ACL category `dangerous` beyond what the other flags imply; COMMAND doesn't show it.
    DANGEROUS = 22, "";
    /// Acts on a transaction being queued instead of becoming part of it.
    RUNS_IN_MULTI = 23, "";
    /// Runs the queued commands, and is refused and held back for what they do.
    RUNS_QUEUE = 24, "";
    /// Allowed to a listening client in RESP2, where a reply can't be told from a message.
    FOR_LISTENERS = 25, "";
    /// Answered with the disk's error as writes are, so that health checks fail over.
    CHECKS_DISK = 26, "";
    /// Counts as use of its keys though the client chose CLIENT NO-TOUCH.
    TOUCHES = 27, "";
    /// Its reply may show data though it neither reads nor writes keys: it waits for `write-quorum`.
    SHOWS_DATA = 29, "";
    /// May run a script: on a stack of its own.
    RUNS_SCRIPTS = 30, "";
    /// CLIENT CACHING that was said before it is for what follows it; COMMAND doesn't show it.
    KEEPS_CACHING = 31, "";
    /// Ends a transaction that is being queued, so it's served even where nothing may be queued for
    /// lack of memory; COMMAND doesn't show it.
    ENDS_MULTI = 28, "";
}

/// The group that COMMAND DOCS names, and the ACL category that follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Group {
    String,
    Generic,
    Connection,
    Server,
    Transactions,
    List,
    Hash,
    Set,
    SortedSet,
    Stream,
    Bitmap,
    HyperLogLog,
    Geo,
    PubSub,
    Scripting,
    Cluster,
}

impl Group {
    /// The name that COMMAND DOCS replies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Generic => "generic",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Transactions => "transactions",
            Self::List => "list",
            Self::Hash => "hash",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::Stream => "stream",
            Self::Bitmap => "bitmap",
            Self::HyperLogLog => "hyperloglog",
            Self::Geo => "geo",
            Self::PubSub => "pubsub",
            Self::Scripting => "scripting",
            Self::Cluster => "cluster",
        }
    }

    /// The ACL category that comes with the group, where there is one.
    pub(crate) const fn category(self) -> Option<&'static str> {
        match self {
            Self::String => Some("string"),
            Self::Generic => Some("keyspace"),
            Self::Connection => Some("connection"),
            // That of publish and subscribe comes with the flag.
            Self::Server | Self::Cluster | Self::PubSub => None,
            Self::Transactions => Some("transaction"),
            Self::List => Some("list"),
            Self::Hash => Some("hash"),
            Self::Set => Some("set"),
            Self::SortedSet => Some("sortedset"),
            Self::Stream => Some("stream"),
            Self::Bitmap => Some("bitmap"),
            Self::HyperLogLog => Some("hyperloglog"),
            Self::Geo => Some("geo"),
            Self::Scripting => Some("scripting"),
        }
    }
}

/// What a command's change looks like in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It changes nothing.
    None,
    /// The command as it came, if anything changed.
    Verbatim,
    /// What the handler says with `cx.log` or `cx.log_verbatim`, if anything changed.
    Rewritten,
}

/// Where a key spec begins to look for keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At an argument's index.
    Index(usize),
    /// After a keyword, searched from an index (from the end where negative).
    Keyword(&'static str, i64),
    /// Can't be told.
    Unknown,
}

/// How a key spec finds the keys from where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Up to `last` (relative to the beginning; negative counts from the end of the arguments),
    /// every `step`th, of the remaining arguments only one in `limit` parts (0 and 1: all).
    Range {
        /// Last key, relative to the first; negative: from the end.
        last: i64,
        /// Distance between keys.
        step: usize,
        /// Divisor for a negative `last`.
        limit: usize,
    },
    /// As many as an argument says.
    KeyNum {
        /// Where the number is, relative to the beginning.
        number: usize,
        /// Where the first key is, relative to the beginning.
        first: usize,
        /// Distance between keys.
        step: usize,
    },
    /// Can't be told.
    Unknown,
}

/// Where a command's keys are and what it does to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where to begin.
    pub begin: Begin,
    /// How to go on.
    pub find: Find,
    /// What is done to it.
    pub flags: KeyFlags,
    /// A remark that COMMAND INFO shows.
    pub notes: Option<&'static str>,
}

macro_rules! key_flags {
    ($($(#[doc = $doc:literal])* $name:ident, $method:ident, $bit:expr, $text:expr;)*) => {
        bitflags! {
            /// What a command does to a key.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct KeyFlags: u16 {
                $($(#[doc = $doc])* const $name = 1 << $bit;)*
            }
        }

        impl KeyFlags {
            /// Each flag with the name that COMMAND INFO replies, in upstream's order.
            const NAMES: &[(Self, &str)] = &[$((Self::$name, $text)),*];

            /// The names of those that are set.
            pub(crate) fn names(self) -> impl Iterator<Item = &'static str> + Clone {
                let set = Self::NAMES.iter().filter(move |(flag, _)| self.contains(*flag));
                set.map(|(_, name)| *name)
            }
        }

        impl Key {
            $($(#[doc = $doc])* #[must_use] pub const fn $method(mut self) -> Self {
                self.flags = self.flags.union(KeyFlags::$name);
                self
            })*
        }
    };
}

key_flags! {
    /// Reads and writes the value.
    RW, rw, 0, "RW";
    /// Reads the value only.
    RO, ro, 1, "RO";
    /// Overwrites the value without looking.
    OW, ow, 2, "OW";
    /// Removes the key.
    RM, rm, 3, "RM";
    /// Returns, copies or uses the user's data.
    ACCESS, access, 4, "access";
    /// Changes the data.
    UPDATE, update, 5, "update";
    /// Adds data without changing or deleting what is there.
    INSERT, insert, 6, "insert";
    /// Deletes some data.
    DELETE, delete, 7, "delete";
    /// Is no key though it has a key's place (channels).
    NOT_KEY, not_key, 8, "not_key";
    /// May miss some keys.
    INCOMPLETE, incomplete, 9, "incomplete";
    /// The flags depend on the arguments.
    VARIABLE_FLAGS, variable_flags, 10, "variable_flags";
}

impl Key {
    /// One key at an argument's index.
    pub(crate) const fn at(index: usize) -> Self {
        let find = Find::Range { last: 0, step: 1, limit: 0 };
        Self { begin: Begin::Index(index), find, flags: KeyFlags::empty(), notes: None }
    }

    /// The key or keys after a keyword.
    pub(crate) const fn after(keyword: &'static str, from: i64) -> Self {
        let find = Find::Range { last: 0, step: 1, limit: 0 };
        Self { begin: Begin::Keyword(keyword, from), find, flags: KeyFlags::empty(), notes: None }
    }

    /// More keys: up to `last` (negative from the end), every `step`th.
    #[must_use]
    pub(crate) const fn range(mut self, last: i64, step: usize) -> Self {
        self.find = Find::Range { last, step, limit: 0 };
        self
    }

    /// As many keys as the argument at the beginning plus `number` says, from plus `first` on.
    #[must_use]
    pub(crate) const fn counted(mut self, number: usize, first: usize, step: usize) -> Self {
        self.find = Find::KeyNum { number, first, step };
        self
    }

    /// A remark for COMMAND INFO.
    #[must_use]
    pub(crate) const fn notes(mut self, notes: &'static str) -> Self {
        self.notes = Some(notes);
        self
    }
}

/// Everything about a command but its code.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Upper-case name; of a subcommand only its own word.
    pub name: &'static str,
    /// How many arguments, the name (and for a subcommand its container's) included.
    pub arity: Arity,
    /// What COMMAND shows as flags.
    pub flags: Flags,
    /// What COMMAND DOCS shows as group.
    pub group: Group,
    /// Where its keys are.
    pub keys: &'static [Key],
    /// ACL categories beyond those that flags and group imply.
    pub categories: &'static [&'static str],
    /// Hints for clients and proxies.
    pub tips: &'static [&'static str],
    /// How its change gets into the log.
    pub effect: Effect,
    /// Which of its arguments must not be shown.
    pub secrets: &'static Secrets,
    /// The first upstream version that had it.
    pub since: &'static str,
    /// Time complexity.
    pub cost: &'static str,
    /// The arguments in the notation of COMMAND DOCS' usage lines.
    pub syntax: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// What is different from upstream, and why.
    pub deviations: &'static [&'static str],
    /// Version and replacement where upstream calls it deprecated.
    pub(crate) deprecated: Option<(&'static str, &'static str)>,
    /// Changes of its arguments by upstream version, for COMMAND DOCS.
    pub history: &'static [(&'static str, &'static str)],
}

/// A command: its description and its code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command<H: 'static> {
    /// The description.
    pub spec: Spec,
    /// The code; a container's own is what runs when no subcommand matches.
    pub run: H,
    /// Subcommands of a container.
    pub subcommands: &'static [Self],
}

/// The code of a data command.
pub(crate) type DataHandler = fn(&mut Cx<'_>, Args<'_>) -> Result<Flow, CommandError>;

/// How a handler ended.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// The reply is written.
    Done,
    /// Nothing is there yet, and nothing is written: the client waits, and then the handler runs
    /// again.
    Block(Wait),
}

const fn command<H: Copy>(name: &'static str, arity: Arity, run: H, flags: Flags) -> Command<H> {
    let spec = Spec {
        name,
        arity,
        flags,
        group: Group::Generic,
        keys: &[],
        categories: &[],
        tips: &[],
        effect: Effect::None,
        secrets: &Secrets::None,
        since: "1.0.0",
        cost: "O(1)",
        syntax: "",
        summary: "",
        deviations: &[],
        deprecated: None,
        history: &[],
    };
    Command { spec, run, subcommands: &[] }
}

/// A command that may change data. Its effect on the log is verbatim unless it says otherwise.
pub(crate) const fn write<H: Copy>(name: &'static str, arity: Arity, run: H) -> Command<H> {
    let mut row = command(name, arity, run, Flags::WRITE);
    row.spec.effect = Effect::Verbatim;
    row
}

/// A command that only reads data.
pub(crate) const fn read<H: Copy>(name: &'static str, arity: Arity, run: H) -> Command<H> {
    command(name, arity, run, Flags::READONLY)
}

/// A command that is about the server or the connection, not about data.
pub(crate) const fn control<H: Copy>(name: &'static str, arity: Arity, run: H) -> Command<H> {
    command(name, arity, run, Flags::empty())
}

impl<H: Copy> Command<H> {
    /// Sets the group.
    #[must_use]
    pub(crate) const fn group(mut self, group: Group) -> Self {
        self.spec.group = group;
        self
    }

    /// Adds flags.
    #[must_use]
    pub(crate) const fn flags(mut self, flags: Flags) -> Self {
        self.spec.flags = self.spec.flags.union(flags);
        self
    }

    /// Sets where the keys are.
    #[must_use]
    pub(crate) const fn keys(mut self, keys: &'static [Key]) -> Self {
        self.spec.keys = keys;
        self
    }

    /// Sets ACL categories beyond those that flags and group imply.
    #[must_use]
    pub(crate) const fn categories(mut self, categories: &'static [&'static str]) -> Self {
        self.spec.categories = categories;
        self
    }

    /// Sets hints for clients and proxies.
    #[must_use]
    pub(crate) const fn tips(mut self, tips: &'static [&'static str]) -> Self {
        self.spec.tips = tips;
        self
    }

    /// Sets how the change gets into the log.
    #[must_use]
    pub(crate) const fn effect(mut self, effect: Effect) -> Self {
        self.spec.effect = effect;
        self
    }

    /// Sets which arguments must not be shown.
    #[must_use]
    pub(crate) const fn secrets(mut self, secrets: &'static Secrets) -> Self {
        self.spec.secrets = secrets;
        self
    }

    /// Sets the first upstream version that had it.
    #[must_use]
    pub(crate) const fn since(mut self, version: &'static str) -> Self {
        self.spec.since = version;
        self
    }

    /// Sets the time complexity.
    #[must_use]
    pub(crate) const fn cost(mut self, cost: &'static str) -> Self {
        self.spec.cost = cost;
        self
    }

    /// Sets the arguments' notation.
    #[must_use]
    pub(crate) const fn syntax(mut self, syntax: &'static str) -> Self {
        self.spec.syntax = syntax;
        self
    }

    /// Sets the sentence that says what it does.
    #[must_use]
    pub(crate) const fn summary(mut self, summary: &'static str) -> Self {
        self.spec.summary = summary;
        self
    }

    /// Says what is different from upstream, and why.
    #[must_use]
    pub(crate) const fn deviates(mut self, deviations: &'static [&'static str]) -> Self {
        self.spec.deviations = deviations;
        self
    }

    /// Marks it as deprecated since a version, with what replaces it.
    #[must_use]
    pub(crate) const fn deprecated(
        mut self,
        since: &'static str,
        replacement: &'static str,
    ) -> Self {
        self.spec.deprecated = Some((since, replacement));
        self
    }

    /// Sets the changes of its arguments by version.
    #[must_use]
    pub(crate) const fn history(
        mut self,
        history: &'static [(&'static str, &'static str)],
    ) -> Self {
        self.spec.history = history;
        self
    }

    /// Sets a container's subcommands.
    #[must_use]
    pub(crate) const fn subcommands(mut self, subcommands: &'static [Self]) -> Self {
        self.subcommands = subcommands;
        self
    }
}

impl Spec {
    /// The first key's argument index, where it stands at a fixed one.
    #[inline]
    pub(crate) fn first_key(&self) -> Option<usize> {
        match self.keys.first()?.begin {
            Begin::Index(index) => Some(index),
            Begin::Keyword(..) | Begin::Unknown => None,
        }
    }
}
