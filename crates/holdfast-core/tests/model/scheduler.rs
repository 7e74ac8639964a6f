//! The scheduler's part: slots become Backups, new Backups are let in. What it knows comes from caches; what it ends, it reads first.

use std::sync::Arc;

use holdfast_api::{Backup, BackupPolicy, BackupPolicyStatus, BackupRepo, BackupTool, BackupType};
use holdfast_core::{
    admission::{self, Next, Observed, Read, Write},
    backup::{self, Seen},
    policy::{self, Slot},
};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::json;

use crate::{
    api::{Guard, Refused, Request, json},
    net::{Failure, Net},
};

pub(crate) struct Scheduler {
    pub(crate) revision: usize,
}

impl Scheduler {
    /// Looks at one Backup.
    pub(crate) fn look(&self, net: &mut Net, name: &str) -> Result<(), Failure> {
        let Some(backup) = net.api.get_at::<Backup>(self.revision, name) else {
            return Ok(());
        };
        if !admission::concerns(&backup) {
            return Ok(());
        }
        let backup = Arc::new(backup);
        let policy = net
            .api
            .get_at::<BackupPolicy>(self.revision, &backup.spec.backup_policy_name);
        let mut observed = Observed {
            backup: Arc::clone(&backup),
            tool: self.tool(net, policy.as_ref()),
            policy: Seen::cached(policy.map(Arc::new)),
            repos: net
                .api
                .list_at::<BackupRepo>(self.revision)
                .into_iter()
                .map(Arc::new)
                .collect(),
            repos_live: false,
            repo: Seen::default(),
            claim: Seen::default(),
            pods: None,
            not_ready_timeout: SignedDuration::from_mins(10),
            traceparent: String::new(),
        };
        for _ in 0..8 {
            let decision = admission::decide(&observed, net.api.now);
            let Next::Read(read) = decision.next else {
                return apply(net, &backup, decision.write);
            };
            self.read(net, &mut observed, read);
        }
        panic!("admission asks for ever");
    }

    /// Looks at the policy: keeps its status, and makes the Backup of a slot that has come.
    pub(crate) fn slots(&self, net: &mut Net) -> Result<(), Failure> {
        let Some(found) = net.api.get_at::<BackupPolicy>(self.revision, crate::POLICY) else {
            return Ok(());
        };
        let wanted = policy::status(&found, net.api.now);
        if found.status.as_ref() != Some(&wanted) {
            return put(net, &found, wanted);
        }
        let slot = self.due(net, &found);
        let (time, note) = match &slot {
            Slot::None { .. } => return Ok(()),
            Slot::Due { slot, .. } => {
                let backup = policy::slot_backup(&found, BackupType::Datafile, *slot, "");
                match net.send("scheduler", &Request::Create(json(&backup))) {
                    Ok(_) => {}
                    Err(Failure::Refused(Refused::Exists)) => {
                        let existing = net.api.get::<Backup>(&backup.name_any());
                        assert!(
                            existing.is_some_and(|existing| policy::is_made_for(&existing, &backup)),
                            "a slot's name is taken by its own Backup"
                        );
                    }
                    Err(failure) => return Err(failure),
                }
                (*slot, None)
            }
            Slot::Missed { slot: time, .. } | Slot::Skipped { slot: time, .. } => (*time, slot.note()),
        };
        let note = note.as_ref().map(|(reason, text)| (*reason, text.as_str()));
        let status = policy::after_slot(&found, BackupType::Datafile, time, note, net.api.now);
        put(net, &found, status)
    }

    /// A slot is skipped only for a Backup that still runs by the API server's own word.
    fn due(&self, net: &Net, found: &BackupPolicy) -> Slot {
        let mut active: Vec<Arc<Backup>> = net.api.list_at(self.revision).into_iter().map(Arc::new).collect();
        loop {
            let slot = policy::due(found, BackupType::Datafile, &active, net.api.now);
            let Slot::Skipped { by, .. } = &slot else {
                return slot;
            };
            if net
                .api
                .get::<Backup>(by)
                .is_some_and(|backup| policy::is_unfinished(&backup))
            {
                return slot;
            }
            active.retain(|backup| backup.name_any() != *by);
        }
    }

    fn tool(&self, net: &Net, policy: Option<&BackupPolicy>) -> Seen<BackupTool> {
        let name = policy
            .and_then(backup::section)
            .and_then(|section| section.backup_tool_name.clone());
        Seen::cached(name.and_then(|name| net.api.get_at(self.revision, &name)).map(Arc::new))
    }

    fn read(&self, net: &Net, observed: &mut Observed, read: Read) {
        match read {
            Read::Policy => {
                let policy: Option<BackupPolicy> = net.api.get(&observed.backup.spec.backup_policy_name);
                observed.tool = self.tool(net, policy.as_ref());
                (observed.repo, observed.claim, observed.pods) = (Seen::default(), Seen::default(), None);
                observed.policy = Seen::live(policy.map(Arc::new));
            }
            Read::Tool => observed.tool = Seen::live(net.api.get(crate::TOOL).map(Arc::new)),
            Read::Repo => observed.repo = Seen::live(net.api.get(crate::REPO).map(Arc::new)),
            Read::Repos => {
                observed.repos = net.api.list::<BackupRepo>().into_iter().map(Arc::new).collect();
                observed.repos_live = true;
            }
            Read::Claim => unreachable!("the policy has a repository"),
            Read::Pods => {
                let of_database = |pod: &Pod| pod.labels().get("app").is_some_and(|app| app == "db");
                observed.pods = Some(net.api.list::<Pod>().into_iter().filter(of_database).collect());
            }
        }
    }
}

fn apply(net: &mut Net, backup: &Backup, write: Option<Write>) -> Result<(), Failure> {
    let request = match write {
        None => return Ok(()),
        Some(Write::Metadata(metadata)) => Request::Patch {
            of: Guard::of(backup),
            change: json!({ "metadata": metadata }),
        },
        Some(Write::Status(status)) => Request::Status(json(&Backup {
            status: Some(*status),
            ..backup.clone()
        })),
        Some(Write::CreateClaim(claim)) => Request::Create(json(&claim)),
    };
    net.send("scheduler", &request).map(drop)
}

fn put(net: &mut Net, found: &BackupPolicy, status: BackupPolicyStatus) -> Result<(), Failure> {
    let wanted = BackupPolicy {
        status: Some(status),
        ..found.clone()
    };
    net.send("scheduler", &Request::Status(json(&wanted))).map(drop)
}
