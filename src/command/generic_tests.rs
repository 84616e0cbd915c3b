//! What a comparison with another server's replies can't see of the commands on whole keys: what
//! goes into the log, what is noticed, what the access bytes become.

use crate::base::env::{Rng, UnixMillis};
use crate::command::args::Args;
use crate::command::context::{Cx, Limits};
use crate::command::spec::{Command, DataHandler, Effect};
use crate::command::{FAMILIES, scan};
use crate::data::value::{NewValue, ValueRef};
use crate::keyspace::databases::{Databases, DbIndex, Expiry, ExpiryMode};
use crate::keyspace::digest::{Digest, digest_all, digest_value};
use crate::keyspace::reclaim::Reclaimer;
use crate::keyspace::unit::{Classes, Event};
use crate::rdb::encode::dump_payload;
use crate::resp::reply::{Protocol, Reply};
use crate::resp::request::Range;

/// A moment in 2027, in milliseconds.
pub(super) const NOW: i64 = 1_800_000_000_000;

/// Databases and what a command is run with.
pub(super) struct World {
    pub(super) databases: Databases,
    rng: Rng,
    pub(super) limits: Limits,
    now: i64,
    pub(super) replaying: bool,
}

impl World {
    pub(super) fn new() -> Self {
        let mut databases = Databases::new(16, 1, Reclaimer::default());
        databases.unit.recording = true;
        databases.unit.observed = Classes::ALL;
        let limits = Limits::default();
        let mut world =
            Self { databases, rng: Rng::from_seed(1), limits, now: 0, replaying: false };
        world.at(NOW);
        world
    }

    pub(super) fn at(&mut self, now: i64) {
        self.now = now;
        self.databases.set_now(UnixMillis(now));
    }

    fn lfu(&mut self) {
        self.limits.lfu = true;
        self.databases.policy.lfu = true;
    }

    fn put(&mut self, key: &str, value: &str, expiry: Option<i64>) {
        let expiry = expiry.map_or(Expiry::Clear, |at| Expiry::At(UnixMillis(at)));
        let value = NewValue::from_bytes(value.as_bytes());
        self.databases.db(DbIndex(0)).put(key.as_bytes(), value, expiry, Event::SET);
        self.databases.unit.clear();
    }

    /// Runs a command and returns its reply, line ends as `|`.
    pub(super) fn run(&mut self, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.run_words(&words)
    }

    pub(super) fn run_words(&mut self, words: &[&[u8]]) -> String {
        self.databases.unit.clear();
        let row = find(words);
        let buffer = words.concat();
        let mut ranges = Vec::new();
        let mut start = 0;
        for word in words {
            ranges.push(Range::new(start, word.len()));
            start += word.len();
        }
        let args = Args::new(&buffer, &ranges);
        assert!(row.spec.arity.admits(args.len()), "{words:?}");
        let mut out = Vec::new();
        let mut cx = Cx {
            databases: &mut self.databases,
            selected: DbIndex(0),
            reply: Reply::new(&mut out, Protocol::Resp2),
            now: UnixMillis(self.now),
            rng: &mut self.rng,
            limits: &self.limits,
            replaying: self.replaying,
            in_script: false,
        };
        let changes = cx.databases.unit.changes;
        match (row.run)(&mut cx, args) {
            Ok(_) => assert!(cx.reply.position() > 0, "{words:?} must answer"),
            Err(error) => {
                assert_eq!(cx.reply.position(), 0, "{words:?} answered before it failed");
                cx.reply.error(error);
            }
        }
        let changed = cx.databases.unit.changes != changes;
        match row.spec.effect {
            Effect::None => assert!(!changed, "{words:?} changed something"),
            Effect::Verbatim => self.databases.unit.verbatim = changed,
            Effect::Rewritten => {
                let unit = &self.databases.unit;
                assert!(!changed || unit.verbatim || unit.record_count() > 0, "{words:?}");
            }
        }
        let text = String::from_utf8_lossy(&out).replace("\r\n", "|");
        text.trim_end_matches('|').to_owned()
    }

    /// What the last command left for the log, records separated by `;`, `=` for the command itself.
    pub(super) fn logged(&self) -> String {
        let mut records: Vec<String> = Vec::new();
        for (_, record) in self.databases.unit.records() {
            let text = String::from_utf8_lossy(record).into_owned();
            let words: Vec<&str> = text.split("\r\n").skip(2).step_by(2).collect();
            records.push(words.join(" "));
        }
        if self.databases.unit.verbatim {
            records.push("=".to_owned());
        }
        records.join(";")
    }

    /// What the last command left to be noticed, as `event:db:key`.
    pub(super) fn noticed(&self) -> String {
        let notices = self.databases.unit.notices.iter().map(|notice| {
            let key = String::from_utf8_lossy(&notice.key);
            format!("{}:{}:{key}", notice.event.name, notice.db.0)
        });
        notices.collect::<Vec<_>>().join(" ")
    }

    fn expiry(&mut self, key: &str) -> Option<i64> {
        let mut db = self.databases.db(DbIndex(0));
        db.peek(key.as_bytes()).unwrap().expiry().map(|at| at.0)
    }
}

fn find(words: &[&[u8]]) -> &'static Command<DataHandler> {
    let named = |word: &[u8], row: &Command<DataHandler>| {
        row.spec.name.as_bytes().eq_ignore_ascii_case(word)
    };
    let row = FAMILIES.iter().flat_map(|rows| rows.iter()).find(|row| named(words[0], row));
    let row = row.unwrap();
    let subcommand = row.subcommands.iter().find(|row| words.len() > 1 && named(words[1], row));
    subcommand.unwrap_or(row)
}

#[test]
fn what_is_logged_and_noticed() {
    // Before each command there are: a, b without expiry, t with one, gone whose time has come.
    let cases: &[(&str, &str, &str, &str)] = &[
        ("DEL a nosuch a b", ":2", "=", "del:0:a del:0:b"),
        ("DEL nosuch", ":0", "", ""),
        ("DEL gone", ":0", "DEL gone", "expired:0:gone"),
        ("UNLINK a", ":1", "=", "del:0:a"),
        ("EXISTS a a gone", ":2", "DEL gone", "expired:0:gone keymiss:0:gone"),
        ("EXPIRE a 10", ":1", "PEXPIREAT a 1800000010000", "expire:0:a"),
        ("PEXPIRE a 10 NX", ":1", "PEXPIREAT a 1800000000010", "expire:0:a"),
        ("EXPIREAT a 1900000000", ":1", "PEXPIREAT a 1900000000000", "expire:0:a"),
        ("PEXPIREAT a 1900000000000", ":1", "=", "expire:0:a"),
        ("PEXPIREAT a 1900000000000 LT", ":1", "PEXPIREAT a 1900000000000", "expire:0:a"),
        ("PEXPIREAT a 1800000000001", ":1", "=", "expire:0:a"),
        ("PEXPIREAT a 1800000000000", ":1", "DEL a", "del:0:a"),
        ("EXPIRE a -1", ":1", "DEL a", "del:0:a"),
        ("EXPIRE a -1 GT", ":0", "", ""),
        ("EXPIRE t 1 NX", ":0", "", ""),
        ("EXPIRE t 9 XX", ":1", "PEXPIREAT t 1800000009000", "expire:0:t"),
        ("EXPIRE t 100 LT", ":0", "", ""),
        ("EXPIRE t 100 GT", ":0", "", ""),
        ("EXPIRE t 101 GT", ":1", "PEXPIREAT t 1800000101000", "expire:0:t"),
        ("EXPIRE gone 10", ":0", "DEL gone", "expired:0:gone"),
        ("PERSIST t", ":1", "=", "persist:0:t"),
        ("PERSIST a", ":0", "", ""),
        ("RENAME a c", "+OK", "=", "new:0:c rename_from:0:a rename_to:0:c"),
        ("RENAME a b", "+OK", "=", "new:0:b rename_from:0:a rename_to:0:b"),
        ("RENAME a a", "+OK", "", ""),
        ("RENAME gone a", "-ERR no such key", "DEL gone", "expired:0:gone"),
        (
            "RENAME a gone",
            "+OK",
            "DEL gone;=",
            "expired:0:gone new:0:gone rename_from:0:a rename_to:0:gone",
        ),
        ("RENAMENX a b", ":0", "", ""),
        ("RENAMENX a c", ":1", "=", "new:0:c rename_from:0:a rename_to:0:c"),
        ("MOVE a 3", ":1", "=", "new:3:a move_from:0:a move_to:3:a"),
        ("COPY a b", ":0", "", ""),
        ("COPY a b REPLACE", ":1", "=", "new:0:b copy_to:0:b"),
        ("COPY a b DB 2", ":1", "=", "new:2:b copy_to:2:b"),
        ("KEYS gon*", "*0", "", ""),
        ("SCAN 0 COUNT 1000 MATCH gone", "*2|$1|0|*0", "DEL gone", "expired:0:gone"),
        ("FLUSHDB", "+OK", "=", ""),
        ("FLUSHALL ASYNC", "+OK", "=", ""),
        ("SWAPDB 0 0", "+OK", "=", ""),
        ("SWAPDB 0 1", "+OK", "=", ""),
    ];
    for &(line, reply, logged, noticed) in cases {
        let mut world = World::new();
        world.put("a", "text", None);
        world.put("b", "1", None);
        world.put("t", "1", Some(NOW + 100_000));
        world.put("gone", "1", Some(NOW));
        assert_eq!(world.run(line), reply, "{line}");
        assert_eq!(world.logged(), logged, "{line}");
        assert_eq!(world.noticed(), noticed, "{line}");
    }
}

#[test]
fn what_restoring_logs_and_notices() {
    let payload = dump_payload(ValueRef::Str(b"v"), 10);
    // Options behind RESTORE, the key, and the time to live; P stands for the payload.
    let cases: &[(&[&str], &str, &str, &str)] = &[
        (&["c", "0"], "+OK", "=", "new:0:c restore:0:c"),
        (&["a", "0"], "-BUSYKEY Target key name already exists.", "", ""),
        (&["a", "0", "REPLACE"], "+OK", "=", "new:0:a restore:0:a"),
        (&["c", "5"], "+OK", "RESTORE c 1800000000005 P ABSTTL", "new:0:c restore:0:c"),
        (
            &["a", "5", "replace", "FREQ", "9"],
            "+OK",
            "RESTORE a 1800000000005 P replace FREQ 9 ABSTTL",
            "new:0:a restore:0:a",
        ),
        (&["c", "1800000000005", "ABSTTL"], "+OK", "=", "new:0:c restore:0:c"),
        (&["c", "1800000000000", "ABSTTL"], "+OK", "", ""),
        (&["a", "1", "ABSTTL", "REPLACE"], "+OK", "DEL a", "del:0:a"),
        (&["c", "9223372036854775807"], "+OK", "", ""),
        (&["c", "-1"], "-ERR Invalid TTL value, must be >= 0", "", ""),
        (&["c", "0", "FREQ", "256"], "-ERR Invalid FREQ value, must be >= 0 and <= 255", "", ""),
        (&["c", "0", "IDLETIME", "-1"], "-ERR Invalid IDLETIME value, must be >= 0", "", ""),
        (&["c", "0", "IDLETIME", "1", "FREQ", "1"], "-ERR syntax error", "", ""),
    ];
    for &(words, reply, logged, noticed) in cases {
        let mut world = World::new();
        world.put("a", "1", None);
        let mut line: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        line.insert(0, b"RESTORE");
        line.insert(3, &payload);
        assert_eq!(world.run_words(&line), reply, "{words:?}");
        let shown = world.logged().replace(&*String::from_utf8_lossy(&payload), "P");
        assert_eq!(shown, logged, "{words:?}");
        assert_eq!(world.noticed(), noticed, "{words:?}");
    }
}

#[test]
fn restoring_sets_the_access_bytes_of_the_policy_in_force() {
    let payload = dump_payload(ValueRef::Int(7), 10);
    let mut world = World::new();
    let idle: &[&[u8]] = &[b"RESTORE", b"a", b"0", &payload, b"IDLETIME", b"1000"];
    assert_eq!(world.run_words(idle), "+OK");
    assert_eq!(world.run("OBJECT IDLETIME a"), ":1000");
    let endless: &[&[u8]] = &[b"RESTORE", b"b", b"0", &payload, b"IDLETIME", b"99999999999"];
    assert_eq!(world.run_words(endless), "+OK");
    assert_eq!(world.run("OBJECT IDLETIME b"), ":16777215");
    world.lfu();
    let often: &[&[u8]] = &[b"RESTORE", b"c", b"0", &payload, b"FREQ", b"200"];
    assert_eq!(world.run_words(often), "+OK");
    assert_eq!(world.run("OBJECT FREQ c"), ":200");
    assert_eq!(world.run_words(&[b"RESTORE", b"d", b"0", &payload]), "+OK");
    assert_eq!(world.run("OBJECT FREQ d"), ":5");
}

#[test]
fn lazy_freeing_is_logged_as_such() {
    let mut world = World::new();
    world.databases.policy.lazy_expire = true;
    world.put("a", "1", None);
    world.put("gone", "1", Some(NOW));
    assert_eq!(world.run("EXPIRE a 0"), ":1");
    assert_eq!(world.logged(), "UNLINK a");
    assert_eq!(world.run("TYPE gone"), "+none");
    assert_eq!(world.logged(), "UNLINK gone");
}

#[test]
fn nothing_expires_while_the_log_is_replayed() {
    let mut world = World::new();
    world.replaying = true;
    world.databases.set_expiry_mode(ExpiryMode::AsLogged);
    world.put("a", "1", None);
    assert_eq!(world.run("PEXPIREAT a 1000"), ":1");
    assert_eq!(world.expiry("a"), Some(1000));
    assert_eq!(world.run("EXISTS a"), ":1");
    assert_eq!(world.run("RENAME a b"), "+OK");
    assert_eq!(world.expiry("b"), Some(1000));
    world.databases.set_expiry_mode(ExpiryMode::Active);
    world.replaying = false;
    assert_eq!(world.run("EXISTS b"), ":0");
}

#[test]
fn what_must_not_change_reads_as_absent_and_stays() {
    let mut world = World::new();
    world.put("gone", "1", Some(NOW + 5));
    world.put("here", "1", None);
    world.databases.set_expiry_mode(ExpiryMode::Absent);
    world.at(NOW + 5);
    for (command, reply) in [
        ("GET gone", "$-1"),
        ("EXISTS gone here", ":1"),
        ("TTL gone", ":-2"),
        ("TYPE gone", "+none"),
        ("STRLEN gone", ":0"),
        ("TOUCH gone here", ":1"),
        ("KEYS *", "*1|$4|here"),
        ("KEYS gone", "*0"),
        ("RANDOMKEY", "$4|here"),
        ("OBJECT ENCODING gone", "$-1"),
        ("DBSIZE", ":2"),
    ] {
        assert_eq!(world.run(command), reply, "{command}");
        assert_eq!(world.logged(), "", "{command}");
        assert!(!world.noticed().contains("expired"), "{command}");
    }
    assert_eq!(world.databases.expire_due(1000, 1000), 0);
    assert_eq!(world.databases.stats.expired, 0);
    // A command that writes nevertheless (a replica that may be written to) finds nothing there.
    assert_eq!(world.run("APPEND gone x"), ":1");
    assert_eq!(world.logged(), "DEL gone;=");
    world.put("gone", "1", Some(NOW + 6));
    world.at(NOW + 6);
    assert_eq!(world.run("DEL gone"), ":0");
    assert_eq!(world.logged(), "DEL gone");
    world.put("gone", "1", Some(NOW + 7));
    world.at(NOW + 7);
    world.databases.set_expiry_mode(ExpiryMode::Active);
    assert_eq!(world.run("EXISTS gone"), ":0");
    assert_eq!(world.logged(), "DEL gone");
}

#[test]
fn commands_on_several_keys_see_none_whose_time_has_come() {
    let mut world = World::new();
    for line in [
        "SADD set 1 2 3",
        "SADD due-set 2 3 4",
        "ZADD zset 1 1 2 2 3 3",
        "ZADD due-zset 5 2 6 9",
        "SET string abc",
        "SET due-string ab",
        "PFADD hll a b",
        "PFADD due-hll b c",
        "RPUSH due-list x",
        "GEOADD due-geo 1 1 x",
        "SET weight_1 9",
    ] {
        world.run(line);
    }
    for key in ["due-set", "due-zset", "due-string", "due-hll", "due-list", "due-geo", "weight_1"] {
        world.run(&format!("PEXPIREAT {key} {}", NOW + 5));
    }
    world.databases.set_expiry_mode(ExpiryMode::Absent);
    world.at(NOW + 5);
    let before = world.databases.total_keys();
    let radius = "FROMLONLAT 1 1 BYRADIUS 9 km";
    for (command, reply) in [
        ("SINTER set due-set", "*0"),
        ("SINTER due-set set", "*0"),
        ("SUNION due-set", "*0"),
        ("SUNION due-set set", "*3|$1|1|$1|2|$1|3"),
        ("SDIFF set due-set", "*3|$1|1|$1|2|$1|3"),
        ("SDIFF due-set set", "*0"),
        ("SINTERCARD 2 set due-set", ":0"),
        ("ZINTER 2 zset due-zset", "*0"),
        ("ZINTER 2 zset due-set", "*0"),
        ("ZUNION 2 due-zset due-set", "*0"),
        ("ZDIFF 2 zset due-set", "*3|$1|1|$1|2|$1|3"),
        ("ZINTERCARD 2 due-zset due-zset", ":0"),
        ("LCS string due-string LEN", ":0"),
        ("PFCOUNT hll due-hll", ":2"),
        ("PFCOUNT due-hll", ":0"),
        ("BITCOUNT due-string", ":0"),
        ("MGET due-string string", "*2|$-1|$3|abc"),
        ("SORT_RO due-list ALPHA", "*0"),
        ("SORT_RO set BY weight_* GET weight_* LIMIT 0 1", "*1|$-1"),
        (&format!("GEOSEARCH due-geo {radius}"), "*0"),
    ] {
        assert_eq!(world.run(command), reply, "{command}");
    }
    assert_eq!(world.databases.total_keys(), before, "none is removed by a command that reads");
    // A replica that may be written to meets them, too; what it takes from them is nothing.
    for (command, reply) in [
        ("SINTERSTORE to set due-set", ":0"),
        ("SUNIONSTORE to set due-set", ":3"),
        ("ZUNIONSTORE to 2 due-zset due-set", ":0"),
        ("ZRANGESTORE to due-zset 0 -1", ":0"),
        ("BITOP OR to string due-string", ":3"),
        ("BITOP NOT to due-string", ":0"),
        ("BITOP OR due-string due-string", ":0"),
        ("PFMERGE to due-hll", "+OK"),
        ("PFCOUNT to", ":0"),
        ("DEL to", ":1"),
        ("SORT due-list ALPHA STORE to", ":0"),
        (&format!("GEOSEARCHSTORE to due-geo {radius}"), ":0"),
        ("SMOVE due-set to 2", ":0"),
        ("LMOVE due-list to LEFT LEFT", "$-1"),
        ("EXISTS to", ":0"),
    ] {
        assert_eq!(world.run(command), reply, "{command}");
    }
}

#[test]
fn a_living_key_is_found_among_many_that_have_expired() {
    let mut world = World::new();
    assert_eq!(world.run("RANDOMKEY"), "$-1");
    for number in 0..3000 {
        world.put(&format!("gone{number}"), "1", Some(NOW + 5));
    }
    world.databases.set_expiry_mode(ExpiryMode::Absent);
    world.at(NOW + 5);
    assert_eq!(world.run("RANDOMKEY"), "$-1");
    world.put("here", "1", None);
    for _ in 0..20 {
        assert_eq!(world.run("RANDOMKEY"), "$4|here");
    }
}

#[test]
fn expiry_takes_turns_among_the_databases() {
    let mut world = World::new();
    for (db, count) in [(0, 5000), (1, 30), (9, 30)] {
        let mut db = world.databases.db(DbIndex(db));
        for number in 0..count {
            let (key, expiry) = (format!("key{number}"), Expiry::At(UnixMillis(NOW + 5)));
            db.put(key.as_bytes(), NewValue::Int(1), expiry, Event::SET);
        }
    }
    world.at(NOW + 5);
    for _ in 0..2 {
        let removed = world.databases.expire_due(64, 50);
        assert!((50..100).contains(&removed), "{removed}");
    }
    let left = |world: &mut World, db| world.databases.db(DbIndex(db)).len();
    assert_eq!(left(&mut world, 1) + left(&mut world, 9), 10, "db 0 does not come first again");
    assert!(left(&mut world, 0) > 4900);
    while world.databases.expire_due(64, 50) > 0 {}
    assert_eq!(left(&mut world, 0) + left(&mut world, 9), 0);
}

#[test]
fn times_left_are_rounded_and_bounded() {
    let cases: &[(i64, &str, &str)] = &[
        (NOW + 1499, ":1", ":1499"),
        (NOW + 1500, ":2", ":1500"),
        (NOW + 1, ":0", ":1"),
        (i64::MAX, ":9223370236854776", ":9223370236854775807"),
    ];
    for &(at, ttl, pttl) in cases {
        let mut world = World::new();
        world.put("a", "1", Some(at));
        assert_eq!(world.run("TTL a"), ttl, "{at}");
        assert_eq!(world.run("PTTL a"), pttl, "{at}");
        assert_eq!(world.run("PEXPIRETIME a"), format!(":{at}"));
    }
}

#[test]
fn changes_are_counted_as_upstream_counts_them() {
    let cases: &[(&str, u64)] = &[
        ("DEL a b", 2),
        ("RENAME a b", 1),
        ("MOVE a 1", 1),
        ("COPY a c", 1),
        ("FLUSHDB", 2),
        ("FLUSHALL", 2),
        ("SWAPDB 0 1", 1),
        ("SWAPDB 1 1", 1),
        ("EXPIRE a 1", 1),
        ("EXPIRE a 0", 1),
    ];
    for &(line, changes) in cases {
        let mut world = World::new();
        world.put("a", "1", None);
        world.put("b", "1", None);
        world.run(line);
        assert_eq!(world.databases.unit.changes, changes, "{line}");
    }
    let mut empty = World::new();
    empty.run("FLUSHDB");
    assert_eq!(empty.databases.unit.changes, 0);
    assert_eq!(empty.databases.unit.record_count(), 1, "it is told all the same");
    empty.run("FLUSHALL");
    assert_eq!(empty.databases.unit.changes, 0);
    assert_eq!(empty.databases.unit.record_count(), 1, "so is this");
}

#[test]
fn idle_time_grows_until_a_use() {
    let mut world = World::new();
    world.put("a", "1", None);
    world.at(NOW + 60_000);
    for asking in ["OBJECT ENCODING a", "EXISTS a", "TYPE a", "TTL a", "KEYS *", "SCAN 0"] {
        world.run(asking);
        assert_eq!(world.run("OBJECT IDLETIME a"), ":60", "after {asking}");
    }
    for using in ["TOUCH a", "COPY a c", "EXPIRE a 1000", "PERSIST a", "RENAMENX a b"] {
        world.put("a", "1", None);
        world.at(world.now + 60_000);
        world.run(using);
        let key = if using.ends_with("a b") { "b" } else { "a" };
        assert_eq!(world.run(&format!("OBJECT IDLETIME {key}")), ":0", "after {using}");
    }
    assert_eq!(world.run("OBJECT IDLETIME nosuch"), "$-1");
    assert!(world.run("OBJECT FREQ b").starts_with("-ERR An LFU maxmemory policy is not selected"));
}

#[test]
fn frequency_grows_with_use_and_decays() {
    let mut world = World::new();
    world.lfu();
    world.put("a", "1", None);
    assert_eq!(world.run("OBJECT FREQ a"), ":5");
    for _ in 0..10_000 {
        world.run("TOUCH a");
    }
    let frequency = world.run("OBJECT FREQ a");
    let counter: i64 = frequency[1..].parse().unwrap();
    assert!((20..120).contains(&counter), "{counter} after 10,000 uses");
    assert_eq!(world.run("OBJECT FREQ a"), frequency, "asking is no use");
    world.at(NOW + 3 * 60_000);
    assert_eq!(world.run("OBJECT FREQ a"), format!(":{}", counter - 3));
    assert!(world.run("OBJECT IDLETIME a").starts_with("-ERR An LFU maxmemory policy is selected"));
}

#[test]
fn a_rename_keeps_the_access_bytes_of_lfu_and_a_copy_begins_anew() {
    let mut world = World::new();
    world.lfu();
    world.put("a", "1", None);
    for _ in 0..1000 {
        world.run("TOUCH a");
    }
    world.run("RENAME a b");
    assert_ne!(world.run("OBJECT FREQ b"), ":5");
    world.run("COPY b c");
    assert_eq!(world.run("OBJECT FREQ c"), ":5");
}

#[test]
fn copies_keep_form_and_expiry() {
    let long = "x".repeat(1000);
    let cases: &[(&str, &str)] =
        &[("12", "$3|int"), ("text", "$6|embstr"), (&"x".repeat(45), "$3|raw"), (&long, "$3|raw")];
    for &(value, encoding) in cases {
        let mut world = World::new();
        world.put("a", value, Some(NOW + 500));
        assert_eq!(world.run("COPY a b"), ":1");
        assert_eq!(world.run("OBJECT ENCODING b"), encoding);
        assert_eq!(world.run("PTTL b"), ":500");
        let mut db = world.databases.db(DbIndex(0));
        assert_eq!(digest_value(&mut db, b"a"), digest_value(&mut db, b"b"));
        assert_ne!(digest_value(&mut db, b"a"), Digest::default());
    }
    let mut world = World::new();
    let mut db = world.databases.db(DbIndex(0));
    db.put(b"a", NewValue::Raw(b"short"), Expiry::Clear, Event::APPEND);
    assert_eq!(world.run("COPY a b"), ":1");
    assert_eq!(world.run("OBJECT ENCODING b"), "$3|raw");
}

#[test]
fn digests_see_what_differs_and_nothing_else() {
    let mut world = World::new();
    assert_eq!(digest_all(&mut world.databases).to_string(), "0".repeat(40));
    world.put("a", "1", None);
    world.put("b", "2", Some(NOW + 5));
    let both = digest_all(&mut world.databases);
    let mut other = World::new();
    other.put("c", "1", None);
    other.put("b", "0", None);
    other.put("b", "2", Some(NOW + 5));
    other.run("RENAME c a");
    assert_eq!(digest_all(&mut other.databases), both);
    for change in ["PERSIST b", "PEXPIRE b 6", "DEL a", "RENAME a c", "MOVE a 1", "SWAPDB 0 1"] {
        let mut world = World::new();
        world.put("a", "1", None);
        world.put("b", "2", Some(NOW + 5));
        assert_eq!(digest_all(&mut world.databases), both);
        world.run(change);
        assert_ne!(digest_all(&mut world.databases), both, "{change}");
    }
}

#[test]
fn stale_and_counted_lookups() {
    let mut world = World::new();
    world.put("a", "1", None);
    for line in ["EXISTS a no", "TYPE a", "TTL no", "TOUCH a", "OBJECT ENCODING a", "COPY no x"] {
        world.run(line);
    }
    let stats = world.databases.stats;
    assert_eq!((stats.hits, stats.misses), (4, 3));
    for line in ["DEL no", "EXPIRE no 1", "RENAME no b", "MOVE no 1", "PERSIST no", "KEYS a"] {
        world.run(line);
    }
    let stats = world.databases.stats;
    assert_eq!((stats.hits, stats.misses), (4, 3), "changing commands don't count lookups");
}

#[test]
fn cursors_are_read_as_upstream_reads_them() {
    let cases: &[(&[u8], Option<u64>)] = &[
        (b"0", Some(0)),
        (b" 7", Some(7)),
        (b"+007", Some(7)),
        (b"18446744073709551615", Some(u64::MAX)),
        (b"18446744073709551616", None),
        (b"", None),
        (b"+", None),
        (b"-1", None),
        (b"-9223372036854775808", None),
        (b"-9223372036854775809", Some((1 << 63) - 1)),
        (b"-18446744073709551615", Some(1)),
        (b"-0", Some(0)),
        (b" -1", Some(u64::MAX)),
        (b"1x", None),
        (b"0 ", None),
        (b"1\0x", Some(1)),
        (b"\0", None),
    ];
    for &(bytes, expected) in cases {
        assert_eq!(scan::cursor(bytes).ok(), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn patterns_match_alike_in_their_simple_forms() {
    let names: &[&[u8]] = &[b"", b"a", b"ab", b"a*", b"b", b"[a]", b"a\\"];
    let patterns: &[&[u8]] =
        &[b"", b"*", b"**", b"a", b"a*", b"ab", b"a\\*", b"?", b"[a]", b"*b", b"a*b", b"a?*"];
    for &pattern in patterns {
        for &name in names {
            // A lone star never gets to be matched upstream either, where it would miss "".
            let expected = pattern == b"*" || crate::base::text::glob(pattern, name, false);
            let matched = scan::Pattern::new(pattern).matches(name);
            assert_eq!(matched, expected, "{} {}", pattern.escape_ascii(), name.escape_ascii());
        }
    }
}

#[test]
fn a_scan_meets_every_key_once() {
    let mut world = World::new();
    for number in 0..5000 {
        world.put(&format!("key:{number}"), "1", None);
    }
    let mut names = Vec::new();
    let mut cursor = "0".to_owned();
    let mut calls = 0;
    loop {
        let reply = world.run(&format!("SCAN {cursor} COUNT 100 MATCH key:* TYPE STRING"));
        let parts: Vec<&str> = reply.split('|').collect();
        cursor = parts[2].to_owned();
        assert!(cursor.parse::<i64>().is_ok(), "a cursor fits a signed number");
        names.extend(parts[3..].iter().skip(2).step_by(2).map(|name| (*name).to_owned()));
        calls += 1;
        if cursor == "0" {
            break;
        }
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 5000);
    assert!((20..80).contains(&calls), "{calls} calls");
    assert_eq!(world.run("SCAN 0 TYPE nosuch COUNT 100000"), "*2|$1|0|*0");
}

#[test]
fn a_scan_of_little_takes_one_call() {
    let mut world = World::new();
    for number in 1..=9 {
        world.put(&format!("key:{number}"), "1", None);
        let reply = world.run("SCAN 0");
        assert!(reply.starts_with(&format!("*2|$1|0|*{number}|")), "{number}: {reply}");
    }
    assert!(world.run("SCAN 0 COUNT 9").starts_with("*2|$1|0|*9|"));
    // Members too long for a listpack: the sets' big form.
    for number in 1..=9 {
        let long = "m".repeat(100 + number);
        world.run(&format!("SADD s {long}"));
        world.run(&format!("HSET h {long} 1"));
        world.run(&format!("ZADD z 1 {long}"));
        for (command, each) in [("SSCAN s", 1), ("HSCAN h", 2), ("ZSCAN z", 2)] {
            let reply = world.run(&format!("{command} 0"));
            assert!(reply.starts_with(&format!("*2|$1|0|*{}|", number * each)), "{reply}");
        }
    }
}
