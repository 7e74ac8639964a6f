//! Whether a policy can be used, and when its schedule comes due.

mod cron;
mod slot;
#[cfg(test)]
mod tests;

use holdfast_api::{
    BackupPolicy, BackupPolicyPhase, BackupPolicyStatus, BackupType, BasePolicy, CommonBackupPolicy, SchedulePolicy,
    condition::{self, READY, RECONCILING, Reason, STALLED},
    names::ANNOTATION_PATH_PREFIX,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

pub use cron::Cron;
pub use slot::{Slot, due, is_made_for, is_unfinished, slot_backup, unconfirmed};

use crate::{naming, target, ttl};

/// Since when, and by which expression, data files are backed up on schedule. Slots before its
/// `lastTransitionTime` are settled: made, missed or from before the schedule was as it is.
pub const SCHEDULED: &str = "Scheduled";

/// Why a policy cannot be used, and the field that is to blame.
type Problem = (Reason, String);

/// The schedule of data files, where it is on.
pub fn schedule(policy: &BackupPolicy) -> Option<&SchedulePolicy> {
    enabled(policy, BackupType::Datafile)
}

/// What is wrong with a policy, if anything.
pub fn validate(policy: &BackupPolicy) -> Result<(), Problem> {
    shared(policy)?;
    [BackupType::Datafile, BackupType::Snapshot, BackupType::Logfile]
        .into_iter()
        .try_for_each(|kind| one_type(policy, kind))
}

/// What backups of every type need.
fn shared(policy: &BackupPolicy) -> Result<(), Problem> {
    let retention = policy.spec.retention.as_ref();
    if let Some(text) = retention.and_then(|retention| retention.ttl.as_deref()) {
        ttl::parse(text).map_err(|error| (Reason::InvalidPolicy, format!("spec.retention.ttl: {error}")))?;
    }
    let prefix = policy
        .annotations()
        .get(ANNOTATION_PATH_PREFIX)
        .map_or("", String::as_str);
    naming::backup_path(&policy.namespace().unwrap_or_default(), prefix, "b")
        .map_err(|error| (Reason::InvalidPathPrefix, error.to_string()))?;
    Ok(())
}

/// What backups of one type need: its section and its schedule, where it has them.
fn one_type(policy: &BackupPolicy, kind: BackupType) -> Result<(), Problem> {
    let name = kind.as_str();
    let (base, common) = match kind {
        BackupType::Snapshot => (policy.spec.snapshot.as_ref().map(|section| &section.base), None),
        BackupType::Datafile => split(policy.spec.datafile.as_ref()),
        BackupType::Logfile => split(policy.spec.logfile.as_ref()),
    };
    if let Some(base) = base {
        section(name, base)?;
    }
    if common.is_some_and(|common| common.backup_tool_name.as_deref().is_none_or(str::is_empty)) {
        return Err((Reason::InvalidPolicy, format!("spec.{name}.backupToolName is empty")));
    }
    let Some(schedule) = enabled(policy, kind) else {
        return Ok(());
    };
    Cron::parse(&schedule.cron_expression).map_err(|error| {
        let text = format!("spec.schedule.{name}.cronExpression: {error}");
        (Reason::InvalidSchedule, text)
    })?;
    if base.is_none() {
        let text = format!("spec.schedule.{name} is enabled, but spec.{name} is missing");
        return Err((Reason::BackupNotSupported, text));
    }
    Ok(())
}

fn split(section: Option<&CommonBackupPolicy>) -> (Option<&BasePolicy>, Option<&CommonBackupPolicy>) {
    (section.map(|section| &section.base), section)
}

fn section(name: &str, base: &BasePolicy) -> Result<(), Problem> {
    target::selector(&base.target.labels_selector)
        .map_err(|error| (Reason::InvalidSelector, format!("spec.{name}.target.{error}")))?;
    for (field, value) in [
        ("backupsHistoryLimit", base.backups_history_limit),
        ("onFailAttempted", base.on_fail_attempted),
    ] {
        if value.is_some_and(i32::is_negative) {
            return Err((Reason::InvalidPolicy, format!("spec.{name}.{field} is negative")));
        }
    }
    Ok(())
}

/// The schedule of a type, where it is on.
fn enabled(policy: &BackupPolicy, kind: BackupType) -> Option<&SchedulePolicy> {
    let schedule = policy.spec.schedule.as_ref()?;
    let schedule = match kind {
        BackupType::Datafile => &schedule.datafile,
        BackupType::Snapshot => &schedule.snapshot,
        BackupType::Logfile => &schedule.logfile,
    };
    schedule.as_ref().filter(|schedule| schedule.enable)
}

/// Schedules that are on and that this version does not run.
fn unserved(policy: &BackupPolicy) -> Option<&'static str> {
    let on = |kind| enabled(policy, kind).is_some();
    match (on(BackupType::Snapshot), on(BackupType::Logfile)) {
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
    scheduled(policy, &mut status, generation, now);
    status
}

/// Notes since when the schedule is as it is: one that is switched on or changed makes up for nothing. A policy
/// that is seen for the first time had its schedule from the beginning.
///
/// Only what data files need decides: a mistake about snapshots or logs does not end the backups of data files.
fn scheduled(policy: &BackupPolicy, status: &mut BackupPolicyStatus, generation: i64, now: Timestamp) {
    let usable = shared(policy)
        .and_then(|()| one_type(policy, BackupType::Datafile))
        .is_ok();
    let on = schedule(policy).filter(|_| usable);
    let message = match on {
        Some(schedule) => by(schedule),
        None => "the datafile schedule is off, or cannot be used".to_owned(),
    };
    let known = status.conditions.iter().find(|condition| condition.type_ == SCHEDULED);
    let same =
        known.is_some_and(|known| known.message.starts_with(&message) && (known.status == "True") == on.is_some());
    if same {
        return;
    }
    let created = policy.metadata.creation_timestamp.as_ref().map(|time| time.0.min(now));
    let since = created.filter(|_| known.is_none()).unwrap_or(now);
    let conditions = &mut status.conditions;
    condition::set(
        conditions,
        SCHEDULED,
        on.is_some(),
        Reason::Available,
        &message,
        generation,
        now,
    );
    settle(status, since);
}

fn by(schedule: &SchedulePolicy) -> String {
    format!("by \"{}\" (UTC)", schedule.cron_expression)
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
    let by = schedule(policy).map(by).unwrap_or_default();
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
