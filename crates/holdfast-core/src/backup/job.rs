//! The Job that runs a tool beside its database.

use std::collections::BTreeMap;

use holdfast_api::names::{
    ANNOTATION_FULL_NAME, ANNOTATION_REPOSITORY, ANNOTATION_TRACEPARENT, LABEL_BACKUP_NAME, LABEL_BACKUP_REPO_NAME,
    LABEL_BACKUP_TYPE, LABEL_BACKUP_UID, LABEL_CLUSTER_UID, LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_MAX, LABEL_ROLE,
    MANAGED_BY_HOLDFAST, ROLE_BACKUP, child_name,
};
use holdfast_api::{Backup, BackupPlan};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EnvVar, PersistentVolumeClaim, Pod};
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;

use super::volumes::{Shared, shared};
use super::{Observed, Settings};
use crate::pod::{
    AgentJob, REPOSITORY_DIR, agent_job, bin_mount, bin_volume, container_name, env, pin_to_node, pod_uid_env,
    prepare_container, pull_secrets, repository_mount, repository_volume, secret_env, tool_command,
    tool_security_context, zero_limits,
};
use crate::ttl;

/// How long a finished Job stays if nobody of ours removes it: failed ones are kept for a look at their logs.
pub(super) const KEPT_SECONDS: i32 = 86_400;

/// The Job for a planned Backup, with the target pod's volumes as they are now.
/// Fails, in words, if a mount of the target cannot be reproduced.
pub(super) fn tool_job(observed: &Observed, plan: &BackupPlan, target: &Pod, now: Timestamp) -> Result<Job, String> {
    let backup = &*observed.backup;
    let settings = &*observed.settings;
    let claim = plan.persistent_volume_claim_name.as_str();
    let Shared {
        mut volumes,
        mut mounts,
    } = shared(target, claim)?;
    volumes.extend([repository_volume(claim), bin_volume()]);
    mounts.extend([repository_mount(claim), bin_mount()]);
    let mut labels = labels(backup, ROLE_BACKUP);
    for key in [
        LABEL_INSTANCE,
        LABEL_CLUSTER_UID,
        LABEL_BACKUP_TYPE,
        LABEL_BACKUP_REPO_NAME,
    ] {
        if let Some(value) = backup.labels().get(key) {
            labels.insert(key.to_owned(), value.clone());
        }
    }
    let container = Container {
        name: main_container(backup),
        image: Some(plan.image.clone()),
        image_pull_policy: settings.pull_policy.clone(),
        command: Some(tool_command("run", &plan.tool.backup_commands)),
        env: Some(environment(backup, plan, observed.pvc.get())),
        env_from: plan.tool.env_from.clone(),
        resources: Some(zero_limits(plan.tool.resources.clone())),
        security_context: Some(tool_security_context()),
        volume_mounts: Some(mounts),
        ..Container::default()
    };
    let left = plan.deadline.0.duration_since(now).as_secs().max(1);
    Ok(agent_job(AgentJob {
        count_disruptions: false,
        name: plan.job_name.clone(),
        namespace: backup.namespace().unwrap_or_default(),
        owner: backup.controller_owner_ref(&()),
        labels,
        annotations: annotations(backup),
        backoff_limit: plan.backoff_limit,
        deadline_seconds: Some(left),
        ttl_seconds: Some(KEPT_SECONDS),
        container,
        init_containers: vec![prepare(settings)],
        volumes,
        affinity: Some(pin_to_node(&plan.node_name)),
        image_pull_secrets: pull_secrets(target.spec.as_ref()),
    }))
}

fn prepare(settings: &Settings) -> Container {
    prepare_container(&settings.agent_image, settings.pull_policy.as_deref())
}

/// The name of the tool's container: the Backup's own where a container may have it.
pub(super) fn main_container(backup: &Backup) -> String {
    container_name(&backup.name_any(), &backup.uid().unwrap_or_default())
}

/// Labels that every Job of a Backup carries.
pub(super) fn labels(backup: &Backup, role: &str) -> BTreeMap<String, String> {
    let uid = backup.uid().unwrap_or_default();
    BTreeMap::from([
        (LABEL_MANAGED_BY.to_owned(), MANAGED_BY_HOLDFAST.to_owned()),
        (
            LABEL_BACKUP_NAME.to_owned(),
            child_name(&backup.name_any(), &uid, LABEL_MAX),
        ),
        (LABEL_BACKUP_UID.to_owned(), uid),
        (LABEL_ROLE.to_owned(), role.to_owned()),
    ])
}

/// Annotations that every Job of a Backup carries: the full name, which may not fit into a label, and the trace.
pub(super) fn annotations(backup: &Backup) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::from([(ANNOTATION_FULL_NAME.to_owned(), backup.name_any())]);
    if let Some(trace) = backup.annotations().get(ANNOTATION_TRACEPARENT) {
        annotations.insert(ANNOTATION_TRACEPARENT.to_owned(), trace.clone());
    }
    annotations
}

/// The original's variables in the original's order, then the tool's, which may override them, then ours,
/// which nothing overrides.
fn environment(backup: &Backup, plan: &BackupPlan, claim: Option<&PersistentVolumeClaim>) -> Vec<EnvVar> {
    let mut list = vec![
        env("DP_TARGET_POD_NAME", &plan.pod_name),
        env("DB_HOST", &plan.host),
        env("BACKUP_NAME", backup.name_any()),
        env("BACKUP_DIR", format!("{REPOSITORY_DIR}{}", plan.path)),
    ];
    if let Some(secret) = plan.secret.as_ref() {
        list.push(secret_env("DB_USER", &secret.name, &secret.username_key));
        list.push(secret_env("DB_PASSWORD", &secret.name, &secret.password_key));
    }
    if let Some(text) = plan.ttl.as_deref() {
        list.push(env("TTL", text));
        if let Some(kept) = ttl::logfile_ttl(text) {
            list.push(env("LOGFILE_TTL", format!("{}h", kept.as_hours())));
            list.push(env("LOGFILE_TTL_SECOND", kept.as_secs().to_string()));
        }
    }
    list.extend(plan.tool.env.iter().flatten().cloned());
    list.extend(agent_environment(backup, plan, claim));
    let spec = json!({
        "backup": {
            "name": backup.name_any(),
            "namespace": backup.namespace(),
            "uid": backup.uid(),
            "labels": backup.labels(),
            "spec": backup.spec,
        },
        "policy": plan.policy,
        "tool": { "name": plan.tool_name, "spec": plan.tool },
    });
    list.push(env("HOLDFAST_SPEC", spec.to_string()));
    list.push(env("HOLDFAST_ALLOW_EMPTY", plan.allow_empty.to_string()));
    list
}

/// The agent's own configuration: which run of which Backup, where, and in which repository.
pub(super) fn agent_environment(
    backup: &Backup,
    plan: &BackupPlan,
    claim: Option<&PersistentVolumeClaim>,
) -> Vec<EnvVar> {
    let repository = claim.and_then(|claim| claim.annotations().get(ANNOTATION_REPOSITORY).cloned());
    let mut list = vec![
        env("HOLDFAST_BACKUP_UID", backup.uid().unwrap_or_default()),
        env("HOLDFAST_BACKUP_NAME", backup.name_any()),
        env("HOLDFAST_RUN", plan.run.to_string()),
        pod_uid_env(),
        env("HOLDFAST_REPOSITORY_ROOT", REPOSITORY_DIR),
        env("HOLDFAST_PATH", &plan.path),
        env("HOLDFAST_REPOSITORY_ID", repository.unwrap_or_default()),
    ];
    if let Some(trace) = backup.annotations().get(ANNOTATION_TRACEPARENT) {
        list.push(env("TRACEPARENT", trace));
    }
    list
}
