//! Executes backups: drives every admitted Backup to Completed or Failed.

use clap::Parser as _;
use holdfast_executor::{Args, run};
use holdfast_runtime::Service;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    Service::start("executor", &args.common)
        .await?
        .run(|service| run(service, args))
        .await
}
