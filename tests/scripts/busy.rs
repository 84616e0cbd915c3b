//! Several clients while scripts run for too long: random requests at once, each answered once and in
//! order, and nothing lost that was said to be done.
//!
//! `BUSY_SEED` and `BUSY_ROUNDS` choose the run. A client of its own kills whatever runs for too long
//! and may be killed; what has written ends by itself.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::slow_server;
use crate::support::client::{Client, Value, encode};
use crate::support::random::{Random, from_environment, seed_from_environment};
use crate::support::server::Server;

const FUNCTIONS: &str = "#!lua name=busy\n\
    redis.register_function('endless', function() while true do end end)\n\
    redis.register_function('count', function(_, args) redis.call('INCR', 'n') \
        for i = 1, args[1] do end return 'counted' end)";
const COUNT: &str = "redis.call('INCR', 'n') for i = 1, ARGV[1] do end return 'counted'";
const ENDLESS: [&str; 5] = [
    "while true do end",
    "while true do pcall(function() while true do end end) end",
    // Its handler once ran where no hook is called.
    "xpcall(function() while true do end end, function() while true do end end)",
    "return ('a'):rep(300):match(('(a*)'):rep(12) .. 'b')",
    "while true do redis.call('GET', 'x') end",
];

/// What may answer a command.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    /// `counted`, once for each count.
    Counted,
    /// The word that a script is killed with.
    Killed,
    /// A plain reply.
    Text(&'static str),
    /// Whatever is no error.
    Anything,
    /// The array of a transaction, nothing where it has failed, or why it wasn't executed.
    Transaction,
    /// The element that was waited for.
    Element,
}

struct Round {
    random: Random,
    /// How many counts were answered.
    counted: i64,
}

impl Round {
    /// Some commands of one client, with what may answer them.
    fn requests(&mut self) -> Vec<(Vec<String>, Expected)> {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<String>>();
        let loops = self.random.pick(&["10", "1000", "300000", "3000000"]);
        let count = vec!["EVAL".to_owned(), COUNT.to_owned(), "0".to_owned(), loops.to_owned()];
        let endless = self.random.pick(&ENDLESS);
        match self.random.below(12) {
            0 => vec![(["EVAL", endless, "0"].map(str::to_owned).to_vec(), Expected::Killed)],
            1 => vec![(words("FCALL endless 0"), Expected::Killed)],
            2 | 3 => vec![(count, Expected::Counted), (words("PING"), Expected::Text("PONG"))],
            4 => vec![(words(&format!("FCALL count 0 {loops}")), Expected::Counted)],
            5 => vec![
                (words("MULTI"), Expected::Text("OK")),
                (count, Expected::Text("QUEUED")),
                (words("GET n"), Expected::Text("QUEUED")),
                (words("EXEC"), Expected::Transaction),
            ],
            6 => vec![
                (words("WATCH n"), Expected::Text("OK")),
                (words("MULTI"), Expected::Text("OK")),
                (count, Expected::Text("QUEUED")),
                (words("EXEC"), Expected::Transaction),
                (words("ECHO behind"), Expected::Text("behind")),
            ],
            7 => {
                vec![(words("BLPOP q 0"), Expected::Element), (words("GET n"), Expected::Anything)]
            }
            8 => {
                let kind = self.random.pick(&["WRITE", "ALL"]);
                vec![(words(&format!("CLIENT PAUSE 3 {kind}")), Expected::Text("OK"))]
            }
            9 => vec![(words("SET other 1"), Expected::Text("OK")), (count, Expected::Counted)],
            _ => {
                vec![(words("GET n"), Expected::Anything), (words("PING"), Expected::Text("PONG"))]
            }
        }
    }

    fn check(&mut self, command: &[String], expected: Expected, answer: &Value) {
        let text = answer.text();
        if text.starts_with("BUSY") {
            assert!(expected != Expected::Text("OK") || command[0] != "MULTI", "{command:?}");
            return;
        }
        let fits = match expected {
            Expected::Counted => {
                self.counted += 1;
                text == "counted"
            }
            Expected::Killed => text.contains("killed by user"),
            Expected::Text(wanted) => text == wanted,
            Expected::Anything => !answer.is_error(),
            Expected::Element => answer.elements().len() == 2,
            Expected::Transaction => match answer {
                Value::Array(answers) => {
                    self.counted += i64::from(answers[0].text() == "counted");
                    answers[0].text() == "counted"
                }
                _ => !answer.is_error() || text.starts_with("EXECABORT"),
            },
        };
        assert!(fits, "{command:?}: {expected:?}, {text}");
    }
}

/// Ends what runs for too long, until it is told to stop.
fn kill_all(server: &Server, stop: &AtomicBool) {
    let mut client = server.connect();
    while !stop.load(Ordering::Relaxed) {
        let text = client.words("PING").text();
        if text.starts_with("BUSY") {
            let function = text.contains("FUNCTION KILL");
            let answer =
                client.words(if function { "FUNCTION KILL" } else { "SCRIPT KILL" }).text();
            let expected = ["OK", "UNKILLABLE", "NOTBUSY", "BUSY"];
            assert!(expected.iter().any(|word| answer.starts_with(word)), "{answer}");
        }
    }
}

#[test]
fn several_clients_and_busy_scripts() {
    let (seed, rounds) = (seed_from_environment("BUSY_SEED"), from_environment("BUSY_ROUNDS", 100));
    let server = slow_server();
    let mut control = server.connect();
    assert_eq!(control.call(&["FUNCTION", "LOAD", FUNCTIONS]).text(), "busy");
    let mut round = Round { random: Random::new(seed), counted: 0 };
    let mut clients: Vec<Client> = (0..6).map(|_| server.connect()).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stopping = Stopping(&stop);
        scope.spawn(|| kill_all(&server, &stop));
        for _ in 0..rounds {
            let mut sent = Vec::new();
            for client in &mut clients {
                let requests = round.requests();
                let bytes: Vec<u8> =
                    requests.iter().flat_map(|(command, _)| encode(command)).collect();
                client.try_send_raw(&bytes).expect("the server reads");
                sent.push(requests);
            }
            // One of them goes without its answers, where nothing that is counted is among them.
            let gone = round.random.below(clients.len() * 2);
            let goes = sent.get(gone).is_some_and(|requests| {
                requests.iter().all(|(_, expected)| {
                    matches!(
                        expected,
                        Expected::Killed | Expected::Anything | Expected::Text("PONG")
                    )
                })
            });
            if goes {
                std::mem::replace(&mut clients[gone], server.connect()).abort();
                sent[gone].clear();
            }
            let waiting = sent.iter().flatten().filter(|(_, what)| *what == Expected::Element);
            for _ in 0..waiting.count() {
                while control.words("RPUSH q x").is_error() {}
            }
            for (client, requests) in clients.iter_mut().zip(sent) {
                for (command, expected) in requests {
                    let answer = client.try_read().unwrap_or_else(|error| {
                        panic!("BUSY_SEED={seed} {command:?}: {error}\n{}", server.log())
                    });
                    round.check(&command, expected, &answer);
                }
            }
            while control.words("DEL q").is_error() {}
        }
    });
    assert_eq!(control.words("GET n").text(), round.counted.to_string());
    assert!(control.words("INFO clients").text().contains("blocked_clients:0"));
}

/// Stops the other thread where this one fails, too.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
