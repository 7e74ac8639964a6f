//! gc: retires Backups by the rules of their policies, and removes the files of deleted ones before it lets them go.
//!
//! What to do is decided by [`holdfast_core::gc`]; this crate observes and applies. All replicas watch; only the one
//! that leads writes. The watch holds a slim form of every Backup, by policy, so that the cost of a look follows
//! the policy that changed and not the history.

mod args;
mod deletion;
mod error;
mod index;
mod metrics;
mod purges;
mod retention;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use holdfast_api::{
    BackupPolicy,
    names::{LABEL_ROLE, ROLE_PURGE},
};
use holdfast_core::gc::{Batch, SlimBackup, concerns};
use holdfast_runtime::{
    Leader, Next, Queue, Service, crds, queue,
    watch::{Cached, Change, Key, cached},
};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{Api, ResourceExt as _, runtime::watcher::Config};

pub use args::Args;
use index::Index;
use metrics::Metrics;

/// What gc works with.
pub(crate) struct Context {
    service: Service,
    leader: Leader,
    args: Args,
    backups: Cached<SlimBackup>,
    policies: Cached<BackupPolicy>,
    jobs: Cached<Job>,
    pods: Cached<Pod>,
    index: Index,
    /// Backups, by uid, that were in a batch which failed: they go alone, so that one does not keep the others.
    suspects: Mutex<BTreeSet<String>>,
    purges: Queue,
    metrics: Metrics,
}

/// Runs gc until it is told to stop.
pub async fn run(service: Service, args: Args) -> anyhow::Result<()> {
    crds::refuse_foreign(&service.client).await?;
    let client = service.client.clone();
    let purge = Config::default().labels(&format!("{LABEL_ROLE}={ROLE_PURGE}"));
    let context = Arc::new(Context {
        leader: service.elect("holdfast-gc"),
        backups: cached(&service, "backups", Api::all(client.clone()), Config::default()),
        policies: cached(&service, "policies", Api::all(client.clone()), Config::default()),
        jobs: cached(&service, "jobs", Api::all(client.clone()), purge.clone()),
        pods: cached(&service, "pods", Api::all(client), purge),
        index: Index::default(),
        suspects: Mutex::default(),
        purges: Queue::new("purges"),
        metrics: Metrics::register(&service)?,
        args: args.clone(),
        service: service.clone(),
    });
    context.backups.synced().await;
    context.policies.synced().await;
    context.jobs.synced().await;
    let (groups, deletions) = (Queue::new("policies"), Queue::new("deletions"));
    forward(&context, &groups, &deletions);
    let news = Queue::new("news");
    service
        .bus
        .wake_leader(&service, "gc", &["backup.completed.>"], &news, &context.leader);
    service.spawn(
        "slow pass",
        slow_pass(Arc::clone(&context), groups.clone(), deletions.clone()),
    );
    let purges = context.purges.clone();
    let woken = groups.clone();
    tokio::join!(
        queue::work(&service, news, 1, |key| {
            wake(&context, &woken, &key);
            std::future::ready(Ok::<_, error::Error>(Next::AwaitChange))
        }),
        queue::work(&service, groups, args.concurrency, |key| retention::reconcile(
            Arc::clone(&context),
            key
        )),
        queue::work(&service, deletions, args.concurrency, |key| deletion::reconcile(
            Arc::clone(&context),
            key
        )),
        queue::work(&service, purges, args.concurrency, |key| purges::reconcile(
            Arc::clone(&context),
            key
        )),
    );
    Ok(())
}

/// Lets every change wake what it concerns, and keeps the index.
fn forward(context: &Arc<Context>, groups: &Queue, deletions: &Queue) {
    let service = &context.service;
    let known = Arc::clone(context);
    context
        .backups
        .forward(service, groups, move |change| vec![known.index.note(change)]);
    context.backups.forward(service, deletions, |change| match change {
        Change::Applied(backup) if is_ours(backup) => vec![Key::of(&**backup)],
        // A child that is gone frees its parent.
        Change::Left(backup) => {
            let namespace = backup.namespace().unwrap_or_default();
            backup
                .parent()
                .map(|parent| Key::new(namespace, parent))
                .into_iter()
                .collect()
        }
        Change::Applied(_) => Vec::new(),
    });
    context
        .policies
        .forward(service, groups, |change| vec![Key::of(&**change.object())]);
    let volume = |job: &Job| {
        Batch::of(job)
            .map(|batch| Key::new(batch.namespace, batch.claim))
            .into_iter()
            .collect()
    };
    context
        .jobs
        .forward(service, &context.purges, move |change| volume(change.object()));
    let known = Arc::clone(context);
    context.pods.forward(service, &context.purges, move |change| {
        let pod = change.object();
        let job = pod.labels().get("batch.kubernetes.io/job-name");
        let job = job.and_then(|name| known.jobs.get(&pod.namespace().unwrap_or_default(), name));
        job.and_then(|job| Batch::of(&job))
            .map(|batch| Key::new(batch.namespace, batch.claim))
            .into_iter()
            .collect()
    });
}

/// News of a Backup wakes its policy; what the watch has not shown yet, it will.
fn wake(context: &Context, groups: &Queue, key: &Key) {
    if let Some(backup) = context.backups.by_key(key) {
        groups.push(index::group_of(&backup));
    }
}

fn is_ours(backup: &SlimBackup) -> bool {
    concerns(
        backup.status.phase,
        backup.metadata.deletion_timestamp.is_some(),
        backup.finalizers(),
    )
}

/// Looks at everything when leadership is won, and now and then.
async fn slow_pass(context: Arc<Context>, groups: Queue, deletions: Queue) {
    let mut leader = context.leader.clone();
    loop {
        if leader.leads() {
            for group in context.index.groups() {
                groups.push(group);
            }
            for backup in context.backups.all().into_iter().filter(|backup| is_ours(backup)) {
                deletions.push(Key::of(&*backup));
            }
            for job in context.jobs.all() {
                if let Some(batch) = Batch::of(&job) {
                    context.purges.push(Key::new(batch.namespace, batch.claim));
                }
            }
        }
        tokio::select! {
            () = context.service.shutdown.cancelled() => return,
            () = leader.changed() => {}
            () = tokio::time::sleep(context.args.period()) => {}
        }
    }
}

/// A wait that is at least a moment long.
pub(crate) fn at_least_a_moment(wait: Duration) -> Duration {
    wait.max(Duration::from_millis(200))
}
