//! The verify Job: every byte of the backup is read before anything is touched.

use holdfast_api::{RestorePlan, RestoreWork, condition::Reason, names::ANNOTATION_DAMAGED};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;
use serde_json::json;

use super::observed::{Observed, Write};
use super::undo::{give_up, is_ours, name_taken, newest_failure, untouched};
use super::verdict::Verdict;
use super::{jobs, tool, workload::Workload};
use crate::decision::{Child, Event, Kind, Target};
use crate::pod::{JobState, Trouble, job_state};

/// `None` once the Job has found everything right.
pub(super) fn judge(
    observed: &Observed,
    (plan, work): (&RestorePlan, &RestoreWork),
    workload: &Workload,
    now: Timestamp,
) -> Option<Verdict> {
    let restore = &observed.restore;
    let Some(job) = &observed.verify else {
        return Some(create(observed, plan, work, now));
    };
    if !is_ours(job, restore) {
        return Some(name_taken(observed, plan, Some(workload), job, now));
    }
    match job_state(job) {
        JobState::Running => Some(running(observed, plan, job, now)),
        // Exit 0 is said only after every byte was found right.
        JobState::Complete => None,
        JobState::Failed { message, .. } => {
            let told = newest_failure(&observed.verify_pods);
            if let Some(mark) = told.as_ref().and_then(|(reason, _)| damaged(observed, work, *reason)) {
                return Some(mark);
            }
            let (reason, text) = told.unwrap_or((Reason::SealInvalid, message));
            let text = not_restored(work, &text);
            Some(untouched(observed, Some(workload), reason, text))
        }
    }
}

/// A copy that is not what was sealed bears that on itself, so that nothing takes it for a good one; the agent's own word
/// alone counts.
fn damaged(observed: &Observed, work: &RestoreWork, reason: Reason) -> Option<Verdict> {
    let damage = matches!(reason, Reason::DigestMismatch | Reason::SealInvalid);
    let backup = observed.backup.as_ref().filter(|_| damage)?;
    let known = backup.annotations().contains_key(ANNOTATION_DAMAGED);
    if known || backup.metadata.uid.as_ref() != Some(&work.backup.uid) {
        return None;
    }
    let found = format!(
        "{} when RestoreJob {} checked it",
        reason.as_str(),
        observed.restore.name_any()
    );
    let note = format!("Backup {} is marked as damaged: {found}", work.backup.name);
    let mark = json!({"metadata": {"annotations": {ANNOTATION_DAMAGED: found}}});
    Some(Verdict::Write(
        Write::Patch(Target::exactly(Kind::Backup, backup), mark),
        Some(Event::warning(reason, note)),
    ))
}

/// What is said when the check ends the restore.
pub(super) fn not_restored(work: &RestoreWork, why: &str) -> String {
    format!("backup {} was not restored: {why}", work.backup.name)
}

fn create(observed: &Observed, plan: &RestorePlan, work: &RestoreWork, now: Timestamp) -> Verdict {
    let tool = match tool::current(observed, plan, work) {
        Ok(tool) => tool,
        Err(verdict) => return *verdict,
    };
    match jobs::verify_job(observed, plan, work, tool, now) {
        Ok(job) => Verdict::write(Write::Create(Child::from(job))),
        Err((reason, text)) => Verdict::Fail(reason, text),
    }
}

/// What keeps the pod from starting is said, and ends the wait after a while.
fn running(observed: &Observed, plan: &RestorePlan, job: &Job, now: Timestamp) -> Verdict {
    let Some(Trouble { reason, message }) = observed.trouble(job, &observed.verify_pods, now) else {
        return Verdict::Wait(Reason::Verifying, "reading every byte of the backup".to_owned());
    };
    let since = job.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    // A node that is lost for a while loses no check that has begun.
    let lost = reason == Reason::NodeNotReady;
    if lost || now.duration_since(since) < observed.settings.not_ready_timeout {
        return Verdict::Wait(reason, message);
    }
    // Said before the Job goes, or it would be made anew.
    give_up(plan, reason, &message, now)
}
