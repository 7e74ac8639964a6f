//! Keeps the status of policies, and makes the Backups that their schedules ask for.

use std::sync::Arc;

use holdfast_api::{Backup, BackupPolicy, BackupPolicyStatus, condition::Reason, event::BusEventKind};
use holdfast_core::{
    admission,
    decision::{Child, Intent, Notice},
    driver::{Found, Standing, Written},
    policy::{self, Decision, Named, Observed, Read, Slot, Write},
};
use holdfast_runtime::{
    Next, clock,
    reconcile::{self, Pass, emit, leads},
    trace,
    watch::Key,
    write::{Applied, WriteError, apply, get},
};
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use crate::{Context, admit, error::Error, observe};

/// Looks at one policy.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, Error> {
    let Some(found) = context.policies.by_key(&key) else {
        return Ok(Next::AwaitChange);
    };
    if let Some(status) = &found.status {
        context.metrics.policy(&found, status);
    }
    if let Standing::Later(wait) = leads(&context.leader) {
        // Only who leads knows.
        context.metrics.next_slot(&found, None);
        return Ok(Next::After(wait));
    }
    let client = context.service.client.clone();
    let pass = PolicyPass {
        context: &context,
        policies: Api::namespaced(client.clone(), &key.namespace),
        backups: Api::namespaced(client, &key.namespace),
        observed: Observed::new(found),
    };
    reconcile::reconcile(pass)
        .await
        .map_err(Error::during("keeping the policy's schedules"))
}

struct PolicyPass<'a> {
    context: &'a Context,
    policies: Api<BackupPolicy>,
    backups: Api<Backup>,
    observed: Observed,
}

impl Pass for PolicyPass<'_> {
    type Status = BackupPolicyStatus;
    type Read = Read;

    fn decide(&mut self, now: Timestamp) -> Decision {
        self.observed.active = self.context.backups.all();
        observe::named(self.context, &mut self.observed);
        policy::decide(&self.observed, now)
    }

    fn standing(&mut self, _: Intent) -> Standing {
        leads(&self.context.leader)
    }

    async fn read(&mut self, read: Read) -> Result<Found, WriteError> {
        let kind = match read {
            Read::Blocker(kind) | Read::Admission(kind) => kind,
            Read::Named(name) => {
                observe::read_named(self.context, &mut self.observed, name).await?;
                return Ok(Found::Known);
            }
        };
        // Where another slot has come meanwhile, the next decision asks again.
        match self.observed.slot(kind, clock::now()) {
            Slot::Skipped { by, .. } => self.look_at(&by).await?,
            Slot::Due { slot, .. } => {
                let policy = &self.observed.policy;
                let backup = policy::slot_backup(policy, kind, slot, &trace::new_traceparent());
                self.observed.prepared = Some(admitted(self.context, backup).await);
            }
            Slot::None { .. } | Slot::Missed { .. } => {}
        }
        Ok(Found::Known)
    }

    async fn write(&mut self, write: Write) -> Result<Written, WriteError> {
        let created = match &write {
            Write::Create(Child::Backup(backup)) => Some(backup.name_any()),
            _ => None,
        };
        let client = &self.context.service.client;
        match (
            created,
            apply(client, &self.policies, &self.observed.policy, write).await,
        ) {
            (_, Ok(Applied::Object(policy))) => {
                self.observed.policy = Arc::from(policy);
                Ok(Written::Stored)
            }
            (Some(name), Ok(Applied::Created(Child::Backup(backup)))) => {
                self.observed.live.insert(name.clone(), Some(Arc::from(backup)));
                self.observed.created = Some(name);
                Ok(Written::Stored)
            }
            (_, Ok(_)) => Ok(Written::Stored),
            (Some(name), Err(WriteError::Exists)) => {
                self.look_at(&name).await?;
                Ok(Written::Stale)
            }
            (Some(_), Err(WriteError::Refused(why))) => {
                self.observed.refused = Some(why);
                Ok(Written::Refused)
            }
            (None, Err(WriteError::Conflict | WriteError::NotFound)) => self.read_anew().await,
            (Some(_), Err(WriteError::NotFound)) => Ok(Written::Gone),
            (_, Err(error)) => Err(error),
        }
    }

    async fn emit(&mut self, notices: Vec<Notice>) {
        admit::count(&self.context.metrics, &notices);
        count(self.context, &self.observed.policy, &notices);
        emit(&self.context.service, &*self.observed.policy, notices).await;
    }

    fn settled(&mut self) {
        // A policy that has left meanwhile is measured no more.
        if self.context.policies.by_key(&Key::of(&*self.observed.policy)).is_some() {
            let next = self.observed.next_slot(clock::now());
            self.context.metrics.next_slot(&self.observed.policy, next);
        }
    }
}

impl PolicyPass<'_> {
    async fn look_at(&mut self, name: &str) -> Result<(), WriteError> {
        let found = get(&self.backups, name).await?.map(Arc::new);
        self.observed.live.insert(name.to_owned(), found);
        Ok(())
    }

    /// Somebody else has written the policy, or deleted it.
    async fn read_anew(&mut self) -> Result<Written, WriteError> {
        let uid = self.observed.policy.uid();
        let found = get(&self.policies, &self.observed.policy.name_any()).await?;
        Ok(match found.filter(|found| found.uid() == uid) {
            Some(found) => {
                self.observed.policy = Arc::new(found);
                self.observed.named = Named::default();
                Written::Stale
            }
            None => Written::Gone,
        })
    }
}

/// Counts slots: those that were made, and those that had no Backup.
fn count(context: &Context, policy: &BackupPolicy, notices: &[Notice]) {
    let events = || {
        notices.iter().filter_map(|notice| match notice {
            Notice::Bus(event) => Some(event),
            Notice::Event(_) => None,
        })
    };
    let made = events().any(|event| event.kind == BusEventKind::BackupScheduled);
    if made {
        context.metrics.slots(policy, "made", 1);
    }
    for event in events().filter(|event| event.kind == BusEventKind::SlotMissed) {
        let earlier = event.data.get("earlier").and_then(Value::as_u64).unwrap_or_default();
        let earlier = u32::try_from(earlier).unwrap_or(u32::MAX);
        context.metrics.slots(policy, Reason::SlotMissed.as_str(), earlier);
        if let Some(reason) = event.data.get("reason").and_then(Value::as_str).filter(|_| !made) {
            context.metrics.slots(policy, reason, 1);
        }
    }
}

/// Adds what admission would add, if everything is ready; else the Backup is created as it is and waits its turn.
async fn admitted(context: &Context, mut backup: Backup) -> Backup {
    let mut observed = observe::observe(context, Arc::new(backup.clone()));
    let read = observe::read(context, &mut observed, admission::Read::Pods).await;
    let Some(metadata) = read.ok().and_then(|()| admission::admit(&observed, clock::now()).ok()) else {
        return backup;
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let pairs = |field: &str| {
        metadata
            .get(field)
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    let labels = pairs("labels")
        .into_iter()
        .filter_map(|(key, value)| Some((key, text(&value)?)));
    backup.labels_mut().extend(labels);
    let annotations = pairs("annotations")
        .into_iter()
        .filter_map(|(key, value)| Some((key, text(&value)?)));
    backup.annotations_mut().extend(annotations);
    backup
}
