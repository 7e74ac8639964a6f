//! A RestoreJob that is deleted, and suspended workloads whose RestoreJob is gone.

use holdfast_api::{condition::Reason, names::FINALIZER};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;

use super::observed::{LockHolder, Observed, Write};
use super::undo::{delete, is_ours, is_taken_over, is_touched, resume};
use super::verdict::Verdict;
use super::workload::Workload;
use crate::decision::{Event, without_finalizer};
use crate::pod::{JobState, is_over, job_state};

/// Judges a RestoreJob that is being deleted: its Jobs end, the workload comes back if its volume is untouched or wholly
/// restored, and else stays suspended, which an Event says.
pub(super) fn judge(observed: &Observed) -> Verdict {
    let restore = &observed.restore;
    let Some(release) = without_finalizer(&restore.metadata, FINALIZER) else {
        return Verdict::Rest;
    };
    let ours = |job: &&Job| is_ours(job, restore);
    let works = |job: &&Job| job_state(job) == JobState::Running && job.metadata.deletion_timestamp.is_none();
    let write = observed.write.as_ref().filter(ours);
    let jobs = [observed.verify.as_ref().filter(ours), write];
    if let Some(job) = jobs.into_iter().flatten().find(works) {
        return delete(job);
    }
    let mut pods = observed.write_pods.iter().chain(&observed.verify_pods);
    if pods.any(|pod| !is_over(pod)) {
        return Verdict::Wait(Reason::Deleted, "waiting for its pods to end".to_owned());
    }
    let whole = write.is_some_and(|job| job_state(job) == JobState::Complete);
    let touched = observed.plan().is_some_and(is_touched);
    let release = Write::Metadata(release);
    match observed
        .workloads
        .first()
        .filter(|_| observed.holder == LockHolder::Ours)
    {
        Some(workload) if whole || !(touched || is_taken_over(workload)) => {
            resume(observed, workload, "its RestoreJob is being deleted")
        }
        Some(workload) => {
            let event = Event::warning(Reason::TargetDirty, stays(workload, &restore.name_any()));
            Verdict::Write(release, Some(event))
        }
        None => Verdict::write(release),
    }
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
