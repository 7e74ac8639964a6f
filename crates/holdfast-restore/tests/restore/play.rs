//! What controllers, kubelet and the agent would do.

use holdfast_api::{agent::AgentResult, condition::Reason, names::LABEL_INSTANCE};
use holdfast_runtime::clock;
use holdfast_testkit::sample;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::{Value, json};

use crate::world::{SHOP, World};

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
            let name = format!("{SHOP}-{number}");
            let pod = sample::pod(&self.namespace, &name, &format!("data-{name}"));
            self.create(&pods, &pod).await;
            self.patch_status(&pods, &name, json!({"phase": "Running"})).await;
        }
        self.observe_workload(replicas).await;
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
        let template = job.spec.as_ref().expect("a spec").template.clone();
        let mut metadata = template.metadata.expect("labels");
        metadata.generate_name = Some("attempt-".to_owned());
        let pod = Pod {
            metadata,
            spec: template.spec,
            status: None,
        };
        let pod = self.create(&self.api(), &pod).await;
        self.patch_status(&self.api(), &pod.name_any(), status).await
    }

    /// Plays Job controller, kubelet and agent: every attempt failed and left this word.
    pub(crate) async fn fail(&self, job: &Job, attempts: &[AgentResult]) {
        for result in attempts {
            let message = result.encode().expect("a short result");
            let state = json!({"terminated": {"exitCode": 1, "message": message}});
            self.pod_of(
                job,
                json!({"phase": "Failed", "containerStatuses": [container(&state)]}),
            )
            .await;
        }
        self.end(job, "Failed", attempts.len()).await;
    }

    /// Plays Job controller, kubelet and agent: one attempt failed and left this word.
    pub(crate) async fn failed_pod(&self, job: &Job, result: &AgentResult) {
        let pod = self.pod_of(job, json!({"phase": "Running"})).await;
        self.end_pod(&pod, result).await;
    }

    /// Plays kubelet and agent: a pod ended badly and left this word.
    pub(crate) async fn end_pod(&self, pod: &Pod, result: &AgentResult) {
        let message = result.encode().expect("a short result");
        let state = json!({"terminated": {"exitCode": 1, "message": message}});
        let status = json!({"phase": "Failed", "containerStatuses": [container(&state)]});
        self.patch_status(&self.api::<Pod>(), &pod.name_any(), status).await;
    }

    /// Plays Job controller and kubelet: the first attempt did it.
    pub(crate) async fn succeed(&self, job: &Job) {
        let state = json!({"terminated": {"exitCode": 0}});
        self.pod_of(
            job,
            json!({"phase": "Succeeded", "containerStatuses": [container(&state)]}),
        )
        .await;
        self.end(job, "Complete", 0).await;
    }

    /// Plays the Job controller: the Job has ended after this many failed pods.
    pub(crate) async fn end(&self, job: &Job, kind: &str, failed: usize) {
        let time = clock::now().to_string();
        let condition = |kind: &str| {
            json!({"type": kind, "status": "True", "reason": "Test", "message": "played",
                "lastTransitionTime": time, "lastProbeTime": time})
        };
        let status = if kind == "Complete" {
            json!({"startTime": time, "completionTime": time, "succeeded": 1, "failed": failed,
                "conditions": [condition("SuccessCriteriaMet"), condition(kind)]})
        } else {
            json!({"startTime": time, "failed": failed, "conditions": [condition("FailureTarget"), condition(kind)]})
        };
        self.patch_status(&self.api::<Job>(), &job.name_any(), status).await;
    }
}

/// The agent's word that it failed, and whether it left the volume half written.
pub(crate) fn failure(reason: Reason, dirty: bool) -> AgentResult {
    AgentResult {
        dirty,
        ..AgentResult::failed(reason, "said the agent")
    }
}

/// The status of the container of a Job's pod.
fn container(state: &Value) -> Value {
    json!({"name": "restore", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state})
}
