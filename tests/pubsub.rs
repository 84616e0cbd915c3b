//! Publish and subscribe as clients see it: who is told what and in which order, what becomes of
//! those who don't read, and that a message is as durable as a reply. Stories that redis-server
//! 7.0 tells in the same way are told to both; what 7.2 changed, to Redstart alone.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::time::{Duration, Instant};

use support::client::{Client, Value, argv};
use support::server::{Program, Server};

/// How long to wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

const BOTH: [Program; 2] = [Program::Redis, Program::Redstart];

fn start(program: Program, directives: &[&str]) -> Server {
    Server::start_with(program, &[&["--appendonly", "no", "--save", ""], directives].concat())
}

/// Waits for a condition; the text says what was awaited.
fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A field of INFO.
fn info(client: &mut Client, field: &str) -> i64 {
    let text = client.call(&["INFO", "everything"]).text();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {field} in\n{text}")).trim().parse().expect("a number")
}

/// The words of a message or confirmation.
fn words(value: &Value) -> String {
    value.elements().iter().map(Value::text).collect::<Vec<_>>().join(" ")
}

fn next(client: &mut Client) -> String {
    words(&client.next_push().expect("a message"))
}

/// The line of CLIENT LIST about the client of a name.
fn line_of(client: &mut Client, name: &str) -> String {
    let list = client.words("CLIENT LIST").text();
    let line = list.lines().find(|line| line.contains(&format!("name={name} ")));
    line.unwrap_or_else(|| panic!("no {name} in\n{list}")).to_owned()
}

#[test]
fn a_listener_shows_in_lists_and_figures_until_it_goes() {
    for program in BOTH {
        let server = start(program, &[]);
        let (mut asker, mut listener) = (server.connect(), server.connect());
        listener.words("CLIENT SETNAME listener");
        listener.words("SUBSCRIBE one");
        listener.words("PSUBSCRIBE t* o*");
        next(&mut listener);
        listener.words("SSUBSCRIBE shard");
        let line = line_of(&mut asker, "listener");
        assert!(line.contains(" flags=P "), "{program:?}: {line}");
        assert!(line.contains(" sub=1 psub=2 ssub=1 "), "{program:?}: {line}");
        let listed = asker.words("CLIENT LIST TYPE pubsub").text();
        assert_eq!(listed.lines().count(), 1, "{program:?}: {listed}");
        assert!(!asker.words("CLIENT LIST TYPE normal").text().contains("name=listener"));
        let figures = ["pubsub_channels", "pubsub_patterns", "pubsubshard_channels"];
        assert_eq!(figures.map(|field| info(&mut asker, field)), [1, 2, 1], "{program:?}");
        if program == Program::Redstart {
            assert_eq!(info(&mut asker, "pubsub_clients"), 1);
        }
        assert_eq!(asker.words("PUBLISH one x"), Value::Integer(2), "{program:?}");
        drop(listener);
        await_that("the listener's end", || asker.words("PUBLISH one x") == Value::Integer(0));
        assert_eq!(figures.map(|field| info(&mut asker, field)), [0, 0, 0], "{program:?}");
        assert_eq!(asker.words("PUBSUB CHANNELS"), Value::Array(Vec::new()), "{program:?}");
    }
}

#[test]
fn a_killed_listener_is_forgotten_at_once() {
    for program in BOTH {
        let server = start(program, &[]);
        let (mut asker, mut listener) = (server.connect(), server.connect());
        let mut normal = server.connect();
        normal.words("PING");
        listener.words("SUBSCRIBE channel");
        assert_eq!(asker.words("CLIENT KILL TYPE pubsub"), Value::Integer(1), "{program:?}");
        let counted = Value::Array(vec![Value::bulk("channel"), Value::Integer(0)]);
        assert_eq!(asker.words("PUBSUB NUMSUB channel"), counted, "{program:?}");
        assert_eq!(asker.words("PUBLISH channel x"), Value::Integer(0), "{program:?}");
        assert!(listener.next_push().is_err(), "{program:?}: the listener is still connected");
        assert_eq!(normal.words("PING").text(), "PONG", "{program:?}");
    }
}

#[test]
fn messages_come_in_the_order_of_execution() {
    for program in BOTH {
        let server = start(program, &["--notify-keyspace-events", "KEA"]);
        let (mut writer, mut listener) = (server.connect(), server.connect());
        listener.words("PSUBSCRIBE *");
        let commands = "MULTI;SET k 1;PUBLISH news first;DEL k;PUBLISH news second;EXEC;SET k 2";
        let commands: Vec<Vec<Vec<u8>>> = commands.split(';').map(argv).collect();
        writer.pipeline(&commands);
        let heard: Vec<String> = (0..8).map(|_| next(&mut listener)).collect();
        let expected = [
            "pmessage * __keyspace@0__:k set",
            "pmessage * __keyevent@0__:set k",
            "pmessage * news first",
            "pmessage * __keyspace@0__:k del",
            "pmessage * __keyevent@0__:del k",
            "pmessage * news second",
            "pmessage * __keyspace@0__:k set",
            "pmessage * __keyevent@0__:set k",
        ];
        assert_eq!(heard, expected, "{program:?}");
    }
}

#[test]
fn one_hears_oneself_behind_the_reply() {
    let server = start(Program::Redstart, &["--notify-keyspace-events", "KEA"]);
    let mut client = server.connect();
    client.words("HELLO 3");
    client.try_send_raw(b"SUBSCRIBE news\r\nPSUBSCRIBE __key*\r\n").expect("sent");
    assert_eq!(next(&mut client), "subscribe news :1");
    assert_eq!(next(&mut client), "psubscribe __key* :2");
    let told = |client: &mut Client, bytes: &str, count: usize| -> Vec<Value> {
        client.try_send_raw(bytes.as_bytes()).expect("sent");
        (0..count).map(|_| client.next_push().expect("a reply or message")).collect()
    };
    let heard = told(&mut client, "PUBLISH news x\r\n", 2);
    assert_eq!(heard[0], Value::Integer(1));
    assert_eq!(words(&heard[1]), "message news x");
    let heard = told(&mut client, "SET k v\r\n", 3);
    assert_eq!(heard[0].text(), "OK");
    assert_eq!(words(&heard[1]), "pmessage __key* __keyspace@0__:k set");
    // Of a transaction, behind the whole reply; confirmations are part of it.
    let heard = told(
        &mut client,
        "MULTI\r\nPING a\r\nPUBLISH news x\r\nUNSUBSCRIBE news\r\nPUBLISH news y\r\nEXEC\r\n",
        7,
    );
    assert_eq!(words(&heard[5]), "a :1 >[\"unsubscribe\", \"news\", :1] :0");
    assert_eq!(words(&heard[6]), "message news x");
    // Without replies the messages come all the same.
    client.try_send_raw(b"CLIENT REPLY OFF\r\nSUBSCRIBE n2\r\nPUBLISH n2 z\r\n").expect("sent");
    assert_eq!(next(&mut client), "subscribe n2 :2");
    assert_eq!(next(&mut client), "message n2 z");
}

#[test]
fn in_resp2_one_hears_oneself_behind_the_transaction() {
    let server = start(Program::Redstart, &[]);
    let mut client = server.connect();
    let sent = b"MULTI\r\nSUBSCRIBE a\r\nPUBLISH a x\r\nEXEC\r\nPING\r\n";
    client.try_send_raw(sent).expect("sent");
    let told: Vec<String> =
        (0..6).map(|_| client.next_push().expect("a reply").to_string()).collect();
    assert_eq!(
        told[3..],
        [
            "*[*[\"subscribe\", \"a\", :1], :1]".to_owned(),
            "*[\"message\", \"a\", \"x\"]".to_owned(),
            "*[\"pong\", \"\"]".to_owned()
        ]
    );
}

#[test]
fn a_woken_client_s_events_reach_the_pusher_behind_its_reply() {
    let server = start(Program::Redstart, &["--notify-keyspace-events", "KA"]);
    let (mut pusher, mut waiter) = (server.connect(), server.connect());
    pusher.words("HELLO 3");
    pusher.try_send_raw(b"PSUBSCRIBE __key*\r\n").expect("sent");
    next(&mut pusher);
    waiter.try_send_raw(b"BLPOP list 0\r\n").expect("sent");
    let mut asker = server.connect();
    await_that("a waiting client", || info(&mut asker, "blocked_clients") == 1);
    pusher.try_send_raw(b"CLIENT REPLY SKIP\r\nRPUSH list x\r\nPING\r\n").expect("sent");
    let told: Vec<String> = (0..4).map(|_| next(&mut pusher)).collect();
    assert_eq!(
        told,
        [
            "pmessage __key* __keyspace@0__:list rpush",
            "pmessage __key* __keyspace@0__:list lpop",
            "pmessage __key* __keyspace@0__:list del",
            ""
        ]
    );
}

#[test]
fn events_follow_the_setting() {
    for program in BOTH {
        let server = start(program, &[]);
        let (mut writer, mut listener) = (server.connect(), server.connect());
        listener.words("PSUBSCRIBE *");
        let mut heard = |writer: &mut Client, classes: &str, commands: &str| -> Vec<String> {
            writer.call(&["CONFIG", "SET", "notify-keyspace-events", classes]);
            for command in commands.split(';') {
                writer.words(command);
            }
            writer.words("PUBLISH marker here");
            let mut heard = Vec::new();
            loop {
                let text = next(&mut listener);
                if text == "pmessage * marker here" {
                    return heard;
                }
                heard.push(text.replace("pmessage * __key", ""));
            }
        };
        let all = "FLUSHALL;SET a 1;GET none;RPUSH l x;HSET h f v;EXPIRE a 100;RENAME a b;DEL b";
        assert!(heard(&mut writer, "", all).is_empty(), "{program:?}");
        // Without K or E there is nowhere to publish.
        assert!(heard(&mut writer, "A", all).is_empty(), "{program:?}");
        assert!(heard(&mut writer, "K", all).is_empty(), "{program:?}");
        assert_eq!(heard(&mut writer, "K$", all), ["space@0__:a set"], "{program:?}");
        assert_eq!(heard(&mut writer, "El", all), ["event@0__:rpush l"], "{program:?}");
        assert_eq!(heard(&mut writer, "Eh", all), ["event@0__:hset h"], "{program:?}");
        assert_eq!(heard(&mut writer, "Em", all), ["event@0__:keymiss none"], "{program:?}");
        let new = ["event@0__:new a", "event@0__:new l", "event@0__:new h", "event@0__:new b"];
        assert_eq!(heard(&mut writer, "En", all), new, "{program:?}");
        let generic = [
            "event@0__:expire a",
            "event@0__:rename_from a",
            "event@0__:rename_to b",
            "event@0__:del b",
        ];
        assert_eq!(heard(&mut writer, "Eg", all), generic, "{program:?}");
        let both = ["space@3__:x set", "event@3__:set x"];
        assert_eq!(heard(&mut writer, "KE$", "SELECT 3;SET x 1"), both, "{program:?}");
        let expired = "DEBUG SLEEP 0;SET short 1 PX 1";
        heard(&mut writer, "Ex", expired);
        assert_eq!(next(&mut listener), "pmessage * __keyevent@3__:expired short", "{program:?}");
    }
}

#[test]
fn a_listener_that_does_not_read_is_cut_off_and_others_are_not() {
    for program in BOTH {
        let server = start(program, &["--client-output-buffer-limit", "pubsub 2mb 0 0"]);
        let mut publisher = server.connect();
        let (mut reader, mut sleeper) = (server.connect(), server.connect());
        reader.words("SUBSCRIBE flood");
        sleeper.words("SUBSCRIBE flood");
        let payload = "x".repeat(100_000);
        let mut published = 0;
        await_that("the end of a listener that doesn't read", || {
            let heard = publisher.call(&["PUBLISH", "flood", &payload]);
            published += 1;
            let words = reader.try_read().expect("the reader is told").elements();
            assert_eq!(words[2].bytes().map(<[u8]>::len), Some(payload.len()), "{program:?}");
            heard == Value::Integer(1)
        });
        assert!(published > 20, "{program:?}: cut off after {published} messages");
        // What was in the sockets arrives, and then the end.
        let mut left = 0;
        while sleeper.try_read().is_ok() {
            left += 1;
        }
        assert!(left < published, "{program:?}");
        assert_eq!(publisher.words("PUBLISH flood last"), Value::Integer(1), "{program:?}");
        assert_eq!(words(&reader.try_read().expect("told")), "message flood last", "{program:?}");
        if program == Program::Redstart {
            assert_eq!(info(&mut publisher, "client_output_buffer_limit_disconnections"), 1);
        }
    }
}

#[test]
fn a_listener_may_stay_above_the_soft_limit_for_its_seconds_only() {
    for program in BOTH {
        let server = start(program, &["--client-output-buffer-limit", "pubsub 0 64kb 1"]);
        let (mut publisher, mut sleeper) = (server.connect(), server.connect());
        sleeper.words("SUBSCRIBE flood");
        let payload = "x".repeat(1_000_000);
        // More than the sockets between take.
        for _ in 0..16 {
            publisher.call(&["PUBLISH", "flood", &payload]);
        }
        assert_eq!(publisher.words("PUBSUB NUMSUB flood").elements()[1], Value::Integer(1));
        await_that("the end of a listener above the soft limit", || {
            publisher.words("PUBSUB NUMSUB flood").elements()[1] == Value::Integer(0)
        });
    }
}

#[test]
fn the_limit_of_listeners_is_not_that_of_others() {
    let limits = ["--client-output-buffer-limit", "normal 100kb 0 0 pubsub 0 0 0"];
    let server = start(Program::Redstart, &limits);
    let (mut publisher, mut listener) = (server.connect(), server.connect());
    listener.words("SUBSCRIBE flood");
    let payload = "x".repeat(400_000);
    for _ in 0..30 {
        assert_eq!(publisher.call(&["PUBLISH", "flood", &payload]), Value::Integer(1));
    }
    for _ in 0..30 {
        let told = listener.try_read().expect("everything is kept for it").elements();
        assert_eq!(told[2].bytes().map(<[u8]>::len), Some(payload.len()));
    }
}

#[test]
fn under_always_a_message_waits_for_the_log() {
    let directives = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut server = Server::start_with(
        Program::Redstart,
        &[&directives[..], &["--notify-keyspace-events", "E$"]].concat(),
    );
    let (mut writer, mut listener) = (server.connect(), server.connect());
    listener.words("SUBSCRIBE __keyevent@0__:set");
    let commands: Vec<Vec<Vec<u8>>> = (0..500).map(|n| argv(&format!("SET key:{n} {n}"))).collect();
    let bytes: Vec<u8> = commands.iter().flat_map(|argv| support::client::encode(argv)).collect();
    writer.try_send_raw(&bytes).expect("sent");
    // The server dies in the middle of it; whatever was told is there afterwards.
    let mut told = Vec::new();
    for _ in 0..100 {
        told.push(listener.try_read().expect("a message").elements()[2].text());
    }
    server.kill();
    while let Ok(message) = listener.try_read() {
        told.push(message.elements()[2].text());
    }
    server.restart();
    let mut reader = server.connect();
    for key in &told {
        assert_eq!(format!("key:{}", reader.call(&["GET", key]).text()), *key);
    }
}

#[test]
fn listeners_are_not_idle() {
    let server = start(Program::Redstart, &["--timeout", "1"]);
    let (mut listener, mut idle) = (server.connect(), server.connect());
    listener.words("SUBSCRIBE quiet");
    idle.words("PING");
    assert!(idle.try_read().is_err(), "an idle client is closed");
    let mut publisher = server.connect();
    assert_eq!(publisher.words("PUBLISH quiet x"), Value::Integer(1));
    assert_eq!(words(&listener.try_read().expect("told")), "message quiet x");
}

#[test]
fn publishing_waits_while_writes_are_paused() {
    let server = start(Program::Redstart, &[]);
    let (mut publisher, mut listener) = (server.connect(), server.connect());
    listener.words("SUBSCRIBE a");
    publisher.words("CLIENT SETNAME publisher");
    publisher.words("CLIENT PAUSE 100000 WRITE");
    publisher.try_send_raw(b"PUBLISH a x\r\n").expect("sent");
    let mut other = server.connect();
    await_that("a command that is held back", || {
        !line_of(&mut other, "publisher").contains(" qbuf=0 ")
    });
    assert!(line_of(&mut other, "publisher").contains(" cmd=client|pause "));
    other.words("CLIENT UNPAUSE");
    assert_eq!(publisher.try_read().expect("a reply"), Value::Integer(1));
    assert_eq!(words(&listener.try_read().expect("told")), "message a x");
}

#[test]
fn many_listeners_and_patterns_come_and_go() {
    let server = start(Program::Redstart, &[]);
    let mut asker = server.connect();
    let mut listeners: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    for (number, listener) in listeners.iter_mut().enumerate() {
        listener.words("SUBSCRIBE all");
        listener.words(&format!("PSUBSCRIBE p{}:*", number % 10));
        if number % 2 == 0 {
            listener.words(&format!("SUBSCRIBE own:{number}"));
        }
    }
    assert_eq!(asker.words("PUBLISH all x"), Value::Integer(200));
    assert_eq!(asker.words("PUBLISH p3:x x"), Value::Integer(20));
    assert_eq!(asker.words("PUBSUB NUMPAT"), Value::Integer(10));
    assert_eq!(info(&mut asker, "pubsub_clients"), 200);
    listeners.drain(..100);
    await_that("a hundred fewer", || asker.words("PUBLISH all x") == Value::Integer(100));
    assert_eq!(asker.words("PUBSUB CHANNELS own:*").elements().len(), 50);
    drop(listeners);
    await_that("nobody", || asker.words("PUBLISH all x") == Value::Integer(0));
    assert_eq!(info(&mut asker, "pubsub_clients"), 0);
    assert_eq!(asker.words("PUBSUB NUMPAT"), Value::Integer(0));
}
