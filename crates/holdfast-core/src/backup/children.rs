//! The Jobs and pods of a Backup: whose they are, and what they still may do.

use std::sync::Arc;

use holdfast_api::{Backup, names::LABEL_BACKUP_UID};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt as _;

use super::observed::Observed;
use crate::pod::is_over;

/// How often something is looked at that time alone can change: what is wrong shows within ten seconds.
pub(super) const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(3);
/// A Job has the deadline of its run too; this much later nobody has enforced it.
pub(super) const SLACK: SignedDuration = SignedDuration::from_secs(30);
/// How long a terminating pod is waited for. Its node may be dead; its claim no longer lets it seal anything.
pub(super) const LOST: SignedDuration = SignedDuration::from_mins(5);
/// How old the answer may be that a new Job rests on: a later one might be for a Backup that has ended meanwhile.
const FRESH: SignedDuration = SignedDuration::from_secs(5);

/// Whether a Job carries this Backup's uid: the only sign that it is its own.
pub(super) fn is_ours(job: &Job, backup: &Backup) -> bool {
    let uid = job.labels().get(LABEL_BACKUP_UID);
    uid.is_some() && uid == backup.metadata.uid.as_ref()
}

/// The report Job's name: by the uid alone, since `<backup>-report` could be another Backup's name.
pub fn report_job_name(backup: &Backup) -> String {
    format!("holdfast-report-{}", backup.uid().unwrap_or_default())
}

/// Whether the Backup was read from the API server just now.
pub(super) fn is_fresh(observed: &Observed, now: Timestamp) -> bool {
    observed
        .backup_read
        .is_some_and(|read| now.duration_since(read) <= FRESH)
}

/// The youngest pod of those wanted.
pub(super) fn newest(pods: &[Arc<Pod>], wanted: impl Fn(&Pod) -> bool) -> Option<&Pod> {
    let pods = pods.iter().map(|pod| &**pod).filter(|pod| wanted(pod));
    pods.max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

/// Whether a pod may still write into the repository.
pub(super) fn may_run(pod: &Pod, now: Timestamp) -> bool {
    let lost = pod
        .metadata
        .deletion_timestamp
        .as_ref()
        .is_some_and(|time| now.duration_since(time.0) > LOST);
    !is_over(pod) && !lost
}

/// The original's text, and what is known beyond it.
pub(super) fn failed_text(job: &str, detail: Option<&str>) -> String {
    let text = format!("backup job \"{job}\" failed");
    detail.map_or(text.clone(), |detail| format!("{text}: {detail}"))
}
