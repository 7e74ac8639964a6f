//! Provisions repositories: providers, Secrets, `StorageClasses` and a claim in each namespace with backups.

use clap::Parser as _;
use holdfast_repo_manager::{Args, run};
use holdfast_runtime::Service;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let service = Service::start("repo-manager", &args.common).await?;
    service.run(|service| run(service, args)).await
}
