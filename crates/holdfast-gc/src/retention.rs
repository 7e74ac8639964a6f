//! Retires the Backups of one policy.

use std::{collections::HashMap, sync::Arc, time::Duration};

use holdfast_api::{
    BackupPolicy,
    condition::Reason,
    event::{BusEvent, BusEventKind},
};
use holdfast_core::gc::{BackupSummary, Candidate, Group, Limits, next_expiration, retire};
use holdfast_runtime::{
    Next, STAND_BY, clock,
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
    let mut candidates = decide(&context, &group, now);
    if candidates
        .iter()
        .any(|candidate| candidate.reason == Reason::HistoryLimitExceeded)
    {
        // A limit that was raised a moment ago must not be missed: the policy is read afresh before anything goes.
        let api: Api<BackupPolicy> = Api::namespaced(context.service.client.clone(), &key.namespace);
        group.limits = write::get(&api, &key.name).await?.map(|policy| Limits::of(&policy));
        candidates = decide(&context, &group, now);
    }
    let api: Api<BackupSummary> = Api::namespaced(context.service.client.clone(), &key.namespace);
    let mut newer_goods = NewerGoods::default();
    for candidate in candidates {
        if !newer_goods.allow(&api, &candidate).await? {
            return Ok(Next::After(SOON));
        }
        if !context.leader.leads() {
            return Ok(STAND_BY);
        }
        remove(&context, &api, &candidate).await?;
    }
    let next = next_expiration(&group, now);
    let wait = next.map(|time| Duration::try_from(time.duration_since(clock::now())).unwrap_or_default());
    Ok(wait.map_or(Next::AwaitChange, |wait| Next::After(wait.max(MOMENT))))
}

fn decide(context: &Context, group: &Group, now: Timestamp) -> Vec<Candidate> {
    let index = context.index();
    let needed = |backup: &BackupSummary| !index.dependents(&at(&Key::of(backup))).is_empty();
    retire(group, &needed, now)
}

/// The newest good Backups of some series, each read afresh once: a good one goes only while a newer one is there.
#[derive(Default)]
struct NewerGoods(HashMap<String, bool>);

impl NewerGoods {
    async fn allow(&mut self, api: &Api<BackupSummary>, candidate: &Candidate) -> Result<bool, WriteError> {
        let Some(newer_good) = &candidate.newer_good else {
            return Ok(true);
        };
        let uid = newer_good.uid().unwrap_or_default();
        if let Some(known) = self.0.get(&uid) {
            return Ok(*known);
        }
        let found = write::get(api, &newer_good.name_any()).await?;
        let good = found.is_some_and(|found| found.is_good() && found.uid() == newer_good.uid());
        self.0.insert(uid, good);
        Ok(good)
    }
}

async fn remove(context: &Context, api: &Api<BackupSummary>, candidate: &Candidate) -> Result<(), Error> {
    let backup = &*candidate.backup;
    let (name, uid) = (backup.name_any(), backup.uid().unwrap_or_default());
    // Noted before, so that the Backup is counted rightly however soon it is gone.
    if !context.memory.retire(&uid, candidate.reason) {
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
    let note = match candidate.reason {
        Reason::Expired => "its retention is over",
        _ => "there are more scheduled backups than backupsHistoryLimit",
    };
    tracing::info!(backup = %Key::of(backup), reason = candidate.reason.as_str(), "retired");
    context
        .service
        .events
        .publish(backup, false, candidate.reason.as_str(), note)
        .await;
    context.service.bus.publish(BusEvent {
        data: serde_json::json!({ "reason": candidate.reason.as_str() }),
        ..BusEvent::of(BusEventKind::BackupExpired, backup)
    });
    Ok(())
}
