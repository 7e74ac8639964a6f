use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

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
    policy.status = Some(status(&policy, now));
    policy
}

#[test]
fn expressions_of_five_fields_and_nicknames_are_taken() {
    for (expression, next) in [
        ("0 3 * * *", "2026-03-01T03:00:00Z"),
        ("*/15 * * * *", "2026-03-01T02:45:00Z"),
        ("@daily", "2026-03-02T00:00:00Z"),
        ("0 0 * * 7", "2026-03-08T00:00:00Z"),
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
        "@every 1h",
    ] {
        assert!(Cron::parse(expression).is_err(), "{expression}");
    }
}

#[test]
fn a_policy_without_sections_is_available() {
    let policy = policy("0 3 * * *", |document| document["spec"] = json!({}));
    assert_eq!(
        status(&policy, at("2026-03-01T00:00:00Z")).phase,
        Some(BackupPolicyPhase::Available)
    );
}

#[test]
fn what_is_wrong_is_named() {
    let fails = |policy: &BackupPolicy, reason: Reason, text: &str| {
        let status = status(policy, at("2026-03-01T00:00:00Z"));
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
fn a_new_or_changed_schedule_makes_up_for_nothing() {
    let now = at("2026-03-01T12:00:00Z");
    let fresh = seen(policy("0 3 * * *", |_| {}), now);
    assert_eq!(
        due(&fresh, false, now),
        Slot::None {
            next: Some(at("2026-03-02T03:00:00Z"))
        }
    );
    let mut changed = fresh;
    changed
        .spec
        .schedule
        .as_mut()
        .unwrap()
        .datafile
        .as_mut()
        .unwrap()
        .cron_expression = "0 4 * * *".to_owned();
    let later = at("2026-03-05T12:00:00Z");
    let changed = seen(changed, later);
    assert_eq!(
        due(&changed, false, later),
        Slot::None {
            next: Some(at("2026-03-06T04:00:00Z"))
        }
    );
}

#[test]
fn at_most_one_slot_is_made_up_for_and_within_its_deadline() {
    let policy = seen(
        policy("0 3 * * *", |d| {
            d["spec"]["schedule"]["startingDeadlineMinutes"] = json!(60)
        }),
        at("2026-03-01T00:00:00Z"),
    );
    let slot = at("2026-03-04T03:00:00Z");
    assert_eq!(due(&policy, false, at("2026-03-04T03:59:00Z")), Slot::Due(slot));
    assert_eq!(due(&policy, true, at("2026-03-04T03:59:00Z")), Slot::Skipped(slot));
    let late = at("2026-03-04T04:01:00Z");
    assert_eq!(due(&policy, false, late), Slot::Missed(slot));
    let mut settled = policy.clone();
    settled.status = Some(after_slot(
        &policy,
        slot,
        Some((Reason::SlotMissed, "slot missed")),
        late,
    ));
    assert_eq!(
        due(&settled, false, late),
        Slot::None {
            next: Some(at("2026-03-05T03:00:00Z"))
        }
    );
    assert_eq!(settled.status.as_ref().unwrap().last_schedule_time, None);
}

#[test]
fn the_backup_of_a_slot_is_recognised_and_a_stranger_is_not() {
    let policy = policy("0 3 * * *", |_| {});
    let slot = at("2026-03-04T03:00:00Z");
    let backup = slot_backup(&policy, slot, "");
    assert!(backup.name_any().starts_with("backup-ns-shop-20260304030000-"));
    assert!(is_made_for(&backup, &slot_backup(&policy, slot, "other trace")));
    let mut stranger = backup.clone();
    stranger.annotations_mut().clear();
    assert!(!is_made_for(&stranger, &backup));
}

#[test]
fn the_newest_success_is_kept() {
    let mut policy = policy("0 3 * * *", |_| {});
    policy.status = after_success(&policy, at("2026-03-04T03:10:00Z"));
    assert!(after_success(&policy, at("2026-03-04T03:10:00Z")).is_none());
    assert!(after_success(&policy, at("2026-03-03T03:10:00Z")).is_none());
    assert!(after_success(&policy, at("2026-03-05T03:10:00Z")).is_some());
}

proptest! {
    /// However irregularly the scheduler looks, and however often it starts anew, no slot is made twice, and the
    /// newest one before each look is made.
    #[test]
    fn slots_are_neither_lost_nor_doubled(steps in proptest::collection::vec(1i64..7200, 1..60)) {
        let start = at("2026-03-01T00:00:30Z");
        let mut policy = seen(policy("*/10 * * * *", |_| {}), start);
        let cron = Cron::parse("*/10 * * * *").unwrap();
        let (mut now, mut made) = (start, Vec::new());
        for step in steps {
            now = now.checked_add(SignedDuration::from_secs(step)).unwrap();
            match due(&policy, false, now) {
                Slot::Due(slot) => {
                    made.push(slot);
                    policy.status = Some(after_slot(&policy, slot, None, now));
                }
                Slot::None { next } => prop_assert!(next.is_some_and(|next| next > now)),
                other => prop_assert!(false, "{other:?}"),
            }
            let newest = cron.up_to(now).unwrap();
            prop_assert!(newest <= start || made.last() == Some(&newest));
        }
        let mut unique = made.clone();
        unique.dedup();
        prop_assert_eq!(unique, made);
    }
}
