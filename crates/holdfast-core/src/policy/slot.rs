//! Slots: the times at which a schedule asks for a Backup.

use std::{collections::BTreeMap, sync::Arc};

use holdfast_api::{
    Backup, BackupPolicy, BackupSpec, BackupType,
    condition::Reason,
    names::{
        ANNOTATION_POLICY_UID, ANNOTATION_SLOT, ANNOTATION_TRACEPARENT, FINALIZER, LABEL_AUTOBACKUP,
        LABEL_BACKUP_POLICY, LABEL_BACKUP_TYPE, LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_MAX, MANAGED_BY_KUBEBLOCKS,
        NOT_PRUNED, child_name,
    },
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use super::{Cron, schedule, schedules::settled, section};
use crate::naming;

/// How many slots that nobody made are counted; more are "at least" so many.
const COUNTED: u32 = 1000;

/// What a schedule asks for now. `passed` counts the slots before it that were neither made nor reported.
#[derive(Clone, Debug, PartialEq)]
pub enum Slot {
    /// Nothing; the next slot is then, if the schedule is on.
    None {
        /// When to look again.
        next: Option<Timestamp>,
    },
    /// A Backup for this slot.
    Due {
        /// Its time.
        slot: Timestamp,
        /// Earlier ones that are not made up for.
        passed: u32,
    },
    /// This slot could not be made in time.
    Missed {
        /// Its time.
        slot: Timestamp,
        /// Earlier ones.
        passed: u32,
    },
    /// This slot came while the Backup of an earlier one was unfinished.
    Skipped {
        /// Its time.
        slot: Timestamp,
        /// Earlier ones.
        passed: u32,
        /// The Backup that was unfinished.
        by: String,
    },
}

impl Slot {
    /// What users must be told: the reason and a sentence. A slot that is made in turn is no news of this kind.
    pub fn note(&self) -> Option<(Reason, String)> {
        let earlier = |passed: u32| match passed {
            0 => String::new(),
            1 => ", and one slot before it".to_owned(),
            COUNTED.. => format!(", and at least {passed} slots before it"),
            _ => format!(", and {passed} slots before it"),
        };
        match self {
            Self::None { .. } | Self::Due { passed: 0, .. } => None,
            Self::Due { slot, passed } => {
                let text = format!(
                    "{} missed before slot {slot}, which is made up for",
                    match *passed {
                        1 => "one slot was".to_owned(),
                        COUNTED.. => format!("at least {passed} slots were"),
                        _ => format!("{passed} slots were"),
                    }
                );
                Some((Reason::SlotMissed, text))
            }
            Self::Missed { slot, passed } => {
                let text = format!(
                    "slot {slot} was missed{}: nothing could start it within startingDeadlineMinutes",
                    earlier(*passed)
                );
                Some((Reason::SlotMissed, text))
            }
            Self::Skipped { slot, passed, by } => {
                let text = format!(
                    "slot {slot} was skipped{}: scheduled Backup {by} had not ended",
                    earlier(*passed)
                );
                Some((Reason::SlotSkipped, text))
            }
        }
    }
}

/// What the policy's schedule of one type asks for. At most one slot is made up for, the newest.
///
/// Slots count from when the status says that they are settled until. `active` are Backups as far as they are known not
/// to have ended; one of this policy's schedule holds a slot back (concurrency Forbid), unless it was made for that very
/// slot.
pub fn due(policy: &BackupPolicy, kind: BackupType, active: &[Arc<Backup>], now: Timestamp) -> Slot {
    let none = Slot::None { next: None };
    let Some(cron) = schedule(policy, kind).and_then(|schedule| Cron::parse(&schedule.cron_expression).ok()) else {
        return none;
    };
    let Some(settled) = policy.status.as_ref().and_then(|status| settled(status, kind)) else {
        return none;
    };
    let Some(slot) = cron.newest(settled, now) else {
        return Slot::None {
            next: cron.after(settled),
        };
    };
    let passed = cron.between(settled, slot, COUNTED);
    if late(policy, now.duration_since(slot)) {
        return Slot::Missed { slot, passed };
    }
    let earlier = active
        .iter()
        .find(|backup| is_scheduled_by(policy, kind, backup) && is_unfinished(backup) && !has_slot(backup, slot));
    match earlier {
        Some(backup) => Slot::Skipped {
            slot,
            passed,
            by: backup.name_any(),
        },
        None => Slot::Due { slot, passed },
    }
}

fn late(policy: &BackupPolicy, late: SignedDuration) -> bool {
    let schedule = policy.spec.schedule.as_ref();
    let minutes = schedule.and_then(|schedule| schedule.starting_deadline_minutes);
    // A deadline of less than a minute would miss every slot: the timer itself is a moment late.
    minutes.is_some_and(|minutes| late > SignedDuration::from_mins(minutes.max(1)))
}

fn is_scheduled_by(policy: &BackupPolicy, kind: BackupType, backup: &Backup) -> bool {
    let auto = backup.labels().get(LABEL_AUTOBACKUP);
    backup.spec.backup_type == kind
        && backup.namespace() == policy.namespace()
        && auto.is_some_and(|value| value == "true")
        && backup.annotations().get(ANNOTATION_POLICY_UID) == policy.metadata.uid.as_ref()
}

/// Whether a Backup has not ended: one whose files are being removed has.
pub fn is_unfinished(backup: &Backup) -> bool {
    !backup.phase().is_terminal()
}

fn has_slot(backup: &Backup, slot: Timestamp) -> bool {
    let text = backup.annotations().get(ANNOTATION_SLOT);
    text.and_then(|text| text.parse::<Timestamp>().ok()) == Some(slot)
}

/// The Backup of a slot of a type, complete but for what admission adds.
pub fn slot_backup(policy: &BackupPolicy, kind: BackupType, slot: Timestamp, traceparent: &str) -> Backup {
    let namespace = policy.namespace().unwrap_or_default();
    let uid = policy.uid().unwrap_or_default();
    let labels = section(policy, kind).and_then(|section| section.base.target.labels_selector.match_labels.as_ref());
    let instance = labels
        .and_then(|labels| labels.get(LABEL_INSTANCE))
        .filter(|name| !name.is_empty())
        .cloned();
    let cluster = instance.clone().unwrap_or_else(|| policy.name_any());
    let mut labels = BTreeMap::from([
        (LABEL_MANAGED_BY.to_owned(), MANAGED_BY_KUBEBLOCKS.to_owned()),
        (LABEL_AUTOBACKUP.to_owned(), "true".to_owned()),
        (LABEL_BACKUP_TYPE.to_owned(), kind.as_str().to_owned()),
        (
            LABEL_BACKUP_POLICY.to_owned(),
            child_name(&policy.name_any(), &uid, LABEL_MAX),
        ),
    ]);
    labels.extend(instance.map(|instance| (LABEL_INSTANCE.to_owned(), instance)));
    let mut annotations = BTreeMap::from(NOT_PRUNED.map(|(key, value)| (key.to_owned(), value.to_owned())));
    annotations.extend([
        (ANNOTATION_POLICY_UID.to_owned(), uid.clone()),
        (ANNOTATION_SLOT.to_owned(), slot.to_string()),
        (ANNOTATION_TRACEPARENT.to_owned(), traceparent.to_owned()),
    ]);
    Backup {
        metadata: ObjectMeta {
            name: Some(naming::slot_backup(&namespace, &cluster, &uid, kind, slot)),
            namespace: Some(namespace),
            labels: Some(labels),
            annotations: Some(annotations),
            finalizers: Some(vec![FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: BackupSpec {
            backup_policy_name: policy.name_any(),
            backup_type: kind,
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

/// The name of the Backup of a type's newest slot, if no success since then is known: it may have ended unseen.
pub fn unconfirmed(policy: &BackupPolicy, kind: BackupType) -> Option<String> {
    let status = policy.status.as_ref()?;
    let slot = status.last_schedule_time.as_ref()?.0;
    let success = status.last_successful_time.as_ref().map(|time| time.0);
    (success < Some(slot)).then(|| slot_backup(policy, kind, slot, "").name_any())
}
