//! The scheduler: owns the status of policies, turns slots into Backups, and lets new Backups in.
//!
//! What to do is decided by [`holdfast_core::policy`] and [`holdfast_core::admission`]; this crate observes and
//! applies. All replicas watch; only the one that leads writes, and each write is harmless when done twice.

mod admit;
mod args;
mod ended;
mod error;
mod metrics;
mod observe;
mod policies;

use std::{sync::Arc, time::Duration};

use holdfast_api::{Backup, BackupPolicy, BackupRepo, BackupTool};
use holdfast_runtime::{
    Leader, Queue, Service, crds, queue,
    watch::{Cached, Change, Key, cached},
};
use jiff::SignedDuration;
use kube::{Api, runtime::watcher::Config};

pub use args::Args;
use metrics::Metrics;

/// How often everything is looked at although nothing was heard of it.
const SLOW_PASS: Duration = Duration::from_mins(5);

/// What the scheduler works with.
pub(crate) struct Context {
    service: Service,
    leader: Leader,
    policies: Cached<BackupPolicy>,
    tools: Cached<BackupTool>,
    repos: Cached<BackupRepo>,
    backups: Cached<Backup>,
    metrics: Metrics,
    patience: SignedDuration,
}

/// The queues of the scheduler.
struct Queues {
    policies: Queue,
    backups: Queue,
    ended: Queue,
}

/// Runs the scheduler until the service is told to stop.
pub async fn run(service: Service, args: Args) -> anyhow::Result<()> {
    crds::refuse_foreign(&service.client).await?;
    let client = service.client.clone();
    let active = Config::default().fields("status.phase!=Completed,status.phase!=Failed");
    let context = Arc::new(Context {
        leader: service.elect("holdfast-scheduler"),
        policies: cached(&service, "policies", Api::all(client.clone()), Config::default()),
        tools: cached(&service, "tools", Api::all(client.clone()), Config::default()),
        repos: cached(&service, "repos", Api::all(client.clone()), Config::default()),
        backups: cached(&service, "backups", Api::all(client), active),
        metrics: Metrics::register(&service)?,
        patience: args.patience(),
        service: service.clone(),
    });
    let queues = Queues {
        policies: Queue::new("policies"),
        backups: Queue::new("backups"),
        ended: Queue::new("ended"),
    };
    context.policies.synced().await;
    context.tools.synced().await;
    context.repos.synced().await;
    context.backups.synced().await;
    forward(&context, &queues);
    service.bus.declare(&service);
    service.bus.wake_leader(
        &service,
        "scheduler",
        &["backup.completed.>"],
        &queues.ended,
        &context.leader,
    );
    service.spawn(
        "slow pass",
        slow_pass(Arc::clone(&context), queues.policies.clone(), queues.backups.clone()),
    );
    let concurrency = args.concurrency;
    tokio::join!(
        queue::work(&service, queues.policies, concurrency, |key| policies::reconcile(
            Arc::clone(&context),
            key
        )),
        queue::work(&service, queues.backups, concurrency, |key| admit::reconcile(
            Arc::clone(&context),
            key
        )),
        queue::work(&service, queues.ended, 2, |key| ended::reconcile(
            Arc::clone(&context),
            key
        )),
    );
    Ok(())
}

/// Lets every change wake what it concerns.
fn forward(context: &Arc<Context>, queues: &Queues) {
    let service = &context.service;
    let metrics = context.metrics.clone();
    context.policies.forward(service, &queues.policies, move |change| {
        if let Change::Left(policy) = change {
            metrics.forget(policy);
        }
        vec![Key::of(&**change.object())]
    });
    context
        .backups
        .forward(service, &queues.backups, |change| match change {
            Change::Applied(backup) => vec![Key::of(&**backup)],
            Change::Left(_) => Vec::new(),
        });
    // A Backup that is over leaves the watch; what became of it is read from the API server.
    context.backups.forward(service, &queues.ended, |change| match change {
        Change::Applied(_) => Vec::new(),
        Change::Left(backup) => vec![Key::of(&**backup)],
    });
    // Whatever a waiting Backup waits for may have come: all waiting ones look again.
    let waiting = |context: &Arc<Context>| {
        let context = Arc::clone(context);
        move || -> Vec<Key> {
            let new = context
                .backups
                .all()
                .into_iter()
                .filter(|backup| holdfast_core::admission::concerns(backup));
            new.map(|backup| Key::of(&*backup)).collect()
        }
    };
    let look = waiting(context);
    context.policies.forward(service, &queues.backups, move |_| look());
    let look = waiting(context);
    context.tools.forward(service, &queues.backups, move |_| look());
    let look = waiting(context);
    context.repos.forward(service, &queues.backups, move |_| look());
}

/// Looks at everything when leadership is won, and now and then.
async fn slow_pass(context: Arc<Context>, policies: Queue, backups: Queue) {
    let mut leader = context.leader.clone();
    loop {
        if leader.leads() {
            for policy in context.policies.all() {
                policies.push(Key::of(&*policy));
            }
            for backup in context.backups.all() {
                backups.push(Key::of(&*backup));
            }
        }
        tokio::select! {
            () = context.service.shutdown.cancelled() => return,
            () = leader.changed() => {}
            () = tokio::time::sleep(SLOW_PASS) => {}
        }
    }
}
