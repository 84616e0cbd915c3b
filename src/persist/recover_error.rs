//! Why a data directory can't be recovered, or not wholly: each error says where, what was expected and
//! found, and what an operator can do.

use std::io;
use std::path::PathBuf;

/// Why the data can't be recovered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The manifest can't be used.
    #[error("*** FATAL AOF MANIFEST FILE ERROR ***\n{0}")]
    Manifest(#[from] crate::persist::manifest::ManifestError),
    /// A file that the manifest names is not there.
    #[error("The AOF file {} can't be opened: No such file or directory, but the manifest names it. \
        Bring it back from a backup, or run redstart-check --fix on the manifest to see what would \
        be lost without it", .0.display())]
    Missing(PathBuf),
    /// What was durable is not there any more.
    #[error("Bad file format reading the append only file {}: at offset {offset}, expected \
        {expected}, found {found}. Make a backup of the log's directory, then run redstart-check \
        --fix on the manifest: it says what would be lost before it cuts anything",
        .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
        /// Whether the place is among frames.
        framed: bool,
    },
    /// A file ends too early, and that is not forgiven.
    #[error("Unexpected end of file reading the append only file {} at offset {offset}. You can: \
        1) Make a backup of your AOF file, then use redstart-check --fix on the manifest. 2) \
        Alternatively you can set the 'aof-load-truncated' configuration option to yes and restart \
        the server.{}", .file.display(),
        if *.last { "" } else { " Fatal error: the truncated file is not the last file" })]
    Truncated {
        /// The file.
        file: PathBuf,
        /// Where its last whole piece ends.
        offset: u64,
        /// Whether it is the last one, so that it could be cut.
        last: bool,
    },
    /// A command in the log was refused.
    #[error("{error} reading the append only file {} at offset {offset}", .file.display())]
    Command {
        /// The file.
        file: PathBuf,
        /// Where the command begins, or the frame it is in.
        offset: u64,
        /// What it said.
        error: String,
    },
    /// A snapshot can't be read.
    #[error("Error reading the RDB file {}: {error}", .file.display())]
    Snapshot {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        error: String,
    },
    /// The disk refused.
    #[error("Fatal error: can't read {}: {source}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// What was cut off the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file in which the log ends now.
    pub file: PathBuf,
    /// The offset in it.
    pub offset: u64,
    /// How many bytes were behind it, in this file and later ones.
    pub bytes: u64,
    /// How many whole commands could be counted among them.
    pub commands: u64,
    /// The time, in seconds since the Unix epoch, that the last annotation before it tells.
    pub since: Option<u64>,
    /// What was expected there.
    pub expected: String,
    /// What was found.
    pub found: String,
    /// Whether the place is among frames.
    pub framed: bool,
}
