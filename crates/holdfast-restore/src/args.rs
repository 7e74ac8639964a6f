//! What the restore service can be told.

use holdfast_core::restore::Settings;
use holdfast_runtime::{CommonArgs, DataPodArgs};
use jiff::SignedDuration;

/// Arguments of the restore service.
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "holdfast-restore", version, about)]
pub struct Args {
    /// What all services share.
    #[command(flatten)]
    pub common: CommonArgs,
    /// What its pods that hold the agent carry.
    #[command(flatten)]
    pub data_pods: DataPodArgs,
    /// Image of the agent, which works inside the restore's pods.
    #[arg(long, env = "HOLDFAST_AGENT_IMAGE")]
    pub agent_image: String,
    /// Pull policy of the images in the restore's pods; empty leaves it to Kubernetes.
    #[arg(long, env = "HOLDFAST_IMAGE_PULL_POLICY", default_value = "")]
    pub image_pull_policy: String,
    /// Seconds that a restore may take.
    #[arg(long, env = "HOLDFAST_RESTORE_DEADLINE_SECONDS", default_value_t = 86_400)]
    pub deadline_seconds: u32,
    /// Seconds that something that exists but is not ready is waited for.
    #[arg(long, env = "HOLDFAST_NOT_READY_TIMEOUT_SECONDS", default_value_t = 600)]
    pub not_ready_timeout_seconds: u32,
    /// Lets restores write volumes of any kind, not only claims and ephemeral ones: with this, whoever may create a
    /// `RestoreJob` writes as root on nodes.
    #[arg(long, env = "HOLDFAST_ALLOW_ANY_TARGET_VOLUMES", default_value_t = false, action = clap::ArgAction::Set)]
    pub allow_any_target_volumes: bool,
    /// How many restores are worked on at once.
    #[arg(long, env = "HOLDFAST_CONCURRENCY", default_value_t = 8)]
    pub concurrency: usize,
}

impl Args {
    /// What decisions are made by.
    pub fn settings(&self) -> Settings {
        Settings {
            agent_image: self.agent_image.clone(),
            pull_policy: Some(self.image_pull_policy.clone()).filter(|policy| !policy.is_empty()),
            deadline: SignedDuration::from_secs(i64::from(self.deadline_seconds)),
            not_ready_timeout: SignedDuration::from_secs(i64::from(self.not_ready_timeout_seconds)),
            any_target_volumes: self.allow_any_target_volumes,
            data_pods: self.data_pods.data_pods(),
        }
    }
}
