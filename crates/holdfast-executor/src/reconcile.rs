//! One pass over a Backup: observe, decide, apply, tell; again until there is nothing to do at once.

use std::time::Duration;

use holdfast_api::event::BusEvent;
use holdfast_api::names::ANNOTATION_TRACEPARENT;
use holdfast_core::backup::{self, Decision, Event, Notice, Write, decide};
use holdfast_runtime::queue::Next;
use holdfast_runtime::watch::Key;
use holdfast_runtime::write::WriteError;
use holdfast_runtime::{clock, trace};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::Context;
use crate::apply::{Outcome, apply};
use crate::observe::{Pass, look, observe};
use crate::sweep::sweep;

/// More steps than any pass takes. Who needs more goes on a moment later.
const STEPS: usize = 24;
const A_MOMENT: Duration = Duration::from_secs(1);

/// Looks at the Backup of that name, and at Jobs that Backups of that name have left.
pub(crate) async fn reconcile(context: &Context, key: Key) -> Result<Next, WriteError> {
    let current = context
        .caches
        .backups
        .by_key(&key)
        .map(|backup| context.written.latest(backup));
    let swept = sweep(context, &key, current.as_deref()).await?;
    let Some(backup) = current else { return Ok(swept) };
    trace::follow(backup.annotations().get(ANNOTATION_TRACEPARENT).map(String::as_str));
    let next = drive(context, Pass::new(backup)).await?;
    Ok(sooner(next, swept))
}

async fn drive(context: &Context, mut pass: Pass) -> Result<Next, WriteError> {
    let uid = pass.backup.uid().unwrap_or_default();
    let mut acting = false;
    for _ in 0..STEPS {
        let decision = decide(&observe(context, &pass), clock::now());
        let Decision {
            write,
            events,
            news,
            next,
        } = decision;
        if write.is_none() && !matches!(next, backup::Next::Read(_)) {
            context.turns.settled(&uid);
            return Ok(queued(next));
        }
        if !acting
            && let Some(wait) = context
                .turns
                .wait(&uid, &intent(&pass, write.as_ref()), &context.peers())
        {
            return Ok(Next::After(wait));
        }
        acting = true;
        let outcome = match (write, next) {
            (Some(write), _) => {
                let before = std::sync::Arc::clone(&pass.backup);
                let created = matches!(write, Write::CreateJob(_));
                let outcome = apply(context, &mut pass, write).await?;
                if outcome == Outcome::Done {
                    context.metrics.wrote(&before, &pass.backup, created);
                    tell(context, &pass, events, news).await;
                }
                outcome
            }
            (None, backup::Next::Read(read)) => Outcome::Stale(read),
            (None, _) => Outcome::Done,
        };
        let gone = match outcome {
            Outcome::Stale(read) => !look(context, &mut pass, read).await?,
            Outcome::Gone => true,
            Outcome::Done | Outcome::Refused => false,
        };
        if gone {
            context.turns.settled(&uid);
            return Ok(Next::AwaitChange);
        }
    }
    tracing::warn!(backup = %pass.backup.name_any(), "pass did not come to rest");
    Ok(Next::After(A_MOMENT))
}

impl Context {
    /// The executors, by the endpoints of their Service.
    pub(crate) fn peers(&self) -> Vec<std::sync::Arc<k8s_openapi::api::discovery::v1::EndpointSlice>> {
        self.caches.endpoints.all()
    }
}

/// What is about to be done, told apart from what was wanted before: by the copy that it rests on, and its kind.
fn intent(pass: &Pass, write: Option<&Write>) -> String {
    let kind = match write {
        None => "read",
        Some(Write::Metadata(_)) => "metadata",
        Some(Write::Status(_)) => "status",
        Some(Write::CreateJob(_)) => "job",
        Some(Write::CreateReportJob(_)) => "report",
        Some(Write::DeleteJob { .. }) => "delete",
        Some(Write::MarkRepository { .. }) => "mark",
    };
    format!("{}/{kind}", pass.backup.resource_version().unwrap_or_default())
}

/// Events and messages about what is stored now.
async fn tell(context: &Context, pass: &Pass, events: Vec<Event>, news: Vec<Notice>) {
    let backup = &*pass.backup;
    for Event { warning, reason, note } in events {
        context.service.events.publish(backup, warning, &reason, &note).await;
    }
    for Notice {
        kind,
        from,
        start,
        reason,
    } in news
    {
        let data = reason.map_or(Value::Null, |reason| json!({"reason": reason.as_str()}));
        context.service.bus.publish(BusEvent {
            from: from.as_str(),
            start: Some(start),
            data,
            ..BusEvent::of(kind, backup)
        });
    }
}

fn queued(next: backup::Next) -> Next {
    match next {
        backup::Next::AwaitChange => Next::AwaitChange,
        backup::Next::After(wait) => Next::After(wait),
        backup::Next::Again | backup::Next::Read(_) => Next::After(A_MOMENT),
    }
}

/// The earlier of two.
pub(crate) fn sooner(one: Next, other: Next) -> Next {
    match (one, other) {
        (Next::After(one), Next::After(other)) => Next::After(one.min(other)),
        (Next::After(wait), Next::AwaitChange) | (Next::AwaitChange, Next::After(wait)) => Next::After(wait),
        (Next::AwaitChange, Next::AwaitChange) => Next::AwaitChange,
    }
}
