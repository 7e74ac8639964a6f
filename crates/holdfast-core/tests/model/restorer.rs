//! The restore service's part. Everything is read from the API server in each pass.

use holdfast_api::{
    Backup, BackupTool, RestoreJob, RestoreJobPhase,
    names::{LABEL_RESTORE_UID, LABEL_ROLE, ROLE_RESTORE, ROLE_VERIFY},
};
use holdfast_core::restore::{self, LockHolder, Observed, Settings, Workload, Write};
use jiff::SignedDuration;
use k8s_openapi::api::{apps::v1::StatefulSet, batch::v1::Job, core::v1::Pod};
use kube::ResourceExt as _;
use serde_json::json;

use crate::{
    api::{Guard, Refused, Request, json},
    net::{Failure, Net},
};

/// Looks at one RestoreJob.
pub(crate) fn look(net: &mut Net, name: &str) -> Result<(), Failure> {
    let Some(found) = net.api.get::<RestoreJob>(name) else {
        return Ok(());
    };
    if restore::is_over(&found) && found.metadata.deletion_timestamp.is_none() {
        return Ok(());
    }
    let observed = observe(net, found);
    let restore = &observed.restore;
    let request = match restore::decide(&observed, net.api.now).write {
        None => return Ok(()),
        Some(Write::Metadata(metadata)) => Request::Patch {
            of: Guard::of(restore),
            change: json!({ "metadata": metadata }),
        },
        Some(Write::Status(status)) => Request::Status(json(&RestoreJob {
            status: Some(*status),
            ..restore.clone()
        })),
        Some(Write::CreateJob(job)) => Request::Create(json(&job)),
        Some(Write::DeleteJob { name, uid }) => {
            let (kind, version) = ("Job".to_owned(), None);
            Request::Delete {
                of: Guard {
                    kind,
                    name,
                    uid,
                    version,
                },
            }
        }
        Some(Write::Workload(workload, change)) => Request::Patch {
            of: Guard {
                kind: "StatefulSet".to_owned(),
                name: workload.name().to_owned(),
                uid: workload.uid().to_owned(),
                version: workload.metadata.resource_version.clone(),
            },
            change,
        },
    };
    match net.send("restore", &request) {
        Ok(_) | Err(Failure::Refused(Refused::Exists | Refused::NotFound)) => Ok(()),
        Err(failure) => Err(failure),
    }
}

fn observe(net: &Net, found: RestoreJob) -> Observed {
    let new = restore::phase(&found) == RestoreJobPhase::New;
    let backup = new
        .then(|| net.api.get::<Backup>(&found.spec.backup_job_name))
        .flatten();
    let tool = backup
        .is_some()
        .then(|| net.api.get::<BackupTool>(crate::TOOL))
        .flatten();
    let set = net.api.get::<StatefulSet>("db").expect("the database");
    let workload = Workload::stateful_set(&set);
    let of_restore = |role: &str| {
        let has = |pod: &Pod, key: &str, value: &str| pod.labels().get(key).is_some_and(|found| found == value);
        let uid = found.uid().unwrap_or_default();
        let ours = |pod: &Pod| has(pod, LABEL_RESTORE_UID, &uid) && has(pod, LABEL_ROLE, role);
        net.api.list::<Pod>().into_iter().filter(ours).collect::<Vec<_>>()
    };
    let of_database = |pod: &Pod| pod.labels().get("app").is_some_and(|app| app == "db");
    Observed {
        settings: Settings {
            agent_image: "agent:1".to_owned(),
            pull_policy: None,
            deadline: SignedDuration::from_hours(6),
            not_ready_timeout: SignedDuration::from_mins(10),
        },
        backup,
        tool,
        holder: holder(net, &found, &workload),
        workloads: vec![workload],
        pods: net.api.list::<Pod>().into_iter().filter(of_database).collect(),
        mounting: net
            .api
            .list::<Pod>()
            .into_iter()
            .filter(|pod| restore::target_of(&found, pod).is_some())
            .collect(),
        verify: net.api.get::<Job>(&restore::verify_job_name(&found)),
        verify_pods: of_restore(ROLE_VERIFY),
        write: net.api.get::<Job>(&restore::restore_job_name(&found)),
        write_pods: of_restore(ROLE_RESTORE),
        refused: None,
        unreadable: None,
        restore: found,
    }
}

fn holder(net: &Net, found: &RestoreJob, workload: &Workload) -> LockHolder {
    let Some(lock) = workload.suspend_lock() else {
        return LockHolder::Nobody;
    };
    if Some(&lock.uid) == found.metadata.uid.as_ref() {
        return LockHolder::Ours;
    }
    let other = net
        .api
        .get::<RestoreJob>(&lock.name)
        .filter(|other| other.uid().as_ref() == Some(&lock.uid));
    match other {
        Some(other) if !restore::is_over(&other) => LockHolder::AtWork(lock.name),
        Some(_) | None => LockHolder::Over,
    }
}
