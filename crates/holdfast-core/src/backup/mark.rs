//! What admission writes into a Backup's metadata: not believed, because anybody may copy it, and put back where it was lost.

use holdfast_api::names::{
    ANNOTATION_ADMITTED, ANNOTATION_POLICY_UID, FINALIZER, LABEL_BACKUP_POLICY, LABEL_BACKUP_REPO_NAME,
    LABEL_BACKUP_TYPE, LABEL_MANAGED_BY, LABEL_MAX, MANAGED_BY_KUBEBLOCKS, child_name,
};
use holdfast_api::{Backup, BackupPhase, ObjectMetaExt as _};
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

use super::observed::{Observed, Write};
use crate::decision::{has_finalizer, with_finalizer};
use crate::{policy, target};

/// Takes the mark of admission away: the scheduler, which believes no mark, then lets the Backup in or refuses it.
pub(super) fn taken_away() -> Write {
    Write::Metadata(json!({ "annotations": { ANNOTATION_ADMITTED: null } }))
}

/// Whether the Backup has all that the scheduler gives with the mark. Without a finalizer nobody would guard its files.
pub(super) fn is_complete(backup: &Backup) -> bool {
    let has = |label: &str| backup.labels().contains_key(label);
    has_finalizer(&backup.metadata, FINALIZER) && has(LABEL_BACKUP_POLICY) && has(LABEL_BACKUP_TYPE)
}

/// Whether the policy as it is now selects the pod: who may only create Backups must not aim a tool at another.
pub(super) fn is_the_policys(observed: &Observed) -> bool {
    let (Some(policy), Some(pod)) = (observed.policy.get(), observed.target.get()) else {
        return false;
    };
    let made_for = observed.backup.annotations().get(ANNOTATION_POLICY_UID);
    let Some(section) = policy::section(policy, observed.backup.spec.backup_type) else {
        return false;
    };
    if made_for.is_some() && made_for != policy.metadata.uid.as_ref() {
        return false;
    }
    let selector = &section.base.target.labels_selector;
    target::selector(selector).is_ok() && target::matches(selector, pod.labels())
}

/// What a Backup that runs has lost of its metadata, as a change that puts it back: without a finalizer its files would
/// stay for ever, without its labels nobody would find it.
pub(super) fn lost(backup: &Backup) -> Option<Value> {
    if backup.phase() != BackupPhase::InProgress || backup.is_terminating() {
        return None;
    }
    let plan = backup.status.as_ref()?.plan.as_ref()?;
    let known = backup.labels();
    let mut labels = Map::new();
    let mut label = |key: &str, value: String| {
        if !known.contains_key(key) {
            labels.insert(key.to_owned(), value.into());
        }
    };
    label(LABEL_MANAGED_BY, MANAGED_BY_KUBEBLOCKS.to_owned());
    label(LABEL_BACKUP_TYPE, backup.spec.backup_type.as_str().to_owned());
    let policy = &backup.spec.backup_policy_name;
    label(LABEL_BACKUP_POLICY, child_name(policy, &plan.policy_uid, LABEL_MAX));
    if let Some(repository) = &plan.location.repository {
        let name = child_name(&repository.name, &repository.uid, LABEL_MAX);
        label(LABEL_BACKUP_REPO_NAME, name);
    }
    let finalizer = with_finalizer(&backup.metadata, FINALIZER);
    if labels.is_empty() && finalizer.is_none() {
        return None;
    }
    let mut metadata = finalizer.unwrap_or_else(|| json!({}));
    if !labels.is_empty() {
        metadata["labels"] = Value::Object(labels);
    }
    Some(metadata)
}
