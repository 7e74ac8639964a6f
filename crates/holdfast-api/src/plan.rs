//! Runs as planned at their start, kept in the status so that a later change cannot alter them.
//!
//! A plan lies in a finished object for years, so its shape is API: every member has a default, members that this version
//! does not know are kept through its own writes, and a kind of work that it does not know is refused, never guessed.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{LocalObjectReference, PodSecurityContext, Toleration},
    apimachinery::pkg::apis::meta::v1::Time,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    BackupPolicySecret, BackupToolSpec, Location, NewerFormat, Stop, Unknown, Writing, condition::Reason, schema,
    stop::epoch,
};

/// A backup run as planned. Holdfast's own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct BackupPlan {
    /// Number of the run under this uid, from 1.
    pub run: i32,
    /// Uid of the policy.
    pub policy_uid: String,
    /// When the run fails for taking too long. Not set: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// How long the backup is kept, as the policy said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// The pod that is backed up.
    pub source: Source,
    /// Where the bytes lie.
    pub location: Location,
    /// What is done.
    pub work: Work,
    /// Set once the run is to be ended before its time, before anything is done about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// The pod that is backed up.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Source {
    /// Its name.
    pub pod_name: String,
    /// Its uid.
    pub pod_uid: String,
    /// Its node.
    pub node_name: String,
    /// The name that the database answers to.
    pub host: String,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// The kinds of work of a run: exactly one is set.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("maxProperties" = 1, "x-kubernetes-preserve-unknown-fields" = true, "x-kubernetes-validations" = [
    {"rule": "[has(self.job)].exists_one(set, set)", "message": "exactly one kind of work has to be set"}
]))]
pub struct Work {
    /// A tool runs once, in a Job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<Box<JobWork>>,
    /// Kinds of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

impl Work {
    /// The work of a Job.
    ///
    /// # Errors
    /// [`NewerFormat`] where it is of another kind.
    pub fn job(&self) -> Result<&JobWork, NewerFormat> {
        let known = self.job.as_deref().filter(|_| self.unknown.is_empty());
        known.ok_or_else(|| NewerFormat::of("the work of this backup", &self.unknown))
    }
}

/// A tool that runs once, in a Job.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct JobWork {
    /// Name of the Job.
    pub job_name: String,
    /// The policy's section for this type, as it was.
    #[schemars(schema_with = "schema::any_object")]
    pub policy: Value,
    /// The tool.
    pub tool: PlannedTool,
    /// How often a failed attempt is repeated.
    pub backoff_limit: i32,
    /// How many failed attempts the conditions have told of.
    pub failed_attempts: i32,
    /// Whether a backup without content is accepted.
    pub allow_empty: bool,
    /// The database's credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<BackupPolicySecret>,
    /// The target pod's Secrets to pull images with: every later pod that works on this backup needs them too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::any_objects")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// What the target pod tolerates: every later pod that works on this backup does too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::any_objects")]
    pub tolerations: Vec<Toleration>,
    /// As whom the target pod runs: where nothing may run as root, every later pod that works on this backup runs so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub security_context: Option<Box<PodSecurityContext>>,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// A tool as it was when the run was planned, without the literal values of its environment.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct PlannedTool {
    /// Name of the BackupTool.
    pub name: String,
    /// The image that it runs with.
    pub image: String,
    /// Its spec; variables with a literal value have only their name.
    #[schemars(schema_with = "schema::any_object")]
    pub spec: Value,
    /// Digests of those values by the variable's name: `sha256:` and the hex of sha256 over the salt of the run, the
    /// name and the value, each ended by a NUL. People put passwords there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env_digests: BTreeMap<String, String>,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

impl PlannedTool {
    /// The tool's spec as it was.
    ///
    /// # Errors
    /// [`NewerFormat`] where this version cannot read it.
    pub fn spec(&self) -> Result<BackupToolSpec, NewerFormat> {
        serde_json::from_value(self.spec.clone()).map_err(|error| NewerFormat {
            what: "the tool in the plan",
            kind: error.to_string(),
        })
    }
}

/// What is waited for or being done, and since when.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Waiting {
    /// One of the documented reasons.
    #[serde(default)]
    pub reason: String,
    /// Since when anything has been waited for; it stays when the reason changes.
    #[serde(default = "epoch")]
    pub since: Time,
    /// Whether it is told with the cluster's own words, which may come later than the wait.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quoted: bool,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

impl Waiting {
    /// Whether this is what is waited for.
    pub fn is_for(&self, reason: Reason) -> bool {
        self.reason == reason.as_str()
    }
}

/// A restore as planned. Holdfast's own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct RestorePlan {
    /// When the restore fails for taking too long. Not set: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// The workload that is stopped meanwhile, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<HeldWorkload>,
    /// The node that the restore must run on, if it is bound to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// What is done, in this order. The limit bounds what the rules on steps cost the API server.
    #[schemars(length(max = 32))]
    pub steps: Vec<RestoreStep>,
    /// Set from before the first Job that writes is created: from then on the volumes may have been written, whatever
    /// became of that Job and its pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writing: Option<Writing>,
    /// Set once the restore is to be ended without a byte written, before anything is done about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

impl RestorePlan {
    /// The one step of this version's restores.
    ///
    /// # Errors
    /// [`NewerFormat`] where there is another number of steps, or one of another kind.
    pub fn job(&self) -> Result<&RestoreWork, NewerFormat> {
        match self.steps.as_slice() {
            [step] => step.job(),
            steps => Err(NewerFormat {
                what: "this restore",
                kind: format!("{} steps", steps.len()),
            }),
        }
    }
}

/// The workload that a restore stops and brings back.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct HeldWorkload {
    /// StatefulSet or Deployment.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// How many replicas it had, and gets back.
    pub replicas: i32,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

impl HeldWorkload {
    /// Kind and name, for people.
    pub fn title(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }
}

/// The kinds of step of a restore: exactly one is set.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("maxProperties" = 1, "x-kubernetes-preserve-unknown-fields" = true, "x-kubernetes-validations" = [
    {"rule": "[has(self.job)].exists_one(set, set)", "message": "exactly one kind of step has to be set"}
]))]
pub struct RestoreStep {
    /// A tool restores one backup over the target volumes, in a Job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<Box<RestoreWork>>,
    /// Kinds of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

impl RestoreStep {
    fn job(&self) -> Result<&RestoreWork, NewerFormat> {
        let known = self.job.as_deref().filter(|_| self.unknown.is_empty());
        known.ok_or_else(|| NewerFormat::of("a step of this restore", &self.unknown))
    }
}

/// A tool that restores one backup over the target volumes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct RestoreWork {
    /// The Backup.
    pub backup: BackupReference,
    /// Where its bytes lie.
    pub location: Location,
    /// The backup's checksum.
    pub digest: String,
    /// The tool.
    pub tool: PlannedTool,
    /// The workload's Secrets to pull images with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::any_objects")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Name of the Job that checks the backup first.
    pub verify_job_name: String,
    /// Name of the Job that restores.
    pub restore_job_name: String,
    /// How often a failed attempt is repeated.
    pub backoff_limit: i32,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// Which Backup is meant.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct BackupReference {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}
