//! Slots: the times at which a schedule asks for a Backup.

use std::collections::BTreeMap;

use holdfast_api::{
    Backup, BackupPolicy, BackupSpec, BackupType,
    names::{
        ANNOTATION_POLICY_UID, ANNOTATION_SLOT, ANNOTATION_TRACEPARENT, FINALIZER, LABEL_AUTOBACKUP,
        LABEL_BACKUP_POLICY, LABEL_BACKUP_TYPE, LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_MAX, MANAGED_BY_KUBEBLOCKS,
        child_name,
    },
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use super::{Cron, SCHEDULED, schedule};
use crate::naming;

/// What a schedule asks for now.
#[derive(Clone, Debug, PartialEq)]
pub enum Slot {
    /// Nothing; the next slot is then, if the schedule is on.
    None {
        /// When to look again.
        next: Option<Timestamp>,
    },
    /// A Backup for this slot.
    Due(Timestamp),
    /// This slot could not be made in time.
    Missed(Timestamp),
    /// This slot came while the Backup of an earlier one was unfinished.
    Skipped(Timestamp),
}

/// What the policy's schedule of data files asks for. At most one slot is made up for, the newest.
///
/// Slots count from when the status says that the schedule is as it is (condition `Scheduled`), or from the last
/// one made. `unfinished` says whether a scheduled Backup of this policy has not ended (concurrency Forbid).
pub fn due(policy: &BackupPolicy, unfinished: bool, now: Timestamp) -> Slot {
    let none = Slot::None { next: None };
    let Some(cron) = schedule(policy).and_then(|schedule| Cron::parse(&schedule.cron_expression).ok()) else {
        return none;
    };
    let Some(status) = policy.status.as_ref() else {
        return none;
    };
    let Some(since) = status
        .conditions
        .iter()
        .find(|c| c.type_ == SCHEDULED && c.status == "True")
    else {
        return none;
    };
    let made = status
        .last_schedule_time
        .as_ref()
        .map_or(since.last_transition_time.0, |time| time.0);
    let settled = made.max(since.last_transition_time.0);
    let Some(slot) = cron.up_to(now).filter(|slot| *slot > settled) else {
        return Slot::None {
            next: cron.after(now.max(settled)),
        };
    };
    let minutes = policy
        .spec
        .schedule
        .as_ref()
        .and_then(|schedule| schedule.starting_deadline_minutes);
    let late = now.duration_since(slot);
    // A deadline of less than a minute would miss every slot: the timer itself is a moment late.
    if minutes.is_some_and(|minutes| late > SignedDuration::from_mins(minutes.max(1))) {
        return Slot::Missed(slot);
    }
    if unfinished {
        Slot::Skipped(slot)
    } else {
        Slot::Due(slot)
    }
}

/// The Backup of a slot, complete but for what admission adds.
pub fn slot_backup(policy: &BackupPolicy, slot: Timestamp, traceparent: &str) -> Backup {
    let namespace = policy.namespace().unwrap_or_default();
    let uid = policy.uid().unwrap_or_default();
    let labels = policy
        .spec
        .datafile
        .as_ref()
        .and_then(|section| section.base.target.labels_selector.match_labels.as_ref());
    let instance = labels
        .and_then(|labels| labels.get(LABEL_INSTANCE))
        .filter(|name| !name.is_empty())
        .cloned();
    let cluster = instance.clone().unwrap_or_else(|| policy.name_any());
    let mut labels = BTreeMap::from([
        (LABEL_MANAGED_BY.to_owned(), MANAGED_BY_KUBEBLOCKS.to_owned()),
        (LABEL_AUTOBACKUP.to_owned(), "true".to_owned()),
        (LABEL_BACKUP_TYPE.to_owned(), BackupType::Datafile.as_str().to_owned()),
        (
            LABEL_BACKUP_POLICY.to_owned(),
            child_name(&policy.name_any(), &uid, LABEL_MAX),
        ),
    ]);
    labels.extend(instance.map(|instance| (LABEL_INSTANCE.to_owned(), instance)));
    Backup {
        metadata: ObjectMeta {
            name: Some(naming::slot_backup(
                &namespace,
                &cluster,
                &uid,
                BackupType::Datafile,
                slot,
            )),
            namespace: Some(namespace),
            labels: Some(labels),
            annotations: Some(BTreeMap::from([
                (ANNOTATION_POLICY_UID.to_owned(), uid),
                (ANNOTATION_SLOT.to_owned(), slot.to_string()),
                (ANNOTATION_TRACEPARENT.to_owned(), traceparent.to_owned()),
            ])),
            finalizers: Some(vec![FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: BackupSpec {
            backup_policy_name: policy.name_any(),
            backup_type: BackupType::Datafile,
            ..BackupSpec::default()
        },
        status: None,
    }
}

/// Whether an existing Backup is that of this slot.
pub fn is_made_for(existing: &Backup, wanted: &Backup) -> bool {
    let same = |key: &str| existing.annotations().get(key) == wanted.annotations().get(key);
    same(ANNOTATION_POLICY_UID) && same(ANNOTATION_SLOT) && existing.spec.backup_type == wanted.spec.backup_type
}
