//! Restore pods that do not start: the API server's own rules about suspended Jobs and pods that are kept.

use holdfast_api::{RestoreJob, condition::Reason, names::RESTORE_POD_FINALIZER};
use holdfast_runtime::clock;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    play::container,
    world::{REPLICAS, World},
};

impl World {
    /// A restore whose Job has one pod that the scheduler gave a node and whose container waits.
    async fn stuck(&self, name: &str) -> (RestoreJob, Job, Pod) {
        let (restore, job) = self.writing(name).await;
        let waits = json!({"phase": "Pending", "containerStatuses": [container(&json!({"waiting":
            {"reason": "CreateContainerConfigError", "message": "secret \"s\" not found"}}))]});
        let pod = self.pod_of(&job, waits).await;
        self.bind(&pod).await;
        assert!(
            pod.finalizers().iter().any(|one| one == RESTORE_POD_FINALIZER),
            "{:?}",
            pod.metadata
        );
        (restore, job, pod)
    }

    /// Plays the scheduler.
    async fn bind(&self, pod: &Pod) {
        let api: Api<Pod> = self.api();
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod.name_any()},
            "target": {"apiVersion": "v1", "kind": "Node", "name": "node"}});
        let params = PostParams::default();
        let _: Value = api
            .create_subresource("binding", &pod.name_any(), &params, &binding)
            .await
            .expect("bound");
    }

    /// Plays the Job controller: it has seen that the Job is suspended, and deleted its pod; and kubelet, which ends it.
    async fn suspend(&self, job: &Job, pod: &Pod, ended: &Value) {
        let suspended = |job: &Job| job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true));
        self.that(&job.name_any(), "suspended", suspended).await;
        let pods: Api<Pod> = self.api();
        pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
            .await
            .expect("deleted");
        let now = clock::now().to_string();
        let told = json!([{"type": "Suspended", "status": "True", "lastTransitionTime": now}]);
        self.patch_status(&self.api::<Job>(), &job.name_any(), json!({"conditions": told}))
            .await;
        let status = json!({"phase": "Failed", "containerStatuses": [container(ended)]});
        self.patch_status(&pods, &pod.name_any(), status).await;
    }
}

#[tokio::test]
async fn a_pod_that_never_starts_is_taken_back_and_the_workload_returns() {
    let world = World::new("withdrawn").await;
    let (_, job, pod) = Box::pin(world.stuck("r")).await;
    let unknown = json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}});
    world.suspend(&job, &pod, &unknown).await;
    world.back().await;
    let text = world.fails("r", Reason::ContainerConfig).await;
    assert!(text.contains("secret \"s\" not found"), "{text}");
    // What kept the pod is gone, and the name of the Job is taken.
    world.gone::<Pod>(&pod.name_any()).await;
    world.that(&job.name_any(), "there still", |_: &Job| true).await;
}

#[tokio::test]
async fn a_container_that_started_at_the_last_moment_keeps_the_workload_down() {
    let world = World::new("started").await;
    let (_, job, pod) = Box::pin(world.stuck("r")).await;
    world
        .suspend(&job, &pod, &json!({"terminated": {"exitCode": 137, "reason": "Error"}}))
        .await;
    world.fails("r", Reason::TargetDirty).await;
    assert_eq!(world.scaled().await.counts(), (0, Some(REPLICAS)));
    world.gone::<Pod>(&pod.name_any()).await;
}
