//! Rounds in which clients fight over a few keys: who is read first decides, so that each server's
//! outcome is judged by itself ([`crate::judge`]).
//!
//! Every element is pushed once only, and no command drops one or overwrites what holds some: so that it
//! is known at the end where each of them must be.

use crate::plan::{Act, Command, Hold, Leave, Round, Stage, command};
use crate::support::random::Random;

const LISTS: [&str; 3] = ["a", "b", "c"];
const ZSETS: [&str; 2] = ["y", "z"];

/// How long blocking commands of a round wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// Without an end: nothing happens by itself between two stages.
    Endless,
    /// Some for a few milliseconds.
    Mixed,
    /// All for a few milliseconds, in a round with CLIENT PAUSE, in which nobody is unblocked.
    Short,
}

struct Maker {
    random: Random,
    clients: usize,
    waits: Waits,
    /// Number of the next element, and of the next echo.
    next: usize,
    /// Those that send no more.
    gone: Vec<bool>,
}

/// The round of a seed.
pub fn round(seed: u64) -> Round {
    let mut random = Random::new(seed);
    let clients = random.between(3, 6) as usize;
    let waits = random.pick(&[Waits::Endless, Waits::Endless, Waits::Mixed, Waits::Short]);
    let mut maker = Maker { random, clients, waits, next: 0, gone: vec![false; clients] };
    let count = maker.random.between(2, 8);
    let stages = (0..count).map(|_| maker.stage()).collect();
    let quiescent = waits == Waits::Endless;
    Round { clients, stages, unblocks: waits != Waits::Short, quiescent }
}

impl Maker {
    fn stage(&mut self) -> Stage {
        let hold = match self.random.below(10) {
            0 => Hold::Nothing,
            1 => Hold::Asleep,
            _ => Hold::Stopped,
        };
        let mut order: Vec<usize> =
            (0..self.clients).filter(|client| !self.gone[*client]).collect();
        for index in (1..order.len()).rev() {
            order.swap(index, self.random.below(index + 1));
        }
        let mut acts = Vec::new();
        for client in order {
            if self.random.chance(25) {
                continue;
            }
            if self.random.chance(6) {
                self.end(client, &mut acts);
                continue;
            }
            let mut commands = Vec::new();
            for _ in 0..=self.random.below(6) {
                self.say(client, &mut commands);
            }
            acts.push((client, self.send(commands)));
        }
        Stage { hold, acts }
    }

    fn send(&mut self, commands: Vec<Command>) -> Act {
        let count = if self.random.chance(30) { 1 + self.random.below(3) } else { 0 };
        let mut cuts: Vec<usize> = (0..count).map(|_| self.random.below(1000)).collect();
        cuts.sort_unstable();
        Act::Send { commands, cuts, apart: false }
    }

    /// A client's end, in one of the ways that there are.
    fn end(&mut self, client: usize, acts: &mut Vec<(usize, Act)>) {
        self.gone[client] = true;
        let how = self.random.below(6);
        let mut commands = Vec::new();
        if how != 0 {
            for _ in 0..self.random.below(4) {
                self.say(client, &mut commands);
            }
        }
        if how == 1 {
            // With replies off, QUIT leaves redis-server's side of the connection open for ever.
            commands.extend([command("CLIENT REPLY ON"), command("QUIT")]);
        }
        if how == 2 && self.random.chance(50) {
            // More than the sockets hold, so that it is still owed when the end is known.
            commands.push(command(format!("SETRANGE huge{client} 300000 x")));
            commands.extend(vec![command(format!("GET huge{client}")); 10]);
        }
        if !commands.is_empty() {
            acts.push((client, self.send(commands)));
        }
        match how {
            1 => {}
            2..=3 => acts.push((client, Act::HalfClose)),
            _ => {
                let how = self.random.pick(&[Leave::Close, Leave::Unread, Leave::Abort]);
                acts.push((client, Act::Leave(how)));
            }
        }
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn say(&mut self, client: usize, commands: &mut Vec<Command>) {
        let line = match self.random.below(40) {
            0..=17 => self.about_data(),
            18..=25 => format!("ECHO c{client}-{}", self.number()),
            26..=27 => format!("SET p{client} {}", self.number()),
            28 => format!("GET p{client}"),
            29..=30 => {
                let how = self.random.pick(&["SKIP", "SKIP", "OFF", "ON"]);
                commands.push(command(format!("CLIENT REPLY {how}")));
                self.about_data()
            }
            31 => "CLIENT REPLY ON".into(),
            32 => self.random.pick(&["HELLO 3", "HELLO 2", "RESET"]).into(),
            33 if self.waits == Waits::Endless => "WAIT 0 5".into(),
            33 => "WAIT 1 3".into(),
            34..=35 => self.control(),
            _ => return self.transaction(client, commands),
        };
        commands.push(command(line));
    }

    /// Something that concerns another client, or all.
    fn control(&mut self) -> String {
        let other = self.random.below(self.clients);
        if self.random.chance(15) {
            return format!("CLIENT KILL ID {{{other}}}");
        }
        if self.waits != Waits::Short {
            let how = self.random.pick(&["", "TIMEOUT", "ERROR"]);
            return format!("CLIENT UNBLOCK {{{other}}} {how}");
        }
        match self.random.below(5) {
            0..=1 => format!("CLIENT PAUSE {} ALL", self.random.between(1, 8)),
            2..=3 => format!("CLIENT PAUSE {} WRITE", self.random.between(1, 8)),
            _ => "CLIENT UNPAUSE".into(),
        }
    }

    fn transaction(&mut self, client: usize, commands: &mut Vec<Command>) {
        if self.random.chance(25) {
            commands.push(command(format!("WATCH {} y", self.random.pick(&LISTS))));
        }
        commands.push(command("MULTI"));
        for _ in 0..self.random.below(4) {
            let line = match self.random.below(4) {
                0 => format!("ECHO c{client}-{}", self.number()),
                _ => self.about_data(),
            };
            commands.push(command(line));
        }
        commands.push(command(if self.random.chance(85) { "EXEC" } else { "DISCARD" }));
    }

    fn about_data(&mut self) -> String {
        match self.random.below(10) {
            0..=3 => self.push(),
            4..=7 => self.blocking(),
            _ => self.pop(),
        }
    }

    fn push(&mut self) -> String {
        let list = self.random.pick(&LISTS);
        let side = self.random.pick(&["LPUSH", "RPUSH"]);
        let count = 1 + self.random.below(3);
        if self.random.chance(30) {
            let zset = self.random.pick(&ZSETS);
            let members =
                (0..count).map(|_| format!("{} e{}", self.random.below(5), self.number()));
            return format!("ZADD {zset} {}", members.collect::<Vec<_>>().join(" "));
        }
        let elements = (0..count).map(|_| format!("e{}", self.number()));
        format!("{side} {list} {}", elements.collect::<Vec<_>>().join(" "))
    }

    fn pop(&mut self) -> String {
        let list = self.random.pick(&LISTS);
        let zset = self.random.pick(&ZSETS);
        match self.random.below(7) {
            0 => format!("LPOP {list}"),
            1 => format!("RPOP {list}"),
            2 => format!("LMPOP 2 {list} {} LEFT COUNT 2", self.random.pick(&LISTS)),
            3 => format!("ZPOPMIN {zset}"),
            4 => format!("ZPOPMAX {zset}"),
            5 => format!("ZMPOP 2 {zset} {} MIN COUNT 2", self.random.pick(&ZSETS)),
            _ => format!("LMOVE {list} {} LEFT RIGHT", self.random.pick(&LISTS)),
        }
    }

    fn keys(&mut self, of: &[&str]) -> (usize, String) {
        let count = 1 + self.random.below(3);
        let keys: Vec<&str> = (0..count).map(|_| self.random.pick(of)).collect();
        (count, keys.join(" "))
    }

    fn blocking(&mut self) -> String {
        let short = self.random.pick(&["0.001", "0.003", "0.008"]);
        let timeout = match self.waits {
            Waits::Endless => "0",
            Waits::Short => short,
            Waits::Mixed => self.random.pick(&["0", short]),
        };
        let (from, to) = (self.random.pick(&LISTS), self.random.pick(&LISTS));
        let side = self.random.pick(&["LEFT", "RIGHT"]);
        let (lists_count, lists) = self.keys(&LISTS);
        let (zsets_count, zsets) = self.keys(&ZSETS);
        match self.random.below(10) {
            0..=1 => format!("BLPOP {lists} {timeout}"),
            2..=3 => format!("BRPOP {lists} {timeout}"),
            4 => format!("BLMOVE {from} {to} {side} RIGHT {timeout}"),
            5 => format!("BRPOPLPUSH {from} {to} {timeout}"),
            6 => format!("BLMPOP {timeout} {lists_count} {lists} {side} COUNT 2"),
            7 => format!("BZPOPMIN {zsets} {timeout}"),
            8 => format!("BZPOPMAX {zsets} {timeout}"),
            _ => format!("BZMPOP {timeout} {zsets_count} {zsets} MAX COUNT 2"),
        }
    }
}
