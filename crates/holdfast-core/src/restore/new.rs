//! Everything that a restore can be refused for, before anything is touched; and the plan.

use holdfast_api::{
    Backup, BackupPhase, BackupReference, BackupTool, BackupType, HeldWorkload, RestorePlan, RestoreStep, RestoreWork,
    condition::Reason, names::ANNOTATION_DAMAGED,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::observed::{LockHolder, Observed};
use super::verdict::Verdict;
use super::workload::Workload;
use super::{jobs, targets, writers};
use crate::{
    pod::{planned_tool, windows_line_end},
    target,
};

/// How long a name that does not exist, or a pod that is in the way, is waited for.
const GRACE: SignedDuration = SignedDuration::from_secs(30);
/// How often a Job of ours is tried that the manifest says nothing about.
const ATTEMPTS: i32 = 3;

type Problem = crate::decision::Problem<holdfast_api::RestoreJobStatus, super::observed::Read>;

/// Judges a RestoreJob that has not started.
pub(super) fn judge(observed: &Observed, now: Timestamp) -> Verdict {
    let restore = &observed.restore;
    // From when the wait was first written down: a time without this service ends nothing.
    let waiting = restore.status.as_ref().and_then(|status| status.waiting.as_ref());
    let waited = now.duration_since(waiting.map_or(now, |waiting| waiting.since.0));
    match plan(observed, now) {
        Ok((plan, text)) => Verdict::Begin(Box::new(plan), text),
        // What was waited for last may have been something else: then this gets at least another look.
        Err(Problem::Missing(reason, text))
            if waited >= GRACE && waiting.is_some_and(|waiting| waiting.is_for(reason)) =>
        {
            Verdict::Fail(reason, text)
        }
        Err(Problem::Wait(reason, text)) if waited >= observed.settings.not_ready_timeout => {
            Verdict::Fail(reason, format!("{text}; waited {} s", waited.as_secs()))
        }
        Err(Problem::Missing(reason, text) | Problem::Wait(reason, text)) => Verdict::Wait(reason, text),
        Err(Problem::Fail(reason, text)) => Verdict::Fail(reason, text),
        Err(Problem::Write(write)) => Verdict::write(*write),
        // Everything was read just now.
        Err(Problem::Read(_)) => Verdict::Rest,
    }
}

fn plan(observed: &Observed, now: Timestamp) -> Result<(RestorePlan, String), Problem> {
    let workload = workload(observed)?;
    if let Some(why) = &observed.unreadable {
        // Somebody may correct it.
        return Err(Problem::Wait(Reason::InvalidObject, why.clone()));
    }
    let backup = backup(observed)?;
    let work = work(observed, backup, workload)?;
    let deadline = now.checked_add(observed.settings.deadline).unwrap_or(now);
    // A volume that one node at a time may mount is where the pod runs that uses it; another pod of the workload may be
    // elsewhere.
    let node = observed
        .pods
        .iter()
        .filter(|pod| writers::target_of(&observed.restore, pod).is_some())
        .find_map(|pod| pod.spec.as_ref()?.node_name.clone());
    let held = HeldWorkload {
        kind: workload.kind.as_str().to_owned(),
        name: workload.name().to_owned(),
        uid: workload.uid().to_owned(),
        // A lock that is taken over remembers the count from before the first restore.
        replicas: workload.suspend_lock().map_or(workload.replicas, |lock| lock.replicas),
        ..HeldWorkload::default()
    };
    let text = format!(
        "checking backup {} before {} is touched",
        work.backup.name,
        held.title()
    );
    let plan = RestorePlan {
        deadline: Some(Time(deadline)),
        workload: Some(held),
        node_name: node,
        steps: vec![RestoreStep {
            job: Some(Box::new(work)),
            ..RestoreStep::default()
        }],
        ..RestorePlan::default()
    };
    Ok((plan, text))
}

fn work(observed: &Observed, backup: &Backup, workload: &Workload) -> Result<RestoreWork, Problem> {
    let restore = &observed.restore;
    let found = backup.status.clone().unwrap_or_default();
    let text = |value: Option<&String>, what: &str| {
        value.filter(|value| !value.is_empty()).cloned().ok_or_else(|| {
            let text = format!("Backup {} has no {what} in its status", backup.name_any());
            Problem::Fail(Reason::SealInvalid, text)
        })
    };
    let newer = |error: holdfast_api::NewerFormat| Problem::Fail(error.reason(), error.to_string());
    if let Some(plan) = &found.plan {
        plan.work.job().map_err(newer)?;
    }
    let files = found
        .manifests
        .as_ref()
        .and_then(|manifests| manifests.backup_tool.as_ref());
    let Some(location) = found.location(&backup.uid().unwrap_or_default()) else {
        text(found.persistent_volume_claim_name.as_ref(), "persistentVolumeClaimName")?;
        text(
            files.and_then(|files| files.file_path.as_ref()),
            "manifests.backupTool.filePath",
        )?;
        let text = format!("Backup {} has no location", backup.name_any());
        return Err(Problem::Fail(Reason::SealInvalid, text));
    };
    location.access.claim().map_err(newer)?;
    let digest = text(
        files.and_then(|files| files.checksum.as_ref()),
        "manifests.backupTool.checksum",
    )?;
    let tool_name = text(found.backup_tool_name.as_ref(), "backupToolName")?;
    let tool = tool(observed, &tool_name)?;
    jobs::mounts(restore).map_err(|text| Problem::Fail(Reason::InvalidPolicy, text))?;
    if let Some((reason, text)) = targets::refused(observed, workload) {
        return Err(Problem::Fail(reason, text));
    }
    if let Some(intruder) = writers::intruder(observed) {
        let (reason, text) = intruder.problem();
        let problem = if intruder.ends { Problem::Wait } else { Problem::Missing };
        return Err(problem(reason, text));
    }
    let image = Some(tool.spec.image.clone())
        .filter(|image| !image.is_empty())
        .or_else(|| workload.image.clone());
    let image = image.ok_or_else(|| {
        let text = format!("neither backupTool {tool_name} nor {} names an image", workload.title());
        Problem::Fail(Reason::InvalidPolicy, text)
    })?;
    Ok(RestoreWork {
        backup: BackupReference {
            name: backup.name_any(),
            uid: backup.uid().unwrap_or_default(),
            ..BackupReference::default()
        },
        location,
        digest,
        tool: planned_tool(tool, &image, &restore.uid().unwrap_or_default()),
        image_pull_secrets: workload.pull_secrets.clone(),
        verify_job_name: jobs::verify_job_name(restore),
        restore_job_name: jobs::restore_job_name(restore),
        backoff_limit: restore.spec.on_fail_attempted.unwrap_or(ATTEMPTS).max(0),
        ..RestoreWork::default()
    })
}

fn workload(observed: &Observed) -> Result<&Workload, Problem> {
    target::selector(&observed.restore.spec.target.labels_selector)
        .map_err(|error| Problem::Fail(Reason::InvalidSelector, error.to_string()))?;
    let workload = match observed.workloads.as_slice() {
        [] => {
            let text = "Can not find any statefulsets with labelsSelector.";
            return Err(Problem::Missing(Reason::WorkloadNotFound, text.to_owned()));
        }
        [one] => one,
        [..] => {
            let text = "Match more than one results, please check the labelsSelector.";
            return Err(Problem::Fail(Reason::MultipleWorkloads, text.to_owned()));
        }
    };
    let title = workload.title();
    let by = workload.owner().or_else(|| workload.applier.clone());
    if let Some(by) = by {
        let text = format!("{title} is scaled by {by}: pause that for the time of the restore, or restore through it");
        return Err(Problem::Fail(Reason::ManagedByOperator, text));
    }
    if workload.when_scaled_delete {
        return Err(Problem::Fail(
            Reason::WhenScaledDelete,
            format!("{title} deletes its claims when it is scaled down"),
        ));
    }
    match &observed.holder {
        LockHolder::AtWork(other) => Err(Problem::Wait(
            Reason::WorkloadHeld,
            format!("{title} is held by RestoreJob {other}"),
        )),
        LockHolder::Nobody if workload.is_marked() => {
            let text = format!("{title} carries a mark of a restore that cannot be read");
            Err(Problem::Fail(Reason::WorkloadHeld, text))
        }
        LockHolder::Nobody | LockHolder::Ours | LockHolder::Over => Ok(workload),
    }
}

fn backup(observed: &Observed) -> Result<&Backup, Problem> {
    let name = &observed.restore.spec.backup_job_name;
    let backup = observed.backup.as_ref().ok_or_else(|| {
        Problem::Missing(
            Reason::NotFound,
            format!("backups.dataprotection.kubeblocks.io \"{name}\" not found"),
        )
    })?;
    if backup.metadata.deletion_timestamp.is_some() {
        return Err(Problem::Fail(
            Reason::BackupNotCompleted,
            format!("Backup {name} is being deleted"),
        ));
    }
    if backup.spec.backup_type != BackupType::Datafile {
        let kind = backup.spec.backup_type.as_str();
        return Err(Problem::Fail(
            Reason::Unsupported,
            format!("Backup {name} is of type {kind}; this version restores data files"),
        ));
    }
    if let Some(found) = backup.annotations().get(ANNOTATION_DAMAGED) {
        let text = format!(
            "Backup {name} is damaged ({found}); to have it checked again, take its annotation {ANNOTATION_DAMAGED} away"
        );
        return Err(Problem::Fail(Reason::DigestMismatch, text));
    }
    let phase = backup.phase();
    let text = format!("Backup {name} is {}", phase.as_str());
    match phase {
        BackupPhase::Completed => Ok(backup),
        BackupPhase::New | BackupPhase::InProgress | BackupPhase::Running => {
            Err(Problem::Wait(Reason::BackupNotCompleted, text))
        }
        BackupPhase::Failed | BackupPhase::Deleting => Err(Problem::Fail(Reason::BackupNotCompleted, text)),
    }
}

fn tool<'a>(observed: &'a Observed, name: &str) -> Result<&'a BackupTool, Problem> {
    let tool = observed.tool.as_ref();
    let tool = tool.ok_or_else(|| Problem::Missing(Reason::ToolNotFound, format!("backupTool: {name} not found")))?;
    let commands = tool
        .spec
        .physical
        .as_ref()
        .and_then(|physical| physical.restore_commands.as_deref())
        .unwrap_or_default();
    if commands.is_empty() {
        let text = format!("backupTool {name} has no physical.restoreCommands; this version restores files in place");
        return Err(Problem::Fail(Reason::Unsupported, text));
    }
    if let Some(at) = windows_line_end(commands) {
        let text = format!(
            "backupTool {name}: physical.restoreCommands[{at}] has Windows line ends (\\r\\n), which shells take for parts of words: save it with Unix line ends"
        );
        return Err(Problem::Fail(Reason::InvalidTool, text));
    }
    let logical = tool
        .spec
        .logical
        .as_ref()
        .and_then(|logical| logical.restore_commands.as_ref());
    if logical.is_some_and(|commands| !commands.is_empty()) {
        let text = format!(
            "backupTool {name} has logical.restoreCommands beside physical ones; this version restores files in place, and would leave the rest out"
        );
        return Err(Problem::Fail(Reason::Unsupported, text));
    }
    Ok(tool)
}
