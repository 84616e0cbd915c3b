//! A full file system: a small one in memory is mounted, filled to the brim, and given room again.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::server::{Program, Server};
use crate::{answer, assert_tidy, info, names_in, say, send, until, until_info, until_logged};

/// A file system of its own; unmounted when dropped.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount_at(path: PathBuf, megabytes: usize) -> Self {
        fs::create_dir(&path).expect("a directory");
        let options = format!("size={megabytes}m");
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
            .unwrap_or_else(|error| {
                panic!("can't mount a tmpfs, which takes root (CAP_SYS_ADMIN): {error}")
            });
        Self { path }
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        use std::io::Write as _;
        let ballast = fs::OpenOptions::new().append(true).create(true).open(self.ballast());
        let mut ballast = ballast.expect("the ballast can be opened");
        for size in [1 << 16, 1 << 12, 1] {
            while ballast.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    fn give_room(&self) {
        fs::remove_file(self.ballast()).expect("the ballast goes");
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The server may still run, and goes on in what is no longer seen.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}

/// A server whose data is on a small disk, and whose own log isn't.
struct World {
    // The order matters: it is unmounted before the directory goes.
    disk: SmallDisk,
    server: Server,
}

impl World {
    fn new(directives: &[&str]) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let disk = SmallDisk::mount_at(dir.path().join("disk"), 2);
        let path = disk.path.to_str().expect("a path in UTF-8").to_owned();
        let directives = [&["--dir", path.as_str()], directives].concat();
        Self { disk, server: Server::start_in(Program::Redstart, dir, &directives) }
    }

    fn dir(&self) -> &Path {
        &self.disk.path
    }
}

fn value(number: usize) -> String {
    format!("{number}:{}", "v".repeat(3_000))
}

/// Sets keys until one isn't acknowledged; gives its number.
fn write_until_held(writer: &mut Client, other: &mut Client, first: usize) -> usize {
    for number in first.. {
        send(writer, &format!("SET key:{number} {}", value(number)));
        until("it is acknowledged, or writes are refused", || {
            writer.has_answer() || info(other, "aof_last_write_status") == "err"
        });
        if !writer.has_answer() {
            return number;
        }
        assert_eq!(answer(writer), "+OK");
    }
    unreachable!("the disk is small")
}

#[test]
fn a_full_disk_refuses_writes_and_heals() {
    let mut world = World::new(&["--appendonly", "yes", "--save", ""]);
    let mut writes = 0;
    for _round in 0..3 {
        let (writer, other) = (&mut world.server.connect(), &mut world.server.connect());
        world.disk.fill();
        let held = write_until_held(writer, other, writes);
        assert_eq!(
            say(other, "SET refused 1"),
            "-MISCONF Errors writing to the AOF file: No space left on device"
        );
        assert_eq!(say(other, "DEL key:0"), say(other, "SET refused 1"));
        assert_eq!(say(other, "PING"), say(other, "SET refused 1"));
        assert_eq!(say(other, "STRLEN key:0"), format!(":{}", value(0).len()));
        assert_eq!(info(other, "aof_enabled"), "1");
        until_logged(&world.server, "Error writing to the AOF file: No space left on device");
        // A rewrite fails as well, and changes nothing.
        say(other, "BGREWRITEAOF");
        until_info(other, "aof_last_bgrewrite_status", "err");
        assert!(!writer.has_answer());
        world.disk.give_room();
        assert_eq!(answer(writer), "+OK");
        until_info(other, "aof_last_write_status", "ok");
        until_logged(&world.server, "AOF write error looks solved");
        writes = held + 1;
        assert_eq!(say(writer, &format!("SET key:{writes} {}", value(writes))), "+OK");
        writes += 1;
        world.server.kill();
        world.server.restart();
        let client = &mut world.server.connect();
        assert_eq!(client.words("DBSIZE").integer(), Some(writes as i64));
        for number in 0..writes {
            assert_eq!(client.words(&format!("GET key:{number}")).text(), value(number));
        }
        say(client, "BGREWRITEAOF");
        until_info(client, "aof_rewrites", "1");
        assert_tidy(world.dir());
    }
}

/// Killed while it is full: what was acknowledged is there, and the start needs no room.
#[test]
fn a_server_starts_on_a_full_disk() {
    let mut world = World::new(&["--appendonly", "yes", "--save", ""]);
    let (writer, other) = (&mut world.server.connect(), &mut world.server.connect());
    world.disk.fill();
    let held = write_until_held(writer, other, 0);
    world.server.kill();
    world.server.restart();
    let client = &mut world.server.connect();
    for number in 0..held {
        assert_eq!(client.words(&format!("GET key:{number}")).text(), value(number));
    }
    assert_eq!(client.words("DBSIZE").integer(), Some(held as i64));
    world.disk.give_room();
    assert_eq!(say(client, "SET after 1"), "+OK");
}

#[test]
fn under_always_a_full_disk_ends_the_process() {
    let directives = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""];
    let mut world = World::new(&directives);
    let client = &mut world.server.connect();
    world.disk.fill();
    let mut acknowledged = 0;
    loop {
        send(client, &format!("SET key:{acknowledged} {}", value(acknowledged)));
        match client.try_read() {
            Ok(reply) => assert_eq!(reply.to_string(), "+OK"),
            Err(_) => break,
        }
        acknowledged += 1;
    }
    assert_eq!(world.server.await_end().code(), Some(1));
    let log = world.server.log();
    assert!(log.contains("Error writing to the AOF file: No space left on device"), "{log}");
    let last =
        "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...";
    assert!(log.contains(last), "{log}");
    world.disk.give_room();
    world.server.restart();
    let client = &mut world.server.connect();
    for number in 0..acknowledged {
        assert_eq!(client.words(&format!("GET key:{number}")).text(), value(number));
    }
    assert_eq!(client.words("DBSIZE").integer(), Some(acknowledged as i64));
}

/// What redis-server does, and we alike, when a snapshot finds no room.
#[test]
fn a_snapshot_on_a_full_disk_stops_writes_as_in_redis() {
    let mut said = Vec::new();
    for program in [Program::Redis, Program::Redstart] {
        let dir = TempDir::new().expect("a temporary directory");
        let disk = SmallDisk::mount_at(dir.path().join("disk"), 2);
        let path = disk.path.to_str().expect("a path in UTF-8").to_owned();
        let directives = ["--dir", &path, "--appendonly", "no", "--save", "3600 1000000"];
        let server = Server::start_in(program, dir, &directives);
        let mut world = World { disk, server };
        let client = &mut world.server.connect();
        for number in 0..100 {
            assert_eq!(say(client, &format!("SET key:{number} {}", value(number))), "+OK");
        }
        assert_eq!(say(client, "SAVE"), "+OK");
        world.disk.fill();
        assert_eq!(say(client, "BGSAVE"), "+Background saving started");
        until_info(client, "rdb_last_bgsave_status", "err");
        let mut answers = Vec::new();
        for line in ["SET k 1", "PING", "GET key:1", "MULTI", "GET key:2", "INCR n", "EXEC", "SAVE"]
        {
            answers.push(format!("{line}: {}", say(client, line)));
        }
        assert_eq!(say(client, "CONFIG SET stop-writes-on-bgsave-error no"), "+OK");
        answers.push(say(client, "SET k 1"));
        assert_eq!(say(client, "CONFIG SET stop-writes-on-bgsave-error yes"), "+OK");
        answers.push(say(client, "SET k 1"));
        until("the failed file is gone", || names_in(world.dir()) == ["ballast", "dump.rdb"]);
        world.disk.give_room();
        assert_eq!(say(client, "BGSAVE"), "+Background saving started");
        until_info(client, "rdb_last_bgsave_status", "ok");
        answers.push(say(client, "SET k 2"));
        said.push(answers);
        world.server.kill();
        world.server.restart();
        let client = &mut world.server.connect();
        assert_eq!(client.words("DBSIZE").integer(), Some(101));
        assert_eq!(say(client, "GET k"), "\"1\"");
    }
    assert_eq!(said[0], said[1]);
}
