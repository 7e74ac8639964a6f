//! The decision about a repository.

use std::time::Duration;

use holdfast_api::{
    BackupRepoPhase, BackupRepoStatus,
    condition::{READY, RECONCILING, STALLED},
    names::FINALIZER,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    Decision, Event, GRACE, Next, Observed, RepoReason, Write,
    check::{Examined, examine, is_new, names_are_stored, verdict},
    claims,
    condition_types::{
        CLAIMS_CREATED, DERIVED_OBJECTS_DELETED, PARAMETERS_CHECKED, PVC_TEMPLATE_CHECKED, STORAGE_CLASS_CREATED,
        STORAGE_CLASS_CURRENT, STORAGE_PROVIDER_READY,
    },
    conditions::{find, turned_bad},
    delete,
};

/// How often a repository that rests is looked at although nothing changed.
const SLOW_PASS: Duration = Duration::from_mins(10);
/// How soon something refused or in the way is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// Decides about a repository.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let metadata = &observed.repo.metadata;
    if metadata.deletion_timestamp.is_some() {
        return delete::decide(observed, now);
    }
    if let Some(patch) = delete::with_finalizer(metadata, FINALIZER) {
        return writing(Write::Metadata(patch), Vec::new());
    }
    let Examined {
        mut status,
        mut conditions,
        action,
        claim,
    } = examine(observed, now);
    let before = observed.repo.status.clone().unwrap_or_default();
    let verdict = verdict(&conditions);
    let left = grace_left(
        &before,
        verdict.as_ref().err().map(|(_, reason, _)| reason.as_str()),
        now,
    );
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
fn grace_left(before: &BackupRepoStatus, failed: Option<&str>, now: Timestamp) -> Option<Duration> {
    let may_come = [
        RepoReason::StorageProviderNotFound,
        RepoReason::StorageProviderNotReady,
        RepoReason::CredentialSecretNotFound,
    ];
    let failed = failed?;
    if !is_new(before.phase) || !may_come.iter().any(|reason| reason.as_str() == failed) {
        return None;
    }
    let since = find(&before.conditions, RECONCILING).map_or(now, |condition| condition.last_transition_time.0);
    let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    GRACE.checked_sub(waited).filter(|left| !left.is_zero())
}

/// The conditions that tools read for every kind alike.
fn summarise(
    conditions: &mut super::conditions::Conditions,
    phase: BackupRepoPhase,
    verdict: Result<(), (&'static str, String, String)>,
) {
    let (reason, message) = match verdict {
        Ok(()) => (RepoReason::Ready.as_str().to_owned(), String::new()),
        Err((kind, reason, _)) if reason.is_empty() || reason == kind => ("Checking".to_owned(), String::new()),
        Err((_, reason, message)) => (reason, message),
    };
    let yes_no = |yes| if yes { "True" } else { "False" };
    conditions.put(READY, yes_no(phase == BackupRepoPhase::Ready), &reason, &message);
    conditions.put(RECONCILING, yes_no(phase == BackupRepoPhase::PreChecking), &reason, "");
    conditions.put(STALLED, yes_no(phase == BackupRepoPhase::Failed), &reason, &message);
}

/// The status is written, and what turned for the worse in it is told.
fn announcing(before: &BackupRepoStatus, status: BackupRepoStatus) -> Decision {
    let news = status.phase.filter(|phase| {
        before.phase != Some(*phase) && matches!(phase, BackupRepoPhase::Ready | BackupRepoPhase::Failed)
    });
    let mut events = Vec::new();
    if news == Some(BackupRepoPhase::Ready) {
        events.push(Event::normal(RepoReason::Ready.as_str(), "the repository can be used"));
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
    let checks = [
        STORAGE_PROVIDER_READY,
        PARAMETERS_CHECKED,
        STORAGE_CLASS_CREATED,
        PVC_TEMPLATE_CHECKED,
    ];
    let checks = checks
        .into_iter()
        .filter(|_| judged)
        .filter_map(|kind| turned_bad(old, &status.conditions, kind));
    let others = [STORAGE_CLASS_CURRENT, CLAIMS_CREATED, DERIVED_OBJECTS_DELETED];
    let others = others
        .into_iter()
        .filter_map(|kind| turned_bad(&before.conditions, &status.conditions, kind));
    checks
        .chain(others)
        .map(|condition| Event::warning(&condition.reason, &condition.message))
        .collect()
}
