//! Objects that people wrote may hold what nobody can read: that is an answer, and not a reason to ask for ever.

use std::fmt::Debug;

use holdfast_api::{
    RestoreJob, RestoreJobPhase,
    condition::{self, Condition, READY, RECONCILING, Reason, STALLED},
};
use holdfast_core::restore::{Decision, Event, Write};
use holdfast_runtime::write::{self, WriteError};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject},
};
use serde::de::DeserializeOwned;

/// How often it is looked whether somebody has corrected it.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(2);

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

/// Waits, with a restore that has not started, until somebody corrects what cannot be read; ends it after a while.
pub(crate) fn wait(restore: &RestoreJob, why: &str, patience: SignedDuration, now: Timestamp) -> Decision {
    let reason = Reason::InvalidObject;
    let generation = restore.metadata.generation;
    let created = restore.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let waited = now.duration_since(created);
    let over = waited >= patience;
    let mut status = restore.status.clone().unwrap_or_default();
    let says = |one: &Condition| one.type_ == RECONCILING && one.status == "True" && one.reason == reason.as_str();
    if !over && status.conditions.iter().any(says) {
        return Decision {
            write: None,
            event: None,
            next: Some(LOOK_AGAIN),
        };
    }
    status.observed_generation = generation;
    let mut text = why.to_owned();
    if over {
        text = format!("{why}; waited {} s", waited.as_secs());
        status.phase = Some(RestoreJobPhase::Failed);
        status.failure_reason = Some(text.clone());
        status.completion_timestamp = Some(Time(now));
    }
    let message = format!("{text}: {}", reason.hint());
    for (kind, holds) in [(READY, false), (RECONCILING, !over), (STALLED, over)] {
        if over || kind != STALLED {
            let generation = generation.unwrap_or_default();
            condition::set(&mut status.conditions, kind, holds, reason, &message, generation, now);
        }
    }
    Decision {
        write: Some(Write::Status(Box::new(status))),
        event: over.then_some(Event {
            warning: true,
            reason,
            note: text,
        }),
        next: (!over).then_some(LOOK_AGAIN),
    }
}
