//! Backups reduced to what retention and purges look at, so that ten thousand of them take little memory.

use std::borrow::Cow;

use holdfast_api::{
    Backup, BackupPhase, BackupStatus, BackupType,
    condition::STALLED,
    names::{
        ANNOTATION_POLICY_UID, ANNOTATION_TRACEPARENT, LABEL_AUTOBACKUP, LABEL_BACKUP_PROTECTION, LABEL_CLUSTER_UID,
        LABEL_INSTANCE,
    },
};
use jiff::Timestamp;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::LocalObjectReference,
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
const ANNOTATIONS: &[&str] = &[ANNOTATION_POLICY_UID, ANNOTATION_TRACEPARENT];

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
    /// The claim that holds its files.
    pub claim: Option<String>,
    /// Its directory in the repository.
    pub path: Option<String>,
    /// The Secrets that pods which work on it pull images with.
    pub pull_secrets: Vec<LocalObjectReference>,
    /// Whether the agent sealed it: then its directory is its own.
    pub sealed: bool,
    /// The reason of its condition `Stalled`, while that holds.
    pub stalled: Option<String>,
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
    conditions: Vec<Condition>,
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
    persistent_volume_claim_name: Option<String>,
    path: Option<String>,
    image_pull_secrets: Vec<LocalObjectReference>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
}

impl From<WholeStatus> for SummaryStatus {
    fn from(whole: WholeStatus) -> Self {
        let stalled = whole.conditions.into_iter();
        let mut stalled = stalled.filter(|condition| condition.kind == STALLED && condition.status == "True");
        let ended = whole.completion_timestamp.or(whole.start_timestamp);
        Self {
            phase: whole.phase,
            expiration: whole.expiration.map(|time| time.0),
            ended: ended.map(|time| time.0),
            parent: filled(whole.parent_backup_name),
            source_cluster: filled(whole.source_cluster),
            policy_uid: filled(whole.plan.policy_uid),
            claim: filled(whole.persistent_volume_claim_name)
                .or_else(|| filled(whole.plan.persistent_volume_claim_name)),
            path: filled(whole.manifests.backup_tool.file_path).or_else(|| filled(whole.plan.path)),
            pull_secrets: whole.plan.image_pull_secrets,
            sealed: filled(whole.manifests.backup_tool.checksum).is_some(),
            stalled: stalled.next().map(|condition| condition.reason),
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

    /// Whether it can be restored and is not on its way out.
    pub fn is_good(&self) -> bool {
        self.status.phase == Some(BackupPhase::Completed) && !self.is_going()
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

    /// Where its files are.
    pub fn place(&self) -> Place<'_> {
        Place::of(
            self.metadata.name.as_deref().unwrap_or_default(),
            self.status.claim.as_deref(),
            self.status.path.as_deref(),
        )
    }
}

/// Where a Backup's files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// It never came to write any.
    Nowhere,
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
    fn of(name: &str, claim: Option<&'a str>, path: Option<&'a str>) -> Self {
        let filled = |text: Option<&'a str>| text.filter(|text| !text.is_empty());
        let (Some(claim), Some(path)) = (filled(claim), filled(path)) else {
            return Self::Nowhere;
        };
        let last = path.trim_end_matches('/').rsplit('/').next();
        if path.starts_with('/') && last == Some(name) && !name.is_empty() {
            Self::Own { claim, path }
        } else {
            Self::Shared { claim, path }
        }
    }
}

/// Where the files of a whole Backup are; the same rule as [`BackupSummary::place`].
pub fn place<'a>(name: &str, status: &'a BackupStatus) -> Place<'a> {
    let plan = status.plan.as_ref();
    let tool = status
        .manifests
        .as_ref()
        .and_then(|manifests| manifests.backup_tool.as_ref());
    let filled = |text: Option<&'a String>| text.map(String::as_str).filter(|text| !text.is_empty());
    let claim = filled(status.persistent_volume_claim_name.as_ref());
    let claim = claim.or_else(|| filled(plan.map(|plan| &plan.persistent_volume_claim_name)));
    let path = filled(tool.and_then(|tool| tool.file_path.as_ref()));
    Place::of(name, claim, path.or_else(|| filled(plan.map(|plan| &plan.path))))
}
