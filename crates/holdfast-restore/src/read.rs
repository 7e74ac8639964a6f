//! Objects that people wrote may hold what nobody can read: that is an answer, and not a reason to ask for ever.

use std::fmt::Debug;

use holdfast_runtime::write::{self, WriteError};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject},
};
use serde::de::DeserializeOwned;

/// What was found under a name.
pub(crate) enum Read<K> {
    /// Nothing.
    Absent,
    /// The object.
    Found(K),
    /// An object of this uid, and why it cannot be read.
    Unreadable(Option<String>, String),
}

/// Reads one object; without a namespace, one of a kind that has none.
pub(crate) async fn read<K>(client: Client, namespace: Option<&str>, name: &str) -> Result<Read<K>, WriteError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let kind = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &kind),
        None => Api::all_with(client, &kind),
    };
    let Some(object) = write::get(&api, name).await? else {
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
    pub(crate) fn readable(self, unreadable: &mut Option<String>) -> Option<K> {
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
