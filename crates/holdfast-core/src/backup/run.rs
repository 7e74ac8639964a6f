//! From the plan to the end: the Job is made, watched, and stopped if it must be.

use std::sync::Arc;

use holdfast_api::condition::Reason;
use holdfast_api::names::LABEL_BACKUP_UID;
use holdfast_api::{BackupPlan, JobWork};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::children::{LOOK_AGAIN, LOST, SLACK, failed_text, is_fresh, is_ours, may_run, newest};
use super::finish;
use super::job::{Tool, main_container, tool_job};
use super::lookup::{reachable, target};
use super::observed::{Observed, Problem, Read, Write};
use super::plan;
use super::report::read_seal;
use super::stop::{stop, stop_reason};
use super::trouble::{created, hold_out, lost};
use super::verdict::{Surroundings, Verdict};
use crate::decision::Child;
use crate::naming;
use crate::pod::{
    Failure, JobState, counts, failure, failure_beside, finished_at, is_over, is_suspended, job_state, needs_values,
    podless, tool_environment, trouble,
};

/// How long a cache of pods may lag behind one of Jobs.
const LAG: SignedDuration = SignedDuration::from_secs(3);

/// Judges a Backup that is in progress.
pub(super) fn judge(observed: &Observed, now: Timestamp) -> Verdict {
    let backup = &*observed.backup;
    let Some(plan) = observed.plan() else {
        let text = "in progress, but without a plan: started by something other than Holdfast";
        return Verdict::Fail(Reason::Unsupported, text.to_owned());
    };
    // Whoever knows this kind of work, and of access, goes on with it; nobody guesses.
    let known = plan.location.access.claim().and_then(|_| plan.work.job());
    let work = match known {
        Ok(work) => work,
        Err(error) => return Verdict::Wait(error.reason(), error.to_string(), LOOK_AGAIN * 20),
    };
    let job = observed.job.get().filter(|job| is_ours(job, backup));
    if let Some((reason, text)) = stop_reason(backup, plan, job, now) {
        let stopped = stop(observed, job, reason, text, now);
        return look_at_the_seal(observed, (plan, work), stopped, now);
    }
    match (job, observed.job.get()) {
        (Some(job), _) => match job_state(job) {
            JobState::Running => running(observed, plan, work, job, now),
            JobState::Complete => ended_well(observed, plan, work, job, now),
            JobState::Failed { reason, message } => ended_badly(observed, work, job, (&reason, &message), now),
        },
        (None, Some(foreign)) => taken(observed, foreign, (observed.job.live, Read::Job), now),
        (None, None) => begin(observed, plan, work, now),
    }
}

/// Before a run without a Job is given up for its deadline, its seal is asked: it may have ended well, and its Job be gone
/// since. The stop is written down first, so that the question has an end.
fn look_at_the_seal(
    observed: &Observed,
    (plan, work): (&BackupPlan, &JobWork),
    stopped: Verdict,
    now: Timestamp,
) -> Verdict {
    let Verdict::Fail(Reason::DeadlineExceeded, text) = stopped else {
        return stopped;
    };
    let Some(stop) = &plan.stop else {
        return Verdict::Stop(Reason::DeadlineExceeded, text);
    };
    let taken = |foreign: &Job| taken(observed, foreign, (observed.report.live, Read::Report), now);
    match read_seal(observed, (plan, work), stop.since.0, taken, now) {
        // It never was sealed, or nobody can tell.
        Verdict::Fail(Reason::SealInvalid | Reason::DeadlineExceeded, _) => {
            Verdict::Fail(Reason::DeadlineExceeded, text)
        }
        verdict => verdict,
    }
}

/// A problem of a run that has begun: waits count from its start.
fn settle(observed: &Observed, problem: Problem, now: Timestamp) -> Verdict {
    plan::settle(observed, problem, observed.started(), now)
}

/// A Job of that name exists and does not belong to this Backup. It is never touched. One of an earlier Backup of
/// the same name goes with that; anybody else's stays. One that was only seen in a cache is read first.
fn taken(observed: &Observed, foreign: &Job, (live, read): (bool, Read), now: Timestamp) -> Verdict {
    if !live {
        return Verdict::Read(read);
    }
    let name = foreign.name_any();
    let text = format!("a job named \"{name}\" exists that does not belong to this Backup");
    let leaving = foreign.labels().contains_key(LABEL_BACKUP_UID) || foreign.metadata.deletion_timestamp.is_some();
    let problem = if leaving {
        Problem::Wait(Reason::NameTaken, text)
    } else {
        Problem::Fail(Reason::NameTaken, text)
    };
    settle(observed, problem, now)
}

/// Creates the Job, beside the target pod as it is now.
fn begin(observed: &Observed, plan: &BackupPlan, work: &JobWork, now: Timestamp) -> Verdict {
    if let Some(refused) = observed.refused.as_deref() {
        let text = format!("the API server refuses the job: {refused}");
        return settle(observed, Problem::Wait(Reason::BackupJobFailed, text), now);
    }
    let target = match target(observed) {
        Ok(target) => target,
        Err(problem) => return settle(observed, problem, now),
    };
    if let Some(verdict) = moved(observed, plan, target, now) {
        return verdict;
    }
    let tool = match tool(observed, work) {
        Ok(Some(tool)) => tool,
        // What was planned is not to be had any more: the run is planned anew.
        Ok(None) => return plan::begin(observed, now).unwrap_or_else(|problem| settle(observed, problem, now)),
        Err(problem) => return settle(observed, problem, now),
    };
    let Some(demands) = observed.demands else {
        return Verdict::Read(Read::Demands);
    };
    if !is_fresh(observed, now) {
        return Verdict::Read(Read::Backup);
    }
    match tool_job(observed, plan, work, tool, (target, demands), now) {
        Ok(job) => Verdict::Write(Write::Create(Child::from(job))),
        Err(text) => settle(observed, Problem::Fail(Reason::Unsupported, text), now),
    }
}

/// The tool as planned, with the literal values of its environment; none where the BackupTool has others by now.
fn tool(observed: &Observed, work: &JobWork) -> Result<Option<Tool>, Problem> {
    let spec = work
        .tool
        .spec()
        .map_err(|error| Problem::Wait(error.reason(), error.to_string()))?;
    let name = work.tool.name.as_str();
    if needs_values(&work.tool) && observed.tool.get().is_none() {
        let missing = || (Reason::ToolNotFound, format!("backupTool: {name} not found"));
        return Err(Problem::absent(
            &observed.tool,
            Read::Tool,
            ("BackupTool", name),
            missing,
        ));
    }
    let uid = observed.backup.uid().unwrap_or_default();
    let env = tool_environment(&work.tool, observed.tool.get(), &uid);
    Ok(env.map(|env| Tool { spec, env }))
}

/// While there is no Job the plan follows a target pod that was replaced, perhaps on another node.
fn moved(observed: &Observed, plan: &BackupPlan, target: &Pod, now: Timestamp) -> Option<Verdict> {
    let node = target
        .spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default();
    let uid = target.uid().unwrap_or_default();
    let host = naming::db_host(target);
    if uid == plan.source.pod_uid && node == plan.source.node_name && host == plan.source.host {
        return None;
    }
    if let Some(Err(problem)) = observed.claim.get().map(|claim| reachable(observed, claim, node)) {
        return Some(settle(observed, problem, now));
    }
    let mut plan = plan.clone();
    plan.source.pod_uid = uid;
    node.clone_into(&mut plan.source.node_name);
    plan.source.host = host;
    let surroundings = Surroundings {
        volume_name: observed.claim.get().and_then(finish::volume_name),
        ..Surroundings::default()
    };
    Some(Verdict::Begin(Box::new(plan), surroundings))
}

fn running(observed: &Observed, plan: &BackupPlan, work: &JobWork, job: &Job, now: Timestamp) -> Verdict {
    let container = main_container(&observed.backup);
    if let Some(result) = finish::sealed_beside(&observed.pods.items, &container) {
        return finish::complete(observed, result);
    }
    if is_suspended(job) {
        let text = format!("job \"{}\" is suspended", job.name_any());
        return Verdict::Wait(Reason::JobSuspended, text, LOOK_AGAIN * 6);
    }
    let left = plan
        .deadline
        .as_ref()
        .map(|deadline| deadline.0.duration_since(now) + SLACK);
    let failures = attempts(observed);
    let Some(pod) = newest(&observed.pods.items, |pod| !is_over(pod)) else {
        return failed_attempt(observed, work, &failures)
            .unwrap_or_else(|| without_pod(observed, job, failures.is_empty(), now));
    };
    if let Some(failure) = failure_beside(pod, &container) {
        return Verdict::Stop(failure.reason, failure.message);
    }
    let pending = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Pending");
    if !pending && let Some(verdict) = lost(observed, pod, now) {
        return verdict;
    }
    if let Some(trouble) = trouble(pod, now) {
        return hold_out(observed, trouble, created(pod, now), now);
    }
    if let Some(verdict) = failed_attempt(observed, work, &failures) {
        return verdict;
    }
    if pending {
        if now.duration_since(created(pod, now)) > observed.settings.not_ready_timeout {
            let text = format!("pod `{}` did not start", pod.name_any());
            return Verdict::Stop(Reason::PodPending, text);
        }
        return Verdict::Rest(Some(LOOK_AGAIN));
    }
    let again = left.map(|left| left.max(LOOK_AGAIN));
    // Once it runs, the trouble that the status still tells of is over; a failed attempt stays told.
    match again {
        Some(again) if failures.is_empty() => Verdict::Runs(format!("pod {} is running", pod.name_any()), again),
        again => Verdict::Rest(again),
    }
}

fn without_pod(observed: &Observed, job: &Job, first: bool, now: Timestamp) -> Verdict {
    match podless(job, now).filter(|_| first) {
        Some(trouble) => hold_out(observed, trouble, without_since(observed, job, now), now),
        None => Verdict::Rest(Some(LOOK_AGAIN)),
    }
}

/// Since when a Job has been without a pod, as far as that is written down: it may have had one before.
fn without_since(observed: &Observed, job: &Job, now: Timestamp) -> Timestamp {
    let status = observed.backup.status.as_ref();
    let waiting = status.and_then(|status| status.waiting.as_ref());
    let resumed = job.status.as_ref().and_then(|status| status.start_time.as_ref());
    let since = waiting.map_or(now, |waiting| waiting.since.0);
    resumed.map_or(since, |resumed| since.max(resumed.0))
}

/// Attempts that failed and count as such.
fn attempts(observed: &Observed) -> Vec<Failure> {
    failed(observed, counts)
}

fn failed(observed: &Observed, wanted: impl Fn(&Pod) -> bool) -> Vec<Failure> {
    let container = main_container(&observed.backup);
    let mut pods: Vec<&Arc<Pod>> = observed.pods.items.iter().filter(|pod| wanted(pod)).collect();
    pods.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    pods.iter().filter_map(|pod| failure(pod, &container)).collect()
}

/// A failed attempt shows at once, not only when the Job has given up; and again after a trouble that is over.
fn failed_attempt(observed: &Observed, work: &JobWork, failures: &[Failure]) -> Option<Verdict> {
    let last = failures.last()?;
    // Pods that were told of may be gone by now.
    let count = i32::try_from(failures.len())
        .unwrap_or(i32::MAX)
        .max(work.failed_attempts);
    let attempts = work.backoff_limit.saturating_add(1);
    let text = format!("attempt {count} of {attempts} failed: {}", last.message);
    let told = count == work.failed_attempts && !observed.is_waiting();
    (!told).then_some(Verdict::Attempt(count, last.reason, text))
}

fn ended_well(observed: &Observed, plan: &BackupPlan, work: &JobWork, job: &Job, now: Timestamp) -> Verdict {
    let container = main_container(&observed.backup);
    if let Some(result) = finish::sealed(&observed.pods.items, &container) {
        return finish::complete(observed, result);
    }
    let finished = finished_at(job).unwrap_or(now);
    if !observed.pods.live {
        if now.duration_since(finished) < LAG {
            return Verdict::Rest(Some(SignedDuration::from_secs(1)));
        }
        return Verdict::Read(Read::Pods);
    }
    let taken = |foreign: &Job| taken(observed, foreign, (observed.report.live, Read::Report), now);
    read_seal(observed, (plan, work), finished, taken, now)
}

fn ended_badly(
    observed: &Observed,
    work: &JobWork,
    job: &Job,
    (reason, message): (&str, &str),
    now: Timestamp,
) -> Verdict {
    // The Job may have been given up in the very moment in which a pod had sealed its bytes.
    if let Some(result) = finish::sealed(&observed.pods.items, &main_container(&observed.backup)) {
        return finish::complete(observed, result);
    }
    if !observed.job.live {
        return Verdict::Read(Read::Job);
    }
    let failures = failed(observed, |_| true);
    if failures.is_empty() && !observed.pods.live {
        return Verdict::Read(Read::Pods);
    }
    let last = failures.iter().find(|failure| failure.permanent).or(failures.last());
    let (kind, detail) = match (reason, last) {
        // Kubernetes' own word, of a Job.
        ("DeadlineExceeded", _) => (Reason::DeadlineExceeded, message),
        (_, Some(failure)) => (failure.reason, failure.message.as_str()),
        (_, None) => (Reason::BackupJobFailed, message),
    };
    let text = failed_text(&work.job_name, Some(detail).filter(|detail| !detail.is_empty()));
    if observed.pods.items.iter().any(|pod| may_run(pod, now)) {
        // Kubernetes ends the pods of a failed Job; a Job that keeps one is removed with it.
        let failed_at = finished_at(job).unwrap_or(now);
        if now.duration_since(failed_at) > LOST {
            return Verdict::Stop(kind, text);
        }
        return Verdict::Rest(Some(LOOK_AGAIN));
    }
    Verdict::Fail(kind, text)
}
