//! The one reader of phases, and of whether an object is being deleted.

use kube::Resource;

use crate::{Backup, BackupPhase, RestoreJob, RestoreJobPhase};

impl Backup {
    /// Where the Backup stands; [`BackupPhase::New`] while nobody has written a phase.
    pub fn phase(&self) -> BackupPhase {
        self.status.as_ref().and_then(|status| status.phase).unwrap_or_default()
    }
}

impl BackupPhase {
    /// Whether the run is over: `Completed`, `Failed`, or `Deleting`, in which only the removal of its files goes on. No run
    /// comes back from these to `New`, `InProgress` or `Running`.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Deleting => true,
            Self::New | Self::InProgress | Self::Running => false,
        }
    }
}

impl RestoreJob {
    /// Where the restore stands; [`RestoreJobPhase::New`] while nobody has written a phase.
    pub fn phase(&self) -> RestoreJobPhase {
        self.status.as_ref().and_then(|status| status.phase).unwrap_or_default()
    }
}

impl RestoreJobPhase {
    /// Whether the restore is over: Completed or Failed. The workload may stay suspended after a failed one.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Completed | Self::Failed => true,
            Self::New | Self::InProgressPhy | Self::InProgressLogic => false,
        }
    }
}

/// What every object of Kubernetes can be asked.
pub trait ObjectMetaExt {
    /// Whether the object is being deleted: somebody asked for it, and finalizers may still hold it.
    fn is_terminating(&self) -> bool;
}

impl<K: Resource> ObjectMetaExt for K {
    fn is_terminating(&self) -> bool {
        self.meta().deletion_timestamp.is_some()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time};

    use super::*;

    #[test]
    fn what_is_over_and_what_goes_can_be_asked() {
        let mut backup = Backup::default();
        assert_eq!(backup.phase(), BackupPhase::New);
        backup.status.get_or_insert_default().phase = Some(BackupPhase::Deleting);
        assert!(backup.phase().is_terminal() && !BackupPhase::Running.is_terminal());
        assert!(RestoreJobPhase::Failed.is_terminal() && !RestoreJob::default().phase().is_terminal());
        let mut pod = Pod::default();
        assert!(!pod.is_terminating());
        pod.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        assert!(pod.is_terminating());
    }
}
