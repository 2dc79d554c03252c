//! The rules that keep every write (`docs/protocol.md`), each of which can be broken so that
//! the simulator shows that it would notice.

/// A rule that the callers of the machines keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// I1: a region's bit is durable before a write to it is submitted.
    I1IntentFirst,
    /// I1b: a write to a region whose bit is being cleared sets it again first.
    I1bClearFence,
    /// I2: a write is marked after the disk took it, before the guest hears of it.
    I2MarkAfterWrite,
    /// I2b: an extent is picked before it is read.
    I2bPickBeforeRead,
    /// I3: the source disk is flushed before a region leaves the log.
    I3FlushBeforeClear,
    /// I4: an acknowledgement follows data flush and have-map.
    I4DurableAck,
    /// I4: frames are noted before the flush begins, not after it.
    I4NotedBeforeFlush,
    /// I4: the have-map is written after the data is durable.
    I4DataBeforeHaveMap,
    /// I4: the have-map is durable before anything is acknowledged.
    I4HaveMapFlushed,
    /// I5: one version of a block is on its way at most.
    I5OneInFlight,
    /// I6: nothing of an older session is applied after a new one began.
    I6Fence,
    /// I6: what was applied before is flushed before a session begins.
    I6FlushBeforeSession,
    /// I6: what a killed process left in the cache is flushed, and the cache dropped, at start.
    I6FlushAtStart,
    /// State that a killed process left in the cache is flushed before anything builds on it.
    StateFlushedAtStart,
    /// I8: after a failed flush nothing that was not acknowledged is believed.
    I8FailedFlushEndsSession,
    /// I11: another epoch compares everything.
    I11CompareNewEpoch,
    /// 2G: in a unit the destination lacks, the whole unit is sent.
    TwoGranularitiesSource,
    /// 2G: the same, and the receiver lets units that are covered in part into its have-map.
    TwoGranularitiesReceiver,
    /// Both sides are read again before a hand-over.
    ScrubBeforeReady,
    /// Hand-over: HANDED_OFF is durable before OWN leaves.
    SealBeforeOwn,
    /// Hand-over: ACTIVE is durable before it is said.
    ActiveBeforeAnswer,
    /// Hand-over: a sealed source stays sealed when it starts again.
    SealSurvivesRestart,
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 22] = [
        Rule::I1IntentFirst,
        Rule::I1bClearFence,
        Rule::I2MarkAfterWrite,
        Rule::I2bPickBeforeRead,
        Rule::I3FlushBeforeClear,
        Rule::I4DurableAck,
        Rule::I4NotedBeforeFlush,
        Rule::I4DataBeforeHaveMap,
        Rule::I4HaveMapFlushed,
        Rule::I5OneInFlight,
        Rule::I6Fence,
        Rule::I6FlushBeforeSession,
        Rule::I6FlushAtStart,
        Rule::StateFlushedAtStart,
        Rule::I8FailedFlushEndsSession,
        Rule::I11CompareNewEpoch,
        Rule::TwoGranularitiesSource,
        Rule::TwoGranularitiesReceiver,
        Rule::ScrubBeforeReady,
        Rule::SealBeforeOwn,
        Rule::ActiveBeforeAnswer,
        Rule::SealSurvivesRestart,
    ];
}
