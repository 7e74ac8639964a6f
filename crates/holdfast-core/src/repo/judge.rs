//! Judges what is so about a repository. It makes neither status nor conditions.

use std::time::Duration;

use holdfast_api::{BackupRepoPhase, BackupRepoStatus, ObjectMetaExt as _, condition::Reason, names::FINALIZER};
use jiff::Timestamp;

use super::{
    GRACE, Observed, Write, check, claims, delete,
    verdict::{Standing, Verdict, is_new},
};
use crate::decision::with_finalizer;

/// Judges a repository.
pub(super) fn judge(observed: &Observed, now: Timestamp) -> Verdict {
    if observed.repo.is_terminating() {
        return delete::judge(observed, now);
    }
    if let Some(patch) = with_finalizer(&observed.repo.metadata, FINALIZER) {
        return Verdict::Write(Write::Metadata(patch), Vec::new());
    }
    let examined = check::examine(observed);
    let before = observed.repo.status.clone().unwrap_or_default();
    let stored = names_are_stored(&before, &examined.named);
    let making = examined.action.is_some();
    // While something is being made, what was said before still holds: a Secret that is rendered again makes nothing fail.
    if let Some((write, event)) = examined.action.filter(|_| stored) {
        return Verdict::Write(write, event.into_iter().collect());
    }
    let problem = match examined.failed {
        None if making && before.phase != Some(BackupRepoPhase::Ready) => Some((Reason::Checking, String::new())),
        failed => failed,
    };
    let grace = grace_left(&before, problem.as_ref().map(|(reason, _)| *reason), now);
    let phase = match &problem {
        None => BackupRepoPhase::Ready,
        Some(_) if grace.is_some() || making => BackupRepoPhase::PreChecking,
        Some(_) => BackupRepoPhase::Failed,
    };
    let claim = examined.claim.filter(|_| phase == BackupRepoPhase::Ready);
    Verdict::Stands(Box::new(Standing {
        phase,
        problem,
        findings: examined.findings,
        named: examined.named,
        grace,
        serve: claim.and_then(|claim| claims::serve(observed, &claim)),
    }))
}

/// Whether the status in store holds every name that the status to come holds.
fn names_are_stored(stored: &BackupRepoStatus, wanted: &BackupRepoStatus) -> bool {
    stored.generated_csi_driver_secret == wanted.generated_csi_driver_secret
        && stored.generated_storage_class_name == wanted.generated_storage_class_name
        && stored.backup_pvc_name == wanted.backup_pvc_name
}

/// How long a new repository may still wait for what does not exist yet. `None`: it may not, or it has no need to.
fn grace_left(before: &BackupRepoStatus, failed: Option<Reason>, now: Timestamp) -> Option<Duration> {
    let may_come = matches!(
        failed?,
        Reason::StorageProviderNotFound | Reason::StorageProviderNotReady | Reason::CredentialSecretNotFound
    );
    if !is_new(before.phase) || !may_come {
        return None;
    }
    let since = before.waiting_since.as_ref().map_or(now, |time| time.0);
    let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    GRACE.checked_sub(waited).filter(|left| !left.is_zero())
}
