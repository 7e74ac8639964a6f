//! What gc looks at: Backups retire, deleted ones lose their files and go.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use holdfast_api::{Backup, BackupPolicy, BackupSpec, condition::Reason, names::ANNOTATION_POLICY_UID};
use holdfast_core::{
    decision::Seen,
    driver::{Found, Written},
    gc::{
        self, BackupSummary, Batch, Candidate, Group, Index, Limits, Place, is_ours, next_expiration,
        purge_plan::{History, Over, Purge, Step as PurgeStep, Volume},
        retire,
        volume::{self, Obstacle, Plan},
    },
    pod::{JobState, job_state},
};
use jiff::SignedDuration;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    actor::{On, Pass, begin},
    api::{Guard, Refused, Request, typed},
    net::{Failure, Net, Rule},
    process::{Site, Step, Task},
};

/// What one process remembers.
#[derive(Default)]
pub(crate) struct Memory {
    history: History,
    made: HashMap<String, Arc<Job>>,
    removed: Vec<String>,
}

/// The group of the policy, every deleted Backup, every volume whose files go.
pub(crate) fn works(net: &Net, site: &Site) -> Vec<(String, Box<dyn Task>)> {
    if !site.leads(net) && !net.without(Rule::Lead) {
        return Vec::new();
    }
    let retire: (String, Box<dyn Task>) = ("retire".to_owned(), Box::new(Retire::default()));
    let concerned = |one: &BackupSummary| gc::concerns(one.status.phase, one.is_going(), one.finalizers());
    let deleted = site.shown::<BackupSummary>(net).into_iter();
    let live = |one: BackupSummary| site.read::<Backup>(net, &one.name_any());
    let deletions = deleted.filter(concerned).filter_map(live);
    let deletions = deletions.map(|backup| begin("deletion", Arc::new(backup), Deletion { read: false }));
    let claims = net.api.names::<PersistentVolumeClaim>().into_iter().map(|claim| {
        let name = format!("volume {claim}");
        begin(&name, nobody(), VolumePass::of(claim))
    });
    deletions.chain(claims).chain([retire]).collect()
}

fn index(net: &Net, site: &Site) -> Index {
    let mut index = Index::default();
    for backup in site.shown::<BackupSummary>(net) {
        index.apply(&Arc::new(backup));
    }
    index
}

fn at(name: &str) -> gc::At {
    ("ns".to_owned(), name.to_owned())
}

/// Retires what has expired and what is too much, one after the other.
#[derive(Default)]
struct Retire {
    group: Option<Group>,
    left: Vec<Candidate>,
    /// Whether the newer good one of a candidate was found, by its uid.
    newer: BTreeMap<String, bool>,
}

impl Task for Retire {
    fn step(&mut self, net: &mut Net, site: &mut Site) -> Step {
        if !site.leads(net) && !net.without(Rule::Lead) {
            return Step::Rests(Some(Duration::from_secs(10)));
        }
        let now = net.api.now;
        let Some(group) = &self.group else {
            self.begin(net, site);
            return Step::Goes;
        };
        let Some(candidate) = self.left.pop() else {
            let wait = next_expiration(group, now).map(|time| Duration::try_from(time.duration_since(now)));
            return Step::Rests(wait.map(Result::unwrap_or_default));
        };
        if !self.allows(net, site, &candidate) {
            return Step::Rests(Some(Duration::from_secs(2)));
        }
        net.reach(match candidate.reason {
            Reason::Expired => "a backup expired",
            _ => "there were too many backups",
        });
        let of = Guard::of(&*candidate.backup);
        match net.send(site.service, &Request::Delete { of }) {
            Err(Failure::Lost) => Step::Lost,
            _ => Step::Goes,
        }
    }
}

impl Retire {
    fn begin(&mut self, net: &Net, site: &Site) {
        let index = index(net, site);
        let needed = |backup: &BackupSummary| !index.dependents(&at(&backup.name_any())).is_empty();
        let policy: Option<BackupPolicy> = net.api.get_at(site.cached::<BackupPolicy>(), crate::POLICY);
        let mut group = Group {
            backups: index.group(&at(crate::POLICY)),
            limits: policy.as_ref().map(Limits::of),
        };
        if net.without(Rule::LastGood) {
            group.backups.extend(phantom(&group));
        }
        self.left = retire(&group, &needed, net.api.now);
        if self.left.iter().any(|one| one.reason == Reason::HistoryLimitExceeded) {
            // The limits are read afresh before anything goes because of them.
            group.limits = site.read(net, crate::POLICY).as_ref().map(Limits::of);
            self.left = retire(&group, &needed, net.api.now);
        }
        self.left.reverse();
        self.group = Some(group);
    }

    fn allows(&mut self, net: &Net, site: &Site, candidate: &Candidate) -> bool {
        let Some(newer) = candidate.newer_good.as_ref().filter(|_| !net.without(Rule::LastGood)) else {
            return true;
        };
        let known = self.newer.entry(newer.uid().unwrap_or_default());
        *known.or_insert_with(|| {
            let found = site.read::<BackupSummary>(net, &newer.name_any());
            found.is_some_and(|found| found.is_good() && found.uid() == newer.uid())
        })
    }
}

/// A good Backup that never was, newer than all.
fn phantom(group: &Group) -> Option<Arc<BackupSummary>> {
    let known = group.backups.first()?;
    Some(Arc::new(typed(
        &json!({"metadata": {"name": "phantom", "namespace": "ns", "uid": "phantom",
            "labels": known.labels(), "annotations": {ANNOTATION_POLICY_UID: "none"}},
        "spec": {"backupPolicyName": crate::POLICY, "backupType": "datafile"},
        "status": {"phase": "Completed", "completionTimestamp": "2100-01-01T00:00:00Z"}}),
    )))
}

struct Deletion {
    /// Whether everything was read.
    read: bool,
}

impl Pass for Deletion {
    type Object = Backup;
    type Read = gc::Read;

    fn decide(&mut self, on: &mut On<'_, Backup>) -> gc::Decision {
        if !std::mem::replace(&mut self.read, true) && on.look_at_all() == Found::Gone {
            return gc::Decision::wait();
        }
        let (name, status) = (on.about.name_any(), on.about.status.clone().unwrap_or_default());
        let location = status.location(on.about.metadata.uid.as_deref().unwrap_or_default());
        let claim = match Place::of(&name, location.as_ref()) {
            Place::Own { claim, .. } => on.get::<PersistentVolumeClaim>(claim),
            Place::Nowhere | Place::Unknown(_) | Place::Shared { .. } => None,
        };
        let observed = gc::Observed {
            backup: (**on.about).clone(),
            namespace_terminating: false,
            claim,
            dependents: index(on.net, on.site).dependents(&at(&name)),
        };
        gc::decide(&observed, on.net.api.now).decision
    }

    fn read(&mut self, on: &mut On<'_, Backup>, _: gc::Read) -> Found {
        on.look_at_all()
    }

    fn wrote(&mut self, on: &mut On<'_, Backup>, request: &Request, answer: Result<Value, Refused>) -> Written {
        let refused = answer.is_err();
        let written = on.took(request, answer);
        if refused && on.look_at_all() == Found::Gone {
            return Written::Gone;
        }
        written
    }
}

/// Stands for the Backup that a pass over a volume has not read yet.
fn nobody() -> Arc<Backup> {
    Arc::new(Backup::new("", BackupSpec::default()))
}

struct VolumePass {
    claim: String,
    observed: Option<volume::Observed>,
    plan: Option<Plan>,
}

impl VolumePass {
    fn of(claim: String) -> Self {
        Self {
            claim,
            observed: None,
            plan: None,
        }
    }

    fn begin(&self, on: &mut On<'_, Backup>) -> volume::Observed {
        let mut jobs: Vec<Arc<Job>> = on.site.shown(on.net).into_iter().map(Arc::new).collect();
        let memory = &mut on.site.gc;
        let shown: Vec<Option<String>> = jobs.iter().map(|job| job.uid()).collect();
        memory.made.retain(|uid, _| !shown.contains(&Some(uid.clone())));
        jobs.extend(memory.made.values().cloned());
        jobs.retain(|job| is_ours(job) && !memory.removed.contains(&job.uid().unwrap_or_default()));
        let purges = jobs.into_iter().filter_map(|job| {
            let batch = Batch::of(&job).filter(|batch| batch.claim == self.claim)?;
            let pods = pods_of(on.net, on.site, &job);
            Some(Purge { job, batch, pods })
        });
        let volume = Volume {
            namespace: "ns".to_owned(),
            claim: self.claim.clone(),
            purges: purges.collect(),
            waiting: Vec::new(),
            retry: SignedDuration::from_mins(1),
        };
        volume::Observed {
            agent_image: "agent:1".to_owned(),
            pull_policy: None,
            volume: Volume {
                waiting: index(on.net, on.site).waiting(&at(&self.claim)),
                ..volume
            },
            claim: Seen::default(),
            whole: None,
            obstacle: None,
        }
    }
}

impl Pass for VolumePass {
    type Object = Backup;
    type Read = volume::Read;

    fn decide(&mut self, on: &mut On<'_, Backup>) -> volume::Decision {
        if self.observed.is_none() {
            self.observed = Some(self.begin(on));
        }
        let observed = self.observed.as_ref().expect("just observed");
        let plan = volume::decide(observed, &on.site.gc.history, on.net.api.now);
        let decision = plan.decision.clone();
        self.plan = Some(plan);
        decision
    }

    fn read(&mut self, on: &mut On<'_, Backup>, read: volume::Read) -> Found {
        let observed = self.observed.as_mut().expect("decided before");
        match read {
            volume::Read::Claim => observed.claim = Seen::live(on.site.read(on.net, &self.claim).map(Arc::new)),
            volume::Read::Backup => {
                if let Some(subject) = self.plan.as_ref().and_then(Plan::subject) {
                    let found = on.site.read::<Backup>(on.net, &subject.name_any());
                    let found = found.filter(|found| found.uid() == subject.uid());
                    *on.about = found.clone().map_or_else(nobody, Arc::new);
                    observed.know(subject.metadata.uid.as_deref(), found);
                }
            }
        }
        Found::Known
    }

    fn wrote(&mut self, on: &mut On<'_, Backup>, request: &Request, answer: Result<Value, Refused>) -> Written {
        let observed = self.observed.as_mut().expect("decided before");
        let step = self
            .plan
            .as_ref()
            .map(|plan| plan.step.clone())
            .expect("decided before");
        match (step, answer) {
            (PurgeStep::Create(batch), Ok(stored)) if matches!(request, Request::Create(_)) => {
                let job: Arc<Job> = Arc::new(typed(&stored));
                on.site.gc.made.insert(job.uid().unwrap_or_default(), Arc::clone(&job));
                let pods = Vec::new();
                observed.volume.purges.push(Purge { job, batch, pods });
                Written::Stored
            }
            (PurgeStep::Create(batch), Err(_)) if matches!(request, Request::Create(_)) => {
                let name = request.key().1;
                let found = on.site.read::<Job>(on.net, &name).map(Arc::new);
                let ours = |job: &Arc<Job>| is_ours(job) && Batch::of(job).as_ref() == Some(&batch);
                match found.filter(|job| job.metadata.deletion_timestamp.is_none() && ours(job)) {
                    Some(job) => {
                        let pods = pods_of(on.net, on.site, &job);
                        observed.volume.purges.push(Purge { job, batch, pods });
                    }
                    None => {
                        observed.obstacle = Some(Obstacle {
                            batch,
                            trouble: None,
                            job: name,
                            again: SignedDuration::from_secs(2),
                        });
                    }
                }
                Written::Stale
            }
            (PurgeStep::Remove { job, batch, over, .. }, Ok(_)) => {
                on.site.gc.removed.push(job.uid().unwrap_or_default());
                observed.volume.purges.retain(|purge| purge.job.uid() != job.uid());
                if matches!(over, Over::Split | Over::Retry) {
                    on.site.gc.history.failed(&batch);
                }
                Written::Stored
            }
            (PurgeStep::Release(backup), Ok(_) | Err(Refused::NotFound)) => {
                observed.know(backup.metadata.uid.as_deref(), None);
                Written::Stored
            }
            (_, Ok(stored)) => {
                let whole: Backup = typed(&stored);
                *on.about = Arc::new(whole.clone());
                observed.know(whole.metadata.uid.clone().as_deref(), Some(whole));
                Written::Stored
            }
            // It has changed since it was seen: that comes back by the watch.
            (_, Err(_)) => Written::Gone,
        }
    }
}

/// As the watch shows them while the Job runs; read afresh once it has ended, for their results.
fn pods_of(net: &Net, site: &Site, job: &Job) -> Vec<Arc<Pod>> {
    let uid = job.uid();
    let of_job = |pod: &Pod| pod.labels().get("batch.kubernetes.io/controller-uid") == uid.as_ref();
    let revision = match job_state(job) {
        JobState::Running => site.cached::<Pod>(),
        _ => site.live::<Pod>(net),
    };
    let pods = net.api.list_at::<Pod>(revision).into_iter();
    pods.filter(of_job).map(Arc::new).collect()
}
