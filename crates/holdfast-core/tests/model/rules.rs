//! What must hold: at any moment, and once all has come to rest.

use holdfast_api::{
    Backup, BackupPhase, BackupRepo, BackupRepoPhase, RestoreJob, RestoreJobPhase,
    names::{ANNOTATION_HELD, LABEL_REPO_UID},
    suspend_lock::SuspendLock,
};
use holdfast_core::pod::{JobState, job_state};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use serde_json::Value;

use crate::{
    api::text,
    manager,
    world::{World, phase},
};

impl World {
    pub(crate) fn fail(&self, what: &str) -> ! {
        let from = self.net.trace.len().saturating_sub(120);
        panic!("seed {}: {what}\n{}", self.seed, self.net.trace[from..].join("\n"));
    }

    /// What holds at any moment.
    pub(crate) fn check(&self) {
        if let Some(broken) = &self.cluster.disks.broken {
            self.fail(broken);
        }
        for backup in self.net.api.list::<Backup>() {
            if phase(&backup) == Some(BackupPhase::Completed) && backup.metadata.deletion_timestamp.is_none() {
                let status = backup.status.as_ref().unwrap();
                let path = status
                    .manifests
                    .as_ref()
                    .and_then(|manifests| manifests.backup_tool.as_ref()?.file_path.clone());
                let uid = backup.uid().unwrap_or_default();
                if !self.cluster.disks.is_sealed(&path.unwrap_or_default(), &uid) {
                    self.fail(&format!("{} is Completed without a sealed copy", backup.name_any()));
                }
            }
        }
        if self.scenario.foreign
            && self
                .net
                .api
                .raw("Job", "b0")
                .is_none_or(|job| text(job, "/metadata/labels/foreign").is_empty())
        {
            self.fail("somebody else's Job was touched");
        }
    }

    /// What this history came to, so that a test can tell that histories come to all that matters.
    pub(crate) fn reached(&self) -> Vec<&'static str> {
        let seen = |words: &[&str]| {
            let line = |line: &&String| words.iter().all(|word| line.contains(word));
            self.net.trace.iter().any(|one| line(&one))
        };
        let table: [(&'static str, &[&str]); 11] = [
            ("a slot became a Backup", &["scheduler: create Backup", "-> ok"]),
            (
                "another target was asked for",
                &["executor: patch Backup", "\"holdfast.io/admitted\":null", "-> ok"],
            ),
            ("a backup completed", &["status Backup ", "Completed", "-> ok"]),
            ("a backup failed", &["status Backup ", "Failed", "-> ok"]),
            (
                "a repository waited for its Backups",
                &["status BackupRepo", "HaveAssociatedBackups", "-> ok"],
            ),
            ("a volume was removed", &["is erased"]),
            ("files were purged", &["create Job holdfast-purge", "-> ok"]),
            ("a late write was refused", &["late:", "Conflict"]),
            ("a restore completed", &["status RestoreJob", "Completed", "-> ok"]),
            (
                "a volume stayed half written",
                &["status RestoreJob", "TargetDirty", "-> ok"],
            ),
            (
                "a workload came back",
                &["patch StatefulSet", "\"replicas\":3", "-> ok"],
            ),
        ];
        table
            .into_iter()
            .filter(|(_, words)| seen(words))
            .map(|(what, _)| what)
            .collect()
    }

    /// What holds once all has come to rest.
    pub(crate) fn judge(&self) {
        let api = &self.net.api;
        let mut good = 0;
        for backup in api.list::<Backup>() {
            let (name, phase) = (backup.name_any(), phase(&backup));
            if backup.metadata.deletion_timestamp.is_some() {
                self.fail(&format!("{name} is deleted and does not go: {:?}", backup.status));
            }
            if !matches!(phase, Some(BackupPhase::Completed | BackupPhase::Failed)) {
                self.fail(&format!("{name} is stuck: {:?}", backup.status));
            }
            good += usize::from(phase == Some(BackupPhase::Completed));
        }
        let uids: Vec<String> = api.list::<Backup>().iter().filter_map(ResourceExt::uid).collect();
        if let Some(left) = self
            .cluster
            .disks
            .present()
            .find(|uid| !uids.iter().any(|known| known == uid))
        {
            self.fail(&format!("files of {left}, which is gone, are left"));
        }
        for job in api.list::<Job>() {
            let foreign = job.labels().contains_key("foreign");
            let of_restore = job.owner_references().iter().any(|owner| owner.kind == "RestoreJob");
            // Failed ones stay for their logs, until Kubernetes removes them.
            let failed = job_state(&job) != JobState::Running && job_state(&job) != JobState::Complete;
            if !foreign && !of_restore && !failed {
                self.fail(&format!("job {} is left", job.name_any()));
            }
        }
        if self.scenario.retention {
            let completed = self
                .net
                .trace
                .iter()
                .any(|line| line.contains("status Backup") && line.contains("Completed"));
            if completed && good == 0 {
                self.fail("the newest good backup was removed");
            }
            if good > 2 {
                self.fail(&format!("{good} are kept where two may be"));
            }
        }
        for restore in api.list::<RestoreJob>() {
            let over = matches!(
                restore.status.as_ref().and_then(|status| status.phase),
                Some(RestoreJobPhase::Completed | RestoreJobPhase::Failed)
            );
            if !over || restore.metadata.deletion_timestamp.is_some() {
                self.fail(&format!(
                    "{} is stuck: {:?} {:?}",
                    restore.name_any(),
                    restore.finalizers(),
                    restore.status
                ));
            }
        }
        self.judge_workload();
        self.judge_repository();
    }

    /// It is Ready, or it goes and says what is in the way; what one has made that is gone is gone too.
    fn judge_repository(&self) {
        let repo = self.net.api.get::<BackupRepo>(crate::REPO);
        let uid = repo.as_ref().and_then(ResourceExt::uid);
        let mut taken = false;
        for kind in ["Secret", "StorageClass", "PersistentVolumeClaim"] {
            for object in self.net.api.all(kind) {
                let label = &object["metadata"]["labels"][LABEL_REPO_UID];
                if label.as_str() == uid.as_deref() {
                    continue;
                }
                taken = self.came_late(kind, object);
                if !taken {
                    self.fail(&format!("{kind} of a repository that is gone: {}", object["metadata"]));
                }
            }
        }
        let Some(repo) = repo else { return };
        let phase = repo.status.as_ref().and_then(|status| status.phase);
        let associated = manager::associated(&self.net, &repo);
        if repo.metadata.deletion_timestamp.is_some() {
            if associated.is_empty() {
                self.fail(&format!("the repository does not go: {:?}", repo.status));
            }
        } else if phase != Some(BackupRepoPhase::Ready) && !taken {
            self.fail(&format!("the repository does not become Ready: {:?}", repo.status));
        }
    }

    /// Whether a process made it that froze before and woke up when the repository was gone. Nobody can tell it from
    /// one with data, so it stays, and a repository that needs its name says so.
    fn came_late(&self, kind: &str, object: &Value) -> bool {
        let made = format!("late: create {kind} {} -> ok", text(object, "/metadata/name"));
        self.net.trace.iter().any(|line| line.contains(&made))
    }

    fn judge_workload(&self) {
        let set = self.net.api.raw("StatefulSet", "db").unwrap();
        let replicas = set["spec"]["replicas"].as_i64().unwrap();
        let mark = set["metadata"]["annotations"][ANNOTATION_HELD].as_str();
        let held: Option<SuspendLock> = mark.map(|mark| serde_json::from_str(mark).unwrap());
        match held {
            None if replicas != 3 => self.fail(&format!("the workload has {replicas} replicas and nobody holds it")),
            None if self.cluster.disks.dirty => self.fail("the workload is back on a half written volume"),
            Some(held) if replicas != 0 || held.replicas != 3 => {
                self.fail(&format!("held wrongly: {replicas} {held:?}"))
            }
            None | Some(_) => {}
        }
        let last = self
            .net
            .api
            .list::<RestoreJob>()
            .into_iter()
            .max_by_key(ResourceExt::creation_timestamp);
        let whole =
            last.is_some_and(|one| one.status.and_then(|status| status.phase) == Some(RestoreJobPhase::Completed));
        if whole && self.cluster.disks.dirty {
            self.fail("a restore is Completed and the volume half written");
        }
    }
}
