//! `redstart-check` on a disk that fails: a repair that isn't durable is no repair, and says so.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::inject::SYNC;
use crate::support::client::{argv, encode};

/// What the tool says to `y`, with one of its system calls failing, and its exit code.
fn check(dir: &Path, arguments: &[&str], fault: Option<&str>) -> (String, i32) {
    let mut command = Command::new("strace");
    command.args(["-f", "-o"]).arg(dir.join("calls")).arg(format!("--trace={SYNC}"));
    if let Some(fault) = fault {
        command.arg(format!("--inject={fault}"));
    }
    let mut child = command
        .arg(env!("CARGO_BIN_EXE_redstart-check"))
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("strace: {error}; tests/run.sh installs it"));
    child.stdin.take().expect("a pipe").write_all(b"y\n").expect("it asks");
    let output = child.wait_with_output().expect("the tool ends");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (said.into_owned(), output.status.code().expect("a code"))
}

/// A log of three increments of which the second is cut off, and of none where there should be a third.
fn damaged(third: bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let put = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).expect("a file");
    let good = encode(&argv("SET foo hello"));
    put("one", &good);
    put("two", if third { &good[..20] } else { &good });
    let mut manifest = "file one seq 1 type i\nfile two seq 2 type i\n".to_owned();
    if !third {
        manifest += "file three seq 3 type i\n";
    }
    put("log.manifest", manifest.as_bytes());
    dir
}

#[test]
fn a_repair_that_can_not_be_made_durable_is_told() {
    let until = ["--truncate-to-timestamp", "100", "timed"];
    let timed = |dir: &Path| {
        let bytes = [b"#TS:50\r\n", &encode(&argv("SET a 1"))[..], b"#TS:200\r\n"].concat();
        fs::write(dir.join("timed"), bytes).expect("a file");
    };
    let fix = ["--fix", "log.manifest"];
    // The arguments, whether an increment is cut off or missing, the call that fails (of a file's
    // contents, of a directory), how it is told.
    for (arguments, cut_off, call, told) in [
        (&fix[..], true, "fdatasync", "Failed to truncate AOF two: Input/output error"),
        (&fix[..], false, "fdatasync", "Failed to create AOF three: Input/output error"),
        (&fix[..], false, "fsync", "Failed to create AOF three: Input/output error"),
        (&until[..], true, "fdatasync", "Failed to truncate AOF timed: Input/output error"),
    ] {
        let fault = format!("{call}:error=EIO");
        let dir = damaged(cut_off);
        timed(dir.path());
        let (said, code) = check(dir.path(), arguments, Some(&fault));
        assert!(code == 1 && said.contains(told), "{arguments:?}, {fault}: {code}\n{said}");
        let dir = damaged(cut_off);
        timed(dir.path());
        let (said, code) = check(dir.path(), arguments, None);
        assert!(code == 0 && !said.contains("Failed"), "{arguments:?}: {code}\n{said}");
    }
}
