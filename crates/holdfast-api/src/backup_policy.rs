//! Kind BackupPolicy.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::{
    api::resource::Quantity,
    apis::meta::v1::{Condition, Time},
};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{TargetCluster, Unknown, Waiting, schema};

/// What is backed up, when, where to, and for how long.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "dataprotection.kubeblocks.io",
    version = "v1alpha1",
    kind = "BackupPolicy",
    plural = "backuppolicies",
    singular = "backuppolicy",
    shortname = "bp",
    namespaced,
    category = "kubeblocks",
    status = "BackupPolicyStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "What of a database is backed up, when, where to, and for how long.",
    printcolumn(name = "STATUS", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "LAST SCHEDULE", type_ = "string", json_path = ".status.lastScheduleTime"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct BackupPolicySpec {
    /// How long backups are kept. Not set: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionSpec>,
    /// When backups are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// How volumes are snapshotted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotPolicy>,
    /// How data files are backed up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datafile: Option<CommonBackupPolicy>,
    /// How logs are backed up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logfile: Option<CommonBackupPolicy>,
}

/// How long backups are kept.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RetentionSpec {
    /// A number of days (d, D) or hours (h, H), counted from the backup's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^\d+[dDhH]$"))]
    pub ttl: Option<String>,
}

/// When backups are made.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// How many minutes late a scheduled backup may start; later, the slot is missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1440))]
    pub starting_deadline_minutes: Option<i64>,
    /// When snapshots are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SchedulePolicy>,
    /// When data files are backed up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datafile: Option<SchedulePolicy>,
    /// When, or whether, logs are backed up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logfile: Option<SchedulePolicy>,
}

/// The schedule of one kind of backup.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchedulePolicy {
    /// When, as a cron expression of five fields, in UTC.
    pub cron_expression: String,
    /// Whether the schedule is on.
    pub enable: bool,
}

/// What all sections of a policy have.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BasePolicy {
    /// The database.
    pub target: TargetCluster,
    /// How many scheduled, completed backups are kept; 0: all of them.
    #[serde(default = "history_limit", skip_serializing_if = "Option::is_none")]
    pub backups_history_limit: Option<i32>,
    /// How often a failed attempt is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_fail_attempted: Option<i32>,
    /// What is read from the target into the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_status_updates: Option<Vec<BackupStatusUpdate>>,
}

#[allow(clippy::unnecessary_wraps)] // The default of an optional field is an option.
fn history_limit() -> Option<i32> {
    Some(7)
}

/// One value that is read from the target into the status.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatusUpdate {
    /// Where in the status it goes, as names joined by dots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The container that the script runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// A shell script that prints JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// Whether it runs with the target pod's service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_target_pod_service_account: Option<bool>,
    /// Whether it runs before or after the backup.
    pub update_stage: BackupStatusUpdateStage,
}

/// Before or after the backup.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupStatusUpdateStage {
    /// Before the backup.
    Pre,
    /// After the backup.
    #[default]
    Post,
}

/// How volumes are snapshotted.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotPolicy {
    /// What all sections have.
    #[serde(flatten)]
    pub base: BasePolicy,
    /// What runs in the target around the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<BackupPolicyHook>,
}

/// What runs around a snapshot.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupPolicyHook {
    /// Commands before the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_commands: Option<Vec<String>>,
    /// Commands after the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_commands: Option<Vec<String>>,
    /// The image that they run with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The container that they run in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
}

/// How data files or logs are backed up.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CommonBackupPolicy {
    /// What all sections have.
    #[serde(flatten)]
    pub base: BasePolicy,
    /// The claim that backups are kept on, where no repository is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<PersistentVolumeClaim>,
    /// The BackupRepo that backups are kept in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9\.\-]*[a-z0-9])?$"))]
    pub backup_repo_name: Option<String>,
    /// The BackupTool that makes the backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9\.\-]*[a-z0-9])?$"))]
    pub backup_tool_name: Option<String>,
}

/// A claim that backups are kept on.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PersistentVolumeClaim {
    /// Name of the claim, in the policy's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// StorageClass of a claim that is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9\.\-]*[a-z0-9])?$"))]
    pub storage_class_name: Option<String>,
    /// Size of a claim that is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub init_capacity: Option<Quantity>,
    /// Whether a missing claim is created.
    #[serde(default)]
    pub create_policy: CreatePvcPolicy,
    /// A template of the volume, for storage without provisioning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_config_map: Option<PersistentVolumeConfigMap>,
}

/// Whether a missing claim is created.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum CreatePvcPolicy {
    /// It is created.
    #[default]
    IfNotPresent,
    /// It is waited for in vain: the backup fails.
    Never,
}

/// The ConfigMap that holds a volume's template under the key `persistentVolume`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct PersistentVolumeConfigMap {
    /// Name of the ConfigMap.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9\.\-]*[a-z0-9])?$"))]
    pub name: String,
    /// Namespace of the ConfigMap.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9\-]*[a-z0-9])?$"))]
    pub namespace: String,
}

/// Whether a policy can be used.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum BackupPolicyPhase {
    /// It can be used.
    #[default]
    Available,
    /// It cannot be used.
    Failed,
}

/// What Holdfast found about a policy.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupPolicyStatus {
    /// The generation that this status was found for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Whether the policy can be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupPolicyPhase>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// The newest slot that a Backup was created for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Time>,
    /// When a Backup of this policy last completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_successful_time: Option<Time>,
    /// Holdfast's own. What is waited for: a name in the policy that does not exist yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// Holdfast's own. Ready, Reconciling and Stalled, with a reason each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Holdfast's own. How the schedule of each type of backup stands, by type: `datafile`, `logfile`, `snapshot`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<String, ScheduleStatus>,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// How the schedule of one type of backup stands. Holdfast's own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct ScheduleStatus {
    /// Whether the schedule is on and can be used.
    #[serde(default)]
    pub enabled: bool,
    /// The cron expression that its slots are counted by, while it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// Slots up to this time are settled: made, missed, skipped, or from before the schedule was as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_until: Option<Time>,
    /// Why the newest settled slot has no Backup; none where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<MissedSlot>,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// Why a slot has no Backup. Holdfast's own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct MissedSlot {
    /// Why, as a documented reason.
    pub reason: String,
    /// What happened, for people.
    pub message: String,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}
