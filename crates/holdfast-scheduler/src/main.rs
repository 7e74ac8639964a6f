//! Creates Backups when their schedule comes due, and lets every new Backup in.

use clap::Parser as _;
use holdfast_runtime::Service;
use holdfast_scheduler::{Args, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let service = Service::start("scheduler", &args.common).await?;
    service.run(|service| run(service, args)).await
}
