//! What executors look at: admitted Backups are planned, run and ended; Jobs of ended ones go.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use holdfast_api::{
    Backup, BackupPhase, BackupRepo, ObjectMetaExt as _,
    names::{ANNOTATION_FULL_NAME, ANNOTATION_TARGET_POD_NAME, LABEL_BACKUP_UID, LABEL_ROLE, ROLE_BACKUP, ROLE_REPORT},
};
use holdfast_core::{
    backup::{self, Decision, Next, Observed, Owner, Pods, Read, Seen, Settings, cleanup, report_job_name},
    decision::{Intent, Write},
    driver::{Found, Standing, Written},
    pod::Demands,
    settings::DataPods,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt;
use serde_json::Value;

use crate::{
    actor::{self, On, Pass, begin},
    api::{Refused, Request, typed},
    net::{Failure, Net, Rule},
    process::{Site, Step, Task},
    volumes::claim_name,
};

/// How long the second in rank leaves it to the first.
const TURN: SignedDuration = SignedDuration::from_secs(4);
/// How old the copy may be that a Job rests on.
const FRESH: SignedDuration = SignedDuration::from_secs(5);

/// What one process remembers: what it was answered, which its caches may not show yet.
#[derive(Default)]
pub(crate) struct Memory {
    backups: HashMap<String, Arc<Backup>>,
    jobs: HashMap<(String, String), Arc<Job>>,
    /// Since when it has wanted to do something.
    turns: BTreeMap<String, Timestamp>,
}

impl Memory {
    fn latest(&self, cached: Backup) -> Arc<Backup> {
        let version = |backup: &Backup| backup.resource_version()?.parse::<u64>().ok();
        match self.backups.get(&cached.uid().unwrap_or_default()) {
            Some(known) if version(known) > version(&cached) => Arc::clone(known),
            _ => Arc::new(cached),
        }
    }
}

/// Every active Backup, and the Jobs that belong to none.
pub(crate) fn works(net: &Net, site: &Site) -> Vec<(String, Box<dyn Task>)> {
    let cached = site.shown::<Backup>(net).into_iter();
    let active: Vec<Backup> = cached.filter(|backup| !backup.phase().is_terminal()).collect();
    let uids: Vec<String> = active.iter().filter_map(ResourceExt::uid).collect();
    let jobs = site.shown::<Job>(net).into_iter().filter_map(|job| {
        let uid = job.labels().get(LABEL_BACKUP_UID).cloned()?;
        let owner = job.annotations().get(ANNOTATION_FULL_NAME).cloned()?;
        let name = format!("sweep {}", job.uid()?);
        let sweep = Sweep {
            job,
            owner,
            uid,
            read: None,
        };
        (!uids.contains(&sweep.uid)).then(|| (name, Box::new(sweep) as Box<dyn Task>))
    });
    let backups = active.into_iter().map(|backup| {
        let look = Look {
            first: site.is_first(backup.metadata.uid.as_deref().unwrap_or_default()),
            read_at: None,
            acting: false,
        };
        begin("backup", site.executor.latest(backup), look)
    });
    backups.chain(jobs).collect()
}

/// One look at a Backup.
struct Look {
    /// Whether it is this process's turn before the other's.
    first: bool,
    /// When the API server answered with the copy.
    read_at: Option<Timestamp>,
    acting: bool,
}

impl Pass for Look {
    type Object = Backup;
    type Read = Read;

    fn decide(&mut self, on: &mut On<'_, Backup>) -> Decision {
        let observed = self.observe(on);
        let decision = backup::decide(&observed, on.net.api.now);
        if decision
            .write
            .as_ref()
            .is_some_and(|write| write.created_job().is_some())
            && !is_fresh(on)
        {
            on.net
                .breaks(format!("a Job is asked for by an old copy of {}", on.about.name_any()));
        }
        decision
    }

    fn standing(&mut self, on: &mut On<'_, Backup>, intent: Intent) -> Standing {
        let now = on.net.api.now;
        let what = format!("{:?} {:?} {intent:?}", on.about.uid(), on.about.resource_version());
        let since = *on.site.executor.turns.entry(what).or_insert(now);
        self.acting |= self.first || now.duration_since(since) >= TURN;
        if self.acting {
            Standing::Go
        } else {
            Standing::Later(Duration::from_secs(4))
        }
    }

    fn read(&mut self, on: &mut On<'_, Backup>, read: Read) -> Found {
        match read {
            Read::Backup => {
                if on.look_at_it() == Found::Gone {
                    return Found::Gone;
                }
                self.answered(on);
            }
            Read::Policy => on.look::<holdfast_api::BackupPolicy>(crate::POLICY),
            Read::Tool => on.look::<holdfast_api::BackupTool>(crate::TOOL),
            Read::Repo => on.look::<BackupRepo>(crate::REPO),
            Read::Claim => {
                if let Some(name) = claim(on) {
                    on.look::<k8s_openapi::api::core::v1::PersistentVolumeClaim>(&name);
                }
            }
            Read::Target => on.look::<Pod>(&target(on)),
            Read::Job => on.look::<Job>(&job_name(on).unwrap_or_default()),
            Read::Report => on.look::<Job>(&report_job_name(on.about)),
            Read::Pods => on.look::<Pod>(ROLE_BACKUP),
            Read::Events | Read::Demands => {}
            Read::ReportPods => on.look::<Pod>(ROLE_REPORT),
        }
        Found::Known
    }

    fn wrote(&mut self, on: &mut On<'_, Backup>, request: &Request, answer: Result<Value, Refused>) -> Written {
        let (uid, stored) = (on.about.uid().unwrap_or_default(), answer.clone());
        let written = on.took(request, answer);
        match (request, stored) {
            (Request::Create(_), Ok(stored)) => {
                let job: Job = typed(&stored);
                on.site.executor.jobs.insert((uid, job.name_any()), Arc::new(job));
            }
            // What it is now, or whether it is gone, only a fresh read tells.
            (Request::Delete { of }, _) => {
                on.site.executor.jobs.remove(&(uid, of.name.clone()));
                on.look::<Job>(&of.name);
                return Written::Stale;
            }
            (Request::Patch { of, .. }, _) if of.kind != "Backup" => return Written::Stale,
            (Request::Create(_), Err(_)) => {}
            _ if written != Written::Gone => self.answered(on),
            _ => {}
        }
        written
    }
}

impl Look {
    fn answered(&mut self, on: &mut On<'_, Backup>) {
        self.read_at = Some(on.net.api.now);
        let known = &mut on.site.executor.backups;
        known.insert(on.about.uid().unwrap_or_default(), Arc::clone(on.about));
    }

    fn observe(&self, on: &On<'_, Backup>) -> Observed {
        let uid = on.about.uid().unwrap_or_default();
        let job = |name: String| {
            let seen = on.seen::<Job>(&name);
            let made = || on.site.executor.jobs.get(&(uid.clone(), name)).cloned();
            match seen.get() {
                None if !seen.live => Seen::cached(made()),
                _ => seen,
            }
        };
        let pods = |role: &str| {
            let (mut items, live) = on.list::<Pod>(role);
            let has = |pod: &Pod, key: &str, value: &str| pod.labels().get(key).is_some_and(|found| found == value);
            items.retain(|pod| has(pod, LABEL_BACKUP_UID, &uid) && has(pod, LABEL_ROLE, role));
            Pods {
                items: items.into_iter().map(Arc::new).collect(),
                live,
            }
        };
        let target = on.seen(&target(on));
        let repos = on.site.shown::<BackupRepo>(on.net).into_iter();
        Observed {
            settings: Arc::new(settings()),
            backup: Arc::clone(on.about),
            backup_read: if on.net.without(Rule::Freshness) {
                Some(on.net.api.now)
            } else {
                self.read_at
            },
            policy: on.seen(crate::POLICY),
            tool: on.seen(crate::TOOL),
            repos: repos.map(Arc::new).collect(),
            repo: on.seen(crate::REPO),
            claim: claim(on).map(|name| on.seen(&name)).unwrap_or_default(),
            volume: None,
            node: None,
            // It is in no cache.
            target: if target.live { target } else { Seen::default() },
            target_claims: Vec::new(),
            job: job_name(on).map(job).unwrap_or_default(),
            pods: pods(ROLE_BACKUP),
            report: job(report_job_name(on.about)),
            report_pods: pods(ROLE_REPORT),
            refused: None,
            // Words for people change no course.
            demands: Some(Demands::default()),
            events: Some(Vec::new()),
        }
    }
}

/// Whether the Backup, as it is or was a moment ago, is in progress and shall stay.
fn is_fresh(on: &On<'_, Backup>) -> bool {
    let api = &on.net.api;
    let since = api.revision_at(api.now - FRESH);
    (since..=api.revision()).any(|revision| {
        let found = api.get_at::<Backup>(revision, &on.about.name_any());
        let works = |found: Backup| found.phase() == BackupPhase::InProgress && !found.is_terminating();
        found.is_some_and(|found| found.uid() == on.about.uid() && works(found))
    })
}

fn job_name(on: &On<'_, Backup>) -> Option<String> {
    let plan = on.about.status.as_ref()?.plan.as_ref()?;
    Some(plan.work.job().ok()?.job_name.clone())
}

/// The claim as planned, or as it would be planned now.
fn claim(on: &On<'_, Backup>) -> Option<String> {
    let plan = on.about.status.as_ref().and_then(|status| status.plan.as_ref());
    let planned = plan.and_then(|plan| plan.location.access.claim().ok().map(str::to_owned));
    planned.or_else(|| claim_name(on.get(crate::REPO).as_ref()))
}

fn target(on: &On<'_, Backup>) -> String {
    let name = on.about.annotations().get(ANNOTATION_TARGET_POD_NAME);
    name.cloned().unwrap_or_default()
}

/// What the installation chose.
pub(crate) fn settings() -> Settings {
    Settings {
        agent_image: "agent:1".to_owned(),
        pull_policy: None,
        deadline: SignedDuration::from_mins(45),
        not_ready_timeout: SignedDuration::from_mins(10),
        any_target_volumes: false,
        data_pods: DataPods::default(),
    }
}

/// A Job whose Backup is not among the active ones.
struct Sweep {
    job: Job,
    /// Name and uid of its Backup.
    owner: String,
    uid: String,
    read: Option<Owner>,
}

impl Task for Sweep {
    fn step(&mut self, net: &mut Net, site: &mut Site) -> Step {
        let known = site.executor.backups.get(&self.uid);
        let over = known.is_some_and(|backup| backup.phase().is_terminal());
        let owner = self.read.unwrap_or(if over { Owner::Over } else { Owner::Unknown });
        let decision = cleanup(&self.job, owner, net.api.now);
        match (decision.write, decision.next) {
            (Some(Write::Delete(target)), _) => {
                let of = actor::guard(&target);
                match net.send(site.service, &Request::Delete { of }) {
                    Err(Failure::Lost) => Step::Lost,
                    _ => Step::Rests(None),
                }
            }
            (_, Next::Read(_)) => {
                let found = site.read::<Backup>(net, &self.owner);
                let found = found.filter(|backup| backup.uid().as_ref() == Some(&self.uid));
                let over = found.is_none_or(|backup| backup.phase().is_terminal());
                self.read = Some(if over { Owner::Over } else { Owner::Active });
                Step::Goes
            }
            (_, Next::After(wait)) => Step::Rests(Some(wait)),
            _ => Step::Rests(None),
        }
    }
}
