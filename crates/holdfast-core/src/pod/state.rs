//! What Jobs and pods say about themselves.

use holdfast_api::condition::{READY, Reason};
use holdfast_api::text::printable;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};

/// How long the Job controller may take over a pod, the scheduler over a node, and kubelet over volumes and network,
/// before that is worth a word.
const SETTLING: SignedDuration = SignedDuration::from_secs(6);
/// Longest message taken over from a cluster.
const MESSAGE_MAX: usize = 1024;

/// Where a Job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Neither complete nor failed.
    Running,
    /// It has the condition `Complete`.
    Complete,
    /// It has the condition `Failed`.
    Failed {
        /// The condition's reason, such as `BackoffLimitExceeded`, `DeadlineExceeded`, `PodFailurePolicy`.
        reason: String,
        /// The condition's message.
        message: String,
    },
}

/// Why a pod does not get going.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What it waits for.
    pub reason: Reason,
    /// The same in words, with the cluster's own message.
    pub message: String,
}

/// The state of a Job by its conditions. `FailureTarget` and `SuccessCriteriaMet` are not the end:
/// pods may still run then.
pub fn job_state(job: &Job) -> JobState {
    let conditions = job
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    for condition in conditions.iter().filter(|condition| condition.status == "True") {
        match condition.type_.as_str() {
            "Complete" => return JobState::Complete,
            "Failed" => {
                return JobState::Failed {
                    reason: condition.reason.clone().unwrap_or_default(),
                    message: cut(condition.message.as_deref().unwrap_or_default()),
                };
            }
            _ => {}
        }
    }
    JobState::Running
}

/// When a Job became complete or failed.
pub fn finished_at(job: &Job) -> Option<Timestamp> {
    let status = job.status.as_ref()?;
    let finished = |kind: &str| kind == "Complete" || kind == "Failed";
    let condition = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.status == "True" && finished(&condition.type_))?;
    status
        .completion_time
        .as_ref()
        .or(condition.last_transition_time.as_ref())
        .map(|time| time.0)
}

/// Whether somebody has suspended a Job: its pods are deleted, which is no failure of theirs, until it is resumed.
pub fn is_suspended(job: &Job) -> bool {
    job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true))
}

/// Why a Job has no pod, if that is worth a word by now. Its events say more: see [`super::words`].
pub fn podless(job: &Job, now: Timestamp) -> Option<Trouble> {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    if is_suspended(job) {
        return Some(Trouble {
            reason: Reason::JobSuspended,
            message: format!("job \"{name}\" is suspended"),
        });
    }
    let created = job.metadata.creation_timestamp.as_ref()?.0;
    (now.duration_since(created) >= SETTLING).then(|| Trouble {
        reason: Reason::PodPending,
        message: format!("job \"{name}\" has no pod yet"),
    })
}

/// Whether a pod's containers run no more: it succeeded or failed.
pub fn is_over(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether a pod should be gone by now: deleted, not over, and past the time that it was given. Nobody ends it where its
/// node is lost.
pub fn is_undead(pod: &Pod, now: Timestamp) -> bool {
    let deleted = pod.metadata.deletion_timestamp.as_ref();
    !is_over(pod) && deleted.is_some_and(|time| now.duration_since(time.0) >= SETTLING)
}

/// Whether kubelet may have stopped telling of a pod: it should be gone by now, or it is not Ready although all its
/// containers are, which only the node controller says, of pods on a node that it has not heard of.
pub fn is_silent(pod: &Pod, now: Timestamp) -> bool {
    let unready = condition(pod, READY).is_some_and(|ready| ready.status == "False");
    let containers = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_deref());
    let all_ready = containers.is_some_and(|all| !all.is_empty() && all.iter().all(|one| one.ready));
    is_undead(pod, now) || is_untaken(pod, now) || (!is_over(pod) && unready && all_ready)
}

/// Whether a pod has had a node for a while, and its kubelet has not taken it up.
fn is_untaken(pod: &Pod, now: Timestamp) -> bool {
    let taken = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
    let scheduled = condition(pod, "PodScheduled").filter(|condition| condition.status == "True");
    let since = scheduled.and_then(|condition| condition.last_transition_time.as_ref());
    !is_over(pod) && !taken && since.is_some_and(|since| now.duration_since(since.0) >= SETTLING)
}

/// Why a pod that should start does not, if there is a reason by now: not scheduled, an image that cannot be had,
/// volumes that are not mounted, a container that cannot be made.
pub fn trouble(pod: &Pod, now: Timestamp) -> Option<Trouble> {
    if phase(pod) != "Pending" && !phase(pod).is_empty() {
        return None;
    }
    unscheduled(pod, now)
        .or_else(|| waiting(pod))
        .or_else(|| unsettled(pod, now))
}

fn unscheduled(pod: &Pod, now: Timestamp) -> Option<Trouble> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let Some(scheduled) = condition(pod, "PodScheduled") else {
        let created = pod.metadata.creation_timestamp.as_ref()?.0;
        return (now.duration_since(created) >= SETTLING).then(|| Trouble {
            reason: Reason::PodPending,
            message: format!("pod `{name}` has no node yet: the scheduler has not decided, or a volume is being made"),
        });
    };
    if scheduled.status != "False" {
        return None;
    }
    let message = cut(scheduled.message.as_deref().unwrap_or("no reason given"));
    Some(Trouble {
        reason: Reason::Unschedulable,
        message: format!("pod `{name}` cannot be scheduled: {message}"),
    })
}

fn waiting(pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let mut containers = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten();
    containers.find_map(container_trouble)
}

fn container_trouble(container: &ContainerStatus) -> Option<Trouble> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let why = waiting.reason.as_deref()?;
    let reason = match why {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => Reason::ImagePull,
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "PreCreateHookError"
        | "PreStartHookError"
        | "CreatePodSandboxError"
        | "ConfigPodSandboxError" => Reason::ContainerConfig,
        _ => return None,
    };
    let message = cut(waiting.message.as_deref().unwrap_or_default());
    let name = &container.name;
    let message = match reason {
        Reason::ImagePull => format!("container `{name}`, image `{}`: {why}: {message}", container.image),
        _ => format!("container `{name}` cannot start: {why}: {message}"),
    };
    Some(Trouble { reason, message })
}

/// Kubelet tells about mounts only by events; the sandbox is made after the volumes are there, so its absence
/// on a pod that was scheduled a while ago tells the same.
fn unsettled(pod: &Pod, now: Timestamp) -> Option<Trouble> {
    let scheduled = condition(pod, "PodScheduled")?;
    let since = scheduled.last_transition_time.as_ref()?.0;
    if now.duration_since(since) < SETTLING {
        return None;
    }
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let Some(ready) = condition(pod, "PodReadyToStartContainers") else {
        let node = pod.spec.as_ref()?.node_name.as_deref()?;
        return is_untaken(pod, now).then(|| Trouble {
            reason: Reason::PodPending,
            message: format!("pod `{name}` was given to node {node}, which has not taken it up yet"),
        });
    };
    if ready.status == "True" {
        return None;
    }
    let claims: Vec<&str> = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten())
        .filter_map(|volume| {
            volume
                .persistent_volume_claim
                .as_ref()
                .map(|claim| claim.claim_name.as_str())
        })
        .collect();
    let message = format!(
        "pod `{name}` is on its node but its volumes (claims: {}) are not mounted or its network is not ready",
        claims.join(", ")
    );
    Some(Trouble {
        reason: Reason::MountFailed,
        message,
    })
}

pub(super) fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

pub(super) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status
        .as_ref()?
        .conditions
        .as_deref()?
        .iter()
        .find(|condition| condition.type_ == kind)
}

/// What the cluster says, as far as it is text, and not longer than people read.
pub(super) fn cut(text: &str) -> String {
    let text = printable(text);
    match text.char_indices().nth(MESSAGE_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}
