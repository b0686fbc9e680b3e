//! The rules of order, each of which a test can take away to see that it is missed.

/// A rule of order that a test takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The backup's header is written without waiting for its data to be durable.
    BackupUnflushed,
    /// Windows are overwritten while the header of their backup is not durable.
    HeaderUnflushed,
    /// A section is used again while the durable header still claims what it held.
    SectionUncleared,
    /// A position is recorded before the members' data is durable.
    MembersUnflushed,
    /// The next windows are overwritten before the position is durable.
    RecordLate,
    /// A position is recorded on one member only.
    RecordOnOne,
    /// New rows are written as if the old ones lay further away.
    OverwriteEarly,
    /// What a backup put back is recorded before it is durable.
    RestoreUnflushed,
    /// The reshape goes on from where it stood before a backup was put back.
    RestoreUnrecorded,
    /// A critical section without a usable backup is believed without a witness.
    GroundUnseen,
    /// Members that fill a slot of the old array stay when the reshape turns around.
    FillsStay,
    /// What such members lacked is not durable when it turns.
    FillsUnflushed,
    /// A member that could not be written or flushed goes on as if it had been.
    FailureIgnored,
    /// A member leaves when the file system that it lies on is full.
    FullLeaves,
    /// Zeros are left out wherever a member may have a hole.
    DataTakenForHole,
    /// Rows count as zeros if one member has a hole there.
    HoleHalfSeen,
}

/// Which rules hold: all of them, but in tests of the tests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    #[cfg(feature = "mutation")]
    pub(super) broken: Option<Mutation>,
}

impl Rules {
    /// Whether a test took this rule away.
    pub(super) fn lack(self, rule: Mutation) -> bool {
        #[cfg(feature = "mutation")]
        return self.broken == Some(rule);
        #[cfg(not(feature = "mutation"))]
        {
            let _ = rule;
            false
        }
    }
}
