//! A RestoreJob that is deleted, and suspended workloads whose RestoreJob is gone.

use holdfast_api::{condition::Reason, names::FINALIZER};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;

use super::observed::{LockHolder, Observed, Write};
use super::start;
use super::undo::{delete, is_ours, is_taken_over, is_touched, resume};
use super::verdict::Verdict;
use super::withdraw;
use super::workload::Workload;
use crate::decision::{Event, without_finalizer};
use crate::pod::{JobState, job_state};

/// Judges a RestoreJob that is being deleted: its Jobs end, the workload comes back if its volume is untouched or wholly
/// restored, and else stays suspended, which an Event says.
///
/// Its pods are waited for as long as for anything: one on a node that is lost does not end, and keeps others from the volumes
/// by being there.
pub(super) fn judge(observed: &Observed, now: Timestamp) -> Verdict {
    let restore = &observed.restore;
    let Some(release) = without_finalizer(&restore.metadata, FINALIZER) else {
        return Verdict::Rest;
    };
    let ours = |job: &&Job| is_ours(job, restore);
    let works = |job: &&Job| job_state(job) == JobState::Running && job.metadata.deletion_timestamp.is_none();
    let write = observed.write.as_ref().filter(ours);
    let since = restore.metadata.deletion_timestamp.as_ref().map_or(now, |time| time.0);
    let late = now.duration_since(since) >= observed.settings.not_ready_timeout;
    let unwritten = observed.plan().is_some_and(|plan| withdraw::may_be(observed, plan));
    // Suspended, it makes no pods any more, and what is known of those that it had is the whole truth.
    let suspending = write.filter(|job| unwritten && !late && works(job));
    if let Some(verdict) = suspending.and_then(withdraw::quiet) {
        return verdict;
    }
    let jobs = [
        observed.verify.as_ref().filter(ours),
        write.filter(|_| suspending.is_none()),
    ];
    if let Some(job) = jobs.into_iter().flatten().find(works) {
        return delete(job);
    }
    let mut pods = observed.write_pods.iter().chain(&observed.verify_pods);
    if let Some(pod) = pods.find(|pod| !start::ended(pod)).filter(|_| !late) {
        return Verdict::Wait(Reason::Deleted, format!("waiting for pod {} to end", pod.name_any()));
    }
    let whole = write.is_some_and(|job| job_state(job) == JobState::Complete);
    let nothing = suspending.is_some()
        && observed
            .plan()
            .is_some_and(|plan| withdraw::never_began(observed, plan));
    let touched = observed.plan().is_some_and(is_touched) && !nothing;
    let workload = observed
        .workloads
        .first()
        .filter(|_| observed.holder == LockHolder::Ours);
    if let Some(workload) = workload.filter(|workload| whole || !(touched || is_taken_over(workload))) {
        return resume(observed, workload, "its RestoreJob is being deleted");
    }
    if let Some(release) = start::release_all(observed) {
        return match observed.plan().filter(|plan| touched && withdraw::keeps(plan)) {
            // Remembered first: what they say goes with the pods.
            Some(plan) => Verdict::note(plan, |plan| {
                if let Some(writing) = plan.writing.as_mut() {
                    writing.pods_kept = false;
                }
            }),
            None => release,
        };
    }
    let event = workload.map(|workload| Event::warning(Reason::TargetDirty, stays(workload, &restore.name_any())));
    Verdict::Write(Write::Metadata(release), event)
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
