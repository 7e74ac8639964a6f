//! One pass over a RestoreJob: everything is read from the API server, and again after each write.

use std::sync::Arc;

use holdfast_api::{ObjectMetaExt as _, RestoreJob, RestoreJobStatus};
use holdfast_core::{
    decision::{Intent, Kind, Notice},
    driver::{Found, Standing, Written},
    restore::{self, Decision, Observed, Read, Write},
};
use holdfast_kube::{Applied, Key, WriteError, apply, get};
use holdfast_runtime::{
    Next,
    reconcile::{self, Pass, emit, leads},
};
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};

use crate::{
    Context,
    observe::{Refused, observe, restore_pods},
};

/// Looks at the RestoreJob of that name.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, WriteError> {
    let Some(cached) = context.restores.by_key(&key) else {
        return Ok(Next::AwaitChange);
    };
    if cached.phase().is_terminal() && !cached.is_terminating() {
        return Ok(Next::AwaitChange);
    }
    if let Standing::Later(wait) = leads(&context.leader) {
        return Ok(Next::After(wait));
    }
    let api: Api<RestoreJob> = Api::namespaced(context.service.client.clone(), &key.namespace);
    let Some(found) = get(&api, &key.name).await? else {
        return Ok(Next::AwaitChange);
    };
    let observed = Box::pin(observe(&context, found, Refused::default())).await?;
    let pass = RestorePass {
        context: &context,
        api,
        observed,
        stale: false,
    };
    Box::pin(reconcile::reconcile(pass)).await
}

struct RestorePass<'a> {
    context: &'a Context,
    api: Api<RestoreJob>,
    observed: Observed,
    /// Whether something was written, or has changed, since it was observed.
    stale: bool,
}

impl Pass for RestorePass<'_> {
    type Status = RestoreJobStatus;
    type Read = Read;

    fn decide(&mut self, now: Timestamp) -> Decision {
        // What a write brought about is told first: a read that fails then costs no Event.
        if self.stale {
            return Decision::read(Read::Everything);
        }
        restore::decide(&self.observed, now)
    }

    fn standing(&mut self, _: Intent) -> Standing {
        leads(&self.context.leader)
    }

    async fn read(&mut self, Read::Everything: Read) -> Result<Found, WriteError> {
        let uid = self.observed.restore.metadata.uid.as_ref();
        let found = get(&self.api, &self.observed.restore.name_any()).await?;
        let Some(found) = found.filter(|found| found.metadata.uid.as_ref() == uid) else {
            return Ok(Found::Gone);
        };
        self.stale = false;
        if found.phase().is_terminal() && !found.is_terminating() {
            // It needs nothing any more but that its pods go.
            if self
                .observed
                .write_pods
                .iter()
                .any(|pod| restore::release_pod(pod).is_some())
            {
                self.observed.write_pods = restore_pods(self.context, &found).await?;
            }
            self.observed.restore = found;
            return Ok(Found::Known);
        }
        let refused = Refused {
            child: self.observed.refused.take(),
            scale: self.observed.scale_refused.take(),
        };
        self.observed = Box::pin(observe(self.context, found, refused)).await?;
        Ok(Found::Known)
    }

    async fn write(&mut self, write: Write) -> Result<Written, WriteError> {
        let before = self.observed.restore.clone();
        let scales =
            matches!(&write, Write::Patch(target, _) if matches!(target.kind, Kind::StatefulSet | Kind::Deployment));
        let written = match apply(&self.context.service.client, &self.api, &before, write).await {
            Ok(Applied::Object(stored)) => {
                if let Some(after) = &stored.status {
                    self.context.metrics.moved(&before, after);
                }
                self.observed.restore = *stored;
                Written::Stored
            }
            Ok(Applied::Created(_) | Applied::Other) => Written::Stored,
            // It, or what it was to change, is another by now, or gone.
            Err(WriteError::Conflict | WriteError::Exists | WriteError::NotFound) => Written::Stale,
            // It is said on the object, and decided about once more; what is refused even then is tried again later.
            Err(WriteError::Refused(why)) if scales && self.observed.scale_refused.is_none() => {
                self.observed.scale_refused = Some(why);
                return Ok(Written::Refused);
            }
            Err(WriteError::Refused(why)) if !scales && self.observed.refused.is_none() => {
                self.observed.refused = Some(why);
                return Ok(Written::Refused);
            }
            Err(error) => return Err(error),
        };
        self.stale = true;
        Ok(written)
    }

    async fn emit(&mut self, notices: Vec<Notice>) {
        emit(&self.context.service, &self.observed.restore, notices).await;
    }
}
