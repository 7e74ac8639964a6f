//! Backups reduced to what retention looks at, so that ten thousand of them take little memory.

use std::borrow::Cow;

use holdfast_api::{Backup, BackupPhase, BackupType};
use jiff::Timestamp;
use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::Resource;
use serde::{Deserialize, Deserializer, Serialize};

/// A Backup without most of its content. It must never be written back.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct SlimBackup {
    /// Metadata without managed fields.
    #[serde(deserialize_with = "without_fields")]
    pub metadata: ObjectMeta,
    /// What kind it is, and by which policy.
    pub spec: SlimSpec,
    /// How it stands.
    #[serde(default)]
    pub status: SlimStatus,
}

/// What of a spec retention looks at.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SlimSpec {
    /// Name of the policy.
    pub backup_policy_name: String,
    /// Kind of backup.
    #[serde(default)]
    pub backup_type: BackupType,
    /// The Backup that it builds on.
    #[serde(default)]
    pub parent_backup_name: Option<String>,
}

/// What of a status retention looks at.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SlimStatus {
    /// Where it stands.
    #[serde(default)]
    pub phase: Option<BackupPhase>,
    /// When it may go.
    #[serde(default)]
    pub expiration: Option<Time>,
    /// When it started.
    #[serde(default)]
    pub start_timestamp: Option<Time>,
    /// When it ended.
    #[serde(default)]
    pub completion_timestamp: Option<Time>,
    /// The Backup that it builds on.
    #[serde(default)]
    pub parent_backup_name: Option<String>,
    /// The claim that holds its files.
    #[serde(default)]
    pub persistent_volume_claim_name: Option<String>,
}

fn without_fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let metadata = ObjectMeta::deserialize(deserializer)?;
    Ok(ObjectMeta {
        managed_fields: None,
        ..metadata
    })
}

impl Resource for SlimBackup {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(dt: &()) -> Cow<'_, str> {
        Backup::kind(dt)
    }

    fn group(dt: &()) -> Cow<'_, str> {
        Backup::group(dt)
    }

    fn version(dt: &()) -> Cow<'_, str> {
        Backup::version(dt)
    }

    fn plural(dt: &()) -> Cow<'_, str> {
        Backup::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl SlimBackup {
    /// Whether it can be restored and is not about to go.
    pub fn is_good(&self) -> bool {
        self.status.phase == Some(BackupPhase::Completed) && self.metadata.deletion_timestamp.is_none()
    }

    /// Its place in time: when it ended, or started, or was created.
    pub fn time(&self) -> Option<Timestamp> {
        let status = &self.status;
        let time = status.completion_timestamp.as_ref().or(status.start_timestamp.as_ref());
        time.or(self.metadata.creation_timestamp.as_ref()).map(|time| time.0)
    }

    /// The name of the Backup that it builds on.
    pub fn parent(&self) -> Option<&str> {
        let parent = self
            .status
            .parent_backup_name
            .as_deref()
            .or(self.spec.parent_backup_name.as_deref());
        parent.filter(|name| !name.is_empty())
    }
}
