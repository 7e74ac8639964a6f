//! An executor's part: admitted Backups are planned, run and ended; Jobs of ended ones go.

use std::{collections::HashMap, sync::Arc};

use holdfast_api::{
    Backup, BackupPhase, BackupRepo,
    names::{
        ANNOTATION_REPOSITORY, ANNOTATION_TARGET_POD_NAME, LABEL_BACKUP_UID, LABEL_ROLE, ROLE_BACKUP, ROLE_REPORT,
    },
};
use holdfast_core::backup::{self, Next, Observed, Owner, Pods, Read, Seen, Settings, Write, cleanup, report_job_name};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt;
use serde_json::json;

use crate::{
    api::{Guard, Refused, Request, json},
    net::{Failure, Net},
    volumes::claim_name,
};

/// One process. What it remembers is lost when it crashes.
#[derive(Default)]
pub(crate) struct Executor {
    pub(crate) revision: usize,
    backups: HashMap<String, Arc<Backup>>,
    jobs: HashMap<(String, String), Arc<Job>>,
}

/// One look at a Backup: what was read for it from the API server.
struct Pass {
    backup: Arc<Backup>,
    read_at: Option<Timestamp>,
    job: Option<Seen<Job>>,
    report: Option<Seen<Job>>,
    pods: Option<Pods>,
    report_pods: Option<Pods>,
    target: Seen<Pod>,
    fresh: Vec<Read>,
}

impl Pass {
    fn uid(&self) -> String {
        self.backup.uid().unwrap_or_default()
    }

    fn job_name(&self) -> Option<String> {
        Some(self.backup.status.as_ref()?.plan.as_ref()?.job_name.clone())
    }
}

impl Executor {
    /// A process that has just started, with caches of that state.
    pub(crate) fn at(revision: usize) -> Self {
        Self {
            revision,
            ..Self::default()
        }
    }

    /// Looks at the Backup of that name, and at the Jobs that Backups of that name have left.
    pub(crate) fn look(&mut self, net: &mut Net, name: &str) -> Result<(), Failure> {
        let cached: Option<Backup> = net.api.get_at(self.revision, name);
        let current = cached
            .filter(|backup| !has_ended(backup))
            .map(|backup| self.latest(backup));
        self.sweep(net, name, current.as_deref())?;
        current.map_or(Ok(()), |backup| self.drive(net, backup))
    }

    fn latest(&self, cached: Backup) -> Arc<Backup> {
        let version = |backup: &Backup| {
            backup
                .resource_version()
                .and_then(|version| version.parse::<u64>().ok())
        };
        match self.backups.get(&cached.uid().unwrap_or_default()) {
            Some(known) if version(known) > version(&cached) => Arc::clone(known),
            _ => Arc::new(cached),
        }
    }

    fn drive(&mut self, net: &mut Net, backup: Arc<Backup>) -> Result<(), Failure> {
        let mut pass = Pass {
            backup,
            read_at: None,
            job: None,
            report: None,
            pods: None,
            report_pods: None,
            target: Seen::default(),
            fresh: Vec::new(),
        };
        for _ in 0..24 {
            let decision = backup::decide(&self.observe(net, &pass), net.api.now);
            match (decision.write, decision.next) {
                (Some(write), _) => {
                    if !self.apply(net, &mut pass, write)? {
                        return Ok(());
                    }
                }
                (None, Next::Read(read)) => {
                    if !self.read(net, &mut pass, read) {
                        return Ok(());
                    }
                }
                (None, _) => return Ok(()),
            }
        }
        panic!("a pass does not come to rest: {:?}", pass.backup.status);
    }

    fn observe(&self, net: &Net, pass: &Pass) -> Observed {
        let at = |read: Read| {
            if pass.fresh.contains(&read) {
                net.api.revision()
            } else {
                self.revision
            }
        };
        let job = |known: &Option<Seen<Job>>, name: Option<String>| {
            let look = || {
                let name = name?;
                let cached: Option<Job> = net.api.get_at(self.revision, &name);
                cached
                    .map(Arc::new)
                    .or_else(|| self.jobs.get(&(pass.uid(), name)).cloned())
            };
            known.clone().unwrap_or_else(|| Seen::cached(look()))
        };
        let repo: Option<BackupRepo> = net.api.get_at(at(Read::Repo), crate::REPO);
        let plan = pass.backup.status.as_ref().and_then(|status| status.plan.as_ref());
        let planned = plan.map(|plan| plan.persistent_volume_claim_name.clone());
        let claim = planned.or_else(|| claim_name(repo.as_ref()));
        Observed {
            settings: Arc::new(Settings {
                agent_image: "agent:1".to_owned(),
                pull_policy: None,
                deadline: SignedDuration::from_hours(6),
                not_ready_timeout: SignedDuration::from_mins(10),
            }),
            backup: Arc::clone(&pass.backup),
            backup_read: pass.read_at,
            policy: by(
                pass.fresh.contains(&Read::Policy),
                net.api.get_at(at(Read::Policy), crate::POLICY),
            ),
            tool: by(
                pass.fresh.contains(&Read::Tool),
                net.api.get_at(at(Read::Tool), crate::TOOL),
            ),
            repos: net
                .api
                .list_at::<BackupRepo>(self.revision)
                .into_iter()
                .map(Arc::new)
                .collect(),
            repo: by(pass.fresh.contains(&Read::Repo), repo),
            pvc: by(
                pass.fresh.contains(&Read::Claim),
                claim.and_then(|name| net.api.get_at(at(Read::Claim), &name)),
            ),
            volume: None,
            node: None,
            target: pass.target.clone(),
            claims: Vec::new(),
            job: job(&pass.job, pass.job_name()),
            pods: pass
                .pods
                .clone()
                .unwrap_or_else(|| pods(net, self.revision, &pass.uid(), ROLE_BACKUP, false)),
            report: job(&pass.report, Some(report_job_name(&pass.backup))),
            report_pods: pass
                .report_pods
                .clone()
                .unwrap_or_else(|| pods(net, self.revision, &pass.uid(), ROLE_REPORT, false)),
            refused: None,
        }
    }

    /// False if the Backup is gone.
    fn read(&mut self, net: &Net, pass: &mut Pass, read: Read) -> bool {
        let live = |name: Option<String>| Seen::live(name.and_then(|name| net.api.get::<Job>(&name)).map(Arc::new));
        match read {
            Read::Backup => {
                let found = net.api.get::<Backup>(&pass.backup.name_any());
                let Some(backup) = found.filter(|found| found.uid() == pass.backup.uid()) else {
                    return false;
                };
                self.answered(net, pass, backup);
            }
            Read::Policy | Read::Tool | Read::Repo | Read::Claim => pass.fresh.push(read),
            Read::Target => {
                let name = pass.backup.annotations().get(ANNOTATION_TARGET_POD_NAME);
                pass.target = Seen::live(name.and_then(|name| net.api.get(name)).map(Arc::new));
            }
            Read::Job => pass.job = Some(live(pass.job_name())),
            Read::Report => pass.report = Some(live(Some(report_job_name(&pass.backup)))),
            Read::Pods => pass.pods = Some(pods(net, net.api.revision(), &pass.uid(), ROLE_BACKUP, true)),
            Read::ReportPods => pass.report_pods = Some(pods(net, net.api.revision(), &pass.uid(), ROLE_REPORT, true)),
        }
        true
    }

    fn answered(&mut self, net: &Net, pass: &mut Pass, backup: Backup) {
        let backup = Arc::new(backup);
        self.backups
            .insert(backup.uid().unwrap_or_default(), Arc::clone(&backup));
        pass.backup = backup;
        pass.read_at = Some(net.api.now);
    }

    /// False if there is nothing left to decide.
    fn apply(&mut self, net: &mut Net, pass: &mut Pass, write: Write) -> Result<bool, Failure> {
        let backup = &*pass.backup;
        let request = match write {
            Write::Metadata(metadata) => Request::Patch {
                of: Guard::of(backup),
                change: json!({ "metadata": metadata }),
            },
            Write::Status(status) => Request::Status(json(&Backup {
                status: Some(*status),
                ..backup.clone()
            })),
            Write::CreateJob(job) => return self.create(net, pass, &job, Read::Job),
            Write::CreateReportJob(job) => return self.create(net, pass, &job, Read::Report),
            Write::DeleteJob {
                name,
                uid,
                resource_version,
            } => {
                let of = Guard {
                    kind: "Job".to_owned(),
                    name: name.clone(),
                    uid,
                    version: resource_version,
                };
                let read = if name == report_job_name(backup) {
                    Read::Report
                } else {
                    Read::Job
                };
                match net.send("executor", &Request::Delete { of }) {
                    Ok(_) | Err(Failure::Refused(Refused::Conflict | Refused::NotFound)) => {}
                    Err(failure) => return Err(failure),
                }
                self.jobs.remove(&(pass.uid(), name));
                return Ok(self.read(net, pass, read));
            }
            Write::MarkRepository { pvc, id } => {
                let of = Guard::of(&*pvc);
                let change = json!({"metadata": {"annotations": {ANNOTATION_REPOSITORY: id}}});
                match net.send("executor", &Request::Patch { of, change }) {
                    Ok(_) | Err(Failure::Refused(_)) => {}
                    Err(failure) => return Err(failure),
                }
                return Ok(self.read(net, pass, Read::Claim));
            }
        };
        match net.send("executor", &request) {
            Ok(stored) => {
                let backup = serde_json::from_value(stored).expect("a Backup");
                self.answered(net, pass, backup);
                Ok(true)
            }
            Err(Failure::Refused(Refused::Conflict)) => Ok(self.read(net, pass, Read::Backup)),
            Err(Failure::Refused(_)) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    fn create(&mut self, net: &mut Net, pass: &mut Pass, job: &Job, read: Read) -> Result<bool, Failure> {
        match net.send("executor", &Request::Create(json(job))) {
            Ok(stored) => {
                let job: Arc<Job> = Arc::new(serde_json::from_value(stored).expect("a Job"));
                self.jobs.insert((pass.uid(), job.name_any()), Arc::clone(&job));
                let seen = Some(Seen::live(Some(job)));
                if read == Read::Report {
                    pass.report = seen;
                } else {
                    pass.job = seen;
                }
                Ok(true)
            }
            Err(Failure::Refused(Refused::Exists)) => Ok(self.read(net, pass, read)),
            Err(Failure::Refused(_)) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    fn sweep(&mut self, net: &mut Net, name: &str, current: Option<&Backup>) -> Result<(), Failure> {
        let active = current.and_then(ResourceExt::uid);
        let named = |job: &Job| {
            let annotation = job.annotations().get(holdfast_api::names::ANNOTATION_FULL_NAME);
            job.labels().contains_key(LABEL_BACKUP_UID)
                && annotation.map_or(job.name_any() == name, |full| full == name)
        };
        for job in net.api.list_at::<Job>(self.revision).into_iter().filter(named) {
            let uid = job.labels().get(LABEL_BACKUP_UID).cloned();
            if uid == active {
                continue;
            }
            let known = self.backups.get(uid.as_deref().unwrap_or_default());
            let over = known.is_some_and(|backup| has_ended(backup));
            let mut decision = cleanup(&job, if over { Owner::Over } else { Owner::Unknown }, net.api.now);
            if matches!(decision.next, Next::Read(_)) {
                let owner = net.api.get::<Backup>(name).filter(|backup| backup.uid() == uid);
                let over = owner.is_none_or(|backup| has_ended(&backup));
                decision = cleanup(&job, if over { Owner::Over } else { Owner::Active }, net.api.now);
            }
            if let Some(Write::DeleteJob {
                name,
                uid,
                resource_version,
            }) = decision.write
            {
                let kind = "Job".to_owned();
                let of = Guard {
                    kind,
                    name,
                    uid,
                    version: resource_version,
                };
                match net.send("executor", &Request::Delete { of }) {
                    Ok(_) | Err(Failure::Refused(_)) => {}
                    Err(failure) => return Err(failure),
                }
            }
        }
        Ok(())
    }
}

fn has_ended(backup: &Backup) -> bool {
    let phase = backup.status.as_ref().and_then(|status| status.phase);
    matches!(
        phase,
        Some(BackupPhase::Completed | BackupPhase::Failed | BackupPhase::Deleting)
    )
}

fn pods(net: &Net, revision: usize, uid: &str, role: &str, live: bool) -> Pods {
    let has = |pod: &Pod, key: &str, value: &str| pod.labels().get(key).is_some_and(|found| found == value);
    let ours = |pod: &Pod| has(pod, LABEL_BACKUP_UID, uid) && has(pod, LABEL_ROLE, role);
    let items = net
        .api
        .list_at::<Pod>(revision)
        .into_iter()
        .filter(ours)
        .map(Arc::new)
        .collect();
    Pods { items, live }
}

fn by<K>(fresh: bool, seen: Option<K>) -> Seen<K> {
    let seen = seen.map(Arc::new);
    if fresh { Seen::live(seen) } else { Seen::cached(seen) }
}
