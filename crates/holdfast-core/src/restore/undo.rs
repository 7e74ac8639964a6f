//! Whoever undoes a suspension asks here: whose Jobs they are, whether anything may have been written, and how the workload
//! comes back.

use holdfast_api::{
    RestoreJob, RestorePlan, Stop,
    condition::Reason,
    names::{LABEL_BACKUP_UID, LABEL_RESTORE_UID},
};
use jiff::Timestamp;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;

use super::jobs;
use super::observed::{LockHolder, Observed, Write};
use super::verdict::Verdict;
use super::workload::Workload;
use crate::decision::{Event, Target};
use crate::pod::failure;

/// Whether a Job carries this restore's uid: the only sign that it is its own.
pub(super) fn is_ours(job: &Job, restore: &RestoreJob) -> bool {
    let uid = job.labels().get(LABEL_RESTORE_UID);
    uid.is_some() && uid == restore.metadata.uid.as_ref()
}

/// Whether a Job that has the name of ours goes by itself: it is being deleted, belongs to a RestoreJob of this name that
/// was there before, or works for a Backup of this name, whose Job goes soon after its end.
fn is_leaving(job: &Job, restore: &RestoreJob) -> bool {
    let former = |owner: &OwnerReference| {
        owner.kind == "RestoreJob"
            && Some(&owner.name) == restore.metadata.name.as_ref()
            && Some(&owner.uid) != restore.metadata.uid.as_ref()
    };
    let labels = job.labels();
    job.metadata.deletion_timestamp.is_some()
        || labels.contains_key(LABEL_BACKUP_UID)
        || labels.contains_key(LABEL_RESTORE_UID) && job.owner_references().iter().any(former)
}

/// Whether the volumes may have been written.
pub(super) fn is_touched(plan: &RestorePlan) -> bool {
    plan.writing.is_some()
}

/// Whether no other restore Job can have been there than the one that is.
pub(super) fn is_first(plan: &RestorePlan) -> bool {
    plan.writing.as_ref().is_some_and(|writing| writing.attempt == 1)
}

/// Whether the restore's deadline has passed.
pub(super) fn is_late(plan: &RestorePlan, now: Timestamp) -> bool {
    plan.deadline.as_ref().is_some_and(|deadline| now > deadline.0)
}

/// Whether the lock was taken over from a restore that may have left the volumes half written.
pub(super) fn is_taken_over(workload: &Workload) -> bool {
    workload.suspend_lock().is_none_or(|lock| lock.dirty)
}

/// A Job of somebody else has the name of ours. One that goes by itself is waited for, no longer than anything that is not
/// ready; any other ends the restore.
pub(super) fn name_taken(
    observed: &Observed,
    plan: &RestorePlan,
    workload: Option<&Workload>,
    job: &Job,
    now: Timestamp,
) -> Verdict {
    let text = format!(
        "a job named \"{}\" exists that does not belong to this RestoreJob",
        job.name_any()
    );
    // Its own Job may have been there before.
    if is_touched(plan) {
        return dirty(plan, &text);
    }
    let waited = now.duration_since(in_the_way_since(observed, workload).unwrap_or(now));
    if is_leaving(job, &observed.restore) && waited < observed.settings.not_ready_timeout {
        let text = format!("{text}, but goes by itself: waiting for that");
        return Verdict::Wait(Reason::NameTaken, text);
    }
    untouched(observed, workload, Reason::NameTaken, text)
}

/// Since when a restore that has written nothing may have been waiting: since its workload is down, or else since it began.
fn in_the_way_since(observed: &Observed, workload: Option<&Workload>) -> Option<Timestamp> {
    let down = workload.filter(|_| observed.holder == LockHolder::Ours);
    let since = down.and_then(Workload::suspend_lock).map(|lock| lock.since);
    let begun = || observed.restore.status.as_ref()?.start_timestamp.clone();
    Some(since.or_else(begun)?.0)
}

/// Remembers that the restore is given up before a byte was written: said before the workload comes back, or a later pass
/// could not tell.
pub(super) fn give_up(plan: &RestorePlan, reason: Reason, text: &str, now: Timestamp) -> Verdict {
    Verdict::note(plan, |plan| {
        plan.writing = None;
        plan.stop = Some(Stop::new(reason, text, now));
    })
}

/// Ends a restore whose volumes may be half written: the workload stays suspended.
pub(super) fn dirty(plan: &RestorePlan, why: &str) -> Verdict {
    let workload = plan.workload.clone().unwrap_or_default();
    let backup = plan.job().map(|work| work.backup.name.clone()).unwrap_or_default();
    let text = format!(
        "the target volume may be half written, so {} stays at 0 replicas ({why}). Ways on: create another RestoreJob of {backup}, or of an older Backup; both take the hold over and give back {} replicas",
        workload.title(),
        workload.replicas
    );
    Verdict::Fail(Reason::TargetDirty, text)
}

/// Ends a restore that has written nothing: first the workload comes back, then the status says so. Where an earlier
/// restore left the volumes half written, it stays suspended.
pub(super) fn untouched(observed: &Observed, workload: Option<&Workload>, reason: Reason, text: String) -> Verdict {
    let Some(workload) = workload.filter(|_| observed.holder == LockHolder::Ours) else {
        return Verdict::Fail(reason, text);
    };
    if !is_taken_over(workload) {
        return resume(observed, workload, &text);
    }
    let why = format!("an earlier restore did not end well, and this one wrote nothing: {text}");
    match observed.plan() {
        Some(plan) => dirty(plan, &why),
        None => Verdict::Fail(Reason::TargetDirty, why),
    }
}

/// The patch that brings the workload back, with the count that its own lock remembers.
pub(super) fn resume(observed: &Observed, workload: &Workload, why: &str) -> Verdict {
    let planned = observed.plan().and_then(|plan| plan.workload.as_ref());
    let replicas = workload
        .suspend_lock()
        .map(|lock| lock.replicas)
        .or(planned.map(|planned| planned.replicas))
        .unwrap_or(1);
    if let Some(refused) = &observed.scale_refused {
        let text = format!(
            "the API server refuses to give {} its {replicas} replicas back: {refused}; it is tried again",
            workload.title()
        );
        return Verdict::Wait(Reason::ScaleRefused, text);
    }
    let note = format!("{} gets its {replicas} replicas back: {why}", workload.title());
    let write = Write::Patch(workload.target(), Workload::resume(replicas));
    Verdict::Write(write, Some(Event::normal(Reason::ScalingUp, note)))
}

/// What the newest of the pods that failed says.
pub(super) fn newest_failure(pods: &[Pod]) -> Option<(Reason, String)> {
    let mut ended: Vec<&Pod> = pods.iter().collect();
    ended.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    ended
        .iter()
        .rev()
        .find_map(|pod| failure(pod, jobs::CONTAINER))
        .map(|failure| (failure.reason, failure.message))
}

/// Deletes a Job of this restore, whatever its state.
pub(super) fn delete(job: &Job) -> Verdict {
    Verdict::write(Write::Delete(Target::any_state(crate::decision::Kind::Job, job)))
}
