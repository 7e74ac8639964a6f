//! Writes, one at a time, each guarded by what was read.

use std::fmt::Debug;

use holdfast_api::{Backup, BackupRepo, BackupSpec, names::LABEL_NEED_REPO_PVC};
use holdfast_core::repo::{Observed, Target, Waiting, Write};
use holdfast_runtime::write::{self, Propagation, WriteError};
use k8s_openapi::api::{
    core::v1::{PersistentVolumeClaim, Secret},
    storage::v1::StorageClass,
};
use kube::Api;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Context;

/// Applies one write about a repository.
pub(crate) async fn apply(context: &Context, observed: &Observed, write: Write) -> Result<(), WriteError> {
    let client = || context.service.client.clone();
    let repos: Api<BackupRepo> = Api::all(client());
    let secrets: Api<Secret> = Api::namespaced(client(), &context.service.namespace);
    let classes: Api<StorageClass> = Api::all(client());
    let claims = |namespace: &str| -> Api<PersistentVolumeClaim> { Api::namespaced(client(), namespace) };
    match write {
        Write::Metadata(metadata) => write::patch_metadata(&repos, &observed.repo, metadata).await.map(drop),
        Write::Status(status) => {
            let wanted = BackupRepo {
                status: Some(*status),
                ..observed.repo.clone()
            };
            write::put_status(&repos, &wanted).await.map(drop)
        }
        Write::CreateSecret(secret) => write::create(&secrets, &*secret).await.map(drop),
        Write::UpdateSecret(secret) => write::patch(&secrets, &secret, change(observed, &secret)?)
            .await
            .map(drop),
        Write::CreateStorageClass(class) => write::create(&classes, &*class).await.map(drop),
        Write::CreateClaim(claim) => {
            let namespace = claim.metadata.namespace.clone().unwrap_or_default();
            write::create(&claims(&namespace), &*claim).await.map(drop)
        }
        Write::ReleaseBackup(waiting) => release(context, &waiting).await,
        Write::DeleteClaim(target) => delete(&claims(&target.namespace), &target).await,
        Write::DeleteStorageClass(target) => delete(&classes, &target).await,
        Write::DeleteSecret(target) => delete(&secrets, &target).await,
    }
}

/// Data and labels of the Secret as a merge: keys that are no longer rendered are removed.
fn change(observed: &Observed, secret: &Secret) -> Result<Value, WriteError> {
    let unwritable = |error: serde_json::Error| WriteError::Refused(error.to_string());
    let mut data = serde_json::Map::new();
    for key in observed
        .secret
        .iter()
        .flat_map(|stored| stored.data.iter().flatten())
        .map(|(key, _)| key)
    {
        data.insert(key.clone(), Value::Null);
    }
    for (key, value) in secret.data.iter().flatten() {
        data.insert(key.clone(), serde_json::to_value(value).map_err(unwritable)?);
    }
    Ok(json!({ "metadata": { "labels": secret.metadata.labels }, "data": data }))
}

/// Takes the label off a Backup that has its claim. One that is gone waits no more.
async fn release(context: &Context, waiting: &Waiting) -> Result<(), WriteError> {
    let mut backup = Backup::new(&waiting.name, BackupSpec::default());
    backup.metadata.uid = Some(waiting.uid.clone());
    backup.metadata.resource_version = Some(waiting.resource_version.clone());
    let api: Api<Backup> = Api::namespaced(context.service.client.clone(), &waiting.namespace);
    let metadata = json!({ "labels": { LABEL_NEED_REPO_PVC: null } });
    match write::patch_metadata(&api, &backup, metadata).await {
        Ok(_) | Err(WriteError::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn delete<K>(api: &Api<K>, target: &Target) -> Result<(), WriteError>
where
    K: Clone + DeserializeOwned + Debug,
{
    write::delete(api, &target.name, &target.uid, None, Propagation::Background).await
}
