//! Retires the Backups of one policy: deletes those whose time is over, or of which there are too many.

use std::sync::Arc;

use holdfast_api::{BackupPolicy, BackupStatus, RestoreJob};
use holdfast_core::{
    decision::{Intent, Notice},
    driver::{Found, Standing, Written},
    gc::{
        BackupSummary, Candidate, Group, InUse, Limits,
        retirement::{self, Decision, Observed, Read, Write},
    },
};
use holdfast_runtime::{
    Next, clock,
    reconcile::{self, Pass, emit, leads},
    watch::Key,
    write::{self, WriteError, delete_target},
};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams},
};

use crate::{Context, at, error::Error};

/// Looks at one group: namespace and policy name.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, Error> {
    let backups = context.index().group(&at(&key));
    if backups.is_empty() {
        return Ok(Next::AwaitChange);
    }
    if let Standing::Later(wait) = leads(&context.leader) {
        return Ok(Next::After(wait));
    }
    let limits = context.policies.by_key(&key).map(|policy| Limits::of(&policy));
    let pass = Retirement {
        context: &context,
        observed: observe(&context, Group { backups, limits }, false),
        key,
        retired: None,
    };
    Ok(Box::pin(reconcile::reconcile(pass)).await?)
}

struct Retirement<'a> {
    context: &'a Context,
    key: Key,
    observed: Observed,
    /// The one that was deleted last.
    retired: Option<Candidate>,
}

impl Pass for Retirement<'_> {
    type Status = BackupStatus;
    type Read = Read;

    fn decide(&mut self, now: Timestamp) -> Decision {
        retirement::decide(&self.observed, now)
    }

    fn standing(&mut self, _: Intent) -> Standing {
        leads(&self.context.leader)
    }

    async fn read(&mut self, read: Read) -> Result<Found, WriteError> {
        let client = self.context.service.client.clone();
        match read {
            Read::Policy => {
                let policies: Api<BackupPolicy> = Api::namespaced(client, &self.key.namespace);
                let policy = write::get(&policies, &self.key.name).await?;
                let group = Group {
                    limits: policy.map(|policy| Limits::of(&policy)),
                    ..self.observed.group.clone()
                };
                self.observed = observe(self.context, group, true);
            }
            Read::Restores => {
                let kind = ApiResource::erase::<RestoreJob>(&());
                let restores: Api<DynamicObject> = Api::namespaced_with(client, &self.key.namespace, &kind);
                let restores = write::list(&restores, &ListParams::default()).await?;
                self.observed.know_restores(InUse::of(&restores));
            }
            Read::NewerGood => {
                let backups: Api<BackupSummary> = Api::namespaced(client, &self.key.namespace);
                if let Some(newer) = self.observed.next().and_then(|next| next.newer_good.as_ref()) {
                    let found = write::get(&backups, &newer.name_any()).await?;
                    self.observed.know_newer_good(found.as_ref());
                }
            }
        }
        Ok(Found::Known)
    }

    async fn write(&mut self, write: Write) -> Result<Written, WriteError> {
        let (Some(candidate), Write::Delete(target)) = (self.observed.next().cloned(), write) else {
            return Ok(Written::Stale);
        };
        let memory = &self.context.memory;
        // Noted before, so that the Backup is counted rightly however soon it is gone.
        memory.retire(&target.uid, candidate.reason);
        if let Err(error) = delete_target(&self.context.service.client, &target).await {
            memory.unretire(&target.uid);
            // It changed since it was seen: the change comes back, and is decided about anew.
            if matches!(error, WriteError::Conflict) {
                self.observed.pop();
                return Ok(Written::Stale);
            }
            return Err(error);
        }
        tracing::info!(backup = %Key::of(&*candidate.backup), reason = candidate.reason.as_str(), "retired");
        self.observed.pop();
        self.retired = Some(candidate);
        Ok(Written::Stored)
    }

    async fn emit(&mut self, notices: Vec<Notice>) {
        if let Some(candidate) = &self.retired {
            emit(&self.context.service, &*candidate.backup, notices).await;
        }
    }
}

/// What shall go of a group, without what was deleted before and only the watch does not show yet.
fn observe(context: &Context, group: Group, limits_live: bool) -> Observed {
    let needed = |backup: &BackupSummary| !context.index().dependents(&at(&Key::of(backup))).is_empty();
    let mut observed = Observed::of(group, limits_live, &needed, clock::now());
    let is_new = |candidate: &Candidate| {
        context
            .memory
            .why_retired(&candidate.backup.uid().unwrap_or_default())
            .is_none()
    };
    observed.left.retain(is_new);
    observed
}
