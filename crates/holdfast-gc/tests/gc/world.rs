//! A namespace with a policy and a repository's claim.

use std::{
    collections::HashSet,
    ops::Deref,
    sync::{Arc, Mutex},
};

use holdfast_api::{
    Backup, BackupPhase, BackupPolicy,
    agent::{AgentResult, Outcome},
    condition::Reason,
    names::{ANNOTATION_POLICY_UID, ANNOTATION_REPOSITORY, FINALIZER, LABEL_AUTOBACKUP, LABEL_ROLE, ROLE_PURGE},
};
use holdfast_core::gc::Batch;
use holdfast_runtime::clock;
use holdfast_testkit::{ApiServer, eventually, play, sample, stage::Stage};
use jiff::SignedDuration;
use k8s_openapi::api::{batch::v1::Job, core::v1::PersistentVolumeClaim};
use kube::{Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::service::shared;

pub(crate) use holdfast_testkit::stage::SOON;
pub(crate) const CLAIM: &str = "pvc-r";

#[derive(Clone)]
pub(crate) struct World {
    stage: Stage,
    policy: String,
    /// Uids of purge Jobs that were waited for already.
    seen: Arc<Mutex<HashSet<String>>>,
}

impl Deref for World {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

impl World {
    /// A namespace on the shared server with everything that a Backup had.
    pub(crate) async fn new(prefix: &str) -> Self {
        Self::on(shared().await.0, prefix).await
    }

    /// The same on a server of one's own.
    pub(crate) async fn on(server: &ApiServer, prefix: &str) -> Self {
        let mut world = Self {
            stage: Stage::on(server, prefix).await,
            policy: String::new(),
            seen: Arc::default(),
        };
        let policy = sample::policy(&world.namespace, "p", "t", "r");
        let policy = world.create(&world.api(), &policy).await;
        world.policy = policy.uid().expect("a uid");
        let claim: PersistentVolumeClaim = sample::object(json!({
            "metadata": {"name": CLAIM, "namespace": world.namespace, "annotations": {ANNOTATION_REPOSITORY: "repository-1"}},
            "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": "pv-1"},
        }));
        world.create(&world.api(), &claim).await;
        world
    }

    /// A Backup that a schedule made and that ended in this phase, this many seconds ago; `change` is merged into it.
    pub(crate) async fn backup(&self, name: &str, phase: &str, ago: i64, change: Value) -> Backup {
        let mut backup = serde_json::to_value(sample::backup(&self.namespace, name, "p")).expect("a value");
        json_merge(
            &mut backup["metadata"],
            &json!({
                "finalizers": [FINALIZER],
                "labels": {LABEL_AUTOBACKUP: "true", "app.kubernetes.io/instance": sample::INSTANCE},
                "annotations": {ANNOTATION_POLICY_UID: self.policy},
            }),
        );
        json_merge(&mut backup, &change);
        backup.as_object_mut().expect("an object").remove("status");
        self.create(&self.api(), &sample::object::<Backup>(backup)).await;
        let ended = (clock::now() - SignedDuration::from_secs(ago)).to_string();
        let mut status = json!({
            "phase": phase, "startTimestamp": ended, "completionTimestamp": ended,
            "persistentVolumeClaimName": CLAIM,
            "manifests": {"backupTool": {"filePath": self.path(name), "volumeName": "pv-1"}},
        });
        json_merge(&mut status, change.get("status").unwrap_or(&json!({})));
        self.patch_status(&self.api(), name, status).await
    }

    pub(crate) fn path(&self, name: &str) -> String {
        format!("/{}/{name}", self.namespace)
    }

    pub(crate) async fn patch<K>(&self, name: &str, change: Value)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        self.stage.patch(&self.api::<K>(), name, change).await;
    }

    /// Changes the policy's limit.
    pub(crate) async fn limit(&self, limit: i32) {
        self.patch::<BackupPolicy>("p", json!({"spec": {"datafile": {"backupsHistoryLimit": limit}}}))
            .await;
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

    /// Removes the claim, whatever protects it.
    pub(crate) async fn drop_claim(&self) {
        self.delete::<PersistentVolumeClaim>(CLAIM).await;
        let api = self.api::<PersistentVolumeClaim>();
        if api.get_opt(CLAIM).await.expect("an answer").is_some() {
            // No controller of this server takes the protection off.
            self.patch::<PersistentVolumeClaim>(CLAIM, json!({"metadata": {"finalizers": null}}))
                .await;
        }
    }

    /// Waits until a Backup is as asked.
    pub(crate) async fn backup_that(&self, name: &str, what: &str, is: impl Fn(&Backup) -> bool) -> Backup {
        self.that(name, what, is).await
    }

    pub(crate) async fn reaches(&self, name: &str, phase: BackupPhase) -> Backup {
        let is = |backup: &Backup| backup.status.as_ref().and_then(|status| status.phase) == Some(phase);
        self.backup_that(name, phase.as_str(), is).await
    }

    /// Waits until a Backup is stalled for this reason.
    pub(crate) async fn stalls(&self, name: &str, reason: Reason) -> Backup {
        self.backup_that(name, reason.as_str(), |backup| {
            let conditions = backup.status.iter().flat_map(|status| &status.conditions);
            let mut stalled = conditions.filter(|one| one.type_ == "Stalled" && one.status == "True");
            stalled.any(|one| one.reason == reason.as_str())
        })
        .await
    }

    pub(crate) async fn gone(&self, name: &str) {
        self.stage.gone::<Backup>(name).await;
    }

    /// Names of the Backups that are not on their way out.
    pub(crate) async fn staying(&self) -> Vec<String> {
        let all = self
            .api::<Backup>()
            .list(&ListParams::default())
            .await
            .expect("backups");
        let staying = all
            .items
            .iter()
            .filter(|backup| backup.metadata.deletion_timestamp.is_none());
        staying.map(ResourceExt::name_any).collect()
    }

    /// Waits until these Backups are left, besides those on their way out.
    pub(crate) async fn left(&self, names: &[&str]) {
        eventually(SOON, &format!("{names:?} left"), || async {
            (self.staying().await == names).then_some(())
        })
        .await;
    }

    pub(crate) async fn purges(&self) -> Vec<Job> {
        let selector = ListParams::default().labels(&format!("{LABEL_ROLE}={ROLE_PURGE}"));
        self.api().list(&selector).await.expect("jobs").items
    }

    /// Waits for a purge Job that was not waited for before and has not ended.
    pub(crate) async fn purge(&self) -> (Job, Batch) {
        eventually(SOON, "a purge job", || async {
            for job in self.purges().await.into_iter().filter(|job| !has_ended(job)) {
                if self.seen.lock().expect("no panic").insert(job.uid().expect("a uid")) {
                    let batch = Batch::of(&job).expect("a batch");
                    return Some((job, batch));
                }
            }
            None
        })
        .await
    }

    /// Waits until no purge Job is left.
    pub(crate) async fn no_purges(&self) {
        eventually(SOON, "no purge jobs", || async {
            self.purges().await.is_empty().then_some(())
        })
        .await;
    }

    /// Plays agent, kubelet and Job controller: the Job ended with this result, `ago` before now.
    pub(crate) async fn end(&self, job: &Job, result: &AgentResult, ago: SignedDuration) {
        let pod = self.pod_of(job).await;
        let good = result.outcome == Outcome::Purged;
        let message = result.encode().expect("a short result");
        let status = play::pod_ended("purge", i32::from(!good), Some(&message));
        self.set_pod_status(&pod, &status).await;
        let time = (clock::now() - ago).to_string();
        self.set_job_ended(job, good, usize::from(!good), &time).await;
    }

    /// The Job removed everything.
    pub(crate) async fn succeed(&self, job: &Job, batch: &Batch) {
        let result = AgentResult {
            purged: u32::try_from(batch.entries.len()).ok(),
            bytes: Some(7),
            ..AgentResult::new(Outcome::Purged)
        };
        self.end(job, &result, SignedDuration::ZERO).await;
    }

    /// Reasons of the events about a Backup; a `!` marks warnings.
    pub(crate) async fn events(&self, backup: &Backup) -> Vec<String> {
        let told = self.told(backup.uid().as_deref()).await.into_iter();
        let word = |[kind, reason, _]: [String; 3]| {
            let mark = if kind == "Warning" { "!" } else { "" };
            format!("{reason}{mark}")
        };
        told.map(word).collect()
    }

    /// Waits for an event about a Backup.
    pub(crate) async fn tells(&self, backup: &Backup, reason: &str) {
        eventually(SOON, &format!("event {reason}"), || async {
            self.events(backup)
                .await
                .iter()
                .any(|found| found == reason)
                .then_some(())
        })
        .await;
    }
}

pub(crate) fn has_ended(job: &Job) -> bool {
    job.status
        .as_ref()
        .is_some_and(|status| status.conditions.iter().flatten().count() > 0)
}

pub(crate) fn names(batch: &Batch) -> Vec<&str> {
    let mut names: Vec<&str> = batch.entries.iter().map(|entry| entry.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn json_merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                json_merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}
