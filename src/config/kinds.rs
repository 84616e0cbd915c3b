//! The types of settings that are more than a number, a flag or a text.
//!
//! Each enum lists its words in upstream's order, since error messages quote them in that order.
//! How a value is parsed and printed is in [`crate::config::value`]; here is only what it can be.

use crate::base::env::SteadyMillis;
use crate::base::logging::{LogFormat, LogLevel, TimestampFormat};

/// A setting that is one of a few words.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    /// The words in the order that messages list them. The first word of a variant is the one that
    /// is printed; further ones are accepted for it.
    const WORDS: &'static [(&'static str, Self)];
}

/// Declares an enum and its words together. `Default` is the first variant and means nothing: the
/// directive's default is in its row.
macro_rules! choice {
    (
        $(#[$doc:meta])*
        $name:ident { $($variant:ident = $word:literal $(| $also:literal)*),+ $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = concat!("`", $word, "`")] $variant,)+
        }

        impl Default for $name {
            fn default() -> Self {
                <Self as Choice>::WORDS[0].1
            }
        }

        impl Choice for $name {
            const WORDS: &'static [(&'static str, Self)] =
                &[$(($word, Self::$variant), $(($also, Self::$variant),)*)+];
        }
    };
}

choice! {
    /// When the log is made durable.
    AppendFsync { Everysec = "everysec", Always = "always", No = "no" }
}
choice! {
    /// How a node's view of the cluster is kept.
    ClusterSave { Sync = "sync", BestEffort = "best-effort" }
}
choice! {
    /// Whether files of unknown versions are tried.
    VersionCheck { Strict = "strict", Relaxed = "relaxed" }
}
choice! {
    /// Which part of a TLS certificate names a user.
    CertificateUser { Name = "CN", Uri = "URI", Off = "off" }
}
choice! {
    /// What becomes of keys of types that there is no place for, in a file that is loaded.
    UnknownTypes { Stop = "stop", Skip = "skip" }
}
choice! {
    /// Which keys go when memory is full.
    EvictionPolicy {
        VolatileLru = "volatile-lru",
        VolatileLfu = "volatile-lfu",
        VolatileRandom = "volatile-random",
        VolatileTtl = "volatile-ttl",
        AllkeysLru = "allkeys-lru",
        AllkeysLfu = "allkeys-lfu",
        AllkeysRandom = "allkeys-random",
        NoEviction = "noeviction",
    }
}
choice! {
    /// Who may use a dangerous command.
    Allowed { No = "no", Yes = "yes", Local = "local" }
}
choice! {
    /// Which service manager started the server.
    Supervised { Upstart = "upstart", Systemd = "systemd", Auto = "auto", No = "no" }
}
choice! {
    /// The facility of system log messages.
    SyslogFacility {
        User = "user",
        Local0 = "local0",
        Local1 = "local1",
        Local2 = "local2",
        Local3 = "local3",
        Local4 = "local4",
        Local5 = "local5",
        Local6 = "local6",
        Local7 = "local7",
    }
}
choice! {
    /// How a replica loads a full copy that comes through the socket.
    DisklessLoad {
        Disabled = "disabled",
        OnEmptyDb = "on-empty-db",
        Swapdb = "swapdb",
        FlushBeforeLoad = "flush-before-load",
    }
}
choice! {
    /// Whether TLS clients must present a certificate.
    TlsClients { No = "no", Yes = "yes", Optional = "optional" }
}
choice! {
    /// Whether and how the out-of-memory killer's score is adjusted.
    OomScore { No = "no", Relative = "yes" | "relative", Absolute = "absolute" }
}
choice! {
    /// Which channels a new user may use.
    AclPubsub { AllChannels = "allchannels", ResetChannels = "resetchannels" }
}
choice! {
    /// When payloads of RESTORE and of full copies are checked in depth.
    SanitizeDump { No = "no", Yes = "yes", Clients = "clients" }
}
choice! {
    /// What cluster replies name a node by.
    EndpointType { Ip = "ip", Hostname = "hostname", Unknown = "unknown-endpoint" }
}
choice! {
    /// What an error in the replication stream leads to.
    PropagationError {
        Ignore = "ignore",
        Panic = "panic",
        PanicOnReplicas = "panic-on-replicas",
    }
}

impl Choice for LogLevel {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("debug", Self::Debug),
        ("verbose", Self::Verbose),
        ("notice", Self::Notice),
        ("warning", Self::Warning),
        ("nothing", Self::Nothing),
    ];
}

impl Choice for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("legacy", Self::Text),
        ("text", Self::Text),
        ("logfmt", Self::Logfmt),
        ("json", Self::Json),
    ];
}

impl Choice for TimestampFormat {
    const WORDS: &'static [(&'static str, Self)] =
        &[("legacy", Self::Text), ("iso8601", Self::Iso8601), ("milliseconds", Self::Milliseconds)];
}

impl Default for ClientMemory {
    fn default() -> Self {
        Self::Bytes(0)
    }
}

impl SyslogFacility {
    /// The facility's number in the syslog protocol (RFC 5424, section 6.2.1).
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::User => 1,
            Self::Local0 => 16,
            Self::Local1 => 17,
            Self::Local2 => 18,
            Self::Local3 => 19,
            Self::Local4 => 20,
            Self::Local5 => 21,
            Self::Local6 => 22,
            Self::Local7 => 23,
        }
    }
}

/// A snapshot is taken once so many changes have gathered and so many seconds have passed since
/// the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// At least 1.
    pub seconds: u64,
    /// At least this many; 0 saves whenever the seconds have passed.
    pub changes: u64,
}

/// The save points in the order given; empty where automatic snapshots are off.
pub(crate) type SavePoints = Vec<SavePoint>;

/// An address to listen on, or one to connect from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindAddress {
    /// An IPv4 or IPv6 address or a host name; `*` and `::*` are all of IPv4 and of IPv6.
    pub text: String,
    /// Written with a leading `-` (not part of `text`): an address that the machine doesn't have
    /// is not an error.
    pub(crate) optional: bool,
}

/// How far a client's replies may pile up before it is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes at which the client is closed at once; 0 for no limit.
    pub hard: u64,
    /// Bytes that the client may not stay above for longer than `soft_seconds`; 0 for no limit.
    pub soft: u64,
    /// See `soft`.
    pub soft_seconds: u64,
}

impl OutputLimit {
    /// Whether a client has been above the soft limit for too long. `above` says whether it is now, and
    /// `since` keeps since when.
    pub(crate) fn outlasted(
        &self,
        above: bool,
        since: &mut Option<SteadyMillis>,
        now: SteadyMillis,
    ) -> bool {
        let began = since.filter(|_| above).unwrap_or(now);
        *since = above.then_some(began);
        now.since(began) > self.soft_seconds as i64 * 1000
    }
}

/// The output limits of the three classes of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimits {
    /// Ordinary clients.
    pub normal: OutputLimit,
    /// Replicas.
    pub replica: OutputLimit,
    /// Clients with a subscription.
    pub pubsub: OutputLimit,
}

/// How much memory all clients' buffers may take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMemory {
    /// So many bytes; 0 for no limit.
    Bytes(u64),
    /// So many hundredths of `maxmemory`, 0 to 100.
    Percent(u8),
}

/// The adjustments of the out-of-memory killer's score for a primary, a replica, and a background
/// process; each -2000 to 2000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomValues(pub [i32; 3]);

/// Which percentiles of command latency INFO shows, each 0 to 100.
pub(crate) type Percentiles = Vec<f64>;

/// The primary to replicate: host and port.
pub(crate) type Primary = Option<(String, u16)>;

/// What SIGTERM or SIGINT does: the options of SHUTDOWN. None set is the default behaviour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownFlags {
    /// Save even where no save point is configured.
    pub save: bool,
    /// Don't save even where save points are configured.
    pub nosave: bool,
    /// Don't wait for replicas.
    pub now: bool,
    /// Go even if saving fails.
    pub force: bool,
}

/// Which keyspace events are published, as a set of upstream's class letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventClasses(pub u16);

impl EventClasses {
    /// Every class letter, in the order that CONFIG GET prints them; a class's bit is its place in
    /// here. The first ten are what `A` stands for.
    pub(crate) const LETTERS: &'static [u8] = b"g$lshzxetdnKEm";

    /// The set with only the class of this letter, or nothing for a letter that is no class.
    pub(crate) const fn of(letter: u8) -> Option<Self> {
        let mut place = 0;
        while place < Self::LETTERS.len() {
            if Self::LETTERS[place] == letter {
                return Some(Self(1 << place));
            }
            place += 1;
        }
        None
    }

    /// The classes that `A` stands for: all but `K` and `E`, which say where to publish, and `m`
    /// and `n`, which concern reads and new keys.
    pub(crate) const fn everything() -> Self {
        Self((1 << 10) - 1)
    }

    /// Whether all classes of `other` are in this set.
    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The classes of both.
    #[must_use]
    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
