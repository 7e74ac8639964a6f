//! What an installation chooses.

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
}
