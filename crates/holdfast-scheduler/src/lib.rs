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
mod tools;

use std::{sync::Arc, time::Duration};

use holdfast_api::{Backup, BackupPolicy, BackupRepo, BackupTool, event::BusEventKind};
use holdfast_core::{admission, policy};
use holdfast_runtime::{
    Leader, Queue, Service, SlowPass, queue,
    watch::{Cached, Change, Key, cached, synced_or_stopped},
};
use jiff::SignedDuration;
use kube::{Api, ResourceExt as _, runtime::watcher::Config};

pub use args::Args;
use metrics::Metrics;

/// What must be served before anything can be watched.
const CRDS: [&str; 4] = [
    "backups.dataprotection.kubeblocks.io",
    "backuppolicies.dataprotection.kubeblocks.io",
    "backuptools.dataprotection.kubeblocks.io",
    "backuprepos.dataprotection.kubeblocks.io",
];
/// Backups that have not ended.
const ACTIVE: &str = "status.phase!=Completed,status.phase!=Failed,status.phase!=Deleting";
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
    not_ready_timeout: SignedDuration,
}

impl Context {
    async fn synced(&self) {
        self.policies.synced().await;
        self.tools.synced().await;
        self.repos.synced().await;
        self.backups.synced().await;
    }

    /// The policies that name that.
    fn naming(&self, which: policy::Name, name: &str) -> Vec<Key> {
        let policies = self.policies.all();
        let naming = policies.iter().filter(|policy| which.of(policy) == Some(name));
        naming.map(|policy| Key::of(&**policy)).collect()
    }

    /// Backups that wait to be let in, as far as `which` of them.
    fn waiting(&self, which: impl Fn(&Backup) -> bool) -> Vec<Key> {
        let backups = self.backups.all();
        let new = backups
            .iter()
            .filter(|backup| admission::concerns(backup) && which(backup));
        new.map(|backup| Key::of(&**backup)).collect()
    }
}

/// The queues of the scheduler.
#[derive(Clone)]
struct Queues {
    policies: Queue,
    tools: Queue,
    backups: Queue,
    ended: Queue,
}

/// Runs the scheduler until the service is told to stop.
pub async fn run(service: Service, args: Args) -> anyhow::Result<()> {
    service.own_crds(&CRDS).await?;
    let client = service.client.clone();
    let active = Config::default().fields(ACTIVE);
    let context = Arc::new(Context {
        leader: service.elect("holdfast-scheduler"),
        policies: cached(&service, "policies", Api::all(client.clone()), Config::default()),
        tools: cached(&service, "tools", Api::all(client.clone()), Config::default()),
        repos: cached(&service, "repos", Api::all(client.clone()), Config::default()),
        backups: cached(&service, "backups", Api::all(client), active),
        metrics: Metrics::register(&service)?,
        not_ready_timeout: args.not_ready_timeout(),
        service: service.clone(),
    });
    let queues = Queues {
        policies: Queue::new("policies"),
        tools: Queue::new("tools"),
        backups: Queue::new("backups"),
        ended: Queue::new("ended"),
    };
    if !synced_or_stopped(&service, context.synced()).await {
        return Ok(());
    }
    forward(&context, &queues);
    service.bus.declare(&service);
    service.bus.wake_leader(
        &service,
        "scheduler",
        &[BusEventKind::BackupCompleted],
        &queues.ended,
        &context.leader,
    );
    service.spawn("slow pass", slow_pass(Arc::clone(&context), queues.clone()));
    let concurrency = args.concurrency;
    let (on_policies, on_tools) = (Arc::clone(&context), Arc::clone(&context));
    let (on_backups, on_ended) = (Arc::clone(&context), context);
    tokio::join!(
        queue::work(&service, queues.policies, concurrency, move |key| {
            policies::reconcile(Arc::clone(&on_policies), key)
        }),
        queue::work(&service, queues.tools, 2, move |key| {
            tools::reconcile(Arc::clone(&on_tools), key)
        }),
        queue::work(&service, queues.backups, concurrency, move |key| {
            admit::reconcile(Arc::clone(&on_backups), key)
        }),
        queue::work(&service, queues.ended, 2, move |key| {
            ended::reconcile(Arc::clone(&on_ended), key)
        }),
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
        .tools
        .forward(service, &queues.tools, |change| vec![Key::of(&**change.object())]);
    // What a policy names may have come, or gone.
    let naming = Arc::clone(context);
    context.tools.forward(service, &queues.policies, move |change| {
        naming.naming(policy::Name::Tool, &change.object().name_any())
    });
    let naming = Arc::clone(context);
    context.repos.forward(service, &queues.policies, move |change| {
        naming.naming(policy::Name::Repo, &change.object().name_any())
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
    // What a waiting Backup waits for may have come.
    let waiting = Arc::clone(context);
    context.policies.forward(service, &queues.backups, move |change| {
        let policy = Key::of(&**change.object());
        waiting.waiting(|backup| {
            backup.metadata.namespace.as_ref() == Some(&policy.namespace)
                && backup.spec.backup_policy_name == policy.name
        })
    });
    let waiting = Arc::clone(context);
    let look = move |_: &Change<BackupTool>| waiting.waiting(|_| true);
    context.tools.forward(service, &queues.backups, look);
    let waiting = Arc::clone(context);
    let look = move |_: &Change<BackupRepo>| waiting.waiting(|_| true);
    context.repos.forward(service, &queues.backups, look);
}

/// Looks at everything when leadership is won, and now and then.
async fn slow_pass(context: Arc<Context>, queues: Queues) {
    let mut pass = SlowPass::led(&context.service, SLOW_PASS, &context.leader);
    loop {
        if context.leader.leads() {
            for policy in context.policies.all() {
                queues.policies.push(Key::of(&*policy));
            }
            for tool in context.tools.all() {
                queues.tools.push(Key::of(&*tool));
            }
            for backup in context.backups.all() {
                queues.backups.push(Key::of(&*backup));
            }
            look_back(&context, &queues.ended);
        }
        if pass.next().await.is_none() {
            return;
        }
    }
}

/// Looks for the newest scheduled Backup of each schedule without a success since: it may have ended while nobody led,
/// or while the lease was renewed late. One read for each.
fn look_back(context: &Context, ended: &Queue) {
    for found in context.policies.all() {
        let namespace = found.metadata.namespace.clone().unwrap_or_default();
        let newest = policy::SERVED
            .iter()
            .filter_map(|kind| policy::unconfirmed(&found, *kind));
        for key in newest.map(|name| Key::new(namespace.clone(), name)) {
            if context.backups.by_key(&key).is_none() {
                ended.push(key);
            }
        }
    }
}
