//! The pods and Jobs of ours: the pieces that backup, restore, report and purge pods share, and how their state is read.
//! Nothing here touches a cluster.

mod assignment;
mod demands;
mod failure;
mod job;
mod location;
mod node;
mod parts;
mod state;
#[cfg(test)]
mod tests;
mod tool;
mod words;

pub use assignment::{assign, is_own_volume};
pub use demands::{Demands, LABEL_ENFORCED, security_of};
pub use failure::{Failure, agent_result, counts, failure, failure_beside, result_beside};
pub use job::{AgentJob, agent_job, tolerations_of};
pub use location::{
    Mode, REPOSITORY_DIR, RepositoryAccess, backup_dir, is_own_path, repository_access, repository_volume_of,
};
pub use node::{keep_off_nodes, kept_off, lost, node_matches, node_of, not_ready, pin_to_node};
pub use parts::{
    BIN_DIR, BIN_VOLUME, PREPARE_CONTAINER, agent_command, agent_container, bin_mount, bin_volume, container_name, env,
    env_value, pod_uid_env, prepare_container, pull_secrets, secret_env, tool_security_context, zero_limits,
};
pub use state::{
    JobState, Trouble, finished_at, is_over, is_silent, is_suspended, is_undead, job_state, podless, trouble,
};
pub use tool::{needs_values, planned_tool, tool_environment, windows_line_end};
pub use words::{are_told_by_events, words};
