//! The lock that a restore puts on the workload that it has suspended: scaled to zero replicas.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

/// Value of the annotation `holdfast.io/held`, as JSON: the lock on the workload, and how to undo it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SuspendLock {
    /// Uid of the RestoreJob that suspended the workload.
    pub uid: String,
    /// Name of the RestoreJob, in the workload's namespace.
    pub name: String,
    /// How many replicas the workload had before.
    pub replicas: i32,
    /// Since when it is suspended.
    pub since: Time,
    /// Whether the lock was taken over from a RestoreJob that had not resumed the workload: the volumes may be half written, so
    /// only a restore that wrote them wholly may bring the workload back.
    #[serde(default)]
    pub dirty: bool,
}
