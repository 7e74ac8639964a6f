//! With the restore Job: wait for it, then resume the workload or keep it suspended.

use holdfast_api::{RestorePlan, agent::Outcome, condition::Reason};
use jiff::Timestamp;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};

use super::{
    Decision, LockHolder, Observed, Workload, jobs,
    run::{dirty, is_first, resume, untouched},
    status,
};
use crate::pod::{JobState, agent_result, failure, is_over, job_state, trouble};

pub(super) fn decide(
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
            if observed.write_pods.iter().any(|pod| !is_over(pod)) {
                return status::waiting(restore, Reason::Restoring, "waiting for the last pod to end", now);
            }
            let (reason, text) = newest_failure(&observed.write_pods).unwrap_or((Reason::ToolFailed, message));
            if is_first(restore) && clean(job, &observed.write_pods) {
                let text = format!("nothing was written: {text}");
                return untouched(observed, workload, reason, &text, now);
            }
            dirty(restore, plan, &format!("{}: {text}", reason.as_str()), now)
        }
    }
}

/// Whether every attempt left its word that it wrote nothing. A pod that is gone or silent may have written, so there
/// must be as many as the Job has counted.
fn clean(job: &Job, pods: &[Pod]) -> bool {
    let failed = job.status.as_ref().and_then(|status| status.failed).unwrap_or_default();
    let all = usize::try_from(failed).is_ok_and(|failed| pods.len() >= failed);
    all && !pods.is_empty() && pods.iter().all(|pod| never_started(pod) || says_clean(pod))
}

fn never_started(pod: &Pod) -> bool {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_deref());
    let main = statuses
        .unwrap_or_default()
        .iter()
        .find(|status| status.name == jobs::CONTAINER);
    main.is_some_and(|status| status.state.as_ref().is_some_and(|state| state.waiting.is_some()))
}

fn says_clean(pod: &Pod) -> bool {
    agent_result(pod, jobs::CONTAINER).is_some_and(|result| result.outcome == Outcome::Failed && !result.dirty)
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
    if observed.holder == LockHolder::Ours {
        return resume(observed, workload, "its volumes are restored");
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
