//! D: Jobs whose Backup has ended are removed, by whoever's turn it is.

use std::sync::Arc;

use holdfast_api::Backup;
use holdfast_api::names::LABEL_BACKUP_UID;
use holdfast_core::backup::{self, Owner, Write, cleanup};
use holdfast_core::driver::Standing;
use holdfast_runtime::clock;
use holdfast_runtime::queue::Next;
use holdfast_runtime::watch::Key;
use holdfast_runtime::write::{self, WriteError};
use k8s_openapi::api::batch::v1::Job;
use kube::{Api, ResourceExt as _};

use crate::Context;

/// Looks at the Jobs of Backups of that name: of earlier ones, and of one that has ended.
pub(crate) async fn sweep(context: &Context, key: &Key, current: Option<&Backup>) -> Result<Next, WriteError> {
    let mut next = Next::AwaitChange;
    for job in context.caches.jobs_of(key) {
        let active = current
            .filter(|backup| !backup.phase().is_terminal())
            .and_then(|backup| backup.metadata.uid.as_deref());
        if active == uid_of(&job) {
            continue;
        }
        next = sooner(next, sweep_one(context, key, &job).await?);
    }
    Ok(next)
}

/// The uid of the Backup that a Job belongs to.
fn uid_of(job: &Job) -> Option<&str> {
    job.labels().get(LABEL_BACKUP_UID).map(String::as_str)
}

async fn sweep_one(context: &Context, key: &Key, job: &Arc<Job>) -> Result<Next, WriteError> {
    let owner_uid = uid_of(job).unwrap_or_default();
    let over = context.written.is_over(owner_uid);
    let mut decision = cleanup(job, if over { Owner::Over } else { Owner::Unknown }, clock::now());
    let job_uid = job.uid().unwrap_or_default();
    let acts = decision.write.is_some() || matches!(decision.next, backup::Next::Read(_));
    if acts && let Standing::Later(wait) = context.turn(&job_uid, "sweep") {
        return Ok(Next::After(wait));
    }
    if matches!(decision.next, backup::Next::Read(_)) {
        let owner = owner(context, key, owner_uid).await?;
        decision = cleanup(job, owner, clock::now());
    }
    if let Some(Write::Delete(target)) = decision.write {
        write::delete_target(&context.service.client, &target).await?;
        context.turns.settled(&job_uid);
    }
    Ok(match decision.next {
        backup::Next::After(wait) => Next::After(wait),
        _ => Next::AwaitChange,
    })
}

/// Whether the Backup of that uid is over, by the API server's own word.
async fn owner(context: &Context, key: &Key, uid: &str) -> Result<Owner, WriteError> {
    let api: Api<Backup> = Api::namespaced(context.service.client.clone(), &key.namespace);
    let Some(backup) = write::get(&api, &key.name).await?.map(Arc::new) else {
        return Ok(Owner::Over);
    };
    if backup.uid().as_deref() != Some(uid) {
        return Ok(Owner::Over);
    }
    context.written.backup(&backup);
    Ok(if backup.phase().is_terminal() {
        Owner::Over
    } else {
        Owner::Active
    })
}

/// The earlier of two.
pub(crate) fn sooner(one: Next, other: Next) -> Next {
    match (one, other) {
        (Next::After(one), Next::After(other)) => Next::After(one.min(other)),
        (Next::After(wait), Next::AwaitChange) | (Next::AwaitChange, Next::After(wait)) => Next::After(wait),
        (Next::AwaitChange, Next::AwaitChange) => Next::AwaitChange,
    }
}
