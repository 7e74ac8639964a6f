//! Keeps the status of policies, and makes the Backups that their schedules ask for.

use std::{sync::Arc, time::Duration};

use holdfast_api::{
    Backup, BackupPolicy, BackupPolicyStatus, BackupType,
    condition::Reason,
    names::{ANNOTATION_POLICY_UID, LABEL_AUTOBACKUP},
};
use holdfast_core::{
    admission,
    policy::{self, Slot},
};
use holdfast_runtime::{
    News, Next, clock, trace,
    watch::Key,
    write::{self, WriteError},
};
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use crate::{Context, error::Error, observe};

/// Looks at one policy.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, Error> {
    let Some(found) = context.policies.by_key(&key) else {
        return Ok(Next::AwaitChange);
    };
    let now = clock::now();
    if found.metadata.deletion_timestamp.is_some() {
        return Ok(Next::AwaitChange);
    }
    let wanted = policy::status(&found, now);
    context.metrics.policy(&found, &wanted);
    if !context.leader.leads() {
        return Ok(Next::AwaitChange);
    }
    if found.status.as_ref() != Some(&wanted) {
        return settle(&context, &found, wanted).await;
    }
    match policy::due(&found, unfinished(&context, &found), now) {
        Slot::None { next: None } => Ok(Next::AwaitChange),
        Slot::None { next: Some(next) } => {
            context.metrics.next_slot(&found, next);
            Ok(Next::After(
                Duration::try_from(next.duration_since(clock::now()))
                    .unwrap_or_default()
                    .max(Duration::from_millis(50)),
            ))
        }
        Slot::Missed(slot) => {
            let text = format!("slot {slot} was missed: nothing started it within startingDeadlineMinutes");
            pass_over(&context, &found, slot, Reason::SlotMissed, &text).await
        }
        Slot::Skipped(slot) => {
            let text = format!("slot {slot} was skipped: the previous scheduled backup had not ended");
            pass_over(&context, &found, slot, Reason::SlotSkipped, &text).await
        }
        Slot::Due(slot) => make(&context, &found, slot).await,
    }
}

async fn settle(context: &Context, found: &Arc<BackupPolicy>, wanted: BackupPolicyStatus) -> Result<Next, Error> {
    let before = found.status.as_ref().and_then(|status| status.failure_reason.clone());
    let failure = wanted.failure_reason.clone();
    let reason = wanted
        .conditions
        .first()
        .map(|condition| condition.reason.clone())
        .unwrap_or_default();
    put(context, found, wanted).await?;
    if let Some(failure) = failure.filter(|failure| Some(failure) != before.as_ref()) {
        context.service.events.publish(&**found, true, &reason, &failure).await;
    }
    Ok(Next::AwaitChange)
}

async fn put(context: &Context, found: &Arc<BackupPolicy>, status: BackupPolicyStatus) -> Result<(), Error> {
    let api: Api<BackupPolicy> =
        Api::namespaced(context.service.client.clone(), &found.namespace().unwrap_or_default());
    let wanted = BackupPolicy {
        status: Some(status),
        ..(**found).clone()
    };
    write::put_status(&api, &wanted)
        .await
        .map_err(Error::during("writing the policy's status"))?;
    Ok(())
}

/// Whether a scheduled Backup of the policy is still at work.
fn unfinished(context: &Context, found: &BackupPolicy) -> bool {
    let uid = found.uid();
    context.backups.all().iter().any(|backup| {
        backup.spec.backup_type == BackupType::Datafile
            && backup
                .labels()
                .get(LABEL_AUTOBACKUP)
                .is_some_and(|value| value == "true")
            && backup.annotations().get(ANNOTATION_POLICY_UID) == uid.as_ref()
    })
}

/// Settles a slot without a Backup, and says so.
async fn pass_over(
    context: &Context,
    found: &Arc<BackupPolicy>,
    slot: Timestamp,
    reason: Reason,
    text: &str,
) -> Result<Next, Error> {
    put(
        context,
        found,
        policy::after_slot(found, slot, Some((reason, text)), clock::now()),
    )
    .await?;
    context
        .service
        .events
        .publish(&**found, true, reason.as_str(), text)
        .await;
    context.metrics.slot(found, reason.as_str());
    tell(context, found, "missed", slot, reason);
    Ok(Next::AwaitChange)
}

/// Makes the Backup of a slot. Done twice, the second finds the first.
async fn make(context: &Context, found: &Arc<BackupPolicy>, slot: Timestamp) -> Result<Next, Error> {
    let mut backup = policy::slot_backup(found, slot, &trace::new_traceparent());
    admit(context, &mut backup).await;
    if !context.leader.leads() {
        return Ok(Next::AwaitChange);
    }
    let api: Api<Backup> = Api::namespaced(context.service.client.clone(), &found.namespace().unwrap_or_default());
    match write::create(&api, &backup).await {
        Ok(_) => {}
        Err(WriteError::Exists) => {
            let name = backup.name_any();
            let existing = write::get(&api, &name)
                .await
                .map_err(Error::during("reading the slot's Backup"))?;
            if existing.is_none_or(|existing| !policy::is_made_for(&existing, &backup)) {
                let text = format!("slot {slot} was passed over: Backup {name} exists and was not made for it");
                return pass_over(context, found, slot, Reason::SlotNameTaken, &text).await;
            }
        }
        Err(error) => return Err(Error::during("creating the slot's Backup")(error)),
    }
    put(context, found, policy::after_slot(found, slot, None, clock::now())).await?;
    context.metrics.slot(found, "made");
    tell(context, found, "scheduled", slot, Reason::Admitted);
    Ok(Next::AwaitChange)
}

/// Adds what admission would add, if everything is ready; else the Backup is created as it is and waits its turn.
async fn admit(context: &Context, backup: &mut Backup) {
    let mut observed = observe::observe(context, Arc::new(backup.clone()));
    if observe::read(context, &mut observed, admission::Read::Pods)
        .await
        .is_err()
    {
        return;
    }
    let Ok(metadata) = admission::admit(&observed, clock::now()) else {
        return;
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
    context.metrics.admission(Reason::Admitted);
}

fn tell(context: &Context, found: &BackupPolicy, verb: &'static str, slot: Timestamp, reason: Reason) {
    context.service.bus.publish(News {
        kind: if verb == "missed" { "slot" } else { "backup" },
        verb,
        namespace: found.namespace().unwrap_or_default(),
        name: found.name_any(),
        uid: found.uid().unwrap_or_default(),
        transition: format!("slot {verb}"),
        start: Some(slot),
        data: serde_json::json!({ "slot": slot.to_string(), "reason": reason.as_str() }),
        ..News::default()
    });
}
