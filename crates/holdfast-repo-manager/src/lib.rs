//! The repo-manager: owns every `StorageProvider` and BackupRepo and what is made for them.
//!
//! What to do is decided by [`holdfast_core::repo`]; this crate observes and applies. All replicas watch; only the one
//! that leads writes, and each write is harmless when done twice.

mod args;
mod caches;
mod identity;
mod memory;
mod metrics;
mod observe;
mod providers;
mod repos;

use std::{sync::Arc, time::Duration};

use holdfast_api::event::BusEventKind;
use holdfast_runtime::{
    Leader, Queue, Service, SlowPass, queue,
    watch::{Key, synced_or_stopped},
};

pub use args::Args;
use caches::Caches;
use memory::Memory;
use metrics::Metrics;

/// What must be served before anything can be watched.
const CRDS: [&str; 3] = [
    "storageproviders.storage.kubeblocks.io",
    "backuprepos.dataprotection.kubeblocks.io",
    "backups.dataprotection.kubeblocks.io",
];
/// How often everything is looked at although nothing was heard of it.
const SLOW_PASS: Duration = Duration::from_mins(5);

/// What the repo-manager works with.
pub(crate) struct Context {
    service: Service,
    leader: Leader,
    caches: Caches,
    memory: Memory,
    metrics: Metrics,
}

/// Runs the repo-manager until the service is told to stop.
pub async fn run(service: Service, args: Args) -> anyhow::Result<()> {
    service.own_crds(&CRDS).await?;
    let (providers, repos) = (Queue::new("providers"), Queue::new("repos"));
    let context = Arc::new(Context {
        leader: service.elect("holdfast-repo-manager"),
        caches: Caches::watch(&service, &args.secret_namespaces()),
        memory: Memory::default(),
        metrics: Metrics::register(&service)?,
        service: service.clone(),
    });
    if !synced_or_stopped(&service, context.caches.synced()).await {
        return Ok(());
    }
    context.caches.forward(&service, &providers, &repos);
    let completed = Queue::new("completed");
    service.bus.wake_leader(
        &service,
        "repo-manager",
        &[BusEventKind::BackupCompleted],
        &completed,
        &context.leader,
    );
    service.spawn(
        "slow pass",
        slow_pass(Arc::clone(&context), providers.clone(), repos.clone()),
    );
    tokio::join!(
        queue::work(&service, completed, 1, |key| identity::heard(
            Arc::clone(&context),
            repos.clone(),
            key
        )),
        queue::work(&service, providers, 1, |key| providers::reconcile(
            Arc::clone(&context),
            key
        )),
        queue::work(&service, repos.clone(), args.concurrency, |key| repos::reconcile(
            Arc::clone(&context),
            key
        )),
    );
    Ok(())
}

/// Looks at everything when leadership is won, and now and then. Who does not lead measures nothing.
async fn slow_pass(context: Arc<Context>, providers: Queue, repos: Queue) {
    let mut pass = SlowPass::led(&context.service, SLOW_PASS, &context.leader);
    loop {
        if context.leader.leads() {
            for provider in context.caches.providers.all() {
                providers.push(Key::of(&*provider));
            }
            for repo in context.caches.repos.all() {
                repos.push(Key::of(&*repo));
            }
            identity::search(&context, &repos).await;
        } else {
            context.metrics.reset();
        }
        if pass.next().await.is_none() {
            return;
        }
    }
}
