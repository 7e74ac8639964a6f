//! Who else may write the target volumes: a restore is their only writer, or it does not begin.

use holdfast_api::{
    RestoreJob,
    condition::Reason,
    names::{LABEL_BACKUP_UID, LABEL_RESTORE_UID},
};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::observed::Observed;
use super::workload::claim_names;
use crate::{backup::claims_of, pod::is_over};

/// A pod that is not the restore's to stop and mounts one of its targets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Intruder<'a> {
    /// The pod.
    pod: &'a Pod,
    /// The claim that it mounts.
    claim: &'a str,
    /// Whether it works for a Backup or another RestoreJob, and so ends by itself.
    pub(super) ends: bool,
}

impl Intruder<'_> {
    /// The reason and what to say about it.
    pub(super) fn problem(&self) -> (Reason, String) {
        let (pod, claim) = (self.pod.name_any(), self.claim);
        let who = if self.ends {
            "which works for a Backup or another RestoreJob"
        } else {
            "not of the workload"
        };
        (
            Reason::TargetInUse,
            format!("target claim {claim} is mounted by pod {pod}, {who}"),
        )
    }
}

/// The claim of a RestoreJob's targets that a pod mounts, if the pod is not over.
pub fn target_of<'a>(restore: &RestoreJob, pod: &'a Pod) -> Option<&'a str> {
    let targets: Vec<&str> = claim_names(&restore.spec.target_volumes).collect();
    let mut claims = claims_of(pod).into_iter();
    claims.find(|claim| targets.contains(claim)).filter(|_| !is_over(pod))
}

/// The first pod that mounts a target and is neither the workload's nor the restore's own; one that does not end by
/// itself comes before those that do.
pub(super) fn intruder(observed: &Observed) -> Option<Intruder<'_>> {
    let restore = &observed.restore;
    let ours = |pod: &Pod| pod.labels().get(LABEL_RESTORE_UID) == restore.metadata.uid.as_ref();
    let of_workload = |pod: &Pod| {
        observed
            .pods
            .iter()
            .any(|known| known.metadata.name == pod.metadata.name)
    };
    let found = observed.mounting.iter().filter(|pod| !ours(pod) && !of_workload(pod));
    let intruders = found.filter_map(|pod| {
        Some(Intruder {
            claim: target_of(restore, pod)?,
            ends: [LABEL_BACKUP_UID, LABEL_RESTORE_UID]
                .iter()
                .any(|label| pod.labels().contains_key(*label)),
            pod,
        })
    });
    intruders.min_by_key(|intruder| intruder.ends)
}
