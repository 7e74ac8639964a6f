//! What the repo-manager watches, and whom a change concerns.

use std::sync::Arc;

use holdfast_api::{
    Backup, BackupRepo, StorageProvider,
    names::{LABEL_BACKUP_REPO_NAME, LABEL_NEED_REPO_PVC, LABEL_REPO_UID},
};
use holdfast_core::repo;
use holdfast_runtime::{
    Queue, Service,
    watch::{Cached, Key, cached},
};
use k8s_openapi::api::{
    core::v1::{PersistentVolumeClaim, Secret},
    storage::v1::{CSIDriver, StorageClass},
};
use kube::{Api, Resource, ResourceExt as _, runtime::watcher::Config};

/// Copies of what is watched.
pub(crate) struct Caches {
    pub(crate) providers: Cached<StorageProvider>,
    pub(crate) drivers: Cached<CSIDriver>,
    pub(crate) repos: Cached<BackupRepo>,
    /// Backups that wait for a claim, and no others.
    pub(crate) waiting: Cached<Backup>,
    /// Claims of repositories.
    pub(crate) claims: Cached<PersistentVolumeClaim>,
    /// `StorageClasses` of repositories.
    pub(crate) classes: Cached<StorageClass>,
    /// Secrets by namespace, the service's own first: those that were made for CSI drivers, and credentials.
    pub(crate) secrets: Vec<(String, Cached<Secret>)>,
}

impl Caches {
    /// Begins to watch.
    pub(crate) fn watch(service: &Service, secret_namespaces: &[String]) -> Self {
        let client = || service.client.clone();
        let all = Config::default;
        let ours = || Config::default().labels(LABEL_REPO_UID);
        let waiting = Config::default().labels(&format!("{LABEL_NEED_REPO_PVC}=true"));
        let secrets = |namespace: &String| {
            // Releases of Helm are Secrets too, many and large.
            let config = Config::default().fields("type!=helm.sh/release.v1");
            let watch = format!("secrets in {namespace}");
            (
                namespace.clone(),
                cached(service, &watch, Api::namespaced(client(), namespace), config),
            )
        };
        Self {
            providers: cached(service, "providers", Api::all(client()), all()),
            drivers: cached(service, "drivers", Api::all(client()), all()),
            repos: cached(service, "repos", Api::all(client()), all()),
            waiting: cached(service, "waiting backups", Api::all(client()), waiting),
            claims: cached(service, "claims", Api::all(client()), ours()),
            classes: cached(service, "storage classes", Api::all(client()), ours()),
            secrets: secret_namespaces.iter().map(secrets).collect(),
        }
    }

    /// Waits until everything was listed once. Secrets of other namespaces are not waited for: one namespace whose
    /// Secrets may not be read after all must not stop the rest.
    pub(crate) async fn synced(&self) {
        self.providers.synced().await;
        self.drivers.synced().await;
        self.repos.synced().await;
        self.waiting.synced().await;
        self.claims.synced().await;
        self.classes.synced().await;
        for (_, secrets) in self.secrets.iter().take(1) {
            secrets.synced().await;
        }
    }

    /// The watched Secrets of a namespace; `None` where they may not be read.
    pub(crate) fn secrets(&self, namespace: &str) -> Option<&Cached<Secret>> {
        self.secrets
            .iter()
            .find(|(known, _)| known == namespace)
            .map(|(_, secrets)| secrets)
    }

    /// Lets every change wake what it concerns.
    pub(crate) fn forward(&self, service: &Service, providers: &Queue, repos: &Queue) {
        self.providers
            .forward(service, providers, |change| vec![Key::of(&**change.object())]);
        let known = self.providers.clone();
        self.drivers.forward(service, providers, move |change| {
            let driver = change.object().name_any();
            let uses = |provider: &Arc<StorageProvider>| provider.spec.csi_driver_name.as_ref() == Some(&driver);
            known
                .all()
                .iter()
                .filter(|provider| uses(provider))
                .map(|provider| Key::of(&**provider))
                .collect()
        });
        self.repos
            .forward(service, repos, |change| vec![Key::of(&**change.object())]);
        let known = self.repos.clone();
        self.providers.forward(service, repos, move |change| {
            let provider = change.object().name_any();
            keys(&known, |repo| repo.spec.storage_provider_ref == provider)
        });
        let known = self.repos.clone();
        self.waiting.forward(service, repos, move |change| {
            let label = change.object().labels().get(LABEL_BACKUP_REPO_NAME).cloned();
            keys(&known, |candidate| Some(repo::label_value(candidate)) == label)
        });
        let known = self.repos.clone();
        self.claims
            .forward(service, repos, move |change| owners(&known, &**change.object()));
        let known = self.repos.clone();
        self.classes
            .forward(service, repos, move |change| owners(&known, &**change.object()));
        let own = service.namespace.clone();
        for (_, secrets) in &self.secrets {
            let (known, own) = (self.repos.clone(), own.clone());
            secrets.forward(service, repos, move |change| {
                let secret = change.object();
                let mut concerned = owners(&known, &**secret);
                concerned.extend(keys(&known, |repo| names_credential(repo, secret, &own)));
                concerned
            });
        }
    }
}

fn keys(repos: &Cached<BackupRepo>, concerned: impl Fn(&BackupRepo) -> bool) -> Vec<Key> {
    repos
        .all()
        .iter()
        .filter(|repo| concerned(repo))
        .map(|repo| Key::of(&**repo))
        .collect()
}

/// The repository that an object was made for.
fn owners<K: Resource>(repos: &Cached<BackupRepo>, object: &K) -> Vec<Key> {
    keys(repos, |repo| repo::is_ours(object.meta(), repo))
}

fn names_credential(repo: &BackupRepo, secret: &Secret, own: &str) -> bool {
    let Some((namespace, name)) = crate::observe::credential_name(repo, own) else {
        return false;
    };
    secret.metadata.namespace.as_deref() == Some(namespace.as_str()) && secret.metadata.name.as_ref() == Some(&name)
}
