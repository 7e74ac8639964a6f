//! One history: a cluster, the services, and what happens to them.

use holdfast_api::{Backup, BackupPhase, BackupPolicy, BackupRepo, RestoreJob, names::LABEL_AUTOBACKUP};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

use crate::{
    POLICY, REPO, TOOL,
    api::{Api, Guard, Request},
    cluster::{self, Cluster},
    executor::Executor,
    gc::Gc,
    manager::{self, Manager},
    net::{Chance, Net},
    restorer,
    scheduler::Scheduler,
};

/// What a history is about.
#[derive(Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools)] // Each is a switch of its own.
pub(crate) struct Scenario {
    pub(crate) backups: usize,
    pub(crate) restores: usize,
    /// Users delete Backups.
    pub(crate) delete: bool,
    /// Users delete restores.
    pub(crate) delete_restores: bool,
    /// Users create a deleted Backup anew under its name.
    pub(crate) again: bool,
    /// Backups expire, and more are made than the policy keeps.
    pub(crate) retention: bool,
    /// Users delete the repository, and make it anew.
    pub(crate) repository: bool,
    /// The policy has a schedule.
    pub(crate) slots: bool,
    /// A Job of somebody else has the name of a Backup.
    pub(crate) foreign: bool,
    /// The repository forgets tombs: a rule taken away.
    pub(crate) without_tombs: bool,
    /// The API server ignores resourceVersions: a rule taken away.
    pub(crate) without_guards: bool,
}

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) scenario: Scenario,
    pub(crate) net: Net,
    pub(crate) cluster: Cluster,
    /// An old leader and a new one.
    schedulers: [Scheduler; 2],
    executors: [Executor; 2],
    collectors: [Gc; 2],
    managers: [Manager; 2],
    asked: usize,
}

/// Steps in which anything may go wrong, and rounds in which all must come to rest.
const STEPS: usize = 220;
const ROUNDS: usize = 400;

impl World {
    pub(crate) fn new(seed: u64, scenario: Scenario) -> Self {
        let start: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
        let mut api = Api::new(start);
        api.guarded = !scenario.without_guards;
        let net = Net {
            api,
            chance: Chance::new(seed),
            faults: true,
            late: Vec::new(),
            trace: Vec::new(),
        };
        let mut world = Self {
            seed,
            scenario,
            net,
            cluster: Cluster::default(),
            schedulers: [Scheduler { revision: 0 }, Scheduler { revision: 0 }],
            executors: [Executor::default(), Executor::default()],
            collectors: [Gc::default(), Gc::default()],
            managers: [Manager::default(), Manager::default()],
            asked: 0,
        };
        world.furnish();
        world
    }

    fn create(&mut self, object: Value) {
        // A user's request has no faults; a name that is taken is told to the user.
        let _ = self.net.api.send(&Request::Create(object));
    }

    fn furnish(&mut self) {
        let ours = "dataprotection.kubeblocks.io/v1alpha1";
        let limit = if self.scenario.retention { 2 } else { 7 };
        self.create(
            json!({"apiVersion": ours, "kind": "BackupTool", "metadata": {"name": TOOL}, "spec": {
            "image": "tool:1", "backupCommands": ["sh"], "physical": {"restoreCommands": ["sh"]}}}),
        );
        self.create(
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "driver"}, "spec": {}}),
        );
        self.create(manager::provider());
        self.create(manager::repository(!self.scenario.repository));
        self.create(json!({"apiVersion": ours, "kind": "BackupPolicy", "metadata": {"name": POLICY, "namespace": "ns"}, "spec": {
            "retention": {"ttl": "1h"}, "schedule": {"datafile": {"enable": self.scenario.slots, "cronExpression": "*/3 * * * *"}}, "datafile": {"backupToolName": TOOL, "backupRepoName": REPO, "backupsHistoryLimit": limit,
                "target": {"labelsSelector": {"matchLabels": {"app": "db"}}}}}}));
        self.create(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "ns"}, "spec": {
            "replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "db", "image": "db:1"}]}}}}));
        if self.scenario.foreign {
            self.create(json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "b0", "namespace": "ns", "labels": {"foreign": "true"}},
                "spec": {"template": {"metadata": {}, "spec": {"containers": []}}}}));
        }
        self.cluster.disks.keeps_tombs = !self.scenario.without_tombs;
        self.cluster.database(&mut self.net);
    }

    /// Users ask for the next thing.
    fn ask(&mut self) {
        if self.net.api.raw("BackupRepo", REPO).is_none() && self.seed.is_multiple_of(2) {
            self.create(manager::repository(false));
        }
        let ours = "dataprotection.kubeblocks.io/v1alpha1";
        if self.asked < self.scenario.backups {
            let name = format!("b{}", self.asked);
            self.asked += 1;
            self.backup(&name);
            return;
        }
        let done = self
            .net
            .api
            .get::<Backup>("b0")
            .is_some_and(|backup| phase(&backup) == Some(BackupPhase::Completed));
        let next = self.asked - self.scenario.backups;
        if next < self.scenario.restores && done {
            self.asked += 1;
            self.create(json!({"apiVersion": ours, "kind": "RestoreJob", "metadata": {"name": format!("r{next}"), "namespace": "ns"}, "spec": {
                "backupJobName": "b0", "replace": true, "onFailAttempted": 1, "target": {"labelsSelector": {"matchLabels": {"app": "db"}}},
                "targetVolumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}],
                "targetVolumeMounts": [{"name": "data", "mountPath": "/data"}]}}));
        }
    }

    fn backup(&mut self, name: &str) {
        let labels = if self.scenario.retention {
            json!({LABEL_AUTOBACKUP: "true"})
        } else {
            json!({})
        };
        self.create(
            json!({"apiVersion": "dataprotection.kubeblocks.io/v1alpha1", "kind": "Backup",
            "metadata": {"name": name, "namespace": "ns", "labels": labels}, "spec": {"backupPolicyName": POLICY}}),
        );
    }

    /// Users delete something.
    fn delete(&mut self) {
        let mut of: Vec<Guard> = Vec::new();
        if self.scenario.delete {
            of.extend(self.net.api.list::<Backup>().iter().map(Guard::of));
        }
        if self.scenario.delete_restores {
            of.extend(self.net.api.list::<RestoreJob>().iter().map(Guard::of));
        }
        if self.scenario.repository && self.net.chance.one_in(2) {
            of = self.net.api.list::<BackupRepo>().iter().map(Guard::of).collect();
        }
        if of.is_empty() {
            return;
        }
        let guard = Guard {
            version: None,
            ..of.swap_remove(self.net.chance.below(of.len()))
        };
        self.net.note(&format!("a user deletes {} {}", guard.kind, guard.name));
        let name = guard.name.clone();
        let again = self.scenario.again && guard.kind == "Backup";
        let _ = self.net.api.send(&Request::Delete { of: guard });
        if again {
            self.backup(&name);
        }
    }

    pub(crate) fn run(mut self) -> Vec<&'static str> {
        // Before anything goes wrong there is something to restore, or, in most histories, at least the repository.
        self.net.faults = false;
        let calm = if self.scenario.restores > 0 {
            self.ask();
            20
        } else if self.seed.is_multiple_of(4) {
            0
        } else {
            8
        };
        for round in 0..calm {
            self.settle(round, false);
        }
        self.net.faults = true;
        for _ in 0..STEPS {
            self.happen();
            self.check();
        }
        self.net.faults = false;
        self.come_to_rest();
        if self.scenario.delete && self.net.chance.one_in(2) {
            for backup in self.net.api.list::<Backup>() {
                let _ = self.net.api.send(&Request::Delete { of: Guard::of(&backup) });
            }
            self.come_to_rest();
        }
        // Only now wakes up what froze.
        while !self.net.late.is_empty() {
            self.net.deliver();
        }
        self.cluster.wake(&mut self.net);
        self.come_to_rest();
        self.judge();
        self.reached()
    }

    fn come_to_rest(&mut self) {
        if self.scenario.slots {
            // The slots that have come are settled, and no others come.
            self.settle(0, false);
            let policy = self.net.api.get::<BackupPolicy>(POLICY).unwrap();
            let of = Guard::of(&policy);
            let change = json!({"spec": {"schedule": {"datafile": {"enable": false}}}});
            let _ = self.net.api.send(&Request::Patch { of, change });
        }
        let mut still = 0;
        for round in 0..ROUNDS {
            let before = self.net.api.revision();
            self.settle(round, true);
            self.check();
            still = if self.net.api.revision() == before {
                still + 1
            } else {
                0
            };
            // What waits for a repository gives up after ten minutes.
            if still > if self.scenario.repository { 40 } else { 6 }
                && self.asked == self.scenario.backups + self.scenario.restores
            {
                return;
            }
        }
    }

    /// One thing happens, to somebody.
    fn happen(&mut self) {
        let which = self.net.chance.below(2);
        match self.net.chance.below(24) {
            0 => self.ask(),
            1 if self.net.chance.one_in(3) => self.delete(),
            2 if self.net.chance.one_in(3) => drop(self.cluster.wake(&mut self.net)),
            2 => self.net.deliver(),
            3 => {
                let seconds = 1 + self.net.chance.below(90);
                self.pass(seconds);
            }
            4 => self.crash(which),
            5 | 6 => self.caches(),
            7 => self.net.api.collect(),
            8 if self.net.chance.one_in(2) => self.cluster.volumes(&mut self.net),
            8 if self.net.chance.one_in(3) => cluster::drain(&mut self.net),
            8 => self.cluster.database(&mut self.net),
            9..=11 => self.cluster.work(&mut self.net),
            12 | 13 => self.cluster.jobs(&mut self.net),
            14 => self.manage(which),
            15 | 16 => self.schedule(which),
            17..=19 => self.execute(which),
            20 | 21 => self.collect(which),
            _ => self.restore(),
        }
    }

    fn pass(&mut self, seconds: usize) {
        self.net.api.now += SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(1));
    }

    fn crash(&mut self, which: usize) {
        let revision = self.net.chance.below(self.net.api.revision() + 1);
        match self.net.chance.below(2) {
            0 => self.executors[which] = Executor::at(revision),
            _ => self.collectors[which] = Gc::at(revision),
        }
    }

    /// Caches catch up, some more and some less, never back.
    fn caches(&mut self) {
        let newest = self.net.api.revision();
        let [old, new] = &mut self.schedulers;
        let [one, other] = &mut self.executors;
        let [first, second] = &mut self.collectors;
        let [former, latter] = &mut self.managers;
        for seen in [
            &mut old.revision,
            &mut new.revision,
            &mut one.revision,
            &mut other.revision,
            &mut first.revision,
            &mut second.revision,
            &mut former.revision,
            &mut latter.revision,
        ] {
            *seen = newest - self.net.chance.below(newest - (*seen).min(newest) + 1);
        }
    }

    fn schedule(&mut self, which: usize) {
        let _ = self.schedulers[which].slots(&mut self.net);
        for name in self.net.api.names::<Backup>() {
            // A process that got no answer looks again later.
            let _ = self.schedulers[which].look(&mut self.net, &name);
        }
    }

    fn execute(&mut self, which: usize) {
        for name in self.net.api.names::<Backup>() {
            let _ = self.executors[which].look(&mut self.net, &name);
        }
    }

    fn collect(&mut self, which: usize) {
        let gc = &mut self.collectors[which];
        let _ = gc.retire(&mut self.net);
        for name in self.net.api.names::<Backup>() {
            let _ = gc.look(&mut self.net, &name);
        }
        for claim in self.net.api.names::<PersistentVolumeClaim>() {
            let _ = gc.purge(&mut self.net, &claim);
        }
    }

    fn manage(&mut self, which: usize) {
        let _ = self.managers[which].look(&mut self.net);
    }

    fn restore(&mut self) {
        for name in self.net.api.names::<RestoreJob>() {
            let _ = restorer::look(&mut self.net, &name);
        }
    }

    /// All do their work, in turn, and nothing goes wrong.
    fn settle(&mut self, round: usize, ask: bool) {
        let newest = self.net.api.revision();
        for which in 0..2 {
            self.schedulers[which].revision = newest;
            self.executors[which].revision = newest;
            self.collectors[which].revision = newest;
            self.managers[which].revision = newest;
        }
        if ask {
            self.ask();
        }
        let which = round % 2;
        self.manage(which);
        self.cluster.volumes(&mut self.net);
        self.schedule(which);
        self.execute(which);
        self.collect(which);
        self.restore();
        self.cluster.jobs(&mut self.net);
        for _ in 0..6 {
            self.cluster.work(&mut self.net);
        }
        self.cluster.database(&mut self.net);
        self.net.api.collect();
        self.pass(20);
    }
}

pub(crate) fn phase(backup: &Backup) -> Option<BackupPhase> {
    backup.status.as_ref().and_then(|status| status.phase)
}
