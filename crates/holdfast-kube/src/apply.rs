//! Applies what was decided: one write, guarded by what its decision rested on.

use std::fmt::Debug;

use holdfast_api::Backup;
use holdfast_core::decision::{Child, Kind, Target, Write};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, StatefulSet},
        batch::v1::Job,
        core::v1::{PersistentVolumeClaim, Pod, Secret},
        storage::v1::StorageClass,
    },
};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject},
    core::object::HasStatus,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{Propagation, WriteError, create, delete, patch, patch_metadata, put_status};

/// What the API server answered.
#[derive(Clone, Debug)]
pub enum Applied<K> {
    /// The object itself, as it is stored now.
    Object(Box<K>),
    /// Another object that was created.
    Created(Child),
    /// Another object was changed or deleted.
    Other,
}

/// Applies a write that was decided about `object`, in `api` of its kind and namespace.
///
/// # Errors
///
/// Those of the requests: [`WriteError::Conflict`] where the object or target has changed since it was observed,
/// [`WriteError::Exists`] where the name of a new one is taken, [`WriteError::NotFound`] where the object or the namespace
/// of a new one is gone.
pub async fn apply<K>(
    client: &Client,
    api: &Api<K>,
    object: &K,
    write: Write<K::Status>,
) -> Result<Applied<K>, WriteError>
where
    K: Resource<DynamicType = ()> + HasStatus + Clone + Debug + Serialize + DeserializeOwned,
{
    match write {
        Write::Metadata(metadata) => {
            let stored = patch_metadata(api, object, metadata).await?;
            Ok(Applied::Object(Box::new(stored)))
        }
        Write::Status(status) => {
            let mut wanted = object.clone();
            *wanted.status_mut() = Some(*status);
            let stored = put_status(api, &wanted).await?;
            Ok(Applied::Object(Box::new(stored)))
        }
        Write::Create(child) => create_child(client, child).await.map(Applied::Created),
        Write::Patch(target, change) => patch_target(client, &target, change).await.map(|()| Applied::Other),
        Write::Delete(target) => delete_target(client, &target).await.map(|()| Applied::Other),
    }
}

async fn create_child(client: &Client, child: Child) -> Result<Child, WriteError> {
    Ok(match child {
        Child::Backup(object) => Child::Backup(Box::new(create_in_namespace(client, &*object).await?)),
        Child::Job(object) => Child::Job(Box::new(create_in_namespace(client, &*object).await?)),
        Child::Claim(object) => Child::Claim(Box::new(create_in_namespace(client, &*object).await?)),
        Child::Secret(object) => Child::Secret(Box::new(create_in_namespace(client, &*object).await?)),
        Child::StorageClass(object) => {
            Child::StorageClass(Box::new(create(&Api::all(client.clone()), &*object).await?))
        }
    })
}

async fn create_in_namespace<K>(client: &Client, object: &K) -> Result<K, WriteError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let namespace = object.meta().namespace.clone().unwrap_or_default();
    create(&Api::namespaced(client.clone(), &namespace), object).await
}

/// Merges a change into another object. It is refused without a resourceVersion: nothing would guard it.
///
/// # Errors
///
/// As [`apply`].
pub async fn patch_target(client: &Client, target: &Target, change: Value) -> Result<(), WriteError> {
    let api = api_of(client, target);
    let guard: DynamicObject = serde_json::from_value(json!({"metadata": {
        "name": target.name, "uid": target.uid, "resourceVersion": target.resource_version,
    }}))
    .map_err(|error| WriteError::Refused(error.to_string()))?;
    patch(&api, &guard, change).await.map(drop)
}

/// Deletes another object; what it owns follows. One that is gone is no error.
///
/// # Errors
///
/// As [`apply`].
pub async fn delete_target(client: &Client, target: &Target) -> Result<(), WriteError> {
    let api = api_of(client, target);
    let version = target.resource_version.as_deref();
    delete(&api, &target.name, &target.uid, version, Propagation::Background).await
}

fn api_of(client: &Client, target: &Target) -> Api<DynamicObject> {
    let kind = match target.kind {
        Kind::Backup => ApiResource::erase::<Backup>(&()),
        Kind::Job => ApiResource::erase::<Job>(&()),
        Kind::Claim => ApiResource::erase::<PersistentVolumeClaim>(&()),
        Kind::Pod => ApiResource::erase::<Pod>(&()),
        Kind::Secret => ApiResource::erase::<Secret>(&()),
        Kind::StorageClass => ApiResource::erase::<StorageClass>(&()),
        Kind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        Kind::Deployment => ApiResource::erase::<Deployment>(&()),
    };
    if target.namespace.is_empty() {
        Api::all_with(client.clone(), &kind)
    } else {
        Api::namespaced_with(client.clone(), &target.namespace, &kind)
    }
}
