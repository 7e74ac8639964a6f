//! Kind RestoreJob.

use k8s_openapi::{
    api::core::v1::{Volume, VolumeMount},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{RestorePlan, TargetCluster, Unknown, Waiting, schema};

/// What to restore, and onto which volumes.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "dataprotection.kubeblocks.io",
    version = "v1alpha1",
    kind = "RestoreJob",
    plural = "restorejobs",
    singular = "restorejob",
    namespaced,
    category = "kubeblocks",
    status = "RestoreJobStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Restores a Backup in place: the workload is stopped, its volumes are written, and it is started again.",
    printcolumn(name = "STATUS", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "COMPLETION-TIME", type_ = "date", json_path = ".status.completionTimestamp"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct RestoreJobSpec {
    /// The Backup, in the same namespace.
    pub backup_job_name: String,
    /// The workload that is restored.
    pub target: TargetCluster,
    /// The volumes that are written.
    #[schemars(schema_with = "schema::some_objects")]
    pub target_volumes: Vec<Volume>,
    /// Where the tool finds them.
    #[schemars(schema_with = "schema::some_objects")]
    pub target_volume_mounts: Vec<VolumeMount>,
    /// How often a failed attempt is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_fail_attempted: Option<i32>,
    /// Holdfast's own. Whether what the volumes hold may be overwritten; else volumes with data are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<bool>,
    /// Holdfast's own. Whether target claims may be written that the workload does not use; else those are refused, as a
    /// slip of the pen would overwrite another database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_unused_targets: Option<bool>,
}

/// Where a restore stands. No phase counts as New.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum RestoreJobPhase {
    /// Not started yet.
    #[default]
    New,
    /// Files are being restored.
    InProgressPhy,
    /// Content is being restored into a running database.
    InProgressLogic,
    /// The workload runs on the restored data.
    Completed,
    /// It ended without that.
    Failed,
}

impl RestoreJobPhase {
    /// The name in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "New",
            Self::InProgressPhy => "InProgressPhy",
            Self::InProgressLogic => "InProgressLogic",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
        }
    }
}

/// What became of a restore.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreJobStatus {
    /// Where the restore stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RestoreJobPhase>,
    /// When this object may be removed. Not set: never on its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Time>,
    /// When the restore started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When the restore ended, well or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// Why the restore failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Holdfast's own. The restore as planned at its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<RestorePlan>,
    /// Holdfast's own. What is waited for or being done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
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
