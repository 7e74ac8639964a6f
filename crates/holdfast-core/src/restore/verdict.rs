//! What is so about a restore, before anything is said or written about it.

use holdfast_api::{RestorePlan, condition::Reason};

use super::observed::Write;
use crate::decision::Event;

/// What is so about a restore.
pub(super) enum Verdict {
    /// Nothing is to be done.
    Rest,
    /// This must be written, beside the status, and then told.
    Write(Write, Option<Event>),
    /// The restore begins with this plan; in words.
    Begin(Box<RestorePlan>, String),
    /// This has to be remembered in the plan before anything is done that rests on it; and then told.
    Note(Box<RestorePlan>, Option<Event>),
    /// This is being done or waited for.
    Wait(Reason, String),
    /// It ends well.
    Complete(String),
    /// It ends without that.
    Fail(Reason, String),
}

impl Verdict {
    /// A write that nothing is told about.
    pub(super) fn write(write: Write) -> Self {
        Self::Write(write, None)
    }

    /// A change of the plan that nothing is told about.
    pub(super) fn note(plan: &RestorePlan, change: impl FnOnce(&mut RestorePlan)) -> Self {
        let mut plan = Box::new(plan.clone());
        change(&mut plan);
        Self::Note(plan, None)
    }
}
