//! Learns the identity of repositories from the Backups that were sealed in them.
//!
//! It is learnt once for each repository and namespace; nothing is read where it is known.

use std::sync::Arc;

use holdfast_api::{Backup, BackupRepo, names::LABEL_BACKUP_REPO_NAME};
use holdfast_core::repo::{self, told_by};
use holdfast_runtime::write::{Read, WriteError, list, read};
use holdfast_runtime::{Next, Queue, watch::Key};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, ListParams},
};

use crate::Context;

/// How many Backups are looked through for one that tells the identity.
const ENOUGH: u32 = 100;

/// A repository whose identity is not known as it is reached through this claim.
type Unknown = (Arc<BackupRepo>, Arc<PersistentVolumeClaim>);

/// A message about a Backup that was completed: it may be the first to tell.
pub(crate) async fn heard(context: Arc<Context>, repos: Queue, key: Key) -> Result<Next, WriteError> {
    let unknown: Vec<Unknown> = unknown(&context)
        .into_iter()
        .filter(|(_, claim)| claim.metadata.namespace.as_ref() == Some(&key.namespace))
        .collect();
    if unknown.is_empty() {
        return Ok(Next::AwaitChange);
    }
    let client = context.service.client.clone();
    if let Read::Found(backup) = read::<Backup>(client, Some(&key.namespace), &key.name).await? {
        for place in &unknown {
            learn(&context, &repos, place, &backup);
        }
    }
    Ok(Next::AwaitChange)
}

/// Looks through the Backups wherever the identity is not known: a message may have been lost.
pub(crate) async fn search(context: &Context, repos: &Queue) {
    for place in unknown(context) {
        match completed(context, &place).await {
            Ok(backups) => {
                let _ = backups.iter().any(|backup| learn(context, repos, &place, backup));
            }
            Err(error) => {
                let repo = Key::of(&*place.0);
                tracing::warn!(%error, %repo, "Backups cannot be listed for the repository's identity");
            }
        }
    }
}

fn unknown(context: &Context) -> Vec<Unknown> {
    let claims = context.caches.claims.all();
    let mut found = Vec::new();
    for repo in context.caches.repos.all() {
        let name = repo::names(&repo).claim;
        let is_known = |claim: &PersistentVolumeClaim| {
            let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
            let status = repo.status.as_ref();
            status.is_some_and(|status| status.identity_in(namespace).is_some())
        };
        let ours = claims.iter().filter(|claim| {
            claim.metadata.name.as_ref() == Some(&name) && repo::is_ours(&claim.metadata, &repo) && !is_known(claim)
        });
        found.extend(ours.map(|claim| (Arc::clone(&repo), Arc::clone(claim))));
    }
    found
}

/// Completed Backups of the repository in the claim's namespace; those that cannot be read tell nothing.
async fn completed(context: &Context, (repo, claim): &Unknown) -> Result<Vec<Backup>, WriteError> {
    let kind = ApiResource::erase::<Backup>(&());
    let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(context.service.client.clone(), namespace, &kind);
    let parameters = ListParams::default()
        .labels(&format!("{LABEL_BACKUP_REPO_NAME}={}", repo::label_value(repo)))
        .fields("status.phase=Completed")
        .limit(ENOUGH);
    let found = list(&api, &parameters).await?;
    Ok(found.into_iter().filter_map(|backup| backup.try_parse().ok()).collect())
}

/// Takes what the Backup tells to the repository; false where it tells nothing.
fn learn(context: &Context, repos: &Queue, (repo, claim): &Unknown, backup: &Backup) -> bool {
    let Some(sealed) = told_by(backup, repo, claim) else {
        return false;
    };
    let key = Key::of(&**repo);
    context.memory.sealed(&key.name, sealed);
    repos.push(key);
    true
}
