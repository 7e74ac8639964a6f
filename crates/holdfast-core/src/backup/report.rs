//! When the tool's pod is gone before its result was read: a Job of the agent alone reads the seal and reports again.

use holdfast_api::condition::Reason;
use holdfast_api::names::ROLE_REPORT;
use holdfast_api::{Backup, BackupPlan};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::{Resource as _, ResourceExt as _};

use super::job::{KEPT_SECONDS, agent_environment, annotations, labels};
use super::run::{LOOK_AGAIN, failed_text, is_fresh, is_ours, newest, taken};
use super::{Decision, Observed, Read, Write, finish, status};
use crate::pod::{
    AgentJob, JobState, agent_container, agent_job, failure, is_over, job_state, repository_mount, repository_volume,
    trouble,
};

/// The container of a report Job.
const CONTAINER: &str = "report";
/// How long one report Job may take: it reads a seal, not the data.
const ALLOWED: SignedDuration = SignedDuration::from_mins(10);
const ATTEMPTS: i32 = 3;

/// The report Job's name: by the uid alone, since `<backup>-report` could be another Backup's name.
pub fn report_job_name(backup: &Backup) -> String {
    format!("holdfast-report-{}", backup.uid().unwrap_or_default())
}

/// The report Job. It needs no particular node: the scheduler knows where the volume can be mounted.
fn report_job(observed: &Observed, plan: &BackupPlan) -> Job {
    let backup = &*observed.backup;
    let settings = &*observed.settings;
    let claim = plan.persistent_volume_claim_name.as_str();
    let container = agent_container(
        CONTAINER,
        &settings.agent_image,
        settings.pull_policy.as_deref(),
        "report",
        agent_environment(backup, plan, observed.pvc.get()),
        vec![repository_mount(claim)],
    );
    agent_job(AgentJob {
        name: report_job_name(backup),
        namespace: backup.namespace().unwrap_or_default(),
        owner: backup.controller_owner_ref(&()),
        labels: labels(backup, ROLE_REPORT),
        annotations: annotations(backup),
        backoff_limit: ATTEMPTS,
        deadline_seconds: Some(ALLOWED.as_secs()),
        ttl_seconds: Some(KEPT_SECONDS),
        container,
        volumes: vec![repository_volume(claim)],
        image_pull_secrets: plan.image_pull_secrets.clone(),
        ..AgentJob::default()
    })
}

/// The pod is gone or its result cannot be read: the seal in the repository decides.
pub(super) fn read_seal(observed: &Observed, plan: &BackupPlan, finished: Timestamp, now: Timestamp) -> Decision {
    let backup = &*observed.backup;
    let Some(job) = observed.report.get() else {
        return ask_for_report(observed, plan, finished, now);
    };
    if !is_ours(job, backup) {
        return taken(
            &Observed {
                job: observed.report.clone(),
                ..observed.clone()
            },
            job,
            now,
        );
    }
    if job_state(job) == JobState::Running {
        let pod = newest(&observed.report_pods.items, |pod| !is_over(pod));
        let (reason, text) = match pod.and_then(|pod| trouble(pod, now)) {
            Some(trouble) => (trouble.reason, trouble.message),
            None => (
                Reason::Verifying,
                "reading the seal, because the pod that wrote it is gone".to_owned(),
            ),
        };
        return status::waiting(backup, reason, &text, LOOK_AGAIN * 6, now);
    }
    if let Some(result) = finish::sealed(&observed.report_pods.items, CONTAINER) {
        return finish::complete(observed, plan, &result, now);
    }
    if !observed.report_pods.live {
        return Decision::read(Read::ReportPods);
    }
    let told = observed
        .report_pods
        .items
        .iter()
        .filter_map(|pod| failure(pod, CONTAINER));
    if let Some(failure) = told.into_iter().find(|failure| failure.permanent) {
        let text = failed_text(&plan.job_name, Some(&failure.message));
        return status::failed(backup, failure.reason, &text, plan.ttl.as_deref(), now);
    }
    // It told nothing of the seal: it is asked again, as long as there is time.
    let (name, uid) = (job.name_any(), job.uid().unwrap_or_default());
    Decision::write(Write::DeleteJob {
        name,
        uid,
        resource_version: job.resource_version(),
    })
}

fn ask_for_report(observed: &Observed, plan: &BackupPlan, finished: Timestamp, now: Timestamp) -> Decision {
    let backup = &*observed.backup;
    if !observed.report.live {
        return Decision::read(Read::Report);
    }
    let limit = finished
        .checked_add(SignedDuration::from_hours(1))
        .unwrap_or(finished)
        .max(plan.deadline.0);
    if now > limit {
        let text = failed_text(
            &plan.job_name,
            Some("its pod is gone and the seal could not be read in time"),
        );
        return status::failed(backup, Reason::DeadlineExceeded, &text, plan.ttl.as_deref(), now);
    }
    if let Some(refused) = observed.refused.as_deref() {
        let text = format!("the API server refuses the report job: {refused}");
        return status::waiting(backup, Reason::Verifying, &text, LOOK_AGAIN * 3, now);
    }
    if !is_fresh(observed, now) {
        return Decision::read(Read::Backup);
    }
    Decision::write(Write::CreateReportJob(Box::new(report_job(observed, plan))))
}
