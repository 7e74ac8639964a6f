//! gc: retires Backups by the rules of their policies, and removes the files of deleted ones before it lets them go.
//!
//! What to do is decided by [`holdfast_core::gc`]; this crate observes and applies. All replicas watch; only the one
//! that leads writes. The watch holds a slim form of every Backup, found by policy, parent and volume, so that the
//! cost of a look follows what changed and not the history.

mod args;
mod deletion;
mod error;
mod index_feed;
mod memory;
mod metrics;
mod purges;
mod retention;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use holdfast_api::{
    BackupPolicy, RestoreJob,
    event::BusEventKind,
    names::{LABEL_ROLE, ROLE_PURGE},
};
use holdfast_core::gc::{At, BackupSummary, Batch, Index, concerns, is_ours};
use holdfast_runtime::{
    Leader, Queue, Service, SlowPass, queue,
    watch::{Cached, Key, cached, synced_or_stopped},
};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{Api, ResourceExt as _, runtime::watcher::Config};

pub use args::Args;
use memory::Memory;
use metrics::Metrics;

/// What must be served before anything can be watched.
const CRDS: [&str; 3] = [
    "restorejobs.dataprotection.kubeblocks.io",
    "backups.dataprotection.kubeblocks.io",
    "backuppolicies.dataprotection.kubeblocks.io",
];

/// What gc works with.
pub(crate) struct Context {
    service: Service,
    leader: Leader,
    args: Args,
    policies: Cached<BackupPolicy>,
    restores: Cached<RestoreJob>,
    jobs: Cached<Job>,
    pods: Cached<Pod>,
    index: Mutex<Index>,
    memory: Memory,
    queues: Queues,
    metrics: Metrics,
}

/// What waits to be looked at.
pub(crate) struct Queues {
    /// Policies, for retention.
    groups: Queue,
    /// Deleted Backups.
    deletions: Queue,
    /// Claims with files to remove.
    volumes: Queue,
}

impl Context {
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One Backup, as the watch has shown it.
    pub(crate) fn known(&self, key: &Key) -> Option<Arc<BackupSummary>> {
        self.index().get(&at(key)).cloned()
    }
}

/// Runs gc until it is told to stop.
pub async fn run(service: Service, args: Args) -> anyhow::Result<()> {
    service.own_crds(&CRDS).await?;
    let client = service.client.clone();
    let purge = Config::default().labels(&format!("{LABEL_ROLE}={ROLE_PURGE}"));
    let backups: Cached<BackupSummary> = cached(&service, "backups", Api::all(client.clone()), Config::default());
    let context = Arc::new(Context {
        leader: service.elect("holdfast-gc"),
        policies: cached(&service, "policies", Api::all(client.clone()), Config::default()),
        restores: cached(&service, "restorejobs", Api::all(client.clone()), Config::default()),
        jobs: cached(&service, "jobs", Api::all(client.clone()), purge.clone()),
        pods: cached(&service, "pods", Api::all(client), purge),
        index: Mutex::default(),
        memory: Memory::default(),
        queues: Queues {
            groups: Queue::new("policies"),
            deletions: Queue::new("deletions"),
            volumes: Queue::new("volumes"),
        },
        metrics: Metrics::register(&service)?,
        args: args.clone(),
        service: service.clone(),
    });
    let synced = async {
        backups.synced().await;
        context.policies.synced().await;
        context.restores.synced().await;
        context.jobs.synced().await;
    };
    if !synced_or_stopped(&service, synced).await {
        return Ok(());
    }
    index_feed::follow_backups(&context, &backups);
    forward(&context);
    let messages = Queue::new("messages");
    service.bus.wake_leader(
        &service,
        "gc",
        &[BusEventKind::BackupCompleted],
        &messages,
        &context.leader,
    );
    service.spawn("slow pass", slow_pass(Arc::clone(&context)));
    let Queues {
        groups,
        deletions,
        volumes,
    } = &context.queues;
    let handlers = args.concurrency;
    tokio::join!(
        queue::work(&service, messages, 1, |key| std::future::ready(Ok::<_, error::Error>(
            index_feed::wake(&context, &key)
        ))),
        queue::work(&service, groups.clone(), handlers, |key| retention::reconcile(
            Arc::clone(&context),
            key
        )),
        queue::work(&service, deletions.clone(), handlers, |key| deletion::reconcile(
            Arc::clone(&context),
            key
        )),
        queue::work(&service, volumes.clone(), handlers, |key| purges::reconcile(
            Arc::clone(&context),
            key
        )),
    );
    Ok(())
}

/// Lets changes of policies, `RestoreJob`s, Jobs and pods wake what they concern.
fn forward(context: &Arc<Context>) {
    let (service, queues) = (&context.service, &context.queues);
    context
        .policies
        .forward(service, &queues.groups, |change| vec![Key::of(&**change.object())]);
    // A Backup may go once nobody restores it any more.
    context.restores.forward(service, &queues.deletions, |change| {
        let restore = change.object();
        vec![Key::new(
            restore.namespace().unwrap_or_default(),
            &restore.spec.backup_job_name,
        )]
    });
    let known = Arc::clone(context);
    context.jobs.forward(service, &queues.volumes, move |change| {
        if let holdfast_runtime::watch::Change::Left(job) = change {
            known.memory.forget_job(job.metadata.uid.as_deref().unwrap_or_default());
        }
        volume_of(change.object()).into_iter().collect()
    });
    let known = Arc::clone(context);
    context.pods.forward(service, &queues.volumes, move |change| {
        let pod = change.object();
        let job = pod.labels().get("batch.kubernetes.io/job-name");
        let job = job.and_then(|name| known.jobs.get(&pod.namespace().unwrap_or_default(), name));
        job.and_then(|job| volume_of(&job)).into_iter().collect()
    });
}

/// Looks at everything when leadership is won, and now and then.
async fn slow_pass(context: Arc<Context>) {
    let period = Duration::from_secs(u64::from(context.args.period_seconds.max(1)));
    let mut pass = SlowPass::led(&context.service, period, &context.leader);
    loop {
        if context.leader.leads() {
            // What was cleared or remembered while another led may be so no more.
            context.memory.forget_cleared();
            look_at_everything(&context);
        }
        if pass.next().await.is_none() {
            return;
        }
    }
}

fn look_at_everything(context: &Context) {
    let (groups, deleted, volumes) = {
        let index = context.index();
        (index.groups(), index.deleted(), index.volumes())
    };
    for group in groups {
        context.queues.groups.push(key(group));
    }
    for backup in deleted {
        context.queues.deletions.push(Key::of(&*backup));
    }
    let jobs = context.jobs.all();
    for volume in volumes
        .into_iter()
        .map(key)
        .chain(jobs.iter().filter_map(|job| volume_of(job)))
    {
        context.queues.volumes.push(volume);
    }
}

/// Whether a Backup is deleted and gc's to release.
pub(crate) fn is_deleted(backup: &BackupSummary) -> bool {
    concerns(backup.status.phase, backup.is_going(), backup.finalizers())
}

/// The claim that a purge Job of ours works on.
pub(crate) fn volume_of(job: &Job) -> Option<Key> {
    let batch = Batch::of(job).filter(|_| is_ours(job))?;
    Some(Key::new(batch.namespace, batch.claim))
}

pub(crate) fn at(key: &Key) -> At {
    (key.namespace.clone(), key.name.clone())
}

pub(crate) fn key((namespace, name): At) -> Key {
    Key::new(namespace, name)
}
