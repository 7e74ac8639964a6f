//! Kind StorageProvider.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// How storage of one kind is provisioned.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "storage.kubeblocks.io",
    version = "v1alpha1",
    kind = "StorageProvider",
    plural = "storageproviders",
    singular = "storageprovider",
    category = "kubeblocks",
    status = "StorageProviderStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "How storage of one kind is provisioned for repositories: a CSI driver and templates.",
    printcolumn(name = "STATUS", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "CSIDRIVER", type_ = "string", json_path = ".spec.csiDriverName"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct StorageProviderSpec {
    /// The CSI driver that must be installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csi_driver_name: Option<String>,
    /// Go template of the driver's Secret, with `.Parameters`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csi_driver_secret_template: Option<String>,
    /// Go template of the StorageClass, with `.Parameters` and `.CSIDriverSecretRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class_template: Option<String>,
    /// Go template of the claims, with `.Parameters` and `.GeneratedStorageClassName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim_template: Option<String>,
    /// What parameters there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_schema: Option<ParametersSchema>,
}

/// What parameters a provider has.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParametersSchema {
    /// The parameters as an OpenAPI schema.
    #[serde(default, rename = "openAPIV3Schema", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub open_api_v3_schema: Option<serde_json::Value>,
    /// Which of them belong in a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_fields: Option<Vec<String>>,
}

/// Whether a provider can be used.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum StorageProviderPhase {
    /// Its driver is not installed.
    #[default]
    NotReady,
    /// It can be used.
    Ready,
}

impl StorageProviderPhase {
    /// The name in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotReady => "NotReady",
            Self::Ready => "Ready",
        }
    }
}

/// What Holdfast found about a provider.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageProviderStatus {
    /// Whether the provider can be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<StorageProviderPhase>,
    /// What was checked, with a reason each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}
