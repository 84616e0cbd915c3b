//! Transactions between clients: what another client does between MULTI and EXEC, or while keys are
//! watched. Each story is told to redis-server as well.

mod support;

use support::client::Client;
use support::server::{Program, Server};

const BOTH: [Program; 2] = [Program::Redis, Program::Redstart];

fn each(mut story: impl FnMut(&Server, Client, Client)) {
    for program in BOTH {
        let directives = ["--appendonly", "no", "--save", "", "--enable-debug-command", "yes"];
        let server = Server::start_with(program, &directives);
        println!("{}", program.name());
        story(&server, server.connect(), server.connect());
    }
}

/// Upstream's unit/multi found that EXEC ran commands that would each have been refused.
#[test]
fn exec_is_refused_for_what_its_commands_may_not_do() {
    each(|_, mut client, mut other| {
        client.words("SET a 1");
        client.words("MULTI");
        client.words("SET a 2");
        client.words("GET a");
        assert_eq!(other.words("CONFIG SET maxmemory 1").text(), "OK");
        assert_eq!(
            client.words("EXEC").text(),
            "EXECABORT Transaction discarded because of: OOM command not allowed when used memory > \
             'maxmemory'."
        );
        // It is over, and nothing of it was done.
        assert_eq!(client.words("GET a").text(), "1");
        assert_eq!(client.words("EXEC").text(), "ERR EXEC without MULTI");
        assert_eq!(other.words("CONFIG SET maxmemory 0").text(), "OK");
        client.words("MULTI");
        client.words("GET a");
        assert_eq!(other.words("CONFIG SET maxmemory 1").text(), "OK");
        assert_eq!(client.words("EXEC").elements()[0].text(), "1");
    });
}

/// A snapshot that begins between two commands of a transaction would have half of it.
#[test]
fn a_snapshot_asked_for_in_a_transaction_has_it_whole() {
    each(|_, mut client, _| {
        for command in ["MULTI", "SET a 1", "BGSAVE", "SET b 1"] {
            client.words(command);
        }
        let replies = client.words("EXEC");
        assert_eq!(replies.elements()[1].text(), "Background saving scheduled");
        let saved = "rdb_changes_since_last_save:0\r\n";
        while !client.words("INFO persistence").text().contains(saved) {
            std::thread::yield_now();
        }
        assert_eq!(client.words("DEBUG RELOAD NOSAVE").text(), "OK");
        let left = client.words("MGET a b");
        assert!(left.elements().iter().all(|value| value.text() == "1"), "{left:?}");
    });
}

/// Scripts that say what they do are judged by that, queued ones too: they were judged when they ran, and
/// a reading one stood still in a pause of writes.
#[test]
fn queued_scripts_are_judged_by_what_they_say_of_themselves() {
    let states = [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    ];
    let library = "#!lua name=l\nlocal function one() return 1 end\n\
        redis.register_function{function_name='reads', callback=one, flags={'no-writes'}}\n\
        redis.register_function('writes', one)";
    let scripts = [
        "EVAL|return 1|0",
        "EVAL|#!lua\nreturn 1|0",
        "EVAL|#!lua flags=no-writes\nreturn 1|0",
        "EVAL|#!lua flags=allow-oom\nreturn 1|0",
        "EVAL_RO|#!lua\nreturn 1|0",
        "FCALL|reads|0",
        "FCALL|writes|0",
        "FCALL|no-such|0",
        "FCALL_RO|reads|0",
    ];
    let mut told = Vec::new();
    each(|_, mut client, mut other| {
        client.call(&["FUNCTION", "LOAD", library]);
        let mut replies = Vec::new();
        for (enter, leave) in states {
            for script in scripts {
                let script: Vec<&str> = script.split('|').collect();
                for early in [true, false] {
                    if early {
                        other.words(enter);
                    }
                    client.words("MULTI");
                    let queued = client.call(&script);
                    if !early {
                        other.words(enter);
                    }
                    let outcome = client.words("EXEC");
                    other.words(leave);
                    let what = format!("{enter}, {script:?}, {early}");
                    replies.push(format!("{what}: {queued} {outcome}"));
                }
            }
        }
        told.push(replies);
        other.words("CLIENT PAUSE 60000 WRITE");
        for script in
            ["FCALL|reads|0", "EVAL_RO|return 1|0", "EVAL|#!lua flags=no-writes\nreturn 1|0"]
        {
            client.words("MULTI");
            client.call(&script.split('|').collect::<Vec<&str>>());
            assert_eq!(client.words("EXEC").to_string(), "*[:1]", "{script}");
        }
        other.words("CLIENT UNPAUSE");
    });
    assert_eq!(told[0], told[1]);
}

/// A function that has a script's name says nothing of that script: a reading one had EVALSHA of a
/// writing script taken into the queue.
#[test]
fn a_function_named_as_a_script_is_not_asked_about_it() {
    each(|_, mut client, mut other| {
        let name = client.call(&["SCRIPT", "LOAD", "#!lua\nreturn 1"]).text();
        let library = format!(
            "#!lua name=l\nredis.register_function{{function_name='{name}', \
             callback=function() return 2 end, flags={{'no-writes'}}}}"
        );
        assert_eq!(client.call(&["FUNCTION", "LOAD", &library]).text(), "l");
        other.words("CONFIG SET min-replicas-to-write 1");
        client.words("MULTI");
        let queued = client.words(&format!("EVALSHA {name} 0"));
        assert!(queued.text().starts_with("NOREPLICAS"), "{queued}");
        client.words("DISCARD");
        client.words("MULTI");
        client.words(&format!("FCALL {name} 0"));
        assert_eq!(client.words("EXEC").to_string(), "*[:2]");
        other.words("CONFIG SET min-replicas-to-write 0");
    });
}

/// A HyperLogLog that is stored in its other encoding counts what it counted.
#[test]
fn what_turns_a_hyperloglog_dense_breaks_no_transaction() {
    each(|_, mut client, mut other| {
        for command in ["PFDEBUG GETREG h", "PFDEBUG TODENSE h", "PFADD h b"] {
            other.words("DEL h");
            other.words("PFADD h a");
            client.words("WATCH h");
            client.words("MULTI");
            client.words("PING");
            assert!(!other.words(command).is_error(), "{command}");
            assert_eq!(
                client.words("EXEC").elements().is_empty(),
                command == "PFADD h b",
                "{command}"
            );
        }
    });
}

/// The key that a swap puts in place of a watched one may have expired already: then nothing has
/// changed for the watcher.
#[test]
fn a_swap_of_expired_keys_breaks_no_transaction() {
    each(|_, mut client, _| {
        assert_eq!(client.words("DEBUG SET-ACTIVE-EXPIRE 0").text(), "OK");
        for (here, there, breaks) in [
            (None, Some("PXAT 1"), false),
            (Some("PXAT 1"), Some("PXAT 1"), false),
            (Some("PXAT 1"), None, false),
            (None, None, false),
            (None, Some("KEEPTTL"), true),
            (Some("KEEPTTL"), None, true),
            (Some("KEEPTTL"), Some("KEEPTTL"), true),
            (Some("KEEPTTL"), Some("PXAT 1"), true),
            (Some("PXAT 1"), Some("KEEPTTL"), true),
        ] {
            client.words("FLUSHALL");
            for (database, options) in [(0, there), (1, here)] {
                client.words(&format!("SELECT {database}"));
                if let Some(options) = options {
                    assert_eq!(client.words(&format!("SET x v {options}")).text(), "OK");
                }
            }
            client.words("WATCH x");
            assert_eq!(client.words("SWAPDB 0 1").text(), "OK");
            client.words("MULTI");
            client.words("PING");
            let broken = client.words("EXEC").elements().is_empty();
            assert_eq!(broken, breaks, "{here:?} replaced by {there:?}");
        }
    });
}
