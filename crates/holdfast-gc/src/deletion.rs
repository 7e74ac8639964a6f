//! Takes a deleted Backup to its end.

use std::{sync::Arc, time::Duration};

use holdfast_api::Backup;
use holdfast_core::gc::{self, Observed, Write, claim_and_path};
use holdfast_runtime::{
    News, Next, clock,
    watch::Key,
    write::{self, WriteError},
};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use kube::{Api, ResourceExt as _};

use crate::{Context, error::Error, is_ours};

/// How often a Backup that waits for its children is looked at.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// Looks at one Backup.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, Error> {
    let ours = context.backups.by_key(&key).is_some_and(|backup| is_ours(&backup));
    if !ours || !context.leader.leads() {
        return Ok(Next::AwaitChange);
    }
    let api: Api<Backup> = Api::namespaced(context.service.client.clone(), &key.namespace);
    let Some(backup) = write::get(&api, &key.name).await? else {
        return Ok(Next::AwaitChange);
    };
    let observed = observe(&context, &key, backup).await?;
    let decision = gc::decide(&observed, clock::now());
    if decision.write.is_some() && !context.leader.leads() {
        return Ok(Next::AwaitChange);
    }
    let backup = observed.backup;
    match decision.write {
        None => {}
        Some(Write::Status(status)) => {
            write::put_status(
                &api,
                &Backup {
                    status: Some(*status),
                    ..backup.clone()
                },
            )
            .await?;
        }
        Some(Write::Release(metadata)) => release(&context, &api, &backup, metadata).await?,
    }
    if let Some((warning, reason, note)) = decision.event {
        context
            .service
            .events
            .publish(&backup, warning, reason.as_str(), &note)
            .await;
    }
    if decision.purge
        && let Some((claim, _)) = claim_and_path(&backup)
    {
        context.purges.push(Key::new(&key.namespace, claim));
        return Ok(Next::AwaitChange);
    }
    Ok(if observed.children.is_empty() {
        Next::AwaitChange
    } else {
        Next::After(LOOK_AGAIN)
    })
}

async fn observe(context: &Context, key: &Key, backup: Backup) -> Result<Observed, WriteError> {
    let client = context.service.client.clone();
    let namespace: Option<Namespace> = write::get(&Api::all(client.clone()), &key.namespace).await?;
    let namespace_terminating = namespace.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some());
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client, &key.namespace);
    let claim = match claim_and_path(&backup) {
        Some((claim, _)) => write::get(&claims, &claim).await?,
        None => None,
    };
    let name = backup.name_any();
    let builds_on = |other: &Arc<gc::SlimBackup>| {
        other.namespace().as_deref() == Some(key.namespace.as_str())
            && other.parent() == Some(&name)
            && other.metadata.deletion_timestamp.is_none()
    };
    let group = Key::new(&key.namespace, &backup.spec.backup_policy_name);
    let children = context
        .index
        .members(&group)
        .into_iter()
        .filter(builds_on)
        .map(|child| child.name_any())
        .collect();
    Ok(Observed {
        backup,
        namespace_terminating,
        claim,
        children,
    })
}

/// Takes the finalizer off: the Backup is gone with it.
pub(crate) async fn release(
    context: &Context,
    api: &Api<Backup>,
    backup: &Backup,
    metadata: serde_json::Value,
) -> Result<(), WriteError> {
    match write::patch_metadata(api, backup, metadata).await {
        Ok(_) | Err(WriteError::NotFound) => {}
        Err(error) => return Err(error),
    }
    tracing::info!(backup = %Key::of(backup), "released");
    context.metrics.released();
    context.service.bus.publish(News {
        kind: "backup",
        verb: "deleted",
        namespace: backup.namespace().unwrap_or_default(),
        name: backup.name_any(),
        uid: backup.uid().unwrap_or_default(),
        transition: "Deleting->gone".to_owned(),
        ..News::default()
    });
    Ok(())
}
