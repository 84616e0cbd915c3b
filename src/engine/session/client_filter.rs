//! Which clients CLIENT LIST and CLIENT KILL mean: conditions that all must hold, most of them also the
//! other way round (`NOT-`), as in Valkey 9.
//!
//! Of a condition that is given twice the last counts, but numbers add up.

use crate::base::env::SteadyMillis;
use crate::base::text;
use crate::command::args::Args;
use crate::command::error::{self, CommandError};
use crate::engine::Engine;
use crate::engine::session::client_list::letters;
use crate::engine::session::{Manner, Session};
use crate::mailbox::{Origin, SessionId};

/// The letters that FLAGS takes.
const LETTERS: &[u8] = b"AbBcdEeiIMNOPrRStTuUx";
/// The letter of the capability that there is: following redirections.
const CAPABILITY: u8 = b'r';

/// What TYPE tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Normal,
    /// Clients with a subscription.
    Listener,
    /// Replicas.
    Replica,
    /// The primary that is followed.
    Primary,
}

impl Class {
    fn of(session: &Session) -> Self {
        if session.is_primary() {
            Self::Primary
        } else if session.is_fed() {
            Self::Replica
        } else if session.is_listening() {
            Self::Listener
        } else {
            Self::Normal
        }
    }

    /// The class that a type's name means.
    fn parse(word: &[u8]) -> Result<Self, CommandError> {
        const NAMES: [(&[u8], Class); 6] = [
            (b"normal", Class::Normal),
            (b"pubsub", Class::Listener),
            (b"slave", Class::Replica),
            (b"replica", Class::Replica),
            (b"master", Class::Primary),
            (b"primary", Class::Primary),
        ];
        match NAMES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)) {
            Some((_, class)) => Ok(*class),
            None => {
                let word = error::quotable(word);
                let text = [b"ERR Unknown client type '", word, b"'"].concat();
                Err(CommandError::quoting(text))
            }
        }
    }
}

/// What must hold of a client.
#[derive(Debug)]
enum Condition<'a> {
    Ids(Vec<i64>),
    Addr(&'a [u8]),
    Laddr(&'a [u8]),
    Ip(&'a [u8]),
    Class(Class),
    User(&'a [u8]),
    Name(&'a [u8]),
    LibName(&'a [u8]),
    LibVersion(&'a [u8]),
    Flags(&'a [u8]),
    Capa,
    Db(i64),
    /// Connected for so many seconds.
    Age(i64),
    /// Silent for so many seconds.
    Idle(i64),
}

impl Condition<'_> {
    fn holds(&self, session: &Session, now: SteadyMillis) -> bool {
        let Some(link) = &session.link else { return false };
        let identity = &session.identity;
        match self {
            Self::Ids(ids) => ids.contains(&(session.id as i64)),
            Self::Addr(addr) => link.origin.peer_text().as_bytes() == *addr,
            Self::Laddr(addr) => link.origin.local_text().as_bytes() == *addr,
            Self::Ip(ip) => match &link.origin {
                Origin::Tcp { peer, .. } => peer.ip().to_string().as_bytes() == *ip,
                Origin::Unix(path) => path.as_bytes() == *ip,
            },
            Self::Class(class) => Class::of(session) == *class,
            Self::User(user) => session.authenticated && identity.user == *user,
            Self::Name(name) => identity.name == *name,
            Self::LibName(name) => identity.lib_name == *name,
            Self::LibVersion(version) => identity.lib_version == *version,
            Self::Flags(wanted) => {
                let letters = letters(session);
                wanted.iter().all(|letter| letters.as_bytes().contains(letter))
            }
            Self::Capa => session.manner.contains(Manner::FOLLOWS),
            Self::Db(db) => i64::from(session.db.0) == *db,
            Self::Age(age) => now.since(session.traffic.created) / 1000 >= *age,
            Self::Idle(idle) => now.since(session.traffic.active) / 1000 >= *idle,
        }
    }

    /// Whether it is about the same as another.
    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// Which clients are meant.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    /// Each with whether it must not hold.
    conditions: Vec<(bool, Condition<'a>)>,
    /// The client that asks, where it isn't meant itself.
    spared: Option<SessionId>,
}

impl<'a> Filter<'a> {
    /// Clients at an address.
    pub(super) fn at(addr: &'a [u8]) -> Self {
        Self { conditions: vec![(false, Condition::Addr(addr))], spared: None }
    }

    /// The filter that a client's arguments from 2 on say. `spares` is whether it spares the client that
    /// asks where it says nothing of that, and `bad_id` what is answered to something that is no number.
    pub(super) fn parse(
        engine: &Engine,
        slot: SessionId,
        args: Args<'a>,
        spares: bool,
        bad_id: &'static str,
    ) -> Result<Self, CommandError> {
        let mut filter = Self { conditions: Vec::new(), spared: spares.then_some(slot) };
        let mut index = 2;
        while index < args.len() {
            let (negated, word) = match args.at(index).split_at_checked(4) {
                Some((head, rest)) if head.eq_ignore_ascii_case(b"not-") => (true, rest),
                _ => (false, args.at(index)),
            };
            let Some(value) = args.get(index + 1) else { return Err(CommandError::Syntax) };
            index += 2;
            if word.eq_ignore_ascii_case(b"ID") {
                let mut ids = vec![id(value, bad_id)?];
                while let Some(more) = args.get(index).and_then(text::parse_i64) {
                    ids.push(Some(more).filter(|id| *id > 0).ok_or(CommandError::text(bad_id))?);
                    index += 1;
                }
                filter.add(negated, Condition::Ids(ids));
            } else if word.eq_ignore_ascii_case(b"SKIPME") && !negated {
                filter.spared = match value {
                    yes if yes.eq_ignore_ascii_case(b"yes") => Some(slot),
                    no if no.eq_ignore_ascii_case(b"no") => None,
                    _ => return Err(CommandError::Syntax),
                };
            } else {
                let condition = condition(engine, word, value, negated)?;
                filter.add(negated, condition);
            }
        }
        Ok(filter)
    }

    fn add(&mut self, negated: bool, condition: Condition<'a>) {
        let known = self
            .conditions
            .iter_mut()
            .find(|(sign, known)| *sign == negated && known.is_like(&condition));
        match (known, condition) {
            (Some((_, Condition::Ids(ids))), Condition::Ids(more)) => ids.extend(more),
            (Some((_, known)), condition) => *known = condition,
            (None, condition) => self.conditions.push((negated, condition)),
        }
    }

    /// Whether a client is meant.
    pub(super) fn admits(&self, session: &Session, now: SteadyMillis) -> bool {
        self.spared != Some(session.slot)
            && session.link.is_some()
            && self
                .conditions
                .iter()
                .all(|(negated, condition)| condition.holds(session, now) != *negated)
    }
}

fn id(word: &[u8], error: &'static str) -> Result<i64, CommandError> {
    text::parse_i64(word).filter(|id| *id > 0).ok_or(CommandError::text(error))
}

/// A number above 0.
fn positive(
    word: &[u8],
    no_number: &'static str,
    too_small: &'static str,
) -> Result<i64, CommandError> {
    let number = text::parse_i64(word).ok_or(CommandError::text(no_number))?;
    if number > 0 { Ok(number) } else { Err(CommandError::text(too_small)) }
}

fn condition<'a>(
    engine: &Engine,
    word: &[u8],
    value: &'a [u8],
    negated: bool,
) -> Result<Condition<'a>, CommandError> {
    let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
    let strange = |kind: &[u8]| {
        let not = [b"NOT-", kind.to_ascii_uppercase().as_slice()].concat();
        let which: &[u8] = if negated { &not } else { b"provided" };
        let value = error::quotable(value);
        let text = [b"ERR Unknown ", kind, b" found in the ", which, b" filter: ", value].concat();
        CommandError::quoting(text)
    };
    Ok(match () {
        () if is(b"TYPE") => Condition::Class(Class::parse(value)?),
        () if is(b"ADDR") => Condition::Addr(value),
        () if is(b"LADDR") => Condition::Laddr(value),
        () if is(b"IP") => Condition::Ip(value),
        () if is(b"NAME") => Condition::Name(value),
        () if is(b"LIB-NAME") => Condition::LibName(value),
        () if is(b"LIB-VER") => Condition::LibVersion(value),
        () if is(b"USER") => {
            let sessions = &engine.sessions;
            let known =
                value == b"default" || sessions.clients().any(|one| one.identity.user == value);
            if !known {
                let text = [b"ERR No such user '", error::quotable(value), b"'"].concat();
                return Err(CommandError::quoting(text));
            }
            Condition::User(value)
        }
        () if is(b"FLAGS") => {
            if value.is_empty() || !value.iter().all(|letter| LETTERS.contains(letter)) {
                return Err(strange(b"flags"));
            }
            Condition::Flags(value)
        }
        () if is(b"CAPA") => {
            if value.is_empty() || !value.iter().all(|letter| *letter == CAPABILITY) {
                return Err(strange(b"capa"));
            }
            Condition::Capa
        }
        () if is(b"DB") => {
            let db = text::parse_i64(value)
                .ok_or(CommandError::text("ERR DB is not an integer or out of range"))?;
            let last = i64::from(engine.limits.databases) - 1;
            if !(0..=last).contains(&db) {
                let not = if negated { "NOT-" } else { "" };
                let text = format!("ERR {not}DB number should be between 0 and {last}");
                return Err(CommandError::owned(text));
            }
            Condition::Db(db)
        }
        () if is(b"MAXAGE") && !negated => Condition::Age(positive(
            value,
            "ERR maxage is not an integer or out of range",
            "ERR maxage should be greater than 0",
        )?),
        () if is(b"IDLE") && !negated => Condition::Idle(positive(
            value,
            "ERR idle is not an integer or out of range",
            "ERR idle should be greater than 0",
        )?),
        () => return Err(CommandError::Syntax),
    })
}
