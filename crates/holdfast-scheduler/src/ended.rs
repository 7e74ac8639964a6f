//! Notes on policies when one of their Backups has completed.

use std::sync::Arc;

use holdfast_api::{Backup, BackupPhase, BackupPolicy, names::ANNOTATION_POLICY_UID};
use holdfast_core::policy::{self, Write};
use holdfast_runtime::{Next, watch::Key, write};
use kube::{Api, ResourceExt as _};

use crate::{Context, error::Error};

/// Looks at a Backup that is no longer active.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, Error> {
    // The slow pass of who leads looks for what ended unseen.
    if !context.leader.leads() {
        return Ok(Next::AwaitChange);
    }
    let api: Api<Backup> = Api::namespaced(context.service.client.clone(), &key.namespace);
    let backup = write::get(&api, &key.name)
        .await
        .map_err(Error::during("reading the Backup that ended"))?;
    let Some(backup) = backup else {
        return Ok(Next::AwaitChange);
    };
    let status = backup.status.as_ref();
    let completed = status
        .filter(|status| status.phase == Some(BackupPhase::Completed))
        .and_then(|status| status.completion_timestamp.as_ref());
    let found = context.policies.get(&key.namespace, &backup.spec.backup_policy_name);
    // A policy of that name may be another one by now.
    let made_for = backup.annotations().get(ANNOTATION_POLICY_UID);
    let found = found.filter(|found| made_for.is_none() || made_for == found.metadata.uid.as_ref());
    let (Some(completed), Some(found)) = (completed, found) else {
        return Ok(Next::AwaitChange);
    };
    if let Some(status) = policy::after_success(&found, completed.0) {
        // A lease cannot fence a write; a late one of ours is still guarded.
        if !context.leader.leads() {
            return Ok(Next::AwaitChange);
        }
        let api: Api<BackupPolicy> = Api::namespaced(context.service.client.clone(), &key.namespace);
        let write = Write::Status(Box::new(status));
        write::apply(&context.service.client, &api, &found, write)
            .await
            .map_err(Error::during("writing the policy's status"))?;
        tracing::info!(policy = %found.name_any(), backup = %key, "a backup of the policy completed");
    }
    Ok(Next::AwaitChange)
}
