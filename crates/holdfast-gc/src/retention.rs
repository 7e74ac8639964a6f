//! Retires the Backups of one policy.

use std::{collections::HashMap, sync::Arc, time::Duration};

use holdfast_api::{BackupPolicy, condition::Reason, names::ANNOTATION_TRACEPARENT};
use holdfast_core::gc::{Doomed, Group, Limits, SlimBackup, next_expiration, retire};
use holdfast_runtime::{
    News, Next, STAND_BY, clock,
    watch::Key,
    write::{self, Propagation, WriteError},
};
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};

use crate::{Context, at, error::Error};

/// An expiration is looked at no sooner than this after the last look.
const MOMENT: Duration = Duration::from_millis(200);
/// How soon the watch should have shown what a live read found.
const SOON: Duration = Duration::from_secs(2);

/// Looks at one group: namespace and policy name.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, Error> {
    let backups = context.index().group(&at(&key));
    if backups.is_empty() {
        return Ok(Next::AwaitChange);
    }
    if !context.leader.leads() {
        return Ok(STAND_BY);
    }
    let now = clock::now();
    let limits = context.policies.by_key(&key).map(|policy| Limits::of(&policy));
    let mut group = Group { backups, limits };
    let mut doomed = decide(&context, &group, now);
    if doomed.iter().any(|doomed| doomed.reason == Reason::Surplus) {
        // A limit that was raised a moment ago must not be missed: the policy is read afresh before anything goes.
        let api: Api<BackupPolicy> = Api::namespaced(context.service.client.clone(), &key.namespace);
        group.limits = write::get(&api, &key.name).await?.map(|policy| Limits::of(&policy));
        doomed = decide(&context, &group, now);
    }
    let api: Api<SlimBackup> = Api::namespaced(context.service.client.clone(), &key.namespace);
    let mut witnesses = Witnesses::default();
    for doomed in doomed {
        if !witnesses.allow(&api, &doomed).await? {
            return Ok(Next::After(SOON));
        }
        if !context.leader.leads() {
            return Ok(STAND_BY);
        }
        remove(&context, &api, &doomed).await?;
    }
    let next = next_expiration(&group, now);
    let wait = next.map(|time| Duration::try_from(time.duration_since(clock::now())).unwrap_or_default());
    Ok(wait.map_or(Next::AwaitChange, |wait| Next::After(wait.max(MOMENT))))
}

fn decide(context: &Context, group: &Group, now: Timestamp) -> Vec<Doomed> {
    let index = context.index();
    let needed = |backup: &SlimBackup| !index.dependents(&at(&Key::of(backup))).is_empty();
    retire(group, &needed, now)
}

/// The newest good Backups of some series, each read afresh once: a good one goes only while a newer one is there.
#[derive(Default)]
struct Witnesses(HashMap<String, bool>);

impl Witnesses {
    async fn allow(&mut self, api: &Api<SlimBackup>, doomed: &Doomed) -> Result<bool, WriteError> {
        let Some(witness) = &doomed.witness else {
            return Ok(true);
        };
        let uid = witness.uid().unwrap_or_default();
        if let Some(known) = self.0.get(&uid) {
            return Ok(*known);
        }
        let found = write::get(api, &witness.name_any()).await?;
        let good = found.is_some_and(|found| found.is_good() && found.uid() == witness.uid());
        self.0.insert(uid, good);
        Ok(good)
    }
}

async fn remove(context: &Context, api: &Api<SlimBackup>, doomed: &Doomed) -> Result<(), Error> {
    let backup = &*doomed.backup;
    let (name, uid) = (backup.name_any(), backup.uid().unwrap_or_default());
    // Noted before, so that the Backup is counted rightly however soon it is gone.
    if !context.memory.retire(&uid, doomed.reason) {
        return Ok(());
    }
    let version = backup.metadata.resource_version.as_deref();
    let deleted = write::delete(api, &name, &uid, version, Propagation::Background).await;
    if let Err(error) = deleted {
        context.memory.unretire(&uid);
        // It changed since it was seen: the change comes back, and is decided about anew.
        return if matches!(error, WriteError::Conflict) {
            Ok(())
        } else {
            Err(error.into())
        };
    }
    let note = match doomed.reason {
        Reason::Expired => "its retention is over",
        _ => "there are more scheduled backups than backupsHistoryLimit",
    };
    tracing::info!(backup = %Key::of(backup), reason = doomed.reason.as_str(), "retired");
    context
        .service
        .events
        .publish(backup, false, doomed.reason.as_str(), note)
        .await;
    context.service.bus.publish(News {
        kind: "backup",
        verb: "expired",
        namespace: backup.namespace().unwrap_or_default(),
        name,
        uid,
        transition: doomed.reason.as_str().to_owned(),
        traceparent: backup.annotations().get(ANNOTATION_TRACEPARENT).cloned(),
        data: serde_json::json!({ "reason": doomed.reason.as_str() }),
        ..News::default()
    });
    Ok(())
}
