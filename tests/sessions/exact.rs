//! Rounds whose outcome does not depend on which of several clients is read first, so that two servers
//! must come to the same replies, byte by byte, and the same data.
//!
//! A client's ordinary commands are about keys of its own. Clients touch each other in these ways only,
//! each with a key of its own that is used once: one takes from a key to which another gives in the
//! same stage (whoever is first, the element goes from one to the other, and the giver's reply is the
//! same); one that is known to be parked is served, unblocked or killed by one other. Within a stage
//! clients are ranked, and givers stand below their takers: nobody waits for each other in a circle.

use crate::plan::{Act, Command, Hold, Leave, Round, Stage, command, script};
use crate::support::random::Random;

/// Stages that a round may have.
const STAGES: (i64, i64) = (3, 9);

/// What a script may say of itself: CLIENT PAUSE and transactions go by it.
const HEADS: [&str; 6] = [
    "",
    "",
    "#!lua\n",
    "#!lua flags=no-writes\n",
    "#!lua flags=no-writes,allow-stale\n",
    "#!lua flags=allow-oom\n",
];

/// What is known of a client between two stages.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Its commands run at once.
    Free,
    /// It may wait for a short timeout.
    Timed,
    /// It waits for this key until it is served.
    Parked(String),
    /// It speaks RESP2 and listens to its own channel.
    Subscribed,
    /// It sends no more.
    Gone,
}

struct Maker {
    random: Random,
    places: Vec<Place>,
    /// Number of the next key that is used once.
    fresh: usize,
    /// The round has CLIENT PAUSE, and nobody parked beyond a stage.
    pausing: bool,
}

/// The round of a seed.
pub fn round(seed: u64) -> Round {
    let mut random = Random::new(seed);
    let clients = random.between(3, 6) as usize;
    let pausing = random.chance(25);
    let mut maker = Maker { random, places: vec![Place::Free; clients], fresh: 0, pausing };
    let count = maker.random.between(STAGES.0, STAGES.1);
    let stages = (0..count).filter_map(|_| maker.stage()).collect();
    Round { clients, stages, unblocks: !pausing, quiescent: false }
}

/// Every third key holds a sorted set.
fn is_zset(key: &str) -> bool {
    key.trim_start_matches('q').parse::<usize>().is_ok_and(|number| number % 3 == 0)
}

impl Maker {
    fn stage(&mut self) -> Option<Stage> {
        match self.random.below(20) {
            0..=2 => self.alone(),
            13..=15 if !self.pausing => self.park(),
            16..=17 if !self.pausing => self.settle(),
            18 => self.subscribe(),
            19 if !self.pausing => self.leave(),
            _ => Some(self.meeting()),
        }
    }

    fn who(&mut self, wanted: impl Fn(&Place) -> bool) -> Option<usize> {
        let found: Vec<usize> =
            (0..self.places.len()).filter(|client| wanted(&self.places[*client])).collect();
        (!found.is_empty()).then(|| self.random.pick(&found))
    }

    /// Commands of this one run in this stage, whatever others do.
    fn is_ready(&self, client: usize) -> bool {
        match self.places[client] {
            Place::Free => true,
            Place::Timed => self.pausing,
            _ => false,
        }
    }

    fn send(&mut self, commands: Vec<Command>, apart: bool) -> Act {
        let count = if self.random.chance(30) { 1 + self.random.below(3) } else { 0 };
        let mut cuts: Vec<usize> = (0..count).map(|_| self.random.below(1000)).collect();
        cuts.sort_unstable();
        Act::Send { commands, cuts, apart: apart && count > 0 }
    }

    fn fresh(&mut self) -> String {
        self.fresh += 1;
        format!("q{}", self.fresh)
    }

    /// One client, and nothing else.
    fn alone(&mut self) -> Option<Stage> {
        let client = self.who(|place| *place != Place::Gone)?;
        let mut commands = self.chatter(client, 8);
        if self.places[client] == Place::Free && self.random.chance(30) {
            commands.extend(self.timed(client));
            commands.extend(self.chatter(client, 3));
            self.places[client] = Place::Timed;
        }
        let apart = self.random.chance(50);
        let act = self.send(commands, apart);
        Some(Stage { hold: Hold::Nothing, acts: vec![(client, act)] })
    }

    /// Many clients at once.
    fn meeting(&mut self) -> Stage {
        let count = self.places.len();
        let mut ranks: Vec<usize> = (0..count).collect();
        for index in (1..count).rev() {
            ranks.swap(index, self.random.below(index + 1));
        }
        let mut chunks: Vec<Vec<Command>> = (0..count)
            .map(|client| {
                let silent = self.places[client] == Place::Gone || self.random.chance(35);
                if silent { Vec::new() } else { self.chatter(client, 4) }
            })
            .collect();
        let mut ready: Vec<usize> =
            ranks.iter().copied().filter(|client| self.is_ready(*client)).collect();
        let killed = self.parked_meet(&ready, &mut chunks);
        if let Some(first) = ready.first().filter(|_| !self.pausing && self.random.chance(30)) {
            chunks[*first].push(self.publish());
        }
        for _ in 0..self.random.below(4) {
            if ready.len() < 2 {
                break;
            }
            let taker = 1 + self.random.below(ready.len() - 1);
            let giver = self.random.below(taker);
            let (giver, taker) = (ready[giver], ready[taker]);
            let key = self.fresh();
            self.take(taker, &key, &mut chunks[taker]);
            let gift = self.gift(giver, &key, &mut chunks[giver]);
            chunks[giver].push(gift);
            for client in [giver, taker] {
                let more = self.chatter(client, 3);
                chunks[client].extend(more);
            }
        }
        if self.pausing {
            self.pause(&mut chunks);
        }
        ready.retain(|client| self.places[*client] == Place::Free || self.pausing);
        for client in ready {
            if self.random.chance(20) {
                chunks[client].extend(self.timed(client));
                let more = self.chatter(client, 3);
                chunks[client].extend(more);
                self.places[client] = Place::Timed;
            } else if self.random.chance(4) {
                // With replies off, QUIT leaves redis-server's side of the connection open for ever.
                chunks[client].extend([command("CLIENT REPLY ON"), command("QUIT")]);
                let more = self.chatter(client, 2);
                chunks[client].extend(more);
                self.places[client] = Place::Gone;
            }
        }
        let hold = match self.random.below(10) {
            0..=1 => Hold::Nothing,
            2 => Hold::Asleep,
            _ => Hold::Stopped,
        };
        let mut acts = Vec::new();
        for client in ranks.into_iter().rev() {
            let commands = std::mem::take(&mut chunks[client]);
            if !commands.is_empty() && !killed.contains(&client) {
                acts.push((client, self.send(commands, false)));
            }
        }
        if self.random.chance(50) {
            acts.reverse();
        }
        Stage { hold, acts }
    }

    /// What happens to the parked: some are served, unblocked or killed by those that certainly run,
    /// before these take anything. Gives the killed.
    fn parked_meet(&mut self, ready: &[usize], chunks: &mut [Vec<Command>]) -> Vec<usize> {
        let mut killed = Vec::new();
        for parked in 0..self.places.len() {
            let Place::Parked(key) = self.places[parked].clone() else { continue };
            if ready.is_empty() {
                break;
            }
            let giver = self.random.pick(ready);
            let (command, place) = match self.random.below(20) {
                0..=7 => continue,
                8..=14 => (self.gift(giver, &key, &mut chunks[giver]), Place::Free),
                15 => (command(format!("CLIENT UNBLOCK {{{parked}}}")), Place::Free),
                16 => (command(format!("CLIENT UNBLOCK {{{parked}}} TIMEOUT")), Place::Free),
                17 => (command(format!("CLIENT UNBLOCK {{{parked}}} ERROR")), Place::Free),
                _ => (command(format!("CLIENT KILL ID {{{parked}}}")), Place::Gone),
            };
            if place == Place::Gone {
                killed.push(parked);
            }
            chunks[giver].push(command);
            self.places[parked] = place;
        }
        killed
    }

    /// Puts CLIENT PAUSE somewhere into what is sent.
    fn pause(&mut self, chunks: &mut [Vec<Command>]) {
        let talking: Vec<usize> = (0..chunks.len())
            .filter(|client| self.is_ready(*client) && !chunks[*client].is_empty())
            .collect();
        for client in talking {
            if !self.random.chance(30) {
                continue;
            }
            let line = match self.random.below(5) {
                0..=1 => format!("CLIENT PAUSE {} ALL", self.random.between(1, 12)),
                2..=3 => format!("CLIENT PAUSE {} WRITE", self.random.between(1, 12)),
                _ => "CLIENT UNPAUSE".into(),
            };
            // At either end: what stands between may belong together.
            let place = if self.random.chance(50) { 0 } else { chunks[client].len() };
            chunks[client].insert(place, command(line));
        }
    }

    /// A client waits without an end, for one of several keys perhaps.
    fn park(&mut self) -> Option<Stage> {
        let client = self.who(|place| *place == Place::Free)?;
        let mut commands = self.chatter(client, 2);
        let key = self.fresh();
        self.take(client, &key, &mut commands);
        commands.extend(self.chatter(client, 4));
        self.places[client] = Place::Parked(key);
        let apart = self.random.chance(30);
        let act = self.send(commands, apart);
        Some(Stage { hold: Hold::Nothing, acts: vec![(client, act)] })
    }

    fn settle(&mut self) -> Option<Stage> {
        let client = self.who(|place| *place == Place::Timed)?;
        self.places[client] = Place::Free;
        Some(Stage { hold: Hold::Nothing, acts: vec![(client, Act::Settle)] })
    }

    fn subscribe(&mut self) -> Option<Stage> {
        let client = self.who(|place| *place == Place::Free)?;
        self.places[client] = Place::Subscribed;
        // RESET so that it speaks RESP2 and its replies are on.
        let commands = vec![command("RESET"), command(format!("SUBSCRIBE ch{client}"))];
        let act = self.send(commands, false);
        Some(Stage { hold: Hold::Nothing, acts: vec![(client, act)] })
    }

    /// A client ends its side of the connection, behind a pipeline that is owed its answers or wholly,
    /// while others send. What it sent before has run: so nobody depends on it, and not under a pause.
    fn leave(&mut self) -> Option<Stage> {
        let client = self.who(|place| !matches!(place, Place::Gone | Place::Timed))?;
        let mut acts = Vec::new();
        if self.places[client] == Place::Free && self.random.chance(60) {
            let commands = self.chatter(client, 6);
            acts.push((client, self.send(commands, false)));
            acts.push((client, Act::HalfClose));
        } else {
            let how = self.random.pick(&[Leave::Close, Leave::Unread, Leave::Abort]);
            acts.push((client, Act::Leave(how)));
        }
        self.places[client] = Place::Gone;
        let mut stage = self.meeting();
        stage.acts.extend(acts);
        Some(stage)
    }

    /// A blocking command without a timeout that takes from a key, with what changes its reply.
    fn take(&mut self, client: usize, key: &str, chunk: &mut Vec<Command>) {
        if self.random.chance(12) {
            chunk.push(command("CLIENT REPLY SKIP"));
        }
        let side = self.random.pick(&["LEFT", "RIGHT"]);
        let keys = match self.random.below(6) {
            0 => format!("{key} {key}"),
            1 => format!("never{client} {key} {key}"),
            _ => key.to_owned(),
        };
        let count = keys.split(' ').count();
        let line = if is_zset(key) {
            match self.random.below(4) {
                0 => format!("BZPOPMAX {keys} 0"),
                1 => format!("BZMPOP 0 {count} {keys} MIN COUNT 2"),
                _ => format!("BZPOPMIN {keys} 0"),
            }
        } else {
            match self.random.below(7) {
                0 => format!("BRPOP {keys} 0"),
                1 => format!("BLMOVE {key} m{client} {side} {side} 0"),
                2 => format!("BRPOPLPUSH {key} m{client} 0"),
                3 => format!("BLMPOP 0 {count} {keys} {side} COUNT 2"),
                _ => format!("BLPOP {keys} 0"),
            }
        };
        chunk.push(command(line));
    }

    /// A command that gives to a key, once; what it needs goes before it.
    fn gift(&mut self, client: usize, key: &str, chunk: &mut Vec<Command>) -> Command {
        if self.random.chance(8) {
            let how = self.random.pick(&["SKIP", "OFF", "ON"]);
            chunk.push(command(format!("CLIENT REPLY {how}")));
        }
        let own = format!("g{key}");
        let zset = is_zset(key);
        let line = match (self.random.below(8), zset) {
            (0, _) => {
                let gives =
                    if zset { format!("ZADD {own} 1 x 2 y") } else { format!("RPUSH {own} x") };
                chunk.push(command(gives));
                format!("RENAME {own} {key}")
            }
            (1, _) => {
                let gives =
                    if zset { format!("ZADD {own} 1 x 2 y") } else { format!("RPUSH {own} x") };
                chunk.extend([command("MULTI"), command(gives)]);
                chunk.push(command(format!("COPY {own} {key}")));
                chunk.push(command(format!("APPEND p{client} t")));
                "EXEC".into()
            }
            (2, true) => {
                chunk.push(command(format!("ZADD {own} 3 x")));
                format!("ZUNIONSTORE {key} 1 {own}")
            }
            (2, false) => {
                chunk.push(command(format!("RPUSH {own} x y")));
                format!("LMOVE {own} {key} LEFT RIGHT")
            }
            (3, _) => {
                let (push, values) = if zset { ("zadd", "2,'b'") } else { ("rpush", "'a','b'") };
                let head = self.random.pick(&["", "#!lua\n"]);
                let text = format!("{head}return redis.call('{push}',KEYS[1],{values})");
                return script("EVAL", &text, key);
            }
            (_, true) => format!("ZADD {key} 1 a 2 b 2 c"),
            (4, false) => format!("LPUSH {key} a b c"),
            (5, false) => format!("RPUSH {key} a b"),
            (_, false) => format!("RPUSH {key} a"),
        };
        command(line)
    }

    /// A command that may wait for a short time, for a key that nobody else knows.
    fn timed(&mut self, client: usize) -> Vec<Command> {
        let timeout = self.random.pick(&["0.001", "0.003", "0.01"]);
        let never = format!("never{client}");
        let mut commands = Vec::new();
        if self.random.chance(15) {
            commands.push(command("CLIENT REPLY SKIP"));
        }
        commands.push(command(match self.random.below(9) {
            0 => format!("BLPOP {never} {timeout}"),
            1 => format!("BRPOP {never} {never} {timeout}"),
            2 => format!("BLMOVE {never} m{client} LEFT RIGHT {timeout}"),
            3 => format!("BLMPOP {timeout} 2 {never} {never} LEFT"),
            4 => format!("BZPOPMIN {never} {timeout}"),
            5 => format!("BZPOPMAX {never} {timeout}"),
            6 => format!("BZMPOP {timeout} 1 {never} MAX COUNT 3"),
            7 => format!("BRPOPLPUSH {never} m{client} {timeout}"),
            _ => "WAIT 1 3".into(),
        }));
        commands
    }

    /// Commands of which none waits, about a client's own keys.
    fn chatter(&mut self, client: usize, most: usize) -> Vec<Command> {
        if self.places[client] == Place::Subscribed {
            let lines = ["PING", "PING x", "GET p", "BLPOP l 0", "MULTI", "CLIENT REPLY SKIP"];
            let count = 1 + self.random.below(2);
            return (0..count).map(|_| command(self.random.pick(&lines))).collect();
        }
        let mut commands = Vec::new();
        for _ in 0..self.random.below(most + 1) {
            self.say(client, &mut commands);
        }
        commands
    }

    fn say(&mut self, c: usize, commands: &mut Vec<Command>) {
        let number = self.random.below(1000);
        let line = match self.random.below(32) {
            0..=2 => format!("SET p{c} {number}"),
            3..=4 => format!("GET p{c}"),
            5..=6 => format!("APPEND p{c} {number}"),
            7..=8 => format!("ECHO c{c}-{number}"),
            9 => format!("RPUSH l{c} {number} {}", number + 1),
            10 => format!("LPOP l{c}"),
            11 => format!("LLEN m{c}"),
            12 => format!("GET l{c}"),
            13 => "nonsense 1".into(),
            14 => format!("SETRANGE big{c} 9000 {number}"),
            15 => format!("GET big{c}"),
            16 => "CLIENT REPLY SKIP".into(),
            17 => self.random.pick(&["CLIENT REPLY ON", "CLIENT REPLY OFF"]).into(),
            18 => self.random.pick(&["HELLO 3", "HELLO 2", "RESET"]).into(),
            19 => "WAIT 0 5".into(),
            20 => format!("CLIENT UNBLOCK {{{c}}}"),
            21 => "DISCARD".into(),
            // Elements that are there already, so that nobody waits.
            22 => {
                commands.push(command(format!("RPUSH l{c} {number}")));
                format!("BLPOP none{c} l{c} l{c} 0")
            }
            23 => {
                commands.push(command(format!("ZADD z{c} {number} m")));
                format!("BZPOPMAX z{c} z{c} 0")
            }
            24..=26 => return commands.push(self.evaluate(c)),
            _ => return self.transaction(c, commands),
        };
        commands.push(command(line));
    }

    /// A script about a client's own keys, of which some don't hold to what they say of themselves.
    fn evaluate(&mut self, c: usize) -> Command {
        let head = self.random.pick(&HEADS);
        let (body, key) = self.random.pick(&[
            ("return redis.call('get',KEYS[1])", "p"),
            ("return redis.call('get',KEYS[1])", "p"),
            ("return redis.call('append',KEYS[1],'e')", "p"),
            ("return redis.call('append',KEYS[1],'e')", "p"),
            ("redis.call('append',KEYS[1],'e') return redis.call('llen',KEYS[1])", "p"),
            ("return redis.pcall('append',KEYS[1],'e')", "l"),
            ("return redis.call('publish','nobody',KEYS[1])", "p"),
            ("return redis.call('rpush',KEYS[1],'e')", "l"),
            ("redis.setresp(3) return redis.call('lrange',KEYS[1],0,1)", "l"),
        ]);
        let call = self.random.pick(&["EVAL", "EVAL", "EVAL", "EVAL_RO"]);
        script(call, &format!("{head}{body}"), &format!("{key}{c}"))
    }

    /// A message to somebody who listens, from one whose commands run in this stage, so that the
    /// listener can't have left the channel before.
    fn publish(&mut self) -> Command {
        let number = self.random.below(1000);
        match self.who(|place| *place == Place::Subscribed) {
            Some(listener) => command(format!("PUBLISH ch{listener} m{number}")),
            None => command("PUBLISH nobody m"),
        }
    }

    fn transaction(&mut self, c: usize, commands: &mut Vec<Command>) {
        if self.random.chance(30) {
            commands.push(command(format!("WATCH p{c} l{c}")));
            if self.random.chance(50) {
                commands.push(command(format!("SET p{c} watched")));
            }
        }
        commands.push(command("MULTI"));
        for _ in 0..self.random.below(4) {
            let line = match self.random.below(11) {
                0 => format!("BLPOP none{c} 0"),
                1 => format!("BLMOVE l{c} l{c} LEFT RIGHT 0"),
                2 => format!("BZPOPMIN z{c} 0"),
                3 => format!("RPUSH l{c} t"),
                4 => "GET".into(),
                5 => format!("LPUSH p{c} t"),
                6 => format!("BLMPOP 0 1 l{c} RIGHT"),
                7 => "WAIT 1 0".into(),
                8..=9 => {
                    commands.push(self.evaluate(c));
                    continue;
                }
                _ => format!("SET p{c} t"),
            };
            commands.push(command(line));
        }
        commands.push(command(if self.random.chance(80) { "EXEC" } else { "DISCARD" }));
    }
}
