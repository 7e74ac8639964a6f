//! What is so about a Backup, before anything is said or written about it.

use holdfast_api::{BackupPlan, agent::AgentResult, condition::Reason};
use jiff::SignedDuration;

use super::observed::{Problem, Read, Write};

/// What is so about a Backup.
pub(super) enum Verdict {
    /// Nothing is to be done; look again after this time, or when something changes.
    Rest(Option<SignedDuration>),
    /// This must be read before anything can be said.
    Read(Read),
    /// This must be written, beside the status.
    Write(Write),
    /// The run begins, or, while nothing has been started, begins anew with this plan.
    Begin(Box<BackupPlan>, Surroundings),
    /// Something is waited for; look again after this time.
    Wait(Reason, String, SignedDuration),
    /// The same, told with the cluster's own words, which may have come later than the wait.
    Quote(Reason, String, SignedDuration),
    /// What was waited for has come: the tool is at work; look again after this time.
    Runs(String, SignedDuration),
    /// So many attempts have failed, the last one for this reason.
    Attempt(i32, Reason, String),
    /// The run is to be ended before its time: that is written down before anything is done about it.
    Stop(Reason, String),
    /// It is sealed.
    Complete(Box<AgentResult>),
    /// It ends without a result.
    Fail(Reason, String),
}

/// What the status says about a run beside its plan.
#[derive(Default)]
pub(super) struct Surroundings {
    /// The cluster that is backed up.
    pub(super) source_cluster: Option<String>,
    /// The volume that the repository's claim is bound to.
    pub(super) volume_name: Option<String>,
}

impl Verdict {
    /// What a problem means that has no deadline of its own.
    pub(super) fn of(problem: Problem, again: SignedDuration) -> Self {
        match problem {
            Problem::Read(read) => Self::Read(read),
            Problem::Write(write) => Self::Write(*write),
            Problem::Wait(reason, text) => Self::Wait(reason, text, again),
            Problem::Missing(reason, text) | Problem::Fail(reason, text) => Self::Fail(reason, text),
        }
    }
}
