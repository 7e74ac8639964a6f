//! Takes a deleted Backup to its end.

use std::{fmt::Debug, sync::Arc, time::Duration};

use holdfast_api::{
    Backup, BackupPhase, ObjectMetaExt as _,
    condition::Reason,
    event::{BusEvent, BusEventKind},
};
use holdfast_core::gc::{self, Observed, Place, Write, place};
use holdfast_runtime::{
    Next, STAND_BY, clock,
    watch::Key,
    write::{self, WriteError},
};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::{Context, at, error::Error, index_feed::volume_of, is_deleted};

/// How often a Backup whose files cannot be removed is looked at: its claim may go meanwhile.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// Looks at one Backup.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, Error> {
    let Some(summary) = context.known(&key).filter(|backup| is_deleted(backup)) else {
        return Ok(Next::AwaitChange);
    };
    if !context.leader.leads() {
        return Ok(STAND_BY);
    }
    let uid = summary.uid().unwrap_or_default();
    let at_ease = summary.status.phase == Some(BackupPhase::Deleting) && summary.status.stalled.is_none();
    if let Some(volume) = volume_of(&summary).filter(|_| at_ease && context.memory.is_cleared(&uid)) {
        context.queues.volumes.push(volume);
        return Ok(Next::AwaitChange);
    }
    let api: Api<Backup> = Api::namespaced(context.service.client.clone(), &key.namespace);
    let Some(backup) = write::get(&api, &key.name).await? else {
        return Ok(Next::AwaitChange);
    };
    let observed = observe(&context, &key, backup).await?;
    let decision = gc::decide(&observed, clock::now());
    context.memory.block(&uid, decision.blocked);
    context.metrics.blocked(context.memory.blocked());
    if decision.write.is_some() && !context.leader.leads() {
        return Ok(STAND_BY);
    }
    let backup = observed.backup;
    match decision.write {
        None => {}
        Some(Write::Status(status)) => {
            let status = Some(*status);
            write::put_status(
                &api,
                &Backup {
                    status,
                    ..backup.clone()
                },
            )
            .await?;
        }
        Some(Write::Release(metadata)) => release(&context, &api, &backup, metadata).await?,
    }
    if let Some(event) = decision.event {
        context
            .service
            .events
            .publish(&backup, event.warning, &event.reason, &event.note)
            .await;
    }
    let Some(claim) = decision.purge else {
        return Ok(Next::AwaitChange);
    };
    context.memory.clear(&uid);
    context.queues.volumes.push(Key::new(&key.namespace, claim));
    Ok(if summary.status.stalled.is_some() {
        Next::After(LOOK_AGAIN)
    } else {
        Next::AwaitChange
    })
}

async fn observe(context: &Context, key: &Key, backup: Backup) -> Result<Observed, WriteError> {
    let client = context.service.client.clone();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client, &key.namespace);
    let status = backup.status.clone().unwrap_or_default();
    let claim = match place(&key.name, &status) {
        Place::Own { claim, .. } => write::get(&claims, claim).await?,
        Place::Nowhere | Place::Shared { .. } => None,
    };
    Ok(Observed {
        backup,
        namespace_terminating: is_terminating(context, &key.namespace).await?,
        claim,
        dependents: context.index().dependents(&at(key)),
    })
}

/// Whether a namespace is being deleted, or gone.
pub(crate) async fn is_terminating(context: &Context, namespace: &str) -> Result<bool, WriteError> {
    let api: Api<Namespace> = Api::all(context.service.client.clone());
    let found = write::get(&api, namespace).await?;
    Ok(found.is_none_or(|namespace| namespace.is_terminating()))
}

/// Takes the finalizer off: the Backup is gone with it.
pub(crate) async fn release<K>(
    context: &Context,
    api: &Api<K>,
    backup: &K,
    metadata: serde_json::Value,
) -> Result<(), WriteError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let uid = backup.uid().unwrap_or_default();
    // Asked before: with the Backup goes what is remembered of it, and the watch may show that first.
    let reason = match context.memory.why_retired(&uid) {
        Some(Reason::Expired) => "expired",
        Some(_) => "history-limit",
        None => "user",
    };
    match write::patch_metadata(api, backup, metadata).await {
        Ok(_) => {}
        Err(WriteError::NotFound) => return Ok(()),
        Err(error) => return Err(error),
    }
    tracing::info!(backup = %Key::of(backup), reason, "released");
    context.metrics.deleted(reason);
    context.service.bus.publish(BusEvent {
        from: BackupPhase::Deleting.as_str(),
        data: serde_json::json!({ "reason": reason }),
        ..BusEvent::of(BusEventKind::BackupDeleted, backup)
    });
    Ok(())
}
