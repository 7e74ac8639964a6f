//! Which Backups go because their time is over or there are too many of them. Every rule that keeps one wins.

use std::{collections::BTreeMap, sync::Arc};

use holdfast_api::{
    BackupPhase, BackupPolicy, BackupType,
    condition::Reason,
    names::{ANNOTATION_POLICY_UID, LABEL_AUTOBACKUP, LABEL_BACKUP_PROTECTION, LABEL_CLUSTER_UID, LABEL_INSTANCE},
};
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::SlimBackup;

/// How many scheduled, completed Backups a policy that says nothing keeps.
const DEFAULT_LIMIT: i32 = 7;

/// A Backup that shall go.
#[derive(Clone, Debug, PartialEq)]
pub struct Doomed {
    /// The Backup as it was seen: its uid and resourceVersion guard the deletion.
    pub backup: Arc<SlimBackup>,
    /// [`Reason::Expired`] or [`Reason::Surplus`].
    pub reason: Reason,
}

/// How many scheduled Backups a policy keeps, by type; 0 means all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    uid: String,
    limits: BTreeMap<BackupType, usize>,
}

impl Limits {
    /// The limits of a policy.
    pub fn of(policy: &BackupPolicy) -> Self {
        let spec = &policy.spec;
        let limit = |limit: Option<i32>| usize::try_from(limit.unwrap_or(DEFAULT_LIMIT)).unwrap_or(0);
        let common = |section: &holdfast_api::CommonBackupPolicy| limit(section.base.backups_history_limit);
        let mut limits = BTreeMap::new();
        limits.extend(
            spec.datafile
                .as_ref()
                .map(|section| (BackupType::Datafile, common(section))),
        );
        limits.extend(
            spec.snapshot
                .as_ref()
                .map(|section| (BackupType::Snapshot, limit(section.base.backups_history_limit))),
        );
        Self {
            uid: policy.uid().unwrap_or_default(),
            limits,
        }
    }
}

/// All Backups of one policy name in one namespace.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The Backups.
    pub backups: Vec<Arc<SlimBackup>>,
    /// The limits of the policy, if there is one.
    pub limits: Option<Limits>,
}

type Keep = fn(&SlimBackup, &Group) -> bool;

/// Why a Backup stays, whatever its age: the first that holds decides.
const KEEP: &[Keep] = &[
    is_at_work,
    is_going_already,
    is_protected,
    is_newest_good_of_its_series,
    is_parent_of_one_that_stays,
];

fn is_at_work(backup: &SlimBackup, _: &Group) -> bool {
    !matches!(backup.status.phase, Some(BackupPhase::Completed | BackupPhase::Failed))
}

fn is_going_already(backup: &SlimBackup, _: &Group) -> bool {
    backup.metadata.deletion_timestamp.is_some()
}

fn is_protected(backup: &SlimBackup, _: &Group) -> bool {
    backup
        .labels()
        .get(LABEL_BACKUP_PROTECTION)
        .is_some_and(|value| value.eq_ignore_ascii_case("retain"))
}

fn is_newest_good_of_its_series(backup: &SlimBackup, group: &Group) -> bool {
    if !backup.is_good() {
        return false;
    }
    let key = series(backup);
    let newest = group
        .backups
        .iter()
        .filter(|other| other.is_good() && series(other) == key)
        .max_by_key(|other| order(other));
    newest.is_some_and(|newest| newest.metadata.uid == backup.metadata.uid)
}

/// An increment that stays needs every Backup below it.
fn is_parent_of_one_that_stays(backup: &SlimBackup, group: &Group) -> bool {
    let name = backup.name_any();
    group
        .backups
        .iter()
        .any(|child| child.parent() == Some(&name) && child.metadata.deletion_timestamp.is_none())
}

/// What a Backup is one of: type and source. Namespace and policy are those of the group.
fn series(backup: &SlimBackup) -> (BackupType, Option<String>) {
    let labels = backup.labels();
    let source = labels.get(LABEL_CLUSTER_UID).or_else(|| labels.get(LABEL_INSTANCE));
    (
        backup.spec.backup_type,
        source.filter(|source| !source.is_empty()).cloned(),
    )
}

fn order(backup: &SlimBackup) -> (Option<Timestamp>, String) {
    (backup.time(), backup.name_any())
}

/// The Backups of a group that shall go now. Derived anew each time; deleting some of them changes nothing for the rest.
pub fn retire(group: &Group, now: Timestamp) -> Vec<Doomed> {
    let stays = |backup: &SlimBackup| KEEP.iter().any(|keep| keep(backup, group));
    let surplus = surplus(group);
    let mut doomed = Vec::new();
    for backup in &group.backups {
        let expired = backup.status.expiration.as_ref().is_some_and(|time| time.0 <= now);
        let too_many = surplus.iter().any(|other| other.metadata.uid == backup.metadata.uid);
        if (expired || too_many) && !stays(backup) {
            let reason = if expired { Reason::Expired } else { Reason::Surplus };
            doomed.push(Doomed {
                backup: Arc::clone(backup),
                reason,
            });
        }
    }
    doomed
}

/// The oldest scheduled, completed Backups above the limit, by type. Failed ones never push a good one out.
fn surplus(group: &Group) -> Vec<Arc<SlimBackup>> {
    let Some(limits) = &group.limits else { return Vec::new() };
    let mut found = Vec::new();
    for (kind, limit) in limits.limits.iter().filter(|(_, limit)| **limit > 0) {
        let counts = |backup: &&Arc<SlimBackup>| {
            backup.spec.backup_type == *kind
                && backup.is_good()
                && backup
                    .labels()
                    .get(LABEL_AUTOBACKUP)
                    .is_some_and(|value| value == "true")
                && backup
                    .annotations()
                    .get(ANNOTATION_POLICY_UID)
                    .is_none_or(|uid| *uid == limits.uid)
        };
        let mut scheduled: Vec<&Arc<SlimBackup>> = group.backups.iter().filter(counts).collect();
        scheduled.sort_by_key(|backup| order(backup));
        let over = scheduled.len().saturating_sub(*limit);
        found.extend(scheduled.into_iter().take(over).cloned());
    }
    found
}

/// When the next Backup of a group expires.
pub fn next_expiration(group: &Group, now: Timestamp) -> Option<Timestamp> {
    let times = group
        .backups
        .iter()
        .filter(|backup| backup.metadata.deletion_timestamp.is_none());
    times
        .filter_map(|backup| Some(backup.status.expiration.as_ref()?.0))
        .filter(|time| *time > now)
        .min()
}
