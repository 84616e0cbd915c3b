//! The names that commands can be called by, as `rename-command` lines change them one by one.
//!
//! A line that names no command, or takes a name that is in use, is refused where it stands, as
//! upstream does: a server that went on would leave a command reachable that was to be hidden.
//! Commands of upstream that Redstart lacks count as there, so that their lines stay valid.

use std::collections::HashSet;

/// The names in use, in lower case.
#[derive(Clone, Debug, Default)]
pub struct CommandNames(HashSet<Vec<u8>>);

impl CommandNames {
    /// Gives a command another name, or none where that is empty.
    ///
    /// # Errors
    /// Upstream's text: there is no such command, or the name is taken.
    pub(crate) fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), &'static str> {
        if !self.0.remove(&from.to_ascii_lowercase()) {
            return Err("No such command in rename-command");
        }
        if !to.is_empty() && !self.0.insert(to.to_ascii_lowercase()) {
            return Err("Target command name already exists");
        }
        Ok(())
    }
}

impl<'a> FromIterator<&'a str> for CommandNames {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        Self(names.into_iter().map(|name| name.to_ascii_lowercase().into_bytes()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_once_and_only_to_what_is_there() {
        let names: CommandNames = ["GET", "SET", "DEL"].into_iter().collect();
        let after = |renames: &[(&str, &str)]| {
            let mut names = names.clone();
            let rename = |(from, to): &(&str, &str)| names.rename(from.as_bytes(), to.as_bytes());
            renames.iter().try_for_each(rename)
        };
        let (none, taken) =
            (Err("No such command in rename-command"), Err("Target command name already exists"));
        assert_eq!(after(&[("get", "fetch"), ("Fetch", "take"), ("take", "GET")]), Ok(()));
        assert_eq!(after(&[("GET", "get"), ("get", "")]), Ok(()));
        assert_eq!(after(&[("get", ""), ("set", "get")]), Ok(()));
        assert_eq!(after(&[("nosuch", "x")]), none);
        assert_eq!(after(&[("", "x")]), none);
        assert_eq!(after(&[("get", "x"), ("get", "y")]), none);
        assert_eq!(after(&[("get", ""), ("get", "y")]), none);
        assert_eq!(after(&[("get", "SET")]), taken);
        assert_eq!(after(&[("get", "x"), ("set", "X")]), taken);
        assert_eq!(after(&[("set", "get"), ("get", "x")]), taken);
    }
}
