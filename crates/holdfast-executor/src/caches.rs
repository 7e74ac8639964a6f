//! What the executor watches, and which Backups a change concerns.

use std::sync::Arc;

use holdfast_api::names::{
    ANNOTATION_FULL_NAME, LABEL_BACKUP_REPO_NAME, LABEL_BACKUP_UID, LABEL_ROLE, ROLE_BACKUP, ROLE_REPORT,
};
use holdfast_api::{Backup, BackupPhase, BackupPolicy, BackupRepo, BackupTool};
use holdfast_runtime::Service;
use holdfast_runtime::queue::Queue;
use holdfast_runtime::watch::{Cached, Change, Key, cached};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Config;
use kube::{Api, ResourceExt};

use crate::metrics::Metrics;

/// Active Backups, and what they depend on or bring forth.
pub(crate) struct Caches {
    pub(crate) backups: Cached<Backup>,
    pub(crate) policies: Cached<BackupPolicy>,
    pub(crate) tools: Cached<BackupTool>,
    pub(crate) repos: Cached<BackupRepo>,
    pub(crate) claims: Cached<PersistentVolumeClaim>,
    pub(crate) jobs: Cached<Job>,
    pub(crate) pods: Cached<Pod>,
    pub(crate) endpoints: Cached<EndpointSlice>,
}

impl Caches {
    /// Starts all watches. Of Backups only those that are not over: ten thousand finished ones cost nothing.
    pub(crate) fn watch(service: &Service, executor_service: &str) -> Self {
        let client = &service.client;
        let active = Config::default().fields("status.phase!=Completed,status.phase!=Failed");
        let ours = Config::default().labels(&format!("{LABEL_ROLE} in ({ROLE_BACKUP},{ROLE_REPORT})"));
        let peers = Config::default().labels(&format!("kubernetes.io/service-name={executor_service}"));
        let slices = Api::namespaced(client.clone(), &service.namespace);
        Self {
            backups: cached(service, "backups", Api::all(client.clone()), active),
            policies: cached(service, "policies", Api::all(client.clone()), Config::default()),
            tools: cached(service, "tools", Api::all(client.clone()), Config::default()),
            repos: cached(service, "repos", Api::all(client.clone()), Config::default()),
            claims: cached(
                service,
                "claims",
                Api::all(client.clone()),
                Config::default().labels(LABEL_BACKUP_REPO_NAME),
            ),
            jobs: cached(service, "jobs", Api::all(client.clone()), ours.clone()),
            pods: cached(service, "pods", Api::all(client.clone()), ours),
            endpoints: cached(service, "endpoints", slices, peers),
        }
    }

    /// Lets every change wake the Backups that it concerns.
    pub(crate) fn forward(&self, service: &Service, queue: &Queue, metrics: &Metrics) {
        self.backups
            .forward(service, queue, |change| vec![Key::of(&**change.object())]);
        self.jobs
            .forward(service, queue, |change| owner(&**change.object()).into_iter().collect());
        self.pods
            .forward(service, queue, |change| owner(&**change.object()).into_iter().collect());
        let waiting = Waiting {
            backups: self.backups.clone(),
        };
        let waits = waiting.clone();
        self.claims.forward(service, queue, move |change| {
            waits.of(change.object().namespace().as_deref())
        });
        let (waits, metrics) = (waiting.clone(), metrics.clone());
        self.policies.forward(service, queue, move |change| {
            if let Change::Left(policy) = change {
                metrics.forget(policy);
            }
            waits.of(change.object().namespace().as_deref())
        });
        let waits = waiting.clone();
        self.tools.forward(service, queue, move |_| waits.of(None));
        self.repos.forward(service, queue, move |_| waiting.of(None));
    }

    /// Waits until every cache has been filled once.
    pub(crate) async fn synced(&self) {
        let Self {
            backups,
            policies,
            tools,
            repos,
            claims,
            jobs,
            pods,
            endpoints,
        } = self;
        tokio::join!(
            backups.synced(),
            policies.synced(),
            tools.synced(),
            repos.synced(),
            claims.synced(),
            jobs.synced(),
            pods.synced(),
            endpoints.synced()
        );
    }

    /// The Jobs that belong to Backups of that name, whatever their uid.
    pub(crate) fn jobs_of(&self, key: &Key) -> Vec<Arc<Job>> {
        self.jobs
            .all()
            .into_iter()
            .filter(|job| owner(&**job).as_ref() == Some(key))
            .collect()
    }

    /// The pods of one role of a Backup.
    pub(crate) fn pods_of(&self, uid: &str, role: &str) -> Vec<Arc<Pod>> {
        let wanted = |pod: &Arc<Pod>| {
            let labels = pod.labels();
            labels.get(LABEL_BACKUP_UID).is_some_and(|label| label == uid)
                && labels.get(LABEL_ROLE).is_some_and(|label| label == role)
        };
        self.pods.all().into_iter().filter(wanted).collect()
    }
}

/// The Backups that have not started: only these depend on what is not theirs.
#[derive(Clone)]
struct Waiting {
    backups: Cached<Backup>,
}

impl Waiting {
    fn of(&self, namespace: Option<&str>) -> Vec<Key> {
        let waits = |backup: &Arc<Backup>| {
            backup.phase() == BackupPhase::New
                && namespace.is_none_or(|namespace| backup.metadata.namespace.as_deref() == Some(namespace))
        };
        self.backups
            .all()
            .iter()
            .filter(|backup| waits(backup))
            .map(|backup| Key::of(&**backup))
            .collect()
    }
}

/// The Backup that a Job or pod of ours works for.
fn owner(child: &impl ResourceExt) -> Option<Key> {
    let name = child.annotations().get(ANNOTATION_FULL_NAME)?.clone();
    Some(Key::new(child.namespace()?, name))
}
