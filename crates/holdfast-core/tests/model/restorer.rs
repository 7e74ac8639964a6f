//! What the restore service looks at. Everything is read from the API server in each pass, and again after each write.

use std::sync::Arc;

use holdfast_api::{
    Backup, BackupTool, ObjectMetaExt as _, RestoreJob, RestoreJobPhase,
    names::{LABEL_RESTORE_UID, LABEL_ROLE, ROLE_RESTORE, ROLE_VERIFY},
};
use holdfast_core::{
    driver::{Found, Written},
    restore::{self, Decision, LockHolder, Observed, Read, Workload},
};
use k8s_openapi::api::{apps::v1::StatefulSet, batch::v1::Job, core::v1::Pod};
use kube::ResourceExt as _;
use serde_json::Value;

use crate::{
    actor::{On, Pass, begin},
    api::{Refused, Request},
    executor::settings,
    net::{Net, Rule},
    process::{Site, Task},
};

/// Every RestoreJob that is not over, or goes, or whose pods are kept.
pub(crate) fn works(net: &Net, site: &Site) -> Vec<(String, Box<dyn Task>)> {
    let all = site.shown::<RestoreJob>(net).into_iter();
    let kept: Vec<Pod> = net.api.list();
    let kept = kept.iter().filter(|pod| restore::release_pod(pod).is_some());
    let kept: Vec<&str> = kept
        .filter_map(|pod| pod.labels().get(LABEL_RESTORE_UID).map(String::as_str))
        .collect();
    let keeps = |one: &RestoreJob| one.metadata.uid.as_deref().is_some_and(|uid| kept.contains(&uid));
    let open = all.filter(|one| !one.phase().is_terminal() || one.is_terminating() || keeps(one));
    open.map(|one| begin("restore", Arc::new(one), Restore { read: false }))
        .collect()
}

struct Restore {
    /// Whether everything was read.
    read: bool,
}

impl Pass for Restore {
    type Object = RestoreJob;
    type Read = Read;

    fn decide(&mut self, on: &mut On<'_, RestoreJob>) -> Decision {
        if !std::mem::replace(&mut self.read, true) && on.look_at_all() == Found::Gone {
            return Decision::wait();
        }
        match observe(on) {
            Some(observed) => restore::decide(&observed, on.net.api.now),
            None => Decision::wait(),
        }
    }

    fn read(&mut self, on: &mut On<'_, RestoreJob>, _: Read) -> Found {
        on.look_at_all()
    }

    fn wrote(&mut self, on: &mut On<'_, RestoreJob>, request: &Request, answer: Result<Value, Refused>) -> Written {
        let written = on.took(request, answer);
        match on.look_at_all() {
            Found::Known => written,
            Found::Gone => Written::Gone,
        }
    }
}

fn observe(on: &On<'_, RestoreJob>) -> Option<Observed> {
    let found = &**on.about;
    let new = found.phase() == RestoreJobPhase::New && !found.is_terminating();
    let backup: Option<Backup> = new.then(|| on.get(&found.spec.backup_job_name)).flatten();
    let tool: Option<BackupTool> = on.get(crate::TOOL);
    let workload = Workload::stateful_set(&on.get::<StatefulSet>("db")?);
    let pods = on.list::<Pod>("").0;
    let with = |key: &str, value: &str| {
        let has = |pod: &&Pod| pod.labels().get(key).is_some_and(|found| found == value);
        pods.iter().filter(has).cloned().collect::<Vec<_>>()
    };
    let of_restore = |role: &str| {
        let mut ours = with(LABEL_RESTORE_UID, &found.uid().unwrap_or_default());
        ours.retain(|pod| pod.labels().get(LABEL_ROLE).is_some_and(|found| found == role));
        ours
    };
    let waits = !on.net.without(Rule::Hold);
    let mounting = pods.iter().filter(|pod| restore::target_of(found, pod).is_some());
    Some(Observed {
        settings: settings(),
        backup,
        tool: tool.filter(|_| !found.is_terminating()),
        holder: holder(on, &workload),
        workloads: vec![workload],
        pods: if waits { with("app", "db") } else { Vec::new() },
        mounting: if waits { mounting.cloned().collect() } else { Vec::new() },
        others: on.list("").0,
        exclusive: Vec::new(),
        verify: on.get::<Job>(&restore::verify_job_name(found)),
        verify_pods: of_restore(ROLE_VERIFY),
        write: on.get::<Job>(&restore::restore_job_name(found)),
        write_pods: of_restore(ROLE_RESTORE),
        refused: None,
        scale_refused: None,
        nodes: Vec::new(),
        demands: holdfast_core::pod::Demands::default(),
        words: None,
        unreadable: None,
        restore: found.clone(),
    })
}

fn holder(on: &On<'_, RestoreJob>, workload: &Workload) -> LockHolder {
    let Some(lock) = workload.suspend_lock() else {
        return LockHolder::Nobody;
    };
    if Some(&lock.uid) == on.about.metadata.uid.as_ref() {
        return LockHolder::Ours;
    }
    let other = on.get::<RestoreJob>(&lock.name);
    let other = other.filter(|other| other.uid().as_ref() == Some(&lock.uid) && !other.phase().is_terminal());
    match other {
        Some(_) => LockHolder::AtWork(lock.name),
        None => LockHolder::Over,
    }
}
