//! With the restore Job: wait for it, then bring the workload back or keep it suspended.

use holdfast_api::{RestorePlan, RestoreWork, agent::Outcome, condition::Reason};
use jiff::Timestamp;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt as _;

use super::jobs::CONTAINER;
use super::observed::{LockHolder, Observed};
use super::start::{self, Start};
use super::undo::{dirty, give_up, is_first, is_late, newest_failure, resume};
use super::verdict::Verdict;
use super::withdraw;
use super::workload::Workload;
use crate::pod::{JobState, agent_result, job_state, trouble};

pub(super) fn judge(
    observed: &Observed,
    (plan, work): (&RestorePlan, &RestoreWork),
    workload: Option<&Workload>,
    job: &Job,
    now: Timestamp,
) -> Verdict {
    match (job_state(job), withdraw::why(plan)) {
        (JobState::Complete, _) => bring_back(observed, plan, work, workload, now),
        (JobState::Running, Some(why)) => withdraw::judge(observed, plan, Some(job), why, now),
        (JobState::Running, None) => match observed.trouble(job, &observed.write_pods, now) {
            Some(trouble) => withdraw::begin(observed, plan, job, &trouble, now)
                .unwrap_or_else(|| Verdict::Wait(trouble.reason, trouble.message)),
            None => Verdict::Wait(Reason::Restoring, "the volumes are being written".to_owned()),
        },
        (JobState::Failed { message, .. }, _) => {
            if observed.write_pods.iter().any(|pod| !start::ended(pod)) {
                return Verdict::Wait(Reason::Restoring, "waiting for the last pod to end".to_owned());
            }
            let (reason, text) = newest_failure(&observed.write_pods).unwrap_or((Reason::ToolFailed, message));
            if clean(observed, plan, job) {
                return give_up(plan, reason, &format!("nothing was written: {text}"), now);
            }
            dirty(plan, &format!("{}: {text}", reason.as_str()))
        }
    }
}

/// Whether every attempt left its word that it wrote nothing. A pod that is gone or silent may have written, so there must be
/// as many as the Job has counted.
fn clean(observed: &Observed, plan: &RestorePlan, job: &Job) -> bool {
    let pods = &observed.write_pods;
    let status = job.status.as_ref();
    let failed = status.and_then(|status| status.failed).unwrap_or_default();
    let all = usize::try_from(failed).is_ok_and(|failed| pods.len() >= failed);
    let quiet = |pod: &Pod| start::of(pod) == Start::Never || says_clean(pod);
    all && (withdraw::never_began(observed, plan) || (is_first(plan) && !pods.is_empty() && pods.iter().all(quiet)))
}

fn says_clean(pod: &Pod) -> bool {
    agent_result(pod, CONTAINER).is_some_and(|result| result.outcome == Outcome::Failed && !result.dirty)
}

fn bring_back(
    observed: &Observed,
    plan: &RestorePlan,
    work: &RestoreWork,
    workload: Option<&Workload>,
    now: Timestamp,
) -> Verdict {
    let Some(workload) = workload else {
        let title = plan.workload.clone().unwrap_or_default().title();
        let text = format!("the volumes are restored, but {title} is gone");
        return Verdict::Fail(Reason::WorkloadNotFound, text);
    };
    if observed.holder == LockHolder::Ours {
        return resume(observed, workload, "its volumes are restored");
    }
    if let LockHolder::AtWork(_) | LockHolder::Over = observed.holder {
        let text = format!(
            "the volumes were restored, but another RestoreJob has taken {} over before it was Ready",
            workload.title()
        );
        return Verdict::Fail(Reason::WorkloadHeld, text);
    }
    if workload.observed && workload.ready >= workload.replicas {
        return Verdict::Complete(completed(work, workload));
    }
    if is_late(plan, now) {
        let text = format!(
            "the volumes are restored, but {} did not become Ready",
            workload.title()
        );
        return Verdict::Fail(Reason::WorkloadNotReady, text);
    }
    let text = format!(
        "waiting for {} of {} replicas of {}",
        workload.replicas - workload.ready,
        workload.replicas,
        workload.title()
    );
    match observed.pods.iter().find_map(|pod| unready(pod, now)) {
        Some(why) => Verdict::Wait(Reason::WorkloadNotReady, format!("{text}: {why}")),
        None => Verdict::Wait(Reason::ScalingUp, text),
    }
}

fn completed(work: &RestoreWork, workload: &Workload) -> String {
    let (title, backup, replicas) = (workload.title(), &work.backup.name, workload.replicas);
    if replicas == 0 {
        return format!(
            "the volumes of {title} hold backup {backup}; it has 0 replicas, and is started by whoever wants it"
        );
    }
    format!("{title} runs on backup {backup} with {replicas} replicas")
}

/// Why a pod of the workload does not get Ready, as far as its containers tell.
fn unready(pod: &Pod, now: Timestamp) -> Option<String> {
    let name = pod.name_any();
    if let Some(trouble) = trouble(pod, now) {
        return Some(format!("pod {name}: {}", trouble.message));
    }
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().chain(&status.container_statuses);
    all.flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let last = container
            .last_state
            .as_ref()
            .and_then(|state| state.terminated.as_ref());
        // What has not run yet may just be starting.
        let last = last?;
        Some(format!(
            "container {} of pod {name} has exited with code {} and is in {}",
            container.name,
            last.exit_code,
            waiting.reason.as_deref().unwrap_or("waiting")
        ))
    })
}
