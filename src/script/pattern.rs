//! Lua 5.1's patterns: matching one at a place of a text.
//!
//! What a pattern can still do differently stands on a stack of [`Choice`]s, not in calls of a function:
//! so a long pattern takes no more of the script's stack than a short one, and a slow match can be left
//! at any step. The time is looked at every [`STEPS_BETWEEN_LOOKS`] steps, where the script may be
//! suspended or ended; steps count over calls, so that many short matches count, too.
//!
//! A pattern is read while it is matched, as in Lua: what is wrong behind the place where a match fails
//! is no error. It ends at its first zero. A text has at most [`u32::MAX`] bytes, as a machine's memory is
//! less.

use crate::script::machine::{self, STEPS_BETWEEN_LOOKS};
use crate::script::raw::{Raised, State};

/// The most captures of a pattern.
pub(super) const CAPTURES_MAX: usize = 32;
/// The most choices that are open at a time (24 MiB of them); one for each `*`, `-`, `?` and parenthesis of
/// a pattern at most.
const CHOICES_MAX: usize = 1 << 20;

/// What a pattern's group has matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capture {
    /// Its parenthesis is open, and where.
    Open(u32),
    /// `()`: a place.
    Place(u32),
    /// From, to.
    Text(u32, u32),
}

/// What can be tried when a match has failed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Choice {
    /// The pattern from `rest` on at one byte less, down to `least`.
    Fewer { least: u32, at: u32, rest: u32 },
    /// One more byte of the item at `item`, then the pattern behind it.
    More { at: u32, item: u32 },
    /// The pattern from `rest` on.
    Without { at: u32, rest: u32 },
    /// A group hasn't begun.
    Unopen,
    /// A group hasn't ended: which, and where it began.
    Unclose { group: u8, from: u32 },
}

/// Why matching ended without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fail {
    /// The pattern is wrong, and how.
    Wrong(&'static str),
    /// The script is to end: the error is on Lua's stack.
    Ended(Raised),
}

/// What matches one byte.
#[derive(Clone, Copy, Debug)]
enum Item {
    Any,
    Byte(u8),
    /// A letter behind `%`.
    Class(u8),
    /// From behind its bracket to its closing one.
    Set(usize, usize),
}

/// Where matching goes on.
enum Step {
    On(usize, usize),
    Matched(usize),
    Failed,
}

/// A pattern on its way through a text.
pub(super) struct Matcher<'a> {
    lua: State,
    text: &'a [u8],
    pattern: &'a [u8],
    captures: [Capture; CAPTURES_MAX],
    level: usize,
    /// The host's, while a match is under way.
    choices: Vec<Choice>,
    /// Steps that are left until the time is looked at.
    fuel: usize,
}

impl<'a> Matcher<'a> {
    /// An anchor at the pattern's beginning is the caller's.
    pub(super) fn new(lua: State, text: &'a [u8], pattern: &'a [u8]) -> Self {
        let end = memchr::memchr(0, pattern).unwrap_or(pattern.len());
        let captures = [Capture::Open(0); CAPTURES_MAX];
        let pattern = &pattern[..end];
        Self { lua, text, pattern, captures, level: 0, choices: Vec::new(), fuel: 0 }
    }

    /// The groups of the last match.
    pub(super) fn captures(&self) -> &[Capture] {
        &self.captures[..self.level]
    }

    /// The byte that every match begins with, where there is one.
    fn first_byte(&self) -> Option<u8> {
        let first = *self.pattern.first()?;
        let repeated = matches!(self.pattern.get(1), Some(b'*' | b'?' | b'-'));
        let literal = !matches!(first, b'.' | b'(' | b')' | b'[' | b'%' | b'$');
        (literal && !repeated).then_some(first)
    }

    /// The first match that begins at a place or behind it: from, to.
    pub(super) fn find(&mut self, mut at: usize) -> Result<Option<(usize, usize)>, Fail> {
        let first = self.first_byte();
        while at <= self.text.len() {
            if let Some(byte) = first {
                match memchr::memchr(byte, &self.text[at..]) {
                    Some(skipped) => at += skipped,
                    None => return Ok(None),
                }
            }
            if let Some(end) = self.match_at(at)? {
                return Ok(Some((at, end)));
            }
            at += 1;
        }
        Ok(None)
    }

    /// A match that begins at a place: where it ends.
    pub(super) fn match_at(&mut self, at: usize) -> Result<Option<usize>, Fail> {
        let host = self.lua.host();
        self.choices = std::mem::take(&mut host.choices);
        self.fuel = host.hook.fuel;
        self.choices.clear();
        self.level = 0;
        let outcome = self.walk(at);
        host.choices = std::mem::take(&mut self.choices);
        host.hook.fuel = self.fuel;
        outcome
    }

    fn walk(&mut self, at: usize) -> Result<Option<usize>, Fail> {
        let (mut at, mut place) = (at, 0);
        loop {
            self.spend(1)?;
            match self.step(at, place)? {
                Step::On(next, behind) => (at, place) = (next, behind),
                Step::Matched(end) => return Ok(Some(end)),
                Step::Failed => match self.choose()? {
                    Some(next) => (at, place) = next,
                    None => return Ok(None),
                },
            }
        }
    }

    /// Counts steps, and looks at the time after so many.
    #[inline]
    fn spend(&mut self, steps: usize) -> Result<(), Fail> {
        if self.fuel >= steps {
            self.fuel -= steps;
            return Ok(());
        }
        self.look()
    }

    /// Looks at the time. Where that raises, the host has its buffer back.
    #[cold]
    fn look(&mut self) -> Result<(), Fail> {
        self.fuel = STEPS_BETWEEN_LOOKS;
        self.lua.host().choices = std::mem::take(&mut self.choices);
        let looked = machine::pause_point(self.lua);
        self.choices = std::mem::take(&mut self.lua.host().choices);
        looked.map_err(Fail::Ended)
    }

    /// Keeps what can be tried later.
    #[inline]
    fn keep(&mut self, choice: Choice) -> Result<(), Fail> {
        if self.choices.len() >= CHOICES_MAX {
            return Err(Fail::Wrong("pattern too complex"));
        }
        self.choices.push(choice);
        Ok(())
    }

    /// One item of the pattern.
    fn step(&mut self, at: usize, place: usize) -> Result<Step, Fail> {
        let Some(&byte) = self.pattern.get(place) else { return Ok(Step::Matched(at)) };
        match byte {
            b'(' => self.open(at, place),
            b')' => self.close(at, place),
            b'$' if place + 1 == self.pattern.len() => {
                Ok(if at == self.text.len() { Step::Matched(at) } else { Step::Failed })
            }
            b'%' => match self.pattern.get(place + 1) {
                Some(b'b') => self.balanced(at, place + 2),
                Some(b'f') => self.frontier(at, place + 2),
                Some(digit @ b'0'..=b'9') => self.again(at, place + 2, *digit),
                _ => self.repeated(at, place),
            },
            _ => self.repeated(at, place),
        }
    }

    fn open(&mut self, at: usize, place: usize) -> Result<Step, Fail> {
        let empty = self.pattern.get(place + 1) == Some(&b')');
        if self.level >= CAPTURES_MAX {
            return Err(Fail::Wrong("too many captures"));
        }
        let begin = at as u32;
        self.captures[self.level] =
            if empty { Capture::Place(begin) } else { Capture::Open(begin) };
        self.level += 1;
        self.keep(Choice::Unopen)?;
        Ok(Step::On(at, place + 1 + usize::from(empty)))
    }

    fn close(&mut self, at: usize, place: usize) -> Result<Step, Fail> {
        let open = self.captures().iter().rposition(|capture| matches!(capture, Capture::Open(_)));
        let Some((group, &Capture::Open(from))) =
            open.and_then(|group| Some((group, self.captures.get(group)?)))
        else {
            return Err(Fail::Wrong("invalid pattern capture"));
        };
        self.captures[group] = Capture::Text(from, at as u32);
        self.keep(Choice::Unclose { group: group as u8, from })?;
        Ok(Step::On(at, place + 1))
    }

    /// `%b`: from one byte to the other that belongs to it.
    fn balanced(&mut self, at: usize, place: usize) -> Result<Step, Fail> {
        let Some(&[begin, end]) = self.pattern.get(place..place + 2) else {
            return Err(Fail::Wrong("unbalanced pattern"));
        };
        if self.text.get(at) != Some(&begin) {
            return Ok(Step::Failed);
        }
        let mut depth = 1usize;
        let text = self.text;
        for (index, &byte) in text.iter().enumerate().skip(at + 1) {
            self.spend(1)?;
            if byte == end {
                depth -= 1;
                if depth == 0 {
                    return Ok(Step::On(index + 1, place + 2));
                }
            } else if byte == begin {
                depth += 1;
            }
        }
        Ok(Step::Failed)
    }

    /// `%f`: the byte before isn't in a set, the byte here is.
    fn frontier(&mut self, at: usize, place: usize) -> Result<Step, Fail> {
        if self.pattern.get(place) != Some(&b'[') {
            return Err(Fail::Wrong("missing '[' after '%f' in pattern"));
        }
        let (item, behind) = self.item(place)?;
        let before = if at == 0 { 0 } else { self.text[at - 1] };
        let here = self.text.get(at).copied().unwrap_or_default();
        let meets = !self.matches(item, before) && self.matches(item, here);
        Ok(if meets { Step::On(at, behind) } else { Step::Failed })
    }

    /// `%1`: what a group has matched, once more.
    fn again(&mut self, at: usize, place: usize, digit: u8) -> Result<Step, Fail> {
        let group = usize::from(digit).checked_sub(usize::from(b'1'));
        match group.and_then(|group| self.captures().get(group)) {
            None | Some(Capture::Open(_)) => Err(Fail::Wrong("invalid capture index")),
            Some(Capture::Place(_)) => Ok(Step::Failed),
            Some(&Capture::Text(from, to)) => {
                let (text, from, to) = (self.text, from as usize, to as usize);
                self.spend((to - from) / 16)?;
                let meets = text[at..].starts_with(&text[from..to]);
                Ok(if meets { Step::On(at + to - from, place) } else { Step::Failed })
            }
        }
    }

    /// An item that matches one byte, and how often.
    fn repeated(&mut self, at: usize, place: usize) -> Result<Step, Fail> {
        let (item, behind) = self.item(place)?;
        let here = self.text.get(at).is_some_and(|byte| self.matches(item, *byte));
        let (least, rest) = match self.pattern.get(behind) {
            Some(b'?') => {
                if here {
                    self.keep(Choice::Without { at: at as u32, rest: behind as u32 + 1 })?;
                }
                return Ok(Step::On(at + usize::from(here), behind + 1));
            }
            Some(b'-') => {
                self.keep(Choice::More { at: at as u32, item: place as u32 })?;
                return Ok(Step::On(at, behind + 1));
            }
            Some(b'*') => (at, behind + 1),
            Some(b'+') if here => (at + 1, behind + 1),
            Some(b'+') => return Ok(Step::Failed),
            _ if here => return Ok(Step::On(at + 1, behind)),
            _ => return Ok(Step::Failed),
        };
        let most = least + self.run_of(item, least)?;
        if most > least {
            let [least, at, rest] = [least, most, rest].map(|place| place as u32);
            self.keep(Choice::Fewer { least, at, rest })?;
        }
        Ok(Step::On(most, rest))
    }

    /// How many bytes from a place on an item matches.
    fn run_of(&mut self, item: Item, at: usize) -> Result<usize, Fail> {
        let text = self.text.get(at..).unwrap_or_default();
        if matches!(item, Item::Any) {
            return Ok(text.len());
        }
        let mut count = 0;
        for piece in text.chunks(STEPS_BETWEEN_LOOKS / 4) {
            let run = piece.iter().position(|byte| !self.matches(item, *byte));
            count += run.unwrap_or(piece.len());
            self.spend(run.unwrap_or(piece.len()))?;
            if run.is_some() {
                break;
            }
        }
        Ok(count)
    }

    /// What is tried next, after a match has failed.
    fn choose(&mut self) -> Result<Option<(usize, usize)>, Fail> {
        while let Some(choice) = self.choices.pop() {
            match choice {
                Choice::Fewer { least, at, rest } => {
                    let at = at - 1;
                    if at > least {
                        self.keep(Choice::Fewer { least, at, rest })?;
                    }
                    return Ok(Some((at as usize, rest as usize)));
                }
                Choice::More { at, item: place } => {
                    let (item, behind) = self.item(place as usize)?;
                    let byte = self.text.get(at as usize);
                    if byte.is_some_and(|byte| self.matches(item, *byte)) {
                        self.keep(Choice::More { at: at + 1, item: place })?;
                        return Ok(Some((at as usize + 1, behind + 1)));
                    }
                }
                Choice::Without { at, rest } => return Ok(Some((at as usize, rest as usize))),
                Choice::Unopen => self.level -= 1,
                Choice::Unclose { group, from } => {
                    self.captures[usize::from(group)] = Capture::Open(from);
                }
            }
        }
        Ok(None)
    }

    /// The item at a place, and what is behind it.
    #[inline]
    fn item(&self, place: usize) -> Result<(Item, usize), Fail> {
        match self.pattern[place] {
            b'%' => match self.pattern.get(place + 1) {
                Some(&letter) => Ok((Item::Class(letter), place + 2)),
                None => Err(Fail::Wrong("malformed pattern (ends with '%')")),
            },
            b'[' => self.set(place + 1),
            b'.' => Ok((Item::Any, place + 1)),
            byte => Ok((Item::Byte(byte), place + 1)),
        }
    }

    /// A set, from behind its bracket. A closing bracket that comes first is one of its bytes.
    fn set(&self, begin: usize) -> Result<(Item, usize), Fail> {
        let mut place = begin + usize::from(self.pattern.get(begin) == Some(&b'^'));
        loop {
            match self.pattern.get(place) {
                None => return Err(Fail::Wrong("malformed pattern (missing ']')")),
                Some(b'%') if place + 1 < self.pattern.len() => place += 2,
                Some(_) => place += 1,
            }
            if self.pattern.get(place) == Some(&b']') {
                return Ok((Item::Set(begin, place), place + 1));
            }
        }
    }

    #[inline]
    fn matches(&self, item: Item, byte: u8) -> bool {
        match item {
            Item::Any => true,
            Item::Byte(wanted) => byte == wanted,
            Item::Class(letter) => in_class(byte, letter),
            Item::Set(from, to) => in_set(byte, &self.pattern[from..to]),
        }
    }
}

/// Whether a byte is in a set, of whose brackets only what is between them is there.
fn in_set(byte: u8, set: &[u8]) -> bool {
    let (mut set, found) = match set {
        [b'^', rest @ ..] => (rest, false),
        _ => (set, true),
    };
    loop {
        set = match set {
            [] => return !found,
            [b'%', rest @ ..] => {
                // A percent sign at the end stands before the bracket, which is the letter then.
                let letter = rest.first().copied().unwrap_or(b']');
                if in_class(byte, letter) {
                    return found;
                }
                rest.get(1..).unwrap_or_default()
            }
            [from, b'-', to, rest @ ..] => {
                if (*from..=*to).contains(&byte) {
                    return found;
                }
                rest
            }
            [one, rest @ ..] => {
                if *one == byte {
                    return found;
                }
                rest
            }
        };
    }
}

/// Whether a byte is of a class: a letter's, the opposite for its capital, or the byte itself.
#[inline]
fn in_class(byte: u8, letter: u8) -> bool {
    let is = match letter.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => matches!(byte, b' ' | b'\t'..=b'\r'),
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return byte == letter,
    };
    is != letter.is_ascii_uppercase()
}
