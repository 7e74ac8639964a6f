//! Kind BackupTool.

use k8s_openapi::{
    api::core::v1::{EnvFromSource, EnvVar, ResourceRequirements},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Unknown, schema};

/// How one kind of database is backed up and restored.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "dataprotection.kubeblocks.io",
    version = "v1alpha1",
    kind = "BackupTool",
    plural = "backuptools",
    singular = "backuptool",
    category = "kubeblocks",
    status = "BackupToolStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "How one kind of database is backed up and restored: an image and its commands."
)]
#[serde(rename_all = "camelCase")]
pub struct BackupToolSpec {
    /// The image; empty: that of the target pod's first container.
    pub image: String,
    /// What the tool runs as.
    #[serde(default)]
    pub deploy_kind: DeployKind,
    /// Whether it backs up files or logs for recovery to a point in time.
    #[serde(default = "file", rename = "type")]
    #[schemars(extend("enum" = ["file", "pitr"]))]
    pub type_: String,
    /// What the container asks for and is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub resources: Option<ResourceRequirements>,
    /// Environment of the container, after the one that Holdfast gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_objects")]
    pub env: Option<Vec<EnvVar>>,
    /// Sources of further environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_objects")]
    pub env_from: Option<Vec<EnvFromSource>>,
    /// The command that makes a backup in `$BACKUP_DIR`.
    pub backup_commands: Vec<String>,
    /// The command that makes an incremental backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incremental_backup_commands: Option<Vec<String>>,
    /// How files are restored while the database is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical: Option<PhysicalConfig>,
    /// How content is restored into a database that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logical: Option<LogicalConfig>,
}

fn file() -> String {
    "file".to_owned()
}

/// What a tool runs as.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DeployKind {
    /// Runs once for each backup.
    #[default]
    Job,
    /// Runs continuously.
    StatefulSet,
}

/// How files are restored while the database is stopped.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PhysicalConfig {
    /// The command that restores `$BACKUP_DIR`; a single element is a shell script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_commands: Option<Vec<String>>,
    /// The command that restores an increment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incremental_restore_commands: Option<Vec<String>>,
    /// Whether a restore needs the logs as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rely_on_logfile: Option<bool>,
}

/// How content is restored into a database that runs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogicalConfig {
    /// The command that restores `$BACKUP_DIR`; a single element is a shell script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_commands: Option<Vec<String>>,
    /// The command that restores an increment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incremental_restore_commands: Option<Vec<String>>,
    /// In which pods it runs.
    #[serde(default)]
    pub pod_scope: PodRestoreScope,
}

/// In which pods a logical restore runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum PodRestoreScope {
    /// In every pod.
    #[default]
    All,
    /// In the pod that takes writes.
    ReadWrite,
}

/// Whether a tool can be used.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum BackupToolPhase {
    /// It can be used.
    #[default]
    Available,
    /// It cannot be used.
    Failed,
}

/// What Holdfast found about a tool.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupToolStatus {
    /// Holdfast's own. Whether the tool can be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupToolPhase>,
    /// Holdfast's own. Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
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
