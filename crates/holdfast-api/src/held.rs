//! The mark on a workload that a restore holds at zero replicas.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

/// Value of the annotation `holdfast.io/held`, as JSON: the lock on the workload, and how to undo it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Uid of the RestoreJob that holds the workload.
    pub uid: String,
    /// Name of the RestoreJob, in the workload's namespace.
    pub name: String,
    /// How many replicas the workload had before.
    pub replicas: i32,
    /// Since when it is held.
    pub since: Time,
    /// Whether the hold was taken over from a RestoreJob that had not released it: the volumes may be half written, so
    /// only a restore that wrote them wholly may bring the workload back.
    #[serde(default)]
    pub dirty: bool,
}
