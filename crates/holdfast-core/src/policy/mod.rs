//! Whether a policy can be used, and when its schedules come due.

mod cron;
mod decide;
mod every;
mod lack;
mod schedules;
mod slot;
#[cfg(test)]
mod tests;

use holdfast_api::{
    BackupPolicy, BackupPolicyPhase, BackupPolicyStatus, BackupType, BasePolicy, CommonBackupPolicy, SchedulePolicy,
    condition::{Conditions, Reason},
    names::ANNOTATION_PATH_PREFIX,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

pub use cron::Cron;
pub use decide::{Decision, Observed, Read, Write, decide};
pub use lack::{Name, Named};
pub use schedules::{SERVED, after_slot};
pub use slot::{Slot, due, is_made_for, is_unfinished, slot_backup, unconfirmed};

use crate::{naming, target, ttl};
use lack::Lack;

/// Why a policy cannot be used, and the field that is to blame.
type Problem = (Reason, String);

/// The part of a policy that backups of one type follow.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// What every type has.
    pub base: &'a BasePolicy,
    /// What a tool needs besides; none for snapshots, which no tool makes.
    pub common: Option<&'a CommonBackupPolicy>,
}

/// The section of a policy for a type, if it has one.
pub fn section(policy: &BackupPolicy, kind: BackupType) -> Option<Section<'_>> {
    let common = match kind {
        BackupType::Snapshot => {
            let base = &policy.spec.snapshot.as_ref()?.base;
            return Some(Section { base, common: None });
        }
        BackupType::Datafile => policy.spec.datafile.as_ref()?,
        BackupType::Logfile => policy.spec.logfile.as_ref()?,
    };
    Some(Section {
        base: &common.base,
        common: Some(common),
    })
}

/// The schedule of a type, where it is on.
pub fn schedule(policy: &BackupPolicy, kind: BackupType) -> Option<&SchedulePolicy> {
    let schedule = policy.spec.schedule.as_ref()?;
    let schedule = match kind {
        BackupType::Datafile => &schedule.datafile,
        BackupType::Snapshot => &schedule.snapshot,
        BackupType::Logfile => &schedule.logfile,
    };
    schedule.as_ref().filter(|schedule| schedule.enable)
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
    let section = section(policy, kind);
    if let Some(section) = &section {
        of_every_type(name, section.base)?;
    }
    let common = section.and_then(|section| section.common);
    if common.is_some_and(|common| common.backup_tool_name.as_deref().is_none_or(str::is_empty)) {
        return Err((Reason::InvalidPolicy, format!("spec.{name}.backupToolName is empty")));
    }
    let Some(schedule) = schedule(policy, kind) else {
        return Ok(());
    };
    Cron::parse(&schedule.cron_expression).map_err(|error| {
        let text = format!("spec.schedule.{name}.cronExpression: {error}");
        (Reason::InvalidSchedule, text)
    })?;
    if section.is_none() {
        let text = format!("spec.schedule.{name} is enabled, but spec.{name} is missing");
        return Err((Reason::BackupNotSupported, text));
    }
    Ok(())
}

/// What the sections of all types have in common.
fn of_every_type(name: &str, base: &BasePolicy) -> Result<(), Problem> {
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

/// What of a policy this version does not serve. The policy can be used all the same: one written for the original API
/// has to work.
fn unserved(policy: &BackupPolicy) -> Vec<String> {
    let on = |kind| schedule(policy, kind).is_some();
    let schedules = match (on(BackupType::Snapshot), on(BackupType::Logfile)) {
        (true, true) => Some("snapshot and logfile schedules are"),
        (true, false) => Some("the snapshot schedule is"),
        (false, true) => Some("the logfile schedule is"),
        (false, false) => None,
    };
    let schedules = schedules.map(|which| format!("{which} not run by this version; data files are backed up"));
    let datafile = policy.spec.datafile.as_ref();
    let updates = datafile
        .and_then(|section| section.base.backup_status_updates.as_ref())
        .filter(|updates| !updates.is_empty())
        .map(|_| {
            "spec.datafile.backupStatusUpdates are not run by this version; what a tool tells in backup.info is taken"
                .to_owned()
        });
    schedules.into_iter().chain(updates).collect()
}

/// What users must be told about a policy: why it cannot be used, or what of it is not served.
pub fn complaint(policy: &BackupPolicy) -> Option<(Reason, String)> {
    validate(policy).err().or_else(|| {
        let unserved = unserved(policy);
        (!unserved.is_empty()).then(|| (Reason::Unsupported, unserved.join("; ")))
    })
}

/// The status that the policy should have: phase, reason, schedules, conditions. Times of slots and successes are kept.
/// `lack` is what it names and does not exist.
pub fn status(policy: &BackupPolicy, lack: Option<&Lack>, now: Timestamp) -> BackupPolicyStatus {
    let mut status = policy.status.clone().unwrap_or_default();
    let generation = policy.metadata.generation;
    status.observed_generation = Some(generation.unwrap_or_default());
    schedules::note(policy, &mut status, now);
    let mut conditions = Conditions::of(std::mem::take(&mut status.conditions), generation, now);
    if let Err((reason, message)) = validate(policy) {
        conditions.stalled(reason, &message);
        status.phase = Some(BackupPolicyPhase::Failed);
        status.failure_reason = Some(message);
        status.waiting = None;
    } else if let Some(lack) = lack {
        lack::note(&mut status, lack, &mut conditions, now);
    } else {
        status.waiting = None;
        let (reason, message) =
            complaint(policy).unwrap_or_else(|| (Reason::Available, "the policy can be used".to_owned()));
        conditions.ready(reason, &message);
        status.phase = Some(BackupPolicyPhase::Available);
        status.failure_reason = None;
    }
    schedules::say(&status, &mut conditions);
    status.conditions = conditions.into_list();
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
