//! The pods and Jobs of ours: the pieces that backup, restore, report and purge pods share, and how their state is read.
//! Nothing here touches a cluster.

mod job;
mod node;
mod parts;
mod state;
#[cfg(test)]
mod tests;

pub use job::{AgentJob, agent_job};
pub use node::{node_matches, pin_to_node};
pub use parts::{
    BIN_DIR, BIN_VOLUME, PREPARE_CONTAINER, REPOSITORY_DIR, agent_command, agent_container, bin_mount, bin_volume,
    container_name, env, env_value, pod_uid_env, prepare_container, pull_secrets, repository_mount, repository_volume,
    repository_volume_name, secret_env, tool_command, tool_security_context, zero_limits,
};
pub use state::{Failure, JobState, Trouble, agent_result, failure, finished_at, is_over, job_state, trouble};
