//! Checks of texts that name something: files, hosts, nodes.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::base::text;

type Check = Result<(), &'static str>;

/// The longest host name, in bytes, not reached.
const HOSTNAME_END: usize = 256;

fn base_name(text: &[u8], empty: &'static str, path: &'static str) -> Check {
    if text.is_empty() {
        return Err(empty);
    }
    if text.iter().any(|byte| matches!(byte, b'/' | b'\\')) {
        return Err(path);
    }
    Ok(())
}

/// `dir`: not empty.
pub(crate) fn directory(text: &[u8]) -> Check {
    if text.is_empty() { Err("dir can't be empty") } else { Ok(()) }
}

/// `dbfilename`: a name without a path.
pub(crate) fn snapshot_name(text: &[u8]) -> Check {
    base_name(text, "dbfilename can't be empty", "dbfilename can't be a path, just a filename")
}

/// `rdb-version`: one that is written.
pub(crate) fn snapshot_version(word: &[u8]) -> Check {
    match text::parse_i64(word) {
        Some(13..80) => Err("argument must be 9 to 12 (Redis), or 80 (Valkey 9)"),
        _ => Ok(()),
    }
}

/// `appendfilename`: a name without a path.
pub(crate) fn log_name(text: &[u8]) -> Check {
    base_name(
        text,
        "appendfilename can't be empty",
        "appendfilename can't be a path, just a filename",
    )
}

/// `appenddirname`: a name without a path.
pub(crate) fn log_directory(text: &[u8]) -> Check {
    base_name(text, "appenddirname can't be empty", "appenddirname can't be a path, just a dirname")
}

/// `cluster-config-file`: not empty.
pub(crate) fn cluster_file(text: &[u8]) -> Check {
    if text.is_empty() { Err("cluster-config-file can't be empty") } else { Ok(()) }
}

/// An IPv4 address or nothing.
pub(crate) fn ipv4(text: &[u8]) -> Check {
    let parsed = std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv4Addr>().is_ok());
    if text.is_empty() || parsed { Ok(()) } else { Err("Invalid IPv4 address") }
}

/// An IPv6 address or nothing.
pub(crate) fn ipv6(text: &[u8]) -> Check {
    let parsed = std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    if text.is_empty() || parsed { Ok(()) } else { Err("Invalid IPv6 address") }
}

/// A host name or nothing.
pub(crate) fn hostname(text: &[u8]) -> Check {
    if text.len() >= HOSTNAME_END {
        return Err("Hostnames must be less than 256 characters");
    }
    if text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
        return Ok(());
    }
    Err("Hostnames may only contain alphanumeric characters, hyphens or dots")
}

/// A node's name for people: characters that need no quoting in the cluster's file.
pub(crate) fn node_name(text: &[u8]) -> Check {
    let allowed = |byte: &u8| byte.is_ascii_graphic() && !b"!#$%&()*+:;<>?@[]{|}~".contains(byte);
    if text.iter().all(allowed) {
        return Ok(());
    }
    Err("Announced human node name contained invalid character")
}

/// The variables of `proc-title-template`.
const TITLE_VARIABLES: &[&[u8]] = &[
    b"title",
    b"listen-addr",
    b"server-mode",
    b"port",
    b"tls-port",
    b"unixsocket",
    b"config-file",
];

/// `proc-title-template`: only known variables, each in braces, and more than blanks and `title`,
/// which may be empty.
pub(crate) fn title_template(text: &[u8]) -> Check {
    const WRONG: &str = "template format is invalid or contains unknown variables";
    let visible = |text: &[u8]| text.iter().any(|byte| *byte != b' ');
    let mut says_something = false;
    let mut rest = text;
    while let Some(open) = memchr::memchr(b'{', rest) {
        let inside = &rest[open + 1..];
        let close = memchr::memchr(b'}', inside).ok_or(WRONG)?;
        let variable = &inside[..close];
        if !TITLE_VARIABLES.contains(&variable) {
            return Err(WRONG);
        }
        says_something |= visible(&rest[..open]) || variable != b"title";
        rest = &inside[close + 1..];
    }
    if says_something || visible(rest) { Ok(()) } else { Err(WRONG) }
}
