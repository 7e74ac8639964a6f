//! What keeps a run from getting on, told in the cluster's own words.

use holdfast_api::condition::Reason;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Node, Pod},
};
use kube::ResourceExt as _;

use super::children::{LOOK_AGAIN, is_ours, newest};
use super::observed::{Observed, Pods, Read};
use super::verdict::Verdict;
use crate::decision::Seen;
use crate::pod::{
    self, JobState, Trouble, are_told_by_events, is_over, is_silent, job_state, node_of, not_ready, words,
};

/// What events are read about, and where a pod is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Troubled {
    /// The uids of a Job without a pod, of a pod that does not start, of a claim without a volume.
    pub uids: Vec<String>,
    /// The node of that pod, or the one that a pod without a node has to run on.
    pub node: Option<String>,
}

/// What to read events about when a run does not get on.
pub fn in_trouble(observed: &Observed) -> Troubled {
    let planned = || observed.plan().map(|plan| plan.source.node_name.clone());
    let run = at_work(observed, &observed.job, &observed.pods);
    let run = run.map(|(uid, node, placed)| (uid, node.or_else(|| planned().filter(|_| !placed))));
    let report = || at_work(observed, &observed.report, &observed.report_pods).map(|(uid, node, _)| (uid, node));
    let (uid, node) = run.or_else(report).unwrap_or_default();
    let volume = |claim: &k8s_openapi::api::core::v1::PersistentVolumeClaim| super::finish::volume_name(claim);
    let claim = observed.claim.get().filter(|claim| volume(claim).is_none());
    let claim = claim.and_then(|claim| claim.metadata.uid.clone());
    Troubled {
        uids: uid.into_iter().chain(claim).collect(),
        node,
    }
}

/// Of a Job that runs: the uid of its pod, if that has a node, or its own if there is no pod; the node; and whether
/// there is no pod without one.
fn at_work(observed: &Observed, job: &Seen<Job>, pods: &Pods) -> Option<(Option<String>, Option<String>, bool)> {
    let job = job
        .get()
        .filter(|job| is_ours(job, &observed.backup) && job_state(job) == JobState::Running)?;
    let pod = newest(&pods.items, |pod| !is_over(pod));
    let node = pod.and_then(node_of).map(str::to_owned);
    let placed = pod.is_none() || node.is_some();
    let uid = pod.map_or(&job.metadata.uid, |pod| &pod.metadata.uid);
    Some((uid.clone().filter(|_| placed), node, placed))
}

/// Tells of a running pod whose node is not Ready, for as long as that lasts: it may go on there, and has until its
/// deadline. None where the pod or its node is not lost.
pub(super) fn lost(observed: &Observed, pod: &Pod, now: Timestamp) -> Option<Verdict> {
    if !is_silent(pod, now) {
        return None;
    }
    if observed.events.is_none() {
        return Some(Verdict::Read(Read::Events));
    }
    let why = pod::lost(pod, observed.node.as_deref(), now)?;
    let message = format!("pod `{}` runs on a lost node: {why}", pod.name_any());
    Some(Verdict::Quote(Reason::NodeNotReady, message, LOOK_AGAIN * 6))
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
    if let Some(why) = observed
        .node
        .as_deref()
        .filter(|node| is_bound_to(observed, node))
        .and_then(not_ready)
    {
        let message = format!("{why}; {}", trouble.message);
        let reason = Reason::NodeNotReady;
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
    let node = observed.node.as_deref().filter(|node| is_bound_to(observed, node))?;
    let closed = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    node.metadata.name.as_deref().filter(|_| closed)
}

/// Whether this is the node that the pod that does not get on is on, or has to be.
fn is_bound_to(observed: &Observed, node: &Node) -> bool {
    node.metadata.name.is_some() && node.metadata.name == in_trouble(observed).node
}

/// When a pod or Job was made.
pub(super) fn created<K: kube::Resource>(object: &K, now: Timestamp) -> Timestamp {
    object.meta().creation_timestamp.as_ref().map_or(now, |time| time.0)
}

/// The trouble of a pod that is not over, or of a Job without one.
pub(super) fn trouble_of(job: &Job, pod: Option<&Pod>, now: Timestamp) -> Option<Trouble> {
    pod.map_or_else(|| crate::pod::podless(job, now), |pod| crate::pod::trouble(pod, now))
}
