//! Why something is as it is: a closed list, each with what to do about it.

macro_rules! reasons {
    ($($name:ident: $hint:literal,)*) => {
        /// The reasons that conditions and events give. The list is closed: alerts and scripts may rely on it.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Reason {
            $(#[doc = $hint] $name,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word in conditions, events and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What it means and what to do, in one sentence.
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$name => $hint,)* }
            }

            /// The reason of that word.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $(stringify!($name) => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    PolicyNotFound: "The named BackupPolicy does not exist in the namespace: create it, or correct the name.",
    ToolNotFound: "The named BackupTool does not exist: create it, or correct the name in the policy.",
    RepoNotFound: "The named BackupRepo does not exist: create it, or correct the name in the policy or label.",
    RepoNotReady: "The BackupRepo is not Ready: see its conditions.",
    NoTargetPod: "No pod matches the policy's selector: start the database, or correct the selector.",
    TargetPodNotReady: "The pods that match the selector are not Ready yet: see why in the database's own pods.",
    BackupNotSupported: "The policy has no section for this type of backup: add it, or use another type.",
    InvalidPolicy: "The policy contradicts itself or cannot be understood: the message names the field.",
    InvalidSchedule: "The cron expression cannot be understood or never comes due: correct it.",
    InvalidPathPrefix: "The path prefix holds parts that could leave the repository: use letters, digits, '-', '_', '.' and '/'.",
    InvalidSelector: "The selector is empty or malformed: an empty one would match every pod of the namespace.",
    InvalidLogfileBackupName: "Log backups are created by their schedule and bear its name: enable the logfile schedule.",
    BackupScheduleDisabled: "The schedule for this type is off: enable it in the policy.",
    LogfileScheduleDisabled: "The tool needs the log backup: enable the logfile schedule in the policy.",
    BackupPVCNameIsEmpty: "Neither a repository nor a claim is named, and there is no default repository: name one.",
    MultipleDefaultRepos: "Several repositories are marked as default: leave the mark on one.",
    WaitingForPVC: "The repository's claim is being created in this namespace.",
    PVCNotFound: "The claim that holds the backup does not exist: restore it, or correct the policy.",
    Unschedulable: "No node takes the pod: the message holds the scheduler's reasons.",
    ImagePull: "The image cannot be pulled: check its name and the pull Secrets.",
    MountFailed: "A volume cannot be mounted: the message names it.",
    PodPending: "The pod has not started yet.",
    ContainerConfig: "The container cannot be created: a Secret, ConfigMap or key that it needs is missing.",
    JobRunning: "The tool is at work.",
    BackupJobFailed: "The backup's Job failed: see the message and the tool's log.",
    ToolFailed: "The tool ended with an error: see the end of its log in the message.",
    EmptyOutput: "The tool ended well but wrote nothing: correct its commands, or annotate the policy with holdfast.io/allow-empty=true.",
    ResultTooLarge: "What the tool reports does not fit the result of 1 KiB: shorten userContext and checkpoint in backup.info.",
    BadConfiguration: "The agent was given settings that it cannot use: the message names them.",
    RepositoryFull: "The repository's volume is full: enlarge it, or delete backups.",
    PathOccupied: "The directory in the repository belongs to another backup: use another name or prefix.",
    AlreadyDeleted: "This backup was deleted before: its name may be used again, its uid never.",
    RepositoryMismatch: "The volume is not the repository that it was: check what is mounted before anything is written.",
    NewerFormat: "The backup was written by a newer version of Holdfast: upgrade before using it.",
    SealInvalid: "The directory has no valid seal: it is not a backup that can be restored.",
    DigestMismatch: "The files are not those that were sealed: restore another backup.",
    RepositoryOnOtherNode: "The repository's volume is on another node than the database: use a repository that every node reaches.",
    NameTaken: "A child with this name exists and is not Holdfast's: rename one of the two.",
    SlotNameTaken: "A Backup with the slot's name exists and was not made for it: rename it, or wait for the next slot.",
    SlotMissed: "The slot could not be started within startingDeadlineMinutes.",
    SlotSkipped: "The previous scheduled backup had not ended when the slot came.",
    DeadlineExceeded: "It took longer than its deadline: the message says what was waited for.",
    Cancelled: "The run was cancelled by spec.cancel.",
    Deleted: "The object was deleted while it ran.",
    NotFound: "A named object does not exist: the message names it.",
    AccessModeRefused: "A volume with access mode ReadWriteOncePod cannot be read beside its database.",
    ManagedByOperator: "Another controller sets the workload's replicas: pause it, or scale down through it, first.",
    WhenScaledDelete: "Scaling the StatefulSet down would delete its claims: set persistentVolumeClaimRetentionPolicy.whenScaled to Retain.",
    TargetHasData: "The target volume holds data: set spec.replace to true to overwrite it.",
    TargetInUse: "A pod that the restore does not stop mounts a target volume: end that pod, wait for the Backup at work, or correct targetVolumes.",
    TargetDirty: "The target volume is half written: run another restore, of this Backup or an older one.",
    BackupNotCompleted: "Only a Completed Backup can be restored.",
    WorkloadNotFound: "No StatefulSet or Deployment matches the selector: correct it.",
    MultipleWorkloads: "Several workloads match the selector: narrow it.",
    WorkloadHeld: "Another restore holds the workload: wait for it, or delete it.",
    ScalingDown: "The workload is being stopped.",
    Verifying: "The backup's digests are being checked.",
    Restoring: "The volumes are being written.",
    ScalingUp: "The workload is being started again.",
    WorkloadNotReady: "The workload was started again but is not Ready: see its pods.",
    Completed: "It ended well.",
    Admitted: "The Backup was admitted and will start.",
    InProgress: "The run has started.",
    Expired: "The Backup's time was over.",
    HistoryLimitExceeded: "There are more scheduled backups than backupsHistoryLimit.",
    Purging: "The backup's files are being removed.",
    PurgeFailed: "The backup's files could not be removed: see the Job's message.",
    DataLeftBehind: "The claim or repository is gone: the object was released, and its files stay where they are.",
    NamespaceTerminating: "The namespace is being deleted: the object was released, and its files follow their volume.",
    BlockedByChildren: "Increments that are kept build on this Backup: delete them first.",
    Available: "The object can be used.",
    Checking: "The object is being checked.",
    Unsupported: "This version of Holdfast does not serve this: the message says what.",
    InvalidObject: "The object cannot be read as its kind: the message names the field.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_a_valid_condition_reason_and_can_be_parsed() {
        for reason in Reason::ALL {
            let word = reason.as_str();
            assert!(
                word.chars().all(char::is_alphanumeric) && word.starts_with(char::is_uppercase),
                "{word}"
            );
            assert_eq!(Reason::parse(word), Some(*reason));
            assert!(reason.hint().ends_with('.'), "{word}");
        }
        assert_eq!(Reason::parse("Nonsense"), None);
    }
}
