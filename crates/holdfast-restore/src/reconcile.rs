//! Looks at one RestoreJob: observe, decide, apply, tell.

use std::{sync::Arc, time::Duration};

use holdfast_api::{
    ObjectMetaExt as _, RestoreJob, RestoreJobPhase, RestoreJobStatus,
    event::{BusEvent, BusEventKind},
};
use holdfast_core::restore::{self, Decision, Observed, Write};
use holdfast_runtime::{
    Category, Next, Retry, STAND_BY, clock,
    watch::Key,
    write::{self, WriteError},
};
use kube::Api;

use crate::{Context, apply::apply, observe::observe};

/// A pass that could not be ended.
#[derive(Debug, thiserror::Error)]
#[error("restore: {0}")]
pub(crate) struct Error(#[from] WriteError);

impl Category for Error {
    fn category(&self) -> &'static str {
        self.0.category()
    }

    fn retry(&self) -> Retry {
        self.0.retry()
    }
}

pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, Error> {
    let Some(cached) = context.restores.by_key(&key) else {
        return Ok(Next::AwaitChange);
    };
    if cached.phase().is_terminal() && !cached.is_terminating() {
        return Ok(Next::AwaitChange);
    }
    if !context.leader.leads() {
        return Ok(STAND_BY);
    }
    let api: Api<RestoreJob> = Api::namespaced(context.service.client.clone(), &key.namespace);
    let Some(found) = write::get(&api, &key.name).await? else {
        return Ok(Next::AwaitChange);
    };
    let observed = observe(&context, found, None).await?;
    let decision = restore::decide(&observed, clock::now());
    match carry_out(&context, &observed.restore, decision).await {
        Err(WriteError::Refused(why)) => {
            // A Job that the API server refuses is said on the object, and decided about once more.
            let observed = Observed {
                refused: Some(why),
                ..observed
            };
            let decision = restore::decide(&observed, clock::now());
            Ok(carry_out(&context, &observed.restore, decision).await?)
        }
        other => Ok(other?),
    }
}

async fn carry_out(context: &Context, found: &RestoreJob, decision: Decision) -> Result<Next, WriteError> {
    let Decision { write, event, next } = decision;
    let wrote = write.is_some();
    if let Some(write) = write {
        // A lease cannot fence a write; a late one of ours is still guarded.
        if !context.leader.leads() {
            return Ok(STAND_BY);
        }
        let status = if let Write::Status(status) = &write {
            Some((**status).clone())
        } else {
            None
        };
        apply(context, found, write).await?;
        if let Some(status) = status {
            context.metrics.moved(found, &status);
            tell(context, found, &status);
        }
    }
    if let Some(event) = event {
        context
            .service
            .events
            .publish(found, event.warning, event.reason.as_str(), &event.note)
            .await;
    }
    Ok(match next {
        // What was written comes back through the watch; a moment later it is looked at all the same.
        Some(wait) if wait.is_zero() || wrote => Next::After(Duration::from_millis(200)),
        Some(wait) => Next::After(Duration::try_from(wait).unwrap_or_default()),
        None => Next::AwaitChange,
    })
}

/// Publishes what a written status has brought about.
fn tell(context: &Context, before: &RestoreJob, after: &RestoreJobStatus) {
    let (from, to) = (before.phase(), after.phase.unwrap_or_default());
    if from == to {
        return;
    }
    let kind = match to {
        RestoreJobPhase::Completed => BusEventKind::RestoreCompleted,
        RestoreJobPhase::Failed => BusEventKind::RestoreFailed,
        RestoreJobPhase::New | RestoreJobPhase::InProgressPhy | RestoreJobPhase::InProgressLogic => {
            BusEventKind::RestoreStarted
        }
    };
    context.service.bus.publish(BusEvent {
        from: from.as_str(),
        start: after.start_timestamp.as_ref().map(|time| time.0),
        data: serde_json::json!({ "reason": after.failure_reason }),
        ..BusEvent::of(kind, before)
    });
}
