//! Notes on policies when one of their Backups has completed.

use std::sync::Arc;

use holdfast_api::{Backup, BackupPhase, BackupPolicy};
use holdfast_core::policy;
use holdfast_runtime::{Next, watch::Key, write};
use kube::{Api, ResourceExt as _};

use crate::{Context, error::Error};

/// Looks at a Backup that is no longer active.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, Error> {
    if !context.leader.leads() {
        return Ok(Next::AwaitChange);
    }
    let client = context.service.client.clone();
    let api: Api<Backup> = Api::namespaced(client.clone(), &key.namespace);
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
    let (Some(completed), Some(found)) = (completed, found) else {
        return Ok(Next::AwaitChange);
    };
    if let Some(status) = policy::after_success(&found, completed.0) {
        let api: Api<BackupPolicy> = Api::namespaced(client, &key.namespace);
        let wanted = BackupPolicy {
            status: Some(status),
            ..(*found).clone()
        };
        write::put_status(&api, &wanted)
            .await
            .map_err(Error::during("noting the policy's success"))?;
        tracing::info!(policy = %found.name_any(), backup = %key, "a backup of the policy completed");
    }
    Ok(Next::AwaitChange)
}
