//! Applies one step of a purge, and takes into what was observed what it changed.

use std::{sync::Arc, time::Duration};

use holdfast_api::{Backup, BackupStatus, ObjectMetaExt as _, condition::Reason, names::ANNOTATION_REPOSITORY};
use holdfast_core::{
    backup::Event,
    gc::{
        self, BackupSummary, Batch, Write, is_ours, pull_secrets, purge_job,
        purge_plan::{Over, Purge, Step, Volume},
    },
    pod::finished_at,
};
use holdfast_runtime::{
    Next, clock,
    watch::Key,
    write::{self, Propagation, WriteError},
};
use k8s_openapi::api::{batch::v1::Job, core::v1::PersistentVolumeClaim};
use kube::{Api, ResourceExt as _};

use crate::{
    Context,
    deletion::{is_terminating, release},
    purges::pods,
};

/// How soon a Job of ours that is going, or that nobody has seen yet, is looked for again.
const SOON: Duration = Duration::from_secs(2);
/// How soon a name that somebody else holds, or a Job that is refused, is tried again.
const LATER: Duration = Duration::from_secs(30);

/// How a look goes on after a step.
pub(crate) enum After {
    /// With the next step.
    Go,
    /// Not now.
    Stop(Next),
}

/// Applies a step.
pub(crate) async fn apply(context: &Context, key: &Key, volume: &mut Volume, step: Step) -> Result<After, WriteError> {
    match step {
        Step::Create(batch) => return Box::pin(create(context, key, volume, batch)).await,
        Step::Release(backup) => let_go(context, volume, &backup).await?,
        Step::Tell {
            backup,
            job,
            reason,
            why,
        } => tell(context, volume, &backup, &job, reason, &why).await?,
        Step::Untell(backup) => {
            say(context, volume, &backup, None, |whole| {
                Some((gc::untell(whole, clock::now())?, None))
            })
            .await?;
        }
        Step::Remove {
            job,
            batch,
            over,
            freed,
        } => remove(context, volume, &job, &batch, over, freed).await?,
        Step::Rest(_) => {}
    }
    Ok(After::Go)
}

async fn create(context: &Context, key: &Key, volume: &mut Volume, batch: Batch) -> Result<After, WriteError> {
    let client = context.service.client.clone();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &key.namespace);
    let Some(claim) = write::get(&claims, &key.name).await? else {
        look_closer(context, key, &batch);
        return Ok(After::Stop(Next::AwaitChange));
    };
    let repository = claim.annotations().get(ANNOTATION_REPOSITORY).map(String::as_str);
    let secrets = pull_secrets(&batch, &volume.waiting);
    let job = purge_job(
        &context.args.agent_image,
        context.args.pull(),
        &batch,
        repository,
        secrets,
    );
    let api: Api<Job> = Api::namespaced(client, &key.namespace);
    match write::create(&api, &job).await {
        Ok(job) => {
            tracing::info!(volume = %key, backups = batch.entries.len(), job = job.name_any(), "removing files");
            let job = Arc::new(job);
            context.memory.made(key, &job);
            volume.purges.push(Purge {
                job,
                batch,
                pods: Vec::new(),
            });
            Ok(After::Go)
        }
        Err(WriteError::Exists) => exists(context, volume, &api, &job.name_any(), batch).await,
        Err(error @ (WriteError::NotFound | WriteError::Refused(_))) => {
            look_closer(context, key, &batch);
            if !is_terminating(context, &key.namespace).await? {
                let why = format!("the job that removes the files cannot be created: {error}");
                tell_all(context, volume, &batch, &job.name_any(), Reason::PurgeFailed, &why).await?;
            }
            Ok(After::Stop(Next::After(LATER)))
        }
        Err(error) => Err(error),
    }
}

/// The name of a new Job is taken: by the same Job, made before, or by somebody else's, which is never touched.
async fn exists(
    context: &Context,
    volume: &mut Volume,
    api: &Api<Job>,
    name: &str,
    batch: Batch,
) -> Result<After, WriteError> {
    let found = write::get(api, name).await?;
    let Some(job) = found.filter(|job| !job.is_terminating()) else {
        return Ok(After::Stop(Next::After(SOON)));
    };
    if is_ours(&job) && Batch::of(&job).as_ref() == Some(&batch) {
        let pods = pods(context, &job).await?;
        let job = Arc::new(job);
        volume.purges.push(Purge { job, batch, pods });
        return Ok(After::Go);
    }
    let why = format!("a job named \"{name}\" exists that does not belong to Holdfast");
    tell_all(context, volume, &batch, name, Reason::NameTaken, &why).await?;
    Ok(After::Stop(Next::After(LATER)))
}

/// Lets each Backup of a batch be looked at afresh: its claim or namespace may be gone.
fn look_closer(context: &Context, key: &Key, batch: &Batch) {
    for entry in &batch.entries {
        context.memory.unclear(&entry.uid);
        context.queues.deletions.push(Key::new(&key.namespace, &entry.name));
    }
}

async fn let_go(context: &Context, volume: &mut Volume, backup: &Arc<BackupSummary>) -> Result<(), WriteError> {
    let api: Api<BackupSummary> = Api::namespaced(context.service.client.clone(), &volume.namespace);
    if let Write::Release(metadata) = gc::release(backup.finalizers()) {
        release(context, &api, backup, metadata).await?;
    }
    volume.waiting.retain(|one| one.metadata.uid != backup.metadata.uid);
    Ok(())
}

async fn remove(
    context: &Context,
    volume: &mut Volume,
    job: &Arc<Job>,
    batch: &Batch,
    over: Over,
    freed: u64,
) -> Result<(), WriteError> {
    let api: Api<Job> = Api::namespaced(context.service.client.clone(), &volume.namespace);
    let uid = job.uid().unwrap_or_default();
    // Noted before: the watch may show the end sooner than the answer comes.
    context.memory.remove_job(&uid);
    if let Err(error) = write::delete(&api, &job.name_any(), &uid, None, Propagation::Background).await {
        context.memory.forget_job(&uid);
        return Err(error);
    }
    tracing::info!(job = %Key::of(&**job), why = ?over, "purge job removed");
    volume.purges.retain(|purge| purge.job.metadata.uid != job.metadata.uid);
    context.metrics.freed(freed);
    match over {
        Over::Purged => {
            let times = finished_at(job).zip(job.creation_timestamp());
            let seconds = times.map(|(end, start)| end.duration_since(start.0).as_secs_f64());
            context.metrics.purged(batch.entries.len(), seconds);
        }
        Over::Split | Over::Retry => context.memory.history(|history| history.failed(batch)),
        Over::Needless => {}
    }
    Ok(())
}

async fn tell_all(
    context: &Context,
    volume: &mut Volume,
    batch: &Batch,
    job: &str,
    reason: Reason,
    why: &str,
) -> Result<(), WriteError> {
    let in_batch = |backup: &&Arc<BackupSummary>| {
        batch
            .entries
            .iter()
            .any(|entry| Some(&entry.uid) == backup.uid().as_ref())
    };
    let backups: Vec<Arc<BackupSummary>> = volume.waiting.iter().filter(in_batch).cloned().collect();
    for backup in backups
        .iter()
        .filter(|backup| backup.status.stalled.as_deref() != Some(reason.as_str()))
    {
        tell(context, volume, backup, job, reason, why).await?;
    }
    Ok(())
}

async fn tell(
    context: &Context,
    volume: &mut Volume,
    backup: &Arc<BackupSummary>,
    job: &str,
    reason: Reason,
    why: &str,
) -> Result<(), WriteError> {
    say(context, volume, backup, Some(reason), |whole| {
        let (status, event) = gc::tell(whole, job, reason, why, clock::now())?;
        Some((status, Some(event)))
    })
    .await
}

/// Writes the status that `status` makes of a Backup read afresh, if it makes one, and reports the Event.
async fn say(
    context: &Context,
    volume: &mut Volume,
    backup: &Arc<BackupSummary>,
    stalled: Option<Reason>,
    status: impl FnOnce(&Backup) -> Option<(BackupStatus, Option<Event>)>,
) -> Result<(), WriteError> {
    let api: Api<Backup> = Api::namespaced(context.service.client.clone(), &volume.namespace);
    let found = write::get(&api, &backup.name_any()).await?;
    let Some(mut whole) = found.filter(|found| found.metadata.uid == backup.metadata.uid) else {
        volume.waiting.retain(|one| one.metadata.uid != backup.metadata.uid);
        return Ok(());
    };
    if let Some((status, event)) = status(&whole) {
        whole.status = Some(status);
        whole = write::put_status(&api, &whole).await?;
        if let Some(event) = event {
            context
                .service
                .events
                .publish(&whole, event.warning, &event.reason, &event.note)
                .await;
        }
    }
    // The next step rests on what was written, not on what the watch has not shown yet.
    if let Some(one) = volume
        .waiting
        .iter_mut()
        .find(|one| one.metadata.uid == backup.metadata.uid)
    {
        let one = Arc::make_mut(one);
        one.status.stalled = stalled.map(|reason| reason.as_str().to_owned());
        one.metadata.resource_version = whole.metadata.resource_version;
    }
    Ok(())
}
