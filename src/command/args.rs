//! A command's arguments: ranges of the buffer they arrived in, so that handing them on copies
//! nothing.

use crate::base::text;
use crate::command::error::CommandError;
use crate::resp::request::Range;

/// The arguments of one command, its name included at index 0.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    buffer: &'a [u8],
    ranges: &'a [Range],
}

impl<'a> Args<'a> {
    /// Arguments at `ranges` of `buffer`.
    #[inline]
    pub(crate) fn new(buffer: &'a [u8], ranges: &'a [Range]) -> Self {
        Self { buffer, ranges }
    }

    /// Bytes of the buffer that they are in: no fewer than they have together.
    #[inline]
    pub(crate) fn held_bytes(self) -> usize {
        self.buffer.len()
    }

    /// How many there are, the name included.
    #[inline]
    pub(crate) fn len(self) -> usize {
        self.ranges.len()
    }

    /// The argument at `index`.
    ///
    /// # Panics
    /// Where there is none: the row's arity must have ruled that out.
    #[inline]
    pub(crate) fn at(self, index: usize) -> &'a [u8] {
        self.ranges[index].of(self.buffer)
    }

    /// The argument at `index`, where there is one.
    #[inline]
    pub(crate) fn get(self, index: usize) -> Option<&'a [u8]> {
        self.ranges.get(index).map(|range| range.of(self.buffer))
    }

    /// The arguments from `index` on.
    #[inline]
    pub(crate) fn from(self, index: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone {
        let buffer = self.buffer;
        self.ranges[index.min(self.ranges.len())..].iter().map(move |range| range.of(buffer))
    }

    /// Whether the argument at `index` is `word`, in any case of its letters.
    #[inline]
    pub(crate) fn is(self, index: usize, word: &str) -> bool {
        self.get(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The argument at `index` as a signed 64-bit integer.
    ///
    /// # Errors
    /// [`CommandError::NotInteger`].
    #[inline]
    pub(crate) fn int(self, index: usize) -> Result<i64, CommandError> {
        text::parse_i64(self.at(index)).ok_or(CommandError::NotInteger)
    }
}
