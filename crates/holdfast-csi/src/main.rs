//! A CSI driver over the directories of one node.

use clap::Parser as _;
use holdfast_csi::{Args, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    run(Args::parse()).await
}
