//! Retires the Backups of one policy.

use std::{sync::Arc, time::Duration};

use holdfast_api::{Backup, BackupPolicy, condition::Reason, names::ANNOTATION_TRACEPARENT};
use holdfast_core::gc::{Doomed, Group, Limits, next_expiration, retire};
use holdfast_runtime::{
    News, Next, clock,
    watch::Key,
    write::{self, Propagation, WriteError},
};
use kube::{Api, ResourceExt as _};

use crate::{Context, at_least_a_moment, error::Error};

/// Looks at one group: namespace and policy name.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, Error> {
    if !context.leader.leads() {
        return Ok(Next::AwaitChange);
    }
    let now = clock::now();
    let mut group = Group {
        backups: context.index.members(&key),
        limits: None,
    };
    if group.backups.is_empty() {
        return Ok(Next::AwaitChange);
    }
    group.limits = context.policies.by_key(&key).map(|policy| Limits::of(&policy));
    let doomed = retire(&group, now);
    if doomed.iter().any(|doomed| doomed.reason == Reason::Surplus) {
        // A limit that was raised a moment ago must not be missed: the policy is read afresh before anything goes.
        let api: Api<BackupPolicy> = Api::namespaced(context.service.client.clone(), &key.namespace);
        group.limits = write::get(&api, &key.name).await?.map(|policy| Limits::of(&policy));
    }
    for doomed in retire(&group, now) {
        remove(&context, &key, &doomed).await?;
    }
    let next = next_expiration(&group, now)
        .map(|time| Duration::try_from(time.duration_since(clock::now())).unwrap_or_default());
    Ok(next.map_or(Next::AwaitChange, |wait| Next::After(at_least_a_moment(wait))))
}

async fn remove(context: &Context, key: &Key, doomed: &Doomed) -> Result<(), Error> {
    if !context.leader.leads() {
        return Ok(());
    }
    let backup = &*doomed.backup;
    let api: Api<Backup> = Api::namespaced(context.service.client.clone(), &key.namespace);
    let (name, uid) = (backup.name_any(), backup.uid().unwrap_or_default());
    match write::delete(
        &api,
        &name,
        &uid,
        backup.metadata.resource_version.as_deref(),
        Propagation::Background,
    )
    .await
    {
        Ok(()) => {}
        // It changed since it was seen: the change comes back, and is decided about anew.
        Err(WriteError::Conflict) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let note = match doomed.reason {
        Reason::Expired => "its retention is over",
        _ => "there are more scheduled backups than backupsHistoryLimit",
    };
    tracing::info!(backup = %Key::of(backup), reason = doomed.reason.as_str(), "removed");
    context
        .service
        .events
        .publish(backup, false, doomed.reason.as_str(), note)
        .await;
    context.metrics.retired(doomed.reason);
    context.service.bus.publish(News {
        kind: "backup",
        verb: "expired",
        namespace: key.namespace.clone(),
        name,
        uid,
        transition: doomed.reason.as_str().to_owned(),
        traceparent: backup.annotations().get(ANNOTATION_TRACEPARENT).cloned(),
        data: serde_json::json!({ "reason": doomed.reason.as_str() }),
        ..News::default()
    });
    Ok(())
}
