//! House rules that the compiler doesn't know: the layering, the size of files and structs, and
//! words that must not stay in the code or have their place in it. Each finding says where and why.
//! Whether functions are too long is clippy's to say (`too-many-lines-threshold` in clippy.toml).

mod source;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use source::{Source, sources_under};
use syn::visit::{self, Visit};

/// The layers, lowest first. A module may use those of a lower rank, and itself; peers of one rank
/// don't use each other.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["resp"],
    &["data"],
    &["rdb"],
    &["keyspace"],
    &["command"],
    &["config", "metrics", "mailbox", "script"],
    &["journal"],
    &["persist"],
    &["replication"],
    &["engine"],
    &["net"],
    &["server"],
];

/// Lines a source file may have before it must be split.
const LINES_MAX: usize = 700;

/// Words that must not stay in `src`, and what to do instead.
const BANNED: &[(&str, &str)] = &[
    ("todo!", "do it, or refuse with a reason"),
    ("unimplemented!", "do it, or refuse with a reason"),
    ("dbg!", "use tracing"),
    (".unwrap()", "handle it, or prove it and say so with #[expect(clippy::unwrap_used, ..)]"),
    ("::*;", "name what you import"),
];

/// Words that have their place, the files and directories that may use them, and what to use
/// elsewhere. A word is a run of tokens as it stands in the code.
const PLACED: &[(&[&str], &[&str], &str)] = &[
    (&["process::exit"], &["src/main.rs"], "main.rs alone chooses exit codes"),
    (
        &["print!", "println!", "eprint!", "eprintln!"],
        &["src/main.rs", "src/bin/"],
        "the server speaks through its log",
    ),
    (
        // The worker measures threads of the system's, and these themselves: no simulated run has them.
        &["Instant::now", "SystemTime::now"],
        &["src/base/env.rs", "src/base/courtesy.rs", "src/persist/worker.rs", "src/bin/"],
        "time comes from base::env, so that a run can be replayed",
    ),
    (
        // /proc, and the socket's own file.
        &["fs::", "File::open", "File::create"],
        &[
            "src/base/",
            "src/bin/",
            "src/engine/show/info.rs",
            "src/engine/show/info_memory.rs",
            "src/engine/keep/shutdown.rs",
            "src/net/listener.rs",
        ],
        "files of data come from base::env::Disk, so that a crash can be simulated",
    ),
    (
        &["async", ".await"],
        &["src/mailbox.rs", "src/engine/tick/actor.rs", "src/net/", "src/server.rs", "src/main.rs"],
        "below the network the actor's work runs to completion",
    ),
];

/// Fields a struct may have before it must become several.
const FIELDS_MAX: usize = 15;

/// Structs with more fields, and how many they may have: these numbers only go down.
const WIDE: &[(&str, usize)] = &[
    ("src/command/spec.rs: Spec", 16),
    ("src/engine/mod.rs: Engine", 30),
    ("src/engine/session/mod.rs: Session", 23),
    ("src/engine/keep/persistence.rs: State", 27),
    ("src/keyspace/databases.rs: Databases", 17),
    ("src/metrics.rs: Metrics", 19),
    ("src/persist/log.rs: Log", 27),
];

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The top-level modules that a piece of code names after `crate::`, in groups, too.
fn used_modules(code: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for (start, _) in code.match_indices("crate::") {
        let boundary = code[..start].chars().next_back();
        if boundary.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == '$')
        {
            continue;
        }
        let rest = &code[start + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for letter in group.chars() {
                match letter {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => modules.push(std::mem::take(&mut name)),
                    _ if depth == 0 => name.push(letter),
                    _ => {}
                }
            }
            modules.push(name);
        } else {
            modules.push(rest.to_owned());
        }
    }
    let first_word = |path: &String| {
        let word =
            path.trim_start().split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        word.into_iter().next().unwrap_or_default().to_owned()
    };
    modules.iter().map(first_word).filter(|name| !name.is_empty()).collect()
}

#[test]
fn modules_use_only_lower_layers() {
    let mut findings = String::new();
    for source in sources_under("src") {
        let Some(module) = source.module() else { continue };
        let Some(own) = rank(module) else {
            writeln!(findings, "{}: module `{module}` has no layer", source.path).unwrap();
            continue;
        };
        // A group may stretch over lines, so the whole text is searched at once.
        let code: String =
            source.product_code().into_iter().flat_map(|(_, code)| [code, "\n".into()]).collect();
        for used in used_modules(&code) {
            let allowed = used == module || rank(&used).is_some_and(|rank| rank < own);
            // Names that aren't modules are macros or items of lib.rs.
            let is_module = LAYERS.iter().any(|layer| layer.contains(&used.as_str()));
            if is_module && !allowed {
                writeln!(findings, "{}: `{module}` uses `{used}`", source.path).unwrap();
            }
        }
    }
    assert!(findings.is_empty(), "layers are crossed upward:\n{findings}");
}

#[test]
fn files_are_of_readable_size() {
    let mut findings = String::new();
    for source in sources_under("src") {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            writeln!(findings, "{}: {lines} lines (at most {LINES_MAX})", source.path).unwrap();
        }
    }
    assert!(findings.is_empty(), "split these at the seam in their name:\n{findings}");
}

#[test]
fn files_say_what_they_are() {
    let mut findings = String::new();
    let places = ["src", "tests", "benches", "tools", "fuzz/src", "fuzz/fuzz_targets"];
    for source in places.into_iter().flat_map(sources_under) {
        if !source.text.starts_with("//!") {
            writeln!(findings, "{}: doesn't start with a `//!` head", source.path).unwrap();
        }
    }
    assert!(findings.is_empty(), "{findings}");
}

#[test]
fn banned_words_are_absent() {
    let mut findings = String::new();
    for source in sources_under("src") {
        let mut proven = false;
        for (number, code) in source.product_code() {
            for (word, instead) in BANNED {
                let allowed = *word == ".unwrap()" && proven;
                if code.contains(word) && !allowed {
                    writeln!(findings, "{}:{number}: `{word}`: {instead}", source.path).unwrap();
                }
            }
            // The proof stands right above what it proves, up to the end of that item.
            if code.contains("clippy::unwrap_used") {
                proven = true;
            } else if code.starts_with('}') || code.starts_with("    }") {
                proven = false;
            }
        }
    }
    assert!(findings.is_empty(), "{findings}");
}

/// Whether a line of code has a word, as a whole where it begins or ends like a name.
fn has_word(code: &str, word: &str) -> bool {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    let cut = |neighbour: Option<char>, own: Option<char>| {
        !(neighbour.is_some_and(is_name) && own.is_some_and(is_name))
    };
    code.match_indices(word).any(|(start, _)| {
        let (before, after) = (&code[..start], &code[start + word.len()..]);
        cut(before.chars().next_back(), word.chars().next())
            && cut(after.chars().next(), word.chars().next_back())
    })
}

/// Whether a list of files and directories, these with a slash at the end, has a path in it.
fn has_place(places: &[&str], path: &str) -> bool {
    places.iter().any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)))
}

#[test]
fn words_stay_in_their_places() {
    let mut findings = String::new();
    for source in sources_under("src") {
        let code = source.product_code();
        for (words, places, instead) in PLACED {
            if has_place(places, &source.path) {
                continue;
            }
            for (number, line) in &code {
                for word in words.iter().filter(|word| has_word(line, word)) {
                    writeln!(findings, "{}:{number}: `{word}`: {instead}", source.path).unwrap();
                }
            }
        }
    }
    assert!(findings.is_empty(), "{findings}");
}

#[test]
fn structs_are_of_readable_size() {
    struct Wide<'a> {
        path: &'a str,
        findings: &'a mut String,
    }
    impl<'ast> Visit<'ast> for Wide<'_> {
        fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
            let name = format!("{}: {}", self.path, item.ident);
            let known = WIDE.iter().find(|(known, _)| *known == name);
            let (fields, fields_max) =
                (item.fields.len(), known.map_or(FIELDS_MAX, |(_, fields)| *fields));
            if fields > fields_max {
                writeln!(self.findings, "{name}: {fields} fields (at most {fields_max})").unwrap();
            }
            visit::visit_item_struct(self, item);
        }
    }
    let mut findings = String::new();
    for source in sources_under("src") {
        Wide { path: &source.path, findings: &mut findings }.visit_file(&source.syntax);
    }
    assert!(findings.is_empty(), "make several structs of these:\n{findings}");
}

#[test]
fn unsafe_code_stays_in_its_files() {
    let architecture =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    // The list is the section whose heading has the word.
    let sections = architecture.split("\n#");
    let list: String = sections
        .filter(|section| {
            section.lines().next().unwrap_or_default().to_lowercase().contains("unsafe")
        })
        .collect();
    // What stands between backticks and looks like a path of ours.
    let places: Vec<&str> = list.split('`').filter(|word| word.starts_with("src/")).collect();
    let mut findings = String::new();
    for source in sources_under("src") {
        if has_place(&places, &source.path) {
            continue;
        }
        for (number, code) in source.code() {
            if has_word(&code, "unsafe") {
                writeln!(findings, "{}:{}: {}", source.path, number, code.trim()).unwrap();
            }
        }
    }
    assert!(
        findings.is_empty(),
        "`unsafe` outside of the files that ARCHITECTURE.md lists:\n{findings}"
    );
}

#[test]
fn used_modules_are_found_in_every_form() {
    assert_eq!(used_modules("use crate::base::text;"), ["base"]);
    assert_eq!(used_modules("use crate::{base::{env, text}, resp};"), ["base", "resp"]);
    assert_eq!(used_modules("let x = crate::engine::run(crate::net::y());"), ["engine", "net"]);
    assert_eq!(used_modules("use other_crate::base;"), [""; 0]);
}

/// What follows a thing that only tests compile is read, and neither comments nor strings are code.
#[test]
fn product_code_is_all_but_tests() {
    let text = "\
//! Head: dbg!
struct Table {
    #[cfg(test)]
    seen: Vec<u8>,
    kept: u8, // todo!()
}
impl Table {
    #[cfg(test)]
    /// Only for tests.
    fn check(&self) {
        todo!()
    }
    /// In the server.
    fn grow(&self) { let text = \"// dbg! {\"; dbg!(text); }
}
#[cfg(test)]
mod tests {
    fn inner() {}
}
const AFTER: char = '\"';
fn last<'a>(text: &'a str) {}
";
    let source = Source::new("src/example.rs", text.to_owned());
    let code = source.product_code();
    let numbers: Vec<usize> = code.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [2, 5, 6, 7, 14, 15, 20, 21]);
    let line = |wanted| &code.iter().find(|(number, _)| *number == wanted).unwrap().1;
    assert_eq!(line(5), "    kept: u8,");
    assert_eq!(
        line(14).split_whitespace().collect::<String>(),
        "fngrow(&self){lettext=\"\";dbg!(text);}"
    );
    assert_eq!(line(21), "fn last<'a>(text: &'a str) {}");
}

#[test]
fn words_are_whole() {
    assert!(has_word("future.await;", ".await"));
    assert!(!has_word("session.awaited", ".await"));
    assert!(has_word("pub async fn run()", "async"));
    assert!(!has_word("let is_async = 1;", "async"));
    assert!(has_word("std::fs::read(path)", "fs::"));
    assert!(!has_word("offs::read(path)", "fs::"));
}
