//! Removes the files of deleted Backups, one Job at a time for each volume.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use holdfast_api::{
    Backup, BackupPhase,
    condition::Reason,
    names::{LABEL_ROLE, ROLE_PURGE},
};
use holdfast_core::{
    gc::{self, BATCH_MAX, Batch, Entry, Outcome, claim_and_path, purge_job, purge_job_name},
    pod,
};
use holdfast_runtime::{
    Next, clock,
    watch::Key,
    write::{self, Propagation, WriteError},
};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{Api, ResourceExt as _, api::ListParams};

use crate::{Context, deletion::release, error::Error, is_ours};

/// Looks at one volume: namespace and claim.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, Error> {
    if !context.leader.leads() {
        return Ok(Next::AwaitChange);
    }
    let running = context.jobs.all().into_iter().find(|job| {
        Batch::of(job).is_some_and(|batch| batch.namespace == key.namespace && batch.claim == key.name)
            && job.metadata.deletion_timestamp.is_none()
    });
    match running {
        Some(job) => follow(&context, &job).await,
        None => begin(&context, &key).await,
    }
}

/// Starts a Job for the Backups of this volume that wait to be removed.
async fn begin(context: &Context, key: &Key) -> Result<Next, Error> {
    let batch = Batch {
        namespace: key.namespace.clone(),
        claim: key.name.clone(),
        entries: waiting(context, key).await?,
    };
    if batch.entries.is_empty() {
        return Ok(Next::AwaitChange);
    }
    let job = purge_job(&context.args.agent_image, context.args.pull(), &batch);
    let api: Api<Job> = Api::namespaced(context.service.client.clone(), &key.namespace);
    match write::create(&api, &job).await {
        Ok(_) => {
            tracing::info!(volume = %key, backups = batch.entries.len(), job = job.name_any(), "removing files");
            Ok(Next::AwaitChange)
        }
        Err(WriteError::Exists) => {
            let existing = write::get(&api, &purge_job_name(&batch)).await?;
            let ours = existing.is_none_or(|job| job.labels().get(LABEL_ROLE).is_some_and(|role| role == ROLE_PURGE));
            if !ours {
                let text = format!(
                    "a job named \"{}\" exists that does not belong to Holdfast",
                    purge_job_name(&batch)
                );
                blame(context, &batch, &purge_job_name(&batch), &text, Reason::NameTaken).await?;
            }
            // One of ours that is going, or that the watch has not shown yet, is looked at again.
            Ok(Next::After(Duration::from_secs(if ours { 2 } else { 60 })))
        }
        Err(error) => Err(error.into()),
    }
}

/// The Backups to remove next, read afresh: many together, or one that made a batch fail before.
async fn waiting(context: &Context, key: &Key) -> Result<Vec<Entry>, WriteError> {
    let api: Api<Backup> = Api::namespaced(context.service.client.clone(), &key.namespace);
    let in_volume = |backup: &Arc<gc::SlimBackup>| {
        is_ours(backup)
            && backup.namespace().as_deref() == Some(key.namespace.as_str())
            && backup.status.phase == Some(BackupPhase::Deleting)
    };
    let (mut together, mut alone) = (Vec::new(), Vec::new());
    for slim in context.backups.all().into_iter().filter(in_volume) {
        if together.len() >= BATCH_MAX {
            break;
        }
        let Some(backup) = write::get(&api, &slim.name_any()).await? else {
            continue;
        };
        let (phase, deleted) = (
            backup.status.as_ref().and_then(|status| status.phase),
            backup.metadata.deletion_timestamp.is_some(),
        );
        if !gc::concerns(phase, deleted, backup.finalizers()) || phase != Some(BackupPhase::Deleting) {
            continue;
        }
        let Some((_, path)) = claim_and_path(&backup).filter(|(claim, _)| *claim == key.name) else {
            continue;
        };
        let entry = Entry {
            uid: backup.uid().unwrap_or_default(),
            path,
            name: backup.name_any(),
        };
        let suspect = context
            .suspects
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&entry.uid);
        if suspect {
            alone.push(entry);
        } else {
            together.push(entry);
        }
    }
    if together.is_empty() {
        alone.truncate(1);
        return Ok(alone);
    }
    together.sort_by(|one, other| one.uid.cmp(&other.uid));
    Ok(together)
}

/// Follows a Job to its end.
async fn follow(context: &Context, job: &Job) -> Result<Next, Error> {
    let Some(batch) = Batch::of(job) else {
        return Ok(Next::AwaitChange);
    };
    let client = context.service.client.clone();
    let api: Api<Job> = Api::namespaced(client.clone(), &batch.namespace);
    let uid = job.uid().unwrap_or_default();
    let labels = format!("batch.kubernetes.io/controller-uid={uid}");
    let pods = Api::<Pod>::namespaced(client, &batch.namespace)
        .list(&ListParams::default().labels(&labels))
        .await
        .map_err(WriteError::from)?;
    match gc::outcome(job, &pods.items, clock::now()) {
        Outcome::Working(None) => Ok(Next::After(Duration::from_secs(10))),
        Outcome::Working(Some((reason, text))) => {
            blame(context, &batch, &job.name_any(), &text, reason).await?;
            Ok(Next::After(Duration::from_secs(10)))
        }
        Outcome::Purged => {
            for entry in &batch.entries {
                let_go(context, &batch, entry).await?;
            }
            let seconds = pod::finished_at(job)
                .zip(job.creation_timestamp())
                .map(|(end, start)| end.duration_since(start.0).as_secs_f64());
            context.metrics.purged(batch.entries.len(), seconds);
            write::delete(&api, &job.name_any(), &uid, None, Propagation::Background).await?;
            Ok(Next::After(Duration::from_secs(1)))
        }
        Outcome::Failed(why) => failed(context, &batch, job, &api, &why).await,
    }
}

async fn let_go(context: &Context, batch: &Batch, entry: &Entry) -> Result<(), WriteError> {
    context
        .suspects
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&entry.uid);
    let api: Api<Backup> = Api::namespaced(context.service.client.clone(), &batch.namespace);
    let Some(backup) = write::get(&api, &entry.name).await? else {
        return Ok(());
    };
    if backup.metadata.uid.as_deref() != Some(&entry.uid) || backup.metadata.deletion_timestamp.is_none() {
        return Ok(());
    }
    match gc::release(&backup) {
        gc::Write::Release(metadata) => release(context, &api, &backup, metadata).await,
        gc::Write::Status(_) => Ok(()),
    }
}

/// A batch of several is split; one alone is blamed, and tried again after a while.
async fn failed(context: &Context, batch: &Batch, job: &Job, api: &Api<Job>, why: &str) -> Result<Next, Error> {
    let uid = job.uid().unwrap_or_default();
    let several = batch.entries.len() > 1;
    if several {
        context
            .suspects
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(batch.entries.iter().map(|entry| entry.uid.clone()));
    } else {
        context.metrics.purge_failed();
        blame(context, batch, &job.name_any(), why, Reason::PurgeFailed).await?;
    }
    let finished = pod::finished_at(job).unwrap_or_else(clock::now);
    let waited = Duration::try_from(clock::now().duration_since(finished)).unwrap_or_default();
    let retry = Duration::from_secs(u64::from(context.args.purge_retry_seconds));
    if several || waited >= retry {
        write::delete(api, &job.name_any(), &uid, None, Propagation::Background).await?;
        return Ok(Next::After(Duration::from_secs(1)));
    }
    Ok(Next::After(retry.saturating_sub(waited)))
}

/// Says on each Backup of a batch why its files are still there.
async fn blame(context: &Context, batch: &Batch, job: &str, why: &str, reason: Reason) -> Result<(), WriteError> {
    let api: Api<Backup> = Api::namespaced(context.service.client.clone(), &batch.namespace);
    for entry in &batch.entries {
        let Some(backup) = write::get(&api, &entry.name).await? else {
            continue;
        };
        if backup.metadata.uid.as_deref() != Some(&entry.uid) {
            continue;
        }
        let Some(status) = gc::purge_failed(&backup, job, reason, why, clock::now()) else {
            continue;
        };
        let note = status.failure_reason.clone().filter(|_| reason == Reason::PurgeFailed);
        let note = note.map_or_else(|| why.to_owned(), |note| format!("{note}: {why}"));
        write::put_status(
            &api,
            &Backup {
                status: Some(status),
                ..backup.clone()
            },
        )
        .await?;
        let word = if reason == Reason::PurgeFailed {
            "DeleteBackupFilesFailed"
        } else {
            reason.as_str()
        };
        context.service.events.publish(&backup, true, word, &note).await;
    }
    Ok(())
}
