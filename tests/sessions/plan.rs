//! What a round is: stages in which clients act, made from a seed before anything is sent, so that the
//! same round can be played on several servers and printed when they disagree.

use std::fmt;

/// A command's words; `{3}` stands for the number that the server gave to client 3.
pub type Command = Vec<String>;

/// How the server is kept from reading while a stage's bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It reads as bytes come.
    Nothing,
    /// SIGSTOP: all that the stage sends meets in the first look at the sockets after SIGCONT.
    Stopped,
    /// DEBUG SLEEP of another connection: most of it meets, and within a tick that has begun.
    Asleep,
}

/// How a client ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Reads what has come, then closes.
    Close,
    /// Closes with replies unread, which resets the connection where there are any.
    Unread,
    /// Resets the connection.
    Abort,
}

/// What one client does in a stage.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends commands in one write, or in several that are cut at these per milles of the bytes. With
    /// `apart`, the server is known to have read each piece before the next is sent.
    Send { commands: Vec<Command>, cuts: Vec<usize>, apart: bool },
    /// Sends no more, but goes on reading.
    HalfClose,
    /// Ends the connection.
    Leave(Leave),
    /// Nothing until the server says that the client waits no longer.
    Settle,
}

/// What happens at once. After it, the server has read all that was sent.
#[derive(Clone, Debug)]
pub struct Stage {
    /// What keeps the server from reading meanwhile.
    pub hold: Hold,
    /// Who does what, in the order of sending.
    pub acts: Vec<(usize, Act)>,
}

/// A round's whole script.
#[derive(Clone, Debug)]
pub struct Round {
    /// How many clients there are.
    pub clients: usize,
    /// What they do.
    pub stages: Vec<Stage>,
    /// Whether those that still wait at the end are unblocked. Not in rounds with CLIENT PAUSE:
    /// redis-server 7.0 crashes on CLIENT UNBLOCK of a client that it has postponed.
    pub unblocks: bool,
    /// Whether nothing happens by itself between stages: no timeout ends.
    pub quiescent: bool,
}

impl Round {
    /// The commands of a client in the order of sending.
    pub fn sent_by(&self, client: usize) -> impl Iterator<Item = &Command> {
        let acts = self.stages.iter().flat_map(|stage| &stage.acts);
        acts.filter(move |(who, _)| *who == client).flat_map(|(_, act)| match act {
            Act::Send { commands, .. } => commands.as_slice(),
            _ => &[],
        })
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} clients", self.clients)?;
        for (number, stage) in self.stages.iter().enumerate() {
            let hold = match stage.hold {
                Hold::Nothing => "",
                Hold::Stopped => " (all of it meets: SIGSTOP)",
                Hold::Asleep => " (during DEBUG SLEEP)",
            };
            writeln!(f, "  stage {number}{hold}")?;
            for (client, act) in &stage.acts {
                match act {
                    Act::Send { commands, cuts, apart } => {
                        let lines: Vec<String> = commands.iter().map(|c| c.join(" ")).collect();
                        let cut = match (cuts.len(), apart) {
                            (0, _) => String::new(),
                            (count, false) => format!(" [{} writes]", count + 1),
                            (count, true) => format!(" [{} writes, read apart]", count + 1),
                        };
                        writeln!(f, "    c{client}: {}{cut}", lines.join(" | "))?;
                    }
                    Act::HalfClose => writeln!(f, "    c{client} sends no more (SHUT_WR)")?,
                    Act::Leave(how) => writeln!(f, "    c{client} leaves: {how:?}")?,
                    Act::Settle => writeln!(f, "    c{client} waits no longer")?,
                }
            }
        }
        Ok(())
    }
}

/// A command from words between spaces.
pub fn command(line: impl AsRef<str>) -> Command {
    line.as_ref().split_whitespace().map(str::to_owned).collect()
}

/// A command that runs a script with one key.
pub fn script(call: &str, text: &str, key: &str) -> Command {
    [call, text, "1", key].map(str::to_owned).to_vec()
}
