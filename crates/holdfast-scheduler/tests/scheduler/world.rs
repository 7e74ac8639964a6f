//! A namespace with a database, a tool, a repository and a scheduler that works for it.

use std::{
    fmt::Debug,
    sync::{OnceLock, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use clap::Parser as _;
use holdfast_api::{Backup, BackupPhase, BackupPolicy, BackupRepo, names::ANNOTATION_ADMITTED};
use holdfast_runtime::{CancellationToken, Service, clock, metrics::Registry};
use holdfast_scheduler::Args;
use holdfast_testkit::{ApiServer, eventually, sample};
use jiff::{Timestamp, civil::date, tz::TimeZone};
use k8s_openapi::{
    api::{core::v1::Pod, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Longer than anything takes here, also on a busy machine.
pub(crate) const SOON: Duration = Duration::from_mins(1);
/// What a name that does not exist is given, and some time beside.
pub(crate) const GRACE: Duration = Duration::from_secs(100);
/// Comes due once a year, so that no test meets a slot that it did not ask for.
pub(crate) const YEARLY: &str = "0 0 1 1 *";
pub(crate) const POLICY: &str = "p";

/// A running scheduler, on a thread and a runtime of its own: tests come and go.
pub(crate) struct Scheduler {
    stop: CancellationToken,
    metrics: Registry,
    thread: JoinHandle<()>,
}

impl Scheduler {
    /// Starts a replica of this name, with these flags besides.
    pub(crate) fn start(server: &'static ApiServer, name: &str, flags: &[&str]) -> Self {
        let fixed = [
            "holdfast-scheduler",
            "--http-addr=127.0.0.1:0",
            "--log=warn",
            "--log-format=text",
            "--namespace=default",
            "--pod-name",
            name,
        ];
        let args = Args::try_parse_from(fixed.iter().chain(flags)).expect("valid arguments");
        let (send, receive) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async move {
                let config = server.config().await.expect("a kubeconfig");
                let service = Service::start_with("scheduler", &args.common, config).expect("a service");
                send.send((service.shutdown.clone(), service.metrics.clone()))
                    .expect("a listener");
                let ran = service.run(|service| holdfast_scheduler::run(service, args)).await;
                ran.expect("a scheduler that runs");
            });
        });
        let (stop, metrics) = receive.recv().expect("a scheduler that starts");
        Self { stop, metrics, thread }
    }

    /// Stops it as Kubernetes does, and waits until it is gone: its lease is released.
    pub(crate) fn stop(self) {
        self.stop.cancel();
        self.thread.join().expect("a scheduler that ends");
    }

    /// The value of a counter or gauge of the scheduler with these labels.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let families = self.metrics.gather();
        let family = families
            .iter()
            .find(|family| family.name() == format!("holdfast_scheduler_{name}"))?;
        let metric = family.get_metric().iter().find(|metric| {
            let has = |(name, value): &(&str, &str)| {
                let pairs = metric.get_label();
                pairs.iter().any(|pair| pair.name() == *name && pair.value() == *value)
            };
            labels.iter().all(has)
        })?;
        Some(metric.get_counter().get_value() + metric.get_gauge().get_value())
    }
}

/// The server and the one scheduler that most tests share.
pub(crate) async fn shared() -> (&'static ApiServer, &'static Scheduler) {
    static SCHEDULER: OnceLock<Scheduler> = OnceLock::new();
    let server = ApiServer::shared().await;
    let scheduler = SCHEDULER.get_or_init(|| Scheduler::start(server, "scheduler-shared", &[]));
    (server, scheduler)
}

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl World {
    /// A namespace on the shared server with everything that a Backup needs, but for the policy.
    pub(crate) async fn new(prefix: &str) -> Self {
        Self::on(shared().await.0, prefix).await
    }

    /// The same on a server of one's own.
    pub(crate) async fn on(server: &ApiServer, prefix: &str) -> Self {
        let client = server.client().await.expect("a client");
        let namespace = server.namespace(prefix).await.expect("a namespace");
        let world = Self { client, namespace };
        world.create(&world.all(), &sample::tool(&world.tool())).await;
        world.repo(&world.repo_name()).await;
        world.pod("shop-0", true).await;
        world
    }

    pub(crate) fn tool(&self) -> String {
        format!("tool-{}", self.namespace)
    }

    pub(crate) fn repo_name(&self) -> String {
        format!("repo-{}", self.namespace)
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    pub(crate) async fn create<K>(&self, api: &Api<K>, object: &K) -> K
    where
        K: Clone + Serialize + DeserializeOwned + Debug,
    {
        api.create(&PostParams::default(), object).await.expect("created")
    }

    /// A repository that is Ready.
    pub(crate) async fn repo(&self, name: &str) {
        let repos: Api<BackupRepo> = self.all();
        self.create(&repos, &sample::repo(name, "local")).await;
        let status = json!({"status": {"phase": "Ready", "backupPVCName": "pvc-r"}});
        let patch = Patch::Merge(&status);
        repos
            .patch_status(name, &PatchParams::default(), &patch)
            .await
            .expect("a ready repo");
    }

    /// A pod of the database.
    pub(crate) async fn pod(&self, name: &str, ready: bool) {
        let pod = sample::pod(&self.namespace, name, "data-shop-0");
        self.create(&self.api(), &pod).await;
        self.set_ready(name, ready).await;
    }

    /// Plays kubelet.
    pub(crate) async fn set_ready(&self, name: &str, ready: bool) {
        let word = if ready { "True" } else { "False" };
        let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": word}]}});
        let pods: Api<Pod> = self.api();
        let patch = Patch::Merge(&status);
        pods.patch_status(name, &PatchParams::default(), &patch)
            .await
            .expect("a status");
    }

    /// A policy for the database, changed as the test needs it.
    pub(crate) async fn policy(&self, name: &str, change: impl FnOnce(&mut Value)) -> BackupPolicy {
        let policy = sample::policy(&self.namespace, name, &self.tool(), &self.repo_name());
        let mut document = serde_json::to_value(policy).expect("a document");
        change(&mut document);
        self.create(&self.api(), &sample::object(document)).await
    }

    pub(crate) async fn change_policy(&self, name: &str, change: &Value) {
        let api: Api<BackupPolicy> = self.api();
        let patch = Patch::Merge(change);
        api.patch(name, &PatchParams::default(), &patch).await.expect("changed");
    }

    /// A policy whose yearly slot of this January has come and was not made yet.
    pub(crate) async fn overdue(&self, name: &str, change: impl FnOnce(&mut Value)) -> BackupPolicy {
        self.policy(name, |document| {
            document["spec"]["schedule"] = json!({"datafile": {"cronExpression": YEARLY, "enable": true}});
            change(document);
        })
        .await;
        let policy = self.policy_where(name, "to be scheduled", scheduled).await;
        self.make_due(&policy).await;
        policy
    }

    /// Lets the schedule of a policy look as if nobody had looked since the day before the slot.
    pub(crate) async fn make_due(&self, policy: &BackupPolicy) {
        let mut schedules = policy.status.clone().unwrap_or_default().schedules;
        for schedule in schedules.values_mut() {
            schedule.settled_until = Some(Time(slot() - jiff::SignedDuration::from_hours(24)));
        }
        let api: Api<BackupPolicy> = self.api();
        let status = json!({"status": {"schedules": schedules, "lastScheduleTime": null}});
        let patch = Patch::Merge(&status);
        api.patch_status(&policy.name_any(), &PatchParams::default(), &patch)
            .await
            .expect("a status");
    }

    /// Waits until a policy is as asked.
    pub(crate) async fn policy_where(
        &self,
        name: &str,
        what: &str,
        test: impl Fn(&BackupPolicy) -> bool,
    ) -> BackupPolicy {
        let (api, test) = (&self.api::<BackupPolicy>(), &test);
        eventually(SOON, &format!("policy {name} {what}"), || async move {
            api.get(name).await.ok().filter(|policy| test(policy))
        })
        .await
    }

    /// Waits until a policy's status says that its slot was made.
    pub(crate) async fn slot_noted(&self, policy: &str) {
        self.policy_where(policy, "with its slot noted", |policy| {
            let status = policy.status.as_ref();
            let noted = status.and_then(|status| status.last_schedule_time.as_ref());
            noted.is_some_and(|time| time.0 == slot())
        })
        .await;
    }

    /// A Backup as a user writes it.
    pub(crate) async fn backup(&self, name: &str, policy: &str) -> Backup {
        self.create(&self.api(), &sample::backup(&self.namespace, name, policy))
            .await
    }

    /// Waits until a Backup is as asked.
    pub(crate) async fn backup_where(&self, name: &str, what: &str, test: impl Fn(&Backup) -> bool) -> Backup {
        let (api, test) = (&self.api::<Backup>(), &test);
        eventually(GRACE, &format!("backup {name} {what}"), || async move {
            api.get(name).await.ok().filter(|backup| test(backup))
        })
        .await
    }

    pub(crate) async fn admitted(&self, name: &str) -> Backup {
        self.backup_where(name, "admitted", is_admitted).await
    }

    pub(crate) async fn fails(&self, name: &str) -> Backup {
        self.backup_where(name, "Failed", |backup| phase(backup) == Some(BackupPhase::Failed))
            .await
    }

    /// Waits until a Backup says what it waits for.
    pub(crate) async fn waits_for(&self, name: &str, reason: &str) -> Backup {
        let says = |backup: &Backup| {
            let conditions = backup.status.as_ref().map_or(&[][..], |status| &status.conditions);
            conditions
                .iter()
                .any(|one| one.type_ == "Reconciling" && one.status == "True" && one.reason == reason)
        };
        self.backup_where(name, reason, says).await
    }

    /// The Backups of a policy.
    pub(crate) async fn backups(&self, policy: &str) -> Vec<Backup> {
        let api: Api<Backup> = self.api();
        let all = api.list(&ListParams::default()).await.expect("backups").items;
        all.into_iter()
            .filter(|backup| backup.spec.backup_policy_name == policy)
            .collect()
    }

    /// Waits for the one Backup that the schedule of a policy makes.
    pub(crate) async fn made(&self, policy: &str) -> Backup {
        eventually(SOON, &format!("a backup of policy {policy}"), || async {
            self.backups(policy).await.pop()
        })
        .await
    }

    /// Plays the executor.
    pub(crate) async fn set_phase(&self, name: &str, phase: BackupPhase) {
        let ended = (phase == BackupPhase::Completed).then(|| clock::now().to_string());
        let status = json!({"status": {"phase": phase, "completionTimestamp": ended}});
        let api: Api<Backup> = self.api();
        let patch = Patch::Merge(&status);
        api.patch_status(name, &PatchParams::default(), &patch)
            .await
            .expect("a status");
    }

    /// Waits until a warning of this reason was recorded about an object, and answers its note.
    pub(crate) async fn warned<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str) -> String {
        let (uid, api) = (object.meta().uid.clone(), self.api::<Event>());
        eventually(SOON, &format!("a warning {reason}"), || async {
            let events = api.list(&ListParams::default()).await.ok()?.items;
            let told = events.into_iter().find(|event| {
                event.type_.as_deref() == Some("Warning")
                    && event.reason.as_deref() == Some(reason)
                    && event.regarding.as_ref().and_then(|on| on.uid.clone()) == uid
            })?;
            told.note
        })
        .await
    }
}

/// The newest slot of [`YEARLY`].
pub(crate) fn slot() -> Timestamp {
    let year = clock::now().to_zoned(TimeZone::UTC).year();
    let first = date(year, 1, 1).to_zoned(TimeZone::UTC).expect("a first of January");
    first.timestamp()
}

pub(crate) fn phase(backup: &Backup) -> Option<BackupPhase> {
    backup.status.as_ref()?.phase
}

pub(crate) fn is_admitted(backup: &Backup) -> bool {
    backup.annotations().contains_key(ANNOTATION_ADMITTED)
}

/// The reason of the condition that tells about the schedule.
pub(crate) fn schedule_reason(policy: &BackupPolicy) -> Option<&str> {
    let conditions = &policy.status.as_ref()?.conditions;
    let told = conditions.iter().find(|one| one.type_ == "Scheduled")?;
    Some(told.reason.as_str())
}

fn scheduled(policy: &BackupPolicy) -> bool {
    let conditions = policy.status.as_ref().map_or(&[][..], |status| &status.conditions);
    conditions
        .iter()
        .any(|one| one.type_ == "Scheduled" && one.status == "True")
}
