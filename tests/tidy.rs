//! House rules that the compiler doesn't know: the layering, file sizes, and words that must not
//! stay in the code. Each finding says where and why.

#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers, lowest first. A module may use those of a lower rank, and itself; peers of one rank
/// don't use each other.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["resp"],
    &["data"],
    &["rdb"],
    &["keyspace"],
    &["command"],
    &["config", "metrics", "mailbox"],
    &["journal"],
    &["persist"],
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
    ("process::exit", "main.rs alone chooses exit codes"),
];

/// A source file and its text.
struct Source {
    /// Relative to the repository, with forward slashes.
    path: String,
    text: String,
}

impl Source {
    /// The lines before the test module, with their numbers from 1. Files that hold only tests
    /// have none.
    fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let only_tests = self.path.ends_with("/tests.rs")
            || self.path.ends_with("_tests.rs")
            || self.path.contains("/tests/");
        let end = if only_tests { 0 } else { usize::MAX };
        let before_tests =
            self.text.lines().take_while(|line| !line.trim_start().starts_with("#[cfg(test)]"));
        before_tests.take(end).enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The code of the lines before the test module: without comments.
    fn product_code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.product_lines().filter_map(|(number, line)| {
            let code = line.split_once("//").map_or(line, |(code, _)| code);
            (!code.trim().is_empty()).then_some((number, code))
        })
    }

    /// The top-level module that the file belongs to; none for `lib.rs`, `main.rs` and `bin/`.
    fn module(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("src/")?;
        let name = inner.split('/').next()?.trim_end_matches(".rs");
        (!["lib", "main", "bin"].contains(&name)).then_some(name)
    }
}

fn sources_under(dir: &str) -> Vec<Source> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    walk(&root.join(dir), &mut paths);
    paths.sort();
    let read = |path: PathBuf| Source {
        text: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(root).unwrap().to_string_lossy().into_owned(),
    };
    paths.into_iter().map(read).collect()
}

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
        let code: String = source.product_code().flat_map(|(_, code)| [code, "\n"]).collect();
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
    for source in sources_under("src").into_iter().chain(sources_under("tests")) {
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
                let allowed = match *word {
                    ".unwrap()" => proven,
                    "process::exit" => source.module().is_none(),
                    _ => false,
                };
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
    let listed = |path: &str| {
        places
            .iter()
            .any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)))
    };
    let mut findings = String::new();
    for source in sources_under("src") {
        if listed(&source.path) {
            continue;
        }
        for (number, line) in source.text.lines().enumerate() {
            let code = line.split_once("//").map_or(line, |(code, _)| code);
            let words = code.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            if words.into_iter().any(|word| word == "unsafe") {
                writeln!(findings, "{}:{}: {}", source.path, number + 1, line.trim()).unwrap();
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
