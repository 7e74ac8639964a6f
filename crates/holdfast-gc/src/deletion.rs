//! Takes a deleted Backup to its end.

use std::{fmt::Debug, sync::Arc};

use holdfast_api::{
    Backup, BackupPhase, BackupStatus, ObjectMetaExt as _,
    condition::Reason,
    event::{BusEvent, BusEventKind},
};
use holdfast_core::{
    decision::{Intent, Notice},
    driver::{Found, Standing, Written},
    gc::{self, Decision, Observed, Place, Read, Write},
};
use holdfast_runtime::{
    Next,
    reconcile::{self, Pass, emit, leads},
    watch::Key,
    write::{self, Applied, WriteError, apply},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use kube::{Api, Resource, ResourceExt as _};

use crate::{Context, at, error::Error, index_feed::volume_of, is_deleted};

/// Looks at one Backup.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, Error> {
    let Some(summary) = context.known(&key).filter(|backup| is_deleted(backup)) else {
        return Ok(Next::AwaitChange);
    };
    if let Standing::Later(wait) = leads(&context.leader) {
        return Ok(Next::After(wait));
    }
    let uid = summary.uid().unwrap_or_default();
    let at_ease = summary.status.phase == Some(BackupPhase::Deleting) && summary.status.trouble.is_none();
    if let Some(volume) = volume_of(&summary).filter(|_| at_ease && context.memory.is_cleared(&uid)) {
        context.queues.volumes.push(volume);
        return Ok(Next::AwaitChange);
    }
    let api: Api<Backup> = Api::namespaced(context.service.client.clone(), &key.namespace);
    let Some(backup) = write::get(&api, &key.name).await? else {
        return Ok(Next::AwaitChange);
    };
    let observed = observe(&context, &key, backup).await?;
    let pass = Deletion {
        context: &context,
        api,
        key,
        observed,
        purge: None,
    };
    Ok(Box::pin(reconcile::reconcile(pass)).await?)
}

struct Deletion<'a> {
    context: &'a Context,
    api: Api<Backup>,
    key: Key,
    observed: Observed,
    /// The claim whose purge has work, once the pass is over.
    purge: Option<String>,
}

impl Pass for Deletion<'_> {
    type Status = BackupStatus;
    type Read = Read;

    fn decide(&mut self, now: Timestamp) -> Decision {
        let release = gc::decide(&self.observed, now);
        let uid = self.observed.backup.metadata.uid.as_deref().unwrap_or_default();
        self.context.memory.block(uid, release.blocked);
        self.context.metrics.blocked(self.context.memory.blocked());
        self.purge = release.purge;
        release.decision
    }

    fn standing(&mut self, _: Intent) -> Standing {
        leads(&self.context.leader)
    }

    async fn read(&mut self, Read::Everything: Read) -> Result<Found, WriteError> {
        let uid = self.observed.backup.uid();
        let found = write::get(&self.api, &self.key.name).await?;
        let Some(found) = found.filter(|found| found.uid() == uid) else {
            return Ok(Found::Gone);
        };
        self.observed = observe(self.context, &self.key, found).await?;
        Ok(Found::Known)
    }

    async fn write(&mut self, write: Write) -> Result<Written, WriteError> {
        let released = matches!(write, Write::Metadata(_)).then(|| Released::of(self.context, &self.observed.backup));
        let client = &self.context.service.client;
        match apply(client, &self.api, &self.observed.backup, write).await {
            Ok(applied) => {
                if let Applied::Object(backup) = applied {
                    self.observed.backup = *backup;
                }
                if let Some(released) = released {
                    released.tell(self.context, &self.observed.backup);
                }
                Ok(Written::Stored)
            }
            Err(WriteError::Conflict | WriteError::NotFound) => Ok(match self.read(Read::Everything).await? {
                Found::Known => Written::Stale,
                Found::Gone => Written::Gone,
            }),
            Err(error) => Err(error),
        }
    }

    async fn emit(&mut self, notices: Vec<Notice>) {
        emit(&self.context.service, &self.observed.backup, notices).await;
    }

    fn settled(&mut self) {
        let Some(claim) = self.purge.take() else { return };
        let uid = self.observed.backup.metadata.uid.as_deref().unwrap_or_default();
        self.context.memory.clear(uid);
        self.context.queues.volumes.push(Key::new(&self.key.namespace, claim));
    }
}

async fn observe(context: &Context, key: &Key, backup: Backup) -> Result<Observed, WriteError> {
    let client = context.service.client.clone();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client, &key.namespace);
    let status = backup.status.clone().unwrap_or_default();
    let location = status.location(backup.metadata.uid.as_deref().unwrap_or_default());
    let claim = match Place::of(&key.name, location.as_ref()) {
        Place::Own { claim, .. } => write::get(&claims, claim).await?,
        Place::Nowhere | Place::Unknown(_) | Place::Shared { .. } => None,
    };
    Ok(Observed {
        backup,
        namespace_terminating: is_terminating(context, &key.namespace).await?,
        claim,
        dependents: context.index().dependents(&at(key)),
        restoring: gc::restoring(
            context.restores.all().iter().map(AsRef::as_ref),
            &key.namespace,
            &key.name,
        ),
    })
}

/// Whether a namespace is being deleted, or gone.
pub(crate) async fn is_terminating(context: &Context, namespace: &str) -> Result<bool, WriteError> {
    let api: Api<Namespace> = Api::all(context.service.client.clone());
    let found = write::get(&api, namespace).await?;
    Ok(found.is_none_or(|namespace| namespace.is_terminating()))
}

/// Why a Backup whose finalizer is about to go was deleted: with it goes what is remembered of it, and the watch may show
/// that before the answer comes.
pub(crate) struct Released(&'static str);

impl Released {
    pub(crate) fn of(context: &Context, backup: &impl kube::ResourceExt) -> Self {
        let uid = backup.uid().unwrap_or_default();
        Self(match context.memory.why_retired(&uid) {
            Some(Reason::Expired) => "expired",
            Some(_) => "history-limit",
            None => "user",
        })
    }

    /// Tells that it is gone.
    pub(crate) fn tell<K>(self, context: &Context, backup: &K)
    where
        K: Resource<DynamicType = ()> + Debug,
    {
        tracing::info!(backup = %Key::of(backup), reason = self.0, "released");
        context.metrics.deleted(self.0);
        context.service.bus.publish(BusEvent {
            from: BackupPhase::Deleting.as_str(),
            data: serde_json::json!({ "reason": self.0 }),
            ..BusEvent::of(BusEventKind::BackupDeleted, backup)
        });
    }
}
