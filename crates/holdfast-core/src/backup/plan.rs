//! From an admitted Backup to a plan: everything that the run needs is looked up once and written down.

use holdfast_api::condition::Reason;
use holdfast_api::names::{ANNOTATION_ADMITTED, ANNOTATION_ALLOW_EMPTY, LABEL_INSTANCE, LABEL_MAX, child_name};
use holdfast_api::{
    Access, Backup, BackupPlan, BackupPolicy, BackupRepo, BackupType, CommonBackupPolicy, JobWork, Location,
    RepositoryReference, Source, Work,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodSecurityContext;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::finish::volume_name;
use super::job::tolerations;
use super::lookup::{Parts, parts};
use super::mark;
use super::observed::{Observed, Problem};
use super::stop::CANCELLED;
use super::verdict::{Surroundings, Verdict};
use crate::{
    naming,
    pod::{planned_tool, pull_secrets, security_of},
    policy,
};

/// How often a failed pod is replaced when the policy does not say.
const ATTEMPTS: i32 = 3;
/// What lasts no longer than this is not worth a condition; with the time to look again it stays below ten seconds.
const BRIEF: SignedDuration = SignedDuration::from_secs(4);
/// How often a wait is looked at again when nothing changes.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// How far the clocks of two services may be apart.
const CLOCKS: SignedDuration = SignedDuration::from_mins(1);

/// Whether the scheduler has admitted the Backup.
pub fn is_admitted(backup: &Backup) -> bool {
    backup.annotations().contains_key(ANNOTATION_ADMITTED)
}

/// The policy's section for datafile backups.
pub fn section(policy: &BackupPolicy) -> Option<&CommonBackupPolicy> {
    policy::section(policy, BackupType::Datafile)?.common
}

/// Judges an admitted Backup that has not started.
pub(super) fn judge(observed: &Observed, now: Timestamp) -> Verdict {
    if observed.backup.spec.cancel == Some(true) {
        return Verdict::Fail(Reason::Cancelled, CANCELLED.to_owned());
    }
    if !mark::is_complete(&observed.backup) {
        return Verdict::Write(mark::taken_away());
    }
    match begin(observed, now) {
        Ok(_) if !mark::is_the_policys(observed) => Verdict::Write(mark::taken_away()),
        Ok(verdict) => verdict,
        Err(problem) => settle(observed, problem, admitted_at(&observed.backup, now), now),
    }
}

/// What a problem means for a run; waits end after the installation's time, counted from `since`.
pub(super) fn settle(observed: &Observed, problem: Problem, since: Option<Timestamp>, now: Timestamp) -> Verdict {
    let waited = now.duration_since(since.unwrap_or(now));
    let left = observed.settings.not_ready_timeout - waited;
    match problem {
        Problem::Wait(reason, text) if left <= SignedDuration::ZERO => Verdict::Fail(reason, text),
        Problem::Wait(..) if waited < BRIEF => Verdict::Rest(Some(BRIEF - waited)),
        other => Verdict::of(other, left.min(LOOK_AGAIN)),
    }
}

/// When the Backup was admitted; its creation where the annotation cannot be right: it may be copied.
fn admitted_at(backup: &Backup, now: Timestamp) -> Option<Timestamp> {
    let written = backup
        .annotations()
        .get(ANNOTATION_ADMITTED)
        .and_then(|text| text.parse::<Timestamp>().ok());
    let created = backup.metadata.creation_timestamp.as_ref().map(|time| time.0);
    written
        .filter(|written| written.duration_since(now) <= CLOCKS)
        .max(created)
}

/// The run as it would be planned now: for one that has not started, or that has started nothing yet.
pub(super) fn begin(observed: &Observed, now: Timestamp) -> Result<Verdict, Problem> {
    let parts = parts(observed)?;
    let plan = build(observed, &parts, now).map_err(|text| Problem::Fail(Reason::InvalidPolicy, text))?;
    let instance = parts
        .target
        .labels()
        .get(LABEL_INSTANCE)
        .or_else(|| observed.backup.labels().get(LABEL_INSTANCE));
    let surroundings = Surroundings {
        source_cluster: instance.filter(|name| !name.is_empty()).cloned(),
        volume_name: volume_name(parts.claim),
    };
    Ok(Verdict::Begin(Box::new(plan), surroundings))
}

fn build(observed: &Observed, parts: &Parts<'_>, now: Timestamp) -> Result<BackupPlan, String> {
    let backup = &*observed.backup;
    let policy = parts.policy;
    let asked = backup
        .spec
        .deadline_seconds
        .filter(|seconds| *seconds > 0)
        .map(SignedDuration::from_secs);
    let allowed = asked.unwrap_or(observed.settings.deadline);
    let deadline = observed
        .started()
        .unwrap_or(now)
        .checked_add(allowed)
        .map_err(|_| "deadlineSeconds is out of range".to_owned())?;
    let retention = policy.spec.retention.as_ref();
    Ok(BackupPlan {
        run: 1,
        policy_uid: policy.uid().unwrap_or_default(),
        deadline: Some(Time(deadline)),
        ttl: retention.and_then(|retention| retention.ttl.clone()),
        source: Source {
            pod_name: parts.target.name_any(),
            pod_uid: parts.target.uid().unwrap_or_default(),
            node_name: parts.node.to_owned(),
            host: naming::db_host(parts.target),
            ..Source::default()
        },
        location: location(observed, parts),
        work: Work {
            job: Some(Box::new(job(backup, parts)?)),
            ..Work::default()
        },
        ..BackupPlan::default()
    })
}

fn location(observed: &Observed, parts: &Parts<'_>) -> Location {
    let reference = |repo: &BackupRepo| RepositoryReference {
        name: repo.name_any(),
        uid: repo.uid().unwrap_or_default(),
        ..RepositoryReference::default()
    };
    Location {
        repository: parts.repo.map(reference),
        access: Access::mount(parts.claim.name_any()),
        path: parts.path.clone(),
        seal_uid: observed.backup.uid().unwrap_or_default(),
        identity: observed.known_identity().map(str::to_owned),
        ..Location::default()
    }
}

fn job(backup: &Backup, parts: &Parts<'_>) -> Result<JobWork, String> {
    let uid = backup.uid().unwrap_or_default();
    let section = parts.section;
    let allow_empty = parts
        .policy
        .annotations()
        .get(ANNOTATION_ALLOW_EMPTY)
        .is_some_and(|value| value == "true");
    Ok(JobWork {
        job_name: child_name(&backup.name_any(), &uid, LABEL_MAX),
        policy: serde_json::to_value(section).map_err(|error| error.to_string())?,
        tool: planned_tool(parts.tool, &parts.image, &uid),
        backoff_limit: section.base.on_fail_attempted.unwrap_or(ATTEMPTS).max(0),
        allow_empty,
        secret: section.base.target.secret.clone(),
        image_pull_secrets: pull_secrets(parts.target.spec.as_ref()),
        tolerations: tolerations(parts.target),
        security_context: Some(Box::new(security_of(parts.target)))
            .filter(|one| **one != PodSecurityContext::default()),
        ..JobWork::default()
    })
}
