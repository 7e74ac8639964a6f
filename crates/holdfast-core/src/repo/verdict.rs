//! What can be so about a repository: what the judge says and the renderer takes.

use std::time::Duration;

use holdfast_api::{
    BackupRepoPhase, BackupRepoStatus,
    condition::{ConditionType, Reason, Status},
};

use super::Write;
use crate::decision::Event;

/// What is so.
#[derive(Debug)]
pub(super) enum Verdict {
    /// This has to be written before anything else can be said; then this is told.
    Write(Write, Vec<Event>),
    /// The repository stands like this.
    Stands(Box<Standing>),
    /// It is being deleted, and this is being done or is in the way.
    Deleting(Reason, String),
    /// Nothing is left to do about it.
    Gone,
}

/// How a living repository stands.
#[derive(Debug)]
pub(super) struct Standing {
    /// Its phase.
    pub(super) phase: BackupRepoPhase,
    /// Why it is not Ready, if it is not.
    pub(super) problem: Option<(Reason, String)>,
    /// What the checks found, in their order.
    pub(super) findings: Vec<Finding>,
    /// The stored status with the names of what is made for the repository.
    pub(super) named: BackupRepoStatus,
    /// How long what does not exist yet is still waited for.
    pub(super) grace: Option<Duration>,
    /// What Backups that wait for a claim need next.
    pub(super) serve: Option<Write>,
}

/// What one check found. A check that was not made has none, and its condition stays as it was.
#[derive(Debug)]
pub(super) struct Finding {
    /// Type of the condition.
    pub(super) check: ConditionType,
    /// What is so.
    pub(super) found: Found,
}

/// What is so of one condition.
#[derive(Debug)]
pub(super) enum Found {
    /// The condition is so, with this reason and text.
    Is(Status, Reason, String),
    /// It is True again; said only where something else was said before.
    Mended(Reason),
    /// It does not apply.
    NotApplicable,
}

impl Finding {
    /// The condition is so.
    pub(super) fn is(check: ConditionType, status: impl Into<Status>, reason: Reason, text: impl Into<String>) -> Self {
        Self {
            check,
            found: Found::Is(status.into(), reason, text.into()),
        }
    }

    /// The condition does not apply.
    pub(super) fn not_applicable(check: ConditionType) -> Self {
        Self {
            check,
            found: Found::NotApplicable,
        }
    }
}

/// The phases in which a repository has not been judged yet.
pub(super) fn is_new(phase: Option<BackupRepoPhase>) -> bool {
    matches!(phase, None | Some(BackupRepoPhase::PreChecking))
}
