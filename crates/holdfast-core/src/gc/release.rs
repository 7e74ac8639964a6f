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

use super::{Place, place};
use crate::backup::Event;

/// How many names a message holds at the most.
const NAMED: usize = 5;

/// Everything that the release of one Backup rests on, read from the API server just now.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The Backup.
    pub backup: Backup,
    /// Whether its namespace is being deleted: no Job can run there any more.
    pub namespace_terminating: bool,
    /// The claim that holds its files, if it exists.
    pub claim: Option<PersistentVolumeClaim>,
    /// Names of Backups that stay and build on it.
    pub dependents: Vec<String>,
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// The one write, if any.
    pub write: Option<Write>,
    /// An Event after it.
    pub event: Option<Event>,
    /// The claim whose purge now has work, if it is the files' turn.
    pub purge: Option<String>,
    /// Whether increments that stay keep it.
    pub blocked: bool,
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

/// Decides about one deleted Backup.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let backup = &observed.backup;
    let status = backup.status.clone().unwrap_or_default();
    if !concerns(
        status.phase,
        backup.metadata.deletion_timestamp.is_some(),
        backup.finalizers(),
    ) {
        return Decision::default();
    }
    if observed.namespace_terminating {
        let note = "the namespace is being deleted: what becomes of the files follows their volume";
        return released(backup, Some(event(false, Reason::NamespaceTerminating, note)));
    }
    let deleting = status.phase == Some(BackupPhase::Deleting);
    // Once its files are going, nothing that is built on it can be helped any more.
    if !deleting && !observed.dependents.is_empty() {
        return blocked(backup, &observed.dependents, now);
    }
    let name = backup.name_any();
    let (claim, path) = match place(&name, &status) {
        Place::Nowhere => return released(backup, None),
        Place::Shared { claim, path } => {
            let note =
                format!("directory {path} in claim {claim} does not bear the backup's name, so it is not removed");
            return left_behind(backup, &note, now);
        }
        Place::Own { claim, path } => (claim, path),
    };
    let Some(found) = observed.claim.as_ref().filter(|claim| !is_lost(claim)) else {
        let note = format!("claim {claim} or its volume is gone: files at {path}, if they still exist, stay there");
        return left_behind(backup, &note, now);
    };
    if !is_bound(found) {
        // A claim that was never bound never held a file; one that was bound once has been made anew.
        let Some(volume) = bound_before(&status) else {
            return released(backup, None);
        };
        let note = format!("claim {claim} is new and empty: files at {path} in volume {volume} stay there");
        return left_behind(backup, &note, now);
    }
    let purge = Some(claim.to_owned());
    if deleting {
        return Decision {
            purge,
            ..Decision::default()
        };
    }
    let status = purging(backup, &format!("removing {path} from claim {claim}"), now);
    Decision {
        write: Some(Write::Status(Box::new(status))),
        purge,
        ..Decision::default()
    }
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    volume.is_some_and(|volume| !volume.is_empty())
}

/// Its volume was deleted under it.
fn is_lost(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost")
}

fn bound_before(status: &BackupStatus) -> Option<&str> {
    let tool = status.manifests.as_ref()?.backup_tool.as_ref()?;
    tool.volume_name.as_deref().filter(|volume| !volume.is_empty())
}

/// The reason of the condition `Stalled`, while that holds.
fn stalled_by(status: &BackupStatus) -> Option<&str> {
    let stalled =
        |one: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| one.type_ == STALLED && one.status == "True";
    status
        .conditions
        .iter()
        .find(stalled)
        .map(|condition| condition.reason.as_str())
}

fn event(warning: bool, reason: Reason, note: impl Into<String>) -> Event {
    Event {
        warning,
        reason: reason.as_str().to_owned(),
        note: note.into(),
    }
}

fn released(backup: &Backup, event: Option<Event>) -> Decision {
    Decision {
        write: Some(release(backup.finalizers())),
        event,
        ..Decision::default()
    }
}

/// The write that lets a Backup with these finalizers go.
pub fn release(finalizers: &[String]) -> Write {
    let left: Vec<&String> = finalizers.iter().filter(|name| *name != FINALIZER).collect();
    Write::Release(json!({ "finalizers": left }))
}

fn blocked(backup: &Backup, dependents: &[String], now: Timestamp) -> Decision {
    let named = dependents
        .iter()
        .take(NAMED)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let more = dependents.len().saturating_sub(NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let note = format!("increments build on it and stay: {named}{more}");
    let said = stall(backup, Reason::BlockedByChildren, &note, None, now);
    Decision {
        event: said.is_some().then(|| event(true, Reason::BlockedByChildren, note)),
        write: said.map(|status| Write::Status(Box::new(status))),
        blocked: true,
        purge: None,
    }
}

/// Says on the object that files stay, and lets it go in the pass after that.
fn left_behind(backup: &Backup, note: &str, now: Timestamp) -> Decision {
    let said = backup.status.as_ref().and_then(stalled_by) == Some(Reason::DataLeftBehind.as_str());
    if said {
        return released(backup, None);
    }
    let Some((status, event)) = tell(backup, "", Reason::DataLeftBehind, note, now) else {
        return released(backup, None);
    };
    Decision {
        write: Some(Write::Status(Box::new(status))),
        event: Some(event),
        ..Decision::default()
    }
}

/// The status of a Backup whose files are not removed, for this reason, with the Event about it; none if the status
/// says so already. `job` is the name of the Job that removes them.
pub fn tell(backup: &Backup, job: &str, reason: Reason, why: &str, now: Timestamp) -> Option<(BackupStatus, Event)> {
    if reason != Reason::PurgeFailed {
        let status = stall(backup, reason, why, None, now)?;
        return Some((status, event(true, reason, why)));
    }
    // The original's words, for whoever looks for them.
    let text = format!("the job \"{job}\" for backup files deletion failed, you can delete it to re-delete the files");
    let status = stall(backup, reason, why, Some(&text), now)?;
    let event = Event {
        warning: true,
        reason: Reason::DeleteBackupFilesFailed.as_str().to_owned(),
        note: format!("{text}: {why}"),
    };
    Some((status, event))
}

/// The status of a Backup whose removal goes on after a trouble; none if it does not speak of any.
pub fn untell(backup: &Backup, now: Timestamp) -> Option<BackupStatus> {
    stalled_by(backup.status.as_ref()?)?;
    Some(purging(backup, "removing its files", now))
}

fn stall(backup: &Backup, reason: Reason, why: &str, failure: Option<&str>, now: Timestamp) -> Option<BackupStatus> {
    let generation = backup.metadata.generation.unwrap_or_default();
    let mut status = backup.status.clone().unwrap_or_default();
    if let Some(failure) = failure {
        status.failure_reason = Some(failure.to_owned());
    }
    if reason == Reason::DataLeftBehind {
        status.phase = Some(BackupPhase::Deleting);
    }
    let message = format!("{why}: {}", reason.hint());
    let changed = condition::set(&mut status.conditions, STALLED, true, reason, &message, generation, now);
    changed.then_some(status)
}

fn purging(backup: &Backup, text: &str, now: Timestamp) -> BackupStatus {
    let mut status = backup.status.clone().unwrap_or_default();
    status.phase = Some(BackupPhase::Deleting);
    let generation = backup.metadata.generation.unwrap_or_default();
    for (kind, holds) in [(READY, false), (RECONCILING, true), (STALLED, false)] {
        condition::set(
            &mut status.conditions,
            kind,
            holds,
            Reason::Purging,
            text,
            generation,
            now,
        );
    }
    status
}
