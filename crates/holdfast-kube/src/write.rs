//! The only writes to Kubernetes: each is guarded by what was read, its resourceVersion or uid.

use std::fmt::Debug;

use kube::{
    Api, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{WriteError, in_time};

/// What happens to the objects that a deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// The object goes at once, what it owns follows.
    Background,
    /// What it owns goes first.
    Foreground,
}

/// Creates an object.
///
/// # Errors
///
/// [`WriteError::Exists`] if the name is taken, [`WriteError::NotFound`] if the namespace does not exist,
/// [`WriteError::Refused`] if the API server will not have it, [`WriteError::Transient`] if it is unknown whether it was created.
pub async fn create<K>(api: &Api<K>, object: &K) -> Result<K, WriteError>
where
    K: Clone + DeserializeOwned + Debug + Serialize,
{
    in_time(api.create(&PostParams::default(), object)).await
}

/// Replaces the status of an object, if it is still the one that was read (resourceVersion and uid).
///
/// # Errors
///
/// [`WriteError::Conflict`] if it has changed or is another of its name, [`WriteError::NotFound`] if it is gone,
/// [`WriteError::Refused`] if it was not read from the API server or is invalid, [`WriteError::Transient`] if it is unknown
/// whether it was written.
pub async fn put_status<K>(api: &Api<K>, object: &K) -> Result<K, WriteError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Serialize,
{
    let guard = Guard::of(object)?;
    in_time(api.replace_status(guard.name, &PostParams::default(), object)).await
}

/// Merges `metadata` into the metadata of an object, if it is still the one that was read. Lists such as finalizers are
/// replaced as a whole; a `null` removes.
///
/// # Errors
///
/// As [`put_status`].
pub async fn patch_metadata<K>(api: &Api<K>, object: &K, metadata: Value) -> Result<K, WriteError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    patch(api, object, json!({ "metadata": metadata })).await
}

/// Merges `change` (RFC 7386) into an object, if it is still the one that was read.
///
/// # Errors
///
/// As [`put_status`].
pub async fn patch<K>(api: &Api<K>, object: &K, mut change: Value) -> Result<K, WriteError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let guard = Guard::of(object)?;
    let metadata = change
        .as_object_mut()
        .map(|change| change.entry("metadata").or_insert_with(|| json!({})))
        .and_then(Value::as_object_mut)
        .ok_or_else(|| WriteError::Refused("a change is an object whose metadata is an object".to_owned()))?;
    metadata.insert("uid".to_owned(), guard.uid.into());
    metadata.insert("resourceVersion".to_owned(), guard.version.into());
    in_time(api.patch(guard.name, &PatchParams::default(), &Patch::Merge(&change))).await
}

/// Deletes the object of this uid (and resourceVersion, where a decision rests on it); one that is gone is no error.
///
/// # Errors
///
/// [`WriteError::Conflict`] if it is another of its name or has changed, [`WriteError::Refused`] if there is no uid or it
/// may not be deleted, [`WriteError::Transient`] if it is unknown whether it was deleted.
pub async fn delete<K>(
    api: &Api<K>,
    name: &str,
    uid: &str,
    version: Option<&str>,
    propagation: Propagation,
) -> Result<(), WriteError>
where
    K: Clone + DeserializeOwned + Debug,
{
    if uid.is_empty() {
        return Err(WriteError::Refused(format!(
            "{name} has no uid: nothing is deleted by name alone"
        )));
    }
    let parameters = DeleteParams {
        propagation_policy: Some(match propagation {
            Propagation::Background => PropagationPolicy::Background,
            Propagation::Foreground => PropagationPolicy::Foreground,
        }),
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: version.map(ToOwned::to_owned),
        }),
        ..DeleteParams::default()
    };
    match in_time(api.delete(name, &parameters)).await {
        Ok(_) | Err(WriteError::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

struct Guard<'a> {
    name: &'a str,
    uid: &'a str,
    version: &'a str,
}

impl<'a> Guard<'a> {
    /// Refuses an object that was not read from the API server: writing it would not be guarded.
    fn of<K: Resource>(object: &'a K) -> Result<Self, WriteError> {
        let meta = object.meta();
        match (&meta.name, &meta.uid, &meta.resource_version) {
            (Some(name), Some(uid), Some(version)) if !uid.is_empty() && !version.is_empty() => {
                Ok(Self { name, uid, version })
            }
            _ => Err(WriteError::Refused(format!(
                "{} without uid and resourceVersion cannot be guarded",
                meta.name.as_deref().unwrap_or("an object")
            ))),
        }
    }
}
