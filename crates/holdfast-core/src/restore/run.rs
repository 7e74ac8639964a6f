//! From the plan to the restore Job: check, suspend, wait for the pods to go, write.

use holdfast_api::{RestorePlan, RestoreWork, Stop, Writing, condition::Reason, suspend_lock::SuspendLock};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::observed::{LockHolder, Observed, Write};
use super::undo::{delete, dirty, give_up, is_first, is_late, is_ours, is_touched, name_taken, untouched};
use super::verdict::Verdict;
use super::workload::Workload;
use super::writers::{self, Intruder};
use super::{after_write, hold, jobs, start, targets, tool, verify, withdraw};
use crate::decision::{Child, Event};
use crate::pod::{JobState, is_over, job_state, repository_volume_of};

/// For how long after [`RestorePlan::writing`] was set the Job can only be the first one.
const FIRST: SignedDuration = SignedDuration::from_secs(2);

/// Judges a restore that has started.
pub(super) fn judge(observed: &Observed, now: Timestamp) -> Verdict {
    let restore = &observed.restore;
    let Some(plan) = observed.plan() else {
        let text = "in progress, but without a plan: started by something other than Holdfast";
        return Verdict::Fail(Reason::Unsupported, text.to_owned());
    };
    // Whoever knows these steps, and the access to what they read, goes on with them; nobody guesses.
    let known = plan.job();
    let work = match known.and_then(|work| work.location.access.claim().map(|_| work)) {
        Ok(work) => work,
        Err(error) => return Verdict::Wait(error.reason(), error.to_string()),
    };
    let workload = observed.planned_workload();
    if let Some(stop) = &plan.stop {
        return given_up(observed, work, workload, stop);
    }
    if let Some(verdict) = workload.and_then(|workload| hold::judge(observed, plan, workload, now)) {
        return verdict;
    }
    match (&observed.write, workload) {
        (Some(job), _) if !is_ours(job, restore) => name_taken(observed, plan, workload, job, now),
        (Some(job), Some(workload)) if waits(plan, job) => release(observed, plan, workload, job, now),
        (Some(job), workload) => after_write::judge(observed, (plan, work), workload, job, now),
        (None, None) => {
            let title = plan.workload.clone().unwrap_or_default().title();
            Verdict::Fail(Reason::WorkloadNotFound, format!("{title} is gone"))
        }
        (None, Some(workload)) => prepare(observed, (plan, work), workload, now),
    }
}

/// Before the restore Job exists: check, suspend, wait for the pods to go.
fn prepare(
    observed: &Observed,
    (plan, work): (&RestorePlan, &RestoreWork),
    workload: &Workload,
    now: Timestamp,
) -> Verdict {
    if is_late(plan, now) {
        let text = "the restore did not get to the volumes in time";
        if is_touched(plan) {
            return dirty(plan, text);
        }
        return untouched(observed, Some(workload), Reason::DeadlineExceeded, text.to_owned());
    }
    if let Some(refused) = &observed.refused {
        let text = format!("the API server refuses the job: {refused}");
        return match (is_touched(plan), is_first(plan)) {
            (true, false) => Verdict::Wait(Reason::InvalidPolicy, text),
            (true, true) => give_up(plan, Reason::InvalidPolicy, &text, now),
            (false, _) => untouched(observed, Some(workload), Reason::InvalidPolicy, text),
        };
    }
    if is_touched(plan) {
        // The Job was created before, or is about to be: it writes the volumes anew from the start.
        return write(observed, (plan, work), workload, now);
    }
    let uses = repository_volume_of(&work.location).unwrap_or_default();
    let volumes = &observed.restore.spec.target_volumes;
    if volumes.iter().any(|volume| volume.name == uses) {
        let text = format!("targetVolumes uses the name {uses}, which the repository's volume has");
        return untouched(observed, Some(workload), Reason::InvalidPolicy, text);
    }
    if let Some(verdict) = verify::judge(observed, (plan, work), workload, now) {
        return verdict;
    }
    match &observed.holder {
        LockHolder::Ours => {}
        LockHolder::AtWork(other) => {
            let text = format!("{} is held by RestoreJob {other}", workload.title());
            return Verdict::Wait(Reason::WorkloadHeld, text);
        }
        LockHolder::Nobody | LockHolder::Over => {
            return match writers::intruder(observed) {
                Some(intruder) if intruder.ends => wait_for(intruder),
                Some(intruder) => {
                    let (reason, text) = intruder.problem();
                    untouched(observed, Some(workload), reason, text)
                }
                None => match targets::refused(observed, workload) {
                    Some((reason, text)) => untouched(observed, Some(workload), reason, text),
                    None => suspend(observed, plan, work, workload, now),
                },
            };
        }
    }
    if let Some(verdict) = stopping(observed, workload) {
        return verdict;
    }
    if let Some(intruder) = writers::intruder(observed) {
        return in_use(observed, plan, workload, intruder, now);
    }
    let text = format!("restoring {} onto {}", work.backup.name, workload.title());
    let mut plan = Box::new(plan.clone());
    plan.writing = Some(Writing::first(now));
    Verdict::Note(plan, Some(Event::normal(Reason::Restoring, text)))
}

/// A restore that was given up before a byte was written: the check's Job goes, if it has not ended, then the workload comes
/// back. The Job that was to write stays as it is, suspended: a late request that wants to make it finds its name taken.
fn given_up(observed: &Observed, work: &RestoreWork, workload: Option<&Workload>, stop: &Stop) -> Verdict {
    let reason = stop.reason_or(Reason::PodPending);
    let waits = |job: &&Job| is_ours(job, &observed.restore) && job_state(job) == JobState::Running;
    if let Some(job) = observed.verify.as_ref().filter(waits) {
        return if job.metadata.deletion_timestamp.is_some() {
            Verdict::Wait(reason, format!("waiting for job \"{}\" to go", job.name_any()))
        } else {
            delete(job)
        };
    }
    let text = verify::not_restored(work, &stop.text);
    untouched(observed, workload, reason, text)
}

/// A Backup at work on a target ends by itself.
fn wait_for(intruder: Intruder<'_>) -> Verdict {
    let (reason, text) = intruder.problem();
    Verdict::Wait(reason, text)
}

/// Somebody else mounts a target, the workload is down, and nothing is written yet. A Backup at work is waited for, no
/// longer than anything that is not ready; anybody else ends the restore.
fn in_use(
    observed: &Observed,
    plan: &RestorePlan,
    workload: &Workload,
    intruder: Intruder<'_>,
    now: Timestamp,
) -> Verdict {
    let since = workload.suspend_lock().map_or(now, |lock| lock.since.0);
    let late = now.duration_since(since) >= observed.settings.not_ready_timeout;
    if intruder.ends && !late {
        return wait_for(intruder);
    }
    let (reason, text) = intruder.problem();
    give_up(plan, reason, &text, now)
}

/// Waits for the workload's pods to be gone.
fn stopping(observed: &Observed, workload: &Workload) -> Option<Verdict> {
    let left = observed.pods.iter().filter(|pod| !is_over(pod)).count();
    (left > 0 || workload.replicas != 0 || !workload.observed).then(|| {
        let text = format!("waiting for {left} pods of {} to end", workload.title());
        Verdict::Wait(Reason::ScalingDown, text)
    })
}

/// What is in the way of the first byte, if anything is: the workload, somebody else, or a pod of an earlier attempt.
fn not_alone(observed: &Observed, plan: &RestorePlan, workload: &Workload) -> Option<Verdict> {
    if observed.holder != LockHolder::Ours {
        return Some(dirty(plan, "its hold on the workload was taken away"));
    }
    if observed.write_pods.iter().any(|pod| !start::ended(pod)) {
        let text = "waiting for the pod of an earlier attempt to end";
        return Some(Verdict::Wait(Reason::Restoring, text.to_owned()));
    }
    stopping(observed, workload).or_else(|| writers::intruder(observed).map(wait_for))
}

/// Whether the restore Job is still to be let go.
fn waits(plan: &RestorePlan, job: &Job) -> bool {
    withdraw::why(plan).is_none() && jobs::waits(job) && job_state(job) == JobState::Running
}

/// Lets the restore Job go that was made, under the same conditions. Nothing of it has run, whatever else has become.
fn release(observed: &Observed, plan: &RestorePlan, workload: &Workload, job: &Job, now: Timestamp) -> Verdict {
    let untouched = withdraw::never_began(observed, plan);
    if untouched && observed.holder != LockHolder::Ours {
        let text = format!("the hold on {} was taken away", workload.title());
        return give_up(plan, Reason::WorkloadHeld, &text, now);
    }
    if untouched && is_late(plan, now) {
        let text = "the restore did not get to the volumes in time";
        return give_up(plan, Reason::DeadlineExceeded, text, now);
    }
    not_alone(observed, plan, workload).unwrap_or_else(|| Verdict::write(jobs::release(job)))
}

/// Creates the restore Job, as long as the workload is suspended by this restore and stopped.
fn write(
    observed: &Observed,
    (plan, work): (&RestorePlan, &RestoreWork),
    workload: &Workload,
    now: Timestamp,
) -> Verdict {
    if let Some(why) = withdraw::why(plan) {
        return withdraw::judge(observed, plan, None, why, now);
    }
    if let Some(verdict) = not_alone(observed, plan, workload) {
        return verdict;
    }
    let since = plan.writing.as_ref().map_or(now, |writing| writing.since.0);
    if is_first(plan) && now.duration_since(since) > FIRST {
        // The restore Job is gone, and may have written: the next one begins anew.
        return Verdict::note(plan, |plan| {
            if let Some(writing) = plan.writing.as_mut() {
                (writing.attempt, writing.since) = (2, Time(now));
            }
        });
    }
    let tool = match tool::current(observed, plan, work) {
        Ok(tool) => tool,
        Err(verdict) => return *verdict,
    };
    match jobs::restore_job(observed, plan, work, tool, now) {
        Ok(job) => Verdict::write(Write::Create(Child::from(job))),
        Err((reason, text)) => Verdict::Wait(reason, text),
    }
}

fn suspend(
    observed: &Observed,
    plan: &RestorePlan,
    work: &RestoreWork,
    workload: &Workload,
    now: Timestamp,
) -> Verdict {
    let restore = &observed.restore;
    if let Some(why) = &observed.scale_refused {
        let text = format!("the API server refuses to stop {}: {why}", workload.title());
        return untouched(observed, Some(workload), Reason::ScaleRefused, text);
    }
    let earlier = workload.suspend_lock();
    let planned = plan.workload.as_ref().map_or(1, |planned| planned.replicas);
    // The mark of an earlier lock, or what a person has set since the plan, is the truth about the count; without
    // a mark 0 says no more than that somebody took the mark away.
    let replicas = match (&earlier, workload.replicas) {
        (Some(lock), _) => lock.replicas,
        (None, 0) => planned,
        (None, replicas) => replicas,
    };
    let uid = restore.uid().unwrap_or_default();
    let lock = SuspendLock {
        takes_over: earlier
            .as_ref()
            .map(|lock| lock.predecessors_of(&uid))
            .unwrap_or_default(),
        uid,
        name: restore.name_any(),
        replicas,
        since: Time(now),
        dirty: earlier.is_some(),
    };
    let note = format!(
        "{} is stopped for the restore of {}; it had {replicas} replicas",
        workload.title(),
        work.backup.name
    );
    Verdict::Write(
        Write::Patch(workload.target(), Workload::suspend(&lock)),
        Some(Event::normal(Reason::ScalingDown, note)),
    )
}
