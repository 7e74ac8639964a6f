//! The identity of a repository: what its sealed Backups tell of it, kept on the repository for each namespace.

use holdfast_api::{Backup, BackupPhase, BackupRepo, BackupRepoStatus, ObjectMetaExt as _, RepoNamespace};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::{Observed, is_ours};

/// What a Backup that was sealed in a repository tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Namespace of the Backup.
    pub namespace: String,
    /// Uid of the claim that it was written through.
    pub claim_uid: String,
    /// Identity that the agent found.
    pub identity: String,
}

/// What a Backup tells of the repository that is reached through this claim: nothing while it is not Completed, nor where
/// it lies elsewhere or is older than the claim, as a claim of the same name may then have had another volume.
pub fn told_by(backup: &Backup, repo: &BackupRepo, claim: &PersistentVolumeClaim) -> Option<Sealed> {
    if backup.phase() != BackupPhase::Completed {
        return None;
    }
    let status = backup.status.as_ref()?;
    let location = status.location(backup.metadata.uid.as_deref().unwrap_or_default())?;
    let here = location.repository.as_ref()?.uid.as_str() == repo.metadata.uid.as_deref()?
        && location.access.claim().ok() == claim.metadata.name.as_deref()
        && backup.metadata.namespace == claim.metadata.namespace;
    let started = status.start_timestamp.as_ref()?.0;
    let older = claim
        .metadata
        .creation_timestamp
        .as_ref()
        .is_some_and(|made| started < made.0);
    let identity = location.identity.filter(|identity| !identity.is_empty())?;
    (here && !older).then(|| Sealed {
        namespace: backup.metadata.namespace.clone().unwrap_or_default(),
        claim_uid: claim.metadata.uid.clone().unwrap_or_default(),
        identity,
    })
}

/// What is known of the repository in each namespace. The first Backup's word stands, until the claim is another one.
pub(super) fn namespaces(observed: &Observed, before: &BackupRepoStatus) -> Vec<RepoNamespace> {
    let mut known = before.namespaces.clone();
    known.retain(|known| !is_replaced(observed, known));
    for sealed in &observed.sealed {
        let told = RepoNamespace {
            namespace: sealed.namespace.clone(),
            identity: sealed.identity.clone(),
            claim_uid: sealed.claim_uid.clone(),
            ..RepoNamespace::default()
        };
        if is_replaced(observed, &told) {
            continue;
        }
        let place = known.iter_mut().find(|known| known.namespace == sealed.namespace);
        match place {
            Some(known) if known.identity.is_empty() => {
                known.identity = told.identity;
                known.claim_uid = told.claim_uid;
            }
            Some(_) => {}
            None => known.push(told),
        }
    }
    known.sort_by(|one, other| one.namespace.cmp(&other.namespace));
    known
}

/// Whether the repository's claim in the namespace was made anew since.
fn is_replaced(observed: &Observed, known: &RepoNamespace) -> bool {
    let there = |claim: &&PersistentVolumeClaim| {
        claim.metadata.namespace.as_ref() == Some(&known.namespace)
            && is_ours(&claim.metadata, &observed.repo)
            && !claim.is_terminating()
    };
    let uid = observed
        .claims
        .iter()
        .find(there)
        .and_then(|claim| claim.metadata.uid.as_ref());
    !known.claim_uid.is_empty() && uid.is_some_and(|uid| *uid != known.claim_uid)
}
