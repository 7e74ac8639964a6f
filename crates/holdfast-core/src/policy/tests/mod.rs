mod decide;
mod model;
mod slots;

use std::sync::Arc;

use holdfast_api::{
    Backup, BackupStatus, condition,
    names::{ANNOTATION_ADMITTED, FINALIZER},
};
use serde_json::{Value, json};

use super::*;

const SCHEDULED: &str = "Scheduled";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn policy(cron: &str, change: impl FnOnce(&mut Value)) -> BackupPolicy {
    let mut document = json!({
        "apiVersion": "dataprotection.kubeblocks.io/v1alpha1", "kind": "BackupPolicy",
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "retention": {"ttl": "7d"},
            "schedule": {"datafile": {"cronExpression": cron, "enable": true}},
            "datafile": {"target": {"labelsSelector": {"matchLabels": {"app.kubernetes.io/instance": "shop"}}}, "backupToolName": "t"}
        }
    });
    change(&mut document);
    serde_json::from_value(document).unwrap()
}

/// The policy as the scheduler leaves it at that time.
fn seen(mut policy: BackupPolicy, now: Timestamp) -> BackupPolicy {
    policy.status = Some(status(&policy, None, now));
    policy
}

#[test]
fn expressions_of_five_fields_and_nicknames_are_taken() {
    for (expression, next) in [
        ("0 3 * * *", "2026-03-01T03:00:00Z"),
        ("*/15 * * * *", "2026-03-01T02:45:00Z"),
        // A CronJob reads a step after one number as from there to the end.
        ("0/15 * * * *", "2026-03-01T02:45:00Z"),
        ("15/15 * * * *", "2026-03-01T02:45:00Z"),
        ("0 2/6 * * *", "2026-03-01T08:00:00Z"),
        ("0 0 1/2 * *", "2026-03-03T00:00:00Z"),
        // A step of one is no restriction: the other day decides alone.
        ("0 3 */1 * 3", "2026-03-04T03:00:00Z"),
        ("0 3 5 * */1", "2026-03-05T03:00:00Z"),
        ("0 3 ?/1 * 3", "2026-03-04T03:00:00Z"),
        ("0 3 5,* * 3", "2026-03-04T03:00:00Z"),
        // All days in another form are a restriction, and a larger step is one: either day will do.
        ("0 3 1-31 * 3", "2026-03-01T03:00:00Z"),
        ("0 3 */2 * 4", "2026-03-01T03:00:00Z"),
        ("0 3 5 * 0-6", "2026-03-01T03:00:00Z"),
        ("05 03 01,15 jan-jun sun,wed", "2026-03-01T03:05:00Z"),
        ("0 3 * * 1-5/2", "2026-03-02T03:00:00Z"),
        ("0 3,,4 * * *", "2026-03-01T03:00:00Z"),
        ("45/100 * * * *", "2026-03-01T02:45:00Z"),
        ("@every 1h", "2026-03-01T03:30:00Z"),
        ("@every 1h30m", "2026-03-01T04:00:00Z"),
        ("@every 1.5h", "2026-03-01T04:00:00Z"),
        ("@every 90m0.5s", "2026-03-01T04:00:00Z"),
        ("@daily", "2026-03-02T00:00:00Z"),
        ("@midnight", "2026-03-02T00:00:00Z"),
        ("@hourly", "2026-03-01T03:00:00Z"),
        ("@weekly", "2026-03-08T00:00:00Z"),
        ("@monthly", "2026-04-01T00:00:00Z"),
        ("@yearly", "2027-01-01T00:00:00Z"),
        ("@annually", "2027-01-01T00:00:00Z"),
        ("0 3 ? * *", "2026-03-01T03:00:00Z"),
        ("0 3\t* * mon-fri", "2026-03-02T03:00:00Z"),
        ("0 3 1 * 1", "2026-03-01T03:00:00Z"),
        (" 30 2 * * SUN ", "2026-03-08T02:30:00Z"),
        ("0 0 * * 0", "2026-03-08T00:00:00Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
    ] {
        let cron = Cron::parse(expression).unwrap();
        assert_eq!(cron.after(at("2026-03-01T02:30:00Z")), Some(at(next)), "{expression}");
    }
}

#[test]
fn expressions_that_never_come_due_or_make_no_sense_are_refused() {
    for expression in [
        "",
        "invalid schedule",
        "0 0 31 2 *",
        "60 * * * *",
        "* * * *",
        "0 0 3 * * *",
        "CRON_TZ=UTC 0 3 * * *",
        "@reboot",
        "@Daily",
        " @daily",
        "@every",
        "@every 1d",
        "@every -1h",
        "@every 1",
        "@every h",
        "@every 30s",
        "@every 99999999999999999999h",
        // What a CronJob refuses.
        "/10 * * * *",
        "*/0 * * * *",
        "5-1 * * * *",
        "0 3 * * fri-mon",
        "0 3 * * 7",
        "0 3 0 * *",
        "0 3 L * *",
        "0 3 15W * *",
        "0 3 * * mon#1",
        "0 3 * * 1-2-3",
        "1/2/3 * * * *",
        "0 3 * monday *",
        "-5 * * * *",
        ", * * * *",
        "0 0 * * * * *",
        "TZ=Europe/Berlin 0 3 * * *",
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
        "0 0 * * * 2020",
        "\u{0}",
        "9999999999999999999 * * * *",
    ] {
        assert!(Cron::parse(expression).is_err(), "{expression}");
    }
}

#[test]
fn a_policy_without_sections_is_available() {
    let policy = policy("0 3 * * *", |document| document["spec"] = json!({}));
    assert_eq!(
        status(&policy, None, at("2026-03-01T00:00:00Z")).phase,
        Some(BackupPolicyPhase::Available)
    );
}

#[test]
fn what_is_wrong_is_named() {
    let fails = |policy: &BackupPolicy, reason: Reason, text: &str| {
        let status = status(policy, None, at("2026-03-01T00:00:00Z"));
        assert_eq!(status.phase, Some(BackupPolicyPhase::Failed));
        assert!(
            status.failure_reason.as_deref().unwrap().contains(text),
            "{:?}",
            status.failure_reason
        );
        assert_eq!(status.conditions[0].reason, reason.as_str());
    };
    fails(
        &policy("invalid schedule", |_| {}),
        Reason::InvalidSchedule,
        "spec.schedule.datafile.cronExpression",
    );
    fails(
        &policy("0 3 * * *", |d| {
            d["spec"]["datafile"]["target"]["labelsSelector"] = json!({})
        }),
        Reason::InvalidSelector,
        "spec.datafile.target",
    );
    fails(
        &policy("0 3 * * *", |d| {
            d["metadata"]["annotations"] = json!({"dataprotection.kubeblocks.io/path-prefix": "a;b"})
        }),
        Reason::InvalidPathPrefix,
        "a;b",
    );
    fails(
        &policy("0 3 * * *", |d| {
            d["spec"]["datafile"]["backupsHistoryLimit"] = json!(-1)
        }),
        Reason::InvalidPolicy,
        "backupsHistoryLimit",
    );
    fails(
        &policy("0 3 * * *", |d| {
            d["spec"]["schedule"]["logfile"] = json!({"cronExpression": "* * * * *", "enable": true})
        }),
        Reason::BackupNotSupported,
        "spec.logfile is missing",
    );
}

#[test]
fn a_mistake_about_one_type_does_not_end_the_backups_of_another() {
    let now = at("2026-03-01T00:00:00Z");
    let mistaken = policy("0 3 * * *", |d| {
        d["spec"]["schedule"]["snapshot"] = json!({"cronExpression": "invalid schedule", "enable": true});
    });
    let status = status(&mistaken, None, now);
    assert_eq!(status.phase, Some(BackupPolicyPhase::Failed));
    assert!(condition::holds(&status.conditions, SCHEDULED));
}

#[test]
fn what_is_not_served_is_said_and_the_rest_goes_on() {
    let unserved = policy("0 3 * * *", |d| {
        d["spec"]["snapshot"] = json!({"target": {"labelsSelector": {"matchLabels": {"a": "b"}}}});
        d["spec"]["schedule"]["snapshot"] = json!({"cronExpression": "0 4 * * *", "enable": true});
    });
    let status = status(&unserved, None, at("2026-03-01T00:00:00Z"));
    assert_eq!(status.phase, Some(BackupPolicyPhase::Available));
    assert_eq!(status.conditions[0].reason, "Unsupported");
    assert!(status.conditions[0].message.contains("snapshot schedule"), "{status:?}");
    assert!(condition::holds(&status.conditions, SCHEDULED));
}

#[test]
fn a_policy_whose_status_updates_are_not_made_says_so_and_can_be_used() {
    let with = |updates: Value| policy("0 3 * * *", |d| d["spec"]["datafile"]["backupStatusUpdates"] = updates);
    let now = at("2026-03-01T00:00:00Z");
    let status_of = |policy: &BackupPolicy| status(policy, None, now);
    let told = status_of(&with(
        json!([{"updateStage": "post", "path": "manifests.backupLog", "script": "echo {}"}]),
    ));
    assert_eq!(told.phase, Some(BackupPolicyPhase::Available));
    assert_eq!(told.conditions[0].reason, "Unsupported");
    assert!(told.conditions[0].message.contains("backupStatusUpdates"), "{told:?}");
    assert_eq!(status_of(&with(json!([]))).conditions[0].reason, "Available");
}

#[test]
fn the_status_settles() {
    let now = at("2026-03-01T00:00:00Z");
    for cron in ["0 3 * * *", "invalid schedule"] {
        let policy = seen(policy(cron, |_| {}), now);
        assert_eq!(
            Some(status(&policy, None, at("2026-04-01T00:00:00Z"))),
            policy.status,
            "{cron}"
        );
    }
}

#[test]
fn the_newest_success_is_kept() {
    let mut policy = policy("0 3 * * *", |_| {});
    policy.status = after_success(&policy, at("2026-03-04T03:10:00Z"));
    assert!(after_success(&policy, at("2026-03-04T03:10:00Z")).is_none());
    assert!(after_success(&policy, at("2026-03-03T03:10:00Z")).is_none());
    assert!(after_success(&policy, at("2026-03-05T03:10:00Z")).is_some());
}
