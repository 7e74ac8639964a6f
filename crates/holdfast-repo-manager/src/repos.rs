//! Looks at one repository: observe, decide, apply, tell.

use std::{sync::Arc, time::Duration};

use holdfast_api::{
    BackupRepo, BackupRepoPhase,
    event::{BusEvent, BusEventKind},
};
use holdfast_core::repo::{self, Decision, Event, Next as After, Observed, Write};
use holdfast_runtime::{Next, STAND_BY, clock, watch::Key, write::WriteError};
use kube::ResourceExt as _;

use crate::{Context, apply, observe};

/// After a write the watch shows it and wakes the repository; this is for when it does not.
const AFTER_WRITE: Duration = Duration::from_secs(2);
/// How soon something refused is tried again.
const REFUSED: Duration = Duration::from_secs(30);

/// Looks at a repository.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, WriteError> {
    let Some(repo) = context.caches.repos.by_key(&key) else {
        context.metrics.forget(&key.name);
        context.memory.forget(&key.name);
        return Ok(Next::AwaitChange);
    };
    if !context.leader.leads() {
        return Ok(STAND_BY);
    }
    let mut observed = observe::repo(&context, &repo).await?;
    let phase = repo.status.as_ref().and_then(|status| status.phase);
    context.metrics.repo(&key.name, phase);
    let decision = repo::decide(&observed, clock::now());
    let making = matches!(
        decision.write,
        Some(Write::CreateSecret(_) | Write::UpdateSecret(_) | Write::CreateStorageClass(_))
    );
    match write(&context, &observed, decision).await {
        Err(WriteError::Refused(words)) if making => {
            observed.refused = Some(words);
            let decision = repo::decide(&observed, clock::now());
            write(&context, &observed, decision).await?;
            Ok(Next::After(REFUSED))
        }
        outcome => outcome,
    }
}

async fn write(context: &Context, observed: &Observed, decision: Decision) -> Result<Next, WriteError> {
    let Decision {
        write,
        events,
        news,
        next,
    } = decision;
    let Some(write) = write else {
        return Ok(match next {
            After::AwaitChange => Next::AwaitChange,
            After::After(time) => Next::After(time),
        });
    };
    // A lease cannot fence a write; a late one of ours is still guarded by what was read.
    if !context.leader.leads() {
        return Ok(STAND_BY);
    }
    let name = observed.repo.name_any();
    let claim = match &write {
        Write::CreateClaim(claim) => claim.metadata.namespace.clone(),
        _ => None,
    };
    let phase = match &write {
        Write::Status(status) => status.phase,
        _ => None,
    };
    match (apply::apply(context, observed, write).await, claim) {
        (Ok(()), Some(_)) => context.metrics.claim_created(&name),
        (Ok(()), None) => {}
        (Err(error), Some(namespace)) => return unclaimed(context, &name, &namespace, error),
        (Err(error), None) => return Err(error),
    }
    if phase.is_some() {
        context.metrics.repo(&name, phase);
    }
    tell(context, &observed.repo, &events, news).await;
    Ok(Next::After(AFTER_WRITE))
}

/// A claim that could not be made is remembered, so that other namespaces are served meanwhile.
fn unclaimed(context: &Context, repo: &str, namespace: &str, error: WriteError) -> Result<Next, WriteError> {
    match error {
        WriteError::Exists => context.memory.exists(repo, namespace),
        WriteError::Refused(words) => context.memory.refused(repo, namespace, words),
        WriteError::NotFound => context
            .memory
            .refused(repo, namespace, "the namespace does not exist".to_owned()),
        error => return Err(error),
    }
    Ok(Next::After(Duration::ZERO))
}

async fn tell(context: &Context, repo: &BackupRepo, events: &[Event], news: Option<BackupRepoPhase>) {
    for event in events {
        if event.warning {
            context.metrics.problem(&repo.name_any(), event.reason.as_str());
        }
        context
            .service
            .events
            .publish(repo, event.warning, event.reason.as_str(), &event.message)
            .await;
    }
    let Some(phase) = news else { return };
    let before = repo
        .status
        .as_ref()
        .and_then(|status| status.phase)
        .map_or("", BackupRepoPhase::as_str);
    let kind = match phase {
        BackupRepoPhase::Ready => BusEventKind::RepoReady,
        BackupRepoPhase::Failed | BackupRepoPhase::PreChecking | BackupRepoPhase::Deleting => BusEventKind::RepoFailed,
    };
    context.service.bus.publish(BusEvent {
        from: before,
        // Two failures of one repository are two messages.
        start: Some(clock::now()),
        ..BusEvent::of(kind, repo)
    });
}
