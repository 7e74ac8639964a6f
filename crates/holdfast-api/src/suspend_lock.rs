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
    /// Uids of the restores that it was taken over from, the newest last: one of them may have left its mark on the
    /// volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub takes_over: Vec<String>,
}

/// More restores in a row than these do not fail on one workload without anybody looking at it.
const TAKEN_MAX: usize = 32;

impl SuspendLock {
    /// The restores, by uid, whose half written volumes this one may overwrite, which takes the lock over or has it.
    pub fn predecessors_of(&self, uid: &str) -> Vec<String> {
        let mut all = self.takes_over.clone();
        all.push(self.uid.clone());
        all.retain(|one| one != uid);
        let surplus = all.len().saturating_sub(TAKEN_MAX);
        all.drain(..surplus);
        all
    }
}
