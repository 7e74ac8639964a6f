//! The only writes to Kubernetes: guarded by resourceVersion or uid, with a deadline, and with errors that say what to do.

use std::{fmt::Debug, future::Future, time::Duration};

use kube::{
    Api, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{Category, Retry};

/// How long a request may take. A write whose answer does not come has an unknown outcome: who wrote reads again.
const DEADLINE: Duration = Duration::from_secs(20);

/// Why a read or write did not happen, or not surely.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The object has changed since it was read: read afresh and decide again.
    #[error("the object has changed since it was read")]
    Conflict,
    /// An object of this name exists already.
    #[error("an object of this name exists already")]
    Exists,
    /// The object, or the namespace of a new one, does not exist.
    #[error("not found")]
    NotFound,
    /// The API server refuses it and will refuse it again: forbidden, invalid or too large.
    #[error("refused: {0}")]
    Refused(String),
    /// The object is there and cannot be read as its kind, until somebody corrects it.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// No answer, or one that may be another next time; a write may have happened.
    #[error("{0}")]
    Transient(#[source] kube::Error),
}

impl Category for WriteError {
    fn category(&self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Exists => "exists",
            Self::NotFound => "not-found",
            Self::Refused(_) => "refused",
            Self::Unreadable(_) => "unreadable",
            Self::Transient(_) => "transient",
        }
    }

    fn retry(&self) -> Retry {
        match self {
            // Existence and absence were learnt after the decision: a fresh look decides again.
            Self::Conflict | Self::Exists | Self::NotFound => Retry::Conflict,
            // What is refused now may be allowed later (a quota, a role), so it is tried on, slowly.
            Self::Refused(_) | Self::Unreadable(_) | Self::Transient(_) => Retry::Transient,
        }
    }
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        let status = match &error {
            kube::Error::Api(status) => status,
            kube::Error::SerdeError(why) => return Self::Unreadable(why.to_string()),
            _ => return Self::Transient(error),
        };
        match (status.code, status.reason.as_str()) {
            (409, "AlreadyExists") => Self::Exists,
            (409, _) => Self::Conflict,
            (404, _) => Self::NotFound,
            // 401 passes when a token is renewed, 408 and 429 when the server has time.
            (401 | 408 | 429, _) => Self::Transient(error),
            (400..=499, _) => Self::Refused(status.message.clone()),
            _ => Self::Transient(error),
        }
    }
}

/// What happens to the objects that a deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// The object goes at once, what it owns follows.
    Background,
    /// What it owns goes first.
    Foreground,
}

/// Reads one object; one that does not exist is `None`.
pub async fn get<K>(api: &Api<K>, name: &str) -> Result<Option<K>, WriteError>
where
    K: Clone + DeserializeOwned + Debug,
{
    in_time(api.get_opt(name)).await
}

/// Creates an object.
pub async fn create<K>(api: &Api<K>, object: &K) -> Result<K, WriteError>
where
    K: Clone + DeserializeOwned + Debug + Serialize,
{
    in_time(api.create(&PostParams::default(), object)).await
}

/// Replaces the status of an object, if it is still the one that was read (resourceVersion and uid).
pub async fn put_status<K>(api: &Api<K>, object: &K) -> Result<K, WriteError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Serialize,
{
    let guard = Guard::of(object)?;
    in_time(api.replace_status(guard.name, &PostParams::default(), object)).await
}

/// Merges `metadata` into the metadata of an object, if it is still the one that was read. Lists such as finalizers are
/// replaced as a whole; a `null` removes.
pub async fn patch_metadata<K>(api: &Api<K>, object: &K, metadata: Value) -> Result<K, WriteError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    patch(api, object, json!({ "metadata": metadata })).await
}

/// Merges `change` (RFC 7386) into an object, if it is still the one that was read.
pub async fn patch<K>(api: &Api<K>, object: &K, mut change: Value) -> Result<K, WriteError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
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
    fn of<K: Resource<DynamicType = ()>>(object: &'a K) -> Result<Self, WriteError> {
        let meta = object.meta();
        match (&meta.name, &meta.uid, &meta.resource_version) {
            (Some(name), Some(uid), Some(version)) if !uid.is_empty() && !version.is_empty() => {
                Ok(Self { name, uid, version })
            }
            _ => Err(WriteError::Refused(format!(
                "{} without uid and resourceVersion cannot be guarded",
                K::kind(&())
            ))),
        }
    }
}

async fn in_time<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, WriteError> {
    match tokio::time::timeout(DEADLINE, request).await {
        Ok(answer) => Ok(answer?),
        Err(late) => Err(WriteError::Transient(kube::Error::Service(Box::new(late)))),
    }
}
