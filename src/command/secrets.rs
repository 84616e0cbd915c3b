//! Which of a command's arguments are secrets, and the arguments as they may be shown.
//!
//! Whatever shows arguments to people (SLOWLOG, COMMANDLOG, MONITOR) shows
//! those that [`Secrets::shown`] gives. It hides rather too much than too little: the word behind a
//! keyword is hidden although the command may be wrong otherwise, since it may still be a password.

use std::borrow::Cow;

use crate::command::args::Args;

/// What stands in a secret's place; upstream's text.
const REDACTED: &[u8] = b"(redacted)";

/// A command's secret arguments, as its row says them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// None.
    None,
    /// All from an index on.
    From(usize),
    /// So many behind each keyword, searched from an index on.
    Behind {
        /// Where the options begin.
        from: usize,
        /// The keywords, and how many arguments behind each.
        words: &'static [(&'static str, usize)],
    },
    /// Pairs of a setting's name and its value from an index on: the values of secret settings.
    Settings(usize),
}

impl Secrets {
    /// The first `most` arguments as they may be shown. `is_secret_setting` says which settings are
    /// secrets.
    pub(crate) fn shown<'a>(
        self,
        args: Args<'a>,
        most: usize,
        is_secret_setting: impl Fn(&[u8]) -> bool,
    ) -> Vec<Cow<'a, [u8]>> {
        let mut shown: Vec<Cow<'a, [u8]>> = args.from(0).take(most).map(Cow::Borrowed).collect();
        let given = shown.len();
        let mut hide = |index: usize| {
            if let Some(arg) = shown.get_mut(index) {
                *arg = Cow::Borrowed(REDACTED);
            }
        };
        match self {
            Self::None => {}
            Self::From(first) => (first..given).for_each(hide),
            Self::Behind { from, words } => {
                for (word, count) in words {
                    let keywords = (from..given).filter(|index| args.is(*index, word));
                    keywords.flat_map(|index| index + 1..=index + count).for_each(&mut hide);
                }
            }
            Self::Settings(first) => {
                for name in (first..given).step_by(2) {
                    if is_secret_setting(args.at(name)) {
                        hide(name + 1);
                    }
                }
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::request::Range;

    fn shown(secrets: Secrets, words: &str) -> String {
        let mut ranges = Vec::new();
        let mut at = 0;
        for word in words.split(' ') {
            ranges.push(Range::new(at, word.len()));
            at += word.len() + 1;
        }
        let args = Args::new(words.as_bytes(), &ranges);
        let shown =
            secrets.shown(args, usize::MAX, |name| name.eq_ignore_ascii_case(b"requirepass"));
        String::from_utf8(shown.join(&b' ')).expect("text")
    }

    #[test]
    fn secrets_are_hidden_wherever_they_may_be() {
        assert_eq!(shown(Secrets::None, "SET AUTH x"), "SET AUTH x");
        assert_eq!(shown(Secrets::From(1), "AUTH x y"), "AUTH (redacted) (redacted)");
        let hello = Secrets::Behind { from: 2, words: &[("AUTH", 2)] };
        assert_eq!(shown(hello, "HELLO 3 auth u p"), "HELLO 3 auth (redacted) (redacted)");
        assert_eq!(
            shown(hello, "HELLO 3 SETNAME n AUTH u p SETNAME m"),
            "HELLO 3 SETNAME n AUTH (redacted) (redacted) SETNAME m"
        );
        // A name that is the keyword must not shift what is hidden.
        assert_eq!(
            shown(hello, "HELLO 3 SETNAME AUTH AUTH u p"),
            "HELLO 3 SETNAME AUTH (redacted) (redacted) (redacted)"
        );
        assert_eq!(shown(hello, "HELLO 3 AUTH p"), "HELLO 3 AUTH (redacted)");
        let set = Secrets::Settings(2);
        assert_eq!(
            shown(set, "CONFIG SET hz 1 RequirePass p x requirepass"),
            "CONFIG SET hz 1 RequirePass (redacted) x requirepass"
        );
    }
}
