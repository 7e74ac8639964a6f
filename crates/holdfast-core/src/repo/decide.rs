//! The decision about a repository.

use std::time::Duration;

use holdfast_api::{
    BackupRepoPhase, BackupRepoStatus, ObjectMetaExt as _,
    condition::{Condition, ConditionType, Conditions, Reason},
    names::FINALIZER,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    Decision, Event, GRACE, Next, Observed, Write,
    check::{CHECKS, Examined, examine, is_new, names_are_stored},
    claims, delete, turned_bad,
};

/// How often a repository that rests is looked at although nothing changed.
const SLOW_PASS: Duration = Duration::from_mins(10);
/// How soon something refused or in the way is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// Decides about a repository.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let metadata = &observed.repo.metadata;
    if observed.repo.is_terminating() {
        return delete::decide(observed, now);
    }
    if let Some(patch) = delete::with_finalizer(metadata, FINALIZER) {
        return writing(Write::Metadata(patch), Vec::new());
    }
    let examined = examine(observed, now);
    let verdict = examined.verdict();
    let Examined {
        mut status,
        mut conditions,
        action,
        claim,
        ..
    } = examined;
    let before = observed.repo.status.clone().unwrap_or_default();
    let left = grace_left(&before, verdict.as_ref().err().map(|(reason, _)| *reason), now);
    let phase = match &verdict {
        Ok(()) => BackupRepoPhase::Ready,
        Err(_) if left.is_some() || action.is_some() => BackupRepoPhase::PreChecking,
        Err(_) => BackupRepoPhase::Failed,
    };
    // While something is being made, what was said before still holds: a Secret that is rendered again makes nothing fail.
    if let Some((write, event)) = action.filter(|_| names_are_stored(observed.repo.status.as_ref(), &status)) {
        return writing(write, event.into_iter().collect());
    }
    summarise(&mut conditions, phase, verdict);
    status.phase = Some(phase);
    let waits = phase == BackupRepoPhase::PreChecking;
    status.waiting_since = waits.then(|| before.waiting_since.clone().unwrap_or(Time(now)));
    status.deletion = None;
    status.conditions = conditions.into_list();
    if status != before {
        return announcing(&before, status);
    }
    if let Some(write) = claim
        .filter(|_| phase == BackupRepoPhase::Ready)
        .and_then(|claim| claims::serve(observed, &claim))
    {
        return writing(write, Vec::new());
    }
    let next = match left {
        Some(left) => left,
        None if observed.refused.is_some() || !observed.waiting.is_empty() => RETRY,
        None => SLOW_PASS,
    };
    Decision {
        write: None,
        events: Vec::new(),
        news: None,
        next: Next::After(next),
    }
}

pub(super) fn writing(write: Write, events: Vec<Event>) -> Decision {
    Decision {
        write: Some(write),
        events,
        news: None,
        next: Next::After(Duration::ZERO),
    }
}

/// How long a new repository may still wait for what does not exist yet. `None`: it may not, or it has no need to.
fn grace_left(before: &BackupRepoStatus, failed: Option<Reason>, now: Timestamp) -> Option<Duration> {
    let may_come = matches!(
        failed?,
        Reason::StorageProviderNotFound | Reason::StorageProviderNotReady | Reason::CredentialSecretNotFound
    );
    if !is_new(before.phase) || !may_come {
        return None;
    }
    let since = before.waiting_since.as_ref().map_or(now, |time| time.0);
    let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    GRACE.checked_sub(waited).filter(|left| !left.is_zero())
}

/// The conditions that tools read for every kind alike.
fn summarise(conditions: &mut Conditions, phase: BackupRepoPhase, verdict: Result<(), (Reason, String)>) {
    let (reason, message) = verdict.err().unwrap_or((Reason::Ready, String::new()));
    match phase {
        BackupRepoPhase::Ready => conditions.ready(reason, &message),
        BackupRepoPhase::Failed => conditions.stalled(reason, &message),
        BackupRepoPhase::PreChecking | BackupRepoPhase::Deleting => conditions.reconciling(reason, &message),
    };
}

/// The status is written, and what turned for the worse in it is told.
fn announcing(before: &BackupRepoStatus, status: BackupRepoStatus) -> Decision {
    let news = status.phase.filter(|phase| {
        before.phase != Some(*phase) && matches!(phase, BackupRepoPhase::Ready | BackupRepoPhase::Failed)
    });
    let mut events = Vec::new();
    if news == Some(BackupRepoPhase::Ready) {
        events.push(Event::normal(Reason::Ready, "the repository can be used"));
    }
    events.extend(failures(before, &status));
    Decision {
        write: Some(Write::Status(Box::new(status))),
        events,
        news,
        next: Next::After(Duration::ZERO),
    }
}

fn failures(before: &BackupRepoStatus, status: &BackupRepoStatus) -> Vec<Event> {
    // A check that fails within the grace is in the condition, but no failure yet.
    let judged = !is_new(status.phase);
    let old: &[Condition] = if judged && is_new(before.phase) {
        &[]
    } else {
        &before.conditions
    };
    let checks = CHECKS
        .into_iter()
        .filter(|_| judged)
        .filter_map(|kind| turned_bad(old, &status.conditions, kind));
    let others = [
        ConditionType::StorageClassCurrent,
        ConditionType::ClaimsCreated,
        ConditionType::DerivedObjectsDeleted,
    ];
    let others = others
        .into_iter()
        .filter_map(|kind| turned_bad(&before.conditions, &status.conditions, kind));
    checks.chain(others).collect()
}
