//! What controllers, kubelet and the agent would do.

use holdfast_api::{agent::AgentResult, condition::Reason, names::LABEL_INSTANCE};
use holdfast_core::restore::Kind;
use holdfast_runtime::clock;
use holdfast_testkit::{play, sample};
use k8s_openapi::{
    api::{apps::v1::ReplicaSet, batch::v1::Job, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::{Value, json};

use crate::world::{SHOP, World};

/// The container of a restore's Jobs.
const CONTAINER: &str = "restore";

impl World {
    /// The database's pods.
    async fn pods(&self) -> Vec<Pod> {
        let ours = ListParams::default().labels(&format!("{LABEL_INSTANCE}={}", sample::INSTANCE));
        self.api().list(&ours).await.expect("pods").items
    }

    /// Plays the workload's controller and kubelet: as many pods as asked for, and all of them Ready.
    pub(crate) async fn play_workload(&self) {
        let replicas = self.scaled().await.replicas;
        let pods: Api<Pod> = self.api();
        for pod in self.pods().await {
            self.remove(&pods, &pod.name_any()).await;
        }
        for number in 0..replicas {
            self.start_pod(number).await;
        }
        self.observe_workload(replicas).await;
    }

    /// Plays the workload's controller and kubelet: the pod of this number runs.
    pub(crate) async fn start_pod(&self, number: i32) {
        let owner = self.controller().await;
        self.run_pod(
            &format!("{SHOP}-{number}"),
            &format!("data-{SHOP}-{number}"),
            Some(owner),
        )
        .await;
    }

    /// A pod that runs with this claim, and belongs to whom it says.
    pub(crate) async fn run_pod(&self, name: &str, claim: &str, owner: Option<OwnerReference>) {
        let pods: Api<Pod> = self.api();
        let mut pod = sample::pod(&self.namespace, name, claim);
        pod.metadata.owner_references = owner.map(|owner| vec![owner]);
        self.create(&pods, &pod).await;
        self.patch_status(&pods, name, json!({"phase": "Running"})).await;
    }

    /// What owns the workload's pods: a `StatefulSet` itself, a Deployment by way of a `ReplicaSet`.
    async fn controller(&self) -> OwnerReference {
        let workload = self.workloads().get(SHOP).await.expect("a workload");
        let kind = self.kind.as_str();
        let owner = owner(kind, &workload);
        if self.kind == Kind::StatefulSet {
            return owner;
        }
        let sets: Api<ReplicaSet> = self.api();
        if let Some(set) = sets.get_opt(SHOP).await.expect("an answer") {
            return self::owner("ReplicaSet", &set);
        }
        let set = sample::object(json!({
            "metadata": {"namespace": self.namespace, "name": SHOP, "ownerReferences": [owner],
                "labels": {LABEL_INSTANCE: sample::INSTANCE}},
            "spec": {"replicas": 0, "selector": workload.data["spec"]["selector"], "template": workload.data["spec"]["template"]},
        }));
        self::owner("ReplicaSet", &self.create(&sets, &set).await)
    }

    /// Plays the workload's controller alone: it has seen what is asked for, and this many are Ready.
    pub(crate) async fn observe_workload(&self, ready: i32) {
        let generation = self
            .workloads()
            .get(SHOP)
            .await
            .expect("a workload")
            .metadata
            .generation;
        let status = json!({"observedGeneration": generation, "replicas": ready, "readyReplicas": ready});
        self.patch_status(&self.workloads(), SHOP, status).await;
    }

    /// Plays the Job controller: a pod by the Job's template, with this status.
    pub(crate) async fn pod_of(&self, job: &Job, status: Value) -> Pod {
        let pod = self.create(&self.api(), &play::pod_of(job)).await;
        self.patch_status(&self.api(), &pod.name_any(), status).await
    }

    /// Plays Job controller, kubelet and agent: every attempt failed and left this word.
    pub(crate) async fn fail(&self, job: &Job, attempts: &[AgentResult]) {
        for result in attempts {
            self.pod_of(job, said(result)).await;
        }
        self.end(job, "Failed", attempts.len()).await;
    }

    /// Plays Job controller, kubelet and agent: one attempt failed and left this word.
    pub(crate) async fn failed_pod(&self, job: &Job, result: &AgentResult) {
        let pod = self.pod_of(job, json!({"phase": "Running"})).await;
        self.end_pod(&pod, result).await;
    }

    /// Plays Job controller and kubelet: a pod whose container has started.
    pub(crate) async fn tool_at_work(&self, job: &Job) -> Pod {
        let runs = json!({"phase": "Running", "containerStatuses": [container(&json!({"running": {}}))]});
        self.pod_of(job, runs).await
    }

    /// Plays kubelet: a container was killed, without a word.
    pub(crate) async fn kill(&self, pod: &Pod) {
        let killed = play::pod_ended(CONTAINER, 137, None);
        self.patch_status(&self.api::<Pod>(), &pod.name_any(), killed).await;
    }

    /// Plays kubelet and agent: a pod ended badly and left this word.
    pub(crate) async fn end_pod(&self, pod: &Pod, result: &AgentResult) {
        self.patch_status(&self.api::<Pod>(), &pod.name_any(), said(result))
            .await;
    }

    /// Plays Job controller and kubelet: the first attempt did it.
    pub(crate) async fn succeed(&self, job: &Job) {
        self.pod_of(job, play::pod_ended(CONTAINER, 0, None)).await;
        self.end(job, "Complete", 0).await;
    }

    /// Plays the Job controller: the Job has ended after this many failed pods.
    pub(crate) async fn end(&self, job: &Job, kind: &str, failed: usize) {
        self.set_job_ended(job, kind == "Complete", failed, &clock::now().to_string())
            .await;
    }
}

/// The status of the container of a pod of a restore.
pub(crate) fn container(state: &Value) -> Value {
    json!({"name": "restore", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state})
}

fn owner(kind: &str, object: &impl ResourceExt) -> OwnerReference {
    OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: kind.to_owned(),
        name: object.name_any(),
        uid: object.uid().expect("a uid"),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// The agent's word that it failed, and whether it left the volume half written.
pub(crate) fn failure(reason: Reason, dirty: bool) -> AgentResult {
    AgentResult {
        dirty,
        ..AgentResult::failed(reason, "said the agent")
    }
}

/// The status of a pod that ended badly and left this word.
fn said(result: &AgentResult) -> Value {
    let message = result.encode().expect("a short result");
    play::pod_ended(CONTAINER, 1, Some(&message))
}
