//! A restore whose pods do not start is taken back: its Job is suspended, so that no new pod comes, and once each pod is
//! known never to have started the workload comes back as it was.

use holdfast_api::{RestorePlan, Stop, condition::Reason};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;
use serde_json::json;

use super::observed::{Observed, Write};
use super::start::{self, Start};
use super::undo::{dirty, give_up, is_late};
use super::verdict::Verdict;
use crate::decision::{Kind, Target};
use crate::pod::{Trouble, is_suspended, node_of};

/// Why the restore Job is being taken back, if it is.
pub(super) fn why(plan: &RestorePlan) -> Option<&Stop> {
    plan.writing.as_ref()?.withdrawn.as_ref()
}

/// Whether every pod that its Jobs ever had is still there.
pub(super) fn keeps(plan: &RestorePlan) -> bool {
    plan.writing.as_ref().is_some_and(|writing| writing.pods_kept)
}

/// Whether nothing may have been written: no container has started, and none could start and go unseen.
pub(super) fn may_be(observed: &Observed, plan: &RestorePlan) -> bool {
    keeps(plan) && observed.write_pods.iter().all(|pod| start::of(pod) != Start::Seen)
}

/// Whether nothing was written, whatever happens from now on: each pod has left its word that it never started.
pub(super) fn never_began(observed: &Observed, plan: &RestorePlan) -> bool {
    may_be(observed, plan) && observed.write_pods.iter().all(|pod| start::of(pod) == Start::Never)
}

/// Begins it, once what keeps the pods from starting has lasted for as long as anything is waited for.
pub(super) fn begin(
    observed: &Observed,
    plan: &RestorePlan,
    job: &Job,
    trouble: &Trouble,
    now: Timestamp,
) -> Option<Verdict> {
    let since = job.metadata.creation_timestamp.as_ref()?.0;
    let late = now.duration_since(since) >= observed.settings.not_ready_timeout;
    (late && may_be(observed, plan)).then(|| note(plan, trouble.reason, &trouble.message, now))
}

/// Remembers that the Job is being taken back.
pub(super) fn note(plan: &RestorePlan, reason: Reason, text: &str, now: Timestamp) -> Verdict {
    Verdict::note(plan, |plan| {
        if let Some(writing) = plan.writing.as_mut() {
            writing.withdrawn = Some(Stop::new(reason, text, now));
        }
    })
}

/// Goes on with it: as soon as no pod can start any more, the restore is given up, or half written after all.
pub(super) fn judge(observed: &Observed, plan: &RestorePlan, job: Option<&Job>, why: &Stop, now: Timestamp) -> Verdict {
    let reason = why.reason_or(Reason::PodPending);
    if let Some(verdict) = job.and_then(quiet) {
        return verdict;
    }
    if let Some(pod) = observed.write_pods.iter().find(|pod| !start::ended(pod)) {
        let text = format!(
            "{}: the restore is taken back, waiting for word from node {} that pod {} has ended",
            why.text,
            node_of(pod).unwrap_or("(none)"),
            pod.name_any()
        );
        return if is_late(plan, now) {
            dirty(plan, &text)
        } else {
            Verdict::Wait(reason, text)
        };
    }
    if never_began(observed, plan) {
        return give_up(plan, reason, &why.text, now);
    }
    dirty(plan, &format!("{}: {}", reason.as_str(), why.text))
}

/// Suspends the Job and waits until its controller has taken that in: until then it may make another pod. None for one
/// that makes none any more.
pub(super) fn quiet(job: &Job) -> Option<Verdict> {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let told = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Suspended" && condition.status == "True");
    let wait = |what: &str| {
        let text = format!(
            "waiting for the Job controller to take in that job \"{}\" is {what}",
            job.name_any()
        );
        Some(Verdict::Wait(Reason::JobSuspended, text))
    };
    match (is_suspended(job), told) {
        // It was let go, and what is told is older than that.
        (false, true) => wait("not suspended"),
        (false, false) => {
            let change = json!({"spec": {"suspend": true}});
            Some(Verdict::write(Write::Patch(Target::exactly(Kind::Job, job), change)))
        }
        (true, false) => wait("suspended"),
        (true, true) => None,
    }
}
