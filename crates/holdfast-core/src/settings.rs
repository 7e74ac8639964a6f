//! What an installation chooses.

use std::collections::BTreeMap;

use jiff::SignedDuration;

/// What an installation chooses about backups and restores.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of the agent, for the init container and for Jobs of the agent alone.
    pub agent_image: String,
    /// Pull policy of all images; none leaves it to Kubernetes.
    pub pull_policy: Option<String>,
    /// How long a run may take whose object says nothing about it.
    pub deadline: SignedDuration,
    /// How long something that exists but is not ready is waited for, and how long a pod may be pending.
    pub not_ready_timeout: SignedDuration,
    /// Whether a restore may write volumes of any kind: nodes' directories, Secrets and API tokens too.
    pub any_target_volumes: bool,
    /// What the pods that hold the agent carry.
    pub data_pods: DataPods,
}

/// What an installation puts on every pod that holds the agent, and its Job: admission policies may want it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataPods {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Secrets to pull images with, by name, besides those of the workload.
    pub pull_secrets: Vec<String>,
    /// Whether they run as the target does, and never as root, in every namespace.
    pub restricted: bool,
}
