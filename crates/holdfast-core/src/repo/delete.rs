//! Deleting a repository: not while Backups refer to it, and its children in the order in which they need each other.

use std::time::Duration;

use holdfast_api::{
    BackupRepoPhase, BackupRepoStatus, ObjectMetaExt as _, RepoDeletion,
    condition::{ConditionType, Conditions, Reason},
    names::FINALIZER,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::{Value, json};

use super::{Decision, Event, Next, Observed, Target, VOLUMES_DEADLINE, Write, decide::writing, is_ours, turned_bad};

/// How soon to look again at what is in the way: not everything that can be is watched.
const POLL: Duration = Duration::from_secs(10);

/// A merge patch that adds the finalizer, if it is missing.
pub(super) fn with_finalizer(metadata: &ObjectMeta, finalizer: &str) -> Option<Value> {
    let mut finalizers = metadata.finalizers.clone().unwrap_or_default();
    if finalizers.iter().any(|present| present == finalizer) {
        return None;
    }
    finalizers.push(finalizer.to_owned());
    Some(json!({ "finalizers": finalizers }))
}

/// A merge patch that removes the finalizer, if it is there.
pub(super) fn without_finalizer(metadata: &ObjectMeta, finalizer: &str) -> Option<Value> {
    let finalizers = metadata.finalizers.as_ref()?;
    if !finalizers.iter().any(|present| present == finalizer) {
        return None;
    }
    let rest: Vec<&String> = finalizers.iter().filter(|present| *present != finalizer).collect();
    Some(json!({ "finalizers": rest }))
}

/// Decides about a repository that is being deleted.
pub(super) fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let metadata = &observed.repo.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    let Some(release) = without_finalizer(metadata, FINALIZER) else {
        return Decision {
            write: None,
            events: Vec::new(),
            news: None,
            next: Next::AwaitChange,
        };
    };
    let before = observed.repo.status.clone().unwrap_or_default();
    if before.phase != Some(BackupRepoPhase::Deleting) {
        let event = Event::normal(Reason::DeletingCR, format!("Deleting backuprepo: {name}"));
        return say(
            observed,
            &before,
            Reason::DeletingCR,
            "the repository is being deleted",
            now,
            Some(event),
        );
    }
    if let Some(write) = next_deletion(observed) {
        return writing(write, Vec::new());
    }
    if let Some((reason, message)) = obstacle(observed, &before, now) {
        return say(observed, &before, reason, &message, now, None);
    }
    if let Some(write) = last_deletion(observed) {
        return writing(write, Vec::new());
    }
    let mut events = vec![Event::normal(Reason::DeletedCR, format!("Deleted backuprepo: {name}"))];
    if !observed.volumes.is_empty() {
        let message = format!(
            "volumes that the CSI driver did not remove: {}",
            shown(&observed.volumes)
        );
        events.insert(0, Event::warning(Reason::VolumesLeftBehind, message));
    }
    writing(Write::Metadata(release), events)
}

/// A claim to delete, once no Backup is in the way.
fn next_deletion(observed: &Observed) -> Option<Write> {
    if !observed.associated.is_empty() {
        return None;
    }
    let ours = observed
        .claims
        .iter()
        .filter(|claim| is_ours(&claim.metadata, &observed.repo));
    let claim = ours.into_iter().find(|claim| !claim.is_terminating())?;
    Some(Write::DeleteClaim(Target::of(&claim.metadata)))
}

/// What the repository waits for.
fn obstacle(observed: &Observed, before: &BackupRepoStatus, now: Timestamp) -> Option<(Reason, String)> {
    if !observed.associated.is_empty() {
        let message = format!("some backups still refer to this repo: {}", shown(&observed.associated));
        return Some((Reason::HaveAssociatedBackups, message));
    }
    let claims: Vec<String> = observed
        .claims
        .iter()
        .filter(|claim| is_ours(&claim.metadata, &observed.repo))
        .map(|claim| Target::of(&claim.metadata))
        .map(|claim| format!("{}/{}", claim.namespace, claim.name))
        .collect();
    if !claims.is_empty() {
        let message = format!("maybe the derived PVCs are still in use: {}", shown(&claims));
        return Some((Reason::HaveResidualPVCs, message));
    }
    // The driver needs the Secret to remove its volumes; a driver that is gone must not hold the repository for ever.
    let since = before
        .deletion
        .as_ref()
        .and_then(|deletion| deletion.volumes_since.as_ref());
    let since = since.map_or(now, |time| time.0);
    let over = Duration::try_from(now.duration_since(since)).is_ok_and(|waited| waited >= VOLUMES_DEADLINE);
    if observed.volumes.is_empty() || over {
        return None;
    }
    let message = format!(
        "the CSI driver has yet to remove the volumes {}",
        shown(&observed.volumes)
    );
    Some((Reason::HaveResidualVolumes, message))
}

/// The StorageClass, then the Secret.
fn last_deletion(observed: &Observed) -> Option<Write> {
    let repo = &observed.repo;
    let class = observed.storage_class.as_ref().map(|class| &class.metadata);
    if let Some(class) = class.filter(|class| is_ours(class, repo)) {
        return Some(Write::DeleteStorageClass(Target::of(class)));
    }
    let secret = observed.secret.as_ref().map(|secret| &secret.metadata);
    let secret = secret.filter(|secret| is_ours(secret, repo))?;
    Some(Write::DeleteSecret(Target::of(secret)))
}

/// The first names of a list, and how many more there are.
fn shown(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
    match names.len().saturating_sub(5) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

fn say(
    observed: &Observed,
    before: &BackupRepoStatus,
    reason: Reason,
    message: &str,
    now: Timestamp,
    event: Option<Event>,
) -> Decision {
    let generation = observed.repo.metadata.generation;
    let mut conditions = Conditions::of(before.conditions.clone(), generation, now);
    if reason != Reason::DeletingCR {
        conditions.set(ConditionType::DerivedObjectsDeleted, false, reason, message);
    }
    conditions.reconciling(reason, message);
    let status = BackupRepoStatus {
        phase: Some(BackupRepoPhase::Deleting),
        observed_generation: generation,
        conditions: conditions.into_list(),
        waiting_since: None,
        deletion: Some(waits(before.deletion.as_ref(), reason, now)),
        ..before.clone()
    };
    if status == *before {
        return Decision {
            write: None,
            events: Vec::new(),
            news: None,
            next: Next::After(POLL),
        };
    }
    let told = turned_bad(
        &before.conditions,
        &status.conditions,
        ConditionType::DerivedObjectsDeleted,
    );
    let events = event.into_iter().chain(told).collect();
    writing(Write::Status(Box::new(status)), events)
}

/// Since when the repository is being deleted, and since when nothing but its volumes is in the way.
fn waits(before: Option<&RepoDeletion>, reason: Reason, now: Timestamp) -> RepoDeletion {
    let RepoDeletion { since, volumes_since } = before.cloned().unwrap_or_default();
    RepoDeletion {
        since: since.or(Some(Time(now))),
        volumes_since: volumes_since
            .or(Some(Time(now)))
            .filter(|_| reason == Reason::HaveResidualVolumes),
    }
}
