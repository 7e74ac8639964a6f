//! From the plan to the end.

use holdfast_api::{
    RestoreJob, RestorePlan,
    agent::Outcome,
    condition::{self, Reason},
    held::Held,
    names::LABEL_RESTORE_UID,
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{batch::v1::Job, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt as _;

use super::{Decision, Holder, Observed, Workload, Write, jobs, status};
use crate::pod::{JobState, agent_result, failure, is_over, job_state, trouble};

/// Decides about a restore that has started.
pub(super) fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let restore = &observed.restore;
    let Some(plan) = restore.status.as_ref().and_then(|status| status.plan.as_ref()) else {
        let text = "in progress, but without a plan: started by something other than Holdfast";
        return status::failed(restore, Reason::Unsupported, text, now);
    };
    let workload = observed
        .workloads
        .first()
        .filter(|workload| workload.uid() == plan.workload_uid);
    match (&observed.write, workload) {
        (Some(job), _) if !is_ours(job, restore) => taken(observed, workload, job, now),
        (Some(job), workload) => written(observed, plan, workload, job, now),
        (None, None) => {
            let text = format!("{} {} is gone", plan.workload_kind, plan.workload_name);
            status::failed(restore, Reason::WorkloadNotFound, &text, now)
        }
        (None, Some(workload)) => prepare(observed, plan, workload, now),
    }
}

/// Whether a Job carries this restore's uid: the only sign that it is its own.
pub(super) fn is_ours(job: &Job, restore: &RestoreJob) -> bool {
    let uid = job.labels().get(LABEL_RESTORE_UID);
    uid.is_some() && uid == restore.metadata.uid.as_ref()
}

fn taken(observed: &Observed, workload: Option<&Workload>, job: &Job, now: Timestamp) -> Decision {
    let text = format!(
        "a job named \"{}\" exists that does not belong to this RestoreJob",
        job.name_any()
    );
    untouched(observed, workload, Reason::NameTaken, &text, now)
}

/// True from before the restore Job is created: from then on the volumes may have been written, whatever became of the
/// Job and its pods.
pub const WRITING: &str = "Writing";

/// Whether the volumes may have been written.
pub(super) fn touched(restore: &RestoreJob) -> bool {
    restore
        .status
        .as_ref()
        .is_some_and(|status| condition::holds(&status.conditions, WRITING))
}

/// Ends a restore whose volumes may be half written: the workload stays held.
fn dirty(restore: &RestoreJob, plan: &RestorePlan, why: &str, now: Timestamp) -> Decision {
    let text = format!(
        "the target volume may be half written, so {} {} stays at 0 replicas ({why}). Ways on: create another RestoreJob of {}, or of an older Backup; both take the hold over and give back {} replicas",
        plan.workload_kind, plan.workload_name, plan.backup_name, plan.replicas
    );
    status::failed(restore, Reason::TargetDirty, &text, now)
}

/// Ends a restore that has written nothing: first the workload comes back, then the status says so.
fn untouched(observed: &Observed, workload: Option<&Workload>, reason: Reason, text: &str, now: Timestamp) -> Decision {
    match workload {
        Some(workload) if observed.holder == Holder::Ours => release(observed, workload, text),
        Some(_) | None => status::failed(&observed.restore, reason, text, now),
    }
}

/// The patch that brings the workload back, with the count that its own mark remembers.
pub(super) fn release(observed: &Observed, workload: &Workload, why: &str) -> Decision {
    let planned = observed
        .restore
        .status
        .as_ref()
        .and_then(|status| status.plan.as_ref())
        .map(|plan| plan.replicas);
    let replicas = workload.held().map(|held| held.replicas).or(planned).unwrap_or(1);
    let note = format!("{} gets its {replicas} replicas back: {why}", workload.title());
    Decision::write(Write::Workload(Box::new(workload.clone()), Workload::release(replicas))).with(
        false,
        Reason::ScalingUp,
        note,
    )
}

/// Before the restore Job exists: check, hold, wait for the pods to go.
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
        if touched(restore) {
            return status::waiting(restore, Reason::InvalidPolicy, &text, now);
        }
        return untouched(observed, Some(workload), Reason::InvalidPolicy, &text, now);
    }
    if touched(restore) {
        // The Job was created before, or is about to be: it writes the volumes anew from the start.
        return resume(observed, plan, workload, now);
    }
    let uses = jobs::repository_name(plan);
    if restore.spec.target_volumes.iter().any(|volume| volume.name == uses) {
        let text = format!("targetVolumes uses the name {uses}, which the repository's volume has");
        return untouched(observed, Some(workload), Reason::InvalidPolicy, &text, now);
    }
    if let Some(decision) = verified(observed, plan, workload, now) {
        return decision;
    }
    match &observed.holder {
        Holder::Ours => {}
        Holder::AtWork(other) => {
            let text = format!("{} is held by RestoreJob {other}", workload.title());
            return status::waiting(restore, Reason::WorkloadHeld, &text, now);
        }
        Holder::Nobody | Holder::Over => return hold(restore, plan, workload, now),
    }
    if let Some(decision) = stopped(observed, workload, now) {
        return decision;
    }
    let text = format!("restoring {} onto {}", plan.backup_name, workload.title());
    let mut draft = status::draft(restore);
    let generation = restore.metadata.generation.unwrap_or_default();
    condition::set(
        &mut draft.conditions,
        WRITING,
        true,
        Reason::Restoring,
        &text,
        generation,
        now,
    );
    Decision::write(Write::Status(Box::new(draft))).with(false, Reason::Restoring, text)
}

/// Waits for the workload's pods to be gone.
fn stopped(observed: &Observed, workload: &Workload, now: Timestamp) -> Option<Decision> {
    let left = observed.pods.iter().filter(|pod| !is_over(pod)).count();
    (left > 0 || workload.replicas != 0 || !workload.observed).then(|| {
        let text = format!("waiting for {left} pods of {} to end", workload.title());
        status::waiting(&observed.restore, Reason::ScalingDown, &text, now)
    })
}

/// Creates the restore Job, as long as the workload is held by this restore and stopped.
fn resume(observed: &Observed, plan: &RestorePlan, workload: &Workload, now: Timestamp) -> Decision {
    let restore = &observed.restore;
    if observed.holder != Holder::Ours {
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
    stopped(observed, workload, now).unwrap_or_else(|| {
        Decision::write(Write::CreateJob(Box::new(jobs::restore_job(
            &observed.settings,
            restore,
            plan,
            now,
        ))))
    })
}

fn hold(restore: &RestoreJob, plan: &RestorePlan, workload: &Workload, now: Timestamp) -> Decision {
    // The mark of an earlier hold, or what a person has set since the plan, is the truth about the count.
    let replicas = workload.held().map_or(workload.replicas, |held| held.replicas);
    let held = Held {
        uid: restore.uid().unwrap_or_default(),
        name: restore.name_any(),
        replicas,
        since: Time(now),
    };
    let note = format!(
        "{} is stopped for the restore of {}; it had {replicas} replicas",
        workload.title(),
        plan.backup_name
    );
    Decision::write(Write::Workload(Box::new(workload.clone()), Workload::hold(&held))).with(
        false,
        Reason::ScalingDown,
        note,
    )
}

/// The verify Job: `None` once it has found everything right.
fn verified(observed: &Observed, plan: &RestorePlan, workload: &Workload, now: Timestamp) -> Option<Decision> {
    let restore = &observed.restore;
    let Some(job) = &observed.verify else {
        let job = jobs::verify_job(&observed.settings, restore, plan, now);
        return Some(Decision::write(Write::CreateJob(Box::new(job))));
    };
    if !is_ours(job, restore) {
        return Some(taken(observed, Some(workload), job, now));
    }
    match job_state(job) {
        JobState::Running => Some(busy(
            observed,
            job,
            &observed.verify_pods,
            Reason::Verifying,
            "reading every byte of the backup",
            now,
        )),
        // Exit 0 is said only after every byte was found right.
        JobState::Complete => None,
        JobState::Failed { message, .. } => {
            let told = newest_failure(&observed.verify_pods);
            let (reason, text) = told.unwrap_or((Reason::SealInvalid, message));
            Some(untouched(
                observed,
                Some(workload),
                reason,
                &format!("backup {} was not restored: {text}", plan.backup_name),
                now,
            ))
        }
    }
}

/// A Job at work: what keeps its pod from starting is said, and ends the wait after a while.
fn busy(observed: &Observed, job: &Job, pods: &[Pod], reason: Reason, text: &str, now: Timestamp) -> Decision {
    let restore = &observed.restore;
    let pending = pods
        .iter()
        .filter(|pod| !is_over(pod))
        .find_map(|pod| trouble(pod, now));
    let Some(trouble) = pending else {
        return status::waiting(restore, reason, text, now);
    };
    let since = job.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    if now.duration_since(since) >= observed.settings.patience {
        return Decision::write(Write::DeleteJob {
            name: job.name_any(),
            uid: job.uid().unwrap_or_default(),
        })
        .with(true, trouble.reason, trouble.message);
    }
    status::waiting(restore, trouble.reason, &trouble.message, now)
}

fn newest_failure(pods: &[Pod]) -> Option<(Reason, String)> {
    let mut ended: Vec<&Pod> = pods.iter().collect();
    ended.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    ended
        .iter()
        .rev()
        .find_map(|pod| failure(pod, jobs::CONTAINER))
        .map(|failure| (failure.reason, failure.message))
}

/// With the restore Job: wait for it, then bring the workload back or keep it held.
fn written(
    observed: &Observed,
    plan: &RestorePlan,
    workload: Option<&Workload>,
    job: &Job,
    now: Timestamp,
) -> Decision {
    let restore = &observed.restore;
    match job_state(job) {
        JobState::Running => {
            let pending = observed
                .write_pods
                .iter()
                .filter(|pod| !is_over(pod))
                .find_map(|pod| trouble(pod, now));
            match pending {
                Some(trouble) => status::waiting(restore, trouble.reason, &trouble.message, now),
                None => status::waiting(restore, Reason::Restoring, "the volumes are being written", now),
            }
        }
        JobState::Complete => bring_back(observed, plan, workload, now),
        JobState::Failed { message, .. } => {
            let (reason, text) = newest_failure(&observed.write_pods).unwrap_or((Reason::ToolFailed, message));
            if clean(&observed.write_pods) {
                let text = format!("nothing was written: {text}");
                return untouched(observed, workload, reason, &text, now);
            }
            dirty(restore, plan, &format!("{}: {text}", reason.as_str()), now)
        }
    }
}

/// Whether every attempt left its word that it wrote nothing; a pod that is gone or silent may have written.
fn clean(pods: &[Pod]) -> bool {
    !pods.is_empty()
        && pods.iter().all(|pod| {
            let never_started = pod.status.as_ref().is_some_and(|status| {
                let main = status
                    .container_statuses
                    .iter()
                    .flatten()
                    .find(|status| status.name == jobs::CONTAINER);
                main.is_some_and(|status| status.state.as_ref().is_some_and(|state| state.waiting.is_some()))
            });
            never_started
                || agent_result(pod, jobs::CONTAINER)
                    .is_some_and(|result| result.outcome == Outcome::Failed && !result.dirty)
        })
}

fn bring_back(observed: &Observed, plan: &RestorePlan, workload: Option<&Workload>, now: Timestamp) -> Decision {
    let restore = &observed.restore;
    let Some(workload) = workload else {
        let text = format!(
            "the volumes are restored, but {} {} is gone",
            plan.workload_kind, plan.workload_name
        );
        return status::failed(restore, Reason::WorkloadNotFound, &text, now);
    };
    if observed.holder == Holder::Ours {
        return release(observed, workload, "its volumes are restored");
    }
    if workload.observed && workload.ready >= workload.replicas {
        let text = format!(
            "{} runs on backup {} with {} replicas",
            workload.title(),
            plan.backup_name,
            workload.replicas
        );
        return status::completed(restore, &text, now);
    }
    if now > plan.deadline.0 {
        let text = format!(
            "the volumes are restored, but {} did not become Ready",
            workload.title()
        );
        return status::failed(restore, Reason::WorkloadNotReady, &text, now);
    }
    let text = format!(
        "waiting for {} of {} replicas of {}",
        workload.replicas - workload.ready,
        workload.replicas,
        workload.title()
    );
    status::waiting(restore, Reason::ScalingUp, &text, now)
}
