//! What is told of a run beside its end: how much it wrote, which links lead out; and what its deadline does.

use std::sync::Arc;

use holdfast_api::BackupPhase;
use holdfast_api::agent::{AgentResult, LinksOut};
use holdfast_api::condition::{ConditionType, Reason, find};
use serde_json::json;

use super::ending::{mark, pods};
use super::world::{
    asks, at, change, created, deleted, end_job, ended, failed, gave_up, job_pod, sealed, started, take, written,
};
use crate::backup::{Observed, Pods, Read, Seen, decide, report_job_name};

#[test]
fn what_the_last_attempt_wrote_is_told_of_a_failed_run() {
    let mut observed = started();
    end_job(&mut observed, "Failed", "BackoffLimitExceeded", 30);
    observed.job.live = true;
    let attempt = |name: &str, at: i64, bytes: Option<u64>| {
        let mut result = gave_up(Reason::ToolFailed, "exit 1");
        result.bytes = bytes;
        job_pod(name, at, &ended("b1", 1, &result))
    };
    observed.pods = pods(vec![
        attempt("b1-y", 9, Some(200_000_000)),
        attempt("b1-x", 2, Some(1)),
        attempt("b1-z", 12, None),
    ]);
    assert_eq!(written(&decide(&observed, at(31))).total_size.as_deref(), Some("191Mi"));
    observed.pods = pods(vec![attempt("b1-z", 12, None)]);
    assert_eq!(written(&decide(&observed, at(31))).total_size, None);
}

#[test]
fn links_that_lead_out_of_the_backup_are_named() {
    let mut observed = started();
    mark(&mut observed, "repository-1");
    end_job(&mut observed, "Complete", "", 90);
    let mut told = |links: Option<LinksOut>| {
        let result = AgentResult {
            links_out: links,
            ..sealed()
        };
        observed.pods = pods(vec![job_pod("b1-x", 2, &ended("b1", 0, &result))]);
        let status = written(&decide(&observed, at(91)));
        assert_eq!(status.phase, Some(BackupPhase::Completed));
        find(&status.conditions, ConditionType::LinksLeadOut).cloned()
    };
    assert_eq!(told(None), None);
    let first = vec!["pg_wal -> /wal".to_owned(), "conf -> /etc/x".to_owned()];
    let condition = told(Some(LinksOut { count: 7, first })).expect("told");
    assert_eq!(
        (condition.status.as_str(), condition.reason.as_str()),
        ("True", "LinksLeadOut")
    );
    let text = "7 symbolic links lead out of the backup: pg_wal -> /wal, conf -> /etc/x, 5 more: ";
    assert!(condition.message.starts_with(text), "{}", condition.message);
}

#[test]
fn cancel_and_deadline_stop_a_run_but_not_one_that_is_complete() {
    let mut cancelled = started();
    change(&mut cancelled, |backup| backup.spec.cancel = Some(true));
    assert_eq!(deleted(&decide(&cancelled, at(5))).uid, "job-uid");
    let late = 6 * 3600 + 40;
    let mut overdue = started();
    assert_eq!(deleted(&decide(&overdue, at(late))).uid, "job-uid");
    overdue.job = Seen::live(None);
    overdue.pods.live = true;
    // Whether it is sealed after all is asked first, and that there was no time any more is written down before that.
    let stopping = written(&decide(&overdue, at(late)));
    assert_eq!(stopping.phase, Some(BackupPhase::InProgress));
    take(&mut overdue, stopping, at(late));
    asks(&decide(&overdue, at(late)), Read::Report);
    report(&mut overdue, &gave_up(Reason::SealInvalid, "never sealed"), 87);
    let (reason, text) = failed(&decide(&overdue, at(late)));
    assert_eq!(reason, "DeadlineExceeded");
    assert!(text.starts_with("not finished before its deadline"), "{text}");
    for mut observed in [cancelled, started()] {
        mark(&mut observed, "repository-1");
        end_job(&mut observed, "Complete", "", 90);
        observed.pods = pods(vec![job_pod("b1-x", 2, &ended("b1", 0, &sealed()))]);
        assert_eq!(
            written(&decide(&observed, at(late))).phase,
            Some(BackupPhase::Completed)
        );
    }
}

/// A report Job that ended with this result.
fn report(observed: &mut Observed, result: &AgentResult, code: i32) {
    let state = if code == 0 { "Complete" } else { "Failed" };
    let job = json!({"metadata": {"name": report_job_name(&observed.backup), "uid": "report-uid",
        "labels": {"holdfast.io/backup-uid": observed.backup.metadata.uid}},
        "status": {"conditions": [{"type": state, "status": "True"}]}});
    observed.report = Seen::live(serde_json::from_value(job).ok().map(Arc::new));
    observed.report_pods = Pods {
        items: vec![job_pod("report-x", 94, &ended("report", code, result))],
        live: true,
    };
}

#[test]
fn what_is_sealed_is_completed_though_its_job_is_gone_and_its_deadline_over() {
    let mut observed = started();
    mark(&mut observed, "repository-1");
    observed.job = Seen::live(None);
    observed.pods = Pods {
        items: Vec::new(),
        live: true,
    };
    let days = 3 * 86_400;
    let stopping = written(&decide(&observed, at(days)));
    take(&mut observed, stopping, at(days));
    observed.report = Seen::live(None);
    let asked = created(&decide(&observed, at(days)));
    assert_eq!(asked.metadata.name, Some(report_job_name(&observed.backup)));
    // For an hour, then it is not waited for any longer.
    observed.backup_read = Some(at(days + 3601));
    assert_eq!(failed(&decide(&observed, at(days + 3601))).0, "DeadlineExceeded");
    report(&mut observed, &sealed(), 0);
    let status = written(&decide(&observed, at(days + 5)));
    assert_eq!(status.phase, Some(BackupPhase::Completed));
    assert_eq!(status.total_size.as_deref(), Some("1.2Gi"));
}
