//! The scripts that EVAL and SCRIPT LOAD have brought, by name (SHA1) and by text.
//!
//! EVAL looks the text itself up: hashing it so costs a tenth of its SHA1. Scripts that only EVAL brought
//! are evicted, least recently used first, when there are more than [`EVALUATED_MAX`] of them, since
//! clients that write values into a script's text bring another script each time.

use std::collections::HashMap;
use std::rc::Rc;

use bitflags::bitflags;

use crate::script::machine::{Kept, Machine};

/// A script's name.
pub(super) type Sha = [u8; 40];

/// The most scripts that are kept for EVAL alone.
const EVALUATED_MAX: usize = 500;

bitflags! {
    /// What a script or function says of itself.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(in crate::engine) struct ScriptFlags: u8 {
        /// It doesn't write.
        const NO_WRITES = 1;
        /// It may run out of memory.
        const ALLOW_OOM = 2;
        /// It may run on a replica without its primary.
        const ALLOW_STALE = 4;
        /// It doesn't run in cluster mode.
        const NO_CLUSTER = 8;
        /// It uses keys of several slots.
        const ALLOW_CROSS_SLOT_KEYS = 16;
        /// It says nothing of itself: each command is judged alone.
        const COMPATIBLE = 32;
    }
}

impl ScriptFlags {
    /// The flags that may be given, and their names.
    const NAMES: [(&str, Self); 5] = [
        ("no-writes", Self::NO_WRITES),
        ("allow-oom", Self::ALLOW_OOM),
        ("allow-stale", Self::ALLOW_STALE),
        ("no-cluster", Self::NO_CLUSTER),
        ("allow-cross-slot-keys", Self::ALLOW_CROSS_SLOT_KEYS),
    ];

    /// The flag of a name.
    pub(in crate::engine) fn named(name: &[u8]) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, flag)| *flag)
    }

    /// The names of those that are set.
    pub(in crate::engine) fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        Self::NAMES.iter().filter(move |(_, flag)| self.contains(*flag)).map(|(name, _)| *name)
    }
}

/// A script.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) kept: Kept,
    pub(super) flags: ScriptFlags,
    pub(super) sha: Sha,
    text: Rc<[u8]>,
    /// Whether SCRIPT LOAD brought it.
    loaded: bool,
    /// The number of its last use.
    used: u64,
}

/// All scripts.
#[derive(Debug, Default)]
pub(super) struct Cache {
    scripts: Vec<Option<Script>>,
    free: Vec<u32>,
    by_sha: HashMap<Sha, u32, ahash::RandomState>,
    by_text: HashMap<Rc<[u8]>, u32, ahash::RandomState>,
    /// Places of those that EVAL alone has brought, at most [`EVALUATED_MAX`].
    evaluated: Vec<u32>,
    uses: u64,
    evicted: u64,
    text_bytes: usize,
}

impl Cache {
    /// The script of a name.
    pub(super) fn by_sha(&mut self, sha: &Sha) -> Option<&Script> {
        let index = *self.by_sha.get(sha)?;
        self.touch(index)
    }

    /// The script of a text.
    pub(super) fn by_text(&mut self, text: &[u8]) -> Option<&Script> {
        let index = *self.by_text.get(text)?;
        self.touch(index)
    }

    fn touch(&mut self, index: u32) -> Option<&Script> {
        self.uses += 1;
        let script = self.scripts[index as usize].as_mut()?;
        script.used = self.uses;
        Some(script)
    }

    /// Whether there is a script of a name.
    pub(super) fn has(&self, sha: &Sha) -> bool {
        self.by_sha.contains_key(sha)
    }

    /// A script's text.
    pub(super) fn text(&self, sha: &Sha) -> Option<&[u8]> {
        let index = *self.by_sha.get(sha)?;
        self.scripts[index as usize].as_ref().map(|script| &*script.text)
    }

    /// SCRIPT LOAD keeps what EVAL brought.
    pub(super) fn keep(&mut self, sha: &Sha) {
        let Some(index) = self.by_sha.get(sha) else { return };
        if let Some(script) = &mut self.scripts[*index as usize]
            && !std::mem::replace(&mut script.loaded, true)
        {
            self.evaluated.retain(|other| other != index);
        }
    }

    /// Adds a script.
    pub(super) fn add(
        &mut self,
        text: &[u8],
        sha: Sha,
        kept: Kept,
        flags: ScriptFlags,
        loaded: bool,
        machine: &mut Machine,
    ) {
        if !loaded && self.evaluated.len() >= EVALUATED_MAX {
            self.evict(machine);
        }
        self.uses += 1;
        self.text_bytes += text.len();
        let text: Rc<[u8]> = text.into();
        let script = Script { kept, flags, sha, text: Rc::clone(&text), loaded, used: self.uses };
        let index = self.free.pop().unwrap_or_else(|| {
            self.scripts.push(None);
            self.scripts.len() as u32 - 1
        });
        self.scripts[index as usize] = Some(script);
        self.evaluated.extend((!loaded).then_some(index));
        self.by_sha.insert(sha, index);
        self.by_text.insert(text, index);
    }

    /// Forgets the script of EVAL's that was used least recently.
    fn evict(&mut self, machine: &mut Machine) {
        let used = |index: &u32| self.scripts[*index as usize].as_ref().map(|script| script.used);
        let oldest = self.evaluated.iter().enumerate().min_by_key(|(_, index)| used(index));
        let Some((place, _)) = oldest else { return };
        let index = self.evaluated.swap_remove(place);
        if let Some(script) = self.scripts[index as usize].take() {
            machine.forget(script.kept);
            self.by_sha.remove(&script.sha);
            self.by_text.remove(&script.text);
            self.text_bytes -= script.text.len();
            self.free.push(index);
            self.evicted += 1;
        }
    }

    /// Forgets all, with the machine that they were compiled for.
    pub(super) fn clear(&mut self) {
        *self = Self { evicted: self.evicted, ..Self::default() };
    }

    /// How many were evicted.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// How many there are, and about how many bytes they take.
    pub(super) fn size(&self) -> (usize, usize) {
        let each = size_of::<Script>() + 2 * (size_of::<Sha>() + 16);
        (self.by_sha.len(), self.text_bytes + self.by_sha.len() * each)
    }
}
