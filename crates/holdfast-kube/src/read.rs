//! The only reads and lists of Kubernetes.
//!
//! Objects that people wrote may hold what nobody can read: that is an answer, and not a reason to ask for ever.

use std::fmt::Debug;

use holdfast_core::pod::{Demands, LABEL_ENFORCED};
use k8s_openapi::api::core::v1::{Event, LimitRange, Namespace};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject, ListParams, PartialObjectMeta},
};
use serde::de::DeserializeOwned;

use crate::{WriteError, in_time};

/// How many warnings about one object are read: as many as tell something new.
const WARNINGS: u32 = 50;

/// Reads one object; one that does not exist is `None`.
///
/// # Errors
///
/// [`WriteError::Unreadable`] for an object that is there and is not of its kind's shape, [`WriteError::Refused`] where it
/// may not be read, and [`WriteError::Transient`] when no answer came within [`DEADLINE`](crate::DEADLINE).
pub async fn get<K>(api: &Api<K>, name: &str) -> Result<Option<K>, WriteError>
where
    K: Clone + DeserializeOwned + Debug,
{
    in_time(api.get_opt(name)).await
}

/// Reads all objects that `parameters` select, or the first of them where these set a limit.
///
/// # Errors
///
/// As [`get`]; one object that cannot be read fails the whole list, so that nobody takes it for absent.
pub async fn list<K>(api: &Api<K>, parameters: &ListParams) -> Result<Vec<K>, WriteError>
where
    K: Clone + DeserializeOwned + Debug,
{
    Ok(in_time(api.list(parameters)).await?.items)
}

/// [`list`] of the metadata alone, which can always be read.
///
/// # Errors
///
/// As [`get`].
pub async fn list_metadata<K>(api: &Api<K>, parameters: &ListParams) -> Result<Vec<PartialObjectMeta<K>>, WriteError>
where
    K: Clone + DeserializeOwned + Debug,
{
    Ok(in_time(api.list_metadata(parameters)).await?.items)
}

/// The newest warnings about objects, by their uids: what the cluster says about what does not get on.
///
/// # Errors
///
/// As [`get`]. Where events may not be read nothing is said.
pub async fn warnings_about(client: &Client, namespace: &str, uids: &[String]) -> Result<Vec<Event>, WriteError> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let mut all = Vec::new();
    for uid in uids {
        let about = format!("involvedObject.uid={uid},type=Warning");
        match list(&api, &ListParams::default().fields(&about).limit(WARNINGS)).await {
            Ok(found) => all.extend(found),
            Err(WriteError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// What a namespace demands of the pods in it.
///
/// # Errors
///
/// As [`get`]. What may not be read is not demanded.
pub async fn demands_of(client: &Client, namespace: &str) -> Result<Demands, WriteError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let found = match get(&namespaces, namespace).await {
        Err(WriteError::Refused(_)) => None,
        found => found?,
    };
    let ranges: Api<LimitRange> = Api::namespaced(client.clone(), namespace);
    let ranges = match list(&ranges, &ListParams::default()).await {
        Err(WriteError::Refused(_)) => Vec::new(),
        ranges => ranges?,
    };
    let labels = found
        .and_then(|namespace| namespace.metadata.labels)
        .unwrap_or_default();
    Ok(Demands::of(labels.get(LABEL_ENFORCED).map(String::as_str), &ranges))
}

/// What was found under a name.
#[derive(Clone, Debug)]
pub enum Read<K> {
    /// Nothing.
    Absent,
    /// The object.
    Found(K),
    /// An object of this uid, and why it cannot be read.
    Unreadable(Option<String>, String),
}

/// Reads one object, whatever is in it; without a namespace, one of a kind that has none.
///
/// # Errors
///
/// As [`get`], but for an object that cannot be read: that is [`Read::Unreadable`].
pub async fn read<K>(client: Client, namespace: Option<&str>, name: &str) -> Result<Read<K>, WriteError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let kind = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &kind),
        None => Api::all_with(client, &kind),
    };
    let Some(object) = get(&api, name).await? else {
        return Ok(Read::Absent);
    };
    let uid = object.metadata.uid.clone();
    Ok(match object.try_parse() {
        Ok(object) => Read::Found(object),
        Err(error) => Read::Unreadable(uid, format!("{} {name} cannot be read: {error}", kind.kind)),
    })
}

impl<K> Read<K> {
    /// The object, if it can be read; why not goes to `unreadable`.
    pub fn readable(self, unreadable: &mut Option<String>) -> Option<K> {
        match self {
            Self::Absent => None,
            Self::Found(object) => Some(object),
            Self::Unreadable(_, why) => {
                *unreadable = Some(why);
                None
            }
        }
    }
}
