//! What the agent in a tool's container is told in a file: text of users, which must reach it as it is.
//!
//! The file is an annotation of the pod, mounted by the downward API. Unlike in a variable or a command line, nothing is
//! expanded in it, and Linux' limit of 128 KiB for one of those is none for a script.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where the file is mounted.
pub const ASSIGNMENT_DIR: &str = "/holdfast/assignment";
/// The file in [`ASSIGNMENT_DIR`].
pub const ASSIGNMENT_FILE: &str = "assignment.json";

/// Value of the annotation `holdfast.io/assignment`, as JSON.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// The tool's command line. A backup's stands in the record, once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// What the seal records: Backup, policy and tool as planned.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub record: Value,
    /// What the container has from Secrets.
    #[serde(default)]
    pub secrets: SecretSources,
}

/// Where in a container there is what came from Secrets: it must not be told.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretSources {
    /// Names of variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<String>,
    /// Files, and directories of files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SecretFiles>,
}

/// A mounted Secret.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretFiles {
    /// Where it is mounted.
    pub path: String,
    /// Paths in it that hold no secret: the names of users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// Whether the container does not start without it: it may be mounted a moment later all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needed: bool,
}

impl Assignment {
    /// The tool's command line.
    pub fn command(&self) -> Vec<String> {
        if !self.command.is_empty() {
            return self.command.clone();
        }
        let recorded = self.record.pointer("/tool/spec/backupCommands");
        recorded
            .and_then(|list| Vec::deserialize(list).ok())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_backups_command_is_the_recorded_tools() {
        let recorded = json!({"record": {"tool": {"spec": {"backupCommands": ["sh", "-c", "$(x)"]}}}});
        let mut assignment: Assignment = serde_json::from_value(recorded).unwrap();
        assert_eq!(assignment.command(), ["sh", "-c", "$(x)"]);
        assignment.command = vec!["restore".to_owned()];
        assert_eq!(assignment.command(), ["restore"]);
        assert!(Assignment::default().command().is_empty());
    }
}
