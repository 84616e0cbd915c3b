//! Every sync and every check that durability rests on is in the table of `docs/formats.md`, with the
//! test that fails without it; and the table has nothing else.

#[path = "support/guards.rs"]
mod guards;

use std::collections::BTreeSet;
use std::path::Path;

use redstart::persist::recover::Check;

#[test]
fn the_table_of_guards_is_the_code() {
    let mut code: BTreeSet<(String, String)> =
        guards::sync_points().into_iter().map(|(name, file, _)| (name, file)).collect();
    for check in Check::ALL {
        code.insert((format!("Check::{check:?}"), "src/persist/recover.rs".into()));
    }
    code.insert(("Checksum::Verify".into(), "src/rdb/decode/payload.rs".into()));
    let listed: BTreeSet<(String, String)> = guards::table()
        .into_iter()
        .map(|row| (row.name.to_owned(), row.place.to_owned()))
        .collect();
    assert_eq!(listed, code, "left: docs/formats.md, right: the code");
}

#[test]
fn the_tests_that_show_a_guard_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for row in guards::table() {
        assert!(!row.shown.is_empty(), "{} is shown by no test", row.name);
        for (file, test) in row.shown {
            let text = std::fs::read_to_string(root.join(file)).unwrap();
            assert!(
                text.contains(&format!("\n    fn {test}()"))
                    || text.contains(&format!("\nfn {test}()")),
                "{}: no {test} in {file}",
                row.name
            );
        }
    }
}

#[test]
fn each_guard_stands_at_one_place_and_no_sync_is_without_one() {
    let sources = guards::sources();
    for (name, _, _) in guards::sync_points() {
        let calls: usize = sources
            .iter()
            .flat_map(|(_, text)| text.lines())
            .filter(|line| {
                !line.contains(": SyncPoint = ") && !line.trim_start().starts_with("use ")
            })
            .map(|line| line.split("//").next().unwrap_or_default())
            .map(|line| {
                let words = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
                words.filter(|word| *word == name).count()
            })
            .sum();
        assert_eq!(calls, 1, "{name}: a test could leave out all of its places only at once");
    }
    // The real disk, the simulated one, and the tool, which repairs with a person looking on.
    let exempt = ["src/base/", "src/bin/"];
    for (path, text) in &sources {
        let nameless = text.contains(".sync()") || text.contains(".sync_dir(");
        assert!(
            !nameless || exempt.iter().any(|dir| path.starts_with(dir)),
            "{path}: name its sync"
        );
    }
}
