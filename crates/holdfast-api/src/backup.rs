//! Kind Backup.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Access, BackupPlan, Location, Unknown, Waiting, schema};

/// What to back up, by which policy.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "dataprotection.kubeblocks.io",
    version = "v1alpha1",
    kind = "Backup",
    plural = "backups",
    singular = "backup",
    namespaced,
    category = "kubeblocks",
    status = "BackupStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "One backup of a database: its data files, its logs or a snapshot of its volumes.",
    selectable = ".status.phase",
    printcolumn(name = "TYPE", type_ = "string", json_path = ".spec.backupType"),
    printcolumn(name = "STATUS", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "SOURCE-CLUSTER", type_ = "string", json_path = ".status.sourceCluster"),
    printcolumn(name = "TOTAL-SIZE", type_ = "string", json_path = ".status.totalSize"),
    printcolumn(name = "DURATION", type_ = "string", json_path = ".status.duration"),
    printcolumn(name = "CREATE-TIME", type_ = "string", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "COMPLETION-TIME",
        type_ = "string",
        json_path = ".status.completionTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct BackupSpec {
    /// The BackupPolicy, in the same namespace, that says what is backed up, where to and how.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9\.\-]*[a-z0-9])?$"))]
    pub backup_policy_name: String,
    /// What kind of backup this is.
    #[serde(default)]
    pub backup_type: BackupType,
    /// The Backup that an incremental one builds on. None is made by this version: the backup is a full one, and says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_backup_name: Option<String>,
    /// Holdfast's own. Ends a Backup that waits or runs, as Failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<bool>,
    /// Holdfast's own. How long the run may take, in seconds from its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub deadline_seconds: Option<i64>,
}

/// The kinds of backup.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupType {
    /// The data files.
    #[default]
    Datafile,
    /// The logs, for recovery to a point in time.
    Logfile,
    /// A snapshot of the volumes.
    Snapshot,
}

impl BackupType {
    /// The name in manifests, labels and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Datafile => "datafile",
            Self::Logfile => "logfile",
            Self::Snapshot => "snapshot",
        }
    }
}

/// Where a Backup stands. No phase counts as New.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum BackupPhase {
    /// Not started yet.
    #[default]
    New,
    /// A tool or snapshot is at work.
    InProgress,
    /// A continuous backup runs.
    Running,
    /// It can be restored.
    Completed,
    /// It ended without a usable backup.
    Failed,
    /// Its files are being removed.
    Deleting,
}

impl BackupPhase {
    /// The name in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "New",
            Self::InProgress => "InProgress",
            Self::Running => "Running",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Deleting => "Deleting",
        }
    }
}

/// What became of a Backup.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    /// Where the Backup stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupPhase>,
    /// The Backup that this one builds on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_backup_name: Option<String>,
    /// When the Backup may be removed, counted from its end. Not set: never on its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Time>,
    /// When the run started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When the run ended, well or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// How long the run took, for example 1m30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// What the backup takes in its repository, for example 1.2Gi; of a Failed one what its last attempt had written, which
    /// is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_size: Option<String>,
    /// Why the Backup failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// The claim that holds the backup's files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim_name: Option<String>,
    /// The claim that holds the logs that this backup relies on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_file_persistent_volume_claim_name: Option<String>,
    /// The BackupTool that made the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_tool_name: Option<String>,
    /// The cluster that was backed up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_cluster: Option<String>,
    /// Available replicas of a continuous backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_replicas: Option<i32>,
    /// What the backup consists of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifests: Option<ManifestsStatus>,
    /// Holdfast's own. The run as planned at its start: a later change of policy or tool does not alter it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<BackupPlan>,
    /// Holdfast's own. What is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// Holdfast's own. How the removal of its files stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
    /// Holdfast's own. Ready, Reconciling and Stalled, with a reason each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Holdfast's own. The generation that this status was found for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

impl BackupStatus {
    /// Where the bytes lie: as planned, or, for a Backup that has no plan, as the members of the original say, under `uid`.
    /// None for one that never came to write any.
    pub fn location(&self, uid: &str) -> Option<Location> {
        if let Some(plan) = self.plan.as_ref().filter(|plan| plan.location != Location::default()) {
            return Some(plan.location.clone());
        }
        let files = self
            .manifests
            .as_ref()
            .and_then(|manifests| manifests.backup_tool.as_ref());
        let path = files
            .and_then(|files| files.file_path.clone())
            .filter(|path| !path.is_empty())?;
        let claim = self
            .persistent_volume_claim_name
            .clone()
            .filter(|claim| !claim.is_empty())?;
        Some(Location {
            access: Access::mount(claim),
            path,
            seal_uid: uid.to_owned(),
            ..Location::default()
        })
    }
}

/// How the removal of a backup's files stands. Holdfast's own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Deletion {
    /// Why the files are still there, as one of the documented reasons; not set while the removal goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Since when that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// What a backup consists of.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestsStatus {
    /// The times between which the backup's content was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_log: Option<BackupLogStatus>,
    /// The target's own description, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The volume snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_snapshot: Option<BackupSnapshotStatus>,
    /// The files that the tool wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_tool: Option<BackupToolManifestsStatus>,
    /// What the tool wants to find again at restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_context: Option<BTreeMap<String, String>>,
}

/// Between which times content was written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupLogStatus {
    /// When it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_time: Option<Time>,
}

/// The names of a volume snapshot.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupSnapshotStatus {
    /// Name of the VolumeSnapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_name: Option<String>,
    /// Name of the VolumeSnapshotContent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_content_name: Option<String>,
}

/// The files of a backup.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupToolManifestsStatus {
    /// Directory in the repository, from its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_path: Option<String>,
    /// Directory of the logs that the backup relies on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_file_path: Option<String>,
    /// The volume that holds the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_name: Option<String>,
    /// What was transferred, for example 1.2Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_total_size: Option<String>,
    /// The sha256 over the sorted lines `<sha256>  <path>` of all files, as sha256sum prints them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// From where an increment goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}
