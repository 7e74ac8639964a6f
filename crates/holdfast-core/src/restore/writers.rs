//! Who else may write the target volumes: a restore is their only writer, or it does not begin.

use holdfast_api::{
    RestoreJob,
    condition::Reason,
    names::{LABEL_BACKUP_UID, LABEL_RESTORE_UID},
};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Pod, Volume},
};
use kube::ResourceExt as _;

use super::observed::Observed;
use super::undo::is_ours;
use super::workload::claim_names;
use crate::backup::{claims_in, claims_of};
use crate::pod::{JobState, is_over, is_suspended, job_state};

/// A pod that is not the restore's to stop and mounts one of its targets, or a Job that will have one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Intruder<'a> {
    /// What it is, `pod` or `job`.
    kind: &'static str,
    /// Its name.
    name: &'a str,
    /// The claim that it mounts.
    claim: &'a str,
    /// Whether it works for a Backup or another RestoreJob, and so ends by itself.
    pub(super) ends: bool,
}

impl Intruder<'_> {
    /// The reason and what to say about it.
    pub(super) fn problem(&self) -> (Reason, String) {
        let Self { kind, name, claim, .. } = self;
        let who = if self.ends {
            "which works for a Backup or another RestoreJob"
        } else {
            "not of the workload"
        };
        (
            Reason::TargetInUse,
            format!("target claim {claim} is mounted by {kind} {name}, {who}"),
        )
    }
}

/// The claim of a RestoreJob's targets that a pod mounts, if the pod is not over.
pub fn target_of<'a>(restore: &RestoreJob, pod: &'a Pod) -> Option<&'a str> {
    target_among(restore, claims_of(pod)).filter(|_| !is_over(pod))
}

fn target_among<'a>(restore: &RestoreJob, claims: Vec<&'a str>) -> Option<&'a str> {
    let targets: Vec<&str> = claim_names(&restore.spec.target_volumes).collect();
    claims.into_iter().find(|claim| targets.contains(claim))
}

/// Who mounts a target and is neither the workload's nor the restore's own; one that does not end by itself comes before
/// those that do.
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
            kind: "pod",
            name: pod.metadata.name.as_deref().unwrap_or_default(),
        })
    });
    let between = || observed.others.iter().find_map(|job| at_work(restore, job));
    intruders.min_by_key(|intruder| intruder.ends).or_else(between)
}

/// The first pod that may write a target and is not the restore's own: a Backup at work reads, and so does who mounts the
/// claim for reading alone.
pub(super) fn stranger(observed: &Observed) -> Option<&Pod> {
    let ours = |pod: &Pod| {
        [LABEL_BACKUP_UID, LABEL_RESTORE_UID]
            .iter()
            .any(|label| pod.labels().contains_key(*label))
    };
    observed.mounting.iter().find(|pod| {
        let claim = target_of(&observed.restore, pod).filter(|_| !ours(pod));
        claim.is_some_and(|claim| may_write(pod, claim))
    })
}

/// Whether a container of a pod has that claim mounted for writing.
fn may_write(pod: &Pod, claim: &str) -> bool {
    let Some(spec) = &pod.spec else {
        return false;
    };
    let of_claim = |volume: &&Volume| {
        let source = volume.persistent_volume_claim.as_ref();
        source.is_some_and(|source| source.claim_name == claim && source.read_only != Some(true))
    };
    let volumes: Vec<&str> = spec
        .volumes
        .iter()
        .flatten()
        .filter(of_claim)
        .map(|volume| volume.name.as_str())
        .collect();
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    all.into_iter().any(|container| {
        let mounts = container.volume_mounts.iter().flatten();
        let devices = container.volume_devices.iter().flatten();
        mounts
            .filter(|mount| mount.read_only != Some(true))
            .map(|mount| &mount.name)
            .chain(devices.map(|device| &device.name))
            .any(|name| volumes.contains(&name.as_str()))
    })
}

/// A Job that has no pod at the moment may have one again: between two attempts, or once there is room.
fn at_work<'a>(restore: &RestoreJob, job: &'a Job) -> Option<Intruder<'a>> {
    let goes = job.metadata.deletion_timestamp.is_some() || job_state(job) != JobState::Running;
    // A restore that has not let its Job go, or has taken it back, holds nothing by it.
    let rests = is_suspended(job) && job.labels().contains_key(LABEL_RESTORE_UID);
    if goes || rests || is_ours(job, restore) {
        return None;
    }
    let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    Some(Intruder {
        claim: target_among(restore, claims_in(pod))?,
        ends: true,
        kind: "job",
        name: job.metadata.name.as_deref().unwrap_or_default(),
    })
}
