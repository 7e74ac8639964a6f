//! Ending a run before its time: deleted, cancelled, too late, or never able to start.

use holdfast_api::condition::Reason;
use holdfast_api::{Backup, BackupPlan};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;

use super::children::{LOOK_AGAIN, SLACK, may_run};
use super::observed::{Observed, Read, Write};
use super::verdict::Verdict;
use crate::decision::{Kind, Target};
use crate::pod::{JobState, job_state};

/// Why a Backup ended that its user gave up.
pub const CANCELLED: &str = "cancelled by spec.cancel";

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
    if let Some(stop) = &plan.stop {
        return Some((stop.reason_or(Reason::BackupJobFailed), stop.text.clone()));
    }
    if matches!(state, Some(JobState::Failed { .. })) {
        return None;
    }
    if backup.spec.cancel == Some(true) {
        return Some((Reason::Cancelled, CANCELLED.to_owned()));
    }
    let deadline = plan.deadline.as_ref()?.0;
    let late = now.duration_since(deadline) > SLACK;
    late.then(|| {
        (
            Reason::DeadlineExceeded,
            format!("not finished before its deadline {deadline}"),
        )
    })
}

/// Removes the Job, waits until no pod of it is left, and only then ends the Backup:
/// what follows may remove its directory.
pub(super) fn stop(observed: &Observed, job: Option<&Job>, reason: Reason, text: String, now: Timestamp) -> Verdict {
    match job {
        Some(job) if job.metadata.deletion_timestamp.is_some() => return Verdict::Rest(Some(LOOK_AGAIN)),
        // A Job that completes in this moment shall not be lost to a deadline; to a deletion it may.
        Some(job) if reason == Reason::Deleted => {
            return Verdict::Write(Write::Delete(Target::any_state(Kind::Job, job)));
        }
        Some(job) => return Verdict::Write(Write::Delete(Target::exactly(Kind::Job, job))),
        None => {}
    }
    if !observed.job.live {
        return Verdict::Read(Read::Job);
    }
    if observed.pods.items.iter().any(|pod| may_run(pod, now)) {
        return Verdict::Rest(Some(LOOK_AGAIN));
    }
    if !observed.pods.live {
        return Verdict::Read(Read::Pods);
    }
    Verdict::Fail(reason, text)
}
