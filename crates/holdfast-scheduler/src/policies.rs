//! Keeps the status of policies, and asks when their schedules come due.

use std::{sync::Arc, time::Duration};

use holdfast_api::{
    Backup, BackupPolicy, BackupPolicyStatus, BackupType, ObjectMetaExt as _,
    condition::{self, Condition, ConditionType},
};
use holdfast_core::policy::{self, Slot};
use holdfast_runtime::{Next, STAND_BY, clock, watch::Key, write};
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};

use crate::{Context, error::Error, slots};

/// Looks at one policy.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, Error> {
    let Some(found) = context.policies.by_key(&key) else {
        return Ok(Next::AwaitChange);
    };
    if let Some(status) = &found.status {
        context.metrics.policy(&found, status);
    }
    if found.is_terminating() {
        return Ok(Next::AwaitChange);
    }
    if !context.leader.leads() {
        // Only who leads knows.
        context.metrics.next_slot(&found, None);
        return Ok(STAND_BY);
    }
    let wanted = policy::status(&found, clock::now());
    if found.status.as_ref() != Some(&wanted) {
        return settle(&context, &found, wanted).await;
    }
    let mut next = None;
    for kind in policy::SERVED {
        match look(&context, &found, *kind).await? {
            Slot::None { next: of_kind } => next = [next, of_kind].into_iter().flatten().min(),
            slot => return slots::settle(&context, &found, *kind, &slot).await,
        }
    }
    context.metrics.next_slot(&found, next);
    Ok(next.map_or(Next::AwaitChange, until))
}

/// Comes back when it is time; a moment later if that has come already.
fn until(time: Timestamp) -> Next {
    let left = time.duration_since(clock::now());
    Next::After(
        Duration::try_from(left)
            .unwrap_or_default()
            .max(Duration::from_millis(50)),
    )
}

/// What the schedule of a type asks for now. That a Backup still runs is asked of the API server before a slot is skipped.
pub(crate) async fn look(context: &Context, found: &BackupPolicy, kind: BackupType) -> Result<Slot, Error> {
    let mut active = context.backups.all();
    let api: Api<Backup> = Api::namespaced(context.service.client.clone(), &found.namespace().unwrap_or_default());
    loop {
        let slot = policy::due(found, kind, &active, clock::now());
        let Slot::Skipped { by, .. } = &slot else {
            return Ok(slot);
        };
        let live = write::get(&api, by).await;
        let live = live.map_err(Error::during("reading the Backup that holds a slot back"))?;
        if live.as_ref().is_some_and(policy::is_unfinished) {
            return Ok(slot);
        }
        active.retain(|backup| backup.name_any() != *by || backup.namespace() != found.namespace());
    }
}

async fn settle(context: &Context, found: &BackupPolicy, wanted: BackupPolicyStatus) -> Result<Next, Error> {
    let known = found.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let new = said(known) != said(&wanted.conditions);
    put(context, found, wanted).await?;
    if let Some((reason, text)) = policy::complaint(found).filter(|_| new) {
        context
            .service
            .events
            .publish(found, true, reason.as_str(), &text)
            .await;
    }
    Ok(Next::AwaitChange)
}

/// What people can read in the status about whether the policy can be used.
fn said(conditions: &[Condition]) -> Option<(&str, &str)> {
    let ready = condition::find(conditions, ConditionType::Ready)?;
    Some((&ready.reason, &ready.message))
}

/// Replaces the status of a policy, if it is still the one that was seen.
pub(crate) async fn put(context: &Context, found: &BackupPolicy, status: BackupPolicyStatus) -> Result<(), Error> {
    let api: Api<BackupPolicy> =
        Api::namespaced(context.service.client.clone(), &found.namespace().unwrap_or_default());
    let wanted = BackupPolicy {
        status: Some(status),
        ..found.clone()
    };
    let written = write::put_status(&api, &wanted).await;
    written.map_err(Error::during("writing the policy's status"))?;
    Ok(())
}
