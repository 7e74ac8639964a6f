//! What a decision about a RestoreJob rests on.

use holdfast_api::{Backup, BackupTool, RestoreJob, RestoreJobStatus, RestorePlan, condition::Reason};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Node, Pod},
};

use super::workload::Workload;
use crate::{
    decision,
    pod::{self, Demands, Trouble, are_told_by_events, is_over, podless, trouble},
    settings::Settings,
};
use jiff::Timestamp;
use kube::ResourceExt as _;

/// What follows from an observation.
pub type Decision = decision::Decision<RestoreJobStatus, Read>;
/// What shall be written.
pub type Write = decision::Write<RestoreJobStatus>;

/// What can be read. Restores are rare, so it is everything, from the API server itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// All that [`Observed`] holds.
    Everything,
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
    /// The Backup that it names; only looked up for a new RestoreJob, and where its check has failed.
    pub backup: Option<Backup>,
    /// The tool that the plan, or else the Backup, names.
    pub tool: Option<BackupTool>,
    /// Why the Backup or the tool cannot be read, where it is there and cannot.
    pub unreadable: Option<String>,
    /// For a new RestoreJob the workloads that match; later the planned one, if it is still there.
    pub workloads: Vec<Workload>,
    /// Who has the lock of the first of them.
    pub holder: LockHolder,
    /// Its pods: those that its controller owns.
    pub pods: Vec<Pod>,
    /// Every pod of the namespace that mounts a target claim ([`target_of`](super::target_of)), whoever it belongs to.
    pub mounting: Vec<Pod>,
    /// The Jobs of Backups and restores in the namespace; looked up until the restore's own was let go.
    pub others: Vec<Job>,
    /// The target claims that one pod alone may mount (`ReadWriteOncePod`); looked up as long as there is no Job that
    /// checks the backup.
    pub exclusive: Vec<String>,
    /// The Job that checks the backup.
    pub verify: Option<Job>,
    /// Its pods.
    pub verify_pods: Vec<Pod>,
    /// The Job that restores.
    pub write: Option<Job>,
    /// Its pods.
    pub write_pods: Vec<Pod>,
    /// The nodes of those of them that kubelet may have stopped telling of.
    pub nodes: Vec<Node>,
    /// What the namespace demands of the pods in it.
    pub demands: Demands,
    /// What the cluster's events say about a Job of ours that has no pod, or a pod that does not start.
    pub words: Option<String>,
    /// What the API server said when it refused the Job that was last asked for.
    pub refused: Option<String>,
    /// What it said when it refused to change the workload's replicas.
    pub scale_refused: Option<String>,
}

impl Observed {
    /// The plan, once there is one.
    pub(super) fn plan(&self) -> Option<&RestorePlan> {
        self.restore.status.as_ref()?.plan.as_ref()
    }

    /// The workload of the plan, if it is still that one.
    pub(super) fn planned_workload(&self) -> Option<&Workload> {
        let planned = self.plan()?.workload.as_ref()?;
        self.workloads.first().filter(|workload| workload.uid() == planned.uid)
    }

    /// That a pod of ours is on a node which nobody hears of.
    fn lost(&self, pod: &Pod, now: Timestamp) -> Option<Trouble> {
        let why = pod::lost(pod, &self.nodes, now)?;
        Some(Trouble {
            reason: Reason::NodeNotReady,
            message: format!("pod `{}` runs on a lost node: {why}", pod.name_any()),
        })
    }

    /// What keeps a Job of ours from going on, in the cluster's own words where it has some.
    pub(super) fn trouble(&self, job: &Job, pods: &[Pod], now: Timestamp) -> Option<Trouble> {
        let trouble = if pods.is_empty() {
            podless(job, now)
        } else {
            pods.iter()
                .filter(|pod| !is_over(pod))
                .find_map(|pod| trouble(pod, now).or_else(|| self.lost(pod, now)))
        }?;
        let words = self.words.as_ref().filter(|_| are_told_by_events(trouble.reason));
        Some(match words {
            Some(words) => Trouble {
                message: format!("{}: {words}", trouble.message),
                ..trouble
            },
            None => trouble,
        })
    }
}
