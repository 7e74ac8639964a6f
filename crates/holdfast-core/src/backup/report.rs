//! When the tool's pod is gone before its result was read: a Job of the agent alone reads the seal and reports again.

use holdfast_api::condition::Reason;
use holdfast_api::names::ROLE_REPORT;
use holdfast_api::{BackupPlan, JobWork};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::{Resource as _, ResourceExt as _};

use super::children::{LOOK_AGAIN, failed_text, is_fresh, is_ours, newest, report_job_name};
use super::finish;
use super::job::{KEPT_SECONDS, agent_environment, annotations, labels};
use super::observed::{Observed, Read, Write};
use super::trouble::{created, tell, trouble_of};
use super::verdict::Verdict;
use crate::decision::{Child, Kind, Target};
use crate::pod::{
    AgentJob, Demands, JobState, Mode, agent_container, agent_job, failure, is_over, is_undead, job_state,
    repository_access, tolerations_of,
};

/// The container of a report Job.
const CONTAINER: &str = "report";
/// How long one report Job may take: it reads a seal, not the data.
const ALLOWED: SignedDuration = SignedDuration::from_mins(10);
const ATTEMPTS: i32 = 3;

/// The report Job. It needs no particular node: the scheduler knows where the volume can be mounted.
fn report_job(observed: &Observed, plan: &BackupPlan, work: &JobWork, demands: Demands) -> Result<Job, String> {
    let backup = &*observed.backup;
    let settings = &*observed.settings;
    let access = repository_access(&plan.location, Mode::ReadWrite).map_err(|error| error.to_string())?;
    let container = agent_container(
        CONTAINER,
        &settings.agent_image,
        settings.pull_policy.as_deref(),
        "report",
        agent_environment(backup, plan, access.env),
        access.mounts,
    );
    Ok(agent_job(AgentJob {
        name: report_job_name(backup),
        namespace: backup.namespace().unwrap_or_default(),
        owner: backup.controller_owner_ref(&()),
        labels: labels(backup, ROLE_REPORT),
        annotations: annotations(backup),
        backoff_limit: ATTEMPTS,
        deadline_seconds: Some(ALLOWED.as_secs()),
        ttl_seconds: Some(KEPT_SECONDS),
        container,
        volumes: access.volumes,
        image_pull_secrets: work.image_pull_secrets.clone(),
        tolerations: Some(tolerations_of(&work.tolerations)),
        data_pods: settings.data_pods.clone(),
        demands,
        security: work.security_context.as_deref().cloned(),
        ..AgentJob::default()
    }))
}

/// The pod is gone or its result cannot be read: the seal in the repository decides. `taken` says what a report Job of
/// somebody else means.
pub(super) fn read_seal(
    observed: &Observed,
    (plan, work): (&BackupPlan, &JobWork),
    finished: Timestamp,
    taken: impl FnOnce(&Job) -> Verdict,
    now: Timestamp,
) -> Verdict {
    let Some(job) = observed.report.get() else {
        return ask_for_report(observed, plan, work, finished, now);
    };
    if !is_ours(job, &observed.backup) {
        return taken(job);
    }
    if let Some(result) = finish::sealed_beside(&observed.report_pods.items, CONTAINER) {
        return finish::complete(observed, result);
    }
    if job_state(job) == JobState::Running {
        let pod = newest(&observed.report_pods.items, |pod| !is_over(pod));
        // Its node is lost, and the Job would wait for it: reading twice does no harm. One of an earlier Job may be left.
        let own = pod.filter(|pod| created(*pod, now) >= created(job, now));
        if own.is_some_and(|pod| is_undead(pod, now)) {
            return Verdict::Write(Write::Delete(Target::exactly(Kind::Job, job)));
        }
        if let Some(trouble) = trouble_of(job, pod, now) {
            return tell(observed, trouble);
        }
        let text = "reading the seal, because the pod that wrote it is gone".to_owned();
        return Verdict::Wait(Reason::Verifying, text, LOOK_AGAIN * 6);
    }
    if let Some(result) = finish::sealed(&observed.report_pods.items, CONTAINER) {
        return finish::complete(observed, result);
    }
    if !observed.report_pods.live {
        return Verdict::Read(Read::ReportPods);
    }
    let told = observed
        .report_pods
        .items
        .iter()
        .filter_map(|pod| failure(pod, CONTAINER));
    if let Some(failure) = told.into_iter().find(|failure| failure.permanent) {
        let text = failed_text(&work.job_name, Some(&failure.message));
        return Verdict::Fail(failure.reason, text);
    }
    // It told nothing of the seal: it is asked again, as long as there is time.
    Verdict::Write(Write::Delete(Target::exactly(Kind::Job, job)))
}

fn ask_for_report(
    observed: &Observed,
    plan: &BackupPlan,
    work: &JobWork,
    finished: Timestamp,
    now: Timestamp,
) -> Verdict {
    if !observed.report.live {
        return Verdict::Read(Read::Report);
    }
    let hour = finished.checked_add(SignedDuration::from_hours(1)).unwrap_or(finished);
    let limit = plan.deadline.as_ref().map_or(hour, |deadline| hour.max(deadline.0));
    if now > limit {
        let detail = "its pod is gone and the seal could not be read in time";
        return Verdict::Fail(Reason::DeadlineExceeded, failed_text(&work.job_name, Some(detail)));
    }
    if let Some(refused) = observed.refused.as_deref() {
        let text = format!("the API server refuses the report job: {refused}");
        return Verdict::Wait(Reason::Verifying, text, LOOK_AGAIN * 3);
    }
    let Some(demands) = observed.demands else {
        return Verdict::Read(Read::Demands);
    };
    if !is_fresh(observed, now) {
        return Verdict::Read(Read::Backup);
    }
    match report_job(observed, plan, work, demands) {
        Ok(job) => Verdict::Write(Write::Create(Child::from(job))),
        Err(text) => Verdict::Fail(Reason::NewerFormat, text),
    }
}
