//! Kind BackupRepo.

#![allow(unreachable_pub)] // KubeSchema makes a second copy of the type, to check its rules.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::{
    api::resource::Quantity,
    apis::meta::v1::{Condition, Time},
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{SecretReference, Unknown, schema};

/// Where backups are kept.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "dataprotection.kubeblocks.io",
    version = "v1alpha1",
    kind = "BackupRepo",
    plural = "backuprepos",
    singular = "backuprepo",
    category = "kubeblocks",
    status = "BackupRepoStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A place where backups are kept, provisioned through a StorageProvider.",
    printcolumn(name = "STATUS", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "STORAGEPROVIDER", type_ = "string", json_path = ".spec.storageProviderRef"),
    printcolumn(name = "DEFAULT", type_ = "boolean", json_path = ".status.isDefault"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct BackupRepoSpec {
    /// The StorageProvider; it cannot be changed.
    #[x_kube(validation = kube::core::Rule::new("self == oldSelf").message("StorageProviderRef is immutable"))]
    pub storage_provider_ref: String,
    /// How much storage the repository's claims ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub volume_capacity: Option<Quantity>,
    /// What becomes of the volumes when the repository is deleted.
    pub pv_reclaim_policy: PvReclaimPolicy,
    /// Parameters of the provider that are not secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<BTreeMap<String, String>>,
    /// The Secret with the provider's secret parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<SecretReference>,
}

/// What becomes of a volume without its claim.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum PvReclaimPolicy {
    /// It goes with the claim.
    Delete,
    /// It stays.
    #[default]
    Retain,
}

impl PvReclaimPolicy {
    /// The name in manifests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "Delete",
            Self::Retain => "Retain",
        }
    }
}

/// Where a repository stands.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum BackupRepoPhase {
    /// It is being checked.
    #[default]
    PreChecking,
    /// It cannot be used.
    Failed,
    /// It can be used.
    Ready,
    /// It is being deleted.
    Deleting,
}

impl BackupRepoPhase {
    /// The name in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreChecking => "PreChecking",
            Self::Failed => "Failed",
            Self::Ready => "Ready",
            Self::Deleting => "Deleting",
        }
    }
}

/// What Holdfast found about a repository.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupRepoStatus {
    /// Where the repository stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupRepoPhase>,
    /// What was checked, with a reason each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The generation that this status was found for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The Secret that was made for the CSI driver.
    #[serde(
        default,
        rename = "generatedCSIDriverSecret",
        skip_serializing_if = "Option::is_none"
    )]
    pub generated_csi_driver_secret: Option<SecretReference>,
    /// The StorageClass that was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated_storage_class_name: Option<String>,
    /// Name of the claim, in each namespace that has backups here.
    #[serde(default, rename = "backupPVCName", skip_serializing_if = "Option::is_none")]
    pub backup_pvc_name: Option<String>,
    /// Whether backups without a named repository go here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_default: Option<bool>,
    /// Holdfast's own. Since when the repository has been in phase `PreChecking`: what it names and does not exist yet
    /// is waited for from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Time>,
    /// Holdfast's own. How far the repository's deletion has come; only while it is being deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<RepoDeletion>,
    /// Holdfast's own. What was found wrong and has been told: each is told once, when it comes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<RepoTrouble>,
    /// Holdfast's own. What is known of the repository in each namespace that has sealed backups in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<RepoNamespace>,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

impl BackupRepoStatus {
    /// The identity of the repository as it is reached from a namespace, if that is known.
    pub fn identity_in(&self, namespace: &str) -> Option<&str> {
        let known = self.namespaces.iter().find(|known| known.namespace == namespace)?;
        Some(known.identity.as_str()).filter(|identity| !identity.is_empty())
    }
}

/// What is known of a repository in one namespace. Holdfast's own.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct RepoNamespace {
    /// The namespace.
    pub namespace: String,
    /// The identity that the agent found in the repository there: another volume in its place has another one.
    pub identity: String,
    /// Uid of the claim that the repository was reached through: a claim made anew may have another volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub claim_uid: String,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// Something that is wrong with a repository. Holdfast's own.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct RepoTrouble {
    /// Type of the condition that tells of it.
    pub check: String,
    /// Why, as one of the documented reasons.
    pub reason: String,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// How far a repository's deletion has come. Holdfast's own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct RepoDeletion {
    /// Since when the repository is being deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Since when nothing is in the way but volumes that the CSI driver has yet to remove; their Secret stays for a
    /// while from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes_since: Option<Time>,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}
