//! Why something is as it is: the one list of reasons, each with what to do about it.

/// Whose word a reason is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The original API's: scripts written for it look for this word.
    Original,
    /// Holdfast's own.
    Own,
}

impl Origin {
    /// The word in the documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Own => "own",
        }
    }
}

/// Where people meet a reason. Metrics and messages on the bus may give any.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shown {
    /// In conditions.
    Conditions,
    /// In Kubernetes events.
    Events,
    /// In conditions and Kubernetes events.
    Both,
    /// Only in metrics and messages on the bus.
    Elsewhere,
}

impl Shown {
    /// Whether Kubernetes events give the reason.
    pub const fn in_events(self) -> bool {
        matches!(self, Self::Events | Self::Both)
    }

    /// The words in the documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conditions => "conditions",
            Self::Events => "events",
            Self::Both => "conditions, events",
            Self::Elsewhere => "metrics, bus",
        }
    }
}

/// Whether anything is to be done about it.
#[derive(Clone, Copy, PartialEq)]
enum Tone {
    /// Everything takes its course.
    Progress,
    /// Something is in the way: the hint says what to do.
    Trouble,
}

/// `Word [= exit code of the agent]: origin, where it is shown, tone, "hint";`
macro_rules! reasons {
    ($($name:ident $(= $code:literal)?: $origin:ident, $shown:ident, $tone:ident, $hint:literal;)*) => {
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

            /// The exit code of its own that the agent ends with, if it has one: from
            /// [`crate::agent::EXIT_PERMANENT_FIRST`] to [`crate::agent::EXIT_PERMANENT_LAST`], as trying again
            /// cannot help. Runbooks name these numbers: a code is never changed and never given twice.
            pub const fn exit_code(self) -> Option<i32> {
                match self {
                    $(Self::$name => {
                        let code: &[i32] = &[$($code)?];
                        code.first().copied()
                    })*
                }
            }

            /// Whose word it is.
            pub const fn origin(self) -> Origin {
                match self { $(Self::$name => Origin::$origin,)* }
            }

            /// Where people meet it.
            pub const fn shown(self) -> Shown {
                match self { $(Self::$name => Shown::$shown,)* }
            }

            /// Whether something is in the way, so that the hint helps whoever reads about it.
            pub const fn is_trouble(self) -> bool {
                let tone = match self { $(Self::$name => Tone::$tone,)* };
                matches!(tone, Tone::Trouble)
            }

            /// The reason of that word.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $(stringify!($name) => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    PolicyNotFound: Own, Both, Trouble, "The named BackupPolicy does not exist in the namespace: create it, or correct the name.";
    ToolNotFound: Own, Both, Trouble, "The named BackupTool does not exist: create it, or correct the name in the policy.";
    RepoNotFound: Own, Both, Trouble, "The named BackupRepo does not exist: create it, or correct the name in the policy or label.";
    RepoNotReady: Own, Both, Trouble, "The BackupRepo is not Ready: see its conditions.";
    NoTargetPod: Own, Both, Trouble, "No pod matches the policy's selector: start the database, or correct the selector.";
    TargetPodNotReady: Own, Both, Trouble, "The pods that match the selector are not Ready yet: see why in the database's own pods.";
    BackupNotSupported: Original, Both, Trouble, "The policy has no section for this type of backup: add it, or use another type.";
    InvalidPolicy: Own, Both, Trouble, "The policy contradicts itself or cannot be understood: the message names the field.";
    InvalidSchedule: Own, Both, Trouble, "The cron expression cannot be understood or never comes due: correct it.";
    InvalidPathPrefix: Own, Both, Trouble, "The path prefix holds parts that could leave the repository or pass for an option: use letters, digits, '-', '_', '.' and '/', and begin no part with '-' or '.'.";
    InvalidSelector: Own, Both, Trouble, "The selector is empty or malformed: an empty one would match every pod of the namespace.";
    InvalidLogfileBackupName: Original, Both, Trouble, "Log backups are created by their schedule and bear its name: enable the logfile schedule.";
    BackupScheduleDisabled: Original, Both, Trouble, "The schedule for this type is off: enable it in the policy.";
    LogfileScheduleDisabled: Original, Both, Trouble, "The tool needs the log backup: enable the logfile schedule in the policy.";
    BackupPVCNameIsEmpty: Original, Both, Trouble, "Neither a repository nor a claim is named, and there is no default repository: name one.";
    MultipleDefaultRepos: Own, Both, Trouble, "Several repositories are marked as default: leave the mark on one.";
    WaitingForPVC: Own, Both, Trouble, "The repository's claim is being created in this namespace.";
    PVCNotFound: Own, Both, Trouble, "The claim that holds the backup does not exist: restore it, or correct the policy.";
    Unschedulable: Own, Both, Trouble, "No node takes the pod: the message holds the scheduler's reasons.";
    ImagePull: Own, Both, Trouble, "The image cannot be pulled: check its name and the pull Secrets.";
    MountFailed: Own, Both, Trouble, "A volume cannot be mounted: the message names it.";
    PodPending: Own, Both, Trouble, "The pod has not started yet; it does by itself once nothing is in its way.";
    ContainerConfig: Own, Both, Trouble, "The container cannot be created: a Secret, ConfigMap or key that it needs is missing.";
    JobSuspended: Own, Conditions, Trouble, "Somebody, perhaps a queueing controller, has suspended the Job: it goes on when spec.suspend of the Job is false again.";
    NodeCordoned: Own, Both, Trouble, "The database's node is cordoned, and nothing new is started there: the run goes on after kubectl uncordon.";
    NodeNotReady: Own, Both, Trouble, "The pod is on a node that is not Ready, and nobody can tell what becomes of it there: bring the node back; once it is certain that it is off, remove it or give it the taint node.kubernetes.io/out-of-service.";
    JobRunning: Own, Conditions, Progress, "The tool is at work.";
    BackupJobFailed: Original, Both, Trouble, "The backup's Job failed: see the message and the tool's log.";
    ToolFailed: Own, Both, Trouble, "The tool ended with an error: see the end of its log in the message.";
    ProcessesLeft: Own, Both, Trouble, "The tool ended while processes that it had started still ran, and they had to be ended: let it wait for them (`wait`, a pipe in place of `>(...)`), and stop daemons before it ends.";
    Interrupted: Own, Both, Trouble, "The pod was told to stop before its work was done, as by a drain, an eviction or a suspended Job: it is done again.";
    OutOfMemory: Own, Both, Trouble, "The tool needed more memory than its container may have: raise resources.limits.memory of the BackupTool.";
    InvalidTool: Own, Both, Trouble, "The BackupTool cannot be run as it is: the message names the field.";
    EmptyOutput = 83: Own, Both, Trouble, "The tool ended well but wrote nothing: correct its commands, or annotate the policy with holdfast.io/allow-empty=true.";
    LinksLeadOut: Own, Conditions, Trouble, "What these links point to is not part of the backup: let the tool copy it too, or the links be followed.";
    ResultTooLarge = 84: Own, Both, Trouble, "What the tool reports does not fit the result of 1 KiB: shorten userContext and checkpoint in backup.info.";
    BadConfiguration = 80: Own, Both, Trouble, "The agent was given settings that it cannot use: the message names them.";
    RepositoryFull: Own, Both, Trouble, "The repository's volume is full: enlarge it, or delete backups.";
    PathOccupied = 81: Own, Both, Trouble, "The directory in the repository belongs to another backup: use another name or prefix.";
    AlreadyDeleted = 82: Own, Both, Trouble, "This backup was deleted before: its name may be used again, its uid never.";
    RepositoryMismatch = 85: Own, Both, Trouble, "The volume is not the repository that it was: check what is mounted before anything is written.";
    NewerFormat = 86: Own, Both, Trouble, "The backup was written by a newer version of Holdfast: upgrade before using it.";
    SealInvalid = 87: Own, Both, Trouble, "The directory has no valid seal: it is not a backup that can be restored.";
    DigestMismatch = 88: Own, Both, Trouble, "The files are not those that were sealed: restore another backup.";
    RepositoryOnOtherNode: Own, Both, Trouble, "The repository's volume is on another node than the database: use a repository that every node reaches.";
    NameTaken: Own, Both, Trouble, "An object with this name exists and is not Holdfast's: rename or delete it.";
    SlotNameTaken: Own, Both, Trouble, "A Backup with the slot's name exists and was not made for it: rename it, or wait for the next slot.";
    FailedCreatedBackup: Original, Events, Trouble, "The slot's Backup could not be created: the message holds the API server's words.";
    SlotMissed: Own, Both, Trouble, "The slot could not be started within startingDeadlineMinutes.";
    SlotSkipped: Own, Both, Trouble, "The previous scheduled backup had not ended when the slot came.";
    DeadlineExceeded: Own, Both, Trouble, "It took longer than its deadline: the message says what was waited for.";
    Cancelled: Own, Both, Trouble, "The run was cancelled by spec.cancel.";
    Deleted: Own, Both, Trouble, "The object was deleted while it ran.";
    NotFound: Original, Both, Trouble, "A named object does not exist: the message names it.";
    AccessModeRefused: Own, Both, Trouble, "A volume with access mode ReadWriteOncePod cannot be read beside its database.";
    ManagedByOperator: Own, Both, Trouble, "Another controller sets the workload's replicas: pause it, or scale down through it, first.";
    WhenScaledDelete: Own, Both, Trouble, "Scaling the StatefulSet down would delete its claims: set persistentVolumeClaimRetentionPolicy.whenScaled to Retain.";
    TargetHasData = 89: Own, Both, Trouble, "The target volume holds data: set spec.replace to true to overwrite it.";
    TargetInUse: Own, Both, Trouble, "A pod that the restore does not stop mounts a target volume: end that pod, wait for the Backup at work, or correct targetVolumes.";
    TargetNotUsed: Own, Both, Trouble, "A target claim is not one that the workload uses: correct targetVolumes, or set spec.allowUnusedTargets to true.";
    TargetNotAllowed: Own, Both, Trouble, "A target volume is of a kind that this installation does not let restores write: name a claim.";
    ScaleRefused: Own, Both, Trouble, "The API server refuses to change the workload's replicas: the message holds its words.";
    TargetDirty: Own, Both, Trouble, "The target volume is half written: run another restore, of this Backup or an older one.";
    BackupNotCompleted: Own, Both, Trouble, "Only a Completed Backup can be restored.";
    WorkloadNotFound: Own, Both, Trouble, "No StatefulSet or Deployment matches the selector: correct it.";
    MultipleWorkloads: Own, Both, Trouble, "Several workloads match the selector: narrow it.";
    WorkloadHeld: Own, Both, Trouble, "Another restore holds the workload: wait for it, or delete it.";
    ScalingDown: Own, Both, Progress, "The workload is being stopped.";
    Verifying: Own, Both, Progress, "The backup's digests are being checked.";
    Restoring: Own, Conditions, Progress, "The volumes are being written.";
    ScalingUp: Own, Both, Progress, "The workload is being started again.";
    WorkloadNotReady: Own, Both, Trouble, "The workload was started again but is not Ready: see its pods.";
    Completed: Own, Both, Progress, "It ended well.";
    CreatedBackup: Original, Events, Progress, "The backup is sealed and can be restored.";
    Admitted: Own, Elsewhere, Progress, "The Backup was admitted and will start.";
    InProgress: Own, Conditions, Progress, "The run has started.";
    Expired: Own, Events, Progress, "The Backup's time was over.";
    HistoryLimitExceeded: Own, Events, Progress, "There are more scheduled backups than backupsHistoryLimit.";
    FailedLimitExceeded: Own, Events, Progress, "Of the scheduled Backups that failed, a policy keeps the newest few of each type.";
    Purging: Own, Conditions, Progress, "The backup's files are being removed.";
    PurgeFailed: Own, Conditions, Trouble, "The backup's files could not be removed: see the Job's message.";
    DeleteBackupFilesFailed: Original, Events, Trouble, "The Job that removes the backup's files failed: delete the Job to try again.";
    DataLeftBehind: Own, Both, Trouble, "The claim or repository is gone: the object was released, and its files stay where they are.";
    NamespaceTerminating: Own, Events, Progress, "The namespace is being deleted: the object was released, and its files follow their volume.";
    RestoreAtWork: Own, Both, Trouble, "A restore of this Backup is not over: its files are kept until then; wait, or delete the RestoreJob.";
    BlockedByChildren: Own, Both, Trouble, "Increments that are kept build on this Backup: delete them first.";
    Available: Own, Conditions, Progress, "The object can be used.";
    Checking: Own, Conditions, Progress, "The object is being checked.";
    Unsupported: Own, Both, Trouble, "This version of Holdfast does not serve this: the message says what.";
    InvalidObject: Own, Both, Trouble, "The object cannot be read as its kind: the message names the field.";

    // Of repositories and their providers.
    StorageProviderReady: Original, Conditions, Progress, "The provider can be used.";
    StorageProviderNotFound: Original, Both, Trouble, "The named StorageProvider does not exist: create it, or make the repository anew with another name.";
    StorageProviderNotReady: Original, Both, Trouble, "The StorageProvider is not Ready: install its CSI driver.";
    InvalidStorageProvider: Original, Both, Trouble, "The StorageProvider has neither a template for a StorageClass nor one for claims: add one.";
    ParametersChecked: Original, Conditions, Progress, "Configuration and credentials fit the provider.";
    CredentialSecretNotFound: Original, Both, Trouble, "The Secret in spec.credential does not exist: create it, or correct the name.";
    CredentialNamespaceNotAllowed: Own, Both, Trouble, "Secrets of that namespace may not be read: move the Secret, or add the namespace to the chart's credentialNamespaces.";
    InvalidParameters: Own, Both, Trouble, "A parameter is missing or not allowed: the message names it.";
    StorageClassCreated: Original, Conditions, Progress, "The Secret and the StorageClass are there.";
    BadSecretTemplate: Original, Both, Trouble, "The provider's Secret template cannot be rendered: the message says where.";
    BadStorageClassTemplate: Original, Both, Trouble, "The provider's StorageClass template cannot be rendered: the message says where.";
    StorageClassOutdated: Own, Both, Trouble, "The StorageClass differs from what the templates give today and cannot be changed: delete it, and it is made anew.";
    PVCTemplateChecked: Original, Conditions, Progress, "Claims can be made.";
    BadPVCTemplate: Original, Both, Trouble, "No claim can be made: the message says why.";
    ClaimsCreated: Own, Conditions, Progress, "Every Backup that waited has its claim.";
    ClaimNotCreated: Own, Both, Trouble, "A claim could not be made: the message says where and why.";
    HaveAssociatedBackups: Original, Both, Trouble, "Backups still refer to the repository: delete them first.";
    HaveResidualPVCs: Original, Both, Trouble, "Claims of the repository still exist, perhaps in use: end the pods that mount them.";
    HaveResidualVolumes: Own, Both, Trouble, "The CSI driver has yet to remove the volumes; their Secret is kept that long.";
    VolumesLeftBehind: Own, Events, Trouble, "The CSI driver did not remove the volumes in time: the repository is released without them.";
    SharesDiskWithData: Own, Conditions, Trouble, "Backups are directories of the node that the data is on: losing the node or its disk loses both.";
    CSIDriverObjectFound: Original, Conditions, Progress, "The CSI driver is installed, or none is needed.";
    CheckCSIDriverFailed: Original, Both, Trouble, "The CSI driver is not installed: install it, or correct the name.";
    CSIDriverSecretUpdated: Own, Events, Progress, "The CSI driver's Secret was rendered again, because a template or parameter changed.";
    Ready: Own, Both, Progress, "The repository can be used.";
    DeletingCR: Original, Both, Progress, "The object is being deleted.";
    DeletedCR: Original, Events, Progress, "The object is deleted.";
    UnknownError: Original, Both, Trouble, "The API server refused an object: the message holds its words.";
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
