//! Removes what is over, and never the last good copy.

use clap::Parser as _;
use holdfast_gc::{Args, run};
use holdfast_runtime::Service;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let service = Service::start("gc", &args.common).await?;
    service.run(|service| run(service, args)).await
}
