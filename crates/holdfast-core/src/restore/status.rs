//! How a status is written.

use holdfast_api::{
    RestoreJob, RestoreJobPhase, RestoreJobStatus,
    condition::{self, Condition, READY, RECONCILING, Reason, STALLED},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Decision, Write, phase};

/// How often something that is waited for is looked at again.
pub(super) const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(2);

/// The status as observed, to be changed and written.
pub(super) fn draft(restore: &RestoreJob) -> RestoreJobStatus {
    let mut status = restore.status.clone().unwrap_or_default();
    status.phase = Some(phase(restore));
    status.observed_generation = restore.metadata.generation;
    status
}

/// Says what is being done, in a status that is about to be written.
pub(super) fn say(
    status: &mut RestoreJobStatus,
    restore: &RestoreJob,
    reason: Reason,
    text: &str,
    now: Timestamp,
) -> bool {
    let generation = restore.metadata.generation.unwrap_or_default();
    let known = status
        .conditions
        .iter()
        .any(|c| c.type_ == RECONCILING && c.status == "True" && c.reason == reason.as_str());
    if known {
        return false;
    }
    condition::set(&mut status.conditions, READY, false, reason, text, generation, now);
    condition::set(&mut status.conditions, RECONCILING, true, reason, text, generation, now);
    true
}

/// Writes what is being done if the status does not say so yet, else looks again soon.
pub(super) fn waiting(restore: &RestoreJob, reason: Reason, text: &str, now: Timestamp) -> Decision {
    let mut status = draft(restore);
    let changed = say(&mut status, restore, reason, text, now);
    Decision {
        write: changed.then(|| Write::Status(Box::new(status))),
        event: None,
        next: Some(LOOK_AGAIN),
    }
}

/// Ends the restore as Failed.
pub(super) fn failed(restore: &RestoreJob, reason: Reason, text: &str, now: Timestamp) -> Decision {
    let generation = restore.metadata.generation.unwrap_or_default();
    let mut status = draft(restore);
    status.phase = Some(RestoreJobPhase::Failed);
    status.failure_reason = Some(text.to_owned());
    status.completion_timestamp = Some(Time(now));
    let message = format!("{text}: {}", reason.hint());
    condition::set(&mut status.conditions, READY, false, reason, &message, generation, now);
    condition::set(
        &mut status.conditions,
        RECONCILING,
        false,
        reason,
        &message,
        generation,
        now,
    );
    condition::set(&mut status.conditions, STALLED, true, reason, &message, generation, now);
    Decision {
        write: Some(Write::Status(Box::new(status))),
        event: None,
        next: None,
    }
    .with(true, reason, text)
}

/// Ends the restore as Completed.
pub(super) fn completed(restore: &RestoreJob, text: &str, now: Timestamp) -> Decision {
    let generation = restore.metadata.generation.unwrap_or_default();
    let mut status = draft(restore);
    status.phase = Some(RestoreJobPhase::Completed);
    status.failure_reason = None;
    status.completion_timestamp = Some(Time(now));
    condition::set(
        &mut status.conditions,
        READY,
        true,
        Reason::Completed,
        text,
        generation,
        now,
    );
    condition::set(
        &mut status.conditions,
        RECONCILING,
        false,
        Reason::Completed,
        text,
        generation,
        now,
    );
    Decision {
        write: Some(Write::Status(Box::new(status))),
        event: None,
        next: None,
    }
    .with(false, Reason::Completed, text)
}

/// Notes a fact beside the three conditions of every object, in the status, before anything is done that rests on it.
pub(super) fn note(
    restore: &RestoreJob,
    kind: &str,
    holds: bool,
    reason: Reason,
    text: &str,
    now: Timestamp,
) -> Decision {
    let mut draft = draft(restore);
    let generation = restore.metadata.generation.unwrap_or_default();
    condition::set(&mut draft.conditions, kind, holds, reason, text, generation, now);
    Decision::write(Write::Status(Box::new(draft)))
}

/// What was noted under that word.
pub(super) fn noted<'a>(restore: &'a RestoreJob, kind: &str) -> Option<&'a Condition> {
    let conditions = restore.status.as_ref().map(|status| &status.conditions);
    conditions?.iter().find(|condition| condition.type_ == kind)
}

/// Why what was noted does not hold, if that is what was noted; `otherwise` stands for a reason that is not known.
pub(super) fn denied<'a>(restore: &'a RestoreJob, kind: &str, otherwise: Reason) -> Option<(Reason, &'a str)> {
    let denied = noted(restore, kind).filter(|condition| condition.status == "False")?;
    Some((Reason::parse(&denied.reason).unwrap_or(otherwise), &denied.message))
}
