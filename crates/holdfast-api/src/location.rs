//! Where a backup's bytes lie.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{NewerFormat, Unknown};

/// Where a backup's bytes lie: a repository, the way that pods reach it, and a directory in it. Holdfast's own.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Location {
    /// The BackupRepo; none where the policy names a claim of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryReference>,
    /// How pods reach it.
    pub access: Access,
    /// Directory in the repository, from its root.
    pub path: String,
    /// The uid under which the bytes are claimed, sealed and purged: that of the Backup that wrote them. A Backup that
    /// was made anew over bytes that lie there has another one.
    pub seal_uid: String,
    /// The repository's own identity, as the agent found it; not set while that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// Which BackupRepo is meant.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct RepositoryReference {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// The ways to reach a repository: exactly one is set.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("maxProperties" = 1, "x-kubernetes-preserve-unknown-fields" = true, "x-kubernetes-validations" = [
    {"rule": "[has(self.mount)].exists_one(set, set)", "message": "exactly one way to reach the repository has to be set"}
]))]
pub struct Access {
    /// A volume that pods mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount: Option<MountAccess>,
    /// Ways of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// A volume that pods mount.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct MountAccess {
    /// The claim, in the namespace of the Backup.
    pub claim: String,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

impl Access {
    /// A volume by its claim.
    pub fn mount(claim: impl Into<String>) -> Self {
        Self {
            mount: Some(MountAccess {
                claim: claim.into(),
                ..MountAccess::default()
            }),
            unknown: Unknown::new(),
        }
    }

    /// The claim of a mounted volume.
    ///
    /// # Errors
    /// [`NewerFormat`] where the repository is reached in another way.
    pub fn claim(&self) -> Result<&str, NewerFormat> {
        let known = self.mount.as_ref().filter(|_| self.unknown.is_empty());
        known
            .map(|mount| mount.claim.as_str())
            .ok_or_else(|| NewerFormat::of("the access to the repository", &self.unknown))
    }
}
