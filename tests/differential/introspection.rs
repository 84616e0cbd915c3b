//! What the servers say about themselves: COMMAND INFO and COMMAND DOCS of every command that both
//! know, the names of CONFIG GET, and the fields of INFO.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::exceptions::{COMMAND_DOCS, COMMAND_INFO, CONFIG_LACKING, INFO_LACKING};
use crate::support::client::{Client, Value};
use crate::support::server::{Program, Server};

/// The parts of COMMAND INFO, in their order.
const INFO_PARTS: &[&str] = &[
    "name",
    "arity",
    "flags",
    "first key",
    "last key",
    "step",
    "ACL categories",
    "tips",
    "key specs",
    "subcommands",
];

/// What of an argument's documentation is compared; the rest is words.
const ARGUMENT_FIELDS: &[&str] = &["name", "type", "token", "flags", "key_spec_index"];

/// Both servers and a connection to each, oracle first.
fn both() -> (Server, Server, Client, Client) {
    let (theirs, ours) = (Server::start(Program::Redis), Server::start(Program::Redstart));
    let (their_client, our_client) = (theirs.connect(), ours.connect());
    (theirs, ours, their_client, our_client)
}

fn names(list: &Value) -> BTreeSet<String> {
    list.elements().iter().map(Value::text).collect()
}

/// The commands that both servers have.
fn shared_commands(theirs: &mut Client, ours: &mut Client) -> Vec<String> {
    let (their_names, our_names) =
        (names(&theirs.words("COMMAND LIST")), names(&ours.words("COMMAND LIST")));
    assert!(our_names.len() > 40, "COMMAND LIST gives only {our_names:?}");
    their_names.intersection(&our_names).cloned().collect()
}

/// Panics with the findings that aren't excepted, and with the exceptions that weren't needed.
fn judge(what: &str, findings: &[(String, String)], exceptions: &[(&str, &str)]) {
    let mut report = String::new();
    for (name, finding) in findings {
        if !exceptions.iter().any(|(exception, _)| exception == name) {
            let _ = writeln!(report, "{name}: {finding}");
        }
    }
    for (exception, reason) in exceptions {
        if !findings.iter().any(|(name, _)| name == exception) {
            let _ = writeln!(report, "{exception}: no longer an exception ({reason})");
        }
    }
    assert!(report.is_empty(), "{what}:\n{report}");
}

/// The same reply with its unordered lists in order.
fn ordered(value: &Value) -> Value {
    let mut elements = value.elements();
    elements.sort();
    Value::Array(elements)
}

/// Compares two entries of COMMAND INFO, subcommands included.
fn compare_info(theirs: &Value, ours: &Value, findings: &mut Vec<(String, String)>) {
    let (their_parts, our_parts) = (theirs.elements(), ours.elements());
    let name = their_parts.first().map(Value::text).unwrap_or_default();
    if their_parts.len() != our_parts.len() {
        findings.push((name, format!("theirs {theirs}, ours {ours}")));
        return;
    }
    for (index, part) in INFO_PARTS.iter().enumerate() {
        let (their_part, our_part) = (&their_parts[index], &our_parts[index]);
        if *part == "subcommands" {
            for theirs in their_part.elements() {
                let name = theirs.elements().first().cloned();
                let ours = our_part
                    .elements()
                    .into_iter()
                    .find(|ours| ours.elements().first().cloned() == name);
                // A subcommand that isn't there yet is told by the generated list of commands.
                if let Some(ours) = ours {
                    compare_info(&theirs, &ours, findings);
                }
            }
            continue;
        }
        let in_order = matches!(*part, "flags" | "ACL categories" | "tips");
        let equal = if in_order {
            ordered(their_part) == ordered(our_part)
        } else {
            their_part == our_part
        };
        if !equal {
            findings.push((name.clone(), format!("{part}: theirs {their_part}, ours {our_part}")));
        }
    }
}

#[test]
fn command_info_is_equal() {
    let (_their_server, _our_server, mut theirs, mut ours) = both();
    let mut findings = Vec::new();
    for name in shared_commands(&mut theirs, &mut ours) {
        let (their_info, our_info) =
            (theirs.call(&["COMMAND", "INFO", &name]), ours.call(&["COMMAND", "INFO", &name]));
        for (theirs, ours) in their_info.elements().iter().zip(our_info.elements()) {
            compare_info(theirs, &ours, &mut findings);
        }
    }
    judge("COMMAND INFO differs", &findings, COMMAND_INFO);
}

/// One line for each argument of a documented command: its place in the tree and what it is.
fn argument_lines(documentation: &Value, depth: usize, lines: &mut Vec<String>) {
    let arguments =
        documentation.field("arguments").map(|list| list.elements()).unwrap_or_default();
    for argument in arguments {
        let facts: Vec<String> = ARGUMENT_FIELDS
            .iter()
            .filter_map(|field| argument.field(field).map(|value| format!("{field}={value}")))
            .collect();
        lines.push(format!("{}{}", "  ".repeat(depth), facts.join(" ")));
        argument_lines(&argument, depth + 1, lines);
    }
}

fn compare_docs(name: &str, theirs: &Value, ours: &Value, findings: &mut Vec<(String, String)>) {
    let (mut their_lines, mut our_lines) = (Vec::new(), Vec::new());
    argument_lines(theirs, 0, &mut their_lines);
    argument_lines(ours, 0, &mut our_lines);
    if their_lines != our_lines {
        let differing = their_lines.iter().zip(&our_lines).find(|(theirs, ours)| theirs != ours);
        let first = match differing {
            Some((theirs, ours)) => format!("theirs {theirs} | ours {ours}"),
            None => format!("{} arguments against {}", their_lines.len(), our_lines.len()),
        };
        findings.push((name.to_owned(), first));
    }
    for field in ["group", "since"] {
        if theirs.field(field) != ours.field(field) {
            let (theirs, ours) = (theirs.field(field), ours.field(field));
            findings.push((name.to_owned(), format!("{field}: theirs {theirs:?}, ours {ours:?}")));
        }
    }
    let subcommands = theirs.field("subcommands").map(|list| list.elements()).unwrap_or_default();
    for pair in subcommands.chunks(2) {
        let (subcommand, theirs) = (pair[0].text(), &pair[1]);
        if let Some(ours) = ours.field("subcommands").and_then(|list| list.field(&subcommand)) {
            compare_docs(&subcommand, theirs, &ours, findings);
        }
    }
}

#[test]
fn command_docs_have_equal_argument_trees() {
    let (_their_server, _our_server, mut theirs, mut ours) = both();
    let mut findings = Vec::new();
    for name in shared_commands(&mut theirs, &mut ours) {
        let (their_docs, our_docs) =
            (theirs.call(&["COMMAND", "DOCS", &name]), ours.call(&["COMMAND", "DOCS", &name]));
        match (their_docs.field(&name), our_docs.field(&name)) {
            (Some(theirs), Some(ours)) => compare_docs(&name, &theirs, &ours, &mut findings),
            (theirs, ours) => findings.push((name, format!("theirs {theirs:?}, ours {ours:?}"))),
        }
    }
    judge("COMMAND DOCS differs", &findings, COMMAND_DOCS);
}

#[test]
fn config_names_are_all_known() {
    let (_their_server, _our_server, mut theirs, mut ours) = both();
    let directives = |client: &mut Client| -> BTreeSet<String> {
        client.words("CONFIG GET *").elements().chunks(2).map(|pair| pair[0].text()).collect()
    };
    let ours = directives(&mut ours);
    let lacking: Vec<_> = directives(&mut theirs)
        .difference(&ours)
        .map(|name| (name.clone(), "lacking".to_owned()))
        .collect();
    judge("CONFIG GET lacks directives", &lacking, CONFIG_LACKING);
}

#[test]
fn info_fields_are_all_given() {
    let (_their_server, _our_server, mut theirs, mut ours) = both();
    let fields = |client: &mut Client| -> BTreeSet<String> {
        // A database and a command, so that their lines are there.
        client.words("SET a b");
        let text = client.words("INFO everything").text();
        text.lines()
            .filter_map(|line| line.split_once(':').map(|(name, _)| name.to_owned()))
            .collect()
    };
    let ours = fields(&mut ours);
    // Lines of single commands and errors depend on what was called so far.
    let stable = |name: &&String| {
        !name.starts_with("cmdstat_") && !name.starts_with("latency_percentiles_usec_")
    };
    let lacking: Vec<_> = fields(&mut theirs)
        .difference(&ours)
        .filter(stable)
        .map(|name| (name.clone(), "lacking".to_owned()))
        .collect();
    judge("INFO lacks fields", &lacking, INFO_LACKING);
}
