//! `user default`, the one line of access control lists that is understood: every file that Redis (from 6)
//! or Valkey has rewritten has it, whether anybody uses such lists or not.
//!
//! Its words are obeyed in their order, beginning with a user that may nothing, as upstream does. What they
//! come to must be a user that may everything, with a password or without: that is what `requirepass`
//! says. A hash can't be turned into a password, so `requirepass` must be in the file as well, as it is where
//! upstream wrote the hash. Everything else is refused: a right that is taken away here must not be there
//! again without a word.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

/// What a user must give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Entry {
    /// No password is right.
    #[default]
    Closed,
    /// Nothing.
    Open,
    /// This password.
    Password(Vec<u8>),
    /// A password with this SHA-256, in hexadecimal.
    Hash(Vec<u8>),
}

/// The line, as far as it has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DefaultUser {
    on: bool,
    keys: bool,
    /// Nothing where no word was about channels: Redis 6.0 has no such words and writes none.
    channels: Option<bool>,
    commands: bool,
    entry: Entry,
}

const UNSUPPORTED: &str = "access control lists are not there yet";
const TWO_PASSWORDS: &str = "'user default' with several passwords is not supported by Redstart: access \
                             control lists are not there yet";
const OTHER_PASSWORD: &str = "'user default' and 'requirepass' give different passwords: write the \
                              one to use as 'requirepass', and remove the 'user' line";
const OPEN: &str =
    "'user default' says nopass, but 'requirepass' gives a password: write one of the two";
const HASH_ALONE: &str = "'user default' gives only the hash of a password: write the password as \
                          'requirepass' as well, or instead";

impl DefaultUser {
    /// Reads the words behind `user default`.
    ///
    /// # Errors
    /// They come to anything but a user that may everything.
    pub(crate) fn parse(words: &[&[u8]]) -> Result<Self, Cow<'static, str>> {
        let mut user = Self::default();
        for word in words {
            user.word(word)?;
        }
        let lacks = match &user {
            Self { on: false, .. } => "that is off",
            Self { keys: false, .. } => "without ~*",
            Self { channels: Some(false), .. } => "without &*",
            Self { commands: false, .. } => "without +@all",
            Self { entry: Entry::Closed, .. } => "without nopass and without a password",
            _ => return Ok(user),
        };
        Err(unsupported(lacks))
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Cow<'static, str>> {
        match word.to_ascii_lowercase().as_slice() {
            b"on" => self.on = true,
            b"off" => self.on = false,
            // These change nothing here: all users' payloads are checked (`sanitize-dump-payload`), and there
            // are no selectors.
            b"sanitize-payload" | b"skip-sanitize-payload" | b"clearselectors" => {}
            b"~*" | b"allkeys" => self.keys = true,
            b"resetkeys" => self.keys = false,
            b"&*" | b"allchannels" => self.channels = Some(true),
            b"resetchannels" => self.channels = Some(false),
            b"+@all" | b"allcommands" => self.commands = true,
            b"-@all" | b"nocommands" => self.commands = false,
            b"nopass" => self.entry = Entry::Open,
            b"resetpass" => self.entry = Entry::Closed,
            b"reset" => *self = Self { channels: Some(false), ..Self::default() },
            _ => match word.split_first() {
                Some((b'>', password)) if !password.is_empty() => {
                    self.password(Entry::Password(password.to_vec()))?;
                }
                Some((b'#', hash)) if is_hash(hash) => self.password(Entry::Hash(hash.to_vec()))?,
                Some((b'>' | b'<' | b'#' | b'!', _)) => {
                    return Err(unsupported("with such a word about a password"));
                }
                _ => {
                    let word = String::from_utf8_lossy(word);
                    return Err(unsupported(&format!("with '{word}'")));
                }
            },
        }
        Ok(())
    }

    fn password(&mut self, entry: Entry) -> Result<(), Cow<'static, str>> {
        let is_other = match (&self.entry, &entry) {
            (Entry::Closed | Entry::Open, _) => false,
            (Entry::Password(password), Entry::Hash(hash))
            | (Entry::Hash(hash), Entry::Password(password)) => hash_of(password) != *hash,
            (old, new) => old != new,
        };
        if is_other {
            return Err(TWO_PASSWORDS.into());
        }
        if !matches!(self.entry, Entry::Password(_)) {
            self.entry = entry;
        }
        Ok(())
    }

    /// The password that clients must give, `requirepass` being the one that the whole configuration
    /// gives, if any.
    ///
    /// # Errors
    /// The two don't say the same.
    pub(crate) fn agreed(self, requirepass: Vec<u8>) -> Result<Vec<u8>, &'static str> {
        match self.entry {
            Entry::Open if !requirepass.is_empty() => Err(OPEN),
            Entry::Password(password) if requirepass.is_empty() => Ok(password),
            Entry::Password(password) if password != requirepass => Err(OTHER_PASSWORD),
            Entry::Hash(_) if requirepass.is_empty() => Err(HASH_ALONE),
            Entry::Hash(hash) if hash_of(&requirepass) != hash => Err(OTHER_PASSWORD),
            _ => Ok(requirepass),
        }
    }
}

fn unsupported(what: &str) -> Cow<'static, str> {
    format!("'user default' {what} is not supported by Redstart: {UNSUPPORTED}").into()
}

fn is_hash(hash: &[u8]) -> bool {
    hash.len() == 64 && hash.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

fn hash_of(password: &[u8]) -> Vec<u8> {
    format!("{:x}", Sha256::digest(password)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `foo`.
    const FOO: &str = "#2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

    /// What comes of the line's words and of `requirepass`.
    fn outcome(line: &str, requirepass: &str) -> Result<String, String> {
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        let user = DefaultUser::parse(&words).map_err(Cow::into_owned)?;
        let agreed = user.agreed(requirepass.as_bytes().to_vec()).map_err(str::to_owned)?;
        Ok(String::from_utf8(agreed).unwrap())
    }

    #[test]
    fn a_user_that_may_everything_is_requirepass() {
        let hashed = &format!("on sanitize-payload {FOO} ~* &* +@all");
        for (line, requirepass, wanted) in [
            ("on nopass ~* &* +@all", "", ""),
            ("on nopass ~* +@all", "", ""),
            ("on nopass sanitize-payload ~* &* +@all", "", ""),
            ("reset ON NoPass AllKeys allchannels AllCommands skip-sanitize-payload", "", ""),
            ("off -@all resetkeys resetchannels >x resetpass on nopass ~* &* +@all", "", ""),
            (hashed, "foo", "foo"),
            (&format!("{hashed} >foo"), "", "foo"),
            (&format!(">foo {hashed}"), "foo", "foo"),
            ("on nopass >foo ~* &* +@all", "", "foo"),
            ("on >foo ~* &* +@all", "foo", "foo"),
        ] {
            assert_eq!(outcome(line, requirepass), Ok(wanted.to_owned()), "{line}");
        }
    }

    #[test]
    fn everything_else_is_refused_and_tells_no_secret() {
        let hashed = &format!("on {FOO} ~* &* +@all");
        for (line, requirepass, wanted) in [
            ("nopass ~* &* +@all", "", "that is off"),
            ("on nopass ~* &* +@all off", "", "that is off"),
            ("on nopass &* +@all", "", "without ~*"),
            ("on nopass ~* &* +@all resetkeys", "", "without ~*"),
            ("on nopass ~* resetchannels +@all", "", "without &*"),
            ("reset on nopass ~* +@all", "", "without &*"),
            ("on nopass ~* &*", "", "without +@all"),
            ("on nopass ~* &* +@all -@all", "", "without +@all"),
            ("on ~* &* +@all", "", "without nopass"),
            ("on nopass resetpass ~* &* +@all", "", "without nopass"),
            ("on nopass ~* &* +@all -flushall", "", "with '-flushall'"),
            ("on nopass ~x* &* +@all", "", "with '~x*'"),
            ("on nopass ~* &* +@all (~x +get)", "", "with '(~x'"),
            ("on >secret >foo ~* &* +@all", "", "several passwords"),
            (&format!("on >secret {FOO} ~* &* +@all"), "", "several passwords"),
            ("on <secret nopass ~* &* +@all", "", "about a password"),
            ("on #secret ~* &* +@all", "", "about a password"),
            ("on > ~* &* +@all", "", "about a password"),
            ("on nopass ~* &* +@all", "secret", "says nopass"),
            ("on >foo ~* &* +@all", "secret", "different passwords"),
            (hashed, "secret", "different passwords"),
            (hashed, "", "write the password as 'requirepass'"),
        ] {
            let error = outcome(line, requirepass).expect_err(line);
            assert!(error.contains(wanted) && !error.contains("secret"), "{line}: {error}");
        }
    }
}
