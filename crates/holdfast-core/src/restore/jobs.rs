//! The two Jobs of a restore: one checks the backup, one writes the volumes.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_api::{
    NewerFormat, RestoreJob, RestorePlan, RestoreWork,
    assignment::Assignment,
    condition::Reason,
    names::{
        ANNOTATION_FULL_NAME, ANNOTATION_RELEASED, LABEL_MANAGED_BY, LABEL_MAX, LABEL_RESTORE_JOB_NAME,
        LABEL_RESTORE_UID, LABEL_ROLE, MANAGED_BY_HOLDFAST, RESTORE_POD_FINALIZER, ROLE_RESTORE, ROLE_VERIFY,
        child_name,
    },
};
use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Container, EnvVar, VolumeMount},
};
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;

use super::observed::{Observed, Write};
use super::tool::Tool;
use super::workload::Workload;
use crate::decision::{Kind, Target};
use crate::pod::{
    AgentJob, Mode, agent_command, agent_job, assign, backup_dir, bin_mount, bin_volume, env, is_own_path,
    is_own_volume, is_suspended, pin_to_node, pod_uid_env, prepare_container, repository_access, tool_security_context,
    zero_limits,
};

/// The container of both Jobs.
pub(super) const CONTAINER: &str = "restore";
/// How long finished Jobs stay for a look at their logs.
const KEPT_SECONDS: i32 = 86_400;
/// The agent's variable with the mount paths of the targets.
const TARGETS: &str = "HOLDFAST_TARGETS";
const VERIFY_ATTEMPTS: i32 = 3;

/// The name of the Job that checks the backup.
pub fn verify_job_name(restore: &RestoreJob) -> String {
    format!("holdfast-verify-{}", restore.uid().unwrap_or_default())
}

/// The name of the Job that writes the volumes: the RestoreJob's own, where it fits.
pub fn restore_job_name(restore: &RestoreJob) -> String {
    child_name(&restore.name_any(), &restore.uid().unwrap_or_default(), LABEL_MAX)
}

/// The target mounts, if they can stand beside ours.
pub(super) fn mounts(restore: &RestoreJob) -> Result<Vec<VolumeMount>, String> {
    let volumes: BTreeSet<&str> = restore
        .spec
        .target_volumes
        .iter()
        .map(|volume| volume.name.as_str())
        .collect();
    for mount in &restore.spec.target_volume_mounts {
        let path = mount.mount_path.trim_end_matches('/');
        if !volumes.contains(mount.name.as_str()) {
            return Err(format!(
                "targetVolumeMounts names volume {}, which targetVolumes lacks",
                mount.name
            ));
        }
        if is_own_volume(&mount.name) || path.is_empty() || is_own_path(path) || path.contains(':') {
            return Err(format!(
                "targetVolumeMounts cannot use name {} and path {}",
                mount.name, mount.mount_path
            ));
        }
    }
    Ok(restore.spec.target_volume_mounts.clone())
}

fn targets(mounts: &[VolumeMount]) -> String {
    let paths: Vec<&str> = mounts
        .iter()
        .filter(|mount| mount.read_only != Some(true))
        .map(|mount| mount.mount_path.as_str())
        .collect();
    paths.join(":")
}

/// The restores whose half written volumes this one takes over, by the lock on the workload.
fn takes_over(observed: &Observed) -> String {
    let lock = observed.planned_workload().and_then(Workload::suspend_lock);
    let uid = observed.restore.uid().unwrap_or_default();
    lock.map(|lock| lock.predecessors_of(&uid).join(","))
        .unwrap_or_default()
}

fn environment(observed: &Observed, work: &RestoreWork, access: Vec<EnvVar>) -> Vec<EnvVar> {
    let restore = &observed.restore;
    let mut list = vec![
        env("HOLDFAST_BACKUP_UID", &work.location.seal_uid),
        env("HOLDFAST_BACKUP_NAME", &work.backup.name),
    ];
    list.extend(access);
    list.extend([
        env("HOLDFAST_DIGEST", &work.digest),
        env(TARGETS, targets(&restore.spec.target_volume_mounts)),
        env("HOLDFAST_REPLACE", restore.spec.replace.unwrap_or(false).to_string()),
        env("HOLDFAST_RESTORE_UID", restore.uid().unwrap_or_default()),
        env("HOLDFAST_TAKES_OVER", takes_over(observed)),
        pod_uid_env(),
    ]);
    list
}

/// What both Jobs have in common. `command` is the agent's; the repository is never written by a restore.
///
/// Both have the tool's image, environment and resources, so that an image, a Secret or a node that is not to be had is
/// found out by the check, while the workload still runs.
fn frame(
    observed: &Observed,
    plan: &RestorePlan,
    work: &RestoreWork,
    tool: Tool,
    role: &str,
    now: Timestamp,
) -> Result<AgentJob, NewerFormat> {
    let (settings, restore) = (&observed.settings, &observed.restore);
    let access = repository_access(&work.location, Mode::ReadOnly)?;
    let uid = restore.uid().unwrap_or_default();
    let mut list = vec![
        env("BACKUP_NAME", &work.backup.name),
        env("BACKUP_DIR", backup_dir(&work.location)),
    ];
    list.extend(tool.env);
    list.extend(environment(observed, work, access.env));
    let volumes = restore.spec.target_volumes.iter().cloned();
    Ok(AgentJob {
        namespace: restore.namespace().unwrap_or_default(),
        owner: restore.controller_owner_ref(&()),
        labels: BTreeMap::from([
            (LABEL_MANAGED_BY.to_owned(), MANAGED_BY_HOLDFAST.to_owned()),
            (
                LABEL_RESTORE_JOB_NAME.to_owned(),
                child_name(&restore.name_any(), &uid, LABEL_MAX),
            ),
            (LABEL_RESTORE_UID.to_owned(), uid),
            (LABEL_ROLE.to_owned(), role.to_owned()),
        ]),
        annotations: BTreeMap::from([(ANNOTATION_FULL_NAME.to_owned(), restore.name_any())]),
        ttl_seconds: Some(KEPT_SECONDS),
        deadline_seconds: plan
            .deadline
            .as_ref()
            .map(|deadline| deadline.0.duration_since(now).as_secs().max(1)),
        volumes: volumes.chain(access.volumes).chain([bin_volume()]).collect(),
        init_containers: vec![prepare_container(
            &settings.agent_image,
            settings.pull_policy.as_deref(),
        )],
        affinity: plan.node_name.as_deref().map(pin_to_node),
        image_pull_secrets: work.image_pull_secrets.clone(),
        data_pods: settings.data_pods.clone(),
        demands: observed.demands,
        security: observed.workloads.first().map(|workload| workload.security.clone()),
        container: Container {
            name: CONTAINER.to_owned(),
            image: Some(work.tool.image.clone()),
            image_pull_policy: settings.pull_policy.clone(),
            env: Some(list),
            env_from: tool.spec.env_from,
            resources: Some(zero_limits(tool.spec.resources)),
            security_context: Some(tool_security_context()),
            volume_mounts: Some(access.mounts.into_iter().chain([bin_mount()]).collect()),
            ..Container::default()
        },
        ..AgentJob::default()
    })
}

fn restore_commands(tool: &Tool) -> Vec<String> {
    let physical = tool.spec.physical.as_ref();
    physical
        .and_then(|physical| physical.restore_commands.clone())
        .unwrap_or_default()
}

/// Puts the target mounts before ours.
fn mount(job: &mut AgentJob, targets: impl Iterator<Item = VolumeMount>) {
    let ours = job.container.volume_mounts.take().unwrap_or_default();
    job.container.volume_mounts = Some(targets.chain(ours).collect());
}

/// Leaves out target volumes by their claims: a claim that one pod alone may mount is its database's until that is stopped
/// (`ReadWriteOncePod`).
fn leave_out(job: &mut AgentJob, claims: &[String]) {
    job.volumes.retain(|volume| {
        let claim = volume.persistent_volume_claim.as_ref();
        claim.is_none_or(|claim| !claims.contains(&claim.claim_name))
    });
    let targets = job.container.env.iter_mut().flatten();
    if !claims.is_empty() {
        for variable in targets.filter(|variable| variable.name == TARGETS) {
            variable.value = Some(String::new());
        }
    }
}

/// The Job that reads every byte of the backup and looks at the target volumes, writing nothing; at those of exclusive
/// claims it cannot look.
pub(super) fn verify_job(
    observed: &Observed,
    plan: &RestorePlan,
    work: &RestoreWork,
    tool: Tool,
    now: Timestamp,
) -> Result<Job, (Reason, String)> {
    let (commands, exclusive) = (restore_commands(&tool), &observed.exclusive);
    let mut job = frame(observed, plan, work, tool, ROLE_VERIFY, now).map_err(|error| newer(&error))?;
    job.name.clone_from(&work.verify_job_name);
    job.backoff_limit = VERIFY_ATTEMPTS;
    job.container.command = Some(agent_command("verify"));
    leave_out(&mut job, exclusive);
    let own = observed.restore.spec.target_volume_mounts.iter().cloned();
    let read_only = own
        .filter(|mount| job.volumes.iter().any(|volume| volume.name == mount.name))
        .map(|mount| VolumeMount {
            read_only: Some(true),
            ..mount
        });
    let read_only: Vec<VolumeMount> = read_only.collect();
    mount(&mut job, read_only.into_iter());
    assigned(job, &observed.restore, work, commands)
}

/// The Job that runs the tool's restore commands over the target volumes.
pub(super) fn restore_job(
    observed: &Observed,
    plan: &RestorePlan,
    work: &RestoreWork,
    tool: Tool,
    now: Timestamp,
) -> Result<Job, (Reason, String)> {
    let commands = restore_commands(&tool);
    let mut job = frame(observed, plan, work, tool, ROLE_RESTORE, now).map_err(|error| newer(&error))?;
    job.name.clone_from(&work.restore_job_name);
    job.backoff_limit = work.backoff_limit;
    // A pod that wrote half and was drained must not be forgotten: see `clean`.
    job.count_disruptions = true;
    job.pod_finalizer = Some(RESTORE_POD_FINALIZER);
    job.container.command = Some(agent_command("restore"));
    mount(&mut job, observed.restore.spec.target_volume_mounts.iter().cloned());
    let mut job = assigned(job, &observed.restore, work, commands)?;
    // A request for it that comes late makes nothing that works: only who reads it lets it go.
    if let Some(spec) = job.spec.as_mut() {
        spec.suspend = Some(true);
    }
    Ok(job)
}

/// Whether the Job that restores still waits to be let go.
pub(super) fn waits(job: &Job) -> bool {
    is_suspended(job) && !job.annotations().contains_key(ANNOTATION_RELEASED)
}

/// Lets it go, as it was read and not as it may be by then.
pub(super) fn release(job: &Job) -> Write {
    let change = json!({"metadata": {"annotations": {ANNOTATION_RELEASED: "true"}}, "spec": {"suspend": false}});
    Write::Patch(Target::exactly(Kind::Job, job), change)
}

/// The check has the same assignment as what follows it: one that does not fit is found before anything is stopped.
fn assigned(
    mut job: AgentJob,
    restore: &RestoreJob,
    work: &RestoreWork,
    command: Vec<String>,
) -> Result<Job, (Reason, String)> {
    let assignment = Assignment {
        command,
        ..Assignment::default()
    };
    let user = restore.spec.target.secret.as_ref();
    assign(&mut job, assignment, &work.tool.name, user).map_err(|text| (Reason::Unsupported, text))?;
    Ok(agent_job(job))
}

fn newer(error: &NewerFormat) -> (Reason, String) {
    (error.reason(), error.to_string())
}
