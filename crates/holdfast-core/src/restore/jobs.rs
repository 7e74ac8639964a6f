//! The two Jobs of a restore: one checks the backup, one writes the volumes.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_api::{
    RestoreJob, RestorePlan,
    names::{
        ANNOTATION_FULL_NAME, LABEL_MANAGED_BY, LABEL_MAX, LABEL_RESTORE_JOB_NAME, LABEL_RESTORE_UID, LABEL_ROLE,
        MANAGED_BY_HOLDFAST, ROLE_RESTORE, ROLE_VERIFY, child_name,
    },
};
use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Container, EnvVar, VolumeMount},
};
use kube::{Resource as _, ResourceExt as _};

use super::Settings;
use crate::pod::{
    AgentJob, BIN_VOLUME, REPOSITORY_DIR, agent_command, agent_job, bin_mount, bin_volume, env, pin_to_node,
    pod_uid_env, prepare_container, repository_mount, repository_volume, repository_volume_name, tool_command,
    tool_security_context, zero_limits,
};

/// The container of both Jobs.
pub(super) const CONTAINER: &str = "restore";
/// How long finished Jobs stay for a look at their logs.
const KEPT_SECONDS: i32 = 86_400;
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
        if mount.name == BIN_VOLUME || [REPOSITORY_DIR, "/holdfast", ""].contains(&path) || path.contains(':') {
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

fn environment(restore: &RestoreJob, plan: &RestorePlan) -> Vec<EnvVar> {
    vec![
        env("HOLDFAST_BACKUP_UID", &plan.backup_uid),
        env("HOLDFAST_BACKUP_NAME", &plan.backup_name),
        env("HOLDFAST_PATH", &plan.path),
        env("HOLDFAST_REPOSITORY_ROOT", REPOSITORY_DIR),
        env("HOLDFAST_DIGEST", &plan.digest),
        env("HOLDFAST_TARGETS", targets(&restore.spec.target_volume_mounts)),
        env("HOLDFAST_REPLACE", restore.spec.replace.unwrap_or(false).to_string()),
        env("HOLDFAST_RESTORE_UID", restore.uid().unwrap_or_default()),
        pod_uid_env(),
    ]
}

fn frame(settings: &Settings, restore: &RestoreJob, plan: &RestorePlan, role: &str) -> AgentJob {
    let uid = restore.uid().unwrap_or_default();
    AgentJob {
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
        volumes: restore
            .spec
            .target_volumes
            .iter()
            .cloned()
            .chain([repository_volume(&plan.persistent_volume_claim_name), bin_volume()])
            .collect(),
        init_containers: vec![prepare_container(
            &settings.agent_image,
            settings.pull_policy.as_deref(),
        )],
        affinity: plan.node_name.as_deref().map(pin_to_node),
        image_pull_secrets: plan.image_pull_secrets.clone(),
        ..AgentJob::default()
    }
}

/// Where the repository is read: it is never written by a restore.
fn repository(plan: &RestorePlan) -> VolumeMount {
    VolumeMount {
        read_only: Some(true),
        ..repository_mount(&plan.persistent_volume_claim_name)
    }
}

/// The container of either Job. Both have the tool's image and environment, so that an image or a Secret that is not to be
/// had is found out by the check, while the workload still runs.
fn container(
    settings: &Settings,
    restore: &RestoreJob,
    plan: &RestorePlan,
    command: Vec<String>,
    mut mounts: Vec<VolumeMount>,
) -> Container {
    mounts.extend([repository(plan), bin_mount()]);
    let mut list = vec![
        env("BACKUP_NAME", &plan.backup_name),
        env("BACKUP_DIR", format!("{REPOSITORY_DIR}{}", plan.path)),
    ];
    list.extend(plan.tool.env.iter().flatten().cloned());
    list.extend(environment(restore, plan));
    Container {
        name: CONTAINER.to_owned(),
        image: Some(plan.image.clone()),
        image_pull_policy: settings.pull_policy.clone(),
        command: Some(command),
        env: Some(list),
        env_from: plan.tool.env_from.clone(),
        resources: Some(zero_limits(None)),
        security_context: Some(tool_security_context()),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

/// The Job that reads every byte of the backup and looks at the target volumes, writing nothing.
pub(super) fn verify_job(settings: &Settings, restore: &RestoreJob, plan: &RestorePlan, now: Timestamp) -> Job {
    let own = restore.spec.target_volume_mounts.iter().cloned();
    let mounts = own.map(|mount| VolumeMount {
        read_only: Some(true),
        ..mount
    });
    agent_job(AgentJob {
        name: plan.verify_job_name.clone(),
        backoff_limit: VERIFY_ATTEMPTS,
        deadline_seconds: Some(left(plan, now)),
        container: container(settings, restore, plan, agent_command("verify"), mounts.collect()),
        ..frame(settings, restore, plan, ROLE_VERIFY)
    })
}

/// The Job that runs the tool's restore commands over the target volumes.
pub(super) fn restore_job(settings: &Settings, restore: &RestoreJob, plan: &RestorePlan, now: Timestamp) -> Job {
    let mounts = restore.spec.target_volume_mounts.clone();
    let physical = plan.tool.physical.as_ref();
    let commands = physical
        .and_then(|physical| physical.restore_commands.clone())
        .unwrap_or_default();
    agent_job(AgentJob {
        name: plan.restore_job_name.clone(),
        backoff_limit: plan.backoff_limit,
        // A pod that wrote half and was drained must not be forgotten: see `clean`.
        count_disruptions: true,
        deadline_seconds: Some(left(plan, now)),
        container: Container {
            resources: Some(zero_limits(plan.tool.resources.clone())),
            ..container(settings, restore, plan, tool_command("restore", &commands), mounts)
        },
        ..frame(settings, restore, plan, ROLE_RESTORE)
    })
}

fn left(plan: &RestorePlan, now: Timestamp) -> i64 {
    plan.deadline.0.duration_since(now).as_secs().max(1)
}

/// The volume name that the repository takes, which a target volume must not have.
pub(super) fn repository_name(plan: &RestorePlan) -> String {
    repository_volume_name(&plan.persistent_volume_claim_name)
}
