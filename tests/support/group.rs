//! Groups of servers that replicate: starting them, waiting for them, writing at random, comparing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::support::client::{self, Client};
use crate::support::random::Random;
use crate::support::server::{Program, Server};

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(30);
const COMMON: [&str; 8] = [
    "--save",
    "",
    "--enable-debug-command",
    "yes",
    "--repl-diskless-sync-delay",
    "0",
    "--repl-ping-replica-period",
    "1",
];

/// A server without files of its own, quick to pair.
pub fn start(program: Program, more: &[&str]) -> Server {
    let mut directives = COMMON.to_vec();
    directives.extend(["--appendonly", "no"]);
    directives.extend_from_slice(more);
    Server::start_with(program, &directives)
}

/// A replica of a server from its start.
pub fn follower(program: Program, primary: &Server, more: &[&str]) -> Server {
    let address = format!("127.0.0.1 {}", primary.port());
    let mut directives = vec!["--replicaof", &address];
    if program != Program::Redstart {
        // These take the two words apart.
        directives = vec!["--replicaof", "127.0.0.1"];
    }
    let port = primary.port().to_string();
    if program != Program::Redstart {
        directives.push(&port);
    }
    directives.extend_from_slice(more);
    start(program, &directives)
}

/// A field of INFO; empty where there is none.
pub fn info(client: &mut Client, field: &str) -> String {
    let text = client.words("INFO everything").text();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

/// A field of INFO that is a number; -1 where there is none.
pub fn number(client: &mut Client, field: &str) -> i64 {
    info(client, field).parse().unwrap_or(-1)
}

/// Waits for a condition.
pub fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The digest of all data.
pub fn digest(client: &mut Client) -> String {
    client.words("DEBUG DIGEST").text()
}

/// The keys that two servers have differently: database, name, and the value's digest and expiry at both.
fn differences(first: &Server, second: &Server) -> Vec<String> {
    let content = |server: &Server| {
        let mut client = server.connect();
        let mut content = BTreeMap::new();
        for db in 0..16 {
            client.words(&format!("SELECT {db}"));
            for key in client.words("KEYS *").elements() {
                let key = key.text();
                let digest = client.call(&["DEBUG", "DIGEST-VALUE", &key]);
                let expiry = client.call(&["PEXPIRETIME", &key]);
                content.insert((db, key), format!("{digest} {expiry}"));
            }
            let size = client.words("DBSIZE").to_string();
            content.insert((db, "(keys, those that are due included)".to_owned()), size);
        }
        content
    };
    let (first, second) = (content(first), content(second));
    let names: BTreeSet<_> = first.keys().chain(second.keys()).collect();
    let differ = names.into_iter().filter(|name| first.get(name) != second.get(name));
    differ.map(|name| format!("{name:?}: {:?} {:?}", first.get(name), second.get(name))).collect()
}

/// Waits until all have the first one's stream, and compares the data. Keys whose time has come and
/// that nobody has removed yet count with some servers and not with others: they are waited for.
pub fn assert_equal(servers: &[&Server]) {
    let mut primary = servers[0].connect();
    for server in &servers[1..] {
        let mut client = server.connect();
        let (mut reached, mut moved) = (0, Instant::now());
        loop {
            let offset = number(&mut client, "master_repl_offset");
            if info(&mut client, "master_link_status") == "up"
                && offset == number(&mut primary, "master_repl_offset")
                && info(&mut client, "master_replid") == info(&mut primary, "master_replid")
            {
                break;
            }
            // Who is far behind may take its time, as long as it gets on.
            if offset != reached {
                (reached, moved) = (offset, Instant::now());
            }
            assert!(moved.elapsed() < PATIENCE, "it stands at {offset} and has not caught up");
            std::thread::sleep(Duration::from_millis(5));
        }
        let began = Instant::now();
        while digest(&mut primary) != digest(&mut client) {
            assert!(
                began.elapsed() < PATIENCE,
                "{} at {} has other data:\n{}",
                server.program().name(),
                server.port(),
                differences(servers[0], server).join("\n")
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A random command that writes; over few keys, so that they meet.
pub fn command(random: &mut Random) -> Vec<Vec<u8>> {
    let key = |kind: &str, random: &mut Random| format!("{kind}:{}", random.below(30));
    let value = random.below(1000);
    let line = match random.below(32) {
        0 | 1 => format!("SET {} {value}", key("s", random)),
        2 => format!("SET {} {value} PX {}", key("s", random), 1 + random.below(200)),
        3 => format!("INCR {}", key("n", random)),
        4 => format!("APPEND {} {value}", key("s", random)),
        5 => format!("DEL {}", key("s", random)),
        6 => format!("LPUSH {} {value} b c", key("l", random)),
        7 => format!("RPOP {} 2", key("l", random)),
        8 => format!("SADD {} {value} {}", key("u", random), value + 1),
        9 => format!("SPOP {} 2", key("u", random)),
        10 => format!("HSET {} f{} {value}", key("h", random), random.below(5)),
        11 => format!("HINCRBYFLOAT {} f 0.1", key("h", random)),
        12 => format!("ZADD {} {value} m{}", key("z", random), random.below(9)),
        13 => format!("ZPOPMIN {}", key("z", random)),
        14 => format!("PEXPIRE {} {}", key("h", random), 1 + random.below(300)),
        15 => format!("GETEX {} PX 50", key("s", random)),
        16 => format!("LMOVE {} {} LEFT RIGHT", key("l", random), key("l", random)),
        17 => format!("RENAME {} {}", key("s", random), key("s", random)),
        18 => format!("SUNIONSTORE {} {} {}", key("u", random), key("u", random), key("u", random)),
        19 | 20 => format!("XADD {} MAXLEN ~ 50 * f {value}", key("x", random)),
        21 => format!("XADD {} * f {value} g {value}", key("x", random)),
        22 => format!("XGROUP CREATE {} g 0 MKSTREAM", key("x", random)),
        23 => format!("XREADGROUP GROUP g c COUNT 3 STREAMS {} >", key("x", random)),
        24 => format!("XAUTOCLAIM {} g d 0 0 COUNT 2", key("x", random)),
        25 => format!("XTRIM {} MAXLEN {}", key("x", random), random.below(40)),
        26 => format!("SETBIT {} {value} 1", key("b", random)),
        27 => format!("BITOP XOR {} {} {}", key("b", random), key("b", random), key("s", random)),
        28 => format!("PFADD {} {value} {}", key("p", random), value + 1),
        29 => {
            format!("GEOADD {} {}.5 {} m{}", key("z", random), value % 180, value % 80, value % 9)
        }
        30 => format!(
            "EVAL redis.call('incr',KEYS[1])return(redis.call('lpush',KEYS[2],ARGV[1])) 2 {} {} {value}",
            key("n", random),
            key("l", random)
        ),
        _ => format!("SELECT {}", random.below(3)),
    };
    client::argv(&line)
}

/// Writes at random, some of it in transactions.
pub fn write(client: &mut Client, random: &mut Random, count: usize) {
    let mut commands = Vec::new();
    for _ in 0..count {
        if random.chance(10) {
            commands.push(client::argv("MULTI"));
            commands.extend((0..=random.below(4)).map(|_| command(random)));
            commands.push(client::argv("EXEC"));
        } else {
            commands.push(command(random));
        }
    }
    client.pipeline(&commands);
}
