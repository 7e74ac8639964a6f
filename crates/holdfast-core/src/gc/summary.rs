//! Backups reduced to what retention and purges look at, so that ten thousand of them take little memory.

use std::borrow::Cow;

use holdfast_api::{
    Access, Backup, BackupPhase, BackupType, Location,
    names::{
        ANNOTATION_DAMAGED, ANNOTATION_POLICY_UID, ANNOTATION_TRACEPARENT, FINALIZER, LABEL_AUTOBACKUP,
        LABEL_BACKUP_PROTECTION, LABEL_CLUSTER_UID, LABEL_INSTANCE,
    },
};
use jiff::Timestamp;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{LocalObjectReference, PodSecurityContext},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{Resource, ResourceExt as _};
use serde::{Deserialize, Deserializer};

const LABELS: &[&str] = &[
    LABEL_AUTOBACKUP,
    LABEL_BACKUP_PROTECTION,
    LABEL_CLUSTER_UID,
    LABEL_INSTANCE,
];
const ANNOTATIONS: &[&str] = &[ANNOTATION_DAMAGED, ANNOTATION_POLICY_UID, ANNOTATION_TRACEPARENT];

/// A Backup without most of its content. Only its finalizers may be written back.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct BackupSummary {
    /// Metadata with those labels and annotations that gc reads.
    #[serde(deserialize_with = "slim_metadata")]
    pub metadata: ObjectMeta,
    /// What kind it is, and by which policy.
    pub spec: SummarySpec,
    /// How it stands.
    #[serde(default)]
    pub status: SummaryStatus,
}

/// What of a spec gc looks at.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SummarySpec {
    /// Name of the policy.
    pub backup_policy_name: String,
    /// Kind of backup.
    #[serde(default)]
    pub backup_type: BackupType,
    /// The Backup that it builds on.
    #[serde(default)]
    pub parent_backup_name: Option<String>,
}

/// What of a status gc looks at.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(from = "WholeStatus")]
pub struct SummaryStatus {
    /// Where it stands.
    pub phase: Option<BackupPhase>,
    /// When it may go.
    pub expiration: Option<Timestamp>,
    /// When it ended, or else started.
    pub ended: Option<Timestamp>,
    /// The Backup that it builds on.
    pub parent: Option<String>,
    /// The cluster that was backed up.
    pub source_cluster: Option<String>,
    /// Uid of the policy that it was planned by.
    pub policy_uid: Option<String>,
    /// Where its files are; none if it never came to write any.
    pub location: Option<Location>,
    /// The Secrets that pods which work on it pull images with.
    pub pull_secrets: Vec<LocalObjectReference>,
    /// As whom those pods run where nothing may run as root.
    pub security: Option<Box<PodSecurityContext>>,
    /// Whether the agent sealed it: then its directory is its own.
    pub sealed: bool,
    /// Why its files are still there although it is deleted, as one of the documented reasons.
    pub trouble: Option<String>,
}

/// The parts of a status that [`SummaryStatus`] is made of. Read more tolerantly than a Backup is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct WholeStatus {
    phase: Option<BackupPhase>,
    expiration: Option<Time>,
    start_timestamp: Option<Time>,
    completion_timestamp: Option<Time>,
    parent_backup_name: Option<String>,
    source_cluster: Option<String>,
    persistent_volume_claim_name: Option<String>,
    manifests: Manifests,
    plan: Plan,
    deletion: Deletion,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Manifests {
    backup_tool: Tool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Tool {
    file_path: Option<String>,
    checksum: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Plan {
    policy_uid: Option<String>,
    location: Location,
    work: Work,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Work {
    job: Job,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Job {
    image_pull_secrets: Vec<LocalObjectReference>,
    security_context: Option<Box<PodSecurityContext>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Deletion {
    trouble: Option<String>,
}

impl From<WholeStatus> for SummaryStatus {
    fn from(whole: WholeStatus) -> Self {
        let ended = whole.completion_timestamp.or(whole.start_timestamp);
        let planned = Some(whole.plan.location).filter(|location| *location != Location::default());
        let claim = filled(whole.persistent_volume_claim_name);
        let path = filled(whole.manifests.backup_tool.file_path);
        // As `BackupStatus::location` has it; the uid is filled in by `BackupSummary::location`.
        let told = claim.zip(path).map(|(claim, path)| Location {
            access: Access::mount(claim),
            path,
            ..Location::default()
        });
        Self {
            phase: whole.phase,
            expiration: whole.expiration.map(|time| time.0),
            ended: ended.map(|time| time.0),
            parent: filled(whole.parent_backup_name),
            source_cluster: filled(whole.source_cluster),
            policy_uid: filled(whole.plan.policy_uid),
            location: planned.or(told),
            pull_secrets: whole.plan.work.job.image_pull_secrets,
            security: whole.plan.work.job.security_context,
            sealed: filled(whole.manifests.backup_tool.checksum).is_some(),
            trouble: filled(whole.deletion.trouble),
        }
    }
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn slim_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut metadata = ObjectMeta::deserialize(deserializer)?;
    let keep = |map: &mut std::collections::BTreeMap<String, String>, kept: &[&str]| {
        map.retain(|key, _| kept.contains(&key.as_str()));
    };
    if let Some(labels) = &mut metadata.labels {
        keep(labels, LABELS);
    }
    if let Some(annotations) = &mut metadata.annotations {
        keep(annotations, ANNOTATIONS);
    }
    Ok(ObjectMeta {
        managed_fields: None,
        ..metadata
    })
}

/// Whether a Backup is gc's to release: deleted, held by our finalizer, and in a phase that gc owns.
pub fn concerns(phase: Option<BackupPhase>, deleted: bool, finalizers: &[String]) -> bool {
    deleted
        && finalizers.iter().any(|name| name == FINALIZER)
        && matches!(
            phase,
            Some(BackupPhase::Completed | BackupPhase::Failed | BackupPhase::Deleting)
        )
}

impl Resource for BackupSummary {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(dt: &()) -> Cow<'_, str> {
        Backup::kind(dt)
    }

    fn group(dt: &()) -> Cow<'_, str> {
        Backup::group(dt)
    }

    fn version(dt: &()) -> Cow<'_, str> {
        Backup::version(dt)
    }

    fn plural(dt: &()) -> Cow<'_, str> {
        Backup::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl BackupSummary {
    /// Whether it is on its way out.
    pub fn is_going(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Whether it can be restored, as far as is known, and is not on its way out.
    pub fn is_good(&self) -> bool {
        let damaged = self.annotations().contains_key(ANNOTATION_DAMAGED);
        self.status.phase == Some(BackupPhase::Completed) && !self.is_going() && !damaged
    }

    /// Whether it stays and is, or may become, of use: then what it builds on must stay too.
    pub fn is_kept(&self) -> bool {
        self.status.phase != Some(BackupPhase::Failed) && !self.is_going()
    }

    /// Its place in time: when it ended, or started, or was created.
    pub fn time(&self) -> Option<Timestamp> {
        let created = self.metadata.creation_timestamp.as_ref().map(|time| time.0);
        self.status.ended.or(created)
    }

    /// The name of the Backup that it builds on.
    pub fn parent(&self) -> Option<&str> {
        let parent = self.status.parent.as_deref();
        let parent = parent.or(self.spec.parent_backup_name.as_deref());
        parent.filter(|name| !name.is_empty())
    }

    /// What was backed up: the cluster's uid, or else its name.
    pub fn source(&self) -> Option<&str> {
        let label = |key: &str| self.labels().get(key).map(String::as_str);
        let known = [
            label(LABEL_CLUSTER_UID),
            label(LABEL_INSTANCE),
            self.status.source_cluster.as_deref(),
        ];
        known.into_iter().flatten().find(|source| !source.is_empty())
    }

    /// Uid of the policy that it was made for, if that is known.
    pub fn policy_uid(&self) -> Option<&str> {
        let noted = self.annotations().get(ANNOTATION_POLICY_UID).map(String::as_str);
        noted
            .filter(|uid| !uid.is_empty())
            .or(self.status.policy_uid.as_deref())
    }

    /// The uid under which its files are claimed, sealed and purged.
    pub fn seal_uid(&self) -> Option<&str> {
        let planned = self.status.location.as_ref().map(|location| location.seal_uid.as_str());
        let planned = planned.filter(|uid| !uid.is_empty());
        planned.or(self.metadata.uid.as_deref())
    }

    /// The identity of the repository that its files were sealed in, if that is known.
    pub fn identity(&self) -> Option<&str> {
        let identity = self.status.location.as_ref()?.identity.as_deref();
        identity.filter(|identity| !identity.is_empty())
    }

    /// Where its files are.
    pub fn place(&self) -> Place<'_> {
        Place::of(
            self.metadata.name.as_deref().unwrap_or_default(),
            self.status.location.as_ref(),
        )
    }

    /// The volume from which its files wait to be removed.
    pub fn waits_on(&self) -> Option<&str> {
        let waits = self.status.phase == Some(BackupPhase::Deleting)
            && concerns(self.status.phase, self.is_going(), self.finalizers());
        match self.place() {
            Place::Own { claim, .. } if waits => Some(claim),
            _ => None,
        }
    }
}

/// Where a Backup's files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// It never came to write any.
    Nowhere,
    /// Where only a newer version can reach them.
    Unknown(&'a Location),
    /// In a directory that does not bear its name: others may share it, so it is never removed.
    Shared {
        /// The claim.
        claim: &'a str,
        /// The directory, from the repository's root.
        path: &'a str,
    },
    /// In a directory of its own.
    Own {
        /// The claim.
        claim: &'a str,
        /// The directory, from the repository's root.
        path: &'a str,
    },
}

impl<'a> Place<'a> {
    /// The place of a Backup of that name whose bytes lie at `location`.
    pub fn of(name: &str, location: Option<&'a Location>) -> Self {
        let Some(location) = location else {
            return Self::Nowhere;
        };
        let path = location.path.as_str();
        match location.access.claim() {
            Err(_) => Self::Unknown(location),
            Ok(claim) if claim.is_empty() || path.is_empty() => Self::Nowhere,
            Ok(claim) => {
                let last = path.trim_end_matches('/').rsplit('/').next();
                if path.starts_with('/') && last == Some(name) && !name.is_empty() {
                    Self::Own { claim, path }
                } else {
                    Self::Shared { claim, path }
                }
            }
        }
    }
}
