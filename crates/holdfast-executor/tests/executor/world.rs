//! A namespace with a database, a repository and an executor that works for it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::OnceLock;

use clap::Parser as _;
use holdfast_api::agent::AgentResult;
use holdfast_api::names::{
    ANNOTATION_ADMITTED, ANNOTATION_TARGET_POD_NAME, FINALIZER, LABEL_BACKUP_POLICY, LABEL_BACKUP_REPO_NAME,
    LABEL_BACKUP_TYPE, LABEL_BACKUP_UID, LABEL_MANAGED_BY, MANAGED_BY_KUBEBLOCKS,
};
use holdfast_api::{Backup, BackupPhase, BackupRepo, BackupTool};
use holdfast_executor::Args;
use holdfast_runtime::metrics::Registry;
use holdfast_runtime::{CancellationToken, Service, clock};
pub(crate) use holdfast_testkit::stage::SOON;
use holdfast_testkit::stage::{Stage, aside};
use holdfast_testkit::{ApiServer, play, sample};
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::DeleteParams;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;

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
        let ((stop, metrics), _) = aside(move |started| async move {
            let config = server.config().await.expect("a kubeconfig");
            let service = Service::start_with("executor", &args.common, config).expect("a service");
            let handles = (service.shutdown.clone(), service.metrics.clone());
            started.send(handles).expect("a listener");
            let ran = holdfast_executor::run(service, args).await;
            ran.expect("an executor that runs");
        });
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
    stage: Stage,
}

impl Deref for World {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

impl World {
    /// A namespace on the shared server with everything that a Backup needs.
    pub(crate) async fn new(prefix: &str) -> Self {
        Self::on(shared().await, prefix).await
    }

    /// The same on a server of one's own.
    pub(crate) async fn on(server: &ApiServer, prefix: &str) -> Self {
        let world = Self {
            stage: Stage::on(server, prefix).await,
        };
        let (tool, repo) = (world.tool(), world.repo());
        world.create(&world.all(), &sample::tool(&tool)).await;
        let repos: Api<BackupRepo> = world.all();
        world.create(&repos, &sample::repo(&repo, "local")).await;
        let ready = json!({"phase": "Ready", "backupPVCName": CLAIM});
        world.patch_status(&repos, &repo, ready).await;
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

    pub(crate) async fn create_claim(&self) {
        let claim: PersistentVolumeClaim = sample::object(json!({
            "metadata": {"name": CLAIM, "namespace": self.namespace, "labels": {LABEL_BACKUP_REPO_NAME: self.repo()}},
            "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
        }));
        self.create(&self.api(), &claim).await;
    }

    /// A Backup as the scheduler has admitted it.
    pub(crate) async fn admit(&self, name: &str) -> Backup {
        let label = (LABEL_BACKUP_REPO_NAME.to_owned(), self.repo());
        self.admit_by("p", name, [label].into()).await
    }

    /// A Backup by a policy that names a claim and no repository.
    pub(crate) async fn admit_bare(&self, name: &str) -> Backup {
        let mut policy = sample::policy(&self.namespace, "bare", &self.tool(), "");
        let section = policy.spec.datafile.as_mut().expect("a section");
        section.backup_repo_name = None;
        section.persistent_volume_claim = Some(sample::object(json!({"name": CLAIM})));
        self.create(&self.api(), &policy).await;
        self.admit_by("bare", name, BTreeMap::new()).await
    }

    async fn admit_by(&self, policy: &str, name: &str, labels: BTreeMap<String, String>) -> Backup {
        let mut backup = sample::backup(&self.namespace, name, policy);
        let meta = &mut backup.metadata;
        meta.finalizers = Some(vec![FINALIZER.to_owned()]);
        let admission = [
            (LABEL_BACKUP_POLICY, policy),
            (LABEL_BACKUP_TYPE, "datafile"),
            (LABEL_MANAGED_BY, MANAGED_BY_KUBEBLOCKS),
        ];
        let admission = admission.map(|(key, value)| (key.to_owned(), value.to_owned()));
        meta.labels = Some(labels.into_iter().chain(admission).collect());
        let admitted = (ANNOTATION_ADMITTED.to_owned(), clock::now().to_string());
        meta.annotations = Some([admitted, (ANNOTATION_TARGET_POD_NAME.to_owned(), POD.to_owned())].into());
        self.create(&self.api(), &backup).await
    }

    /// Waits until a Backup has this phase.
    pub(crate) async fn reaches(&self, name: &str, phase: BackupPhase) -> Backup {
        let reached = |backup: &Backup| backup.status.as_ref().and_then(|status| status.phase) == Some(phase);
        self.that(name, phase.as_str(), reached).await
    }

    /// Waits until a condition of a Backup has this reason.
    pub(crate) async fn says(&self, name: &str, kind: &str, reason: &str) -> Backup {
        self.that(name, &format!("{kind} {reason}"), |backup: &Backup| {
            let mut conditions = backup.status.iter().flat_map(|status| &status.conditions);
            conditions.any(|one| one.type_ == kind && one.reason == reason && one.status == "True")
        })
        .await
    }

    /// Waits for the Job of a Backup with this role.
    pub(crate) async fn job(&self, backup: &Backup, role: &str) -> Job {
        let uid = backup.uid().expect("a uid");
        self.job_with(&format!("{LABEL_BACKUP_UID}={uid},holdfast.io/role={role}"))
            .await
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
        let time = (clock::now() - ago).to_string();
        self.set_job_ended(job, complete, usize::from(!complete), &time).await;
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
        self.remove(&self.api::<K>(), name).await;
    }

    /// The reasons of the warnings about a Backup.
    pub(crate) async fn warnings(&self, backup: &Backup) -> Vec<String> {
        let told = self.told(backup.uid().as_deref()).await.into_iter();
        told.filter(|[kind, ..]| kind == "Warning")
            .map(|[_, reason, _]| reason)
            .collect()
    }

    pub(crate) async fn drop_tool(&self) {
        let api: Api<BackupTool> = self.all();
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
