//! Keeps the index of Backups, and wakes what a change concerns.

use std::sync::Arc;

use holdfast_api::BackupPhase;
use holdfast_core::gc::{BackupSummary, Place};
use holdfast_runtime::{
    Next,
    watch::{Cached, Change, Key},
};
use kube::ResourceExt as _;

use crate::{Context, at, is_deleted};

/// Follows every Backup. What the watch holds already is indexed before this returns: whoever decides after it sees
/// all of it.
pub(crate) fn follow_backups(context: &Arc<Context>, backups: &Cached<BackupSummary>) {
    let mut changes = backups.subscribe();
    while let Ok(change) = changes.try_recv() {
        note(context, &change);
    }
    let (context, shutdown) = (Arc::clone(context), context.service.shutdown.clone());
    let service = context.service.clone();
    service.spawn("backups", async move {
        loop {
            let change = tokio::select! {
                () = shutdown.cancelled() => break,
                change = changes.recv() => change,
            };
            let Some(change) = change else { break };
            note(&context, &change);
        }
    });
}

fn note(context: &Context, change: &Change<BackupSummary>) {
    let backup = change.object();
    let left = matches!(change, Change::Left(_));
    let ends = left || !backup.is_kept();
    let (before, ancestors) = {
        let mut index = context.index();
        let before = index.get(&at(&Key::of(&**backup))).cloned();
        if left {
            index.remove(backup);
        } else {
            index.apply(backup);
        }
        // What no longer needs its parents may free them.
        let ancestors = if ends { index.ancestors(backup) } else { Vec::new() };
        (before, ancestors)
    };
    let queues = &context.queues;
    // A Backup at work cannot make another one go.
    if ends || backup.status.phase == Some(BackupPhase::Completed) {
        queues.groups.push(group_of(backup));
    }
    if let Some(before) = before.filter(|before| group_of(before) != group_of(backup)) {
        queues.groups.push(group_of(&before));
    }
    for ancestor in ancestors {
        queues.groups.push(group_of(&ancestor));
        if is_deleted(&ancestor) {
            queues.deletions.push(Key::of(&*ancestor));
        }
    }
    if left {
        context
            .memory
            .forget(backup.metadata.uid.as_deref().unwrap_or_default());
        let sealed = backup.seal_uid().unwrap_or_default();
        context.memory.history(|history| history.forget(sealed));
        context.metrics.blocked(context.memory.blocked());
        if backup.is_going()
            && let Some(volume) = volume_of(backup)
        {
            queues.volumes.push(volume);
        }
    } else if is_deleted(backup) {
        queues.deletions.push(Key::of(&**backup));
    }
}

/// A message about a Backup wakes its policy; what the watch has not shown yet, it will.
pub(crate) fn wake(context: &Context, key: &Key) -> Next {
    if let Some(backup) = context.known(key) {
        context.queues.groups.push(group_of(&backup));
    }
    Next::AwaitChange
}

/// Namespace and policy name of a Backup.
fn group_of(backup: &BackupSummary) -> Key {
    Key::new(backup.namespace().unwrap_or_default(), &backup.spec.backup_policy_name)
}

/// The claim with a Backup's files.
pub(crate) fn volume_of(backup: &BackupSummary) -> Option<Key> {
    match backup.place() {
        Place::Own { claim, .. } => Some(Key::new(backup.namespace().unwrap_or_default(), claim)),
        Place::Nowhere | Place::Unknown(_) | Place::Shared { .. } => None,
    }
}
