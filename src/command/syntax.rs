//! A row's syntax string, read into the tree that COMMAND DOCS replies as "arguments".
//!
//! The notation is that of usage lines: `key value [NX|XX] [EX seconds|PX milliseconds]`. Words in
//! capitals are tokens, and so are some signs; others are values whose type follows from the word.
//! `[...]` is optional, `<...>` groups what isn't, `|` separates alternatives, and `x [x ...]` says
//! that `x` repeats. Where a word's usual type is wrong for a command, it says so: `increment:double`.
//! A group says behind it what it is called, if that doesn't follow: `<LEFT|RIGHT>:where`.
//!
//! Read at each COMMAND DOCS and not kept: clients ask for it rarely.

use crate::command::spec::{Begin, Key};
use crate::resp::reply::Reply;

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bytes.
    String,
    /// A whole number.
    Integer,
    /// A float.
    Double,
    /// A key's name.
    Key,
    /// A glob pattern.
    Pattern,
    /// A moment.
    UnixTime,
    /// Only its token.
    PureToken,
    /// One of its children.
    OneOf,
    /// Its children, in order.
    Block,
}

impl Kind {
    /// The name that COMMAND DOCS replies.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::Key => "key",
            Self::Pattern => "pattern",
            Self::UnixTime => "unix-time",
            Self::PureToken => "pure-token",
            Self::OneOf => "oneof",
            Self::Block => "block",
        }
    }
}

/// An argument of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Argument {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The word that stands before it.
    pub token: Option<String>,
    /// The key spec that finds it, where it is a key.
    pub(crate) key_spec: Option<usize>,
    /// Whether it may be left out.
    pub(crate) optional: bool,
    /// Whether it may repeat.
    pub multiple: bool,
    /// Whether its token repeats with it.
    pub(crate) multiple_token: bool,
    /// What it is made of.
    pub(crate) children: Vec<Argument>,
}

/// A syntax string that breaks the notation: a bug of the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the syntax string breaks off or has a stray sign near byte {0}")]
pub(crate) struct Malformed(usize);

/// The words whose values aren't plain strings.
const TYPES: &[(Kind, &[&str])] = &[
    (
        Kind::Key,
        &["key", "newkey", "source", "destination", "key1", "key2", "destkey", "sourcekey"],
    ),
    (
        Kind::Integer,
        &[
            "bit",
            "bits",
            "client-id",
            "count",
            "cursor",
            "database",
            "db",
            "decrement",
            "destination-db",
            "end",
            "frequency",
            "increment",
            "index",
            "index1",
            "index2",
            "len",
            "milliseconds",
            "min-match-len",
            "numkeys",
            "numreplicas",
            "offset",
            "port",
            "protover",
            "seconds",
            "start",
            "timeout",
            "ttl",
            "version",
            "maxage",
        ],
    ),
    (Kind::Pattern, &["pattern"]),
    (Kind::UnixTime, &["unix-time-seconds", "unix-time-milliseconds"]),
];

/// Signs that stand for themselves, and what they are called.
const SIGNS: &[(&str, &str)] =
    &[("=", "equal"), ("~", "approximately"), ("*", "auto_id"), ("$", "new_id")];

/// What alternatives are called together, by the first of them; otherwise all their names.
const CHOICES: &[(&str, &str)] = &[
    ("nx", "condition"),
    ("ip:port", "filter"),
    ("client-id", "new-format"),
    ("seconds", "expiration"),
    ("gt", "comparison"),
    ("async", "async"),
    ("schedule", "operation"),
    ("asc", "order"),
    ("write", "mode"),
    ("yes", "mode"),
    ("module-name", "filterby"),
    ("min", "where"),
    ("byscore", "sortby"),
    ("sum", "aggregate"),
];

/// A piece of the notation, before tokens are joined with their values.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Token(String),
    Word(String),
    /// Alternatives, whether they are optional, and what they are called together if it's said.
    Group(Vec<Vec<Piece>>, bool, Option<String>),
    /// `[x ...]`: once read, what it repeats.
    Repeat(Vec<Piece>),
}

/// Reads a syntax string; `keys` are the row's key specs.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn parse(syntax: &str, keys: &[Key]) -> Result<Vec<Argument>, Malformed> {
    let mut reader = Reader { text: syntax.as_bytes(), at: 0 };
    let pieces = reader.sequence()?;
    if reader.at < reader.text.len() {
        return Err(Malformed(reader.at));
    }
    let mut arguments = sequence(&pieces);
    number_keys(&mut arguments, keys, &mut 0);
    Ok(arguments)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    /// Pieces up to a closing sign, a bar, or the end.
    fn sequence(&mut self) -> Result<Vec<Piece>, Malformed> {
        let mut pieces: Vec<Piece> = Vec::new();
        loop {
            match self.peek() {
                None | Some(b']' | b'>' | b'|') => return Ok(pieces),
                Some(open @ (b'[' | b'<')) => {
                    self.at += 1;
                    let piece = self.group(if open == b'[' { b']' } else { b'>' })?;
                    push_piece(&mut pieces, piece);
                }
                Some(_) => pieces.push(self.word()),
            }
        }
    }

    fn group(&mut self, close: u8) -> Result<Piece, Malformed> {
        let mut alternatives = vec![self.sequence()?];
        while self.peek() == Some(b'|') {
            self.at += 1;
            alternatives.push(self.sequence()?);
        }
        if self.peek() != Some(close) || alternatives.iter().any(Vec::is_empty) {
            return Err(Malformed(self.at));
        }
        self.at += 1;
        let dots = Piece::Word("...".to_owned());
        match alternatives.as_mut_slice() {
            [only] if only.last() == Some(&dots) => {
                only.pop();
                Ok(Piece::Repeat(std::mem::take(only)))
            }
            _ => Ok(Piece::Group(alternatives, close == b']', self.group_name())),
        }
    }

    fn group_name(&mut self) -> Option<String> {
        if self.text.get(self.at) != Some(&b':') {
            return None;
        }
        self.at += 1;
        match self.word() {
            Piece::Word(name) => Some(name),
            _ => None,
        }
    }

    fn word(&mut self) -> Piece {
        let start = self.at;
        while self.text.get(self.at).is_some_and(|byte| !b" []<>|".contains(byte)) {
            self.at += 1;
        }
        let word = String::from_utf8_lossy(&self.text[start..self.at]).into_owned();
        let capital = word.bytes().any(|byte| byte.is_ascii_uppercase());
        let quoted = word.starts_with('"');
        if (capital && !word.bytes().any(|byte| byte.is_ascii_lowercase())) || quoted {
            Piece::Token(word.trim_matches('"').to_owned())
        } else {
            Piece::Word(word)
        }
    }
}

/// Adds a piece; a repeat takes what it repeats with it.
fn push_piece(pieces: &mut Vec<Piece>, piece: Piece) {
    if let Piece::Repeat(repeated) = &piece
        && pieces.len() >= repeated.len()
        && pieces[pieces.len() - repeated.len()..] == repeated[..]
    {
        pieces.truncate(pieces.len() - repeated.len());
        pieces.push(piece);
    } else if let Piece::Repeat(repeated) = piece {
        // Nothing of it stands before: all of it may be left out.
        pieces.push(Piece::Group(vec![vec![Piece::Repeat(repeated)]], true, None));
    } else {
        pieces.push(piece);
    }
}

fn sequence(pieces: &[Piece]) -> Vec<Argument> {
    let mut arguments = Vec::new();
    let mut at = 0;
    while at < pieces.len() {
        if let Piece::Token(token) = &pieces[at] {
            let values = pieces[at + 1..].iter().take_while(|piece| is_value(piece)).count();
            let children = sequence(&pieces[at + 1..at + 1 + values]);
            arguments.push(with_token(token, children));
            at += 1 + values;
        } else {
            arguments.push(one(&pieces[at]));
            at += 1;
        }
    }
    arguments
}

/// Whether a token before this piece is this piece's.
fn is_value(piece: &Piece) -> bool {
    match piece {
        Piece::Word(_) => true,
        Piece::Group(_, optional, _) => !optional,
        Piece::Repeat(repeated) => !matches!(repeated.first(), Some(Piece::Token(_))),
        Piece::Token(_) => false,
    }
}

fn with_token(token: &str, children: Vec<Argument>) -> Argument {
    let mut argument = match children.len() {
        0 if token.is_empty() => leaf("empty_string", Kind::PureToken),
        0 => leaf(&token.to_ascii_lowercase().replace(['"', '#'], ""), Kind::PureToken),
        _ => block(children),
    };
    argument.token = Some(token.to_owned());
    argument
}

fn one(piece: &Piece) -> Argument {
    match piece {
        Piece::Word(word) => value(word),
        Piece::Token(token) => with_token(token, Vec::new()),
        Piece::Repeat(repeated) => {
            let mut argument = block(sequence(repeated));
            argument.multiple = true;
            argument.multiple_token = argument.token.is_some();
            argument
        }
        Piece::Group(alternatives, optional, name) => {
            let mut argument = match alternatives.as_slice() {
                [only] => block(sequence(only)),
                several => choice(several),
            };
            if let Some(name) = name {
                argument.name.clone_from(name);
            }
            argument.optional = *optional;
            argument
        }
    }
}

/// Alternatives. `TYPE NORMAL|PUBSUB`: a token of the first that stands before another token is
/// the token of all.
fn choice(alternatives: &[Vec<Piece>]) -> Argument {
    let mut alternatives = alternatives.to_vec();
    let mut token = None;
    if let [Piece::Token(first), Piece::Token(_), ..] = alternatives[0].as_slice() {
        token = Some(first.clone());
        alternatives[0].remove(0);
    }
    let children: Vec<Argument> = alternatives.iter().map(|one| block(sequence(one))).collect();
    let known = CHOICES.iter().find(|(first, _)| *first == children[0].name);
    let name = known.map_or_else(|| joined(&children), |(_, name)| (*name).to_owned());
    Argument { token, children, ..leaf(&name, Kind::OneOf) }
}

/// One argument of several; a single one stays as it is, unless it may be left out.
fn block(mut children: Vec<Argument>) -> Argument {
    if children.len() == 1 && !children[0].optional {
        return children.remove(0);
    }
    let name = match children.first() {
        Some(first) if first.name == "protover" => "arguments".to_owned(),
        // Of the commands that choose at random: `[count [WITHVALUES]]`.
        Some(first) if first.name == "count" => "options".to_owned(),
        _ => joined(&children),
    };
    Argument { children, ..leaf(&name, Kind::Block) }
}

fn joined(children: &[Argument]) -> String {
    children.iter().map(|child| child.name.as_str()).collect::<Vec<_>>().join("_")
}

fn value(word: &str) -> Argument {
    if let Some((sign, name)) = SIGNS.iter().find(|(sign, _)| *sign == word) {
        return Argument { token: Some((*sign).to_owned()), ..leaf(name, Kind::PureToken) };
    }
    if let Some((name, kind)) = typed(word) {
        return leaf(name, kind);
    }
    let kind = TYPES.iter().find(|(_, words)| words.contains(&word));
    leaf(word, kind.map_or(Kind::String, |(kind, _)| *kind))
}

/// Types that a word may say.
const SAID: [Kind; 5] = [Kind::String, Kind::Integer, Kind::Double, Kind::Pattern, Kind::Key];

/// A word that says its type: `increment:double`.
fn typed(word: &str) -> Option<(&str, Kind)> {
    let (name, kind) = word.rsplit_once(':')?;
    Some((name, SAID.into_iter().find(|known| known.name() == kind)?))
}

/// A word of a syntax string as a person should see it: without types and groups' names.
pub fn without_type(word: &str) -> String {
    let mut parts = word.split(':');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let named = |letter: char| letter.is_ascii_lowercase() || matches!(letter, '-' | '_');
        let rest = part.trim_start_matches(named);
        let name = &part[..part.len() - rest.len()];
        if plain.ends_with(['>', ']']) || SAID.iter().any(|kind| kind.name() == name) {
            plain.push_str(rest);
        } else {
            plain.push(':');
            plain.push_str(part);
        }
    }
    plain
}

fn leaf(name: &str, kind: Kind) -> Argument {
    Argument {
        name: name.to_owned(),
        kind,
        token: None,
        key_spec: None,
        optional: false,
        multiple: false,
        multiple_token: false,
        children: Vec::new(),
    }
}

/// Key arguments belong to the key specs in order; what is left over, to the last. Patterns belong to
/// the spec of keys that can't be told, where there is one.
fn number_keys(arguments: &mut [Argument], keys: &[Key], next: &mut usize) {
    let derived = keys.iter().position(|key| key.begin == Begin::Unknown);
    for argument in arguments {
        if argument.kind == Kind::Key && !keys.is_empty() {
            argument.key_spec = Some((*next).min(keys.len() - 1));
            *next += 1;
        } else if argument.kind == Kind::Pattern
            && let Some(derived) = derived
        {
            argument.key_spec = Some(derived);
            *next = (*next).max(derived + 1);
        }
        number_keys(&mut argument.children, keys, next);
    }
}

/// Writes the tree as COMMAND DOCS has it.
pub(crate) fn reply_arguments(reply: &mut Reply<'_>, arguments: &[Argument]) {
    reply.array(arguments.len());
    for argument in arguments {
        reply_argument(reply, argument);
    }
}

fn reply_argument(reply: &mut Reply<'_>, argument: &Argument) {
    let leaf = argument.children.is_empty();
    let flags = [
        (argument.optional, "optional"),
        (argument.multiple, "multiple"),
        (argument.multiple_token, "multiple_token"),
    ];
    let flagged = flags.iter().filter(|(set, _)| *set).count();
    let fields = 2
        + usize::from(leaf)
        + usize::from(argument.key_spec.is_some())
        + usize::from(argument.token.is_some())
        + usize::from(flagged > 0)
        + usize::from(!leaf);
    reply.map(fields);
    reply.bulk(b"name");
    reply.bulk(argument.name.as_bytes());
    reply.bulk(b"type");
    reply.bulk(argument.kind.name().as_bytes());
    if leaf {
        reply.bulk(b"display_text");
        reply.bulk(argument.name.as_bytes());
    }
    if let Some(index) = argument.key_spec {
        reply.bulk(b"key_spec_index");
        reply.count(index);
    }
    if let Some(token) = &argument.token {
        reply.bulk(b"token");
        reply.bulk(token.as_bytes());
    }
    if flagged > 0 {
        reply.bulk(b"flags");
        reply.set(flagged);
        for (_, name) in flags.iter().filter(|(set, _)| *set) {
            reply.simple(name);
        }
    }
    if !leaf {
        reply.bulk(b"arguments");
        reply_arguments(reply, &argument.children);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A short form: name:type, token=..., flags as signs.
    fn shown(argument: &Argument) -> String {
        let mut text = format!("{}:{}", argument.name, argument.kind.name());
        if let Some(token) = &argument.token {
            text = format!("{token}={text}");
        }
        if !argument.children.is_empty() {
            let children: Vec<_> = argument.children.iter().map(shown).collect();
            text.push_str(&format!("({})", children.join(" ")));
        }
        for (set, sign) in
            [(argument.optional, "?"), (argument.multiple, "*"), (argument.multiple_token, "+")]
        {
            if set {
                text.push_str(sign);
            }
        }
        text
    }

    fn tree(syntax: &str) -> String {
        let arguments = parse(syntax, &[Key::at(1)]).unwrap();
        arguments.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn notation_becomes_a_tree() {
        assert_eq!(
            tree("key value [NX|XX] [GET] [EX seconds|KEEPTTL]"),
            "key:key value:string condition:oneof(NX=nx:pure-token XX=xx:pure-token)? \
             GET=get:pure-token? \
             expiration:oneof(EX=seconds:integer KEEPTTL=keepttl:pure-token)?"
        );
        assert_eq!(tree("key value [key value ...]"), "key_value:block(key:key value:string)*");
        assert_eq!(tree("key [key ...]"), "key:key*");
        assert_eq!(tree("[section [section ...]]"), "section:string?*");
        assert_eq!(
            tree("[protover [AUTH username password] [SETNAME clientname]]"),
            "arguments:block(protover:integer \
             AUTH=username_password:block(username:string password:string)? \
             SETNAME=clientname:string?)?"
        );
        assert_eq!(
            tree("<ON|OFF> [PREFIX prefix [PREFIX prefix ...]]"),
            "on_off:oneof(ON=on:pure-token OFF=off:pure-token) PREFIX=prefix:string?*+"
        );
        assert_eq!(
            tree("[TYPE NORMAL|PUBSUB] [ID client-id [client-id ...]]"),
            "TYPE=normal_pubsub:oneof(NORMAL=normal:pure-token PUBSUB=pubsub:pure-token)? \
             ID=client-id:integer?*"
        );
        assert_eq!(tree("key increment:double"), "key:key increment:double");
        assert_eq!(tree(""), "");
    }

    #[test]
    fn every_row_keeps_to_the_notation() {
        fn check<H>(rows: &[crate::command::spec::Command<H>]) {
            for row in rows {
                assert!(parse(row.spec.syntax, row.spec.keys).is_ok(), "{}", row.spec.name);
                check(row.subcommands);
            }
        }
        for family in crate::command::FAMILIES {
            check(family);
        }
        assert_eq!(parse("[key", &[]), Err(Malformed(4)));
        assert_eq!(parse("key]", &[]), Err(Malformed(3)));
        assert_eq!(parse("[a||b]", &[]), Err(Malformed(5)));
    }
}
