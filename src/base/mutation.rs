//! Test equipment: faults of the server's own, each of which breaks one guarantee, so that
//! `tests/simulation` can show that its checkers notice. They exist where debug assertions do: in a
//! release [`is_on`] is a constant `false` and its branches are not compiled.

/// What the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// `write-quorum N` is content with N - 1.
    QuorumOffByOne,
    /// With `write-quorum-durable` what a replica has in memory counts.
    MemoryCountsAsDurable,
    /// A read with `write-quorum` doesn't wait.
    ReadsDoNotWait,
    /// A reply that waits for a quorum in vain is let go instead of becoming an error.
    UncertainIsLetGo,
    /// Under `appendfsync always` replies leave before the sync.
    AnswerBeforeSync,
    /// A replica says that its log is durable up to what isn't synced.
    DurableBeforeSync,
    /// A replica acknowledges more than it has applied.
    AcknowledgeUnapplied,
    /// After a full sync the replica's stream begins a little further on than the snapshot.
    OffsetNotAdopted,
    /// A promoted replica goes on under the name of the old history.
    PromotionKeepsHistory,
    /// A replica of the history before is let go on although it has more of it.
    ForkIsContinued,
    /// A replica that comes back gets the stream from a little further on.
    PartialSyncLeavesGap,
    /// CAUSAL WAIT waits for nothing.
    TokenNotAwaited,
    /// A transaction in a primary's stream is applied command by command.
    TransactionDivided,
    /// A replica takes its clients' writes.
    ReplicaIsWritten,
}

#[cfg(debug_assertions)]
thread_local! {
    static ON: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Has this thread's servers do that wrong from now on, or nothing.
#[cfg(debug_assertions)]
pub fn set(mutation: Option<Mutation>) {
    ON.set(mutation);
}

/// Whether this thread's servers do that wrong.
#[cfg(debug_assertions)]
#[inline]
pub(crate) fn is_on(mutation: Mutation) -> bool {
    ON.get() == Some(mutation)
}

/// Always `false`: a release build has no mutations.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) const fn is_on(_: Mutation) -> bool {
    false
}
