//! One Job removes the files of many Backups of one volume.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use holdfast_api::{
    Access, Location, NewerFormat, RepositoryReference,
    agent::{AgentResult, Outcome as Told},
    condition::Reason,
    names::{LABEL_MANAGED_BY, LABEL_ROLE, MANAGED_BY_HOLDFAST, ROLE_PURGE},
};
use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Container, LocalObjectReference, Pod, PodSecurityContext},
};
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{BackupSummary, Place};
use crate::{
    naming::hex,
    pod::{
        AgentJob, JobState, Mode, Trouble, agent_container, agent_job, agent_result, env, env_value, failure,
        failure_beside, job_state, pod_uid_env, podless, repository_access, result_beside, tolerations_of, trouble,
    },
};

/// How many Backups one Job removes at the most.
pub const BATCH_MAX: usize = 50;
/// How long the list for one Job may be, in bytes: Linux takes 128 KiB for one variable.
const LIST_MAX: usize = 64 * 1024;
/// The container of the Job.
const CONTAINER: &str = "purge";
/// Its variable with the list.
const LIST: &str = "HOLDFAST_PURGE";
const ATTEMPTS: i32 = 2;
const ALLOWED_SECONDS: i64 = 6 * 3600;
const KEPT_SECONDS: i32 = 86_400;

/// One Backup whose files go.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The uid under which the files are claimed and sealed.
    pub uid: String,
    /// Its directory, from the repository's root.
    pub path: String,
    /// Its name, with which the directory ends.
    pub name: String,
}

impl Entry {
    /// The entry of a Backup, if its files are in a directory of its own.
    pub fn of(backup: &BackupSummary) -> Option<Self> {
        let Place::Own { path, .. } = backup.place() else {
            return None;
        };
        Some(Self {
            uid: backup.seal_uid()?.to_owned(),
            path: path.to_owned(),
            name: backup.name_any(),
        })
    }
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
    /// As many of these entries as one Job takes, at most `limit`; they are sorted, so that the same Backups always
    /// make the same batch.
    pub fn fill(namespace: &str, claim: &str, mut entries: Vec<Entry>, limit: usize) -> Self {
        entries.sort_by(|one, other| one.uid.cmp(&other.uid));
        let mut bytes = 0;
        let fits = |entry: &Entry| {
            // Quotes, names of fields and escapes: twice is always enough for names that Kubernetes accepts.
            bytes += 64 + 2 * (entry.uid.len() + entry.path.len() + entry.name.len());
            bytes <= LIST_MAX
        };
        Self {
            namespace: namespace.to_owned(),
            claim: claim.to_owned(),
            entries: entries
                .into_iter()
                .take(limit.clamp(1, BATCH_MAX))
                .take_while(fits_first(fits))
                .collect(),
        }
    }

    /// The batch of a Job of ours: read from the part of it that nobody can change.
    pub fn of(job: &Job) -> Option<Self> {
        let pod = job.spec.as_ref()?.template.spec.as_ref()?;
        let mut claims = pod
            .volumes
            .iter()
            .flatten()
            .filter_map(|volume| volume.persistent_volume_claim.as_ref());
        let list = pod.containers.iter().find_map(list_of)?;
        Some(Self {
            namespace: job.namespace()?,
            claim: claims.next()?.claim_name.clone(),
            entries: serde_json::from_str(&list).ok()?,
        })
    }

    fn list(&self) -> String {
        serde_json::to_string(&self.entries).unwrap_or_default()
    }
}

/// The first entry always fits: a list may not stay empty for ever.
fn fits_first(mut fits: impl FnMut(&Entry) -> bool) -> impl FnMut(&Entry) -> bool {
    let mut first = true;
    move |entry| fits(entry) || std::mem::take(&mut first)
}

fn list_of(container: &Container) -> Option<String> {
    let mut variables = container.env.iter().flatten();
    variables
        .find_map(|variable| env_value(variable, LIST))
        .filter(|_| container.name == CONTAINER)
}

/// The Job's name: by its content, so that made twice it is the same.
pub fn purge_job_name(batch: &Batch) -> String {
    let content = format!("{}/{}", batch.claim, batch.list());
    let digits: String = hex(&Sha256::digest(content)).chars().take(16).collect();
    format!("holdfast-purge-{digits}")
}

/// Whether a Job is a purge of ours: labelled so, and named by what it removes.
pub fn is_ours(job: &Job) -> bool {
    let labelled = |key: &str, value: &str| job.labels().get(key).is_some_and(|found| found == value);
    labelled(LABEL_MANAGED_BY, MANAGED_BY_HOLDFAST)
        && labelled(LABEL_ROLE, ROLE_PURGE)
        && Batch::of(job).is_some_and(|batch| purge_job_name(&batch) == job.name_any())
}

/// The pull Secrets of a batch: those of all its Backups, each once.
pub fn pull_secrets(batch: &Batch, waiting: &[Arc<BackupSummary>]) -> Vec<LocalObjectReference> {
    let all = members(batch, waiting).flat_map(|backup| &backup.status.pull_secrets);
    let names: BTreeSet<&str> = all.map(|secret| secret.name.as_str()).collect();
    let reference = |name: &str| LocalObjectReference { name: name.to_owned() };
    names.into_iter().map(reference).collect()
}

/// As whom a batch was written, where its Backups say so; a batch of several users is split when one may not remove what
/// another wrote.
pub(super) fn security(batch: &Batch, waiting: &[Arc<BackupSummary>]) -> Option<PodSecurityContext> {
    members(batch, waiting).find_map(|backup| backup.status.security.as_deref().cloned())
}

/// The identity that the repository of a batch must have, where its Backups agree about it: nothing is looked for on
/// another volume.
pub fn identity(batch: &Batch, waiting: &[Arc<BackupSummary>]) -> Option<String> {
    let known: BTreeSet<&str> = members(batch, waiting).filter_map(|backup| backup.identity()).collect();
    let mut known = known.into_iter();
    known.next().filter(|_| known.next().is_none()).map(str::to_owned)
}

/// The repository that the Backups of a batch name; none where their policy names a claim of its own.
pub fn repository<'a>(batch: &Batch, waiting: &'a [Arc<BackupSummary>]) -> Option<&'a RepositoryReference> {
    members(batch, waiting).find_map(|backup| backup.status.location.as_ref()?.repository.as_ref())
}

/// The Backups of a batch.
fn members<'a>(batch: &Batch, waiting: &'a [Arc<BackupSummary>]) -> impl Iterator<Item = &'a Arc<BackupSummary>> {
    let uids: HashSet<&str> = batch.entries.iter().map(|entry| entry.uid.as_str()).collect();
    let is_in = |backup: &&Arc<BackupSummary>| backup.seal_uid().is_some_and(|uid| uids.contains(uid));
    waiting.iter().filter(is_in).collect::<Vec<_>>().into_iter()
}

/// The Job that removes a batch. It belongs to no Backup: it outlives those that it releases. `identity` is that of
/// [`identity`]; `terms` are what the installation, the namespace and the Backups want of the Job's pods.
///
/// # Errors
/// [`NewerFormat`] where the repository is reached in a way that this version does not know.
pub fn purge_job(
    agent_image: &str,
    pull: Option<&str>,
    batch: &Batch,
    identity: Option<String>,
    terms: AgentJob,
) -> Result<Job, NewerFormat> {
    let location = Location {
        access: Access::mount(&batch.claim),
        identity,
        ..Location::default()
    };
    let access = repository_access(&location, Mode::ReadWrite)?;
    let mut environment = vec![pod_uid_env()];
    environment.extend(access.env);
    environment.push(env(LIST, batch.list()));
    Ok(agent_job(AgentJob {
        name: purge_job_name(batch),
        namespace: batch.namespace.clone(),
        labels: BTreeMap::from([
            (LABEL_MANAGED_BY.to_owned(), MANAGED_BY_HOLDFAST.to_owned()),
            (LABEL_ROLE.to_owned(), ROLE_PURGE.to_owned()),
        ]),
        backoff_limit: ATTEMPTS,
        deadline_seconds: Some(ALLOWED_SECONDS),
        ttl_seconds: Some(KEPT_SECONDS),
        container: agent_container(CONTAINER, agent_image, pull, "purge", environment, access.mounts),
        volumes: access.volumes,
        tolerations: Some(tolerations_of(&[])),
        ..terms
    }))
}

/// How a purge stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is at work, or cannot start for this reason.
    Working(Option<Trouble>),
    /// All files of the batch are gone.
    Purged,
    /// Some could not be removed.
    Failed(Reason, String),
}

/// Reads a purge Job and its pods. The agent exits with 0, and so lets the Job complete, only when every entry is gone;
/// a result that can still be read must agree.
pub fn outcome(job: &Job, batch: &Batch, pods: &[Arc<Pod>], now: Timestamp) -> Outcome {
    match job_state(job) {
        JobState::Complete => complete(batch, pods),
        JobState::Failed { message, .. } => match pods.iter().find_map(|pod| failure(pod, CONTAINER)) {
            Some(failure) => Outcome::Failed(failure.reason, failure.message),
            None => Outcome::Failed(Reason::ToolFailed, message),
        },
        JobState::Running => at_work(job, batch, pods, now),
    }
}

/// A Job that has not ended: it may have no pod, a pod that does not start, or one that somebody's container keeps from
/// ending.
fn at_work(job: &Job, batch: &Batch, pods: &[Arc<Pod>], now: Timestamp) -> Outcome {
    if pods.is_empty() {
        return Outcome::Working(podless(job, now));
    }
    if pods
        .iter()
        .filter_map(|pod| result_beside(pod, CONTAINER))
        .any(|result| result.outcome == Told::Purged)
    {
        return complete(batch, pods);
    }
    match pods.iter().find_map(|pod| failure_beside(pod, CONTAINER)) {
        Some(failure) => Outcome::Failed(failure.reason, failure.message),
        None => Outcome::Working(pods.iter().find_map(|pod| trouble(pod, now))),
    }
}

fn complete(batch: &Batch, pods: &[Arc<Pod>]) -> Outcome {
    let mut results = pods.iter().filter_map(|pod| agent_result(pod, CONTAINER));
    let told: Option<AgentResult> = results.rfind(|result| result.outcome == Told::Purged);
    let wanted = u32::try_from(batch.entries.len()).unwrap_or(u32::MAX);
    match told {
        Some(result) if result.purged.is_some_and(|purged| purged != wanted) => {
            let why = format!("{} of {wanted} were removed", result.purged.unwrap_or_default());
            Outcome::Failed(Reason::PurgeFailed, why)
        }
        _ => Outcome::Purged,
    }
}

/// How many bytes a Job freed, as far as its agents told: attempts that failed removed something too, which those after
/// them did not find any more.
pub fn freed(pods: &[Arc<Pod>]) -> u64 {
    let results = pods.iter().filter_map(|pod| agent_result(pod, CONTAINER));
    results.filter_map(|result| result.bytes).fold(0, u64::saturating_add)
}
