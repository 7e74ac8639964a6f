//! How a status is written: conditions in kstatus form, and what every end has in common.

use holdfast_api::condition::{self, READY, RECONCILING, Reason, STALLED};
use holdfast_api::event::BusEventKind;
use holdfast_api::{Backup, BackupPhase, BackupStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{Decision, Event, Next, Notice, Write, size};
use crate::ttl;

/// The status as observed, to be changed and written.
pub(super) fn draft(backup: &Backup) -> BackupStatus {
    let mut status = backup.status.clone().unwrap_or_default();
    status.observed_generation = backup.metadata.generation;
    status
}

/// When the run started, as the status says.
pub(super) fn started(backup: &Backup) -> Option<Timestamp> {
    Some(backup.status.as_ref()?.start_timestamp.as_ref()?.0)
}

/// The phase; none counts as New.
pub(super) fn phase(backup: &Backup) -> BackupPhase {
    backup
        .status
        .as_ref()
        .and_then(|status| status.phase)
        .unwrap_or(BackupPhase::New)
}

/// A condition of the Backup if it is True.
pub(super) fn holds<'a>(backup: &'a Backup, kind: &str) -> Option<&'a Condition> {
    let conditions = &backup.status.as_ref()?.conditions;
    conditions
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == "True")
}

/// The message of a condition: what happened, and what to do about it where anything can be done.
pub(super) fn message(reason: Reason, text: &str) -> String {
    match reason {
        Reason::InProgress | Reason::JobRunning | Reason::Verifying | Reason::Completed => text.to_owned(),
        _ => format!("{text}: {}", reason.hint()),
    }
}

/// What happened, from a message.
pub(super) fn text(reason: Reason, message: &str) -> &str {
    message
        .strip_suffix(reason.hint())
        .and_then(|text| text.strip_suffix(": "))
        .unwrap_or(message)
}

/// Says what is being done or waited for.
pub(super) fn say(status: &mut BackupStatus, backup: &Backup, reason: Reason, text: &str, now: Timestamp) {
    let generation = backup.metadata.generation.unwrap_or_default();
    let message = &message(reason, text);
    let conditions = &mut status.conditions;
    condition::set(conditions, READY, false, reason, message, generation, now);
    condition::set(conditions, RECONCILING, true, reason, message, generation, now);
}

/// Writes what is waited for if the status does not say so yet, else looks again after `wait`.
///
/// A message that changes under one reason is not written again: the cluster's own texts alternate
/// (an image is pulled, then backed off), and the first one says more.
pub(super) fn waiting(
    backup: &Backup,
    reason: Reason,
    text: &str,
    wait: jiff::SignedDuration,
    now: Timestamp,
) -> Decision {
    let said = holds(backup, RECONCILING).is_some_and(|condition| condition.reason == reason.as_str());
    if said {
        return Decision::after(wait);
    }
    let mut status = draft(backup);
    status.phase = Some(phase(backup));
    say(&mut status, backup, reason, text, now);
    Decision::write(Write::Status(Box::new(status)))
}

/// Says that the run is to be stopped, and why, before anything is done about it: the next pass, whoever makes it,
/// goes on from there.
pub(super) fn stopping(backup: &Backup, reason: Reason, text: &str, now: Timestamp) -> Decision {
    let generation = backup.metadata.generation.unwrap_or_default();
    let message = &message(reason, text);
    let mut status = draft(backup);
    condition::set(&mut status.conditions, READY, false, reason, message, generation, now);
    condition::set(&mut status.conditions, STALLED, true, reason, message, generation, now);
    Decision::write(Write::Status(Box::new(status)))
}

/// Ends a Backup as Failed. `text` is the original's `failureReason` where it has one.
pub(super) fn failed(backup: &Backup, reason: Reason, text: &str, ttl: Option<&str>, now: Timestamp) -> Decision {
    let generation = backup.metadata.generation.unwrap_or_default();
    let mut status = draft(backup);
    let from = phase(backup);
    end(&mut status, BackupPhase::Failed, ttl, now);
    status.failure_reason = Some(text.to_owned());
    let message = &message(reason, text);
    let conditions = &mut status.conditions;
    condition::set(conditions, READY, false, reason, message, generation, now);
    condition::set(conditions, STALLED, true, reason, message, generation, now);
    condition::set(conditions, RECONCILING, false, reason, message, generation, now);
    let notice = Notice {
        kind: BusEventKind::BackupFailed,
        from,
        start: started(backup).unwrap_or(now),
        reason: Some(reason),
    };
    let event = Event {
        warning: true,
        reason: reason.as_str().to_owned(),
        note: text.to_owned(),
    };
    Decision {
        events: vec![event],
        news: vec![notice],
        next: Next::AwaitChange,
        ..Decision::write(Write::Status(Box::new(status)))
    }
}

/// What every end has in common: the phase, the times, and when it expires: counted from its end.
pub(super) fn end(status: &mut BackupStatus, phase: BackupPhase, ttl: Option<&str>, now: Timestamp) {
    status.phase = Some(phase);
    status.completion_timestamp = Some(Time(now));
    let started = status.start_timestamp.as_ref().map(|time| time.0);
    status.duration = started.map(|started| size::duration(now.duration_since(started)));
    let kept = ttl.and_then(|ttl| ttl::parse(ttl).ok());
    status.expiration = kept.and_then(|kept| now.checked_add(kept).ok()).map(Time);
}
