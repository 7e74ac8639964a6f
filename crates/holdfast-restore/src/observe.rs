//! Everything that a restore rests on, read from the API server itself.

use std::collections::BTreeSet;

use holdfast_api::{
    Backup, BackupTool, ObjectMetaExt as _, RestoreJob, RestoreJobPhase,
    names::{LABEL_RESTORE_UID, LABEL_ROLE, ROLE_BACKUP, ROLE_RESTORE, ROLE_VERIFY},
};
use holdfast_core::{
    pod::{Demands, JobState, is_silent, is_suspended, job_state, node_of, trouble, words},
    restore::{self, Kind, LockHolder, Observed, Workload},
    target,
};
use holdfast_kube::{Read, read};
use holdfast_runtime::{
    clock,
    write::{self, WriteError},
};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet, StatefulSet},
    batch::v1::Job,
    core::v1::{Node, PersistentVolumeClaim, Pod},
};
use kube::{Api, ResourceExt, api::ListParams};

use crate::Context;

/// What the API server refused in this pass, in its words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused {
    /// A Job.
    pub(crate) child: Option<String>,
    /// A change of the workload's replicas.
    pub(crate) scale: Option<String>,
}

/// Reads everything.
pub(crate) async fn observe(
    context: &Context,
    found: RestoreJob,
    Refused { child, scale }: Refused,
) -> Result<Observed, WriteError> {
    let client = context.service.client.clone();
    let namespace = found.namespace().unwrap_or_default();
    let new = found.phase() == RestoreJobPhase::New;
    let mut unreadable = None;
    // One that is being deleted does not need them any more.
    let jobs: Api<Job> = Api::namespaced(client.clone(), &namespace);
    let verify = write::get(&jobs, &restore::verify_job_name(&found)).await?;
    let checked_badly = verify
        .as_ref()
        .is_some_and(|job| matches!(job_state(job), JobState::Failed { .. }));
    let backup = if (new || checked_badly) && !found.is_terminating() {
        let name = &found.spec.backup_job_name;
        read::<Backup>(client.clone(), Some(&namespace), name)
            .await?
            .readable(&mut unreadable)
    } else {
        None
    };
    let tool = match tool_name(&found, backup.as_ref()) {
        Some(name) => read::<BackupTool>(client.clone(), None, &name)
            .await?
            .readable(&mut unreadable),
        None => None,
    };
    let workloads = if new {
        matching(context, &found, &namespace).await?
    } else {
        planned(context, &found, &namespace).await?
    };
    let holder = match workloads.as_slice() {
        [workload] => holder(context, &found, workload, &namespace).await?,
        _ => LockHolder::Nobody,
    };
    let pods = match workloads.as_slice() {
        [workload] => pods_of(context, &namespace, workload).await?,
        _ => Vec::new(),
    };
    let written = write::get(&jobs, &restore::restore_job_name(&found)).await?;
    let exclusive = match (&verify, found.phase()) {
        (None, RestoreJobPhase::InProgressPhy) if !found.is_terminating() => {
            exclusive(context, &found, &namespace).await?
        }
        _ => Vec::new(),
    };
    let demands = match found.phase() {
        RestoreJobPhase::InProgressPhy if verify.is_none() || written.is_none() => {
            write::demands_of(&context.service.client, &namespace).await?
        }
        _ => Demands::default(),
    };
    let runs = written.as_ref().is_some_and(|job| !is_suspended(job));
    let others = if runs || found.is_terminating() {
        Vec::new()
    } else {
        others(&jobs).await?
    };
    let all = list(context, &namespace, "").await?;
    let (verify_pods, write_pods) = (of_role(&all, &found, ROLE_VERIFY), of_role(&all, &found, ROLE_RESTORE));
    let nodes = silent_nodes(context, verify_pods.iter().chain(&write_pods)).await?;
    let words = words_about(
        context,
        &namespace,
        (verify.as_ref(), &verify_pods),
        (written.as_ref(), &write_pods),
    )
    .await?;
    Ok(Observed {
        nodes,
        demands,
        words,
        settings: context.settings.clone(),
        backup,
        tool,
        unreadable,
        workloads,
        holder,
        pods,
        mounting: all
            .into_iter()
            .filter(|pod| restore::target_of(&found, pod).is_some())
            .collect(),
        others,
        restore: found,
        exclusive,
        verify,
        verify_pods,
        write: written,
        write_pods,
        refused: child,
        scale_refused: scale,
    })
}

/// The Jobs that work with the volumes of databases.
async fn others(jobs: &Api<Job>) -> Result<Vec<Job>, WriteError> {
    let roles = format!("{LABEL_ROLE} in ({ROLE_BACKUP},{ROLE_RESTORE})");
    write::list(jobs, &ListParams::default().labels(&roles)).await
}

/// The nodes of pods that kubelet may have stopped telling of.
async fn silent_nodes(context: &Context, pods: impl Iterator<Item = &Pod>) -> Result<Vec<Node>, WriteError> {
    let api: Api<Node> = Api::all(context.service.client.clone());
    let silent = pods.filter(|pod| is_silent(pod, clock::now()));
    let names: BTreeSet<&str> = silent.filter_map(node_of).collect();
    let mut nodes = Vec::new();
    for name in names {
        nodes.extend(write::get(&api, name).await?);
    }
    Ok(nodes)
}

/// What the cluster's events say about Jobs of ours whose pods are not there or do not start.
async fn words_about(
    context: &Context,
    namespace: &str,
    verify: (Option<&Job>, &[Pod]),
    write: (Option<&Job>, &[Pod]),
) -> Result<Option<String>, WriteError> {
    let mut uids = Vec::new();
    for (job, pods) in [verify, write] {
        let Some(job) = job.filter(|job| job_state(job) == JobState::Running) else {
            continue;
        };
        let waits = |pod: &&Pod| trouble(pod, clock::now()).is_some();
        if pods.is_empty() {
            uids.extend(job.uid());
        }
        uids.extend(pods.iter().filter(waits).filter_map(ResourceExt::uid));
    }
    let events = write::warnings_about(&context.service.client, namespace, &uids).await?;
    Ok(words(&events))
}

/// The target claims that one pod alone may mount. One that is not there keeps the check's pod from starting, which says so.
async fn exclusive(context: &Context, found: &RestoreJob, namespace: &str) -> Result<Vec<String>, WriteError> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.service.client.clone(), namespace);
    let mut exclusive = Vec::new();
    for name in restore::claim_names(&found.spec.target_volumes) {
        let claim = write::get(&claims, name).await?;
        let modes = claim.and_then(|claim| claim.spec?.access_modes);
        if modes.is_some_and(|modes| modes.iter().any(|mode| mode == "ReadWriteOncePod")) {
            exclusive.push(name.to_owned());
        }
    }
    Ok(exclusive)
}

/// The tool that the plan, or else the Backup, names. One that is being deleted does not need it any more.
fn tool_name(found: &RestoreJob, backup: Option<&Backup>) -> Option<String> {
    match found.status.as_ref().and_then(|status| status.plan.as_ref()) {
        Some(_) if found.is_terminating() => None,
        Some(plan) => Some(plan.job().ok()?.tool.name.clone()),
        None => backup?.status.as_ref()?.backup_tool_name.clone(),
    }
}

/// The workloads that the target's selector matches: StatefulSets, or else Deployments.
async fn matching(context: &Context, found: &RestoreJob, namespace: &str) -> Result<Vec<Workload>, WriteError> {
    let selector = &found.spec.target.labels_selector;
    // What cannot be written as a selector is refused by the decision, which needs no workloads for that.
    let Ok(labels) = target::selector(selector) else {
        return Ok(Vec::new());
    };
    let client = context.service.client.clone();
    let list = ListParams::default().labels(&labels);
    let sets = write::list(&Api::<StatefulSet>::namespaced(client.clone(), namespace), &list).await?;
    if !sets.is_empty() {
        return Ok(sets.iter().map(Workload::stateful_set).collect());
    }
    let deployments = write::list(&Api::<Deployment>::namespaced(client, namespace), &list).await?;
    Ok(deployments.iter().map(Workload::deployment).collect())
}

/// The workload of the plan, if it is there.
async fn planned(context: &Context, found: &RestoreJob, namespace: &str) -> Result<Vec<Workload>, WriteError> {
    let plan = found.status.as_ref().and_then(|status| status.plan.as_ref());
    let Some(held) = plan.and_then(|plan| plan.workload.as_ref()) else {
        return Ok(Vec::new());
    };
    let client = context.service.client.clone();
    let workload = if held.kind == Kind::StatefulSet.as_str() {
        let set = write::get(&Api::<StatefulSet>::namespaced(client, namespace), &held.name).await?;
        set.as_ref().map(Workload::stateful_set)
    } else {
        let deployment = write::get(&Api::<Deployment>::namespaced(client, namespace), &held.name).await?;
        deployment.as_ref().map(Workload::deployment)
    };
    Ok(workload.into_iter().collect())
}

/// Who has the suspend lock of the workload, and whether they are still at work.
async fn holder(
    context: &Context,
    found: &RestoreJob,
    workload: &Workload,
    namespace: &str,
) -> Result<LockHolder, WriteError> {
    let Some(lock) = workload.suspend_lock() else {
        return Ok(LockHolder::Nobody);
    };
    if Some(&lock.uid) == found.metadata.uid.as_ref() {
        return Ok(LockHolder::Ours);
    }
    let client = context.service.client.clone();
    Ok(match read::<RestoreJob>(client, Some(namespace), &lock.name).await? {
        Read::Found(other) if other.metadata.uid.as_ref() == Some(&lock.uid) && !other.phase().is_terminal() => {
            LockHolder::AtWork(lock.name)
        }
        // Nobody can say how far it got, and it goes on where it was once it can be read.
        Read::Unreadable(uid, _) if uid.as_ref() == Some(&lock.uid) => LockHolder::AtWork(lock.name),
        Read::Found(_) | Read::Unreadable(..) | Read::Absent => LockHolder::Over,
    })
}

/// The pods of the workload. Labels alone do not make one: a pod that bears them and belongs to nobody, or to somebody
/// else, is not stopped by scaling down.
async fn pods_of(context: &Context, namespace: &str, workload: &Workload) -> Result<Vec<Pod>, WriteError> {
    let labels = target::selector(&workload.selector).map_err(|error| WriteError::Refused(error.to_string()))?;
    let mut owners = vec![workload.uid().to_owned()];
    if workload.kind == Kind::Deployment {
        let sets: Api<ReplicaSet> = Api::namespaced(context.service.client.clone(), namespace);
        let sets = write::list(&sets, &ListParams::default().labels(&labels)).await?;
        let own = sets.iter().filter(|set| is_owned(*set, &owners));
        let uids: Vec<String> = own.filter_map(ResourceExt::uid).collect();
        owners.extend(uids);
    }
    let mut pods = list(context, namespace, &labels).await?;
    pods.retain(|pod| is_owned(pod, &owners));
    Ok(pods)
}

fn is_owned(object: &impl ResourceExt, owners: &[String]) -> bool {
    let mut references = object.owner_references().iter();
    references.any(|owner| owner.controller == Some(true) && owners.contains(&owner.uid))
}

/// The pods of its Jobs: found by the restore's uid, so that those of a Job that is gone are seen too.
fn of_role(all: &[Pod], found: &RestoreJob, role: &str) -> Vec<Pod> {
    let ours = |pod: &&Pod| {
        let labels = pod.labels();
        labels.get(LABEL_RESTORE_UID) == found.metadata.uid.as_ref()
            && labels.get(LABEL_ROLE).is_some_and(|label| label == role)
    };
    all.iter().filter(ours).cloned().collect()
}

/// The pods of the Job that writes.
pub(crate) async fn restore_pods(context: &Context, found: &RestoreJob) -> Result<Vec<Pod>, WriteError> {
    let own = format!("{LABEL_RESTORE_UID}={}", found.uid().unwrap_or_default());
    let all = list(context, &found.namespace().unwrap_or_default(), &own).await?;
    Ok(of_role(&all, found, ROLE_RESTORE))
}

async fn list(context: &Context, namespace: &str, labels: &str) -> Result<Vec<Pod>, WriteError> {
    let api: Api<Pod> = Api::namespaced(context.service.client.clone(), namespace);
    write::list(&api, &ListParams::default().labels(labels)).await
}
