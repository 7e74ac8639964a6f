//! The way of a deleted Backup to its end: its files first, then the object.

use holdfast_api::{
    Backup, BackupPhase, BackupStatus,
    condition::{self, READY, RECONCILING, Reason, STALLED},
    names::FINALIZER,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// Everything that the release of one Backup rests on, read from the API server just now.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The Backup.
    pub backup: Backup,
    /// Whether its namespace is being deleted: no Job can run there any more.
    pub namespace_terminating: bool,
    /// The claim that holds its files, if it exists.
    pub claim: Option<PersistentVolumeClaim>,
    /// Names of Backups that build on it and stay.
    pub children: Vec<String>,
}

/// The one guarded write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Replace the status.
    Status(Box<BackupStatus>),
    /// Merge this into the metadata: the finalizer goes.
    Release(Value),
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The one write, if any.
    pub write: Option<Write>,
    /// Warning, reason and note of an Event after it.
    pub event: Option<(bool, Reason, String)>,
    /// Whether its files shall be removed now.
    pub purge: bool,
}

impl Decision {
    fn nothing() -> Self {
        Self {
            write: None,
            event: None,
            purge: false,
        }
    }
}

/// Whether a Backup is gc's to release: deleted, held by our finalizer, and in a phase that gc owns.
pub fn concerns(phase: Option<BackupPhase>, deleted: bool, finalizers: &[String]) -> bool {
    deleted
        && finalizers.iter().any(|name| name == FINALIZER)
        && matches!(
            phase,
            Some(BackupPhase::Completed | BackupPhase::Failed | BackupPhase::Deleting)
        )
}

/// The claim and the directory that a Backup's files are in, if it ever got that far.
pub fn claim_and_path(backup: &Backup) -> Option<(String, String)> {
    let status = backup.status.as_ref()?;
    let plan = status.plan.as_ref();
    let written = status
        .manifests
        .as_ref()
        .and_then(|manifests| manifests.backup_tool.as_ref()?.file_path.clone());
    let claim = status
        .persistent_volume_claim_name
        .clone()
        .or_else(|| Some(plan?.persistent_volume_claim_name.clone()))?;
    let path = written.or_else(|| Some(plan?.path.clone()))?;
    // The last part must be the Backup's own name: a directory that others share is never removed.
    let own = path.rsplit('/').next() == Some(&backup.name_any());
    (!claim.is_empty() && own).then_some((claim, path))
}

/// Decides about one deleted Backup.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let backup = &observed.backup;
    let phase = backup.status.as_ref().and_then(|status| status.phase);
    if !concerns(phase, backup.metadata.deletion_timestamp.is_some(), backup.finalizers()) {
        return Decision::nothing();
    }
    if observed.namespace_terminating {
        let text = "the namespace is being deleted: what becomes of the files follows their volume";
        return released(backup, Some((false, Reason::NamespaceTerminating, text.to_owned())));
    }
    if !observed.children.is_empty() {
        let text = format!("increments build on it and stay: {}", observed.children.join(", "));
        return said(backup, Reason::BlockedByChildren, &text, now);
    }
    let Some((claim, path)) = claim_and_path(backup) else {
        return released(backup, None);
    };
    let Some(found) = &observed.claim else {
        let text = format!("claim {claim} is gone: files at {path}, if its volume still exists, stay there");
        return released(backup, Some((true, Reason::DataLeftBehind, text)));
    };
    // A claim that was never bound never held a file.
    if found
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_name.as_deref())
        .is_none_or(str::is_empty)
    {
        return released(backup, None);
    }
    if phase != Some(BackupPhase::Deleting) {
        let mut status = backup.status.clone().unwrap_or_default();
        status.phase = Some(BackupPhase::Deleting);
        let generation = backup.metadata.generation.unwrap_or_default();
        let text = format!("removing {path} from claim {claim}");
        condition::set(
            &mut status.conditions,
            READY,
            false,
            Reason::Purging,
            &text,
            generation,
            now,
        );
        condition::set(
            &mut status.conditions,
            RECONCILING,
            true,
            Reason::Purging,
            &text,
            generation,
            now,
        );
        condition::set(
            &mut status.conditions,
            STALLED,
            false,
            Reason::Purging,
            &text,
            generation,
            now,
        );
        return Decision {
            write: Some(Write::Status(Box::new(status))),
            event: None,
            purge: true,
        };
    }
    Decision {
        purge: true,
        ..Decision::nothing()
    }
}

fn released(backup: &Backup, event: Option<(bool, Reason, String)>) -> Decision {
    Decision {
        write: Some(release(backup)),
        event,
        purge: false,
    }
}

/// The write that lets a Backup go.
pub fn release(backup: &Backup) -> Write {
    let left: Vec<&String> = backup.finalizers().iter().filter(|name| *name != FINALIZER).collect();
    Write::Release(json!({ "finalizers": left }))
}

fn said(backup: &Backup, reason: Reason, text: &str, now: Timestamp) -> Decision {
    let generation = backup.metadata.generation.unwrap_or_default();
    let mut status = backup.status.clone().unwrap_or_default();
    let message = format!("{text}: {}", reason.hint());
    let changed = condition::set(&mut status.conditions, STALLED, true, reason, &message, generation, now);
    Decision {
        write: changed.then(|| Write::Status(Box::new(status))),
        event: changed.then(|| (true, reason, text.to_owned())),
        purge: false,
    }
}

/// The status of a Backup whose files are not removed, for this reason, if it does not say so yet.
pub fn purge_failed(backup: &Backup, job: &str, reason: Reason, why: &str, now: Timestamp) -> Option<BackupStatus> {
    let generation = backup.metadata.generation.unwrap_or_default();
    let mut status = backup.status.clone().unwrap_or_default();
    if reason == Reason::PurgeFailed {
        let text =
            format!("the job \"{job}\" for backup files deletion failed, you can delete it to re-delete the files");
        status.failure_reason = Some(text);
    }
    let message = format!("{why}: {}", reason.hint());
    let changed = condition::set(&mut status.conditions, STALLED, true, reason, &message, generation, now);
    changed.then_some(status)
}
