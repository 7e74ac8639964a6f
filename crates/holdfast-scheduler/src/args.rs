//! What the scheduler can be told.

use holdfast_runtime::CommonArgs;
use jiff::SignedDuration;

/// Arguments of the scheduler.
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "holdfast-scheduler", version, about)]
pub struct Args {
    /// What all services share.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Seconds that something that exists but is not ready is waited for.
    #[arg(long, env = "HOLDFAST_NOT_READY_TIMEOUT_SECONDS", default_value_t = 600)]
    pub not_ready_timeout_seconds: u32,
    /// How many objects are worked on at once.
    #[arg(long, env = "HOLDFAST_CONCURRENCY", default_value_t = 8)]
    pub concurrency: usize,
}

impl Args {
    /// How long something that exists but is not ready is waited for.
    pub fn not_ready_timeout(&self) -> SignedDuration {
        SignedDuration::from_secs(i64::from(self.not_ready_timeout_seconds))
    }
}
