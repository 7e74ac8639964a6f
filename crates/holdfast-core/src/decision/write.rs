//! What can be written: one thing, guarded by what its decision rested on.

use holdfast_api::Backup;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Secret},
    storage::v1::StorageClass,
};
use kube::Resource;
use serde_json::Value;

/// One guarded write. `S` is the status of the object that the decision is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Write<S> {
    /// Merge this into the object's metadata, if it is still the one that was observed.
    Metadata(Value),
    /// Replace the object's status, if it is still the one that was observed.
    Status(Box<S>),
    /// Create another object; one of its name is never touched.
    Create(Child),
    /// Merge this change (RFC 7386) into another object, if it is still the target.
    Patch(Target, Value),
    /// Delete another object, if it is still the target.
    Delete(Target),
}

/// An object to create.
#[derive(Clone, Debug, PartialEq)]
pub enum Child {
    /// A Backup, for a slot.
    Backup(Box<Backup>),
    /// A Job.
    Job(Box<Job>),
    /// A claim.
    Claim(Box<PersistentVolumeClaim>),
    /// A Secret.
    Secret(Box<Secret>),
    /// A StorageClass.
    StorageClass(Box<StorageClass>),
}

/// The kinds that are written beside the object that a decision is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `dataprotection.kubeblocks.io/v1alpha1`.
    Backup,
    /// `batch/v1`.
    Job,
    /// `v1` PersistentVolumeClaim.
    Claim,
    /// `v1`.
    Pod,
    /// `v1`.
    Secret,
    /// `storage.k8s.io/v1`.
    StorageClass,
    /// `apps/v1`.
    StatefulSet,
    /// `apps/v1`.
    Deployment,
}

/// Another object: this very one, and nothing else of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What it is.
    pub kind: Kind,
    /// Its namespace; empty for kinds without one.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion, where the decision rests on its state. A patch is refused without one.
    pub resource_version: Option<String>,
}

impl Target {
    /// An object whose state a decision rests on.
    pub fn exactly<K: Resource>(kind: Kind, object: &K) -> Self {
        Self {
            resource_version: object.meta().resource_version.clone(),
            ..Self::any_state(kind, object)
        }
    }

    /// An object in whatever state it is by then.
    pub fn any_state<K: Resource>(kind: Kind, object: &K) -> Self {
        let meta = object.meta();
        Self {
            kind,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: None,
        }
    }
}

/// What is about to be done, told apart as far as taking turns needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// A read from the API server.
    Read,
    /// A merge into the object's metadata.
    Metadata,
    /// A write of its status.
    Status,
    /// Another object is created.
    Create,
    /// Another object is changed.
    Patch,
    /// Another object is deleted.
    Delete,
}

impl<S> Write<S> {
    /// What kind of act it is.
    pub const fn intent(&self) -> Intent {
        match self {
            Self::Metadata(_) => Intent::Metadata,
            Self::Status(_) => Intent::Status,
            Self::Create(_) => Intent::Create,
            Self::Patch(..) => Intent::Patch,
            Self::Delete(_) => Intent::Delete,
        }
    }

    /// The Job that it creates, if it creates one.
    pub fn created_job(&self) -> Option<&Job> {
        match self {
            Self::Create(Child::Job(job)) => Some(job),
            _ => None,
        }
    }
}

impl From<Job> for Child {
    fn from(job: Job) -> Self {
        Self::Job(Box::new(job))
    }
}

impl From<Backup> for Child {
    fn from(backup: Backup) -> Self {
        Self::Backup(Box::new(backup))
    }
}

impl From<PersistentVolumeClaim> for Child {
    fn from(claim: PersistentVolumeClaim) -> Self {
        Self::Claim(Box::new(claim))
    }
}

impl From<Secret> for Child {
    fn from(secret: Secret) -> Self {
        Self::Secret(Box::new(secret))
    }
}

impl From<StorageClass> for Child {
    fn from(class: StorageClass) -> Self {
        Self::StorageClass(Box::new(class))
    }
}
