//! Libraries of functions: what is loaded, and loading.
//!
//! A library is compiled and run once, and registers its functions; they stay in the machine of
//! functions. A library that fails leaves nothing behind, nor does it take away what it would have
//! replaced. Beside the machine the texts are kept, which snapshots, rewritten logs and DUMP consist of.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use crate::base::text::split_arguments;
use crate::command::error::CommandError;
use crate::engine::Engine;
use crate::engine::script::State;
use crate::engine::script::cache::ScriptFlags;
use crate::script::machine::{Kept, Machine};
use crate::script::register::{self, Registered};

/// How long a library may take to be loaded, in microseconds.
const LOADING_MICROS_MAX: u64 = 500_000;

/// A library.
#[derive(Debug)]
pub(super) struct Library {
    pub(super) code: Box<[u8]>,
    /// Its functions' names.
    pub(super) functions: Vec<Rc<[u8]>>,
}

/// A function.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) kept: Kept,
    pub(super) flags: ScriptFlags,
    pub(super) description: Option<Vec<u8>>,
    pub(super) library: Rc<[u8]>,
}

/// All libraries.
#[derive(Debug, Default)]
pub(super) struct Libraries {
    pub(super) by_name: BTreeMap<Rc<[u8]>, Library>,
    /// By their names in lower case.
    pub(super) functions: HashMap<Rc<[u8]>, Function, ahash::RandomState>,
}

/// What becomes of a library that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// It stays, and the new one is refused.
    Keep,
    /// It gives way.
    Replace,
}

impl Libraries {
    /// Bytes that texts and names take, about.
    pub(super) fn bytes(&self) -> usize {
        let libraries = self.by_name.iter().map(|(name, library)| name.len() + library.code.len());
        let functions = self.functions.keys().map(|name| name.len() + size_of::<Function>());
        libraries.sum::<usize>() + functions.sum::<usize>()
    }

    /// The function of a name, in any case.
    #[inline]
    pub(super) fn function(&self, name: &[u8]) -> Option<&Function> {
        if name.iter().any(u8::is_ascii_uppercase) {
            return self.functions.get(&*name.to_ascii_lowercase());
        }
        self.functions.get(name)
    }

    /// Removes a library; false where there is none.
    pub(super) fn remove(&mut self, name: &[u8], machine: &mut Machine) -> bool {
        self.take(name).map(|taken| taken.forget(machine)).is_some()
    }

    /// Takes a library out in a way that lets it be put back.
    fn take(&mut self, name: &[u8]) -> Option<Taken> {
        let (name, library) = self.by_name.remove_entry(name)?;
        let names = library.functions.iter().map(|name| name.to_ascii_lowercase());
        let functions = names.filter_map(|name| self.functions.remove_entry(&*name)).collect();
        Some(Taken { name, library, functions })
    }

    fn put_back(&mut self, Taken { name, library, functions }: Taken) {
        self.by_name.insert(name, library);
        self.functions.extend(functions);
    }
}

/// A library that was taken out. The machine still has its functions.
#[derive(Debug)]
struct Taken {
    name: Rc<[u8]>,
    library: Library,
    functions: Vec<(Rc<[u8]>, Function)>,
}

impl Taken {
    fn forget(self, machine: &mut Machine) {
        self.functions.into_iter().for_each(|(_, function)| machine.forget(function.kept));
    }
}

/// A library that was loaded, and the one in whose place it is.
#[derive(Debug)]
struct Loaded {
    name: Rc<[u8]>,
    replaced: Option<Taken>,
}

impl State {
    /// Whether there is a library of the name that this text gives its own.
    pub(in crate::engine) fn knows_library(&self, text: &[u8]) -> bool {
        metadata(text).is_ok_and(|(name, _)| self.libraries.by_name.contains_key(&*name))
    }
}

/// A library's name and where its code begins, from its first line.
fn metadata(text: &[u8]) -> Result<(Vec<u8>, usize), CommandError> {
    if !text.starts_with(b"#!") {
        return Err(CommandError::text("ERR Missing library metadata"));
    }
    let Some(end) = memchr::memchr(b'\n', text) else {
        return Err(CommandError::text("ERR Invalid library metadata"));
    };
    let Ok(words) = split_arguments(&text[..end]) else {
        return Err(CommandError::text("ERR Invalid library metadata"));
    };
    let mut words = words.iter().map(Vec::as_slice);
    let engine = words.next().and_then(|word| word.strip_prefix(b"#!")).unwrap_or_default();
    let mut name = None;
    for word in words {
        let Some(value) = word.strip_prefix(b"name=") else {
            let text = [b"ERR Invalid metadata value given: ", word].concat();
            return Err(CommandError::quoting(text));
        };
        if name.replace(value).is_some() {
            return Err(CommandError::text(
                "ERR Invalid metadata value, name argument was given multiple times",
            ));
        }
    }
    let Some(name) = name else {
        return Err(CommandError::text("ERR Library name was not given"));
    };
    if !register::is_valid_name(name) {
        return Err(CommandError::owned(format!("ERR {}", register::BAD_NAME)));
    }
    if !engine.eq_ignore_ascii_case(b"lua") {
        let text = [b"ERR Engine '", engine, b"' not found"].concat();
        return Err(CommandError::quoting(text));
    }
    Ok((name.to_vec(), end))
}

impl Engine {
    /// Loads libraries, all or none, and returns the last one's name.
    pub(super) fn load_libraries<'a>(
        &mut self,
        texts: impl Iterator<Item = &'a [u8]>,
        existing: Existing,
    ) -> Result<Option<Rc<[u8]>>, CommandError> {
        let mut loaded = Vec::new();
        let mut failed = None;
        for text in texts {
            match self.load_library(text, existing) {
                Ok(library) => loaded.push(library),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let last = loaded.last().map(|library| Rc::clone(&library.name));
        let mut machine = self.take_functions_machine();
        let libraries = &mut self.scripts.libraries;
        for Loaded { name, replaced } in loaded.into_iter().rev() {
            if failed.is_some() {
                libraries.remove(&name, &mut machine);
                replaced.into_iter().for_each(|before| libraries.put_back(before));
            } else {
                replaced.into_iter().for_each(|before| before.forget(&mut machine));
            }
        }
        self.scripts.functions_machine = Some(machine);
        failed.map_or(Ok(last), Err)
    }

    fn load_library(&mut self, text: &[u8], existing: Existing) -> Result<Loaded, CommandError> {
        let (name, code) = metadata(text)?;
        let name = &*name;
        if existing == Existing::Keep && self.scripts.libraries.by_name.contains_key(name) {
            let text = [b"ERR Library '", name, b"' already exists"].concat();
            return Err(CommandError::quoting(text));
        }
        let mut machine = self.take_functions_machine();
        let outcome = self.register_library(&mut machine, name, &text[code..], text);
        self.scripts.functions_machine = Some(machine);
        outcome
    }

    fn register_library(
        &mut self,
        machine: &mut Machine,
        name: &[u8],
        code: &[u8],
        text: &[u8],
    ) -> Result<Loaded, CommandError> {
        let kept = machine.compile(code, c"@user_function").map_err(|message| {
            CommandError::quoting([b"ERR Error compiling function: ", &*message].concat())
        })?;
        let limit = self.env.stopwatch.ticks_of(LOADING_MICROS_MAX);
        self.scripts.loading_until = Some(self.env.stopwatch.ticks() + limit);
        let loaded = machine.load_library(self, kept);
        self.scripts.loading_until = None;
        machine.forget(kept);
        let registered = machine.take_registered();
        let checked = match loaded {
            Err(error) => {
                let text = [b"ERR Error registering functions: ", &*error.text].concat();
                Err(CommandError::quoting(text))
            }
            Ok(()) => self.check_registered(name, &registered),
        };
        if let Err(error) = checked {
            registered.iter().for_each(|function| machine.forget(function.kept));
            return Err(error);
        }
        let libraries = &mut self.scripts.libraries;
        let replaced = libraries.take(name);
        let library: Rc<[u8]> = name.into();
        let mut functions = Vec::with_capacity(registered.len());
        for Registered { name, kept, description, flags } in registered {
            let name: Rc<[u8]> = name.into();
            let flags = flags.iter().filter_map(|flag| ScriptFlags::named(flag)).collect();
            let function = Function { kept, flags, description, library: Rc::clone(&library) };
            libraries.functions.insert(name.to_ascii_lowercase().into(), function);
            functions.push(name);
        }
        libraries.by_name.insert(Rc::clone(&library), Library { code: text.into(), functions });
        Ok(Loaded { name: library, replaced })
    }

    /// Whether functions may join those that are there; those of the same library give way.
    fn check_registered(
        &self,
        library: &[u8],
        registered: &[Registered],
    ) -> Result<(), CommandError> {
        if registered.is_empty() {
            return Err(CommandError::text("ERR No functions registered"));
        }
        for function in registered {
            let other = self.scripts.libraries.function(&function.name);
            if other.is_some_and(|other| *other.library != *library) {
                let text = [b"ERR Function ", &*function.name, b" already exists"].concat();
                return Err(CommandError::quoting(text));
            }
        }
        Ok(())
    }
}
