//! Deleting a repository: not while Backups refer to it, and its children in the order in which they need each other.

use std::time::Duration;

use holdfast_api::{BackupRepoPhase, BackupRepoStatus, ObjectMetaExt as _, condition::Reason, names::FINALIZER};
use jiff::Timestamp;

use super::{Observed, VOLUMES_DEADLINE, Write, is_ours, verdict::Verdict};
use crate::{
    decision::{Event, Kind, Target, without_finalizer},
    key::Key,
};

/// Judges a repository that is being deleted.
pub(super) fn judge(observed: &Observed, now: Timestamp) -> Verdict {
    let metadata = &observed.repo.metadata;
    let Some(release) = without_finalizer(metadata, FINALIZER) else {
        return Verdict::Gone;
    };
    let before = observed.repo.status.clone().unwrap_or_default();
    if before.phase != Some(BackupRepoPhase::Deleting) {
        return Verdict::Deleting(Reason::DeletingCR, "the repository is being deleted".to_owned());
    }
    if let Some(write) = next_deletion(observed) {
        return Verdict::Write(write, Vec::new());
    }
    if let Some((reason, text)) = obstacle(observed, &before, now) {
        return Verdict::Deleting(reason, text);
    }
    if let Some(write) = last_deletion(observed) {
        return Verdict::Write(write, Vec::new());
    }
    let name = metadata.name.as_deref().unwrap_or_default();
    let mut events = vec![Event::normal(Reason::DeletedCR, format!("Deleted backuprepo: {name}"))];
    if !observed.volumes.is_empty() {
        let text = format!(
            "volumes that the CSI driver did not remove: {}",
            shown(&observed.volumes)
        );
        events.insert(0, Event::warning(Reason::VolumesLeftBehind, text));
    }
    Verdict::Write(Write::Metadata(release), events)
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
    Some(Write::Delete(Target::any_state(Kind::Claim, claim)))
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
        .map(|claim| Key::of(claim).to_string())
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
    let class = observed.storage_class.as_ref();
    if let Some(class) = class.filter(|class| is_ours(&class.metadata, repo)) {
        return Some(Write::Delete(Target::any_state(Kind::StorageClass, class)));
    }
    let secret = observed.secret.as_ref();
    let secret = secret.filter(|secret| is_ours(&secret.metadata, repo))?;
    Some(Write::Delete(Target::any_state(Kind::Secret, secret)))
}

/// The first names of a list, and how many more there are.
fn shown(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
    match names.len().saturating_sub(5) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
