//! MEMORY DOCTOR and MEMORY STATS: each diagnosis is brought about, and what holds memory is shown.

mod support;

use std::time::{Duration, Instant};

use support::client::{Client, Value, encode};
use support::server::{Program, Server};

const PLAIN: [&str; 4] = ["--appendonly", "no", "--save", ""];
const FINE: &str = "Nothing about the use of memory is out of the ordinary.\n";

fn start() -> (Server, Client) {
    let server = Server::start_with(Program::Redstart, &PLAIN);
    let client = server.connect();
    (server, client)
}

fn doctor(client: &mut Client) -> String {
    client.words("MEMORY DOCTOR").text()
}

fn stat(client: &mut Client, name: &str) -> i64 {
    stat_of(&client.words("MEMORY STATS"), name)
}

fn stat_of(stats: &Value, name: &str) -> i64 {
    let field = stats.field(name).and_then(|field| field.integer());
    field.unwrap_or_else(|| panic!("{name} in {stats:?}"))
}

/// Waits until the doctor says it.
fn await_sign(client: &mut Client, sign: &str) {
    let begin = Instant::now();
    loop {
        let text = doctor(client);
        if text.contains(&format!(" * {sign}: ")) {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "no {sign}: {text}");
    }
}

/// Values of a size under numbered names.
fn fill(client: &mut Client, names: std::ops::Range<usize>, bytes: usize) {
    let names: Vec<usize> = names.collect();
    for chunk in names.chunks(1000) {
        let one =
            |name: &usize| vec![b"SET".to_vec(), name.to_string().into_bytes(), vec![b'x'; bytes]];
        client.pipeline(&chunk.iter().map(one).collect::<Vec<_>>());
    }
}

#[test]
fn little_data_tells_nothing_and_usual_data_nothing_special() {
    let (_server, mut client) = start();
    assert!(doctor(&mut client).starts_with("There is hardly any data"));
    fill(&mut client, 0..20_000, 1000);
    assert_eq!(doctor(&mut client), FINE);
}

#[test]
fn a_peak_long_past_is_told() {
    let (_server, mut client) = start();
    fill(&mut client, 0..10_000, 1000);
    fill(&mut client, 10_000..30_000, 1000);
    // Looks at the peak, as cron does ten times a second.
    client.words("INFO memory");
    for chunk in (10_000..30_000).collect::<Vec<usize>>().chunks(1000) {
        let mut del = vec!["DEL".to_owned()];
        del.extend(chunk.iter().map(usize::to_string));
        client.call(&del);
    }
    await_sign(&mut client, "Peak memory");
    assert!(stat(&mut client, "peak.allocated") > 25_000_000);
}

#[test]
fn pages_with_holes_are_told() {
    let (_server, mut client) = start();
    fill(&mut client, 0..100_000, 600);
    for chunk in (0..100_000).filter(|name| name % 4 != 0).collect::<Vec<usize>>().chunks(1000) {
        let mut del = vec!["DEL".to_owned()];
        del.extend(chunk.iter().map(usize::to_string));
        client.call(&del);
    }
    await_sign(&mut client, "Fragmentation");
}

#[test]
fn pages_that_go_back_later_are_told() {
    let (_server, mut client) = start();
    fill(&mut client, 0..1000, 6000);
    fill(&mut client, 1000..1100, 1 << 20);
    let mut del = vec!["DEL".to_owned()];
    del.extend((1000..1100).map(|name: usize| name.to_string()));
    client.call(&del);
    await_sign(&mut client, "Unreturned pages");
}

#[test]
fn clients_that_do_not_read_are_told() {
    let (server, mut client) = start();
    fill(&mut client, 0..1000, 6000);
    fill(&mut client, 1000..1001, 4 << 20);
    let mut reader = server.connect();
    for _ in 0..4 {
        reader.try_send_raw(&encode(&["GET", "1000"])).expect("a request");
    }
    await_sign(&mut client, "Client buffers");
    assert!(stat(&mut client, "clients.normal") > 2 << 20);
    reader.abort();
}

#[test]
fn replicas_that_do_not_read_are_told() {
    let (primary, mut client) = start();
    client.words("CONFIG SET client-output-buffer-limit replica 0 0 0");
    let replica = Server::start_with(Program::Redstart, &PLAIN);
    replica.connect().words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    let begin = Instant::now();
    while !client.words("INFO replication").text().contains("state=online") {
        assert!(begin.elapsed() < Duration::from_secs(20), "it comes");
    }
    assert!(stat(&mut client, "clients.slaves") > 0);
    replica.halt();
    fill(&mut client, 0..50, 1 << 20);
    await_sign(&mut client, "Replica buffers");
    assert!(stat(&mut client, "clients.slaves") > 10 << 20);
    replica.proceed();
}

#[test]
fn many_scripts_are_told() {
    let (_server, mut client) = start();
    fill(&mut client, 0..1000, 6000);
    for number in 0..1000 {
        client.call(&["SCRIPT", "LOAD", &format!("return {number}")]);
    }
    assert!(!doctor(&mut client).contains("Many scripts"));
    client.call(&["SCRIPT", "LOAD", "return 'one more'"]);
    await_sign(&mut client, "Many scripts");
    client.words("SCRIPT FLUSH");
    assert!(!doctor(&mut client).contains("Many scripts"));
}

/// Every field that the real server has is there, and what isn't data adds up.
#[test]
fn statistics_have_every_field() {
    let theirs = Server::start_with(Program::Redis, &PLAIN);
    let (_server, mut ours) = start();
    let mut theirs = theirs.connect();
    for client in [&mut theirs, &mut ours] {
        client.words("SET k v");
        client.words("EVAL return 0");
    }
    let (wanted, shown) = (theirs.words("MEMORY STATS"), ours.words("MEMORY STATS"));
    for pair in wanted.elements().chunks(2) {
        let name = pair[0].text();
        let Some(field) = shown.field(&name) else { panic!("{name} in {shown:?}") };
        for inner in pair[1].elements().chunks(2) {
            assert!(field.field(&inner[0].text()).is_some(), "{} in {field:?}", inner[0].text());
        }
    }
    let parts = [
        "startup.allocated",
        "replication.backlog",
        "clients.slaves",
        "clients.normal",
        "aof.buffer",
        "lua.caches",
        "functions.caches",
        "overhead.db.hashtable.lut",
    ];
    let sum: i64 = parts.map(|name| stat_of(&shown, name)).iter().sum();
    let overhead = stat_of(&shown, "overhead.total");
    assert_eq!(sum, overhead);
    assert_eq!(stat_of(&shown, "dataset.bytes"), stat_of(&shown, "total.allocated") - overhead);
}
