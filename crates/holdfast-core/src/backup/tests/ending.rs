//! From the Job to Completed or Failed.

use std::sync::Arc;

use holdfast_api::condition::Reason;
use holdfast_api::{BackupPhase, RepoNamespace};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::world::{
    asks, at, change, created, deleted, end_job, ended, events, failed, gave_up, job_pod, sealed, started, take, told,
    verbs, waits, written,
};
use crate::backup::{Observed, Owner, Pods, Read, Seen, Write, cleanup, decide, report_job_name};
use crate::decision::Kind;

pub(super) fn pods(items: Vec<Arc<k8s_openapi::api::core::v1::Pod>>) -> Pods {
    Pods { items, live: false }
}

/// Notes which repository is known to lie there.
pub(super) fn mark(observed: &mut Observed, id: &str) {
    let repo = Arc::make_mut(observed.repo.object.as_mut().expect("a repository"));
    repo.status.get_or_insert_default().namespaces = vec![RepoNamespace {
        namespace: "ns".to_owned(),
        identity: id.to_owned(),
        ..RepoNamespace::default()
    }];
}

/// The policy names a claim itself: nothing but that can keep the repository's identity.
fn without_repository(observed: &mut Observed) {
    observed.repo = Seen::default();
    change(observed, |backup| {
        let plan = backup.status.as_mut().and_then(|status| status.plan.as_mut());
        plan.expect("a plan").location.repository = None;
    });
}

#[test]
fn a_sealed_run_is_completed_with_all_results_at_once() {
    let mut observed = started();
    end_job(&mut observed, "Complete", "", 90);
    observed.pods = pods(vec![job_pod("b1-x", 2, &ended("b1", 0, &sealed()))]);
    let decision = decide(&observed, at(91));
    let status = written(&decision);
    assert_eq!(status.phase, Some(BackupPhase::Completed));
    let plan = status.plan.expect("a plan");
    assert_eq!(plan.location.identity.as_deref(), Some("repository-1"));
    assert_eq!(status.total_size.as_deref(), Some("1.2Gi"));
    assert_eq!(status.duration.as_deref(), Some("1m30s"));
    assert_eq!(
        status.expiration.map(|time| time.0),
        Some(at(91) + SignedDuration::from_hours(7 * 24))
    );
    let manifests = status.manifests.expect("manifests");
    let tool = manifests.backup_tool.expect("a manifest");
    assert_eq!(tool.checksum, Some("ab".repeat(32)));
    assert_eq!(tool.file_path.as_deref(), Some("/ns/c-uid/mysql/b1"));
    let log = manifests.backup_log.expect("a log");
    assert_eq!(log.start_time.map(|time| time.0), Some(at(1)));
    assert_eq!(log.stop_time.map(|time| time.0), Some(at(91)));
    let ready = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
        .expect("Ready");
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("True", "Completed"));
    assert_eq!(events(&decision)[0].note, "Completed backup.");
    assert_eq!(verbs(&decision), ["completed"]);
}

#[test]
fn a_claim_of_the_policys_own_has_the_identity_noted_on_it_first() {
    let mut observed = started();
    without_repository(&mut observed);
    end_job(&mut observed, "Complete", "", 90);
    observed.pods = pods(vec![job_pod("b1-x", 2, &ended("b1", 0, &sealed()))]);
    let Some(Write::Patch(target, change)) = decide(&observed, at(91)).write else {
        panic!("not marked")
    };
    assert_eq!((target.kind, target.name.as_str()), (Kind::Claim, "pvc-r"));
    assert_eq!(
        (target.uid.as_str(), target.resource_version.as_deref()),
        ("claim-uid", Some("4"))
    );
    let annotations = json!({"holdfast.io/repository": "repository-1"});
    assert_eq!(change, json!({"metadata": {"annotations": annotations}}));
    let note = |observed: &mut Observed, id: &str| {
        let claim = Arc::make_mut(observed.claim.object.as_mut().expect("a claim"));
        claim.metadata.annotations = Some([("holdfast.io/repository".to_owned(), id.to_owned())].into());
    };
    note(&mut observed, "repository-1");
    assert_eq!(written(&decide(&observed, at(91))).phase, Some(BackupPhase::Completed));
    note(&mut observed, "another");
    assert_eq!(failed(&decide(&observed, at(91))).0, "RepositoryMismatch");
}

#[test]
fn a_seal_is_believed_only_from_an_agent_that_ended_well() {
    let mut observed = started();
    end_job(&mut observed, "Failed", "BackoffLimitExceeded", 90);
    observed.pods = pods(vec![job_pod("b1-x", 2, &ended("b1", 137, &sealed()))]);
    observed.job.live = true;
    let (reason, text) = failed(&decide(&observed, at(91)));
    assert_eq!(reason, "ToolFailed");
    assert!(text.contains("exited with code 137"), "{text}");
    // Where the Job says that it is complete, the seal itself is asked.
    end_job(&mut observed, "Complete", "", 90);
    asks(&decide(&observed, at(94)), Read::Pods);
    observed.pods.live = true;
    asks(&decide(&observed, at(94)), Read::Report);
    let report = json!({"metadata": {"name": report_job_name(&observed.backup), "uid": "report-uid",
        "labels": {"holdfast.io/backup-uid": observed.backup.metadata.uid}},
        "status": {"conditions": [{"type": "Complete", "status": "True"}]}});
    observed.report = Seen::cached(serde_json::from_value(report).ok().map(Arc::new));
    observed.report_pods = Pods {
        items: vec![job_pod("report-x", 94, &ended("report", 1, &sealed()))],
        live: true,
    };
    assert_eq!(deleted(&decide(&observed, at(95))).uid, "report-uid");
}

#[test]
fn a_repository_that_changed_under_the_run_is_not_taken_for_good() {
    let mut observed = started();
    end_job(&mut observed, "Complete", "", 90);
    observed.pods = pods(vec![job_pod("b1-x", 2, &ended("b1", 0, &sealed()))]);
    mark(&mut observed, "another");
    assert_eq!(failed(&decide(&observed, at(91))).0, "RepositoryMismatch");
}

#[test]
fn without_its_pod_the_seal_decides() {
    let mut observed = started();
    mark(&mut observed, "repository-1");
    end_job(&mut observed, "Complete", "", 90);
    waits(&decide(&observed, at(91)));
    asks(&decide(&observed, at(94)), Read::Pods);
    observed.pods.live = true;
    asks(&decide(&observed, at(94)), Read::Report);
    observed.report = Seen::live(None);
    asks(&decide(&observed, at(94)), Read::Backup);
    observed.backup_read = Some(at(94));
    let mut job = created(&decide(&observed, at(94)));
    assert_eq!(job.metadata.name, Some(report_job_name(&observed.backup)));
    job.metadata.uid = Some("report-uid".to_owned());
    observed.report = Seen::cached(Some(Arc::new(job)));
    assert_eq!(told(&decide(&observed, at(95))).0, "Verifying");
    let report = Arc::make_mut(observed.report.object.as_mut().expect("a job"));
    report.status = serde_json::from_value(json!({"conditions": [{"type": "Complete", "status": "True"}]})).ok();
    asks(&decide(&observed, at(95)), Read::ReportPods);
    let mut good = observed.clone();
    good.report_pods = pods(vec![job_pod("report-x", 94, &ended("report", 0, &sealed()))]);
    assert_eq!(written(&decide(&good, at(96))).phase, Some(BackupPhase::Completed));
    let mut bad = observed.clone();
    let result = gave_up(Reason::SealInvalid, "there is no seal");
    bad.report_pods = Pods {
        items: vec![job_pod("report-x", 94, &ended("report", 90, &result))],
        live: true,
    };
    assert_eq!(failed(&decide(&bad, at(96))).0, "SealInvalid");
    // A report that tells nothing proves nothing: it is made again.
    observed.report_pods.live = true;
    assert_eq!(deleted(&decide(&observed, at(96))).uid, "report-uid");
}

#[test]
fn a_report_job_of_somebody_else_is_read_afresh_and_never_touched() {
    let mut observed = started();
    end_job(&mut observed, "Complete", "", 90);
    observed.pods.live = true;
    let foreign = json!({"metadata": {"name": report_job_name(&observed.backup), "uid": "foreign"}});
    let foreign = serde_json::from_value(foreign).ok().map(Arc::new);
    observed.report = Seen::cached(foreign.clone());
    asks(&decide(&observed, at(94)), Read::Report);
    observed.report = Seen::live(foreign);
    assert_eq!(failed(&decide(&observed, at(94))).0, "NameTaken");
}

#[test]
fn a_failed_job_is_read_afresh_and_its_agents_reason_told() {
    let mut observed = started();
    end_job(&mut observed, "Failed", "PodFailurePolicy", 30);
    let result = gave_up(Reason::EmptyOutput, "the tool wrote nothing");
    observed.pods = pods(vec![job_pod("b1-x", 2, &ended("b1", 82, &result))]);
    asks(&decide(&observed, at(31)), Read::Job);
    observed.job.live = true;
    let decision = decide(&observed, at(31));
    let text = "backup job \"b1\" failed: the tool wrote nothing".to_owned();
    assert_eq!(failed(&decision), ("EmptyOutput".to_owned(), text));
    let status = written(&decision);
    assert_eq!(status.completion_timestamp.map(|time| time.0), Some(at(31)));
    assert!(status.expiration.is_some());
}

#[test]
fn a_failed_job_without_pods_has_the_originals_text() {
    let mut observed = started();
    end_job(&mut observed, "Failed", "BackoffLimitExceeded", 30);
    observed.job.live = true;
    asks(&decide(&observed, at(31)), Read::Pods);
    observed.pods.live = true;
    let (reason, text) = failed(&decide(&observed, at(31)));
    assert_eq!(
        (reason.as_str(), text.starts_with("backup job \"b1\" failed")),
        ("BackupJobFailed", true)
    );
}

#[test]
fn a_job_given_up_in_the_moment_of_sealing_is_completed() {
    let mut observed = started();
    mark(&mut observed, "repository-1");
    end_job(&mut observed, "Failed", "DeadlineExceeded", 30);
    observed.pods = pods(vec![job_pod("b1-x", 2, &ended("b1", 0, &sealed()))]);
    assert_eq!(written(&decide(&observed, at(31))).phase, Some(BackupPhase::Completed));
    observed.pods = Pods {
        items: Vec::new(),
        live: true,
    };
    observed.job.live = true;
    assert_eq!(failed(&decide(&observed, at(31))).0, "DeadlineExceeded");
}

#[test]
fn a_first_failed_attempt_shows_at_once_and_once() {
    let mut observed = started();
    let attempt = job_pod("b1-x", 2, &ended("b1", 1, &gave_up(Reason::ToolFailed, "exit 1")));
    observed.pods = pods(vec![attempt]);
    let decision = decide(&observed, at(5));
    assert_eq!(
        told(&decision),
        (
            "ToolFailed".to_owned(),
            format!("attempt 1 of 4 failed: exit 1: {}", Reason::ToolFailed.hint())
        )
    );
    take(&mut observed, written(&decision), at(5));
    waits(&decide(&observed, at(6)));
    observed
        .pods
        .items
        .push(job_pod("b1-y", 20, &json!({"phase": "Running"})));
    waits(&decide(&observed, at(21)));
}

#[test]
fn a_failed_attempt_is_told_again_after_a_trouble_of_the_next_one() {
    let mut observed = started();
    let attempt = job_pod("b1-x", 2, &ended("b1", 1, &gave_up(Reason::ToolFailed, "exit 1")));
    observed.pods = pods(vec![attempt]);
    let decision = decide(&observed, at(5));
    take(&mut observed, written(&decision), at(5));
    let pending = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]});
    observed.pods.items.push(job_pod("b1-y", 20, &pending));
    let decision = decide(&observed, at(20));
    assert_eq!(told(&decision).0, "Unschedulable");
    take(&mut observed, written(&decision), at(20));
    observed.pods.items[1] = job_pod("b1-y", 20, &json!({"phase": "Running"}));
    let decision = decide(&observed, at(21));
    assert_eq!(told(&decision).0, "ToolFailed");
    take(&mut observed, written(&decision), at(21));
    waits(&decide(&observed, at(22)));
}

#[test]
fn trouble_shows_and_ends_the_run_when_it_lasts() {
    let mut observed = started();
    let pulling = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [{"name": "b1", "image": "tool:1", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}]});
    observed.pods = pods(vec![job_pod("b1-x", 2, &pulling)]);
    let decision = decide(&observed, at(4));
    assert_eq!(told(&decision).0, "ImagePull");
    take(&mut observed, written(&decision), at(4));
    waits(&decide(&observed, at(5)));
    // Said first, then done, then ended.
    let stalled = decide(&observed, at(603));
    assert_eq!(written(&stalled).phase, Some(BackupPhase::InProgress));
    take(&mut observed, written(&stalled), at(603));
    let job = deleted(&decide(&observed, at(603)));
    assert_eq!(
        (job.uid.as_str(), job.resource_version.as_deref()),
        ("job-uid", Some("20"))
    );
    observed.job = Seen::default();
    asks(&decide(&observed, at(604)), Read::Job);
    observed.job.live = true;
    waits(&decide(&observed, at(604)));
    observed.pods = Pods::default();
    asks(&decide(&observed, at(604)), Read::Pods);
    observed.pods.live = true;
    let (reason, text) = failed(&decide(&observed, at(604)));
    assert_eq!(
        (reason.as_str(), text.as_str()),
        ("ImagePull", "container `b1`, image `tool:1`: ErrImagePull: not found")
    );
}

#[test]
fn trouble_that_is_over_is_told_no_more() {
    let mut observed = started();
    let pending = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]});
    observed.pods = pods(vec![job_pod("b1-x", 2, &pending)]);
    let decision = decide(&observed, at(4));
    assert_eq!(told(&decision).0, "Unschedulable");
    take(&mut observed, written(&decision), at(4));
    observed.pods = pods(vec![job_pod("b1-x", 2, &json!({"phase": "Running"}))]);
    let decision = decide(&observed, at(9));
    assert_eq!(told(&decision).0, "JobRunning");
    take(&mut observed, written(&decision), at(9));
    waits(&decide(&observed, at(10)));
}

#[test]
fn a_job_without_pods_is_told_of() {
    let observed = started();
    waits(&decide(&observed, at(3)));
    assert_eq!(told(&decide(&observed, at(10))).0, "PodPending");
}

#[test]
fn a_deleted_backup_ends_only_when_no_pod_can_write_any_more() {
    let mut observed = started();
    change(&mut observed, |backup| {
        backup.metadata.deletion_timestamp = Some(Time(at(20)));
    });
    observed.pods = pods(vec![job_pod("b1-x", 2, &json!({"phase": "Running"}))]);
    let job = deleted(&decide(&observed, at(21)));
    assert_eq!(
        (job.name.as_str(), job.uid.as_str(), job.resource_version),
        ("b1", "job-uid", None)
    );
    observed.job = Seen::live(None);
    waits(&decide(&observed, at(22)));
    // Its node may be dead.
    let pod = Arc::make_mut(&mut observed.pods.items[0]);
    pod.metadata.deletion_timestamp = Some(Time(at(22)));
    waits(&decide(&observed, at(23)));
    asks(&decide(&observed, at(22 + 301)), Read::Pods);
    observed.pods = Pods {
        items: Vec::new(),
        live: true,
    };
    assert_eq!(failed(&decide(&observed, at(24))).0, "Deleted");
}

#[test]
fn a_run_that_somebody_else_started_is_not_guessed_at() {
    let mut observed = started();
    change(&mut observed, |backup| {
        backup.status.as_mut().expect("a status").plan = None;
    });
    assert_eq!(failed(&decide(&observed, at(3))).0, "Unsupported");
}

#[test]
fn a_job_is_removed_a_minute_after_its_backup_is_over() {
    let mut observed = started();
    end_job(&mut observed, "Complete", "", 90);
    let job = |observed: &Observed| (**observed.job.object.as_ref().expect("a job")).clone();
    waits(&cleanup(&job(&observed), Owner::Active, at(1000)));
    waits(&cleanup(&job(&observed), Owner::Over, at(149)));
    asks(&cleanup(&job(&observed), Owner::Unknown, at(151)), Read::Backup);
    assert_eq!(deleted(&cleanup(&job(&observed), Owner::Over, at(151))).uid, "job-uid");
    end_job(&mut observed, "Failed", "BackoffLimitExceeded", 90);
    waits(&cleanup(&job(&observed), Owner::Over, at(1000)));
    let running = started();
    assert_eq!(deleted(&cleanup(&job(&running), Owner::Over, at(5))).uid, "job-uid");
}
