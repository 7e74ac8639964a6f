//! A RestoreJob that is deleted, and suspended workloads whose RestoreJob is gone.

use holdfast_api::{condition::Reason, names::FINALIZER};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;
use serde_json::json;

use super::{
    Decision, LockHolder, Observed, Workload, Write,
    run::{is_ours, resume, taken_over, touched},
    status,
};
use crate::pod::{JobState, is_over, job_state};

/// Decides about a RestoreJob that is being deleted: its Jobs end, the workload comes back if its volume is
/// untouched or wholly restored, and else stays suspended, which an Event says.
pub(super) fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let restore = &observed.restore;
    if !restore.finalizers().iter().any(|name| name == FINALIZER) {
        return Decision::nothing();
    }
    let ours = |job: &&Job| is_ours(job, restore);
    let works = |job: &&Job| job_state(job) == JobState::Running && job.metadata.deletion_timestamp.is_none();
    let write = observed.write.as_ref().filter(ours);
    let jobs = [observed.verify.as_ref().filter(ours), write];
    if let Some(job) = jobs.into_iter().flatten().find(works) {
        return Decision::write(Write::DeleteJob {
            name: job.name_any(),
            uid: job.uid().unwrap_or_default(),
        });
    }
    if observed
        .write_pods
        .iter()
        .chain(&observed.verify_pods)
        .any(|pod| !is_over(pod))
    {
        return status::waiting(restore, Reason::Deleted, "waiting for its pods to end", now);
    }
    let whole = write.is_some_and(|job| job_state(job) == JobState::Complete);
    match observed
        .workloads
        .first()
        .filter(|_| observed.holder == LockHolder::Ours)
    {
        Some(workload) if whole || !(touched(restore) || taken_over(workload)) => {
            resume(observed, workload, "its RestoreJob is being deleted")
        }
        Some(workload) => let_go(observed).with(true, Reason::TargetDirty, stays(workload, &restore.name_any())),
        None => let_go(observed),
    }
}

fn let_go(observed: &Observed) -> Decision {
    let left: Vec<&String> = observed
        .restore
        .finalizers()
        .iter()
        .filter(|name| *name != FINALIZER)
        .collect();
    Decision::write(Write::Metadata(json!({ "finalizers": left })))
}

fn stays(workload: &Workload, restore: &str) -> String {
    let replicas = workload
        .suspend_lock()
        .map_or_else(|| "an unknown number of".to_owned(), |lock| lock.replicas.to_string());
    format!(
        "{} stays at 0 replicas: its volume may be half written by RestoreJob {restore}; it had {replicas} replicas. Create another RestoreJob to go on, or, if the volume is known to be good, remove the annotation holdfast.io/held and scale it up",
        workload.title()
    )
}

/// What to tell about a suspended workload whose RestoreJob is gone. It is never started: nobody knows its volume.
pub fn orphan(workload: &Workload) -> Option<String> {
    workload.suspend_lock().map(|lock| stays(workload, &lock.name))
}
