//! What the scheduler looks at: slots become Backups, new Backups are let in.

use std::sync::Arc;

use holdfast_api::{Backup, BackupPolicy, BackupRepo, BackupTool};
use holdfast_core::{
    admission::{self, Read},
    decision::Seen,
    driver::{Found, Written},
    policy::{self, Slot},
};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    actor::{Object, On, Pass, begin},
    api::{self, Refused, Request, typed},
    executor::settings,
    net::Net,
    process::{Site, Task},
};

/// The policy, and every Backup that is not let in.
pub(crate) fn works(net: &Net, site: &Site) -> Vec<(String, Box<dyn Task>)> {
    let policies = site.shown::<BackupPolicy>(net).into_iter().map(Arc::new);
    let slots = policies.map(|found| {
        let observed = policy::Observed::new(Arc::clone(&found));
        begin("policy", found, Slots(observed))
    });
    let backups = site.shown::<Backup>(net).into_iter();
    let new = backups.filter(admission::concerns);
    slots
        .chain(new.map(|backup| begin("admission", Arc::new(backup), Admission)))
        .collect()
}

struct Admission;

impl Pass for Admission {
    type Object = Backup;
    type Read = Read;

    fn decide(&mut self, on: &mut On<'_, Backup>) -> admission::Decision {
        admission::decide(&observe(on, Arc::clone(on.about)), on.net.api.now)
    }

    fn read(&mut self, on: &mut On<'_, Backup>, read: Read) -> Found {
        match read {
            Read::Policy => {
                // What it names may be another tool, another place, other pods.
                on.forget();
                on.look::<BackupPolicy>(crate::POLICY);
            }
            Read::Tool => on.look::<BackupTool>(crate::TOOL),
            Read::Repo => on.look::<BackupRepo>(crate::REPO),
            Read::Repos => on.look::<BackupRepo>(ALL),
            Read::Pods => on.look::<Pod>(ALL),
            Read::Claim => unreachable!("the policy has a repository"),
        }
        Found::Known
    }
}

/// The name of a list of all.
const ALL: &str = "";

fn observe<K: Object>(on: &On<'_, K>, backup: Arc<Backup>) -> admission::Observed {
    let (repos, repos_live) = on.list::<BackupRepo>(ALL);
    let (mut pods, listed) = on.list::<Pod>(ALL);
    pods.retain(|pod| pod.labels().get("app").is_some_and(|app| app == "db"));
    let repo = on.seen(crate::REPO);
    admission::Observed {
        policy: on.seen(&backup.spec.backup_policy_name),
        backup,
        tool: on.seen(crate::TOOL),
        repos: repos.into_iter().map(Arc::new).collect(),
        repos_live,
        repo: if repo.live { repo } else { Seen::default() },
        claim: Seen::default(),
        claim_refused: None,
        pods: listed.then_some(pods),
        not_ready_timeout: settings().not_ready_timeout,
        traceparent: String::new(),
    }
}

struct Slots(policy::Observed);

impl Pass for Slots {
    type Object = BackupPolicy;
    type Read = policy::Read;

    fn decide(&mut self, on: &mut On<'_, BackupPolicy>) -> policy::Decision {
        self.0.policy = Arc::clone(on.about);
        let active = on.site.shown::<Backup>(on.net).into_iter();
        self.0.active = active.map(Arc::new).collect();
        self.0.named = policy::Named {
            tool: on.seen(crate::TOOL),
            repo: on.seen(crate::REPO),
        };
        policy::decide(&self.0, on.net.api.now)
    }

    fn read(&mut self, on: &mut On<'_, BackupPolicy>, read: policy::Read) -> Found {
        let kind = match read {
            policy::Read::Blocker(kind) | policy::Read::Admission(kind) => kind,
            policy::Read::Named(policy::Name::Tool) => {
                on.look::<BackupTool>(crate::TOOL);
                return Found::Known;
            }
            policy::Read::Named(policy::Name::Repo) => {
                on.look::<BackupRepo>(crate::REPO);
                return Found::Known;
            }
        };
        match self.0.slot(kind, on.net.api.now) {
            Slot::Skipped { by, .. } => self.look_at(on, &by),
            Slot::Due { slot, .. } => {
                on.look::<Pod>(ALL);
                let backup = policy::slot_backup(on.about, kind, slot, "");
                let observed = observe(on, Arc::new(backup.clone()));
                let admitted = admission::admit(&observed, on.net.api.now).ok();
                let mut whole = api::json(&backup);
                api::merge(
                    &mut whole,
                    &json!({ "metadata": admitted.unwrap_or_else(|| json!({})) }),
                );
                self.0.prepared = Some(typed(&whole));
            }
            Slot::None { .. } | Slot::Missed { .. } => {}
        }
        Found::Known
    }

    fn wrote(&mut self, on: &mut On<'_, BackupPolicy>, request: &Request, answer: Result<Value, Refused>) -> Written {
        if let Request::Create(_) = request {
            let name = request.key().1;
            if let Ok(stored) = &answer {
                self.0.live.insert(name.clone(), Some(Arc::new(typed(stored))));
                self.0.created = Some(name);
                return Written::Stored;
            }
            self.look_at(on, &name);
            return Written::Stale;
        }
        on.took(request, answer)
    }
}

impl Slots {
    fn look_at(&mut self, on: &On<'_, BackupPolicy>, name: &str) {
        let found = on.site.read(on.net, name).map(Arc::new);
        self.0.live.insert(name.to_owned(), found);
    }
}
