//! A namespace with a database, a repository and an executor that works for it.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use clap::Parser as _;
use holdfast_api::agent::AgentResult;
use holdfast_api::names::{
    ANNOTATION_ADMITTED, ANNOTATION_TARGET_POD_NAME, FINALIZER, LABEL_BACKUP_REPO_NAME, LABEL_BACKUP_UID,
};
use holdfast_api::{Backup, BackupPhase, BackupRepo, BackupTool};
use holdfast_executor::Args;
use holdfast_runtime::metrics::Registry;
use holdfast_runtime::{CancellationToken, Service, clock};
use holdfast_testkit::{ApiServer, eventually, play, sample};
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Longer than anything takes here, also on a busy machine.
pub(crate) const SOON: Duration = Duration::from_mins(1);
pub(crate) const CLAIM: &str = "pvc-r";
pub(crate) const POD: &str = "shop-0";
const NODE: &str = "node-a";

/// A running executor. It has a thread and a runtime of its own: tests come and go.
pub(crate) struct Executor {
    stop: CancellationToken,
    metrics: Registry,
}

impl Executor {
    pub(crate) fn start(server: &'static ApiServer, name: &str) -> Self {
        let arguments = [
            "holdfast-executor",
            "--agent-image=agent:test",
            "--http-addr=127.0.0.1:0",
            "--namespace=default",
            "--log=warn",
            "--log-format=text",
            "--pod-name",
            name,
        ];
        let args = Args::try_parse_from(arguments).expect("valid arguments");
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async move {
                let config = server.config().await.expect("a kubeconfig");
                let service = Service::start_with("executor", &args.common, config).expect("a service");
                send.send((service.shutdown.clone(), service.metrics.clone()))
                    .expect("a listener");
                holdfast_executor::run(service, args)
                    .await
                    .expect("an executor that runs");
            });
        });
        let (stop, metrics) = receive.recv().expect("an executor that starts");
        Self { stop, metrics }
    }

    /// How many requests it has made so far, by verb and resource; watches left out.
    pub(crate) fn requests(&self) -> BTreeMap<String, u64> {
        let families = self.metrics.gather();
        let family = families
            .iter()
            .find(|family| family.name() == "holdfast_executor_api_requests_total");
        let mut requests = BTreeMap::new();
        // Its type belongs to a crate that only the runtime names.
        #[allow(clippy::redundant_closure_for_method_calls)]
        let metrics = family.into_iter().flat_map(|family| family.get_metric());
        for metric in metrics {
            let label = |name: &str| {
                let labels = metric.get_label();
                labels
                    .iter()
                    .find(|label| label.name() == name)
                    .map(|label| label.value().to_owned())
            };
            let (verb, resource) = (label("verb").unwrap_or_default(), label("resource").unwrap_or_default());
            if verb != "watch" && verb != "list" {
                // Counts are whole numbers.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let count = metric.get_counter().get_value() as u64;
                *requests.entry(format!("{verb} {resource}")).or_default() += count;
            }
        }
        requests
    }

    /// Stops it where it stands: what is in flight is abandoned with its runtime.
    pub(crate) fn kill(&self) {
        self.stop.cancel();
    }
}

/// The server and the one executor that most tests share.
async fn shared() -> &'static ApiServer {
    static EXECUTOR: OnceLock<Executor> = OnceLock::new();
    let server = ApiServer::shared().await;
    EXECUTOR.get_or_init(|| Executor::start(server, "executor-shared"));
    server
}

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl World {
    /// A namespace on the shared server with everything that a Backup needs.
    pub(crate) async fn new(prefix: &str) -> Self {
        Self::on(shared().await, prefix).await
    }

    /// The same on a server of one's own.
    pub(crate) async fn on(server: &ApiServer, prefix: &str) -> Self {
        let client = server.client().await.expect("a client");
        let namespace = server.namespace(prefix).await.expect("a namespace");
        let world = Self { client, namespace };
        let (tool, repo) = (world.tool(), world.repo());
        world
            .create(&Api::all(world.client.clone()), &sample::tool(&tool))
            .await;
        let repos: Api<BackupRepo> = Api::all(world.client.clone());
        world.create(&repos, &sample::repo(&repo, "local")).await;
        let status = json!({"status": {"phase": "Ready", "backupPVCName": CLAIM}});
        repos
            .patch_status(&repo, &PatchParams::default(), &Patch::Merge(&status))
            .await
            .expect("a ready repo");
        world
            .create(&world.api(), &sample::policy(&world.namespace, "p", &tool, &repo))
            .await;
        world.create_claim().await;
        world.create_target(POD).await;
        world
    }

    /// A pod of the database, placed and running.
    pub(crate) async fn create_target(&self, name: &str) {
        let mut pod = sample::pod(&self.namespace, name, &format!("data-{name}"));
        pod.spec.as_mut().expect("a spec").node_name = Some(NODE.to_owned());
        let pod = self.create(&self.api(), &pod).await;
        self.set_pod_status(&pod, &json!({"phase": "Running"})).await;
    }

    pub(crate) fn tool(&self) -> String {
        format!("tool-{}", self.namespace)
    }

    fn repo(&self) -> String {
        format!("repo-{}", self.namespace)
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn create<K>(&self, api: &Api<K>, object: &K) -> K
    where
        K: Clone + Serialize + DeserializeOwned + std::fmt::Debug,
    {
        api.create(&PostParams::default(), object).await.expect("created")
    }

    pub(crate) async fn create_claim(&self) {
        let claim: PersistentVolumeClaim = sample::object(json!({
            "metadata": {"name": CLAIM, "namespace": self.namespace, "labels": {LABEL_BACKUP_REPO_NAME: self.repo()}},
            "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
        }));
        self.create(&self.api(), &claim).await;
    }

    /// A Backup as the scheduler has admitted it.
    pub(crate) async fn admit(&self, name: &str) -> Backup {
        let mut backup = sample::backup(&self.namespace, name, "p");
        let meta = &mut backup.metadata;
        meta.finalizers = Some(vec![FINALIZER.to_owned()]);
        meta.labels = Some([(LABEL_BACKUP_REPO_NAME.to_owned(), self.repo())].into());
        let admitted = (ANNOTATION_ADMITTED.to_owned(), clock::now().to_string());
        meta.annotations = Some([admitted, (ANNOTATION_TARGET_POD_NAME.to_owned(), POD.to_owned())].into());
        self.create(&self.api(), &backup).await
    }

    /// Waits until a Backup has this phase.
    pub(crate) async fn reaches(&self, name: &str, phase: BackupPhase) -> Backup {
        let api: Api<Backup> = self.api();
        let what = format!("backup {name} {}", phase.as_str());
        eventually(SOON, &what, || async {
            let backup = api.get(name).await.ok()?;
            (backup.status.as_ref()?.phase? == phase).then_some(backup)
        })
        .await
    }

    /// Waits until a condition of a Backup has this reason.
    pub(crate) async fn says(&self, name: &str, kind: &str, reason: &str) -> Backup {
        let api: Api<Backup> = self.api();
        eventually(SOON, &format!("backup {name}: {kind} {reason}"), || async {
            let backup = api.get(name).await.ok()?;
            let conditions = &backup.status.as_ref()?.conditions;
            let told = conditions
                .iter()
                .any(|one| one.type_ == kind && one.reason == reason && one.status == "True");
            told.then_some(backup)
        })
        .await
    }

    /// Waits for the Job of a Backup with this role.
    pub(crate) async fn job(&self, backup: &Backup, role: &str) -> Job {
        let api: Api<Job> = self.api();
        let uid = backup.uid().expect("a uid");
        let selector = ListParams::default().labels(&format!("{LABEL_BACKUP_UID}={uid},holdfast.io/role={role}"));
        eventually(SOON, &format!("a {role} job"), || async {
            api.list(&selector).await.ok()?.items.pop()
        })
        .await
    }

    pub(crate) async fn jobs(&self) -> usize {
        let api: Api<Job> = self.api();
        api.list(&ListParams::default()).await.expect("jobs").items.len()
    }

    /// Plays the Job controller: a pod by the Job's template.
    pub(crate) async fn pod_of(&self, job: &Job) -> Pod {
        self.create(&self.api(), &play::pod_of(job)).await
    }

    /// Plays kubelet.
    pub(crate) async fn set_pod_status(&self, pod: &Pod, status: &Value) {
        let api: Api<Pod> = self.api();
        let patch = json!({"status": status});
        api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .expect("a status");
    }

    /// Plays kubelet and agent: the main container ends with this result.
    pub(crate) async fn end_pod(&self, pod: &Pod, code: i32, result: &AgentResult) {
        let name = &pod.spec.as_ref().expect("a spec").containers[0].name;
        let message = result.encode().expect("a short result");
        self.set_pod_status(pod, &play::pod_ended(name, code, Some(&message)))
            .await;
    }

    /// Plays the Job controller: the Job has ended, `ago` before now.
    pub(crate) async fn end_job(&self, job: &Job, complete: bool, ago: SignedDuration) {
        let api: Api<Job> = self.api();
        let time = (clock::now() - ago).to_string();
        let status = play::job_ended(complete, usize::from(!complete), &time);
        let patch = json!({"status": status});
        api.patch_status(&job.name_any(), &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .expect("a status");
    }

    /// Plays everything that makes a Backup's bytes: a pod that seals, and a Job that is complete.
    pub(crate) async fn seal(&self, job: &Job, result: &AgentResult) {
        let pod = self.pod_of(job).await;
        self.end_pod(&pod, 0, result).await;
        self.end_job(job, true, SignedDuration::ZERO).await;
    }

    pub(crate) async fn delete<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = self.api();
        let at_once = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        api.delete(name, &at_once).await.expect("deleted");
    }

    /// The reasons of the warnings about a Backup.
    pub(crate) async fn warnings(&self, backup: &Backup) -> Vec<String> {
        let api: Api<Event> = self.api();
        let uid = backup.uid();
        let events = api.list(&ListParams::default()).await.expect("events").items;
        let about = events.into_iter().filter(|event| {
            event.type_.as_deref() == Some("Warning") && event.regarding.as_ref().and_then(|on| on.uid.clone()) == uid
        });
        about.filter_map(|event| event.reason).collect()
    }

    pub(crate) async fn drop_tool(&self) {
        let api: Api<BackupTool> = Api::all(self.client.clone());
        api.delete(&self.tool(), &DeleteParams::default())
            .await
            .expect("deleted");
    }
}

/// What the agent tells of a sealed backup.
pub(crate) fn sealed() -> AgentResult {
    AgentResult {
        bytes: Some(24 * 1024),
        files: Some(3),
        digest: Some(format!("sha256:{}", "ab".repeat(32))),
        repository: Some("repository-1".to_owned()),
        ..AgentResult::new(holdfast_api::agent::Outcome::Sealed)
    }
}
