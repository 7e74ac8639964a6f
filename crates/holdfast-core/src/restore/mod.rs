//! How a RestoreJob stops a workload, has its volumes written, and brings it back.
//!
//! ```text
//! New ── everything checked, nothing touched ──> InProgressPhy
//!   verify Job ──> suspend (replicas 0) ──> pods gone ──> restore Job ──> resume ──> Ready ──> Completed
//!   └─ wrong ──> Failed, workload as it was            └─ half written ──> Failed, workload stays suspended
//! ```
//! Restores are rare, so everything is read from the API server itself in each pass, and [`decide`] yields at most
//! one guarded write. How to undo the suspension lies on the workload, written in the same patch: the annotation is the
//! lock, and any later pass, of whichever process, can settle it.

mod after_write;
mod jobs;
mod new;
mod run;
mod status;
mod stop;
#[cfg(test)]
mod tests;
mod verify;
mod workload;
mod writers;

use holdfast_api::{
    Backup, BackupTool, RestoreJob, RestoreJobPhase, RestoreJobStatus, condition::Reason, names::FINALIZER,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt as _;
use serde_json::{Value, json};

pub use jobs::{restore_job_name, verify_job_name};
pub use run::WRITING;
pub use stop::orphan;
pub use workload::{Kind, Workload};
pub use writers::target_of;

/// What an installation chooses.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of the agent.
    pub agent_image: String,
    /// Pull policy of all images; none leaves it to Kubernetes.
    pub pull_policy: Option<String>,
    /// How long a restore may take.
    pub deadline: SignedDuration,
    /// How long something that exists but is not ready is waited for.
    pub not_ready_timeout: SignedDuration,
}

/// Who has the suspend lock of the workload, besides this restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LockHolder {
    /// Nobody.
    #[default]
    Nobody,
    /// This RestoreJob.
    Ours,
    /// Another RestoreJob that is at work.
    AtWork(String),
    /// Another RestoreJob that failed or is gone: its lock may be taken over.
    Over,
}

/// Everything that a decision rests on, all of it read just now.
#[derive(Clone, Debug)]
pub struct Observed {
    /// What the installation chose.
    pub settings: Settings,
    /// The RestoreJob.
    pub restore: RestoreJob,
    /// The Backup that it names.
    pub backup: Option<Backup>,
    /// The tool that the Backup names; only looked up for a new RestoreJob.
    pub tool: Option<BackupTool>,
    /// Why the Backup or the tool cannot be read, where it is there and cannot.
    pub unreadable: Option<String>,
    /// For a new RestoreJob the workloads that match; later the planned one, if it is still there.
    pub workloads: Vec<Workload>,
    /// Who has the suspend lock of the first of them.
    pub holder: LockHolder,
    /// Its pods that have not ended.
    pub pods: Vec<Pod>,
    /// Every pod of the namespace that mounts a target claim ([`target_of`]), whoever it belongs to.
    pub mounting: Vec<Pod>,
    /// The Job that checks the backup.
    pub verify: Option<Job>,
    /// Its pods.
    pub verify_pods: Vec<Pod>,
    /// The Job that restores.
    pub write: Option<Job>,
    /// Its pods.
    pub write_pods: Vec<Pod>,
    /// What the API server said when it refused the Job that was last asked for.
    pub refused: Option<String>,
}

/// The one guarded write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Merge this into the RestoreJob's metadata.
    Metadata(Value),
    /// Replace the RestoreJob's status.
    Status(Box<RestoreJobStatus>),
    /// Create a Job.
    CreateJob(Box<Job>),
    /// Delete a Job and its pods.
    DeleteJob {
        /// Its name.
        name: String,
        /// Its uid: only this very Job.
        uid: String,
    },
    /// Merge this into the workload: suspend it, or resume it.
    Workload(Box<Workload>, Value),
}

/// An Event about the RestoreJob, after the write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Warning or Normal.
    pub warning: bool,
    /// Why.
    pub reason: Reason,
    /// What happened.
    pub note: String,
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The one write, if any.
    pub write: Option<Write>,
    /// The Event after it, if any.
    pub event: Option<Event>,
    /// When to look again, if nothing changes before.
    pub next: Option<SignedDuration>,
}

impl Decision {
    fn nothing() -> Self {
        Self {
            write: None,
            event: None,
            next: None,
        }
    }

    fn write(write: Write) -> Self {
        Self {
            write: Some(write),
            event: None,
            next: Some(SignedDuration::ZERO),
        }
    }

    fn with(mut self, warning: bool, reason: Reason, note: impl Into<String>) -> Self {
        self.event = Some(Event {
            warning,
            reason,
            note: note.into(),
        });
        self
    }
}

/// Decides about one RestoreJob.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let restore = &observed.restore;
    if restore.metadata.deletion_timestamp.is_some() {
        return stop::decide(observed, now);
    }
    match phase(restore) {
        RestoreJobPhase::New => {
            if !has_finalizer(restore) {
                let finalizers: Vec<&str> = restore
                    .finalizers()
                    .iter()
                    .map(String::as_str)
                    .chain([FINALIZER])
                    .collect();
                return Decision::write(Write::Metadata(json!({ "finalizers": finalizers })));
            }
            new::decide(observed, now)
        }
        RestoreJobPhase::InProgressPhy => run::decide(observed, now),
        RestoreJobPhase::InProgressLogic | RestoreJobPhase::Completed | RestoreJobPhase::Failed => Decision::nothing(),
    }
}

/// The phase; none counts as New.
pub fn phase(restore: &RestoreJob) -> RestoreJobPhase {
    restore
        .status
        .as_ref()
        .and_then(|status| status.phase)
        .unwrap_or_default()
}

/// Whether nothing is left to do for it.
pub fn is_over(restore: &RestoreJob) -> bool {
    matches!(phase(restore), RestoreJobPhase::Completed | RestoreJobPhase::Failed)
}

fn has_finalizer(restore: &RestoreJob) -> bool {
    restore.finalizers().iter().any(|name| name == FINALIZER)
}
