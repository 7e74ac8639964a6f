//! A namespace with a database, a Backup of it and a restore service that works for it.

use std::{collections::BTreeMap, ops::Deref};

use holdfast_api::{
    Backup, BackupTool, RestoreJob, RestoreJobPhase,
    condition::{self, Reason},
    names::{ANNOTATION_DAMAGED, ANNOTATION_HELD, LABEL_RESTORE_UID, LABEL_ROLE, ROLE_RESTORE, ROLE_VERIFY},
    suspend_lock::SuspendLock,
};
use holdfast_core::restore::Kind;
use holdfast_runtime::clock;
use holdfast_testkit::{ApiServer, eventually, sample, stage::Stage};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    batch::v1::Job,
};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject},
};
use serde_json::{Value, json};

use crate::service::shared;

pub(crate) use holdfast_testkit::stage::SOON;
/// The workload.
pub(crate) const SHOP: &str = "shop";
pub(crate) const BACKUP: &str = "b1";
/// How many replicas the workload has.
pub(crate) const REPLICAS: i32 = 3;

pub(crate) struct World {
    stage: Stage,
    pub(crate) kind: Kind,
}

impl Deref for World {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

/// A workload as far as these tests care.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scaled {
    pub(crate) replicas: i32,
    pub(crate) held: Option<SuspendLock>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) version: String,
}

impl Scaled {
    pub(crate) fn of(object: &DynamicObject) -> Self {
        let mark = object.annotations().get(ANNOTATION_HELD);
        Self {
            replicas: serde_json::from_value(object.data["spec"]["replicas"].clone()).expect("replicas"),
            held: mark.and_then(|mark| serde_json::from_str(mark).ok()),
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
        let stage = Stage::on(server, prefix).await;
        let world = Self { stage, kind };
        let tools: Api<BackupTool> = world.all();
        world.create(&tools, &sample::tool(&world.tool())).await;
        world
    }

    /// The tool, which has no namespace and so a name of its own.
    pub(crate) fn tool(&self) -> String {
        format!("tool-{}", self.namespace)
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

    /// The Backup bears what its check found; somebody takes that away.
    pub(crate) async fn have_it_checked_again(&self) {
        let api: Api<Backup> = self.api();
        let backup = api.get(BACKUP).await.expect("the Backup");
        let found = &backup.annotations()[ANNOTATION_DAMAGED];
        assert!(found.contains("DigestMismatch"), "{found}");
        let unmark = json!({"metadata": {"annotations": {ANNOTATION_DAMAGED: null}}});
        self.patch(&api, BACKUP, unmark).await;
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
            workload["spec"]["template"]["spec"]["volumes"] = json!([
                {"name": "data", "persistentVolumeClaim": {"claimName": "data-shop-0"}}
            ]);
        }
        self.create(&self.workloads(), &sample::object(workload)).await;
        self.patch(&self.workloads(), name, change).await;
    }

    pub(crate) async fn scaled(&self) -> Scaled {
        Scaled::of(&self.workloads().get(SHOP).await.expect("a workload"))
    }

    /// Waits until a RestoreJob holds the workload at 0.
    pub(crate) async fn held_by(&self, name: &str) -> Scaled {
        eventually(SOON, &format!("the workload held by {name}"), || async {
            let scaled = self.scaled().await;
            let held = scaled.held.as_ref().is_some_and(|held| held.name == name);
            (held && scaled.replicas == 0).then_some(scaled)
        })
        .await
    }

    /// Waits until the workload has its replicas back and nobody holds it.
    pub(crate) async fn back(&self) -> Scaled {
        eventually(SOON, "the workload back", || async {
            let scaled = self.scaled().await;
            (scaled.counts() == (REPLICAS, None)).then_some(scaled)
        })
        .await
    }

    /// A RestoreJob of the Backup onto the workload.
    pub(crate) async fn restore(&self, name: &str) -> RestoreJob {
        self.restore_with(name, |_| ()).await
    }

    /// The same, changed as the test needs it.
    pub(crate) async fn restore_with(&self, name: &str, change: impl FnOnce(&mut Value)) -> RestoreJob {
        let restore = sample::restore_job(&self.namespace, name, BACKUP, "data-shop-0");
        let mut document = serde_json::to_value(restore).expect("a document");
        change(&mut document);
        self.create(&self.api(), &sample::object(document)).await
    }

    pub(crate) fn any_restores(&self) -> Api<DynamicObject> {
        let kind = ApiResource::erase::<RestoreJob>(&());
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind)
    }

    /// A RestoreJob that the API server takes and nobody can read.
    pub(crate) async fn unreadable_restore(&self, name: &str) -> DynamicObject {
        let restore = sample::restore_job(&self.namespace, name, BACKUP, "data-shop-0");
        let mut document = serde_json::to_value(restore).expect("a document");
        document["spec"]["targetVolumes"] = json!([{"name": {"not": "a name"}}]);
        self.create(&self.any_restores(), &sample::object(document)).await
    }

    /// A RestoreJob whose backup was found good and whose workload is held, with its pods still there.
    pub(crate) async fn holding(&self, name: &str) -> RestoreJob {
        let restore = self.restore(name).await;
        self.succeed(&self.job(&restore, ROLE_VERIFY).await).await;
        self.held_by(name).await;
        self.restore_that(name, "waiting for pods", |_| true).await
    }

    /// Lets the service look at a RestoreJob now: changes of workloads it only sees when it looks.
    pub(crate) async fn wake(&self, name: &str) {
        let change = json!({"metadata": {"annotations": {"test/wake": clock::now().to_string()}}});
        self.patch(&self.api::<RestoreJob>(), name, change).await;
    }

    /// A RestoreJob that writes, and the Job that does it.
    pub(crate) async fn writing(&self, name: &str) -> (RestoreJob, Job) {
        let restore = self.holding(name).await;
        self.play_workload().await;
        self.wake(name).await;
        let job = self.job(&restore, ROLE_RESTORE).await;
        (restore, job)
    }

    /// Waits until a RestoreJob is as asked.
    pub(crate) async fn restore_that(&self, name: &str, what: &str, is: impl Fn(&RestoreJob) -> bool) -> RestoreJob {
        self.that(name, what, is).await
    }

    pub(crate) async fn completes(&self, name: &str) -> RestoreJob {
        self.wake(name).await;
        self.restore_that(name, "Completed", |restore| {
            restore.phase() == RestoreJobPhase::Completed
        })
        .await
    }

    /// Waits until a RestoreJob has Failed, and answers why.
    pub(crate) async fn fails(&self, name: &str, reason: Reason) -> String {
        let failed = |restore: &RestoreJob| restore.phase() == RestoreJobPhase::Failed;
        let restore = self.restore_that(name, "Failed", failed).await;
        let status = restore.status.clone().expect("a status");
        let conditions = status.conditions.iter();
        let stalled: Vec<&str> = conditions
            .filter(|one| one.type_ == condition::STALLED && one.status == "True")
            .map(|one| one.reason.as_str())
            .collect();
        assert_eq!(stalled, [reason.as_str()], "{status:?}");
        self.tells(&restore, reason.as_str(), true).await;
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

    /// Waits for the Job of a RestoreJob with this role.
    pub(crate) async fn job(&self, restore: &RestoreJob, role: &str) -> Job {
        let uid = restore.uid().expect("a uid");
        let job = self
            .job_with(&format!("{LABEL_RESTORE_UID}={uid},{LABEL_ROLE}={role}"))
            .await;
        // The one that writes is made suspended, and then let go.
        let works = |job: &Job| job.spec.as_ref().is_some_and(|spec| spec.suspend != Some(true));
        self.that(&job.name_any(), "let go", works).await
    }

    pub(crate) async fn ask_to_delete(&self, name: &str) {
        let api: Api<RestoreJob> = self.api();
        api.delete(name, &DeleteParams::default()).await.expect("deleted");
    }

    /// Deletes a RestoreJob, and waits until it is gone.
    pub(crate) async fn delete_restore(&self, name: &str) {
        self.ask_to_delete(name).await;
        self.gone::<RestoreJob>(name).await;
    }
}
