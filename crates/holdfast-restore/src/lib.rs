//! The restore service: drives every RestoreJob to Completed or Failed, and settles suspended workloads.
//!
//! What to do is decided by [`holdfast_core::restore`]; this crate observes and applies. All replicas watch; only
//! the one that leads writes, and each write is guarded and harmless when done twice.

mod args;
mod metrics;
mod observe;
mod orphans;
mod reconcile;

use std::{sync::Arc, time::Duration};

use holdfast_api::{
    ObjectMetaExt as _, RestoreJob,
    names::{ANNOTATION_FULL_NAME, ANNOTATION_HELD, LABEL_HELD, LABEL_RESTORE_UID},
    suspend_lock::SuspendLock,
};
use holdfast_core::restore::Settings;
use holdfast_runtime::{
    Leader, Queue, Service, SlowPass, queue,
    watch::{Cached, Key, cached, synced_or_stopped},
};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    batch::v1::Job,
    core::v1::Pod,
};
use kube::{Api, ResourceExt as _, core::PartialObjectMeta, runtime::watcher::Config};

pub use args::Args;
use metrics::Metrics;

/// What must be served before anything can be watched.
const CRDS: [&str; 3] = [
    "restorejobs.dataprotection.kubeblocks.io",
    "backups.dataprotection.kubeblocks.io",
    "backuptools.dataprotection.kubeblocks.io",
];
/// How often every unfinished RestoreJob is looked at although nothing was heard of it.
const SLOW_PASS: Duration = Duration::from_mins(1);

/// What the restore service works with.
pub(crate) struct Context {
    service: Service,
    leader: Leader,
    settings: Settings,
    restores: Cached<RestoreJob>,
    metrics: Metrics,
}

/// Runs the restore service until it is told to stop.
pub async fn run(service: Service, args: Args) -> anyhow::Result<()> {
    service.own_crds(&CRDS).await?;
    let client = service.client.clone();
    let ours = Config::default().labels(LABEL_RESTORE_UID);
    let context = Arc::new(Context {
        leader: service.elect("holdfast-restore"),
        settings: args.settings(),
        restores: cached(&service, "restorejobs", Api::all(client.clone()), Config::default()),
        metrics: Metrics::register(&service)?,
        service: service.clone(),
    });
    let jobs: Cached<Job> = cached(&service, "jobs", Api::all(client.clone()), ours.clone());
    let pods: Cached<Pod> = cached(&service, "pods", Api::all(client.clone()), ours);
    // Somebody who starts a workload that is held is noticed at once.
    let held = Config::default().labels(&format!("{LABEL_HELD}=true"));
    let held_sets: Cached<PartialObjectMeta<StatefulSet>> =
        cached(&service, "statefulsets", Api::all(client.clone()), held.clone());
    let held_deployments: Cached<PartialObjectMeta<Deployment>> =
        cached(&service, "deployments", Api::all(client), held);
    if !synced_or_stopped(&service, context.restores.synced()).await {
        return Ok(());
    }
    let queue = Queue::new("restorejobs");
    context
        .restores
        .forward(&service, &queue, |change| vec![Key::of(&**change.object())]);
    jobs.forward(&service, &queue, |change| owner(&**change.object()));
    pods.forward(&service, &queue, |change| owner(&**change.object()));
    held_sets.forward(&service, &queue, |change| holder(&**change.object()));
    held_deployments.forward(&service, &queue, |change| holder(&**change.object()));
    service.spawn("slow pass", slow_pass(Arc::clone(&context), pods, queue.clone()));
    queue::work(&service, queue, args.concurrency, |key| {
        reconcile::reconcile(Arc::clone(&context), key)
    })
    .await;
    Ok(())
}

/// The RestoreJob that a child names in full.
fn owner<K: kube::Resource>(child: &K) -> Vec<Key> {
    let name = child.annotations().get(ANNOTATION_FULL_NAME);
    name.map(|name| Key::new(child.namespace().unwrap_or_default(), name))
        .into_iter()
        .collect()
}

/// The RestoreJob that holds a workload.
fn holder<K: kube::Resource>(workload: &K) -> Vec<Key> {
    let lock = workload.annotations().get(ANNOTATION_HELD);
    let lock = lock.and_then(|lock| serde_json::from_str::<SuspendLock>(lock).ok());
    lock.map(|lock| Key::new(workload.namespace().unwrap_or_default(), lock.name))
        .into_iter()
        .collect()
}

/// Looks at everything when leadership is won, and about every minute; the same goes for suspend locks and pods without a
/// RestoreJob.
async fn slow_pass(context: Arc<Context>, pods: Cached<Pod>, queue: Queue) {
    let mut pass = SlowPass::led(&context.service, SLOW_PASS, &context.leader);
    let mut told = orphans::Told::default();
    loop {
        context.metrics.phases(&context.restores.all());
        if context.leader.leads() {
            for restore in context.restores.all() {
                if !restore.phase().is_terminal() || restore.is_terminating() {
                    queue.push(Key::of(&*restore));
                }
            }
            if let Err(error) = orphans::look(&context, &mut told).await {
                tracing::warn!(%error, "cannot look for suspended workloads");
            }
            for pod in pods.all() {
                if let Err(error) = orphans::release(&context, &pod).await {
                    tracing::warn!(%error, pod = pod.name_any(), "cannot let the pod of a restore that is over go");
                }
            }
        }
        if pass.next().await.is_none() {
            return;
        }
    }
}
