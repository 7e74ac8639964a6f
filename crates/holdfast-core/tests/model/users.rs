//! What users do: they set up a cluster, ask for backups and restores, delete, scale, and install other versions.

use holdfast_api::{
    Backup, BackupPhase, BackupRepo, RestoreJob,
    names::{ANNOTATION_ADMITTED, ANNOTATION_HELD, ANNOTATION_TARGET_POD_NAME, LABEL_AUTOBACKUP},
};
use serde_json::{Value, json};

use crate::{
    POLICY, REPO, Scenario, TOOL,
    api::{Guard, Request},
    cluster::Cluster,
    manager,
    world::World,
};

const OURS: &str = "dataprotection.kubeblocks.io/v1alpha1";

impl World {
    pub(crate) fn create(&mut self, object: Value) {
        // A user's request has no faults; a name that is taken is told to the user.
        let _ = self.net.api.send(&Request::Create(object));
    }

    pub(crate) fn furnish(&mut self) {
        let Scenario {
            slots,
            retention,
            expiry,
            foreign,
            repository,
            ..
        } = self.scenario;
        let limit = if retention { 2 } else { 7 };
        let ttl = match (expiry, self.seed % 2) {
            (true, 0) => "0h",
            (true, _) => "1h",
            (false, _) => "5h",
        };
        self.create(
            json!({"apiVersion": OURS, "kind": "BackupTool", "metadata": {"name": TOOL}, "spec": {
            "image": "tool:1", "backupCommands": ["sh"], "physical": {"restoreCommands": ["sh"]}}}),
        );
        self.create(
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "driver"}, "spec": {}}),
        );
        self.create(manager::provider());
        self.create(manager::repository(!repository));
        self.create(json!({"apiVersion": OURS, "kind": "BackupPolicy", "metadata": {"name": POLICY, "namespace": "ns"}, "spec": {
            "retention": {"ttl": ttl}, "schedule": {"datafile": {"enable": slots, "cronExpression": "*/3 * * * *"}},
            "datafile": {"backupToolName": TOOL, "backupRepoName": REPO, "backupsHistoryLimit": limit,
                "target": {"labelsSelector": {"matchLabels": {"app": "db"}}}}}}));
        self.create(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "ns"}, "spec": {
            "replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "db", "image": "db:1"}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]}}));
        if foreign {
            self.create(json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "b0", "namespace": "ns", "labels": {"foreign": "true"}},
                "spec": {"template": {"metadata": {}, "spec": {"containers": []}}}}));
        }
        Cluster::database(&mut self.net);
    }

    /// Users ask for the next thing.
    pub(crate) fn ask(&mut self) {
        if self.net.api.raw("BackupRepo", REPO).is_none() && self.seed.is_multiple_of(2) {
            self.create(manager::repository(false));
        }
        if self.scenario.again && self.net.faults && self.net.api.raw("Backup", "b0").is_none() {
            self.backup("b0");
        }
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
            .is_some_and(|backup| backup.phase() == BackupPhase::Completed);
        let next = self.asked - self.scenario.backups;
        if next < self.scenario.restores && (done || next > 0 || !self.net.faults) {
            self.asked += 1;
            self.create(json!({"apiVersion": OURS, "kind": "RestoreJob", "metadata": {"name": format!("r{next}"), "namespace": "ns"}, "spec": {
                "backupJobName": "b0", "replace": true, "onFailAttempted": 1, "target": {"labelsSelector": {"matchLabels": {"app": "db"}}},
                "targetVolumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}],
                "targetVolumeMounts": [{"name": "data", "mountPath": "/data"}]}}));
        }
    }

    pub(crate) fn backup(&mut self, name: &str) {
        let labels = if self.scenario.retention {
            json!({LABEL_AUTOBACKUP: "true"})
        } else {
            json!({})
        };
        // Some are copied from another one, marks and all.
        let annotations = if self.seed.is_multiple_of(5) {
            json!({ANNOTATION_ADMITTED: "2026-01-01T00:00:00Z", ANNOTATION_TARGET_POD_NAME: "db-0"})
        } else {
            json!({})
        };
        self.create(json!({"apiVersion": OURS, "kind": "Backup",
            "metadata": {"name": name, "namespace": "ns", "labels": labels, "annotations": annotations},
            "spec": {"backupPolicyName": POLICY}}));
    }

    /// Users delete something.
    pub(crate) fn delete(&mut self) {
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
        let guard = of.swap_remove(self.net.chance.below(of.len()));
        let name = guard.name.clone();
        let again = self.scenario.again && guard.kind == "Backup";
        self.remove(guard);
        if again {
            self.backup(&name);
        }
    }

    pub(crate) fn remove(&mut self, of: Guard) {
        self.net.note(&format!("a user deletes {} {}", of.kind, of.name));
        self.net.deleted.insert(of.uid.clone());
        let of = Guard { version: None, ..of };
        let _ = self.net.api.send(&Request::Delete { of });
    }

    /// A user scales the workload: to what it shall have from now on, or up while a restore holds it down.
    pub(crate) fn scale(&mut self) {
        let set = self.net.api.raw("StatefulSet", "db").cloned().expect("the database");
        let held = set["metadata"]["annotations"][ANNOTATION_HELD].is_string();
        if held && !self.seed.is_multiple_of(4) {
            return;
        }
        if held {
            self.meddled = true;
            self.net.reach("somebody scaled a workload that a restore held");
        } else {
            self.replicas = if self.replicas == 3 { 2 } else { 3 };
            self.net.reach("somebody scaled the workload");
        }
        self.net
            .note(&format!("a user scales the workload to {}", self.replicas));
        let (of, change) = (Guard::loose(&set), json!({"spec": {"replicas": self.replicas}}));
        let _ = self.net.api.send(&Request::Patch { of, change });
    }

    /// Another version has other words for everything, and remembers no times of conditions.
    pub(crate) fn reword(&mut self) {
        for kind in ["Backup", "BackupPolicy", "BackupRepo", "RestoreJob", "StorageProvider"] {
            for object in self.net.api.all(kind) {
                let mut conditions = object["status"]["conditions"].clone();
                for condition in conditions.as_array_mut().into_iter().flatten() {
                    condition["reason"] = "Reworded".into();
                    condition["message"] = "in other words".into();
                    condition["lastTransitionTime"] = "2020-02-02T02:02:02Z".into();
                }
                if conditions.is_array() {
                    self.net
                        .api
                        .update(&object, &json!({"status": {"conditions": conditions}}));
                    self.net.reach("everything was said in other words");
                }
            }
        }
    }
}
