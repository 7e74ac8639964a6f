//! What decisions rest on: the caches, and a live read wherever a cache says that something is not there.

use std::{collections::BTreeSet, fmt::Debug, sync::Arc};

use holdfast_api::{
    Backup, BackupPhase, BackupRepo, ObjectMetaExt as _,
    names::{ANNOTATION_CLAIM_REFUSED, LABEL_BACKUP_REPO_NAME, LABEL_REPO_UID},
};
use holdfast_core::repo::{self, Credential, Names, Observed, Sealed, Waiting};
use holdfast_runtime::{
    watch::Cached,
    write::{self, WriteError},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{PersistentVolume, PersistentVolumeClaim},
};
use kube::{Api, Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;

use crate::Context;

/// How many objects in the way of a deletion are listed: enough to name some.
const IN_THE_WAY: u32 = 100;

/// Observes a repository.
pub(crate) async fn repo(context: &Context, repo: &BackupRepo) -> Result<Observed, WriteError> {
    let names = repo::names(repo);
    let mut observed = Observed {
        repo: repo.clone(),
        namespace: context.service.namespace.clone(),
        refused_claims: context.memory.refusals(&repo.name_any()),
        ..Observed::default()
    };
    made(context, &names, &mut observed).await?;
    if repo.is_terminating() {
        deleting(context, &names, &mut observed).await?;
        return Ok(observed);
    }
    let client = context.service.client.clone();
    let provider = &repo.spec.storage_provider_ref;
    observed.provider = present(&context.caches.providers, &Api::all(client), "", provider).await?;
    observed.credential = credential(context, repo).await?;
    observed.sealed = sealed(context, repo);
    observed.waiting = waiting(&context.caches.waiting.all(), repo);
    let namespaces: BTreeSet<&str> = observed
        .waiting
        .iter()
        .map(|backup| backup.namespace.as_str())
        .collect();
    for namespace in namespaces {
        observed
            .claims
            .extend(claim(context, repo, namespace, &names.claim).await?);
    }
    Ok(observed)
}

/// Whether the CSI driver of this name is installed.
pub(crate) async fn driver_installed(context: &Context, name: &str) -> Result<bool, WriteError> {
    let api = Api::all(context.service.client.clone());
    Ok(present(&context.caches.drivers, &api, "", name).await?.is_some())
}

/// Namespace and name of the Secret with the credentials, if the repository names one.
pub(crate) fn credential_name(repo: &BackupRepo, own: &str) -> Option<(String, String)> {
    let reference = repo.spec.credential.clone()?;
    let namespace = reference.namespace.filter(|namespace| !namespace.is_empty());
    Some((
        namespace.unwrap_or_else(|| own.to_owned()),
        reference.name.unwrap_or_default(),
    ))
}

/// What the cache holds, or, where it holds nothing, what the API server has.
async fn present<K>(cache: &Cached<K>, api: &Api<K>, namespace: &str, name: &str) -> Result<Option<K>, WriteError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    match cache.get(namespace, name) {
        Some(object) => Ok(Some((*object).clone())),
        None if name.is_empty() => Ok(None),
        None => write::get(api, name).await,
    }
}

/// The Secret and the StorageClass, where their names are in the status: nothing was made under other names.
async fn made(context: &Context, names: &Names, observed: &mut Observed) -> Result<(), WriteError> {
    let client = || context.service.client.clone();
    let status = observed.repo.status.clone().unwrap_or_default();
    if status.generated_csi_driver_secret.is_some() {
        let namespace = &context.service.namespace;
        let api = Api::namespaced(client(), namespace);
        observed.secret = match context.caches.secrets(namespace) {
            Some(cache) => present(cache, &api, namespace, &names.secret).await?,
            None => write::get(&api, &names.secret).await?,
        };
    }
    if status.generated_storage_class_name.is_some() {
        let api = Api::all(client());
        observed.storage_class = present(&context.caches.classes, &api, "", &names.storage_class).await?;
    }
    Ok(())
}

async fn credential(context: &Context, repo: &BackupRepo) -> Result<Credential, WriteError> {
    let Some((namespace, name)) = credential_name(repo, &context.service.namespace) else {
        return Ok(Credential::NotNamed);
    };
    let Some(cache) = context.caches.secrets(&namespace) else {
        return Ok(Credential::OutOfReach);
    };
    let api = Api::namespaced(context.service.client.clone(), &namespace);
    match present(cache, &api, &namespace, &name).await {
        Ok(Some(secret)) => Ok(Credential::Found(Box::new(secret))),
        Ok(None) => Ok(Credential::Absent),
        // Named in the arguments, but the role for it is missing.
        Err(WriteError::Refused(_)) => Ok(Credential::OutOfReach),
        Err(error) => Err(error),
    }
}

/// What Backups told of the repository's identity that is not known yet. What was told of a claim that is gone is not
/// true of the one that was made after it.
fn sealed(context: &Context, repo: &BackupRepo) -> Vec<Sealed> {
    let name = repo::names(repo).claim;
    let known = |sealed: &Sealed| {
        let status = repo.status.as_ref();
        status.is_some_and(|status| status.identity_in(&sealed.namespace).is_some())
    };
    let replaced = |sealed: &Sealed| {
        let claim = context.caches.claims.get(&sealed.namespace, &name);
        claim.is_none_or(|claim| claim.metadata.uid.as_ref() != Some(&sealed.claim_uid))
    };
    context
        .memory
        .told(&repo.name_any(), |sealed| known(sealed) || replaced(sealed))
}

/// Backups that wait for a claim of the repository, in order.
fn waiting(backups: &[Arc<Backup>], repo: &BackupRepo) -> Vec<Waiting> {
    let label = repo::label_value(repo);
    let wants = |backup: &&Arc<Backup>| {
        backup.labels().get(LABEL_BACKUP_REPO_NAME) == Some(&label)
            && !backup.is_terminating()
            && backup.phase() != BackupPhase::Failed
    };
    let mut waiting: Vec<Waiting> = backups
        .iter()
        .filter(wants)
        .map(|backup| Waiting {
            namespace: backup.namespace().unwrap_or_default(),
            name: backup.name_any(),
            uid: backup.uid().unwrap_or_default(),
            resource_version: backup.resource_version().unwrap_or_default(),
            told: backup.annotations().contains_key(ANNOTATION_CLAIM_REFUSED),
        })
        .collect();
    waiting.sort_unstable();
    waiting
}

/// The claim in a namespace. It is read live only where creating it has shown that there is one which is not ours: that
/// it is not there need not be certain, because creating it once too often is harmless.
pub(crate) async fn claim(
    context: &Context,
    repo: &BackupRepo,
    namespace: &str,
    name: &str,
) -> Result<Option<PersistentVolumeClaim>, WriteError> {
    if let Some(claim) = context.caches.claims.get(namespace, name) {
        return Ok(Some((*claim).clone()));
    }
    let repo = repo.name_any();
    if !context.memory.is_hidden(&repo, namespace) {
        return Ok(None);
    }
    let found = write::get(&namespaced(context, namespace), name).await?;
    if found.is_none() {
        context.memory.gone(&repo, namespace);
    }
    Ok(found)
}

fn namespaced<K>(context: &Context, namespace: &str) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(context.service.client.clone(), namespace)
}

/// What stands in the way of a deletion. All of it is read live: nothing is deleted because a cache does not show it.
pub(crate) async fn deleting(context: &Context, names: &Names, observed: &mut Observed) -> Result<(), WriteError> {
    let client = || context.service.client.clone();
    let label = repo::label_value(&observed.repo);
    let backups: Api<Backup> = Api::all(client());
    let parameters = ListParams::default()
        .labels(&format!("{LABEL_BACKUP_REPO_NAME}={label}"))
        .fields("status.phase!=Failed")
        .limit(IN_THE_WAY);
    let associated = write::list_metadata(&backups, &parameters).await?;
    let shown = |namespace: Option<String>, name: String| format!("{}/{name}", namespace.unwrap_or_default());
    observed.associated = associated
        .iter()
        .map(|backup| shown(backup.namespace(), backup.name_any()))
        .collect();
    let claims: Api<PersistentVolumeClaim> = Api::all(client());
    let ours = format!("{LABEL_REPO_UID}={}", observed.repo.uid().unwrap_or_default());
    observed.claims = write::list(&claims, &ListParams::default().labels(&ours)).await?;
    if observed.secret.is_some() && observed.claims.is_empty() && observed.associated.is_empty() {
        observed.volumes = volumes(context, names).await?;
    }
    Ok(())
}

/// Volumes of the repository's claims that their driver has yet to delete, for which it needs the Secret.
async fn volumes(context: &Context, names: &Names) -> Result<Vec<String>, WriteError> {
    let api: Api<PersistentVolume> = Api::all(context.service.client.clone());
    let listed = match write::list(&api, &ListParams::default()).await {
        Ok(listed) => listed,
        Err(WriteError::Refused(words)) => {
            tracing::warn!(
                words,
                "volumes cannot be listed, the repository is deleted without waiting for them"
            );
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let ours = |volume: &PersistentVolume| {
        let Some(spec) = &volume.spec else { return false };
        let claim = spec.claim_ref.as_ref().and_then(|claim| claim.name.as_ref());
        claim == Some(&names.claim)
            && spec.storage_class_name.as_ref() == Some(&names.storage_class)
            && spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete")
    };
    let mut volumes: Vec<String> = listed
        .iter()
        .filter(|volume| ours(volume))
        .map(ResourceExt::name_any)
        .collect();
    volumes.sort_unstable();
    Ok(volumes)
}
