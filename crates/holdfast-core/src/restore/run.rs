//! From the plan to the end.

use holdfast_api::{
    RestoreJob, RestorePlan,
    condition::{ConditionType, Reason},
    names::LABEL_RESTORE_UID,
    suspend_lock::SuspendLock,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::Time};
use kube::ResourceExt as _;

use super::{
    Decision, LockHolder, Observed, Workload, Write, after_write, jobs, status, verify,
    writers::{self, Intruder},
};
use crate::pod::is_over;

/// Decides about a restore that has started.
pub(super) fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let restore = &observed.restore;
    let Some(plan) = planned(restore) else {
        let text = "in progress, but without a plan: started by something other than Holdfast";
        return status::failed(restore, Reason::Unsupported, text, now);
    };
    let workload = observed
        .workloads
        .first()
        .filter(|workload| workload.uid() == plan.workload_uid);
    match (&observed.write, workload) {
        (Some(job), _) if !is_ours(job, restore) => taken(observed, workload, job, now),
        (Some(job), workload) => after_write::decide(observed, plan, workload, job, now),
        (None, None) => {
            let text = format!("{} {} is gone", plan.workload_kind, plan.workload_name);
            status::failed(restore, Reason::WorkloadNotFound, &text, now)
        }
        (None, Some(workload)) => prepare(observed, plan, workload, now),
    }
}

fn planned(restore: &RestoreJob) -> Option<&RestorePlan> {
    restore.status.as_ref()?.plan.as_ref()
}

/// Whether a Job carries this restore's uid: the only sign that it is its own.
pub(super) fn is_ours(job: &Job, restore: &RestoreJob) -> bool {
    let uid = job.labels().get(LABEL_RESTORE_UID);
    uid.is_some() && uid == restore.metadata.uid.as_ref()
}

/// Ends because a Job's name is somebody else's.
pub(super) fn taken(observed: &Observed, workload: Option<&Workload>, job: &Job, now: Timestamp) -> Decision {
    let text = format!(
        "a job named \"{}\" exists that does not belong to this RestoreJob",
        job.name_any()
    );
    match planned(&observed.restore) {
        // Its own Job may have been there before.
        Some(plan) if touched(&observed.restore) => dirty(&observed.restore, plan, &text, now),
        Some(_) | None => untouched(observed, workload, Reason::NameTaken, &text, now),
    }
}

/// True from before the restore Job is created: from then on the volumes may have been written, whatever became of the
/// Job and its pods.
pub const WRITING: &str = ConditionType::Writing.as_str();

/// For how long after [`WRITING`] was set the Job can only be the first one.
const FIRST: SignedDuration = SignedDuration::from_secs(2);

/// Whether no other restore Job can have been there than the one that is.
pub(super) fn is_first(restore: &RestoreJob) -> bool {
    status::noted(restore, WRITING).is_some_and(|writing| writing.reason == Reason::Restoring.as_str())
}

/// Whether the volumes may have been written.
pub(super) fn touched(restore: &RestoreJob) -> bool {
    status::noted(restore, WRITING).is_some_and(|writing| writing.status == "True")
}

/// Ends a restore whose volumes may be half written: the workload stays suspended.
pub(super) fn dirty(restore: &RestoreJob, plan: &RestorePlan, why: &str, now: Timestamp) -> Decision {
    let text = format!(
        "the target volume may be half written, so {} {} stays at 0 replicas ({why}). Ways on: create another RestoreJob of {}, or of an older Backup; both take the hold over and give back {} replicas",
        plan.workload_kind, plan.workload_name, plan.backup_name, plan.replicas
    );
    status::failed(restore, Reason::TargetDirty, &text, now)
}

/// Ends a restore that has written nothing: first the workload comes back, then the status says so. Where an earlier
/// restore left the volumes half written, it stays suspended.
pub(super) fn untouched(
    observed: &Observed,
    workload: Option<&Workload>,
    reason: Reason,
    text: &str,
    now: Timestamp,
) -> Decision {
    let restore = &observed.restore;
    let Some(workload) = workload.filter(|_| observed.holder == LockHolder::Ours) else {
        return status::failed(restore, reason, text, now);
    };
    if !taken_over(workload) {
        return resume(observed, workload, text);
    }
    let why = format!("an earlier restore did not end well, and this one wrote nothing: {text}");
    match planned(restore) {
        Some(plan) => dirty(restore, plan, &why, now),
        None => status::failed(restore, Reason::TargetDirty, &why, now),
    }
}

/// Whether the lock was taken over from a restore that may have left the volumes half written.
pub(super) fn taken_over(workload: &Workload) -> bool {
    workload.suspend_lock().is_none_or(|lock| lock.dirty)
}

/// The patch that brings the workload back, with the count that its own mark remembers.
pub(super) fn resume(observed: &Observed, workload: &Workload, why: &str) -> Decision {
    let planned = planned(&observed.restore).map(|plan| plan.replicas);
    let replicas = workload
        .suspend_lock()
        .map(|lock| lock.replicas)
        .or(planned)
        .unwrap_or(1);
    let note = format!("{} gets its {replicas} replicas back: {why}", workload.title());
    Decision::write(Write::Workload(Box::new(workload.clone()), Workload::resume(replicas))).with(
        false,
        Reason::ScalingUp,
        note,
    )
}

/// Before the restore Job exists: check, suspend, wait for the pods to go.
fn prepare(observed: &Observed, plan: &RestorePlan, workload: &Workload, now: Timestamp) -> Decision {
    let restore = &observed.restore;
    if now > plan.deadline.0 {
        let text = "the restore did not get to the volumes in time";
        if touched(restore) {
            return dirty(restore, plan, text, now);
        }
        return untouched(observed, Some(workload), Reason::DeadlineExceeded, text, now);
    }
    if let Some(refused) = &observed.refused {
        let text = format!("the API server refuses the job: {refused}");
        if touched(restore) && !is_first(restore) {
            return status::waiting(restore, Reason::InvalidPolicy, &text, now);
        }
        if touched(restore) {
            // Said before the workload comes back, or a later pass could not tell that nothing was written.
            return status::note(restore, WRITING, false, Reason::InvalidPolicy, &text, now);
        }
        return untouched(observed, Some(workload), Reason::InvalidPolicy, &text, now);
    }
    if let Some((reason, why)) = status::denied(restore, WRITING, Reason::InvalidPolicy) {
        return untouched(observed, Some(workload), reason, why, now);
    }
    if touched(restore) {
        // The Job was created before, or is about to be: it writes the volumes anew from the start.
        return start_write(observed, plan, workload, now);
    }
    let uses = jobs::repository_name(plan);
    if restore.spec.target_volumes.iter().any(|volume| volume.name == uses) {
        let text = format!("targetVolumes uses the name {uses}, which the repository's volume has");
        return untouched(observed, Some(workload), Reason::InvalidPolicy, &text, now);
    }
    if let Some(decision) = verify::decide(observed, plan, workload, now) {
        return decision;
    }
    match &observed.holder {
        LockHolder::Ours => {}
        LockHolder::AtWork(other) => {
            let text = format!("{} is held by RestoreJob {other}", workload.title());
            return status::waiting(restore, Reason::WorkloadHeld, &text, now);
        }
        LockHolder::Nobody | LockHolder::Over => {
            return match writers::intruder(observed) {
                Some(intruder) => in_use(observed, workload, intruder, None, now),
                None => suspend(restore, plan, workload, now),
            };
        }
    }
    if let Some(decision) = stopped(observed, workload, now) {
        return decision;
    }
    if let Some(intruder) = writers::intruder(observed) {
        return in_use(
            observed,
            workload,
            intruder,
            workload.suspend_lock().map(|lock| lock.since.0),
            now,
        );
    }
    let text = format!("restoring {} onto {}", plan.backup_name, workload.title());
    status::note(restore, WRITING, true, Reason::Restoring, &text, now).with(false, Reason::Restoring, text)
}

/// Somebody else mounts a target, and nothing is written yet. Anybody but a Backup at work ends the restore. A Backup is
/// waited for; where the workload is down, since `stopped`, for longer than anything that is not ready, it comes back for
/// that time.
fn in_use(
    observed: &Observed,
    workload: &Workload,
    intruder: Intruder<'_>,
    stopped: Option<Timestamp>,
    now: Timestamp,
) -> Decision {
    let (reason, text) = intruder.problem();
    let late = stopped.is_some_and(|since| now.duration_since(since) >= observed.settings.not_ready_timeout);
    if intruder.ends && !late {
        return status::waiting(&observed.restore, reason, &text, now);
    }
    untouched(observed, Some(workload), reason, &text, now)
}

/// Waits for the workload's pods to be gone.
fn stopped(observed: &Observed, workload: &Workload, now: Timestamp) -> Option<Decision> {
    let left = observed.pods.iter().filter(|pod| !is_over(pod)).count();
    (left > 0 || workload.replicas != 0 || !workload.observed).then(|| {
        let text = format!("waiting for {left} pods of {} to end", workload.title());
        status::waiting(&observed.restore, Reason::ScalingDown, &text, now)
    })
}

/// Creates the restore Job, as long as the workload is suspended by this restore and stopped.
fn start_write(observed: &Observed, plan: &RestorePlan, workload: &Workload, now: Timestamp) -> Decision {
    let restore = &observed.restore;
    if observed.holder != LockHolder::Ours {
        return dirty(restore, plan, "its hold on the workload was taken away", now);
    }
    if observed.write_pods.iter().any(|pod| !is_over(pod)) {
        return status::waiting(
            restore,
            Reason::Restoring,
            "waiting for the pod of an earlier attempt to end",
            now,
        );
    }
    if let Some(decision) = stopped(observed, workload, now) {
        return decision;
    }
    if let Some(intruder) = writers::intruder(observed) {
        let (reason, text) = intruder.problem();
        return status::waiting(restore, reason, &text, now);
    }
    let since = status::noted(restore, WRITING).map_or(now, |writing| writing.last_transition_time.0);
    if is_first(restore) && now.duration_since(since) > FIRST {
        let text = "the restore Job is gone, and may have written: the next one begins anew";
        return status::note(restore, WRITING, true, Reason::TargetDirty, text, now);
    }
    let job = jobs::restore_job(&observed.settings, restore, plan, now);
    Decision::write(Write::CreateJob(Box::new(job)))
}

fn suspend(restore: &RestoreJob, plan: &RestorePlan, workload: &Workload, now: Timestamp) -> Decision {
    let earlier = workload.suspend_lock();
    // The lock of an earlier restore, or what a person has set since the plan, is the truth about the count; without
    // a mark 0 says no more than that somebody took the mark away.
    let replicas = match (&earlier, workload.replicas) {
        (Some(lock), _) => lock.replicas,
        (None, 0) => plan.replicas,
        (None, replicas) => replicas,
    };
    let lock = SuspendLock {
        uid: restore.uid().unwrap_or_default(),
        name: restore.name_any(),
        replicas,
        since: Time(now),
        dirty: earlier.is_some(),
    };
    let note = format!(
        "{} is stopped for the restore of {}; it had {replicas} replicas",
        workload.title(),
        plan.backup_name
    );
    Decision::write(Write::Workload(Box::new(workload.clone()), Workload::suspend(&lock))).with(
        false,
        Reason::ScalingDown,
        note,
    )
}
