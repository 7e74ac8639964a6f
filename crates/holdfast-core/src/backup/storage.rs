//! Where a backup's bytes go.

use std::sync::Arc;

use holdfast_api::condition::Reason;
use holdfast_api::names::{ANNOTATION_IS_DEFAULT_REPO, LABEL_BACKUP_REPO_NAME};
use holdfast_api::{Backup, BackupRepo, BackupRepoPhase, CommonBackupPolicy};
use kube::ResourceExt as _;

use super::observed::Problem;
use crate::repo;

/// Where a Backup's bytes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Into the repository of that name; what a label says, where no repository that is known answers to it.
    Repo(String),
    /// Onto the claim of that name, which the policy itself gives.
    Claim(String),
}

/// Chooses, in the original's order: the Backup's label, the policy's repository, the one default repository,
/// the claim of the policy. What does not exist or is not ready is an `Err`.
pub fn storage(backup: &Backup, section: &CommonBackupPolicy, repos: &[Arc<BackupRepo>]) -> Result<Storage, Problem> {
    let labelled = backup
        .labels()
        .get(LABEL_BACKUP_REPO_NAME)
        .filter(|name| !name.is_empty());
    if let Some(label) = labelled {
        let known = repo::labelled(label, repos.iter().map(|repo| &**repo));
        return Ok(Storage::Repo(
            known.map_or_else(|| label.clone(), kube::ResourceExt::name_any),
        ));
    }
    if let Some(name) = section.backup_repo_name.as_ref().filter(|name| !name.is_empty()) {
        return Ok(Storage::Repo(name.clone()));
    }
    let marked: Vec<&BackupRepo> = repos
        .iter()
        .map(|repo| &**repo)
        .filter(|repo| is_marked_default(repo))
        .collect();
    let mut ready = marked.iter().filter(|repo| is_ready(repo)).map(|repo| repo.name_any());
    match (ready.next(), ready.next()) {
        (Some(one), Some(other)) => {
            let text = format!("multiple default BackupRepo found, both {one} and {other} are default");
            return Err(Problem::Wait(Reason::MultipleDefaultRepos, text));
        }
        (Some(one), None) => return Ok(Storage::Repo(one)),
        (None, _) => {}
    }
    let claim = section
        .persistent_volume_claim
        .as_ref()
        .and_then(|claim| claim.name.as_ref());
    if let Some(claim) = claim.filter(|name| !name.is_empty()) {
        return Ok(Storage::Claim(claim.clone()));
    }
    Err(match marked.first() {
        Some(repo) => not_ready(&repo.name_any()),
        None => Problem::Wait(Reason::BackupPVCNameIsEmpty, no_claim_name(backup)),
    })
}

/// The original's text for a policy that names no place at all.
pub(super) fn no_claim_name(backup: &Backup) -> String {
    let policy = &backup.spec.backup_policy_name;
    format!("the persistentVolumeClaim name of spec.datafile is empty in BackupPolicy \"{policy}\"")
}

/// A repository that exists but cannot be used yet.
pub(super) fn not_ready(repo: &str) -> Problem {
    Problem::Wait(Reason::RepoNotReady, format!("backup repo {repo} is not ready"))
}

/// Whether a repository can be used.
pub(super) fn is_ready(repo: &BackupRepo) -> bool {
    repo.status
        .as_ref()
        .is_some_and(|status| status.phase == Some(BackupRepoPhase::Ready))
}

fn is_marked_default(repo: &BackupRepo) -> bool {
    repo.annotations()
        .get(ANNOTATION_IS_DEFAULT_REPO)
        .is_some_and(|value| value == "true")
}
