//! One API server and one repo-manager for all tests: repositories have no namespace, and two managers would share them.

use std::{
    fmt::Debug,
    future::Future,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use clap::Parser as _;
use holdfast_api::{BackupRepo, BackupRepoPhase, StorageProvider, names::LABEL_REPO_UID};
use holdfast_repo_manager::Args;
use holdfast_runtime::Service;
use holdfast_testkit::{ApiServer, Nats, eventually, permissions, sample};
use k8s_openapi::{
    api::{
        core::v1::{PersistentVolumeClaim, Secret},
        events::v1::Event,
        storage::v1::{CSIDriver, StorageClass},
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, sync::OnceCell};

/// How long something may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static MANAGER: OnceCell<String> = OnceCell::const_new();
/// Namespace and name of a repository with a sealed Backup from before the repo-manager was there.
pub(crate) static EARLIER: OnceCell<(String, String)> = OnceCell::const_new();
/// The bus, on which everybody may do everything: what each may do is tested elsewhere.
static BUS: OnceCell<Nats> = OnceCell::const_new();
static NUMBERS: AtomicU32 = AtomicU32::new(0);

/// The cluster as one test sees it.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// Namespace of the repo-manager.
    pub(crate) own: String,
}

/// Runs a test on the runtime that the server and the manager live in.
pub(crate) fn test<Fut: Future<Output = ()>>(body: impl FnOnce(Cluster) -> Fut) {
    RUNTIME.block_on(async {
        let server = ApiServer::shared().await;
        let own = MANAGER.get_or_init(|| manager(server)).await.clone();
        body(Cluster {
            client: server.client().await.unwrap(),
            own,
        })
        .await;
    });
}

/// The address of the bus.
async fn bus() -> String {
    BUS.get_or_init(|| async { Nats::start_open().await.unwrap() })
        .await
        .url()
}

/// What a service other than the repo-manager can tell over the bus.
pub(crate) async fn other_service() -> Service {
    let url = bus().await;
    let args = ["test", "--http-addr", "127.0.0.1:0", "--log", "off", "--nats-url", &url];
    let args = Args::parse_from(args);
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let service = Service::start_with("scheduler", &args.common, config).unwrap();
    service.bus.declare(&service);
    service
}

async fn manager(server: &'static ApiServer) -> String {
    let own = server.namespace("manager").await.unwrap();
    let cluster = Cluster {
        client: server.client().await.unwrap(),
        own: own.clone(),
    };
    EARLIER.get_or_init(|| crate::identity::sealed_before(&cluster)).await;
    let url = bus().await;
    let args = [
        "test",
        "--nats-url",
        &url,
        "--namespace",
        &own,
        "--http-addr",
        "127.0.0.1:0",
        "--log-format",
        "text",
        "--pod-name",
        "one",
    ];
    let args = Args::parse_from(args);
    let config = permissions::as_service(server, "repo-manager", &own).await.unwrap();
    let service = Service::start_with("repo-manager", &args.common, config).unwrap();
    tokio::spawn(service.run(|service| holdfast_repo_manager::run(service, args)));
    own
}

/// A name that no other test has.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", NUMBERS.fetch_add(1, Ordering::Relaxed))
}

impl Cluster {
    pub(crate) fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    pub(crate) fn claims(&self, namespace: &str) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) async fn namespace(&self) -> String {
        ApiServer::shared().await.namespace("app").await.unwrap()
    }

    /// Creates a CSI driver of a name of its own and a provider for it with templates for a Secret and a StorageClass.
    pub(crate) async fn provider(&self) -> String {
        let driver = unique("test.csi");
        self.driver(&driver).await;
        let name = unique("provider");
        let mut provider = sample::provider(&name, &driver);
        provider.spec.csi_driver_secret_template =
            Some("value: {{ .Parameters.key }}\ncredential: {{ .Parameters.credential | quote }}\n".to_owned());
        provider.spec.storage_class_template = Some(format!(
            "provisioner: {driver}\nparameters:\n  value: {{{{ .Parameters.key | quote }}}}\n  \
             secret: {{{{ .CSIDriverSecretRef.Namespace }}}}/{{{{ .CSIDriverSecretRef.Name }}}}\n"
        ));
        create(&self.all(), &provider).await;
        name
    }

    pub(crate) async fn driver(&self, name: &str) {
        let driver: CSIDriver = sample::object(json!({ "metadata": { "name": name }, "spec": {} }));
        create(&self.all(), &driver).await;
    }

    /// Creates a repository with this provider and configuration `key: one`.
    pub(crate) async fn repo(&self, provider: &str) -> BackupRepo {
        let mut repo = sample::repo(&unique("repo"), provider);
        repo.spec.config = Some([("key".to_owned(), "one".to_owned())].into());
        create(&self.all(), &repo).await
    }

    /// Waits until the repository is in the phase, and answers it.
    pub(crate) async fn repo_in(&self, name: &str, phase: BackupRepoPhase) -> BackupRepo {
        let api: Api<BackupRepo> = self.all();
        let what = format!("repository {name} in phase {phase:?}");
        eventually(PATIENCE, &what, || async {
            let repo = api.get(name).await.unwrap();
            (repo.status.as_ref().and_then(|status| status.phase) == Some(phase)).then_some(repo)
        })
        .await
    }

    /// Waits until the repository has a condition of this type with this reason, and answers its message.
    pub(crate) async fn repo_says(&self, name: &str, kind: &str, reason: &str) -> String {
        let api: Api<BackupRepo> = self.all();
        eventually(PATIENCE, &format!("{kind} {reason} of {name}"), || async {
            let status = api.get(name).await.unwrap().status.unwrap_or_default();
            find(&status.conditions, kind, reason)
        })
        .await
    }

    /// Waits until the provider has a condition of this type with this reason, and answers the provider.
    pub(crate) async fn provider_says(&self, name: &str, kind: &str, reason: &str) -> StorageProvider {
        let api: Api<StorageProvider> = self.all();
        eventually(PATIENCE, &format!("{kind} {reason} of {name}"), || async {
            let provider = api.get(name).await.unwrap();
            let conditions = provider.status.clone().unwrap_or_default().conditions;
            find(&conditions, kind, reason).map(|_| provider)
        })
        .await
    }

    /// Waits for an Event about the repository with this reason.
    pub(crate) async fn event(&self, repo: &str, reason: &str) -> Event {
        let api: Api<Event> = Api::namespaced(self.client.clone(), "default");
        eventually(PATIENCE, &format!("event {reason} about {repo}"), || async {
            let events = api.list(&ListParams::default()).await.unwrap();
            let about = |event: &Event| {
                event.regarding.as_ref().and_then(|object| object.name.as_deref()) == Some(repo)
                    && event.reason.as_deref() == Some(reason)
            };
            events.into_iter().find(about)
        })
        .await
    }

    /// The `StorageClasses` that were made for the repository.
    pub(crate) async fn classes(&self, repo: &BackupRepo) -> Vec<StorageClass> {
        let ours = ListParams::default().labels(&format!("{LABEL_REPO_UID}={}", repo.uid().unwrap()));
        self.all().list(&ours).await.unwrap().items
    }
}

fn find(conditions: &[Condition], kind: &str, reason: &str) -> Option<String> {
    let found = conditions
        .iter()
        .find(|condition| condition.type_ == kind && condition.reason == reason);
    found.map(|condition| condition.message.clone())
}

pub(crate) async fn create<K>(api: &Api<K>, object: &K) -> K
where
    K: Clone + DeserializeOwned + Serialize + Debug,
{
    api.create(&PostParams::default(), object).await.unwrap()
}

pub(crate) async fn patch<K>(api: &Api<K>, name: &str, change: Value) -> K
where
    K: Clone + DeserializeOwned + Debug,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(&change))
        .await
        .unwrap()
}

pub(crate) async fn delete<K>(api: &Api<K>, name: &str)
where
    K: Clone + DeserializeOwned + Debug,
{
    api.delete(name, &DeleteParams::background()).await.unwrap();
}

/// Waits until the object is gone.
pub(crate) async fn gone<K>(api: &Api<K>, name: &str)
where
    K: Clone + DeserializeOwned + Debug,
{
    eventually(PATIENCE, &format!("{name} gone"), || async {
        api.get_opt(name).await.unwrap().is_none().then_some(())
    })
    .await;
}
