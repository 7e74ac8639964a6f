//! Objects that people wrote may hold what nobody can read: that is an answer, and not a reason to ask for ever.

use std::fmt::Debug;

use holdfast_api::{
    RestoreJob, RestoreJobPhase,
    condition::{self, READY, RECONCILING, Reason, STALLED},
};
use holdfast_core::restore::{Decision, Event, Write};
use holdfast_runtime::write::{self, WriteError};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
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

/// Why a restore could not be looked at.
#[derive(Debug)]
pub(crate) enum Unseen {
    /// The API server did not answer as it should.
    Write(WriteError),
    /// Something that the restore names cannot be read.
    Unreadable(String),
}

impl From<WriteError> for Unseen {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

impl<K> Read<K> {
    /// The object, if there is one that can be read or none at all.
    pub(crate) fn readable(self) -> Result<Option<K>, Unseen> {
        match self {
            Self::Absent => Ok(None),
            Self::Found(object) => Ok(Some(object)),
            Self::Unreadable(_, why) => Err(Unseen::Unreadable(why)),
        }
    }
}

/// Ends a restore that has not started, because what it names cannot be read.
pub(crate) fn refuse(restore: &RestoreJob, why: &str, now: Timestamp) -> Decision {
    let reason = Reason::InvalidObject;
    let generation = restore.metadata.generation;
    let mut status = restore.status.clone().unwrap_or_default();
    status.phase = Some(RestoreJobPhase::Failed);
    status.failure_reason = Some(why.to_owned());
    status.completion_timestamp = Some(Time(now));
    status.observed_generation = generation;
    let message = format!("{why}: {}", reason.hint());
    for (kind, holds) in [(READY, false), (RECONCILING, false), (STALLED, true)] {
        let conditions = &mut status.conditions;
        condition::set(
            conditions,
            kind,
            holds,
            reason,
            &message,
            generation.unwrap_or_default(),
            now,
        );
    }
    Decision {
        write: Some(Write::Status(Box::new(status))),
        event: Some(Event {
            warning: true,
            reason,
            note: why.to_owned(),
        }),
        next: None,
    }
}
