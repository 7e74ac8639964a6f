//! What gc can be told.

use holdfast_runtime::{CommonArgs, DataPodArgs};

/// Arguments of gc.
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "holdfast-gc", version, about)]
pub struct Args {
    /// What all services share.
    #[command(flatten)]
    pub common: CommonArgs,
    /// What its pods that hold the agent carry.
    #[command(flatten)]
    pub data_pods: DataPodArgs,
    /// Image of the agent, which removes files.
    #[arg(long, env = "HOLDFAST_AGENT_IMAGE")]
    pub agent_image: String,
    /// Pull policy of the agent's image; empty leaves it to Kubernetes.
    #[arg(long, env = "HOLDFAST_IMAGE_PULL_POLICY", default_value = "")]
    pub image_pull_policy: String,
    /// Seconds between two looks at everything, besides those that changes and expirations cause.
    #[arg(long, env = "HOLDFAST_GC_PERIOD_SECONDS", default_value_t = 3600)]
    pub period_seconds: u32,
    /// Seconds after which a removal that failed is tried again; each further failure doubles them, up to twelve times.
    #[arg(long, env = "HOLDFAST_PURGE_RETRY_SECONDS", default_value_t = 600)]
    pub purge_retry_seconds: u32,
    /// How many objects are worked on at once.
    #[arg(long, env = "HOLDFAST_CONCURRENCY", default_value_t = 4)]
    pub concurrency: usize,
}

impl Args {
    /// Pull policy, if one is set.
    pub fn pull(&self) -> Option<&str> {
        Some(self.image_pull_policy.as_str()).filter(|policy| !policy.is_empty())
    }
}
