//! Arguments and environment of the executor.

use std::sync::Arc;

use clap::Parser;
use holdfast_core::backup::Settings;
use holdfast_runtime::{CommonArgs, DataPodArgs};
use jiff::SignedDuration;

/// Drives admitted Backups to Completed or Failed.
#[derive(Clone, Debug, Parser)]
#[command(name = "holdfast-executor", version, about)]
pub struct Args {
    /// What all services have in common.
    #[command(flatten)]
    pub common: CommonArgs,
    /// What its pods that hold the agent carry.
    #[command(flatten)]
    pub data_pods: DataPodArgs,
    /// Image of the agent, which runs beside every tool.
    #[arg(long, env = "HOLDFAST_AGENT_IMAGE")]
    pub agent_image: String,
    /// Pull policy of the images that data pods use; empty leaves it to Kubernetes.
    #[arg(long, env = "HOLDFAST_IMAGE_PULL_POLICY", default_value = "")]
    pub image_pull_policy: String,
    /// The headless Service of the executors, by which they share work.
    #[arg(long, env = "HOLDFAST_EXECUTOR_SERVICE", default_value = "holdfast-executor")]
    pub executor_service: String,
    /// How many seconds a Backup may take that does not say so itself.
    #[arg(long, env = "HOLDFAST_BACKUP_DEADLINE_SECONDS", default_value_t = 21_600)]
    pub backup_deadline_seconds: u32,
    /// How many seconds something that exists but is not ready is waited for, and a pod may be pending.
    #[arg(long, env = "HOLDFAST_NOT_READY_TIMEOUT_SECONDS", default_value_t = 600)]
    pub not_ready_timeout_seconds: u32,
    /// How many Backups are looked at at once.
    #[arg(long, env = "HOLDFAST_CONCURRENCY", default_value_t = 16)]
    pub concurrency: usize,
}

impl Args {
    /// The part that decisions depend on.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::new(Settings {
            agent_image: self.agent_image.clone(),
            pull_policy: Some(self.image_pull_policy.clone()).filter(|policy| !policy.is_empty()),
            deadline: SignedDuration::from_secs(self.backup_deadline_seconds.into()),
            not_ready_timeout: SignedDuration::from_secs(self.not_ready_timeout_seconds.into()),
            any_target_volumes: false,
            data_pods: self.data_pods.data_pods(),
        })
    }
}
