//! What must hold: at any moment, and once all has come to rest.

use holdfast_api::{
    Backup, BackupPhase, BackupRepo, BackupRepoPhase, ObjectMetaExt as _, RestoreJob, RestoreJobPhase,
    names::{ANNOTATION_HELD, LABEL_REPO_UID},
    suspend_lock::SuspendLock,
};
use holdfast_core::pod::{JobState, job_state};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt;

use crate::{api::text, manager, world::World};

impl World {
    /// What happened last, with what is wrong.
    pub(crate) fn story(&self, what: &str) -> String {
        let from = self.net.trace.len().saturating_sub(120);
        format!("seed {}: {what}\n{}", self.seed, self.net.trace[from..].join("\n"))
    }

    fn fails(&self, what: impl AsRef<str>) -> Result<(), String> {
        Err(self.story(what.as_ref()))
    }

    /// What holds at any moment.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        if let Some(broken) = self.net.broken.take() {
            return self.fails(broken);
        }
        let now = (self.net.api.revision(), self.cluster.disks.changes);
        if std::mem::replace(&mut self.checked, now) == now {
            return Ok(());
        }
        for backup in self.net.api.list::<Backup>() {
            if !backup.is_terminating()
                && backup.phase() == BackupPhase::Completed
                && !self.cluster.disks.has_copy(&backup)
            {
                return self.fails(format!("{} is Completed without its sealed copy", backup.name_any()));
            }
        }
        let runs = |pod: &Pod| pod.labels().get("app").is_some_and(|app| app == "db");
        // What a user does who starts it by hand is another matter.
        let database = self.net.api.list::<Pod>().iter().any(runs);
        if self.cluster.disks.dirty && !self.meddled && database {
            return self.fails("the database runs on a half written volume");
        }
        if database && !self.meddled && self.cluster.restores() {
            return self.fails("the database runs, and so does a restore");
        }
        if database {
            let beside: Vec<String> = self.cluster.writing().map(str::to_owned).collect();
            if !beside.is_empty() {
                self.net.reach("the database ran beside a restore");
            }
            self.beside.extend(beside);
        }
        let two_writers = |one: &RestoreJob| one.uid().is_some_and(|uid| self.beside.contains(&uid));
        let restores = self.net.api.list::<RestoreJob>();
        if restores
            .iter()
            .any(|one| one.phase() == RestoreJobPhase::Completed && two_writers(one))
        {
            return self.fails("a restore is Completed that the database ran beside");
        }
        if self.cluster.writers() > 1 {
            return self.fails("two restores write one volume");
        }
        let foreign = self
            .net
            .api
            .raw("Job", "b0")
            .map(|job| text(job, "/metadata/labels/foreign"));
        if self.scenario.foreign && foreign.is_none_or(|label| label.is_empty()) {
            return self.fails("somebody else's Job was touched");
        }
        Ok(())
    }

    /// What this history came to, so that a test can tell that histories come to all that matters.
    pub(crate) fn look_back(&mut self) {
        let table: [(&'static str, &[&str]); 11] = [
            ("a slot became a Backup", &["Scheduler: create Backup", "-> ok"]),
            (
                "another target was asked for",
                &["Executor: patch Backup", "\"holdfast.io/admitted\":null", "-> ok"],
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
                &["Restore: patch StatefulSet", "\"holdfast.io/held\":null", "-> ok"],
            ),
        ];
        for (what, words) in table {
            if self
                .net
                .trace
                .iter()
                .any(|line| words.iter().all(|word| line.contains(word)))
            {
                self.net.reach(what);
            }
        }
    }

    /// What holds once all has come to rest.
    pub(crate) fn judge(&self) -> Result<(), String> {
        let backups = self.net.api.list::<Backup>();
        for backup in &backups {
            let name = backup.name_any();
            if backup.is_terminating() {
                return self.fails(format!("{name} is deleted and does not go: {:?}", backup.status));
            }
            if !matches!(backup.phase(), BackupPhase::Completed | BackupPhase::Failed) {
                return self.fails(format!("{name} is stuck: {:?}", backup.status));
            }
        }
        let known = |uid: &String| backups.iter().any(|backup| backup.metadata.uid.as_ref() == Some(uid));
        if let Some(left) = self.cluster.disks.present().find(|uid| !known(uid)) {
            return self.fails(format!("files of {left}, which is gone, are left"));
        }
        for job in self.net.api.list::<Job>() {
            let foreign = job.labels().contains_key("foreign");
            let of_restore = job.owner_references().iter().any(|owner| owner.kind == "RestoreJob");
            // Failed ones stay for their logs, until Kubernetes removes them.
            let failed = !matches!(job_state(&job), JobState::Running | JobState::Complete);
            if !foreign && !of_restore && !failed {
                return self.fails(format!("job {} is left", job.name_any()));
            }
        }
        let good = backups
            .iter()
            .filter(|backup| backup.phase() == BackupPhase::Completed)
            .count();
        let completed = |line: &String| line.contains("status Backup ") && line.contains("Completed");
        if self.scenario.retention || self.scenario.expiry {
            if good == 0 && !self.scenario.delete && self.net.trace.iter().any(completed) {
                return self.fails("the newest good backup was removed");
            }
            if good > 2 && self.scenario.retention {
                return self.fails(format!("{good} are kept where two may be"));
            }
            if good > 1 && self.scenario.expiry {
                return self.fails(format!("{good} are kept, and all but one have expired"));
            }
        }
        for restore in self.net.api.list::<RestoreJob>() {
            let over = matches!(restore.phase(), RestoreJobPhase::Completed | RestoreJobPhase::Failed);
            let text = restore
                .status
                .as_ref()
                .and_then(|status| status.failure_reason.as_deref());
            // Who has said that it is about to write, and is late, may still have asked for its Job.
            let other = ["an earlier restore", "in time"];
            let dirty = text
                .is_some_and(|text| text.contains("half written") && !other.iter().any(|other| text.contains(other)));
            if dirty && !self.cluster.has_started(&restore.uid().unwrap_or_default()) {
                return self.fails(format!(
                    "{} is called half written, and never began",
                    restore.name_any()
                ));
            }
            if !over || restore.is_terminating() {
                let (name, status) = (restore.name_any(), &restore.status);
                return self.fails(format!("{name} is stuck: {:?} {status:?}", restore.finalizers()));
            }
        }
        self.judge_workload()?;
        self.judge_repository()
    }

    /// It is Ready, or it goes and says what is in the way; what one has made that is gone is gone too.
    fn judge_repository(&self) -> Result<(), String> {
        let api = &self.net.api;
        let repo = api.get::<BackupRepo>(crate::REPO);
        let uid = repo.as_ref().and_then(ResourceExt::uid);
        let mut taken = false;
        for kind in ["Secret", "StorageClass", "PersistentVolumeClaim"] {
            for object in api.all(kind) {
                let label = &object["metadata"]["labels"][LABEL_REPO_UID];
                if label.as_str() == uid.as_deref() {
                    continue;
                }
                // Whoever makes it when the repository is gone already cannot be fenced, and nobody can tell it from one
                // with data: it stays, and a repository that needs its name says so.
                taken = !api.was_there("BackupRepo", label.as_str().unwrap_or_default(), &object);
                if !taken {
                    return self.fails(format!("{kind} of a repository that is gone: {}", object["metadata"]));
                }
            }
        }
        let Some(repo) = repo else { return Ok(()) };
        let phase = repo.status.as_ref().and_then(|status| status.phase);
        let associated = manager::associated(&api.list(), &repo);
        if repo.is_terminating() {
            if associated.is_empty() {
                return self.fails(format!("the repository does not go: {:?}", repo.status));
            }
        } else if phase != Some(BackupRepoPhase::Ready) && !taken {
            return self.fails(format!("the repository does not become Ready: {:?}", repo.status));
        }
        Ok(())
    }

    /// It has the replicas that its user wants, on a volume that is whole, or a restore holds it and knows them.
    fn judge_workload(&self) -> Result<(), String> {
        let set = self.net.api.raw("StatefulSet", "db").expect("the database");
        let replicas = set["spec"]["replicas"].as_i64().expect("a number");
        let mark = set["metadata"]["annotations"][ANNOTATION_HELD].as_str();
        let held: Option<SuspendLock> = mark.map(|mark| serde_json::from_str(mark).expect("a lock"));
        let dirty = self.cluster.disks.dirty;
        match held {
            None if replicas != self.replicas => {
                return self.fails(format!("the workload has {replicas} replicas and nobody holds it"));
            }
            None if dirty => return self.fails("the workload is back on a half written volume"),
            Some(ref held) if i64::from(held.replicas) != self.replicas || (replicas != 0 && !self.meddled) => {
                return self.fails(format!("held wrongly: {replicas} {held:?}"));
            }
            None | Some(_) => {}
        }
        let restores = self.net.api.list::<RestoreJob>().into_iter();
        let last = restores.max_by_key(ResourceExt::creation_timestamp);
        let whole = last.filter(|one| one.phase() == RestoreJobPhase::Completed);
        // Another one may have begun since, and is gone.
        let holds = |one: RestoreJob| held.is_none_or(|held| one.uid() == Some(held.uid));
        if dirty && whole.is_some_and(holds) {
            return self.fails("a restore is Completed and the volume half written");
        }
        Ok(())
    }
}
