//! Restores Backups in place.

use clap::Parser as _;
use holdfast_restore::{Args, run};
use holdfast_runtime::Service;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let service = Service::start("restore", &args.common).await?;
    service.run(|service| run(service, args)).await
}
