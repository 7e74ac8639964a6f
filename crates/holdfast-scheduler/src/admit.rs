//! Lets new Backups in, or says why not.

use std::{sync::Arc, time::Duration};

use holdfast_api::{
    Backup, BackupPhase,
    condition::Reason,
    event::{BusEvent, BusEventKind},
    names::ANNOTATION_TRACEPARENT,
};
use holdfast_core::admission::{self, Decision, Next as After, Write};
use holdfast_runtime::{Next, STAND_BY, clock, trace, watch::Key, write};
use kube::{Api, ResourceExt as _};

use crate::{Context, error::Error, observe};

/// How many reads one look may take: each kind once, and the pods again after the policy.
const READS: usize = 8;

/// Looks at one Backup.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, Error> {
    let Some(backup) = context.backups.by_key(&key) else {
        return Ok(Next::AwaitChange);
    };
    if !admission::concerns(&backup) {
        return Ok(Next::AwaitChange);
    }
    if !context.leader.leads() {
        return Ok(STAND_BY);
    }
    trace::follow(backup.annotations().get(ANNOTATION_TRACEPARENT).map(String::as_str));
    let mut observed = observe::observe(&context, backup);
    for _ in 0..READS {
        let decision = admission::decide(&observed, clock::now());
        let After::Read(read) = decision.next else {
            return apply(&context, &observed.backup, decision).await;
        };
        observe::read(&context, &mut observed, read)
            .await
            .map_err(Error::during("looking up what the Backup names"))?;
    }
    tracing::error!(%key, "admission asked for more reads than there are kinds");
    Ok(Next::After(Duration::from_secs(10)))
}

async fn apply(context: &Context, backup: &Arc<Backup>, decision: Decision) -> Result<Next, Error> {
    let Decision {
        write,
        event,
        outcome,
        next,
    } = decision;
    // A lease cannot fence a write; a late one of ours is still guarded by the resourceVersion.
    if write.is_some() && !context.leader.leads() {
        return Ok(STAND_BY);
    }
    let client = context.service.client.clone();
    let namespace = backup.namespace().unwrap_or_default();
    let api: Api<Backup> = Api::namespaced(client.clone(), &namespace);
    match write {
        None => {}
        Some(Write::Metadata(metadata)) => {
            write::patch_metadata(&api, &**backup, metadata)
                .await
                .map_err(Error::during("admitting the Backup"))?;
        }
        Some(Write::Status(status)) => {
            let wanted = Backup {
                status: Some(*status),
                ..(**backup).clone()
            };
            write::put_status(&api, &wanted)
                .await
                .map_err(Error::during("writing the Backup's status"))?;
        }
        Some(Write::CreateClaim(claim)) => {
            let claims = Api::namespaced(client, &namespace);
            match write::create(&claims, &*claim).await {
                Ok(_) | Err(write::WriteError::Exists) => {}
                Err(error) => return Err(Error::during("creating the policy's claim")(error)),
            }
        }
    }
    if let Some((warning, reason, note)) = event {
        context
            .service
            .events
            .publish(&**backup, warning, reason.as_str(), &note)
            .await;
    }
    if let Some(reason) = outcome {
        context.metrics.admission(reason);
        tell(context, backup, reason);
    }
    Ok(match next {
        After::After(duration) => Next::After(Duration::try_from(duration).unwrap_or(Duration::from_secs(1))),
        After::AwaitChange | After::Read(_) => Next::AwaitChange,
    })
}

/// Tells the other services how it went.
pub(crate) fn tell(context: &Context, backup: &Backup, reason: Reason) {
    let kind = match reason {
        Reason::Admitted => BusEventKind::BackupAdmitted,
        _ => BusEventKind::BackupFailed,
    };
    context.service.bus.publish(BusEvent {
        from: BackupPhase::New.as_str(),
        data: serde_json::json!({ "reason": reason.as_str() }),
        ..BusEvent::of(kind, backup)
    });
}
