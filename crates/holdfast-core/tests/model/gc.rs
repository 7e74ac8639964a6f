//! gc's part: Backups retire, deleted ones lose their files and go.

use std::{collections::HashMap, sync::Arc};

use holdfast_api::{Backup, BackupPolicy, names::ANNOTATION_REPOSITORY};
use holdfast_core::gc::{
    self, BackupSummary, Batch, Group, Index, Limits, Observed, Place, Write, is_ours, place, pull_secrets, purge_job,
    purge_plan::{self, History, Over, Purge, Step, Volume},
    retire,
};
use jiff::SignedDuration;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::ResourceExt as _;
use serde_json::json;

use crate::{
    api::{Guard, Refused, Request, json},
    net::{Failure, Net},
};

/// One process. What it remembers is lost when it crashes.
#[derive(Default)]
pub(crate) struct Gc {
    pub(crate) revision: usize,
    history: History,
    made: HashMap<String, Arc<Job>>,
    removed: Vec<String>,
}

impl Gc {
    /// A process that has just started, with caches of that state.
    pub(crate) fn at(revision: usize) -> Self {
        Self {
            revision,
            ..Self::default()
        }
    }

    fn index(&self, net: &Net) -> Index {
        let mut index = Index::default();
        for backup in net.api.list_at::<BackupSummary>(self.revision) {
            index.apply(&Arc::new(backup));
        }
        index
    }

    /// Retires what has expired and what is too much.
    pub(crate) fn retire(&self, net: &mut Net) -> Result<(), Failure> {
        let index = self.index(net);
        let at = ("ns".to_owned(), crate::POLICY.to_owned());
        let needed = |backup: &BackupSummary| {
            let at = ("ns".to_owned(), backup.name_any());
            !index.dependents(&at).is_empty()
        };
        // The limits are read afresh before anything goes because of them.
        let limits = net
            .api
            .get::<BackupPolicy>(crate::POLICY)
            .map(|policy| Limits::of(&policy));
        let group = Group {
            backups: index.group(&at),
            limits,
        };
        for candidate in retire(&group, &needed, net.api.now) {
            if let Some(newer_good) = &candidate.newer_good {
                let found = net.api.get::<BackupSummary>(&newer_good.name_any());
                if !found.is_some_and(|found| found.is_good() && found.uid() == newer_good.uid()) {
                    return Ok(());
                }
            }
            let of = Guard::of(&*candidate.backup);
            match net.send("gc", &Request::Delete { of }) {
                Ok(_) | Err(Failure::Refused(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Looks at one deleted Backup.
    pub(crate) fn look(&self, net: &mut Net, name: &str) -> Result<(), Failure> {
        let concerns =
            |backup: &BackupSummary| gc::concerns(backup.status.phase, backup.is_going(), backup.finalizers());
        if !net
            .api
            .get_at::<BackupSummary>(self.revision, name)
            .is_some_and(|backup| concerns(&backup))
        {
            return Ok(());
        }
        let Some(backup) = net.api.get::<Backup>(name) else {
            return Ok(());
        };
        let status = backup.status.clone().unwrap_or_default();
        let claim = match place(name, &status) {
            Place::Own { claim, .. } => net.api.get::<PersistentVolumeClaim>(claim),
            Place::Nowhere | Place::Shared { .. } => None,
        };
        let observed = Observed {
            dependents: self.index(net).dependents(&("ns".to_owned(), name.to_owned())),
            namespace_terminating: false,
            claim,
            backup,
        };
        let backup = &observed.backup;
        let request = match gc::decide(&observed, net.api.now).write {
            None => return Ok(()),
            Some(Write::Status(status)) => Request::Status(json(&Backup {
                status: Some(*status),
                ..backup.clone()
            })),
            Some(Write::Release(metadata)) => Request::Patch {
                of: Guard::of(backup),
                change: json!({ "metadata": metadata }),
            },
        };
        net.send("gc", &request).map(drop)
    }

    /// Looks at the claim: removes the files of what is deleted.
    pub(crate) fn purge(&mut self, net: &mut Net, claim: &str) -> Result<(), Failure> {
        let mut volume = self.volume(net, claim);
        for _ in 0..50 {
            let step = purge_plan::decide(&volume, &self.history, net.api.now);
            match step {
                Step::Rest(_) => return Ok(()),
                Step::Create(batch) => {
                    if !self.create(net, &mut volume, batch)? {
                        return Ok(());
                    }
                }
                Step::Release(backup) => {
                    if let Write::Release(metadata) = gc::release(backup.finalizers()) {
                        let of = Guard::of(&*backup);
                        let change = json!({ "metadata": metadata });
                        match net.send("gc", &Request::Patch { of, change }) {
                            Ok(_) | Err(Failure::Refused(Refused::NotFound)) => {}
                            Err(failure) => return Err(failure),
                        }
                    }
                    volume.waiting.retain(|one| one.uid() != backup.uid());
                }
                Step::Tell {
                    backup,
                    job,
                    reason,
                    why,
                } => {
                    let now = net.api.now;
                    say(net, &mut volume, &backup, |whole| {
                        gc::tell(whole, &job, reason, &why, now).map(|told| told.0)
                    })?;
                }
                Step::Untell(backup) => {
                    let now = net.api.now;
                    say(net, &mut volume, &backup, |whole| gc::untell(whole, now))?;
                }
                Step::Remove { job, batch, over, .. } => {
                    let uid = job.uid().unwrap_or_default();
                    let of = Guard {
                        version: None,
                        ..Guard::of(&*job)
                    };
                    match net.send("gc", &Request::Delete { of }) {
                        Ok(_) | Err(Failure::Refused(Refused::NotFound)) => {}
                        Err(failure) => return Err(failure),
                    }
                    self.removed.push(uid);
                    volume.purges.retain(|purge| purge.job.uid() != job.uid());
                    if matches!(over, Over::Split | Over::Retry) {
                        self.history.failed(&batch);
                    }
                }
            }
        }
        panic!("the steps of a purge do not come to rest");
    }

    fn volume(&mut self, net: &Net, claim: &str) -> Volume {
        let mut jobs: Vec<Arc<Job>> = net
            .api
            .list_at::<Job>(self.revision)
            .into_iter()
            .map(Arc::new)
            .collect();
        let made: Vec<Arc<Job>> = self.made.values().cloned().collect();
        for job in made {
            if jobs.iter().any(|known| known.uid() == job.uid()) {
                self.made.remove(&job.uid().unwrap_or_default());
            } else {
                jobs.push(job);
            }
        }
        let removed = |job: &Arc<Job>| self.removed.contains(&job.uid().unwrap_or_default());
        jobs.retain(|job| is_ours(job) && !removed(job));
        let purges = jobs.into_iter().filter_map(|job| {
            let batch = Batch::of(&job).filter(|batch| batch.claim == claim)?;
            let pods = pods_of(net, &job);
            Some(Purge { job, batch, pods })
        });
        Volume {
            namespace: "ns".to_owned(),
            claim: claim.to_owned(),
            purges: purges.collect(),
            waiting: self.index(net).waiting(&("ns".to_owned(), claim.to_owned())),
            retry: SignedDuration::from_mins(1),
        }
    }

    /// False if it is to be looked at later.
    fn create(&mut self, net: &mut Net, volume: &mut Volume, batch: Batch) -> Result<bool, Failure> {
        let Some(claim) = net.api.get::<PersistentVolumeClaim>(&batch.claim) else {
            return Ok(false);
        };
        let repository = claim.annotations().get(ANNOTATION_REPOSITORY).map(String::as_str);
        let job = purge_job(
            "agent:1",
            None,
            &batch,
            repository,
            pull_secrets(&batch, &volume.waiting),
        );
        let job = match net.send("gc", &Request::Create(json(&job))) {
            Ok(stored) => {
                let job: Arc<Job> = Arc::new(serde_json::from_value(stored).expect("a Job"));
                self.made.insert(job.uid().unwrap_or_default(), Arc::clone(&job));
                job
            }
            Err(Failure::Refused(Refused::Exists)) => {
                let found = net.api.get::<Job>(&job.name_any());
                let ours = |job: &Job| is_ours(job) && Batch::of(job).as_ref() == Some(&batch);
                match found.filter(|job| job.metadata.deletion_timestamp.is_none() && ours(job)) {
                    Some(job) => Arc::new(job),
                    None => return Ok(false),
                }
            }
            Err(Failure::Refused(_)) => return Ok(false),
            Err(failure) => return Err(failure),
        };
        let pods = pods_of(net, &job);
        volume.purges.push(Purge { job, batch, pods });
        Ok(true)
    }
}

fn pods_of(net: &Net, job: &Job) -> Vec<Arc<Pod>> {
    let uid = job.uid();
    let of_job = |pod: &Pod| pod.labels().get("batch.kubernetes.io/controller-uid") == uid.as_ref();
    net.api.list::<Pod>().into_iter().filter(of_job).map(Arc::new).collect()
}

fn say(
    net: &mut Net,
    volume: &mut Volume,
    backup: &Arc<BackupSummary>,
    status: impl FnOnce(&Backup) -> Option<holdfast_api::BackupStatus>,
) -> Result<(), Failure> {
    let found = net.api.get::<Backup>(&backup.name_any());
    let Some(mut whole) = found.filter(|found| found.uid() == backup.uid()) else {
        volume.waiting.retain(|one| one.uid() != backup.uid());
        return Ok(());
    };
    if let Some(status) = status(&whole) {
        whole.status = Some(status);
        net.send("gc", &Request::Status(json(&whole)))?;
    }
    let fresh = net.api.get::<BackupSummary>(&backup.name_any()).map(Arc::new);
    for one in volume.waiting.iter_mut().filter(|one| one.uid() == backup.uid()) {
        if let Some(fresh) = &fresh {
            *one = Arc::clone(fresh);
        }
    }
    Ok(())
}
