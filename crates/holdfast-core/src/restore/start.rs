//! Whether a container of a restore pod has started: nothing is written as long as none has.
//!
//! Kubelet alone knows, and its last word would go with the pod. A finalizer keeps the pods until the restore ends.

use holdfast_api::names::RESTORE_POD_FINALIZER;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};
use serde_json::{Value, json};

use super::jobs;
use super::observed::{Observed, Write};
use super::verdict::Verdict;
use crate::decision::{Kind, Target, without_finalizer};
use crate::pod::{is_over, node_of};

/// What is known of a pod's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// It has started.
    Seen,
    /// It has not, and never will.
    Never,
    /// It may, or may have.
    Unknown,
}

/// What kubelet says of a container that it could not find when the pod ended.
const NOT_FOUND: &str = "ContainerStatusUnknown";
/// What it says of containers that the runtime could not start.
const NOT_STARTED: [&str; 2] = ["StartError", "ContainerCannotRun"];

/// What is known of the container of a restore pod.
pub(super) fn of(pod: &Pod) -> Start {
    let status = main(pod);
    if status.is_some_and(started) {
        return Start::Seen;
    }
    if node_of(pod).is_none() {
        // One that is deleted is given no node any more.
        let ends = pod.metadata.deletion_timestamp.is_some() || is_over(pod);
        return if ends { Start::Never } else { Start::Unknown };
    }
    if is_over(pod) && !of_lost_node(pod) {
        Start::Never
    } else {
        Start::Unknown
    }
}

fn main(pod: &Pod) -> Option<&ContainerStatus> {
    let all = pod.status.as_ref()?.container_statuses.iter().flatten();
    all.into_iter().find(|status| status.name == jobs::CONTAINER)
}

fn started(status: &ContainerStatus) -> bool {
    let ran = |ended: &ContainerStateTerminated| {
        let why = ended.reason.as_deref().unwrap_or_default();
        // One that it has lost had an id.
        !(NOT_STARTED.contains(&why) || (why == NOT_FOUND && !known(status, ended)))
    };
    let both: Vec<&ContainerState> = status.state.iter().chain(&status.last_state).collect();
    status.restart_count > 0
        || both.iter().any(|state| state.running.is_some())
        || both.iter().any(|state| state.terminated.as_ref().is_some_and(ran))
}

fn known(status: &ContainerStatus, ended: &ContainerStateTerminated) -> bool {
    let ids = [&status.container_id, &ended.container_id];
    ids.into_iter().flatten().any(|id| !id.is_empty())
}

/// Whether the control plane itself has called the pod failed, because its node is gone: kubelet's word is missing.
fn of_lost_node(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| {
        condition.type_ == "DisruptionTarget"
            && condition.status == "True"
            && condition.reason.as_deref() == Some("DeletionByPodGC")
    })
}

/// Whether the pod writes nothing any more.
pub(super) fn ended(pod: &Pod) -> bool {
    is_over(pod) || of(pod) == Start::Never
}

fn release(pod: &Pod) -> Option<Verdict> {
    release_pod(pod).map(|(target, change)| Verdict::write(Write::Patch(target, change)))
}

/// The change that lets a restore pod go when it will: nobody needs what it says any more. None for one
/// that nothing of ours keeps.
pub fn release_pod(pod: &Pod) -> Option<(Target, Value)> {
    let metadata = without_finalizer(&pod.metadata, RESTORE_POD_FINALIZER)?;
    Some((Target::exactly(Kind::Pod, pod), json!({ "metadata": metadata })))
}

/// What lets the first of a restore's pods go that is still kept.
pub(super) fn release_all(observed: &Observed) -> Option<Verdict> {
    observed.write_pods.iter().find_map(release)
}
