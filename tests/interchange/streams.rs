//! The streams of the dataset: of one node and of many, with entries deleted and trimmed, with all that
//! groups know, and without any entry. Nothing that was deleted is pending: Redis loses such on its way
//! through commands.

use crate::data::{Command, command, elements, lines, noise};
use crate::support::client::{Value, argv};
use crate::support::random::Random;

/// Streams of every form.
pub fn streams(random: &mut Random, commands: &mut Vec<Command>) {
    let add = |name: &str, id: &str, words: Vec<Vec<u8>>| {
        command(&format!("XADD stream:{name} {id}"), words)
    };
    commands.push(add("one", "1-1", vec![b"a".to_vec(), b"1".to_vec()]));
    let all = elements(random);
    for (index, element) in all.iter().enumerate() {
        let words = vec![element.clone(), element.clone(), b"same".to_vec(), b"-7".to_vec()];
        commands.push(add("elements", &format!("{}-{index}", index / 3 + 1), words));
    }
    let wide = (0..300).flat_map(|n| [format!("f{n}").into_bytes(), n.to_string().into_bytes()]);
    commands.push(add("wide", "1-1", wide.clone().collect()));
    commands.push(add("wide", "18446744073709551615-18446744073709551614", wide.collect()));
    for number in 0..1_000 {
        let value = if number % 7 == 0 { noise(random, 200) } else { number.to_string().into() };
        let name = if number % 5 == 0 { "other" } else { "field" };
        let words = vec![name.into(), value, b"text".to_vec(), b"value".to_vec()];
        commands.push(add("many", &format!("{}-*", 1_000 + number / 4), words.clone()));
        commands.push(add("trimmed", &format!("MAXLEN 150 {}-1", 5_000 + number), words.clone()));
        commands.push(add("roughly", &format!("MINID ~ {number} {}-1", number + 50), words));
    }
    for number in (0..1_000).step_by(9) {
        commands.push(argv(&format!("XDEL stream:many {}-{}", 1_000 + number / 4, number % 4)));
    }
    commands.extend(lines(&[
        "XTRIM stream:many MAXLEN ~ 700",
        "XADD stream:clock * a b",
        "XADD stream:clock * a b",
        "XGROUP CREATE stream:empty g $ MKSTREAM",
        "XGROUP CREATE stream:never g $ MKSTREAM",
        "XGROUP DESTROY stream:never g",
        "XADD stream:emptied 7-7 a b",
        "XDEL stream:emptied 7-7",
        "XADD stream:set 5-5 a b",
        "XSETID stream:set 9-9 ENTRIESADDED 100 MAXDELETEDID 3-3",
        "XGROUP CREATE stream:many early 0",
        "XGROUP CREATE stream:many late 1200-0 ENTRIESREAD 800",
        "XGROUP CREATE stream:many none $",
        "XGROUP CREATECONSUMER stream:many early idle",
        "XGROUP CREATECONSUMER stream:many early gone",
        "XREADGROUP GROUP early alice COUNT 300 STREAMS stream:many >",
        "XREADGROUP GROUP early bob COUNT 50 STREAMS stream:many >",
        "XREADGROUP GROUP early gone COUNT 5 STREAMS stream:many >",
        "XREADGROUP GROUP late alice NOACK COUNT 9 STREAMS stream:many >",
        "XREADGROUP GROUP late bob COUNT 9 STREAMS stream:many >",
        "XGROUP DELCONSUMER stream:many early gone",
        "XACK stream:many early 1075-1 1075-2 1090-3",
        "XCLAIM stream:many early carol 0 1080-1 1085-2 TIME 1700000000000 RETRYCOUNT 300 JUSTID",
        "XCLAIM stream:many early alice 0 1249-2 FORCE TIME 1600000000123",
        "XAUTOCLAIM stream:many early dora 0 1100-0 COUNT 7",
        "XGROUP SETID stream:many early 1230-0",
    ]));
}

/// What tells of times that no file keeps for all, or of how it lies in memory.
const LEFT_OUT: [&[u8]; 5] =
    [b"seen-time", b"active-time", b"lag", b"radix-tree-nodes", b"radix-tree-keys"];

/// XINFO STREAM's reply as words.
pub fn comparable(value: &Value) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    push(value, &mut words);
    words
}

fn push(value: &Value, words: &mut Vec<Vec<u8>>) {
    let elements = value.elements();
    if elements.is_empty() {
        words.push(value.bytes().map_or_else(|| value.to_string().into_bytes(), <[u8]>::to_vec));
        return;
    }
    words.push(b"[".to_vec());
    let mut skipped = false;
    for element in &elements {
        let is_left_out = element.bytes().is_some_and(|name| LEFT_OUT.contains(&name));
        if !skipped && !is_left_out {
            push(element, words);
        }
        skipped = is_left_out;
    }
    words.push(b"]".to_vec());
}
