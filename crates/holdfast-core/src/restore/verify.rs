//! The verify Job: every byte of the backup is read before anything is touched.

use holdfast_api::{
    RestorePlan,
    condition::{ConditionType, Reason},
};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;

use super::{
    Decision, Observed, Workload, Write,
    after_write::newest_failure,
    jobs,
    run::{is_ours, taken, untouched},
    status,
};
use crate::pod::{JobState, Trouble, is_over, job_state, trouble};

/// False, with the trouble as its reason, once the check was given up because its pod does not start.
const VERIFIED: &str = ConditionType::Verified.as_str();

/// `None` once the Job has found everything right.
pub(super) fn decide(observed: &Observed, plan: &RestorePlan, workload: &Workload, now: Timestamp) -> Option<Decision> {
    let restore = &observed.restore;
    if let Some((reason, why)) = status::denied(restore, VERIFIED, Reason::PodPending) {
        if let Some(job) = observed.verify.as_ref().filter(|job| is_ours(job, restore)) {
            return Some(Decision::write(Write::DeleteJob {
                name: job.name_any(),
                uid: job.uid().unwrap_or_default(),
            }));
        }
        let text = format!("backup {} was not restored: {why}", plan.backup_name);
        return Some(untouched(observed, Some(workload), reason, &text, now));
    }
    let Some(job) = &observed.verify else {
        let job = jobs::verify_job(&observed.settings, restore, plan, now);
        return Some(Decision::write(Write::CreateJob(Box::new(job))));
    };
    if !is_ours(job, restore) {
        return Some(taken(observed, Some(workload), job, now));
    }
    match job_state(job) {
        JobState::Running => Some(running(observed, job, now)),
        // Exit 0 is said only after every byte was found right.
        JobState::Complete => None,
        JobState::Failed { message, .. } => {
            let told = newest_failure(&observed.verify_pods);
            let (reason, text) = told.unwrap_or((Reason::SealInvalid, message));
            let text = format!("backup {} was not restored: {text}", plan.backup_name);
            Some(untouched(observed, Some(workload), reason, &text, now))
        }
    }
}

/// What keeps the pod from starting is said, and ends the wait after a while.
fn running(observed: &Observed, job: &Job, now: Timestamp) -> Decision {
    let restore = &observed.restore;
    let pending = observed.verify_pods.iter().filter(|pod| !is_over(pod));
    let Some(Trouble { reason, message }) = pending.into_iter().find_map(|pod| trouble(pod, now)) else {
        return status::waiting(restore, Reason::Verifying, "reading every byte of the backup", now);
    };
    let since = job.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    if now.duration_since(since) < observed.settings.not_ready_timeout {
        return status::waiting(restore, reason, &message, now);
    }
    // Said before the Job goes, or it would be made anew.
    status::note(restore, VERIFIED, false, reason, &message, now)
}
