//! Repositories: whether a StorageProvider can be used, what a BackupRepo needs in the cluster, and what it says about
//! itself.
//!
//! A decision yields at most one write and is derived anew on every pass. Names of what is made are stored in the status
//! before anything is made under them, and objects are told to be ours by the label with the repository's uid. They have
//! no owner reference: deleting the repository in the foreground would take them whatever the finalizer says.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use holdfast_api::{BackupRepo, BackupRepoStatus, StorageProvider, StorageProviderStatus, names};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::{PersistentVolumeClaim, Secret},
        storage::v1::StorageClass,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use sha2::{Digest, Sha256};

use crate::decision;

mod check;
mod claims;
mod delete;
mod identity;
mod judge;
mod objects;
mod parameters;
mod provider;
mod render;
#[cfg(test)]
mod tests;
mod verdict;

pub use identity::{Sealed, told_by};
pub use provider::{ObservedProvider, decide as decide_provider};

/// The embedded CSI driver, whose volumes are directories of a node.
pub const LOCAL_DRIVER: &str = "csi.holdfast.io";
/// How long a name that does not exist is waited for before a new repository is Failed: providers, Secrets and
/// repositories are often applied together.
pub const GRACE: Duration = Duration::from_secs(30);
/// How long the volumes of a deleted repository may take to go before the Secret that their driver needs is removed.
pub const VOLUMES_DEADLINE: Duration = Duration::from_mins(10);

/// What is known about the Secret that `spec.credential` names.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Credential {
    /// None is named.
    #[default]
    NotNamed,
    /// It was read.
    Found(Box<Secret>),
    /// A live read confirmed that it does not exist.
    Absent,
    /// It is in a namespace whose Secrets this installation may not read.
    OutOfReach,
}

/// A Backup that waits for the repository's claim in its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// Namespace of the Backup.
    pub namespace: String,
    /// Name of the Backup.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its version as read; guards the removal of the label.
    pub resource_version: String,
    /// Whether it tells already why its claim is refused.
    pub told: bool,
}

/// What a decision about a repository rests on. What is absent here was absent in a live read.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The repository.
    pub repo: BackupRepo,
    /// Namespace of this installation, for the generated Secret.
    pub namespace: String,
    /// The provider that the repository names.
    pub provider: Option<StorageProvider>,
    /// The Secret with the credentials.
    pub credential: Credential,
    /// The Secret of the name in [`Names::secret`].
    pub secret: Option<Secret>,
    /// The StorageClass of the name in [`Names::storage_class`].
    pub storage_class: Option<StorageClass>,
    /// Backups that wait for a claim here; Failed ones and those being deleted left out.
    pub waiting: Vec<Waiting>,
    /// Claims: while the repository lives, those of the name in [`Names::claim`] in the namespaces of `waiting`; while it
    /// is being deleted, all with the repository's uid as label.
    pub claims: Vec<PersistentVolumeClaim>,
    /// What Backups that were sealed here tell of the repository's identity.
    pub sealed: Vec<Sealed>,
    /// While the repository is being deleted: Backups that are not Failed and belong to it, as `namespace/name`.
    pub associated: Vec<String>,
    /// While the repository is being deleted: volumes of its claims that their driver has yet to remove.
    pub volumes: Vec<String>,
    /// What the API server said when it last refused to store the Secret or StorageClass.
    pub refused: Option<String>,
    /// What the API server said when it last refused to store a claim, by namespace.
    pub refused_claims: BTreeMap<String, String>,
}

/// One write about a repository.
pub type Write = decision::Write<BackupRepoStatus>;

/// What to do about a repository. Nothing is asked to be read for it: what it rests on was read live where a cache lacks it.
pub type Decision = decision::Decision<BackupRepoStatus, Infallible>;

/// What to do about a provider.
pub type ProviderDecision = decision::Decision<StorageProviderStatus, Infallible>;

/// Decides about a repository: judges what is so, and renders it.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    render::render(observed, judge::judge(observed, now), now)
}

/// Names of what a repository makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The CSI driver's Secret, in the installation's namespace.
    pub secret: String,
    /// The StorageClass.
    pub storage_class: String,
    /// The claim in each namespace with backups.
    pub claim: String,
}

/// The names in the repository's status, or those that will be stored there.
pub fn names(repo: &BackupRepo) -> Names {
    let status = repo.status.as_ref();
    let stored = |name: Option<&String>| name.filter(|name| !name.is_empty()).cloned();
    let secret = status.and_then(|status| status.generated_csi_driver_secret.as_ref());
    Names {
        secret: stored(secret.and_then(|secret| secret.name.as_ref())).unwrap_or_else(|| derived_name("secret", repo)),
        storage_class: stored(status.and_then(|status| status.generated_storage_class_name.as_ref()))
            .unwrap_or_else(|| derived_name("sc", repo)),
        claim: stored(status.and_then(|status| status.backup_pvc_name.as_ref()))
            .unwrap_or_else(|| derived_name("pvc", repo)),
    }
}

/// `<prefix>-<repository>` cut to 56 characters, and six that follow from the uid: made twice, it is the same.
fn derived_name(prefix: &str, repo: &BackupRepo) -> String {
    let name = repo.metadata.name.as_deref().unwrap_or_default();
    let base: String = format!("{prefix}-{name}").chars().take(56).collect();
    let digest = Sha256::digest(repo.metadata.uid.as_deref().unwrap_or_default());
    let [first, second, third, ..] = digest.0;
    format!(
        "{}-{first:02x}{second:02x}{third:02x}",
        base.trim_end_matches(['-', '.'])
    )
}

/// The value of the label `dataprotection.kubeblocks.io/backup-repo-name` on what belongs to the repository: its name,
/// or what fits of it, as a repository's name may have 253 bytes and a label 63. [`labelled`] is the way back.
pub fn label_value(repo: &BackupRepo) -> String {
    let (name, uid) = (repo.metadata.name.as_deref(), repo.metadata.uid.as_deref());
    names::child_name(name.unwrap_or_default(), uid.unwrap_or_default(), names::LABEL_MAX)
}

/// The repository that a label stands for: the one of that name, else the one whose [`label_value`] it is.
pub fn labelled<'a>(
    label: &str,
    repos: impl IntoIterator<Item = &'a BackupRepo, IntoIter: Clone>,
) -> Option<&'a BackupRepo> {
    let mut repos = repos.into_iter();
    let named = repos.clone().find(|repo| repo.metadata.name.as_deref() == Some(label));
    named.or_else(|| repos.find(|repo| label_value(repo) == label))
}

/// Whether the object was made for the repository.
pub fn is_ours(metadata: &ObjectMeta, repo: &BackupRepo) -> bool {
    let label = metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(names::LABEL_REPO_UID));
    label.is_some() && label == repo.metadata.uid.as_ref()
}
