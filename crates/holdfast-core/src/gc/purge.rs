//! One Job removes the files of many Backups of one volume.

use std::collections::BTreeMap;

use holdfast_api::{
    agent::Outcome as Told,
    condition::Reason,
    names::{LABEL_MANAGED_BY, LABEL_ROLE, MANAGED_BY_HOLDFAST, ROLE_PURGE},
};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    naming::hex,
    pod::{
        AgentJob, JobState, agent_container, agent_job, agent_result, env, failure, job_state, repository_mount,
        repository_volume,
    },
};

/// How many Backups one Job removes at the most.
pub const BATCH_MAX: usize = 50;
/// The container of the Job.
const CONTAINER: &str = "purge";
/// What a Job removes, for whoever reads its result.
const ANNOTATION_BATCH: &str = "holdfast.io/purge";
/// The claim whose files a Job removes.
const ANNOTATION_CLAIM: &str = "holdfast.io/purge-claim";
const ATTEMPTS: i32 = 2;
const ALLOWED_SECONDS: i64 = 6 * 3600;
const KEPT_SECONDS: i32 = 86_400;

/// One Backup whose files go.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its uid.
    pub uid: String,
    /// Its directory, from the repository's root.
    pub path: String,
    /// Its name, with which the directory ends.
    pub name: String,
}

/// What one Job removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Namespace of claim and Backups.
    pub namespace: String,
    /// The claim.
    pub claim: String,
    /// The Backups.
    pub entries: Vec<Entry>,
}

impl Batch {
    /// The batch that a Job of ours was made for.
    pub fn of(job: &Job) -> Option<Self> {
        Some(Self {
            namespace: job.namespace()?,
            claim: job.annotations().get(ANNOTATION_CLAIM)?.clone(),
            entries: serde_json::from_str(job.annotations().get(ANNOTATION_BATCH)?).ok()?,
        })
    }
}

/// The Job's name: by its content, so that made twice it is the same.
pub fn purge_job_name(batch: &Batch) -> String {
    let text = serde_json::to_string(&batch.entries).unwrap_or_default();
    let digits: String = hex(&Sha256::digest(format!("{}/{text}", batch.claim)))
        .chars()
        .take(16)
        .collect();
    format!("holdfast-purge-{digits}")
}

/// The Job that removes a batch. It belongs to no Backup: it outlives those that it releases.
pub fn purge_job(agent_image: &str, pull: Option<&str>, batch: &Batch) -> Job {
    let text = serde_json::to_string(&batch.entries).unwrap_or_default();
    let environment = vec![
        env("HOLDFAST_PURGE", text.clone()),
        env("HOLDFAST_REPOSITORY_ROOT", crate::pod::REPOSITORY_DIR),
    ];
    let mounts = vec![repository_mount(&batch.claim)];
    agent_job(AgentJob {
        name: purge_job_name(batch),
        namespace: batch.namespace.clone(),
        labels: BTreeMap::from([
            (LABEL_MANAGED_BY.to_owned(), MANAGED_BY_HOLDFAST.to_owned()),
            (LABEL_ROLE.to_owned(), ROLE_PURGE.to_owned()),
        ]),
        annotations: BTreeMap::from([
            (ANNOTATION_BATCH.to_owned(), text),
            (ANNOTATION_CLAIM.to_owned(), batch.claim.clone()),
        ]),
        backoff_limit: ATTEMPTS,
        deadline_seconds: Some(ALLOWED_SECONDS),
        ttl_seconds: Some(KEPT_SECONDS),
        container: agent_container(CONTAINER, agent_image, pull, "purge", environment, mounts),
        volumes: vec![repository_volume(&batch.claim)],
        ..AgentJob::default()
    })
}

/// How a purge stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is at work, or its pod cannot start for this reason.
    Working(Option<(Reason, String)>),
    /// All files of the batch are gone.
    Purged,
    /// Some could not be removed.
    Failed(String),
}

/// Reads a purge Job and its pods. Exit code 0, and so `Complete`, is given only when every entry is gone; a result
/// that can be read must agree.
pub fn outcome(job: &Job, pods: &[Pod], now: jiff::Timestamp) -> Outcome {
    let told = pods
        .iter()
        .filter_map(|pod| agent_result(pod, CONTAINER))
        .find(|result| result.outcome == Told::Purged);
    match job_state(job) {
        JobState::Complete => {
            let wanted = Batch::of(job).map_or(0, |batch| batch.entries.len());
            match told.and_then(|result| result.purged) {
                Some(purged) if usize::try_from(purged).unwrap_or(0) != wanted => {
                    Outcome::Failed(format!("{purged} of {wanted} were removed"))
                }
                _ => Outcome::Purged,
            }
        }
        JobState::Failed { message, .. } => Outcome::Failed(
            pods.iter()
                .find_map(|pod| failure(pod, CONTAINER))
                .map_or(message, |failure| failure.message),
        ),
        JobState::Running => {
            let trouble = pods.iter().find_map(|pod| crate::pod::trouble(pod, now));
            Outcome::Working(trouble.map(|trouble| (trouble.reason, trouble.message)))
        }
    }
}
