//! A CSI driver over the directories of one node.

use anyhow::Context as _;
use clap::Parser as _;
use holdfast_csi::{Args, run};
use tracing_subscriber::EnvFilter;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let filter = EnvFilter::try_new(&args.log).with_context(|| format!("log directives {:?}", args.log))?;
    tracing_subscriber::fmt().json().with_env_filter(filter).init();
    run(args).await
}
