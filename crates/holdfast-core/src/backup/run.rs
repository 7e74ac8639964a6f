//! From the plan to the end: the Job is made, watched, and stopped if it must be.

use std::sync::Arc;

use holdfast_api::condition::{RECONCILING, Reason};
use holdfast_api::names::LABEL_BACKUP_UID;
use holdfast_api::{Backup, BackupPlan};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::job::{main_container, tool_job};
use super::lookup::{Problem, reachable, target};
use super::plan::settle;
use super::report::read_seal;
use super::stop::{LOST, SLACK, may_run, stop, stop_reason};
use super::{Decision, Observed, Read, Write, finish, status};
use crate::naming;
use crate::pod::{Failure, JobState, failure, finished_at, is_over, job_state, trouble};

/// How old the answer may be that a new Job rests on: a later one might be for a Backup that has ended meanwhile.
const FRESH: SignedDuration = SignedDuration::from_secs(5);
/// How long a cache of pods may lag behind one of Jobs.
const LAG: SignedDuration = SignedDuration::from_secs(3);
/// How long a Job may be without any pod before that is worth a word.
const PODLESS: SignedDuration = SignedDuration::from_secs(6);
/// How often something is looked at that time alone can change: what is wrong shows within ten seconds.
pub(super) const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(3);

/// Decides about a Backup that is in progress.
pub(super) fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let backup = &*observed.backup;
    let Some(plan) = backup.status.as_ref().and_then(|status| status.plan.as_ref()) else {
        let text = "in progress, but without a plan: started by something other than Holdfast";
        return status::failed(backup, Reason::Unsupported, text, None, now);
    };
    let job = observed.job.get().filter(|job| is_ours(job, backup));
    if let Some((reason, text)) = stop_reason(backup, plan, job, now) {
        return stop(observed, plan, job, reason, &text, now);
    }
    match (job, observed.job.get()) {
        (Some(job), _) => match job_state(job) {
            JobState::Running => running(observed, plan, job, now),
            JobState::Complete => ended_well(observed, plan, job, now),
            JobState::Failed { reason, message } => ended_badly(observed, plan, job, (&reason, &message), now),
        },
        (None, Some(foreign)) => taken(observed, foreign, now),
        (None, None) => begin(observed, plan, now),
    }
}

/// Whether a Job carries this Backup's uid: the only sign that it is its own.
pub(super) fn is_ours(job: &Job, backup: &Backup) -> bool {
    let uid = job.labels().get(LABEL_BACKUP_UID);
    uid.is_some() && uid == backup.metadata.uid.as_ref()
}

/// A Job of that name exists and does not belong to this Backup. It is never touched. One of an earlier Backup of
/// the same name goes with that; anybody else's stays.
pub(super) fn taken(observed: &Observed, foreign: &Job, now: Timestamp) -> Decision {
    if !observed.job.live {
        return Decision::read(Read::Job);
    }
    let name = foreign.name_any();
    let text = format!("a job named \"{name}\" exists that does not belong to this Backup");
    let leaving = foreign.labels().contains_key(LABEL_BACKUP_UID) || foreign.metadata.deletion_timestamp.is_some();
    let problem = if leaving {
        Problem::Wait(Reason::NameTaken, text)
    } else {
        Problem::Fail(Reason::NameTaken, text)
    };
    settle(observed, problem, status::started(&observed.backup), now)
}

/// J: creates the Job, beside the target pod as it is now.
fn begin(observed: &Observed, plan: &BackupPlan, now: Timestamp) -> Decision {
    let backup = &*observed.backup;
    let since = status::started(backup);
    if let Some(refused) = observed.refused.as_deref() {
        let text = format!("the API server refuses the job: {refused}");
        return settle(observed, Problem::Wait(Reason::BackupJobFailed, text), since, now);
    }
    let target = match target(observed) {
        Ok(target) => target,
        Err(problem) => return settle(observed, problem, since, now),
    };
    if let Some(decision) = moved(observed, plan, target, now) {
        return decision;
    }
    // Its annotation tells the agent which repository to expect.
    if observed.pvc.get().is_none() && !observed.pvc.live {
        return Decision::read(Read::Claim);
    }
    if !is_fresh(observed, now) {
        return Decision::read(Read::Backup);
    }
    match tool_job(observed, plan, target, now) {
        Ok(job) => Decision::write(Write::CreateJob(Box::new(job))),
        Err(text) => settle(observed, Problem::Fail(Reason::Unsupported, text), since, now),
    }
}

/// Whether the Backup was read from the API server just now.
pub(super) fn is_fresh(observed: &Observed, now: Timestamp) -> bool {
    observed
        .backup_read
        .is_some_and(|read| now.duration_since(read) <= FRESH)
}

/// While there is no Job the plan follows a target pod that was replaced, perhaps on another node.
fn moved(observed: &Observed, plan: &BackupPlan, target: &Pod, now: Timestamp) -> Option<Decision> {
    let node = target
        .spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default();
    let uid = target.uid().unwrap_or_default();
    if uid == plan.pod_uid && node == plan.node_name {
        return None;
    }
    let backup = &*observed.backup;
    if let Some(Err(problem)) = observed.pvc.get().map(|claim| reachable(observed, claim, node)) {
        return Some(settle(observed, problem, status::started(backup), now));
    }
    let mut status = status::draft(backup);
    let mut plan = plan.clone();
    plan.pod_uid = uid;
    node.clone_into(&mut plan.node_name);
    plan.host = naming::db_host(target);
    status.plan = Some(plan);
    Some(Decision::write(Write::Status(Box::new(status))))
}

fn running(observed: &Observed, plan: &BackupPlan, job: &Job, now: Timestamp) -> Decision {
    let backup = &*observed.backup;
    let until_deadline = (plan.deadline.0.duration_since(now) + SLACK).max(LOOK_AGAIN);
    let failures = failures(observed);
    let Some(pod) = newest(&observed.pods.items, |pod| !is_over(pod)) else {
        if let Some(decision) = failed_attempt(observed, plan, &failures, now) {
            return decision;
        }
        return podless(observed, job, failures.is_empty(), now);
    };
    let pending = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Pending");
    if let Some(trouble) = trouble(pod, now) {
        let created = pod.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
        return hold_out(observed, trouble.reason, &trouble.message, created, now);
    }
    if let Some(decision) = failed_attempt(observed, plan, &failures, now) {
        return decision;
    }
    if pending {
        let created = pod.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
        if now.duration_since(created) > observed.settings.not_ready_timeout {
            let text = format!("pod `{}` did not start", pod.name_any());
            return status::stopping(backup, Reason::PodPending, &text, now);
        }
        return Decision::after(LOOK_AGAIN);
    }
    // Once it runs, the trouble that the status still tells of is over; a failed attempt stays told.
    let told = status::holds(backup, RECONCILING).is_none_or(|told| {
        [Reason::InProgress, Reason::JobRunning]
            .iter()
            .any(|fine| told.reason == fine.as_str())
    });
    if told || !failures.is_empty() {
        return Decision::after(until_deadline);
    }
    let text = format!("pod {} is running", pod.name_any());
    status::waiting(backup, Reason::JobRunning, &text, until_deadline, now)
}

/// Tells of a trouble until it has lasted too long, then stops the run with it.
fn hold_out(observed: &Observed, reason: Reason, text: &str, since: Timestamp, now: Timestamp) -> Decision {
    let left = observed.settings.not_ready_timeout - now.duration_since(since);
    if left <= SignedDuration::ZERO {
        return status::stopping(&observed.backup, reason, text, now);
    }
    status::waiting(&observed.backup, reason, text, left.min(LOOK_AGAIN * 6), now)
}

fn podless(observed: &Observed, job: &Job, first: bool, now: Timestamp) -> Decision {
    let created = job.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    if !first || now.duration_since(created) < PODLESS {
        return Decision::after(LOOK_AGAIN);
    }
    let text = format!("job \"{}\" has no pod yet; its events may tell why", job.name_any());
    hold_out(observed, Reason::PodPending, &text, created, now)
}

fn failures(observed: &Observed) -> Vec<Failure> {
    let container = main_container(&observed.backup);
    let mut pods: Vec<&Arc<Pod>> = observed.pods.items.iter().collect();
    pods.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    pods.iter().filter_map(|pod| failure(pod, &container)).collect()
}

/// A failed attempt shows at once, not only when the Job has given up.
fn failed_attempt(observed: &Observed, plan: &BackupPlan, failures: &[Failure], now: Timestamp) -> Option<Decision> {
    let last = failures.last()?;
    let backup = &*observed.backup;
    let attempts = plan.backoff_limit.saturating_add(1);
    let text = format!("attempt {} of {attempts} failed: {}", failures.len(), last.message);
    if status::holds(backup, RECONCILING).is_some_and(|told| told.message == status::message(last.reason, &text)) {
        return None;
    }
    let mut status = status::draft(backup);
    status::say(&mut status, backup, last.reason, &text, now);
    Some(Decision::write(Write::Status(Box::new(status))))
}

/// The youngest pod of those wanted.
pub(super) fn newest(pods: &[Arc<Pod>], wanted: impl Fn(&Pod) -> bool) -> Option<&Pod> {
    let pods = pods.iter().map(|pod| &**pod).filter(|pod| wanted(pod));
    pods.max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

fn ended_well(observed: &Observed, plan: &BackupPlan, job: &Job, now: Timestamp) -> Decision {
    let container = main_container(&observed.backup);
    if let Some(result) = finish::sealed(&observed.pods.items, &container) {
        return finish::complete(observed, plan, &result, now);
    }
    let finished = finished_at(job).unwrap_or(now);
    if !observed.pods.live {
        if now.duration_since(finished) < LAG {
            return Decision::after(SignedDuration::from_secs(1));
        }
        return Decision::read(Read::Pods);
    }
    read_seal(observed, plan, finished, now)
}

fn ended_badly(
    observed: &Observed,
    plan: &BackupPlan,
    job: &Job,
    (reason, message): (&str, &str),
    now: Timestamp,
) -> Decision {
    let backup = &*observed.backup;
    // The Job may have been given up in the very moment in which a pod had sealed its bytes.
    if let Some(result) = finish::sealed(&observed.pods.items, &main_container(backup)) {
        return finish::complete(observed, plan, &result, now);
    }
    if !observed.job.live {
        return Decision::read(Read::Job);
    }
    let failures = failures(observed);
    if failures.is_empty() && !observed.pods.live {
        return Decision::read(Read::Pods);
    }
    let last = failures.iter().find(|failure| failure.permanent).or(failures.last());
    let (kind, detail) = match (reason, last) {
        // Kubernetes' own word, of a Job.
        ("DeadlineExceeded", _) => (Reason::DeadlineExceeded, message),
        (_, Some(failure)) => (failure.reason, failure.message.as_str()),
        (_, None) => (Reason::BackupJobFailed, message),
    };
    let text = failed_text(&plan.job_name, Some(detail).filter(|detail| !detail.is_empty()));
    if observed.pods.items.iter().any(|pod| may_run(pod, now)) {
        // Kubernetes ends the pods of a failed Job; a Job that keeps one is removed with it.
        let failed_at = finished_at(job).unwrap_or(now);
        if now.duration_since(failed_at) > LOST {
            return status::stopping(backup, kind, &text, now);
        }
        return Decision::after(LOOK_AGAIN);
    }
    status::failed(backup, kind, &text, plan.ttl.as_deref(), now)
}

/// The original's text, and what is known beyond it.
pub(super) fn failed_text(job: &str, detail: Option<&str>) -> String {
    let text = format!("backup job \"{job}\" failed");
    detail.map_or(text.clone(), |detail| format!("{text}: {detail}"))
}
