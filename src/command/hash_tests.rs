//! Hashes and the expiry times of their fields, one command after the other: replies, what goes into
//! the log, what is noticed, and what is gone when.

use crate::base::env::UnixMillis;
use crate::command::generic_tests::{NOW, World};
use crate::keyspace::databases::{DbIndex, ExpiryMode};

/// A world with two hashes: h without expiry times, t whose field a expires in 10 seconds and b in
/// 20, c never.
fn world() -> World {
    let mut world = World::new();
    world.run("HSET h a 1 b 2 c 3");
    world.run("HSET t a 1 b 2 c 3");
    world.run("HEXPIRE t 10 FIELDS 1 a");
    world.run("HEXPIRE t 20 FIELDS 1 b");
    world.databases.unit.clear();
    world
}

/// Runs each command in a world of its own, as h and t are at the beginning.
fn check(cases: &[(&str, &str, &str, &str)]) {
    for (command, reply, logged, noticed) in cases {
        let mut world = world();
        assert_eq!(world.run(command), *reply, "{command}");
        assert_eq!(world.logged(), *logged, "{command}");
        assert_eq!(world.noticed(), *noticed, "{command}");
    }
}

#[test]
fn what_is_logged_and_noticed() {
    check(&[
        ("HSET h a 9 d 4", ":1", "=", "hset:0:h"),
        ("HSET n a 9", ":1", "=", "new:0:n hset:0:n"),
        ("HSETNX h a 9", ":0", "", ""),
        ("HSETNX h d 9", ":1", "=", "hset:0:h"),
        ("HDEL h a nosuch a", ":1", "=", "hdel:0:h"),
        ("HDEL h a b c", ":3", "=", "hdel:0:h del:0:h"),
        ("HDEL h nosuch", ":0", "", ""),
        ("HDEL nosuch a", ":0", "", ""),
        ("HINCRBY h a 5", ":6", "=", "hincrby:0:h"),
        ("HINCRBYFLOAT h a 0.5", "$3|1.5", "HSET h a 1.5", "hincrbyfloat:0:h"),
        (
            "HINCRBYFLOAT t a 0.5",
            "$3|1.5",
            "HSET t a 1.5;HPEXPIREAT t 1800000010000 FIELDS 1 a",
            "hincrbyfloat:0:t",
        ),
        ("HSCAN h 0 NOVALUES", "*2|$1|0|*3|$1|a|$1|b|$1|c", "", ""),
        ("HSCAN h 0 MATCH [ab] COUNT 1", "*2|$1|0|*4|$1|a|$1|1|$1|b|$1|2", "", ""),
    ]);
}

#[test]
fn expiry_times_are_set_by_condition() {
    let at = "HPEXPIREAT t 1800000015000 FIELDS";
    let cases = [
        // a expires before, b after, c never; d isn't there.
        ("", "*4|:1|:1|:1|:-2", "3 a b c"),
        ("NX ", "*4|:0|:0|:1|:-2", "1 c"),
        ("XX ", "*4|:1|:1|:0|:-2", "2 a b"),
        ("GT ", "*4|:1|:0|:0|:-2", "1 a"),
        ("LT ", "*4|:0|:1|:1|:-2", "2 b c"),
    ];
    for (condition, reply, fields) in cases {
        for command in [
            "HEXPIRE t 15",
            "HPEXPIRE t 15000",
            "HEXPIREAT t 1800000015",
            "HPEXPIREAT t 1800000015000",
        ] {
            let command = format!("{command} {condition}FIELDS 4 a b c d");
            let logged = format!("{at} {fields}");
            check(&[(command.as_str(), reply, logged.as_str(), "hexpire:0:t")]);
        }
    }
    check(&[
        ("HPEXPIRE t 15000 gt fields 1 c", "*1|:0", "", ""),
        ("HPEXPIRE nosuch 15000 FIELDS 2 a b", "*2|:-2|:-2", "", ""),
        // A time that has passed removes the field, where the condition holds.
        ("HEXPIRE t 0 FIELDS 2 a d", "*2|:2|:-2", "HDEL t a", "hdel:0:t"),
        ("HEXPIREAT t 1 XX FIELDS 2 a c", "*2|:2|:0", "HDEL t a", "hdel:0:t"),
        ("HPEXPIREAT t 1800000000000 GT FIELDS 1 a", "*1|:0", "", ""),
        ("HPEXPIRE t 0 FIELDS 3 a b c", "*3|:2|:2|:2", "HDEL t a b c", "hdel:0:t del:0:t"),
        ("HPERSIST t FIELDS 3 a c d", "*3|:1|:-1|:-2", "=", "hpersist:0:t"),
        ("HPERSIST t FIELDS 1 c", "*1|:-1", "", ""),
        ("HPERSIST nosuch FIELDS 1 c", "*1|:-2", "", ""),
    ]);
}

#[test]
fn expiry_times_are_told() {
    let mut world = world();
    world.run("HPEXPIRE t 1500 FIELDS 1 c");
    world.at(NOW + 1);
    for (command, reply) in [
        ("HTTL t FIELDS 4 a b c d", "*4|:10|:20|:2|:-2"),
        ("HPTTL t FIELDS 4 a b c d", "*4|:9999|:19999|:1499|:-2"),
        ("HEXPIRETIME t FIELDS 3 a b c", "*3|:1800000010|:1800000020|:1800000002"),
        ("HPEXPIRETIME t FIELDS 2 c d", "*2|:1800000001500|:-2"),
        ("HTTL h FIELDS 1 a", "*1|:-1"),
        ("HTTL nosuch FIELDS 2 a b", "*2|:-2|:-2"),
    ] {
        assert_eq!(world.run(command), reply, "{command}");
    }
}

#[test]
fn fields_and_times_at_once() {
    check(&[
        ("HGETDEL h FIELDS 3 a a d", "*3|$1|1|$-1|$-1", "HDEL h a", "hdel:0:h"),
        ("HGETDEL t FIELDS 3 a b c", "*3|$1|1|$1|2|$1|3", "HDEL t a b c", "hdel:0:t del:0:t"),
        ("HGETDEL nosuch FIELDS 2 a b", "*2|$-1|$-1", "", ""),
        ("HGETEX h FIELDS 2 a d", "*2|$1|1|$-1", "", ""),
        ("HGETEX nosuch EX 5 FIELDS 1 d", "*1|$-1", "", ""),
        (
            "HGETEX h EX 5 FIELDS 2 a d",
            "*2|$1|1|$-1",
            "HPEXPIREAT h 1800000005000 FIELDS 1 a",
            "hexpire:0:h",
        ),
        (
            "HGETEX h PXAT 1800000000001 FIELDS 1 a",
            "*1|$1|1",
            "HPEXPIREAT h 1800000000001 FIELDS 1 a",
            "hexpire:0:h",
        ),
        ("HGETEX h PX 0 FIELDS 1 a", "*1|$1|1", "HDEL h a", "hdel:0:h"),
        ("HGETEX t PERSIST FIELDS 2 a c", "*2|$1|1|$1|3", "HPERSIST t FIELDS 1 a", "hpersist:0:t"),
        ("HSETEX t FIELDS 2 a 5 d 6", ":1", "HSET t a 5 d 6", "hset:0:t"),
        (
            "HSETEX t KEEPTTL FIELDS 3 a 5 b 6 d 7",
            ":1",
            "HSET t a 5 b 6 d 7;HPEXPIREAT t 1800000010000 FIELDS 1 a;\
             HPEXPIREAT t 1800000020000 FIELDS 1 b",
            "hset:0:t",
        ),
        (
            "HSETEX n EXAT 1900000000 FIELDS 1 a 5",
            ":1",
            "HSET n a 5;HPEXPIREAT n 1900000000000 FIELDS 1 a",
            "new:0:n hset:0:n hexpire:0:n",
        ),
        ("HSETEX t FNX FIELDS 2 d 5 a 6", ":0", "", ""),
        ("HSETEX t FXX FIELDS 2 d 5 a 6", ":0", "", ""),
        ("HSETEX nosuch FXX FIELDS 1 d 5", ":0", "", ""),
        ("HSETEX t FNX FIELDS 1 d 5", ":1", "HSET t d 5", "hset:0:t"),
        ("HSETEX t fxx PX 0 FIELDS 1 a 5", ":1", "HDEL t a", "hdel:0:t"),
        ("HSETEX n EX 0 FIELDS 1 a 5", ":1", "", ""),
    ]);
}

#[test]
fn wrong_arguments_are_named() {
    let fields = "-ERR Mandatory argument FIELDS is missing or not at the right position";
    let number = "-ERR The `numfields` parameter must match the number of arguments";
    let positive = "-ERR Number of fields must be a positive integer";
    let cases = [
        ("HEXPIRE h x FIELDS 1 a", "-ERR value is not an integer or out of range"),
        ("HEXPIRE h -1 FIELDS 1 a", "-ERR invalid expire time, must be >= 0"),
        ("HEXPIRE h 9223372036854775 FIELDS 1 a", "-ERR invalid expire time in 'hexpire' command"),
        (
            "HPEXPIREAT h 70368744177664 FIELDS 1 a",
            "-ERR invalid expire time in 'hpexpireat' command",
        ),
        ("HPEXPIREAT h 70368744177663 FIELDS 1 a", "*1|:1"),
        ("HEXPIRE h 1 NX XX FIELDS 1 a", fields),
        ("HEXPIRE h 1 1 a b", fields),
        ("HEXPIRE h 1 NX FIELDS 1", number),
        ("HEXPIRE h 1 FIELDS 2 a", number),
        ("HEXPIRE h 1 FIELDS 1 a b", number),
        ("HEXPIRE h 1 FIELDS 0 a", "-ERR Parameter `numFields` should be greater than 0"),
        ("HTTL h FIELDS 0 a", positive),
        ("HPERSIST h FIELDS x a", positive),
        ("HPERSIST h FIELD 1 a", fields),
        ("HGETDEL h FIELDS 2 a", number),
        ("HTTL s FIELDS 0 a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HSETEX h FNX FXX FIELDS 1 a 1", "-ERR Only one of FXX or FNX arguments can be specified"),
        (
            "HSETEX h EX 1 KEEPTTL FIELDS 1 a 1",
            "-ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
        ),
        (
            "HGETEX h PERSIST EX 1 FIELDS 1 a",
            "-ERR Only one of EX, PX, EXAT, PXAT or PERSIST arguments can be specified",
        ),
        ("HGETEX h KEEPTTL FIELDS 1 a", "-ERR unknown argument: KEEPTTL"),
        ("HGETEX h FNX FIELDS 1 a", "-ERR unknown argument: FNX"),
        ("HGETEX h FIELDS 0 a", "-ERR invalid number of fields"),
        ("HGETEX h FIELDS 2 a", "-ERR wrong number of arguments for 'hgetex' command"),
        ("HSETEX h EX 5 FIELDS 1 a", "-ERR wrong number of arguments for 'hsetex' command"),
        ("HSETEX h NX XX FIELDS 1 a 1", "-ERR Only one of XX or NX arguments can be specified"),
        ("HSETEX h NX FIELDS 1 a 1", ":0"),
        ("HSETEX none XX FIELDS 1 a 1", ":0"),
        ("EXISTS none", ":0"),
        ("HSETEX h FIELDS 1 a 1 b", "-ERR wrong number of arguments for 'hsetex' command"),
        ("HSCAN h 0 TYPE hash", "-ERR syntax error"),
        ("HSCAN h 0 COUNT 0", "-ERR syntax error"),
        ("HSCAN h x", "-ERR invalid cursor"),
        ("HSET h a 1 b", "-ERR wrong number of arguments for 'hset' command"),
    ];
    for (command, reply) in cases {
        let mut world = world();
        world.run("SET s 1");
        assert_eq!(world.run(command), reply, "{command}");
    }
}

#[test]
fn due_fields_are_gone_to_every_command() {
    let gone = "HDEL t a";
    for (command, reply, logged) in [
        ("HGET t a", "$-1", "HDEL t a".to_owned()),
        ("HLEN t", ":2", gone.to_owned()),
        ("HGETALL t", "*4|$1|b|$1|2|$1|c|$1|3", gone.to_owned()),
        ("EXISTS t", ":1", gone.to_owned()),
        ("HSETNX t a 5", ":1", format!("{gone};=")),
        ("HINCRBY t a 5", ":5", format!("{gone};=")),
        ("HTTL t FIELDS 2 a b", "*2|:-2|:10", gone.to_owned()),
        ("HPERSIST t FIELDS 1 a", "*1|:-2", gone.to_owned()),
        ("HEXPIRE t 5 FIELDS 1 a", "*1|:-2", gone.to_owned()),
        ("RENAME t u", "+OK", format!("{gone};=")),
        ("COPY t u", ":1", format!("{gone};=")),
        ("DEL t", ":1", format!("{gone};=")),
    ] {
        let mut world = world();
        world.at(NOW + 10_000);
        assert_eq!(world.run(command), reply, "{command}");
        assert_eq!(world.logged(), logged, "{command}");
        assert!(world.noticed().starts_with("hexpired:0:t"), "{command}");
        assert_eq!(world.databases.stats.expired_fields, 1);
    }
    let mut world = world();
    world.run("HPEXPIRE t 5 FIELDS 1 c");
    world.at(NOW + 20_000);
    assert_eq!(world.run("HLEN t"), ":0");
    assert_eq!(world.logged(), "HDEL t c a b");
    assert_eq!(world.noticed(), "hexpired:0:t del:0:t keymiss:0:t");
    assert_eq!(world.run("EXISTS t"), ":0");
}

#[test]
fn due_fields_go_in_the_background() {
    let mut world = world();
    for key in 0..50 {
        world.run(&format!("HSETEX big:{key} PX {} FIELDS 2 a 1 b 2", 100 + key));
        world.run(&format!("HSET big:{key} c 3"));
    }
    assert_eq!(world.databases.expiring_hashes(DbIndex(0)), 51);
    assert_eq!(world.databases.expire_fields_due(1000), 0);
    world.at(NOW + 124);
    world.databases.unit.clear();
    // Rounds are bounded, within a hash as well.
    assert_eq!(world.databases.expire_fields_due(3), 3);
    assert_eq!(world.logged(), "HDEL big:0 a b;HDEL big:1 a");
    assert_eq!(world.databases.expire_fields_due(1000), 47);
    assert_eq!(world.databases.expiring_hashes(DbIndex(0)), 26);
    assert_eq!(world.run("HGETALL big:24"), "*2|$1|c|$1|3");
    assert_eq!(world.run("HLEN big:25"), ":3");
    // Nothing expires while it is paused, or while the log is replayed.
    world.at(NOW + 1_000);
    world.databases.set_expiry_mode(ExpiryMode::Absent);
    assert_eq!(world.databases.expire_fields_due(1000), 0);
    assert_eq!(world.run("HLEN big:25"), ":1");
    world.databases.set_expiry_mode(ExpiryMode::AsLogged);
    assert_eq!(world.databases.expire_fields_due(1000), 0);
    assert_eq!(world.run("HLEN big:25"), ":3");
    world.databases.set_expiry_mode(ExpiryMode::Active);
    assert_eq!(world.run("HLEN big:25"), ":1");
}

#[test]
fn a_big_hash_goes_at_once_where_all_of_it_is_due() {
    let mut world = world();
    world.limits.thresholds.hash_entries = 2;
    world.run("HSETEX big PX 10 FIELDS 4 a 1 b 2 c 3 d 4");
    world.run("HSETEX rest PX 10 FIELDS 4 a 1 b 2 c 3 d 4");
    world.run("HSET rest b 1");
    world.at(NOW + 10);
    assert_eq!(world.run("HLEN big"), ":0");
    assert_eq!(world.logged(), "UNLINK big");
    assert_eq!(world.noticed(), "hexpired:0:big del:0:big keymiss:0:big");
    assert_eq!(world.run("HLEN rest"), ":1");
    assert_eq!(world.databases.stats.expired_fields, 7);
    assert_eq!(world.databases.expiring_hashes(DbIndex(0)), 1, "t");
}

#[test]
fn fields_that_must_not_change_read_as_absent_and_stay() {
    for entries_max in [100, 1] {
        let mut world = world();
        world.limits.thresholds.hash_entries = entries_max;
        world.run("HSETEX part PX 10 FIELDS 2 a 1 b 2");
        world.run("HSET part c 3");
        world.run("HSETEX whole PX 10 FIELDS 2 a 1 b 2");
        world.run("DEL t h");
        world.databases.set_expiry_mode(ExpiryMode::Absent);
        world.at(NOW + 10);
        world.databases.stats.misses = 0;
        for (command, reply) in [
            ("HGET part a", "$-1"),
            ("HMGET part a c", "*2|$-1|$1|3"),
            ("HGETALL part", "*2|$1|c|$1|3"),
            ("HLEN part", ":1"),
            ("HEXISTS part b", ":0"),
            ("HSTRLEN part b", ":0"),
            ("HRANDFIELD part 5", "*1|$1|c"),
            ("HSCAN part 0", "*2|$1|0|*2|$1|c|$1|3"),
            ("HPTTL part FIELDS 2 a c", "*2|:-2|:-1"),
            ("EXISTS part whole", ":1"),
            ("TYPE whole", "+none"),
            ("HLEN whole", ":0"),
            ("KEYS *", "*1|$4|part"),
            ("DBSIZE", ":2"),
        ] {
            assert_eq!(world.run(command), reply, "{command}");
            assert_eq!(world.logged(), "", "{command}");
            assert!(!world.noticed().contains("expired"), "{command}");
        }
        assert_eq!(world.databases.stats.misses, 3, "EXISTS, TYPE and HLEN of the whole");
        assert_eq!(world.databases.expire_fields_due(1000), 0);
        assert_eq!(world.databases.stats.expired_fields, 0);
        world.databases.set_expiry_mode(ExpiryMode::Active);
        assert_eq!(world.run("HLEN part"), ":1");
        assert_eq!(world.logged(), "HDEL part a b");
    }
}

#[test]
fn fields_expire_by_turns_among_the_databases() {
    let mut world = world();
    world.run("DEL t");
    for number in 0..100 {
        world.run(&format!("HSETEX h{number} PX 10 FIELDS 1 a 1"));
    }
    world.run("HSETEX other PX 10 FIELDS 1 a 1");
    world.run("MOVE other 5");
    world.at(NOW + 10);
    assert_eq!(world.databases.expire_fields_due(10), 10);
    assert_eq!(world.databases.expire_fields_due(10), 10);
    assert_eq!(world.databases.expiring_hashes(DbIndex(5)), 0);
    assert_eq!(world.databases.expiring_hashes(DbIndex(0)), 81);
}

#[test]
fn expiry_times_go_with_the_hash() {
    let mut world = world();
    let times =
        |world: &mut World, key: &str| world.run(&format!("HPEXPIRETIME {key} FIELDS 3 a b c"));
    let expected = "*3|:1800000010000|:1800000020000|:-1";
    world.run("COPY t copy");
    world.run("RENAME t renamed");
    world.run("COPY copy copy DB 3");
    for key in ["copy", "renamed"] {
        assert_eq!(times(&mut world, key), expected, "{key}");
    }
    assert_eq!(world.databases.expiring_hashes(DbIndex(0)), 2);
    assert_eq!(world.databases.expiring_hashes(DbIndex(3)), 1);
    world.run("SWAPDB 0 3");
    assert_eq!(times(&mut world, "copy"), expected);
    assert_eq!(times(&mut world, "renamed"), "*3|:-2|:-2|:-2");
    world.run("SET copy string");
    assert_eq!(world.databases.expiring_hashes(DbIndex(0)), 0);
    world.run("SWAPDB 0 3");
    world.run("HSET renamed a 5");
    assert_eq!(times(&mut world, "renamed"), "*3|:-1|:1800000020000|:-1");
    world.run("HDEL renamed b");
    assert_eq!(world.databases.expiring_hashes(DbIndex(0)), 1, "of copy only");
    world.run("FLUSHALL");
    assert_eq!(world.databases.expiring_hashes(DbIndex(0)), 0);
    world.at(NOW + 100_000);
    assert_eq!(world.databases.expire_fields_due(10), 0);
}

#[test]
fn a_log_sets_times_that_have_passed() {
    let mut world = world();
    world.replaying = true;
    world.databases.set_expiry_mode(ExpiryMode::AsLogged);
    assert_eq!(world.run("HPEXPIREAT h 1700000000000 FIELDS 1 a"), "*1|:1");
    assert_eq!(world.run("HGET h a"), "$1|1");
    world.replaying = false;
    world.databases.set_expiry_mode(ExpiryMode::Active);
    world.databases.set_now(UnixMillis(NOW));
    assert_eq!(world.run("HGET h a"), "$-1");
    assert_eq!(world.logged(), "HDEL h a");
}

#[test]
fn forms_change_at_their_limits() {
    let mut world = world();
    world.limits.thresholds.hash_entries = 4;
    for (command, encoding) in [
        ("HSET h d 4", "listpack"),
        ("HSET h a 5", "listpack"),
        ("HEXPIRE h 100 FIELDS 1 a", "listpackex"),
        ("HPERSIST h FIELDS 1 a", "listpackex"),
        ("HSET h e 5", "hashtable"),
        ("HDEL h e d c", "hashtable"),
    ] {
        world.run(command);
        let reply = world.run("OBJECT ENCODING h");
        assert!(reply.ends_with(&format!("|{encoding}")), "{command}: {reply}");
    }
}

/// Before, only what was really there counted, and `HSET` of 600 pairs of one field left a listpack.
#[test]
fn a_command_of_many_elements_ends_the_compact_form() {
    let many = |word: &str, count: usize| format!(" {word}").repeat(count);
    for (first, command, word, limit, forms) in [
        ("HSET k f v", "HSET k", "f v", 512, ["listpack", "hashtable"]),
        ("EXISTS k", "HMSET k", "f v", 512, ["listpack", "hashtable"]),
        ("ZADD k 1 m", "ZADD k", "1 m", 128, ["listpack", "skiplist"]),
        ("ZADD k 1 m", "ZADD k XX", "1 m", 128, ["listpack", "skiplist"]),
        ("SADD k m", "SADD k", "m", 128, ["listpack", "hashtable"]),
    ] {
        for (count, form) in [(limit, forms[0]), (limit + 1, forms[1])] {
            let mut world = World::new();
            world.run(first);
            world.run(&format!("{command}{}", many(word, count)));
            let reply = world.run("OBJECT ENCODING k");
            assert!(reply.ends_with(form), "{command} {count}: {reply}");
        }
    }
}
