//! How an admitted datafile Backup is driven to Completed or Failed.
//!
//! ```text
//! New, admitted ── plan ──> InProgress ── Job ──> sealed ──> Completed
//!        │                      │            └──> Failed
//!        └── cannot be planned ─┴── deleted, cancelled, too late: Job removed, pods gone ──> Failed
//! ```
//! [`decide`] looks at what was observed and yields at most one guarded write; the next pass derives anew, so a
//! crash between any two writes is harmless. What a decision rests on but was only seen in a cache is asked for
//! again with [`Next::Read`] before an object ends by it.

mod cleanup;
mod decide;
mod finish;
mod job;
mod lookup;
mod plan;
mod report;
mod run;
mod size;
mod state;
mod status;
mod stop;
mod storage;
mod volumes;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use holdfast_api::condition::Reason;
use holdfast_api::event::BusEventKind;
use holdfast_api::{Backup, BackupPhase, BackupPolicy, BackupRepo, BackupStatus, BackupTool};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use serde_json::Value;

pub use cleanup::{Owner, cleanup};
pub use decide::decide;
pub use lookup::{Problem, unreadable};
pub use plan::{is_admitted, section};
pub use report::report_job_name;
pub use state::can_become;
pub use storage::{Storage, storage};
pub use volumes::claims_of;

/// What an installation chooses.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of the agent, for the init container and for report Jobs.
    pub agent_image: String,
    /// Pull policy of all images; none leaves it to Kubernetes.
    pub pull_policy: Option<String>,
    /// How long a Backup may take that says nothing about it.
    pub deadline: SignedDuration,
    /// How long something that exists but is not ready is waited for, and how long a pod may be pending.
    pub not_ready_timeout: SignedDuration,
}

/// One object as it was looked up.
#[derive(Clone, Debug)]
pub struct Seen<K> {
    /// The object, if there is one.
    pub object: Option<Arc<K>>,
    /// Whether the API server said so just now; false for a cache, and for what was not looked up.
    pub live: bool,
    /// Why it cannot be read as its kind, where it is there and cannot.
    pub unreadable: Option<String>,
}

impl<K> Seen<K> {
    /// From a cache.
    pub fn cached(object: Option<Arc<K>>) -> Self {
        Self {
            object,
            live: false,
            unreadable: None,
        }
    }

    /// From the API server, just now.
    pub fn live(object: Option<Arc<K>>) -> Self {
        Self {
            live: true,
            ..Self::cached(object)
        }
    }

    /// There, as the API server said just now, but holding what nobody can read.
    pub fn unreadable(why: String) -> Self {
        Self {
            unreadable: Some(why),
            ..Self::live(None)
        }
    }

    /// The object, however it was seen.
    pub fn get(&self) -> Option<&K> {
        self.object.as_deref()
    }
}

impl<K> Default for Seen<K> {
    fn default() -> Self {
        Self::cached(None)
    }
}

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
    /// The tool that the policy, or the plan, names.
    pub tool: Seen<BackupTool>,
    /// All repositories.
    pub repos: Vec<Arc<BackupRepo>>,
    /// The repository that [`storage`] chose, where it chose one by name.
    pub repo: Seen<BackupRepo>,
    /// The claim of the repository in the Backup's namespace.
    pub pvc: Seen<PersistentVolumeClaim>,
    /// The volume that it is bound to, if it is.
    pub volume: Option<Arc<PersistentVolume>>,
    /// The target pod's node, looked up where the volume says which nodes can reach it.
    pub node: Option<Arc<Node>>,
    /// The pod that was chosen at admission.
    pub target: Seen<Pod>,
    /// Claims that the target pod mounts, as far as they exist.
    pub claims: Vec<Arc<PersistentVolumeClaim>>,
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
}

/// What shall be written: one thing, guarded by what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Merge this into the Backup's metadata: it asks the repository manager for a claim in this namespace, or the
    /// scheduler for another target.
    Metadata(Value),
    /// Replace the status; guarded by the resourceVersion of [`Observed::backup`].
    Status(Box<BackupStatus>),
    /// Create the Job that runs the tool.
    CreateJob(Box<Job>),
    /// Create the Job that reads the seal because the tool's pod is gone.
    CreateReportJob(Box<Job>),
    /// Delete a Job and its pods.
    DeleteJob {
        /// Name of the Job.
        name: String,
        /// Its uid: only this very Job.
        uid: String,
        /// Its resourceVersion where the decision rests on its state.
        resource_version: Option<String>,
    },
    /// Note the repository's identity on its claim, the first time it is known.
    MarkRepository {
        /// The claim, with the resourceVersion that guards the write.
        pvc: Arc<PersistentVolumeClaim>,
        /// The identity that the agent found or made.
        id: String,
    },
}

/// An Event about the Backup, to be published once the write has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Warning or Normal.
    pub warning: bool,
    /// CamelCase reason.
    pub reason: String,
    /// What happened.
    pub note: String,
}

/// A message for the bus, to be published once the write has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What happened.
    pub kind: BusEventKind,
    /// The phase before.
    pub from: BackupPhase,
    /// When the run started; with uid and transition it makes the message's identity.
    pub start: Timestamp,
    /// Why it failed, if it did.
    pub reason: Option<Reason>,
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
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When something changes.
    AwaitChange,
    /// When something changes, and at the latest after this time.
    After(Duration),
    /// At once, with this read afresh.
    Read(Read),
    /// At once, with what the write answered.
    Again,
}

/// What follows from an observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The one write, if any.
    pub write: Option<Write>,
    /// Events after it.
    pub events: Vec<Event>,
    /// News after it.
    pub news: Vec<Notice>,
    /// When to look again.
    pub next: Next,
}

impl Decision {
    fn wait() -> Self {
        Self::of(None, Next::AwaitChange)
    }

    fn after(duration: SignedDuration) -> Self {
        // A time that has passed already means: soon.
        let duration = Duration::try_from(duration).unwrap_or_default();
        Self::of(None, Next::After(duration.max(Duration::from_millis(500))))
    }

    fn read(read: Read) -> Self {
        Self::of(None, Next::Read(read))
    }

    fn write(write: Write) -> Self {
        Self::of(Some(write), Next::Again)
    }

    fn of(write: Option<Write>, next: Next) -> Self {
        Self {
            write,
            events: Vec::new(),
            news: Vec::new(),
            next,
        }
    }
}
