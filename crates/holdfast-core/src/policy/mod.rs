//! Whether a policy can be used, and when its schedule comes due.

mod cron;
mod slot;
#[cfg(test)]
mod tests;

use holdfast_api::{
    BackupPolicy, BackupPolicyPhase, BackupPolicyStatus, BackupType, CommonBackupPolicy, SchedulePolicy,
    condition::{self, READY, RECONCILING, Reason, STALLED},
    names::ANNOTATION_PATH_PREFIX,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

pub use cron::Cron;
pub use slot::{Slot, due, is_made_for, slot_backup};

use crate::{naming, target, ttl};

/// Since when, and by which expression, data files are backed up on schedule. Slots before its
/// `lastTransitionTime` are settled: made, missed or from before the schedule was as it is.
pub const SCHEDULED: &str = "Scheduled";

/// The schedule of data files, where it is on.
pub fn schedule(policy: &BackupPolicy) -> Option<&SchedulePolicy> {
    policy
        .spec
        .schedule
        .as_ref()?
        .datafile
        .as_ref()
        .filter(|schedule| schedule.enable)
}

/// What is wrong with a policy, if anything.
pub fn validate(policy: &BackupPolicy) -> Result<(), (Reason, String)> {
    if let Some(text) = policy
        .spec
        .retention
        .as_ref()
        .and_then(|retention| retention.ttl.as_deref())
    {
        ttl::parse(text).map_err(|error| (Reason::InvalidPolicy, format!("spec.retention.ttl: {error}")))?;
    }
    let prefix = policy
        .annotations()
        .get(ANNOTATION_PATH_PREFIX)
        .map_or("", String::as_str);
    naming::backup_path(&policy.namespace().unwrap_or_default(), prefix, "b")
        .map_err(|error| (Reason::InvalidPathPrefix, error.to_string()))?;
    for (name, section) in [
        ("datafile", policy.spec.datafile.as_ref()),
        ("logfile", policy.spec.logfile.as_ref()),
    ] {
        if let Some(section) = section {
            common(name, section)?;
        }
    }
    if let Some(snapshot) = &policy.spec.snapshot {
        target::selector(&snapshot.base.target.labels_selector)
            .map_err(|error| (Reason::InvalidSelector, format!("spec.snapshot.target.{error}")))?;
    }
    let Some(schedule) = &policy.spec.schedule else {
        return Ok(());
    };
    for (kind, schedule) in [
        (BackupType::Datafile, &schedule.datafile),
        (BackupType::Snapshot, &schedule.snapshot),
        (BackupType::Logfile, &schedule.logfile),
    ] {
        let Some(schedule) = schedule.as_ref().filter(|schedule| schedule.enable) else {
            continue;
        };
        let field = format!("spec.schedule.{}", kind.as_str());
        Cron::parse(&schedule.cron_expression)
            .map_err(|error| (Reason::InvalidSchedule, format!("{field}.cronExpression: {error}")))?;
        if !crate::admission::has_section(policy, kind) {
            return Err((
                Reason::BackupNotSupported,
                format!("{field} is enabled, but spec.{} is missing", kind.as_str()),
            ));
        }
    }
    Ok(())
}

fn common(name: &str, section: &CommonBackupPolicy) -> Result<(), (Reason, String)> {
    target::selector(&section.base.target.labels_selector)
        .map_err(|error| (Reason::InvalidSelector, format!("spec.{name}.target.{error}")))?;
    if section.backup_tool_name.as_deref().is_none_or(str::is_empty) {
        return Err((Reason::InvalidPolicy, format!("spec.{name}.backupToolName is empty")));
    }
    for (field, value) in [
        ("backupsHistoryLimit", section.base.backups_history_limit),
        ("onFailAttempted", section.base.on_fail_attempted),
    ] {
        if value.is_some_and(i32::is_negative) {
            return Err((Reason::InvalidPolicy, format!("spec.{name}.{field} is negative")));
        }
    }
    Ok(())
}

/// Schedules that are on and that this version does not run.
fn unserved(policy: &BackupPolicy) -> Option<&'static str> {
    let schedule = policy.spec.schedule.as_ref()?;
    let on = |schedule: &Option<SchedulePolicy>| schedule.as_ref().is_some_and(|schedule| schedule.enable);
    match (on(&schedule.snapshot), on(&schedule.logfile)) {
        (true, true) => Some("snapshot and logfile schedules are"),
        (true, false) => Some("the snapshot schedule is"),
        (false, true) => Some("the logfile schedule is"),
        (false, false) => None,
    }
}

/// The status that the policy should have: phase, reason, conditions. Times of slots and successes are kept.
pub fn status(policy: &BackupPolicy, now: Timestamp) -> BackupPolicyStatus {
    let mut status = policy.status.clone().unwrap_or_default();
    let generation = policy.metadata.generation.unwrap_or_default();
    status.observed_generation = Some(generation);
    let (ready, reason, message) = match validate(policy) {
        Ok(()) => match unserved(policy) {
            None => (true, Reason::Available, "the policy can be used".to_owned()),
            Some(which) => (
                true,
                Reason::Unsupported,
                format!("{which} not run by this version; data files are backed up"),
            ),
        },
        Err((reason, text)) => (false, reason, text),
    };
    status.phase = Some(if ready {
        BackupPolicyPhase::Available
    } else {
        BackupPolicyPhase::Failed
    });
    status.failure_reason = (!ready).then(|| message.clone());
    condition::set(&mut status.conditions, READY, ready, reason, &message, generation, now);
    condition::set(
        &mut status.conditions,
        RECONCILING,
        false,
        reason,
        &message,
        generation,
        now,
    );
    condition::set(
        &mut status.conditions,
        STALLED,
        !ready,
        reason,
        &message,
        generation,
        now,
    );
    scheduled(policy, &mut status, ready, generation, now);
    status
}

/// Notes since when the schedule is as it is: a schedule that is switched on or changed makes up for nothing.
fn scheduled(policy: &BackupPolicy, status: &mut BackupPolicyStatus, ready: bool, generation: i64, now: Timestamp) {
    let on = schedule(policy).filter(|_| ready);
    let message = match on {
        Some(schedule) => format!("by \"{}\" (UTC)", schedule.cron_expression),
        None => "the datafile schedule is off".to_owned(),
    };
    let known = status.conditions.iter().find(|condition| condition.type_ == SCHEDULED);
    let same =
        known.is_some_and(|known| known.message.starts_with(&message) && (known.status == "True") == on.is_some());
    if same {
        return;
    }
    condition::set(
        &mut status.conditions,
        SCHEDULED,
        on.is_some(),
        Reason::Available,
        &message,
        generation,
        now,
    );
    settle(status, now);
}

/// Marks every slot up to `slot` as settled.
fn settle(status: &mut BackupPolicyStatus, slot: Timestamp) {
    if let Some(condition) = status
        .conditions
        .iter_mut()
        .find(|condition| condition.type_ == SCHEDULED)
    {
        condition.last_transition_time = Time(slot);
    }
}

/// The status after a slot was made (`reason` none), or was missed or skipped for a reason.
pub fn after_slot(
    policy: &BackupPolicy,
    slot: Timestamp,
    reason: Option<(Reason, &str)>,
    now: Timestamp,
) -> BackupPolicyStatus {
    let mut status = status(policy, now);
    let generation = policy.metadata.generation.unwrap_or_default();
    let by = schedule(policy).map_or_else(String::new, |schedule| {
        format!("by \"{}\" (UTC)", schedule.cron_expression)
    });
    let (word, message) = match reason {
        None => {
            let newest = status.last_schedule_time.as_ref().map_or(slot, |time| time.0.max(slot));
            status.last_schedule_time = Some(Time(newest));
            (Reason::Available, by)
        }
        Some((reason, text)) => (reason, format!("{by}; {text}")),
    };
    condition::set(&mut status.conditions, SCHEDULED, true, word, &message, generation, now);
    settle(&mut status, slot);
    status
}

/// The status after a Backup of the policy completed, if that is news.
pub fn after_success(policy: &BackupPolicy, completed: Timestamp) -> Option<BackupPolicyStatus> {
    let mut status = policy.status.clone().unwrap_or_default();
    if status
        .last_successful_time
        .as_ref()
        .is_some_and(|time| time.0 >= completed)
    {
        return None;
    }
    status.last_successful_time = Some(Time(completed));
    Some(status)
}
