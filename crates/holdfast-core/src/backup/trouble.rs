//! What keeps a run from getting on, told in the cluster's own words.

use holdfast_api::condition::Reason;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};

use super::children::{LOOK_AGAIN, is_ours, newest};
use super::observed::{Observed, Pods, Read};
use super::verdict::Verdict;
use crate::decision::Seen;
use crate::pod::{JobState, Trouble, are_told_by_events, is_over, job_state, words};

/// What events are read about, and where a pod is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Troubled {
    /// The uids of a Job without a pod, of a pod that does not start, of a claim without a volume.
    pub uids: Vec<String>,
    /// The node that a pod without one has to run on.
    pub node: Option<String>,
}

/// What to read events about when a run does not get on.
pub fn in_trouble(observed: &Observed) -> Troubled {
    let at_work = |job: &&Job| is_ours(job, &observed.backup) && job_state(job) == JobState::Running;
    let find = |job: &Seen<Job>, pods: &Pods| {
        let job = job.get().filter(at_work)?;
        let pod = newest(&pods.items, |pod| !is_over(pod));
        let placed = pod.is_none_or(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()));
        let uid = pod.map_or(&job.metadata.uid, |pod| &pod.metadata.uid);
        Some((uid.clone().filter(|_| placed), placed))
    };
    let found = find(&observed.job, &observed.pods);
    let bound = found.as_ref().is_some_and(|(_, placed)| !placed);
    let found = found.or_else(|| find(&observed.report, &observed.report_pods));
    let volume = |claim: &k8s_openapi::api::core::v1::PersistentVolumeClaim| super::finish::volume_name(claim);
    let claim = observed.claim.get().filter(|claim| volume(claim).is_none());
    let uids = found.and_then(|(uid, _)| uid).into_iter();
    Troubled {
        uids: uids.chain(claim.and_then(|claim| claim.metadata.uid.clone())).collect(),
        node: observed
            .plan()
            .filter(|_| bound)
            .map(|plan| plan.source.node_name.clone()),
    }
}

/// Tells of a trouble until it has lasted too long, then stops the run with it. A cordoned node is waited for as long as
/// the run may take: nobody shall start there.
pub(super) fn hold_out(observed: &Observed, trouble: Trouble, since: Timestamp, now: Timestamp) -> Verdict {
    let left = observed.settings.not_ready_timeout - now.duration_since(since);
    let over = left <= SignedDuration::ZERO;
    let again = left.min(LOOK_AGAIN * 6);
    match explained(observed, trouble, over) {
        Told::Before => Verdict::Rest(Some(again)),
        Told::Unread => Verdict::Read(Read::Events),
        Told::Now(trouble, _) if trouble.reason == Reason::NodeCordoned => {
            Verdict::Quote(trouble.reason, trouble.message, LOOK_AGAIN * 6)
        }
        Told::Now(trouble, _) if over => Verdict::Stop(trouble.reason, trouble.message),
        Told::Now(trouble, true) => Verdict::Quote(trouble.reason, trouble.message, again),
        Told::Now(trouble, false) => Verdict::Wait(trouble.reason, trouble.message, again.min(LOOK_AGAIN * 3)),
    }
}

/// Tells of a trouble for as long as it lasts.
pub(super) fn tell(observed: &Observed, trouble: Trouble) -> Verdict {
    match explained(observed, trouble, false) {
        Told::Before => Verdict::Rest(Some(LOOK_AGAIN * 6)),
        Told::Unread => Verdict::Read(Read::Events),
        Told::Now(trouble, true) => Verdict::Quote(trouble.reason, trouble.message, LOOK_AGAIN * 6),
        Told::Now(trouble, false) => Verdict::Wait(trouble.reason, trouble.message, LOOK_AGAIN * 3),
    }
}

enum Told {
    /// The status says it already.
    Before,
    /// The events have to be read first.
    Unread,
    /// This is to be told; whether it holds the cluster's own words.
    Now(Trouble, bool),
}

/// Adds what events say, where they say more than the pod does. They are read until they say something, and once more
/// for the last word.
fn explained(observed: &Observed, trouble: Trouble, last: bool) -> Told {
    if !are_told_by_events(trouble.reason) {
        return Told::Now(trouble, false);
    }
    if !last && observed.is_told(trouble.reason) {
        return Told::Before;
    }
    let Some(events) = observed.events.as_deref() else {
        return Told::Unread;
    };
    if trouble.reason == Reason::Unschedulable
        && let Some(node) = cordoned(observed)
    {
        let message = format!("node {node} is cordoned; {}", trouble.message);
        let reason = Reason::NodeCordoned;
        return Told::Now(Trouble { reason, message }, true);
    }
    match words(events) {
        Some(words) => {
            let message = format!("{}: {words}", trouble.message);
            Told::Now(Trouble { message, ..trouble }, true)
        }
        None => Told::Now(trouble, false),
    }
}

/// The node that the run is bound to, if it takes no new pods.
fn cordoned(observed: &Observed) -> Option<&str> {
    let bound = observed.plan()?.source.node_name.as_str();
    let node = observed.node.as_ref()?;
    let is_it = node.metadata.name.as_deref() == Some(bound);
    let closed = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    (is_it && closed).then_some(bound)
}

/// When a pod or Job was made.
pub(super) fn created<K: kube::Resource>(object: &K, now: Timestamp) -> Timestamp {
    object.meta().creation_timestamp.as_ref().map_or(now, |time| time.0)
}

/// The trouble of a pod that is not over, or of a Job without one.
pub(super) fn trouble_of(job: &Job, pod: Option<&Pod>, now: Timestamp) -> Option<Trouble> {
    pod.map_or_else(|| crate::pod::podless(job, now), |pod| crate::pod::trouble(pod, now))
}
