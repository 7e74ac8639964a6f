//! What gc looks at: Backups retire, deleted ones lose their files and go.

use std::{collections::HashMap, sync::Arc};

use holdfast_api::{Backup, BackupPolicy, BackupSpec, RestoreJob, condition::Reason, names::ANNOTATION_POLICY_UID};
use holdfast_core::{
    decision::Seen,
    driver::{Found, Written},
    gc::{
        self, BackupSummary, Batch, Group, InUse, Index, Limits, Place, is_ours,
        purge_plan::{History, Over, Purge, Step, Volume},
        retirement,
        volume::{self, Obstacle, Plan},
    },
    pod::{Demands, JobState, job_state},
    settings::DataPods,
};
use jiff::SignedDuration;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::{ResourceExt as _, core::DynamicObject};
use serde_json::{Value, json};

use crate::{
    actor::{On, Pass, begin},
    api::{Refused, Request, typed},
    net::{Net, Rule},
    process::{Site, Task},
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
    let retire = begin("retirement", nobody(), Retirement::default());
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
struct Retirement(Option<retirement::Observed>);

impl Retirement {
    fn observe(on: &On<'_, Backup>, policy: Option<&BackupPolicy>, live: bool) -> retirement::Observed {
        let index = index(on.net, on.site);
        let needed = |backup: &BackupSummary| !index.dependents(&at(&backup.name_any())).is_empty();
        let mut group = Group {
            backups: index.group(&at(crate::POLICY)),
            limits: policy.map(Limits::of),
        };
        if on.net.without(Rule::LastGood) {
            group.backups.extend(phantom(&group));
        }
        retirement::Observed::of(group, live, &needed, on.net.api.now)
    }
}

impl Pass for Retirement {
    type Object = Backup;
    type Read = retirement::Read;

    fn decide(&mut self, on: &mut On<'_, Backup>) -> retirement::Decision {
        let observed = self.0.get_or_insert_with(|| {
            let policy = on.get::<BackupPolicy>(crate::POLICY);
            Self::observe(on, policy.as_ref(), false)
        });
        retirement::decide(observed, on.net.api.now)
    }

    fn read(&mut self, on: &mut On<'_, Backup>, read: retirement::Read) -> Found {
        let observed = self.0.as_mut().expect("decided before");
        match read {
            retirement::Read::Policy => {
                let policy = on.site.read::<BackupPolicy>(on.net, crate::POLICY);
                *observed = Self::observe(on, policy.as_ref(), true);
            }
            retirement::Read::Restores => {
                let restores = on.net.api.all("RestoreJob").into_iter();
                let restores: Vec<DynamicObject> = restores.map(|restore| typed(&restore)).collect();
                let in_use = InUse::of(&restores);
                if observed
                    .left
                    .iter()
                    .any(|one| in_use.by(&one.backup.name_any()).is_some())
                {
                    on.net.reach("retention met a restore");
                }
                observed.know_restores(in_use);
            }
            retirement::Read::NewerGood => {
                if let Some(newer) = observed.next().and_then(|next| next.newer_good.clone()) {
                    let found = on.site.read::<BackupSummary>(on.net, &newer.name_any());
                    let believed = on.net.without(Rule::LastGood).then_some(&*newer);
                    observed.know_newer_good(believed.or(found.as_ref()));
                }
            }
        }
        Found::Known
    }

    fn wrote(&mut self, on: &mut On<'_, Backup>, _: &Request, answer: Result<Value, Refused>) -> Written {
        let candidate = self.0.as_mut().and_then(retirement::Observed::pop);
        if answer.is_err() {
            return Written::Stale;
        }
        on.net.reach(match candidate.map(|candidate| candidate.reason) {
            Some(Reason::Expired) => "a backup expired",
            _ => "there were too many backups",
        });
        Written::Stored
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
            restoring: gc::restoring(&on.site.shown::<RestoreJob>(on.net), "ns", &name),
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
            nodes: Vec::new(),
        };
        volume::Observed {
            agent_image: "agent:1".to_owned(),
            pull_policy: None,
            data_pods: DataPods::default(),
            demands: Demands::default(),
            volume: Volume {
                waiting: index(on.net, on.site).waiting(&at(&self.claim)),
                ..volume
            },
            claim: Seen::default(),
            whole: None,
            obstacle: None,
            // Words for people change no course.
            events: Some(Vec::new()),
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
            volume::Read::Events => {}
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
            (Step::Create(batch), Ok(stored)) if matches!(request, Request::Create(_)) => {
                let job: Arc<Job> = Arc::new(typed(&stored));
                on.site.gc.made.insert(job.uid().unwrap_or_default(), Arc::clone(&job));
                let pods = Vec::new();
                observed.volume.purges.push(Purge { job, batch, pods });
                Written::Stored
            }
            (Step::Create(batch), Err(_)) if matches!(request, Request::Create(_)) => {
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
            (Step::Remove { job, batch, over, .. }, Ok(_)) => {
                on.site.gc.removed.push(job.uid().unwrap_or_default());
                observed.volume.purges.retain(|purge| purge.job.uid() != job.uid());
                if matches!(over, Over::Split | Over::Retry) {
                    on.site.gc.history.failed(&batch);
                }
                Written::Stored
            }
            (Step::Release(backup), Ok(_) | Err(Refused::NotFound)) => {
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
