//! Runs as planned at their start, kept in the status so that a later change cannot alter them.

use k8s_openapi::{api::core::v1::LocalObjectReference, apimachinery::pkg::apis::meta::v1::Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BackupPolicySecret, BackupToolSpec, schema};

/// A backup run as planned. Holdfast's own.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupPlan {
    /// Number of the run under this uid, from 1.
    pub run: i32,
    /// Uid of the policy.
    pub policy_uid: String,
    /// The policy's section for this type, as it was.
    #[schemars(schema_with = "schema::any_object")]
    pub policy: serde_json::Value,
    /// Name of the repository, if one is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_name: Option<String>,
    /// Uid of the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_uid: Option<String>,
    /// The claim that holds the backup.
    pub persistent_volume_claim_name: String,
    /// Directory in the repository, from its root.
    pub path: String,
    /// Name of the tool.
    pub tool_name: String,
    /// The tool, as it was.
    #[schemars(schema_with = "schema::any_object")]
    pub tool: BackupToolSpec,
    /// The image that the tool runs with.
    pub image: String,
    /// Name of the Job.
    pub job_name: String,
    /// How often a failed attempt is repeated.
    pub backoff_limit: i32,
    /// When the run fails for taking too long.
    pub deadline: Time,
    /// The pod that is backed up.
    pub pod_name: String,
    /// Its uid.
    pub pod_uid: String,
    /// Its node.
    pub node_name: String,
    /// The name that the database answers to.
    pub host: String,
    /// How long the backup is kept, as the policy said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// Whether a backup without content is accepted.
    #[serde(default)]
    pub allow_empty: bool,
    /// The database's credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<BackupPolicySecret>,
    /// The target pod's Secrets to pull images with: every later pod that works on this backup needs them too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::any_objects")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
}

/// A restore as planned. Holdfast's own.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestorePlan {
    /// Uid of the Backup.
    pub backup_uid: String,
    /// Name of the Backup.
    pub backup_name: String,
    /// The claim that holds the backup.
    pub persistent_volume_claim_name: String,
    /// Directory in the repository, from its root.
    pub path: String,
    /// Name of the tool.
    pub tool_name: String,
    /// The tool, as it was.
    #[schemars(schema_with = "schema::any_object")]
    pub tool: BackupToolSpec,
    /// The image that the tool runs with.
    pub image: String,
    /// Kind of the workload: StatefulSet or Deployment.
    pub workload_kind: String,
    /// Name of the workload.
    pub workload_name: String,
    /// Uid of the workload.
    pub workload_uid: String,
    /// How many replicas it had, and gets back.
    pub replicas: i32,
    /// The node that the restore must run on, if it is bound to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Name of the Job that checks the backup first.
    pub verify_job_name: String,
    /// Name of the Job that restores.
    pub restore_job_name: String,
    /// How often a failed attempt is repeated.
    pub backoff_limit: i32,
    /// When the restore fails for taking too long.
    pub deadline: Time,
    /// The backup's checksum.
    pub digest: String,
    /// The workload's Secrets to pull images with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::any_objects")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
}
