//! The Job that runs a tool beside its database.

use std::collections::BTreeMap;

use holdfast_api::assignment::Assignment;
use holdfast_api::names::{
    ANNOTATION_FULL_NAME, ANNOTATION_TRACEPARENT, LABEL_BACKUP_NAME, LABEL_BACKUP_REPO_NAME, LABEL_BACKUP_TYPE,
    LABEL_BACKUP_UID, LABEL_CLUSTER_UID, LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_MAX, LABEL_ROLE, MANAGED_BY_HOLDFAST,
    ROLE_BACKUP, child_name,
};
use holdfast_api::{Backup, BackupPlan, BackupToolSpec, JobWork};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, Toleration};
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use super::observed::Observed;
use super::volumes::{Shared, shared};
use crate::pod::{
    AgentJob, Demands, Mode, RepositoryAccess, agent_command, agent_job, assign, backup_dir, bin_mount, bin_volume,
    container_name, env, pin_to_node, pod_uid_env, prepare_container, pull_secrets, repository_access, secret_env,
    security_of, tool_security_context, zero_limits,
};
use crate::settings::Settings;
use crate::ttl;

/// How long a finished Job stays if nobody of ours removes it: failed ones are kept for a look at their logs.
pub(super) const KEPT_SECONDS: i32 = 86_400;

/// What a tool's Job is made of beside the plan.
pub(super) struct Tool {
    /// Its spec, as planned.
    pub(super) spec: BackupToolSpec,
    /// Its environment, with the literal values.
    pub(super) env: Vec<EnvVar>,
}

/// The Job for a planned Backup, with the target pod's volumes as they are now.
/// Fails, in words, if a mount of the target cannot be reproduced.
pub(super) fn tool_job(
    observed: &Observed,
    plan: &BackupPlan,
    work: &JobWork,
    tool: Tool,
    (target, demands): (&Pod, Demands),
    now: Timestamp,
) -> Result<Job, String> {
    let backup = &*observed.backup;
    let settings = &*observed.settings;
    let access = repository_access(&plan.location, Mode::ReadWrite).map_err(|error| error.to_string())?;
    let Shared {
        mut volumes,
        mut mounts,
    } = shared(target, &plan.location, &main_container(backup))?;
    volumes.extend(access.volumes.iter().cloned().chain([bin_volume()]));
    mounts.extend(access.mounts.iter().cloned().chain([bin_mount()]));
    let container = Container {
        name: main_container(backup),
        image: Some(work.tool.image.clone()),
        image_pull_policy: settings.pull_policy.clone(),
        command: Some(agent_command("run")),
        env: Some(environment(backup, plan, work, tool.env, access)),
        env_from: tool.spec.env_from,
        resources: Some(zero_limits(tool.spec.resources)),
        security_context: Some(tool_security_context()),
        volume_mounts: Some(mounts),
        ..Container::default()
    };
    let left = |deadline: Timestamp| deadline.duration_since(now).as_secs().max(1);
    let mut job = AgentJob {
        name: work.job_name.clone(),
        namespace: backup.namespace().unwrap_or_default(),
        owner: backup.controller_owner_ref(&()),
        labels: tool_labels(backup),
        annotations: annotations(backup),
        backoff_limit: work.backoff_limit,
        deadline_seconds: plan.deadline.as_ref().map(|deadline| left(deadline.0)),
        ttl_seconds: Some(KEPT_SECONDS),
        container,
        init_containers: vec![prepare(settings)],
        volumes,
        affinity: Some(pin_to_node(&plan.source.node_name)),
        image_pull_secrets: pull_secrets(target.spec.as_ref()),
        tolerations: Some(tolerations(target)),
        data_pods: settings.data_pods.clone(),
        demands,
        security: Some(security_of(target)),
        ..AgentJob::default()
    };
    let assignment = Assignment {
        record: record(backup, work),
        ..Assignment::default()
    };
    assign(&mut job, assignment, &work.tool.name, work.secret.as_ref())?;
    Ok(agent_job(job))
}

/// What the seal records.
fn record(backup: &Backup, work: &JobWork) -> Value {
    json!({
        "backup": {
            "name": backup.name_any(),
            "namespace": backup.namespace(),
            "uid": backup.uid(),
            "labels": backup.labels(),
            "spec": backup.spec,
        },
        "policy": work.policy,
        "tool": { "name": work.tool.name, "spec": work.tool.spec },
    })
}

/// What the target pod tolerates: its node takes the tool's pod under the same conditions, and a cordoned one not.
pub(super) fn tolerations(target: &Pod) -> Vec<Toleration> {
    let spec = target.spec.as_ref();
    spec.and_then(|spec| spec.tolerations.clone()).unwrap_or_default()
}

fn prepare(settings: &Settings) -> Container {
    prepare_container(&settings.agent_image, settings.pull_policy.as_deref())
}

/// The name of the tool's container: the Backup's own where a container may have it.
pub(super) fn main_container(backup: &Backup) -> String {
    container_name(&backup.name_any(), &backup.uid().unwrap_or_default())
}

/// Labels of the tool's Job: those of every Job, and the Backup's that people select by.
fn tool_labels(backup: &Backup) -> BTreeMap<String, String> {
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
    labels
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
fn environment(
    backup: &Backup,
    plan: &BackupPlan,
    work: &JobWork,
    tool: Vec<EnvVar>,
    access: RepositoryAccess,
) -> Vec<EnvVar> {
    let mut list = vec![
        env("DP_TARGET_POD_NAME", &plan.source.pod_name),
        env("DB_HOST", &plan.source.host),
        env("BACKUP_NAME", backup.name_any()),
        env("BACKUP_DIR", backup_dir(&plan.location)),
    ];
    if let Some(secret) = work.secret.as_ref() {
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
    list.extend(tool);
    list.extend(agent_environment(backup, plan, access.env));
    list.push(env("HOLDFAST_ALLOW_EMPTY", work.allow_empty.to_string()));
    list
}

/// The agent's own configuration: which run of which Backup, and, as `access` says, where.
pub(super) fn agent_environment(backup: &Backup, plan: &BackupPlan, access: Vec<EnvVar>) -> Vec<EnvVar> {
    let mut list = vec![
        env("HOLDFAST_BACKUP_UID", &plan.location.seal_uid),
        env("HOLDFAST_BACKUP_NAME", backup.name_any()),
        env("HOLDFAST_RUN", plan.run.to_string()),
        pod_uid_env(),
    ];
    list.extend(access);
    if let Some(trace) = backup.annotations().get(ANNOTATION_TRACEPARENT) {
        list.push(env("TRACEPARENT", trace));
    }
    list
}
