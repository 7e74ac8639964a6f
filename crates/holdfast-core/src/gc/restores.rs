//! Which Backups restores that are not over still need.

use std::collections::HashMap;

use holdfast_api::{RestoreJob, RestoreJobPhase};
use kube::{ResourceExt, core::DynamicObject};

/// The Backups of one namespace that its unfinished `RestoreJob`s name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InUse(HashMap<String, String>);

impl InUse {
    /// By `RestoreJob`s as they are stored: one that cannot be read as its kind still needs what it names.
    pub fn of(restores: &[DynamicObject]) -> Self {
        let backup = |restore: &DynamicObject| restore.data.pointer("/spec/backupJobName")?.as_str().map(str::to_owned);
        let over = |restore: &DynamicObject| {
            let phase = restore.data.pointer("/status/phase").cloned().unwrap_or_default();
            serde_json::from_value(phase).is_ok_and(RestoreJobPhase::is_terminal)
        };
        let unfinished = restores.iter().filter(|restore| !over(restore));
        Self(
            unfinished
                .filter_map(|restore| Some((backup(restore)?, restore.name_any())))
                .collect(),
        )
    }

    /// The RestoreJob that needs the Backup of that name, if any.
    pub fn by(&self, backup: &str) -> Option<&str> {
        self.0.get(backup).map(String::as_str)
    }
}

/// The name of an unfinished RestoreJob of that namespace that names that Backup, if any.
pub fn restoring<'a>(
    restores: impl IntoIterator<Item = &'a RestoreJob>,
    namespace: &str,
    backup: &str,
) -> Option<String> {
    let names = |restore: &&RestoreJob| {
        restore.metadata.namespace.as_deref() == Some(namespace)
            && restore.spec.backup_job_name == backup
            && !restore.phase().is_terminal()
    };
    restores.into_iter().find(names).map(ResourceExt::name_any)
}
