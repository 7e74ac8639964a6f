//! What a decision about a Backup rests on, and what it can ask for.

use std::sync::Arc;

use holdfast_api::{
    Backup, BackupPlan, BackupPolicy, BackupRepo, BackupStatus, BackupTool, condition::Reason,
    names::ANNOTATION_REPOSITORY,
};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;

use crate::{
    decision::{self, Seen},
    pod::Demands,
    settings::Settings,
};

/// What follows from an observation.
pub type Decision = decision::Decision<BackupStatus, Read>;
/// What shall be written.
pub type Write = decision::Write<BackupStatus>;
/// Why an admitted Backup cannot be planned now.
pub type Problem = decision::Problem<BackupStatus, Read>;

/// Pods by label, as they were looked up.
#[derive(Clone, Debug, Default)]
pub struct Pods {
    /// The pods of one Job's role.
    pub items: Vec<Arc<Pod>>,
    /// Whether the API server listed them just now.
    pub live: bool,
}

/// Everything that a decision about one Backup rests on.
#[derive(Clone, Debug)]
pub struct Observed {
    /// What the installation chose.
    pub settings: Arc<Settings>,
    /// The Backup.
    pub backup: Arc<Backup>,
    /// When the API server answered with this very copy; none for a copy from a cache.
    pub backup_read: Option<Timestamp>,
    /// The policy that it names.
    pub policy: Seen<BackupPolicy>,
    /// The tool that the plan, or else the policy, names.
    pub tool: Seen<BackupTool>,
    /// All repositories.
    pub repos: Vec<Arc<BackupRepo>>,
    /// The repository that [`storage`](crate::backup::storage) chose, where it chose one by name.
    pub repo: Seen<BackupRepo>,
    /// The claim of the repository in the Backup's namespace.
    pub claim: Seen<PersistentVolumeClaim>,
    /// The volume that it is bound to, if it is.
    pub volume: Option<Arc<PersistentVolume>>,
    /// The target pod's node, looked up where the volume says which nodes can reach it.
    pub node: Option<Arc<Node>>,
    /// The pod that was chosen at admission.
    pub target: Seen<Pod>,
    /// Claims that the target pod mounts, as far as they exist.
    pub target_claims: Vec<Arc<PersistentVolumeClaim>>,
    /// The Job of the name in the plan.
    pub job: Seen<Job>,
    /// Its pods.
    pub pods: Pods,
    /// The report Job.
    pub report: Seen<Job>,
    /// The report Job's pods.
    pub report_pods: Pods,
    /// What the API server said when it refused the Job that was last asked for.
    pub refused: Option<String>,
    /// What the namespace demands of its pods, if it was asked lately.
    pub demands: Option<Demands>,
    /// The events about [`in_trouble`](super::in_trouble), if they were listed just now.
    pub events: Option<Vec<Event>>,
}

impl Observed {
    /// The plan, once there is one.
    pub(super) fn plan(&self) -> Option<&BackupPlan> {
        self.backup.status.as_ref()?.plan.as_ref()
    }

    /// Whether the status says already, in the cluster's own words, that this is waited for.
    pub(super) fn is_told(&self, reason: Reason) -> bool {
        let waiting = self.backup.status.as_ref().and_then(|status| status.waiting.as_ref());
        waiting.is_some_and(|waiting| waiting.quoted && waiting.is_for(reason))
    }

    /// Whether the status says that something is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        self.backup
            .status
            .as_ref()
            .is_some_and(|status| status.waiting.is_some())
    }

    /// When the run started, as the status says.
    pub(super) fn started(&self) -> Option<Timestamp> {
        Some(self.backup.status.as_ref()?.start_timestamp.as_ref()?.0)
    }

    /// The identity of the repository that the Backup goes to, where it is known: noted on the repository, or, where the
    /// policy names a claim of its own, on that; else as it was known when the run was planned.
    pub(super) fn known_identity(&self) -> Option<&str> {
        let namespace = self.backup.metadata.namespace.as_deref().unwrap_or_default();
        let noted = match self.repo.get() {
            Some(repo) => repo.status.as_ref().and_then(|status| status.identity_in(namespace)),
            None => self
                .claim
                .get()
                .and_then(|claim| claim.annotations().get(ANNOTATION_REPOSITORY))
                .map(String::as_str),
        };
        let planned = || self.plan()?.location.identity.as_deref();
        noted
            .filter(|identity| !identity.is_empty())
            .or_else(|| planned().filter(|identity| !identity.is_empty()))
    }
}

/// What must be read from the API server itself before anything can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Read {
    /// The Backup.
    Backup,
    /// Its policy.
    Policy,
    /// Its tool.
    Tool,
    /// The repository.
    Repo,
    /// The repository's claim.
    Claim,
    /// The target pod, its claims, and its node if the volume needs it.
    Target,
    /// The Job.
    Job,
    /// The Job's pods.
    Pods,
    /// The report Job.
    Report,
    /// The report Job's pods.
    ReportPods,
    /// What the namespace demands of its pods.
    Demands,
    /// The events about [`in_trouble`](super::in_trouble), and the node that the run is bound to.
    Events,
}
