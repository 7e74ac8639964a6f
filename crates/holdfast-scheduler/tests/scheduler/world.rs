//! A namespace with a database, a tool, a repository and a scheduler that works for it.

use std::{ops::Deref, sync::OnceLock, thread::JoinHandle, time::Duration};

use clap::Parser as _;
use holdfast_api::{Backup, BackupPhase, BackupPolicy, BackupRepo, names::ANNOTATION_ADMITTED};
use holdfast_runtime::{CancellationToken, Service, clock, metrics::Registry};
use holdfast_scheduler::Args;
use holdfast_testkit::{
    ApiServer, eventually, sample,
    stage::{Stage, aside},
};
use jiff::{Timestamp, civil::date, tz::TimeZone};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time};
use kube::{Api, Resource, ResourceExt as _, api::ListParams};
use serde_json::{Value, json};

pub(crate) use holdfast_testkit::stage::SOON;
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
        let ((stop, metrics), thread) = aside(move |started| async move {
            let config = server.config().await.expect("a kubeconfig");
            let service = Service::start_with("scheduler", &args.common, config).expect("a service");
            let handles = (service.shutdown.clone(), service.metrics.clone());
            started.send(handles).expect("a listener");
            let ran = service.run(|service| holdfast_scheduler::run(service, args)).await;
            ran.expect("a scheduler that runs");
        });
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
    stage: Stage,
}

impl Deref for World {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

impl World {
    /// A namespace on the shared server with everything that a Backup needs, but for the policy.
    pub(crate) async fn new(prefix: &str) -> Self {
        Self::on(shared().await.0, prefix).await
    }

    /// The same on a server of one's own.
    pub(crate) async fn on(server: &ApiServer, prefix: &str) -> Self {
        let world = Self {
            stage: Stage::on(server, prefix).await,
        };
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

    /// A repository that is Ready.
    pub(crate) async fn repo(&self, name: &str) {
        let repos: Api<BackupRepo> = self.all();
        self.create(&repos, &sample::repo(name, "local")).await;
        let ready = json!({"phase": "Ready", "backupPVCName": "pvc-r"});
        self.patch_status(&repos, name, ready).await;
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
        let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": word}]});
        self.patch_status(&self.api::<Pod>(), name, status).await;
    }

    /// A policy for the database, changed as the test needs it.
    pub(crate) async fn policy(&self, name: &str, change: impl FnOnce(&mut Value)) -> BackupPolicy {
        let policy = sample::policy(&self.namespace, name, &self.tool(), &self.repo_name());
        let mut document = serde_json::to_value(policy).expect("a document");
        change(&mut document);
        self.create(&self.api(), &sample::object(document)).await
    }

    pub(crate) async fn change_policy(&self, name: &str, change: &Value) {
        self.patch(&self.api::<BackupPolicy>(), name, change.clone()).await;
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
        let status = json!({"schedules": schedules, "lastScheduleTime": null});
        self.patch_status(&self.api::<BackupPolicy>(), &policy.name_any(), status)
            .await;
    }

    /// Waits until a policy is as asked.
    pub(crate) async fn policy_where(
        &self,
        name: &str,
        what: &str,
        test: impl Fn(&BackupPolicy) -> bool,
    ) -> BackupPolicy {
        self.that(name, what, test).await
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
        self.within(GRACE, name, what, test).await
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
        let status = json!({"phase": phase, "completionTimestamp": ended});
        self.patch_status(&self.api::<Backup>(), name, status).await;
    }

    /// Waits until a warning of this reason was recorded about an object, and answers its note.
    pub(crate) async fn warned<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str) -> String {
        self.tells(object, reason, true).await
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
