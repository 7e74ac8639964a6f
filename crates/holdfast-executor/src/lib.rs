//! The executor: drives every admitted Backup to Completed or Failed, together with all other executors.
//!
//! What to do is decided by [`holdfast_core::backup`]; this crate observes, applies, and waits for its turn.

mod args;
mod caches;
mod metrics;
mod observe;
mod rank;
mod reconcile;
mod sweep;
mod ttl_cache;
mod write_back_cache;

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::backup::Settings;
use holdfast_runtime::queue::{self, Queue};
use holdfast_runtime::watch::{Key, synced_or_stopped};
use holdfast_runtime::{Service, SlowPass};

pub use args::Args;

use caches::Caches;
use metrics::Metrics;
use rank::TurnTaking;
use ttl_cache::Reads;
use write_back_cache::WriteBackCache;

/// What must be served before anything can be watched.
const CRDS: [&str; 4] = [
    "backups.dataprotection.kubeblocks.io",
    "backuppolicies.dataprotection.kubeblocks.io",
    "backuptools.dataprotection.kubeblocks.io",
    "backuprepos.dataprotection.kubeblocks.io",
];
/// How often every active Backup is looked at although nothing was heard of it.
const SLOW_PASS: Duration = Duration::from_mins(4);
/// How often the number of active Backups is measured.
const MEASURE: Duration = Duration::from_secs(10);

/// What one executor works with.
struct Context {
    service: Service,
    settings: Arc<Settings>,
    caches: Caches,
    reads: Reads,
    written: WriteBackCache,
    metrics: Metrics,
    turns: TurnTaking,
}

/// Runs the executor until the service is told to stop.
pub async fn run(service: Service, args: Args) -> anyhow::Result<()> {
    service.own_crds(&CRDS).await?;
    let queue = Queue::new("backups");
    let caches = Caches::watch(&service, &args.executor_service);
    let metrics = Metrics::register(&service)?;
    caches.forward(&service, &queue, &metrics);
    let context = Arc::new(Context {
        settings: args.settings(),
        reads: Reads::default(),
        written: WriteBackCache::default(),
        metrics,
        turns: TurnTaking::new(service.pod_name.clone()),
        caches,
        service: service.clone(),
    });
    if !synced_or_stopped(&service, context.caches.synced()).await {
        return Ok(());
    }
    service.spawn("slow pass", slow_pass(Arc::clone(&context), queue.clone()));
    service.spawn("measure", measure(Arc::clone(&context)));
    queue::work(&service, queue, args.concurrency, move |key| {
        let context = Arc::clone(&context);
        async move { reconcile::reconcile(&context, key).await }
    })
    .await;
    Ok(())
}

/// Looks at every active Backup now and then, in case a change was never heard of.
async fn slow_pass(context: Arc<Context>, queue: Queue) {
    let mut pass = SlowPass::new(&context.service, SLOW_PASS);
    while pass.next().await.is_some() {
        for backup in context.caches.backups.all() {
            queue.push(Key::of(&*backup));
        }
    }
}

async fn measure(context: Arc<Context>) {
    loop {
        context.metrics.active(&context.caches.backups.all());
        tokio::select! {
            () = context.service.shutdown.cancelled() => return,
            () = tokio::time::sleep(MEASURE) => {}
        }
    }
}
