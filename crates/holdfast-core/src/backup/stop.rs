//! Ending a run before its time: deleted, cancelled, too late, or never able to start.

use holdfast_api::condition::{Reason, STALLED};
use holdfast_api::{Backup, BackupPlan};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::run::LOOK_AGAIN;
use super::{Decision, Observed, Read, Write, status};
use crate::pod::{JobState, is_over, job_state};

/// The Job has the same deadline; this is for the case that nobody enforces it.
pub(super) const SLACK: SignedDuration = SignedDuration::from_secs(30);
/// How long a terminating pod is waited for. Its node may be dead; its claim no longer lets it seal anything.
pub(super) const LOST: SignedDuration = SignedDuration::from_mins(5);

/// Whether the run must be stopped. A Job that is complete is not: its bytes are sealed.
pub(super) fn stop_reason(
    backup: &Backup,
    plan: &BackupPlan,
    job: Option<&Job>,
    now: Timestamp,
) -> Option<(Reason, String)> {
    if backup.metadata.deletion_timestamp.is_some() {
        return Some((Reason::Deleted, "deleted while it was running".to_owned()));
    }
    let state = job.map(job_state);
    if state == Some(JobState::Complete) {
        return None;
    }
    if let Some(condition) = status::holds(backup, STALLED) {
        let reason = Reason::parse(&condition.reason).unwrap_or(Reason::BackupJobFailed);
        return Some((reason, status::text(reason, &condition.message).to_owned()));
    }
    if matches!(state, Some(JobState::Failed { .. })) {
        return None;
    }
    if backup.spec.cancel == Some(true) {
        return Some((Reason::Cancelled, "cancelled by spec.cancel".to_owned()));
    }
    let late = now.duration_since(plan.deadline.0) > SLACK;
    late.then(|| {
        (
            Reason::DeadlineExceeded,
            format!("not finished before its deadline {}", plan.deadline.0),
        )
    })
}

/// Removes the Job, waits until no pod of it is left, and only then ends the Backup:
/// what follows may remove its directory.
pub(super) fn stop(
    observed: &Observed,
    plan: &BackupPlan,
    job: Option<&Job>,
    reason: Reason,
    text: &str,
    now: Timestamp,
) -> Decision {
    match job {
        Some(job) if job.metadata.deletion_timestamp.is_some() => {
            return Decision::after(LOOK_AGAIN);
        }
        Some(job) => {
            let (name, uid) = (job.name_any(), job.uid().unwrap_or_default());
            // A Job that completes in this moment shall not be lost to a deadline; to a deletion it may.
            let resource_version = (reason != Reason::Deleted).then(|| job.resource_version()).flatten();
            return Decision::write(Write::DeleteJob {
                name,
                uid,
                resource_version,
            });
        }
        None => {}
    }
    if !observed.job.live {
        return Decision::read(Read::Job);
    }
    if observed.pods.items.iter().any(|pod| may_run(pod, now)) {
        return Decision::after(LOOK_AGAIN);
    }
    if !observed.pods.live {
        return Decision::read(Read::Pods);
    }
    status::failed(&observed.backup, reason, text, plan.ttl.as_deref(), now)
}

/// Whether a pod may still write into the repository.
pub(super) fn may_run(pod: &Pod, now: Timestamp) -> bool {
    let lost = pod
        .metadata
        .deletion_timestamp
        .as_ref()
        .is_some_and(|time| now.duration_since(time.0) > LOST);
    !is_over(pod) && !lost
}
