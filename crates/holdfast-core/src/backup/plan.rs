//! From an admitted Backup to a plan: everything that the run needs is looked up once and written down.

use holdfast_api::condition::Reason;
use holdfast_api::event::BusEventKind;
use holdfast_api::names::{ANNOTATION_ADMITTED, ANNOTATION_ALLOW_EMPTY, LABEL_INSTANCE, LABEL_MAX, child_name};
use holdfast_api::{Backup, BackupPhase, BackupPlan, BackupPolicy, BackupToolManifestsStatus, CommonBackupPolicy};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::lookup::{Parts, Problem, parts};
use super::{Decision, Notice, Observed, Write, status};
use crate::{naming, pod::pull_secrets};

/// How often a failed pod is replaced when the policy does not say.
const ATTEMPTS: i32 = 3;
/// What lasts no longer than this is not worth a condition; with the time to look again it stays below ten seconds.
const BRIEF: SignedDuration = SignedDuration::from_secs(4);
/// How often a wait is looked at again when nothing changes.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// Whether the scheduler has admitted the Backup.
pub fn is_admitted(backup: &Backup) -> bool {
    backup.annotations().contains_key(ANNOTATION_ADMITTED)
}

/// The policy's section for datafile backups.
pub fn section(policy: &BackupPolicy) -> Option<&CommonBackupPolicy> {
    policy.spec.datafile.as_ref()
}

/// Decides about an admitted Backup that has not started.
pub(super) fn decide(observed: &Observed, now: Timestamp) -> Decision {
    match parts(observed) {
        Ok(parts) => start(observed, &parts, now),
        Err(problem) => settle(observed, problem, admitted_at(&observed.backup), now),
    }
}

/// Turns a problem into a decision; waits end `not_ready_timeout` after `since`.
pub(super) fn settle(observed: &Observed, problem: Problem, since: Option<Timestamp>, now: Timestamp) -> Decision {
    let backup = &observed.backup;
    let ttl = ttl_of(observed);
    match problem {
        Problem::Read(read) => Decision::read(read),
        Problem::Write(write) => Decision::write(*write),
        Problem::Fail(reason, text) => status::failed(backup, reason, &text, ttl, now),
        Problem::Wait(reason, text) => {
            let waited = now.duration_since(since.unwrap_or(now));
            let left = observed.settings.not_ready_timeout - waited;
            if left <= SignedDuration::ZERO {
                status::failed(backup, reason, &text, ttl, now)
            } else if waited < BRIEF {
                Decision::after(BRIEF - waited)
            } else {
                status::waiting(backup, reason, &text, left.min(LOOK_AGAIN), now)
            }
        }
    }
}

fn ttl_of(observed: &Observed) -> Option<&str> {
    let plan = observed.backup.status.as_ref().and_then(|status| status.plan.as_ref());
    plan.and_then(|plan| plan.ttl.as_deref())
        .or_else(|| policy_ttl(observed.policy.get()?))
}

fn policy_ttl(policy: &BackupPolicy) -> Option<&str> {
    policy.spec.retention.as_ref()?.ttl.as_deref()
}

/// When the Backup was admitted; its creation if the annotation cannot be read.
fn admitted_at(backup: &Backup) -> Option<Timestamp> {
    let written = backup
        .annotations()
        .get(ANNOTATION_ADMITTED)
        .and_then(|text| text.parse().ok());
    written.or_else(|| Some(backup.metadata.creation_timestamp.as_ref()?.0))
}

/// S1: the run begins, with everything it needs.
fn start(observed: &Observed, parts: &Parts<'_>, now: Timestamp) -> Decision {
    let backup = &*observed.backup;
    let plan = match build(observed, parts, now) {
        Ok(plan) => plan,
        Err(text) => {
            let ttl = policy_ttl(parts.policy);
            return status::failed(backup, Reason::InvalidPolicy, &text, ttl, now);
        }
    };
    let mut status = status::draft(backup);
    status.phase = Some(BackupPhase::InProgress);
    status.start_timestamp = Some(Time(now));
    status.completion_timestamp = None;
    status.failure_reason = None;
    status.persistent_volume_claim_name = Some(plan.persistent_volume_claim_name.clone());
    status.backup_tool_name = Some(plan.tool_name.clone());
    let instance = parts
        .target
        .labels()
        .get(LABEL_INSTANCE)
        .or_else(|| backup.labels().get(LABEL_INSTANCE));
    status.source_cluster = instance.filter(|name| !name.is_empty()).cloned();
    let manifests = status.manifests.get_or_insert_default();
    manifests.backup_tool = Some(BackupToolManifestsStatus {
        file_path: Some(plan.path.clone()),
        volume_name: volume_name(parts.claim),
        ..BackupToolManifestsStatus::default()
    });
    let message = format!("backing up pod {} with backupTool {}", plan.pod_name, plan.tool_name);
    status.plan = Some(plan);
    status::say(&mut status, backup, Reason::InProgress, &message, now);
    let notice = Notice {
        kind: BusEventKind::BackupStarted,
        from: BackupPhase::New,
        start: now,
        reason: None,
    };
    Decision {
        news: vec![notice],
        ..Decision::write(Write::Status(Box::new(status)))
    }
}

/// The volume that a claim is bound to.
pub(super) fn volume_name(claim: &PersistentVolumeClaim) -> Option<String> {
    claim.spec.as_ref()?.volume_name.clone().filter(|name| !name.is_empty())
}

fn build(observed: &Observed, parts: &Parts<'_>, now: Timestamp) -> Result<BackupPlan, String> {
    let backup = &*observed.backup;
    let Parts {
        policy,
        section,
        tool,
        repo,
        claim,
        target,
        node,
        path,
        image,
    } = parts;
    let uid = backup.uid().unwrap_or_default();
    let asked = backup
        .spec
        .deadline_seconds
        .filter(|seconds| *seconds > 0)
        .map(SignedDuration::from_secs);
    let allowed = asked.unwrap_or(observed.settings.deadline);
    let deadline = now
        .checked_add(allowed)
        .map_err(|_| "deadlineSeconds is out of range".to_owned())?;
    let allow_empty = policy
        .annotations()
        .get(ANNOTATION_ALLOW_EMPTY)
        .is_some_and(|value| value == "true");
    Ok(BackupPlan {
        run: 1,
        policy_uid: policy.uid().unwrap_or_default(),
        policy: serde_json::to_value(section).map_err(|error| error.to_string())?,
        repo_name: repo.map(ResourceExt::name_any),
        repo_uid: repo.and_then(ResourceExt::uid),
        persistent_volume_claim_name: claim.name_any(),
        path: path.clone(),
        tool_name: tool.name_any(),
        tool: tool.spec.clone(),
        image: image.clone(),
        job_name: child_name(&backup.name_any(), &uid, LABEL_MAX),
        backoff_limit: section.base.on_fail_attempted.unwrap_or(ATTEMPTS).max(0),
        deadline: Time(deadline),
        pod_name: target.name_any(),
        pod_uid: target.uid().unwrap_or_default(),
        node_name: (*node).to_owned(),
        host: naming::db_host(target),
        ttl: policy_ttl(policy).map(str::to_owned),
        allow_empty,
        secret: section.base.target.secret.clone(),
        image_pull_secrets: pull_secrets(target.spec.as_ref()),
    })
}
