//! What an agent left as its result, and how a pod of ours failed.

use std::fmt::Write as _;

use holdfast_api::agent::{AgentResult, Outcome};
use holdfast_api::condition::Reason;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

use super::state::{condition, cut, is_over, phase};

/// Who removes a pod with this finalizer counts it: the Job controller's own word.
const COUNTED: &str = "batch.kubernetes.io/job-tracking";

/// How a pod's container ended badly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The agent's reason, or [`Reason::ToolFailed`].
    pub reason: Reason,
    /// What is known about it.
    pub message: String,
    /// Whether the agent said that trying again is no use.
    pub permanent: bool,
}

/// What the agent in that container left as its result, if the container has ended and the result is readable. The pod
/// may go on: others may have put containers into it that never end.
///
/// Success is believed only with exit code 0: a tool can write into the termination message too, and an agent that was
/// killed after its word may have left more undone than it knew.
pub fn agent_result(pod: &Pod, container: &str) -> Option<AgentResult> {
    let end = terminated(pod, container)?;
    let result = AgentResult::decode(end.message.as_deref()?).ok()?;
    (result.outcome == Outcome::Failed || end.exit_code == 0).then_some(result)
}

/// How a pod failed, if it did: by the agent's own word, else by what kubelet says.
pub fn failure(pod: &Pod, container: &str) -> Option<Failure> {
    (phase(pod) == "Failed").then(|| told(pod, container)).flatten()
}

/// How the agent's container failed in a pod that goes on, because a container of somebody else in it never ends: its
/// Job will hear of no end.
pub fn failure_beside(pod: &Pod, container: &str) -> Option<Failure> {
    let end = terminated(pod, container).filter(|end| end.exit_code != 0)?;
    let other = going_on(pod, container)?;
    let mut failure = told(pod, container).unwrap_or_else(|| Failure {
        reason: Reason::ToolFailed,
        message: format!("container `{container}` exited with code {}", end.exit_code),
        permanent: false,
    });
    // Writing to a String cannot fail.
    let _ = write!(
        failure.message,
        "; container `{}`, which is not Holdfast's, keeps its pod from ending, so it is not tried again",
        other.name
    );
    Some(failure)
}

/// The agent's result in a pod that goes on, because a container of somebody else in it never ends. A pod without one
/// ends by itself, and its Job with it.
pub fn result_beside(pod: &Pod, container: &str) -> Option<AgentResult> {
    going_on(pod, container)?;
    agent_result(pod, container)
}

/// Another container of a pod that runs although the agent's has ended.
fn going_on<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    terminated(pod, container).filter(|_| !is_over(pod))?;
    let all = pod.status.as_ref()?.container_statuses.as_deref()?;
    all.iter()
        .filter(|status| status.name != container)
        .find(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()))
}

/// Whether a pod that ended counts as an attempt: one that was drained or evicted does not, nor one that its Job gave up
/// when it was suspended.
pub fn counts(pod: &Pod) -> bool {
    let disrupted = condition(pod, "DisruptionTarget").is_some_and(|condition| condition.status == "True");
    let tracked = || pod.metadata.finalizers.iter().flatten().any(|name| name == COUNTED);
    !disrupted && (pod.metadata.deletion_timestamp.is_none() || tracked())
}

fn told(pod: &Pod, container: &str) -> Option<Failure> {
    let end = terminated(pod, container);
    let permanent = end.is_some_and(|end| holdfast_api::agent::is_permanent(end.exit_code));
    if let Some(result) = agent_result(pod, container).filter(|result| result.outcome == Outcome::Failed) {
        let reason = result.reason().unwrap_or(Reason::ToolFailed);
        let message = result
            .message
            .unwrap_or_else(|| format!("the agent reported {}", reason.as_str()));
        return Some(Failure {
            reason,
            message: cut(&message),
            permanent,
        });
    }
    let status = pod.status.as_ref()?;
    if let Some(reason) = status.reason.as_deref() {
        let message = status.message.as_deref().unwrap_or_default();
        return Some(Failure {
            reason: Reason::ToolFailed,
            message: cut(&format!("{reason}: {message}")),
            permanent,
        });
    }
    let all = || {
        status
            .init_container_statuses
            .iter()
            .chain(&status.container_statuses)
            .flatten()
    };
    let own = all().filter(|status| status.name == container).find_map(failed);
    let (name, end) = own.or_else(|| all().find_map(failed))?;
    Some(by_kubelet(pod, name, end, permanent))
}

fn failed(status: &ContainerStatus) -> Option<(&str, &ContainerStateTerminated)> {
    let end = status.state.as_ref()?.terminated.as_ref()?;
    (end.exit_code != 0).then_some((status.name.as_str(), end))
}

fn by_kubelet(pod: &Pod, name: &str, end: &ContainerStateTerminated, permanent: bool) -> Failure {
    // Kubelet's own word.
    if end.reason.as_deref() == Some("OOMKilled") {
        let limit = memory_limit(pod, name).map_or_else(String::new, |limit| format!(" of {limit}"));
        return Failure {
            reason: Reason::OutOfMemory,
            message: format!("container `{name}` was ended because it needed more than its memory limit{limit}"),
            permanent,
        };
    }
    let why = end.reason.as_deref().filter(|reason| *reason != "Error");
    let detail = end.message.as_deref().map(tail).filter(|tail| !tail.is_empty());
    let mut message = format!("container `{name}` exited with code {}", end.exit_code);
    for part in why.into_iter().chain(detail) {
        message.push_str(": ");
        message.push_str(part);
    }
    Failure {
        reason: Reason::ToolFailed,
        message: cut(&message),
        permanent,
    }
}

fn memory_limit<'a>(pod: &'a Pod, container: &str) -> Option<&'a str> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
    let limits = all
        .find(|one| one.name == container)?
        .resources
        .as_ref()?
        .limits
        .as_ref()?;
    let limit = limits.get("memory")?.0.as_str();
    (limit != "0").then_some(limit)
}

fn terminated<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStateTerminated> {
    let statuses = pod.status.as_ref()?.container_statuses.as_deref()?;
    let own = statuses.iter().find(|status| status.name == container)?;
    own.state.as_ref()?.terminated.as_ref()
}

/// The last line that says something, of a log tail that kubelet put into the termination message.
fn tail(text: &str) -> &str {
    text.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default()
}
