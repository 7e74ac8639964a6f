//! While a restore holds the workload nobody else runs it: a person, a pipeline or an autoscaler that scales it up meets this.

use holdfast_api::{RestorePlan, condition::Reason};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;

use super::observed::{LockHolder, Observed, Write};
use super::undo::{delete, dirty, is_ours};
use super::verdict::Verdict;
use super::workload::Workload;
use super::{jobs, start, withdraw, writers};
use crate::decision::Event;
use crate::pod::{JobState, is_over, job_state};

/// What comes before anything else while the workload is held: that nobody else has started it.
pub(super) fn judge(observed: &Observed, plan: &RestorePlan, workload: &Workload, now: Timestamp) -> Option<Verdict> {
    let noticed = plan
        .writing
        .as_ref()
        .and_then(|writing| writing.second_writer.as_deref());
    if noticed.is_none()
        && let Some(who) = second_writer(observed, plan, workload)
    {
        match (withdraw::may_be(observed, plan), withdraw::why(plan).is_some()) {
            // It ends anyway, and is known to have had two writers if a container of it has started after all.
            (true, true) => {}
            (true, false) => return Some(withdraw::note(plan, Reason::TargetInUse, &who, now)),
            (false, _) => return Some(note(plan, workload, who)),
        }
    }
    if observed.holder == LockHolder::Ours && workload.replicas != 0 {
        return keep_down(observed, workload);
    }
    noticed.map(|who| end(observed, plan, who))
}

/// Who else may write the volumes while the restore does, if anybody.
fn second_writer(observed: &Observed, plan: &RestorePlan, workload: &Workload) -> Option<String> {
    plan.writing.as_ref()?;
    let ours = |job: &&Job| is_ours(job, &observed.restore) && !jobs::waits(job);
    let job = observed.write.as_ref().filter(ours);
    let runs = job.is_some_and(|job| job_state(job) == JobState::Running)
        || observed.write_pods.iter().any(|pod| !start::ended(pod));
    match observed.holder {
        LockHolder::Ours => {
            let own = observed.pods.iter().find(|pod| !is_over(pod));
            let own = own.map(|pod| format!("pod {} of {} ran meanwhile", pod.name_any(), workload.title()));
            let other = || {
                let pod = writers::stranger(observed)?;
                Some(format!("pod {} mounted a target claim meanwhile", pod.name_any()))
            };
            (runs || job.is_some()).then(|| own.or_else(other)).flatten()
        }
        _ => runs.then(|| format!("the hold on {} was taken away meanwhile", workload.title())),
    }
}

fn note(plan: &RestorePlan, workload: &Workload, who: String) -> Verdict {
    let text = format!("the volumes of {} have two writers: {who}", workload.title());
    let mut plan = Box::new(plan.clone());
    if let Some(writing) = plan.writing.as_mut() {
        writing.second_writer = Some(who);
    }
    Verdict::Note(plan, Some(Event::warning(Reason::TargetDirty, text)))
}

/// Back to zero, with the lock as it is.
fn keep_down(observed: &Observed, workload: &Workload) -> Option<Verdict> {
    let lock = workload.suspend_lock()?;
    let replicas = workload.replicas;
    let title = workload.title();
    if let Some(why) = &observed.scale_refused {
        let text = format!("{title} was scaled to {replicas} meanwhile, and the API server refuses to stop it: {why}");
        return Some(Verdict::Wait(Reason::ScaleRefused, text));
    }
    let text = format!("{title} was scaled to {replicas} while it is held for a restore: it goes back to 0");
    Some(Verdict::Write(
        Write::Patch(workload.target(), Workload::suspend(&lock)),
        Some(Event::warning(Reason::ScalingDown, text)),
    ))
}

/// Ends a restore that was not the only writer: what its tool still does is of no use.
fn end(observed: &Observed, plan: &RestorePlan, who: &str) -> Verdict {
    let job = observed.write.as_ref().filter(|job| is_ours(job, &observed.restore));
    match job {
        Some(job) if job_state(job) == JobState::Running && job.metadata.deletion_timestamp.is_none() => delete(job),
        _ if observed.write_pods.iter().any(|pod| !start::ended(pod)) => {
            let text = format!("{who}: waiting for the restore's own pod to end");
            Verdict::Wait(Reason::TargetDirty, text)
        }
        _ => dirty(plan, who),
    }
}
