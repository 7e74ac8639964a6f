//! Parts that several kinds share.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// The database that is backed up or restored.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetCluster {
    /// Selects the pods (backup) or the workload (restore). An empty selector is refused.
    #[schemars(schema_with = "schema::any_object")]
    pub labels_selector: LabelSelector,
    /// The Secret that the tool signs in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<BackupPolicySecret>,
}

/// Where the credentials of the database are.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupPolicySecret {
    /// Name of the Secret, in the namespace of the object that names it.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9\.\-]*[a-z0-9])?$"))]
    pub name: String,
    /// Key of the user's name.
    #[serde(default = "username")]
    pub username_key: String,
    /// Key of the password.
    #[serde(default = "password")]
    pub password_key: String,
}

fn username() -> String {
    "username".to_owned()
}

fn password() -> String {
    "password".to_owned()
}

/// A Secret in a namespace.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct SecretReference {
    /// Name of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Namespace of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}
