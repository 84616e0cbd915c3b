//! Whether a history of one register is linearizable: Wing and Gong's search with Lowe's memory of what
//! was tried ("Testing for linearizability", 2017), as Porcupine does it.
//!
//! An operation whose outcome is unknown may have taken effect at any time after it began, or never:
//! it has no end, and at the end of the search it may be left out.

use std::collections::HashSet;

/// What was asked for, and what was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A value was read; 0 stands for none.
    Read(u64),
    /// A value was written.
    Write(u64),
    /// A value was written; the answer was the one before.
    Swap { old: u64, new: u64 },
    /// The same, without an answer.
    SwapUnknown(u64),
}

/// An operation, from when to when.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    pub action: Action,
    pub began: u64,
    /// None where nobody knows what became of it.
    pub ended: Option<u64>,
}

impl Action {
    /// The register's value after it, where it can be done at that value.
    fn apply(self, value: u64) -> Option<u64> {
        match self {
            Self::Read(seen) => (seen == value).then_some(value),
            Self::Write(new) | Self::SwapUnknown(new) => Some(new),
            Self::Swap { old, new } => (old == value).then_some(new),
        }
    }
}

/// Whether these operations can have been done one after another, each between its beginning and its
/// end, on a register that begins with nothing.
pub fn is_linearizable(operations: &[Operation]) -> bool {
    assert!(operations.len() <= 512, "more than a search can take");
    let mut sorted = operations.to_vec();
    sorted.sort_by_key(|one| one.began);
    let mut search = Search { operations: &sorted, tried: HashSet::new() };
    search.go_on([0; 8], 0)
}

struct Search<'a> {
    operations: &'a [Operation],
    /// Which were done, and the value then, where nothing came of it.
    tried: HashSet<([u64; 8], u64)>,
}

impl Search<'_> {
    /// Explicitly without recursion: a history may be longer than the stack is deep.
    fn go_on(&mut self, done: [u64; 8], value: u64) -> bool {
        let operations = self.operations;
        let mut stack = vec![(done, value)];
        while let Some((done, value)) = stack.pop() {
            let has = |at: usize| done[at / 64] & 1 << (at % 64) != 0;
            let left = || (0..operations.len()).filter(|at| !has(*at));
            // What must be done before anything that begins later.
            let bound = left().filter_map(|at| operations[at].ended).min();
            let Some(bound) = bound else { return true };
            for at in left().take_while(|at| operations[*at].began <= bound) {
                let Some(value) = operations[at].action.apply(value) else { continue };
                let mut done = done;
                done[at / 64] |= 1 << (at % 64);
                if self.tried.insert((done, value)) {
                    stack.push((done, value));
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::Action::{Read, Swap, SwapUnknown, Write};
    use super::{Action, Operation, is_linearizable};
    use redstart::base::env::Rng;

    fn one(action: Action, began: u64, ended: impl Into<Option<u64>>) -> Operation {
        Operation { action, began, ended: ended.into() }
    }

    #[test]
    fn histories_that_are_and_that_are_not() {
        let good: &[&[Operation]] = &[
            &[],
            &[one(Read(0), 0, 1), one(Write(1), 2, 3), one(Read(1), 4, 5)],
            // At the same time: either order.
            &[one(Write(1), 0, 9), one(Read(0), 1, 2), one(Read(1), 3, 4)],
            &[one(Write(1), 0, 9), one(Write(2), 0, 9), one(Read(2), 10, 11), one(Read(2), 12, 13)],
            // Nobody knows: never, or late.
            &[one(Write(1), 0, None), one(Read(0), 5, 6), one(Read(0), 7, 8)],
            &[one(Write(1), 0, None), one(Read(0), 5, 6), one(Read(1), 7, 8)],
            &[one(SwapUnknown(1), 0, None), one(Swap { old: 1, new: 2 }, 5, 6)],
            &[one(Write(1), 0, 1), one(Swap { old: 1, new: 2 }, 2, 3), one(Read(2), 4, 5)],
        ];
        for history in good {
            assert!(is_linearizable(history), "{history:?}");
        }
        let bad: &[&[Operation]] = &[
            &[one(Read(1), 0, 1)],
            // Lost.
            &[one(Write(1), 0, 1), one(Read(0), 2, 3)],
            // Back and forth.
            &[one(Write(1), 0, 9), one(Read(1), 1, 2), one(Read(0), 3, 4)],
            &[one(Write(1), 0, None), one(Read(1), 5, 6), one(Read(0), 7, 8)],
            // An old value again.
            &[one(Write(1), 0, 1), one(Write(2), 2, 3), one(Read(1), 4, 5)],
            // Two took the same.
            &[
                one(Write(1), 0, 1),
                one(Swap { old: 1, new: 2 }, 2, 9),
                one(Swap { old: 1, new: 3 }, 2, 9),
            ],
        ];
        for history in bad {
            assert!(!is_linearizable(history), "{history:?}");
        }
    }

    /// Of a register that is one, every history is; with one answer replaced, none.
    #[test]
    fn random_histories_of_a_register() {
        for seed in 0..200 {
            let mut rng = Rng::from_seed(seed);
            let (mut value, mut history, mut written) = (0, Vec::new(), 0);
            for at in 0..60 {
                // Takes effect at `at * 10`.
                let (began, ended) =
                    (at * 10 - rng.below(40).min(at * 10), at * 10 + rng.below(40));
                let unknown = rng.below(8) == 0;
                written += 1;
                let action = match rng.below(3) {
                    0 => Read(value),
                    1 => Write(written),
                    _ => Swap { old: value, new: written },
                };
                value = action.apply(value).unwrap();
                history.push(match (unknown, action) {
                    (true, Read(_)) => continue,
                    (true, Swap { new, .. }) => one(SwapUnknown(new), began, None),
                    (true, action) => one(action, began, None),
                    (false, action) => one(action, began, ended),
                });
            }
            assert!(is_linearizable(&history), "seed {seed}: {history:?}");
            let reads = history.iter_mut().filter(|one| matches!(one.action, Read(_)));
            let Some(read) = reads.last() else { continue };
            // Nobody has written it.
            read.action = Read(1_000);
            assert!(!is_linearizable(&history), "seed {seed}: {history:?}");
        }
    }
}
