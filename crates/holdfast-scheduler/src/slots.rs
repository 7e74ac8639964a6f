//! Makes the Backups that schedules ask for, and says which slots had none.

use std::{sync::Arc, time::Duration};

use holdfast_api::{
    Backup, BackupPolicy, BackupType,
    condition::Reason,
    event::{BusEvent, BusEventKind},
    names::ANNOTATION_ADMITTED,
};
use holdfast_core::{
    admission,
    policy::{self, Slot},
};
use holdfast_runtime::{
    Next, STAND_BY, clock, trace,
    write::{self, WriteError},
};
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use crate::{Context, admit, error::Error, observe, policies};

/// Settles a slot that has come: with a Backup, or without one and a reason.
pub(crate) async fn settle(
    context: &Context,
    found: &BackupPolicy,
    kind: BackupType,
    slot: &Slot,
) -> Result<Next, Error> {
    match slot {
        Slot::None { .. } => Ok(Next::AwaitChange),
        Slot::Due { slot: time, passed } => make(context, found, kind, slot, *time, *passed).await,
        Slot::Missed { slot: time, passed } | Slot::Skipped { slot: time, passed, .. } => {
            let Some((reason, text)) = slot.note() else {
                return Ok(Next::AwaitChange);
            };
            without(context, found, kind, *time, *passed, reason, &text).await
        }
    }
}

/// Settles a slot without a Backup, and says so.
async fn without(
    context: &Context,
    found: &BackupPolicy,
    kind: BackupType,
    slot: Timestamp,
    passed: u32,
    reason: Reason,
    text: &str,
) -> Result<Next, Error> {
    let status = policy::after_slot(found, kind, slot, Some((reason, text)), clock::now());
    policies::put(context, found, status).await?;
    context.metrics.slots(found, reason.as_str(), 1);
    complain(context, found, slot, passed, reason, text).await;
    Ok(Next::AwaitChange)
}

/// Tells users and services that slots had no Backup; `passed` of them came before `slot`.
async fn complain(context: &Context, found: &BackupPolicy, slot: Timestamp, passed: u32, reason: Reason, text: &str) {
    context.metrics.slots(found, Reason::SlotMissed.as_str(), passed);
    context.service.events.publish(found, true, reason.as_str(), text).await;
    context.service.bus.publish(BusEvent {
        start: Some(slot),
        data: serde_json::json!({ "slot": slot.to_string(), "reason": reason.as_str(), "earlier": passed }),
        ..BusEvent::of(BusEventKind::SlotMissed, found)
    });
}

/// Makes the Backup of a slot. Done twice, the second finds the first.
async fn make(
    context: &Context,
    found: &BackupPolicy,
    kind: BackupType,
    due: &Slot,
    slot: Timestamp,
    passed: u32,
) -> Result<Next, Error> {
    let backup = admitted(
        context,
        policy::slot_backup(found, kind, slot, &trace::new_traceparent()),
    )
    .await;
    // A look at the pods may have taken its time.
    if policies::look(context, found, kind).await? != *due {
        return Ok(Next::After(Duration::ZERO));
    }
    if !context.leader.leads() {
        return Ok(STAND_BY);
    }
    let api: Api<Backup> = Api::namespaced(context.service.client.clone(), &found.namespace().unwrap_or_default());
    let (backup, new) = match write::create(&api, &backup).await {
        Ok(backup) => (backup, true),
        Err(WriteError::Exists) => {
            let name = backup.name_any();
            let existing = write::get(&api, &name).await;
            match existing.map_err(Error::during("reading the slot's Backup"))? {
                Some(existing) if policy::is_made_for(&existing, &backup) => (existing, false),
                Some(_) => {
                    let text = format!("slot {slot} was passed over: Backup {name} exists and was not made for it");
                    return without(context, found, kind, slot, passed, Reason::SlotNameTaken, &text).await;
                }
                // It went in between.
                None => return Ok(Next::After(Duration::from_secs(1))),
            }
        }
        Err(error) => return Err(refused(context, found, error).await),
    };
    policies::put(
        context,
        found,
        policy::after_slot(found, kind, slot, None, clock::now()),
    )
    .await?;
    context.metrics.slots(found, "made", 1);
    tell(context, &backup, slot);
    if new && backup.annotations().contains_key(ANNOTATION_ADMITTED) {
        context.metrics.admission(Reason::Admitted);
        admit::tell(context, &backup, Reason::Admitted);
    }
    if let Some((reason, text)) = due.note() {
        complain(context, found, slot, passed, reason, &text).await;
    }
    Ok(Next::AwaitChange)
}

/// What is refused, by a quota for one, is tried on until the deadline, and told.
async fn refused(context: &Context, found: &BackupPolicy, error: WriteError) -> Error {
    if let WriteError::Refused(why) = &error {
        let text = format!("Creating backup failed, error: {why}");
        context
            .service
            .events
            .publish(found, true, Reason::FailedCreatedBackup.as_str(), &text)
            .await;
    }
    Error::during("creating the slot's Backup")(error)
}

/// Adds what admission would add, if everything is ready; else the Backup is created as it is and waits its turn.
async fn admitted(context: &Context, mut backup: Backup) -> Backup {
    let mut observed = observe::observe(context, Arc::new(backup.clone()));
    let read = observe::read(context, &mut observed, admission::Read::Pods).await;
    let Some(metadata) = read.ok().and_then(|()| admission::admit(&observed, clock::now()).ok()) else {
        return backup;
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let pairs = |field: &str| {
        metadata
            .get(field)
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    let labels = pairs("labels")
        .into_iter()
        .filter_map(|(key, value)| Some((key, text(&value)?)));
    backup.labels_mut().extend(labels);
    let annotations = pairs("annotations")
        .into_iter()
        .filter_map(|(key, value)| Some((key, text(&value)?)));
    backup.annotations_mut().extend(annotations);
    backup
}

fn tell(context: &Context, backup: &Backup, slot: Timestamp) {
    context.service.bus.publish(BusEvent {
        start: Some(slot),
        data: serde_json::json!({ "slot": slot.to_string(), "policy": backup.spec.backup_policy_name }),
        ..BusEvent::of(BusEventKind::BackupScheduled, backup)
    });
}
