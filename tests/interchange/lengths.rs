//! Elements whose length fills the backward length of a listpack's entry to its last bit: of today's
//! Valkey (9.1) they are a byte shorter than everybody's before, and its files weren't loaded.

use crate::support::client::{Client, Value};
use crate::support::server::{Program, Server};
use crate::{SNAPSHOT, hand_over};

/// Lengths of strings, each with its five bytes of encoding: the last two of which are such.
const LENGTHS: [usize; 6] = [16_377, 16_379, 2_097_145, 2_097_147, 16_378, 2_097_146];

const LARGE: [&str; 3] =
    ["hash-max-listpack-value", "zset-max-listpack-value", "stream-node-max-bytes"];

fn fill(client: &mut Client) {
    for name in LARGE {
        client.call(&["CONFIG", "SET", name, "8000000"]);
    }
    client.words("CONFIG SET list-max-listpack-size -5");
    for length in LENGTHS {
        let text = "x".repeat(length);
        let requests = [
            vec!["HSET", "hash", &text, "1", "f", &text],
            vec!["ZADD", "zset", "1", &text, "2", "small"],
            vec!["RPUSH", "list", "a", &text, "b"],
            vec!["XADD", "stream", "*", "f", &text],
            vec!["XADD", "stream", "*", &text, "1", "g", "2"],
        ];
        for request in requests {
            assert!(!client.call(&request).is_error());
        }
    }
}

fn digests(server: &Server) -> Vec<Value> {
    let mut client = server.connect();
    let keys = ["hash", "zset", "list", "stream"];
    keys.map(|key| client.words(&format!("DEBUG DIGEST-VALUE {key}"))).into()
}

#[test]
fn elements_of_all_lengths_of_valkey_are_read() {
    let valkey = Server::start_with(Program::Valkey, SNAPSHOT);
    let mut client = valkey.connect();
    fill(&mut client);
    let written = digests(&valkey);
    let ours = Server::start_with(Program::Redstart, SNAPSHOT);
    let mut restored = ours.connect();
    for key in ["hash", "zset", "list", "stream"] {
        let Value::Bulk(dump) = client.words(&format!("DUMP {key}")) else { panic!("a payload") };
        let request = [b"RESTORE", key.as_bytes(), b"0", &dump[..]];
        assert_eq!(restored.call(&request).text(), "OK", "{key}");
    }
    assert_eq!(digests(&ours), written);
    // Walked from the back, and changed.
    let last = restored.words("XREVRANGE stream + - COUNT 1");
    assert_eq!(last, client.words("XREVRANGE stream + - COUNT 1"));
    for line in ["LSET list -2 short", "LPOP list 3", "HDEL hash f", "XTRIM stream MAXLEN 3"] {
        assert_eq!(restored.words(line), client.words(line), "{line}");
    }
    assert_eq!(digests(&ours), digests(&valkey));
    drop((client, restored));
    let written = digests(&valkey);
    let loaded = hand_over(valkey, Program::Redstart, SNAPSHOT);
    assert_eq!(digests(&loaded), written);
}
