//! A namespace with a database, a Backup of it and a restore service that works for it.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use holdfast_api::{
    Backup, BackupTool, RestoreJob, RestoreJobPhase,
    agent::AgentResult,
    condition,
    held::Held,
    names::{ANNOTATION_HELD, LABEL_INSTANCE, LABEL_RESTORE_UID, LABEL_ROLE},
};
use holdfast_core::restore::{self, Kind};
use holdfast_runtime::clock;
use holdfast_testkit::{ApiServer, eventually, sample};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    batch::v1::Job,
    core::v1::Pod,
    events::v1::Event,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::service::shared;

/// Longer than anything takes here, also on a busy machine.
pub(crate) const SOON: Duration = Duration::from_mins(1);
/// The workload.
pub(crate) const SHOP: &str = "shop";
pub(crate) const BACKUP: &str = "b1";
/// How many replicas the workload has.
pub(crate) const REPLICAS: i32 = 3;

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) kind: Kind,
}

/// A workload as far as these tests care.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scaled {
    pub(crate) replicas: i32,
    pub(crate) held: Option<Held>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) version: String,
}

impl Scaled {
    pub(crate) fn of(object: &DynamicObject) -> Self {
        let mark = object.annotations().get(ANNOTATION_HELD);
        Self {
            replicas: serde_json::from_value(object.data["spec"]["replicas"].clone()).expect("replicas"),
            held: mark.map(|mark| serde_json::from_str(mark).expect("a mark")),
            labels: object.labels().clone(),
            version: object.resource_version().expect("a version"),
        }
    }

    /// How many replicas it has, and how many the mark on it remembers.
    pub(crate) fn counts(&self) -> (i32, Option<i32>) {
        (self.replicas, self.held.as_ref().map(|held| held.replicas))
    }
}

impl World {
    /// A namespace on the shared server with everything that a restore needs, and a StatefulSet that runs.
    pub(crate) async fn new(prefix: &str) -> Self {
        Self::on(shared().await, prefix, Kind::StatefulSet).await
    }

    /// The same on a server of one's own, with a workload of this kind.
    pub(crate) async fn on(server: &ApiServer, prefix: &str, kind: Kind) -> Self {
        let world = Self::bare(server, prefix, kind).await;
        world.backup(json!({})).await;
        world.workload(SHOP, json!({})).await;
        world.play_workload().await;
        world
    }

    /// A namespace with nothing but a tool.
    pub(crate) async fn bare(server: &ApiServer, prefix: &str, kind: Kind) -> Self {
        let client = server.client().await.expect("a client");
        let namespace = server.namespace(prefix).await.expect("a namespace");
        let world = Self {
            client,
            namespace,
            kind,
        };
        let tools: Api<BackupTool> = Api::all(world.client.clone());
        world.create(&tools, &sample::tool(&world.tool())).await;
        world
    }

    /// The tool, which has no namespace and so a name of its own.
    pub(crate) fn tool(&self) -> String {
        format!("tool-{}", self.namespace)
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn create<K>(&self, api: &Api<K>, object: &K) -> K
    where
        K: Clone + Serialize + DeserializeOwned + Debug,
    {
        api.create(&PostParams::default(), object).await.expect("created")
    }

    /// A Backup that can be restored; `status` is merged into its status.
    pub(crate) async fn backup(&self, status: Value) -> Backup {
        let api: Api<Backup> = self.api();
        self.create(&api, &sample::backup(&self.namespace, BACKUP, "p")).await;
        let good = json!({
            "phase": "Completed", "backupToolName": self.tool(), "persistentVolumeClaimName": "pvc-r",
            "manifests": {"backupTool": {"filePath": format!("/{}/{BACKUP}", self.namespace), "checksum": "sha256:ab"}},
        });
        self.patch_status(&api, BACKUP, good).await;
        self.patch_status(&api, BACKUP, status).await
    }

    pub(crate) fn workloads(&self) -> Api<DynamicObject> {
        let kind = match self.kind {
            Kind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
            Kind::Deployment => ApiResource::erase::<Deployment>(&()),
        };
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind)
    }

    /// A workload of the database; `change` is merged into it.
    pub(crate) async fn workload(&self, name: &str, change: Value) {
        let mut workload =
            serde_json::to_value(sample::stateful_set(&self.namespace, name, REPLICAS)).expect("a value");
        if self.kind == Kind::Deployment {
            let spec = workload["spec"].as_object_mut().expect("a spec");
            spec.retain(|key, _| ["replicas", "selector", "template"].contains(&key.as_str()));
            workload["kind"] = json!("Deployment");
            workload["spec"]["template"]["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
        }
        self.create(&self.workloads(), &sample::object(workload)).await;
        self.patch(&self.workloads(), name, change).await;
    }

    pub(crate) async fn patch<K>(&self, api: &Api<K>, name: &str, change: Value) -> K
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await;
        patched.expect("patched")
    }

    pub(crate) async fn patch_status<K>(&self, api: &Api<K>, name: &str, status: Value) -> K
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let patch = Patch::Merge(json!({ "status": status }));
        let patched = api.patch_status(name, &PatchParams::default(), &patch).await;
        patched.expect("a status")
    }

    pub(crate) async fn scaled(&self) -> Scaled {
        Scaled::of(&self.workloads().get(SHOP).await.expect("a workload"))
    }

    /// Waits until the workload has this many replicas, and whether it is held.
    pub(crate) async fn scaled_to(&self, replicas: i32, held: bool) -> Scaled {
        let what = format!("{replicas} replicas, held: {held}");
        eventually(SOON, &what, || async {
            let scaled = self.scaled().await;
            (scaled.replicas == replicas && scaled.held.is_some() == held).then_some(scaled)
        })
        .await
    }

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

    /// Deletes at once.
    pub(crate) async fn remove<K>(&self, api: &Api<K>, name: &str)
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let at_once = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::background()
        };
        api.delete(name, &at_once).await.expect("deleted");
    }

    /// A RestoreJob of the Backup onto the workload.
    pub(crate) async fn restore(&self, name: &str) -> RestoreJob {
        let restore = sample::restore_job(&self.namespace, name, BACKUP, "data-shop-0");
        self.create(&self.api(), &restore).await
    }

    /// Waits until a RestoreJob is as asked.
    pub(crate) async fn restore_that(&self, name: &str, what: &str, is: impl Fn(&RestoreJob) -> bool) -> RestoreJob {
        let (api, is) = (&self.api::<RestoreJob>(), &is);
        eventually(SOON, &format!("restore {name} {what}"), || async move {
            api.get(name).await.ok().filter(|restore| is(restore))
        })
        .await
    }

    pub(crate) async fn completes(&self, name: &str) -> RestoreJob {
        self.restore_that(name, "Completed", |restore| {
            restore::phase(restore) == RestoreJobPhase::Completed
        })
        .await
    }

    /// Waits until a RestoreJob has Failed, and answers why.
    pub(crate) async fn fails(&self, name: &str, reason: &str) -> String {
        let failed = |restore: &RestoreJob| restore::phase(restore) == RestoreJobPhase::Failed;
        let restore = self.restore_that(name, "Failed", failed).await;
        let status = restore.status.clone().expect("a status");
        let conditions = status.conditions.iter();
        let stalled: Vec<&str> = conditions
            .filter(|one| one.type_ == condition::STALLED && one.status == "True")
            .map(|one| one.reason.as_str())
            .collect();
        assert_eq!(stalled, [reason], "{status:?}");
        self.tells(&restore, reason, true).await;
        status.failure_reason.expect("a reason")
    }

    /// Waits until a RestoreJob says what it is doing.
    pub(crate) async fn says(&self, name: &str, reason: &str) -> RestoreJob {
        self.restore_that(name, reason, |restore| {
            let conditions = restore.status.as_ref().map_or(&[][..], |status| &status.conditions);
            conditions
                .iter()
                .any(|one| one.type_ == condition::RECONCILING && one.status == "True" && one.reason == reason)
        })
        .await
    }

    /// Waits for an Event about an object, and answers its note.
    pub(crate) async fn tells<K: Resource>(&self, about: &K, reason: &str, warning: bool) -> String {
        let (uid, api) = (about.meta().uid.clone(), self.api::<Event>());
        let kind = if warning { "Warning" } else { "Normal" };
        eventually(SOON, &format!("event {kind} {reason}"), || async {
            let events = api.list(&ListParams::default()).await.ok()?.items;
            let told = events.into_iter().find(|event| {
                event.type_.as_deref() == Some(kind)
                    && event.reason.as_deref() == Some(reason)
                    && event.regarding.as_ref().and_then(|on| on.uid.clone()) == uid
            })?;
            told.note
        })
        .await
    }

    /// Waits for the Job of a RestoreJob with this role.
    pub(crate) async fn job(&self, restore: &RestoreJob, role: &str) -> Job {
        let (api, uid) = (self.api::<Job>(), restore.uid().expect("a uid"));
        let selector = ListParams::default().labels(&format!("{LABEL_RESTORE_UID}={uid},{LABEL_ROLE}={role}"));
        eventually(SOON, &format!("a {role} job of {}", restore.name_any()), || async {
            api.list(&selector).await.ok()?.items.pop()
        })
        .await
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

/// The status of the container of a Job's pod.
pub(crate) fn container(state: &Value) -> Value {
    json!({"name": "restore", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state})
}
