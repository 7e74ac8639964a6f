//! The API that Holdfast serves: its six kinds, their names and conditions, its messages and metrics, and the agent's answers.
//!
//! Groups `dataprotection.kubeblocks.io` and `storage.kubeblocks.io`, version `v1alpha1`. Fields marked as
//! Holdfast's own are additions: a manifest without them behaves as the API always promised.

#![allow(clippy::duplicated_attributes)] // kube takes one `derive` for each trait.

pub mod agent;
pub mod assignment;
mod backup;
mod backup_policy;
mod backup_repo;
mod backup_tool;
mod common;
pub mod condition;
pub mod crds;
pub mod event;
mod location;
pub mod metric;
pub mod names;
mod newer;
mod phase;
mod plan;
mod reason;
mod restore_job;
mod schema;
mod service;
mod stop;
mod storage_provider;
pub mod suspend_lock;
pub mod text;
mod writing;

pub use backup::{
    Backup, BackupLogStatus, BackupPhase, BackupSnapshotStatus, BackupSpec, BackupStatus, BackupToolManifestsStatus,
    BackupType, Deletion, ManifestsStatus,
};
pub use backup_policy::{
    BackupPolicy, BackupPolicyHook, BackupPolicyPhase, BackupPolicySpec, BackupPolicyStatus, BackupStatusUpdate,
    BackupStatusUpdateStage, BasePolicy, CommonBackupPolicy, CreatePvcPolicy, MissedSlot, PersistentVolumeClaim,
    PersistentVolumeConfigMap, RetentionSpec, Schedule, SchedulePolicy, ScheduleStatus, SnapshotPolicy,
};
pub use backup_repo::{
    BackupRepo, BackupRepoPhase, BackupRepoSpec, BackupRepoStatus, PvReclaimPolicy, RepoDeletion, RepoNamespace,
    RepoTrouble,
};
pub use backup_tool::{
    BackupTool, BackupToolPhase, BackupToolSpec, BackupToolStatus, DeployKind, LogicalConfig, PhysicalConfig,
    PodRestoreScope,
};
pub use common::{BackupPolicySecret, SecretReference, TargetCluster};
pub use location::{Access, Location, MountAccess, RepositoryReference};
pub use newer::{NewerFormat, Unknown};
pub use phase::ObjectMetaExt;
pub use plan::{
    BackupPlan, BackupReference, HeldWorkload, JobWork, PlannedTool, RestorePlan, RestoreStep, RestoreWork, Source,
    Waiting, Work,
};
pub use restore_job::{RestoreJob, RestoreJobPhase, RestoreJobSpec, RestoreJobStatus};
pub use service::Service;
pub use stop::Stop;
pub use storage_provider::{
    ParametersSchema, StorageProvider, StorageProviderPhase, StorageProviderSpec, StorageProviderStatus,
};
pub use writing::Writing;
