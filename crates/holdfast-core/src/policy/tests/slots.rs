use jiff::SignedDuration;

use super::*;

pub(super) const SLOT: &str = "2026-03-04T03:00:00Z";

/// Daily at three, and seen by the scheduler on March 1st.
pub(super) fn daily(change: impl FnOnce(&mut Value)) -> BackupPolicy {
    seen(policy("0 3 * * *", change), at("2026-03-01T12:00:00Z"))
}

pub(super) fn made(policy: &BackupPolicy, slot: &str, phase: &str) -> Arc<Backup> {
    let mut backup = slot_backup(policy, BackupType::Datafile, at(slot), "");
    backup.status = Some(serde_json::from_value(json!({ "phase": phase })).unwrap());
    Arc::new(backup)
}

#[test]
fn a_policy_had_its_schedule_from_the_beginning() {
    let policy = policy("0 3 * * *", |d| {
        d["metadata"]["creationTimestamp"] = json!("2026-03-01T02:59:58Z")
    });
    // The scheduler was away when the slot came.
    let now = at("2026-03-01T03:10:00Z");
    let slot = at("2026-03-01T03:00:00Z");
    assert_eq!(
        due(&seen(policy.clone(), now), BackupType::Datafile, &[], now),
        Slot::Due { slot, passed: 0 }
    );
    // Not when it is already known with its schedule off.
    let mut off = policy;
    off.spec.schedule.as_mut().unwrap().datafile.as_mut().unwrap().enable = false;
    let mut on = seen(off, at("2026-03-01T02:59:59Z"));
    assert_eq!(due(&on, BackupType::Datafile, &[], now), Slot::None { next: None });
    on.spec.schedule.as_mut().unwrap().datafile.as_mut().unwrap().enable = true;
    let next = Some(at("2026-03-02T03:00:00Z"));
    assert_eq!(due(&seen(on, now), BackupType::Datafile, &[], now), Slot::None { next });
}

#[test]
fn a_changed_schedule_makes_up_for_nothing() {
    let mut changed = daily(|_| {});
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
    let next = Some(at("2026-03-06T04:00:00Z"));
    assert_eq!(
        due(&seen(changed, later), BackupType::Datafile, &[], later),
        Slot::None { next }
    );
}

#[test]
fn a_policy_that_nobody_has_looked_at_waits_for_its_status() {
    assert_eq!(
        due(&policy("* * * * *", |_| {}), BackupType::Datafile, &[], at(SLOT)),
        Slot::None { next: None }
    );
}

#[test]
fn at_most_one_slot_is_made_up_for_and_the_others_are_counted() {
    let policy = daily(|d| d["metadata"]["creationTimestamp"] = json!("2026-03-01T12:00:00Z"));
    let slot = Slot::Due {
        slot: at(SLOT),
        passed: 2,
    };
    assert_eq!(
        due(&policy, BackupType::Datafile, &[], at("2026-03-05T02:59:59Z")),
        slot
    );
    let (reason, text) = slot.note().unwrap();
    assert_eq!(
        (reason, text.as_str()),
        (
            Reason::SlotMissed,
            "2 slots were missed before slot 2026-03-04T03:00:00Z, which is made up for"
        )
    );
    assert_eq!(
        Slot::Due {
            slot: at(SLOT),
            passed: 0
        }
        .note(),
        None
    );
}

#[test]
fn a_slot_is_missed_after_its_deadline() {
    for (minutes, last, first_missed) in [
        (60, "2026-03-04T04:00:00Z", "2026-03-04T04:00:01Z"),
        // Nothing could start within no time at all.
        (0, "2026-03-04T03:01:00Z", "2026-03-04T03:01:01Z"),
        (1440, "2026-03-05T02:59:59Z", "2026-03-06T03:00:00Z"),
    ] {
        let policy = daily(|d| d["spec"]["schedule"]["startingDeadlineMinutes"] = json!(minutes));
        assert!(
            matches!(due(&policy, BackupType::Datafile, &[], at(last)), Slot::Due { .. }),
            "{minutes}"
        );
        let after = due(&policy, BackupType::Datafile, &[], at(first_missed));
        if minutes == 1440 {
            // The next slot has come by then.
            assert!(matches!(after, Slot::Due { .. }), "{after:?}");
        } else {
            assert!(matches!(after, Slot::Missed { .. }), "{minutes} {after:?}");
        }
    }
}

#[test]
fn a_missed_slot_is_settled_and_leaves_the_last_schedule_time() {
    let policy = daily(|d| d["spec"]["schedule"]["startingDeadlineMinutes"] = json!(60));
    let late = at("2026-03-04T05:00:00Z");
    let slot = due(&policy, BackupType::Datafile, &[], late);
    let (reason, text) = slot.note().unwrap();
    assert_eq!(reason, Reason::SlotMissed);
    let mut settled = policy.clone();
    settled.status = Some(after_slot(
        &policy,
        BackupType::Datafile,
        at(SLOT),
        Some((reason, &text)),
        late,
    ));
    let status = settled.status.as_ref().unwrap();
    assert_eq!(status.last_schedule_time, None);
    let scheduled = status.conditions.iter().find(|one| one.type_ == SCHEDULED).unwrap();
    assert_eq!(scheduled.reason, "SlotMissed");
    assert!(scheduled.message.contains(SLOT), "{}", scheduled.message);
    let next = Some(at("2026-03-05T03:00:00Z"));
    assert_eq!(due(&settled, BackupType::Datafile, &[], late), Slot::None { next });
    // Nothing writes it again.
    assert_eq!(Some(super::super::status(&settled, None, late)), settled.status);
}

#[test]
fn an_unfinished_scheduled_backup_of_the_policy_holds_a_slot_back() {
    let policy = daily(|_| {});
    let now = at("2026-03-04T03:00:01Z");
    let yesterday = "2026-03-03T03:00:00Z";
    for phase in ["New", "InProgress", "Running"] {
        let by = made(&policy, yesterday, phase);
        let slot = due(&policy, BackupType::Datafile, &[Arc::clone(&by)], now);
        assert!(
            matches!(&slot, Slot::Skipped { by: name, .. } if *name == by.name_any()),
            "{phase} {slot:?}"
        );
        assert!(slot.note().unwrap().1.contains(&by.name_any()));
    }
    // Its files being removed, it has ended; and who did not come by the schedule does not count.
    for phase in ["Completed", "Failed", "Deleting"] {
        let ended = made(&policy, yesterday, phase);
        assert!(
            matches!(due(&policy, BackupType::Datafile, &[ended], now), Slot::Due { .. }),
            "{phase}"
        );
    }
    let mut by_hand = (*made(&policy, yesterday, "InProgress")).clone();
    by_hand.labels_mut().remove("dataprotection.kubeblocks.io/autobackup");
    assert!(matches!(
        due(&policy, BackupType::Datafile, &[Arc::new(by_hand)], now),
        Slot::Due { .. }
    ));
    let mut other = daily(|d| d["metadata"]["uid"] = json!("other"));
    other.metadata.name = Some("p".to_owned());
    assert!(matches!(
        due(
            &policy,
            BackupType::Datafile,
            &[made(&other, yesterday, "InProgress")],
            now
        ),
        Slot::Due { .. }
    ));
}

#[test]
fn the_backup_of_the_slot_itself_does_not_hold_it_back() {
    let policy = daily(|_| {});
    // Created, and then the scheduler ended before it could note it.
    let own = made(&policy, SLOT, "InProgress");
    assert!(matches!(
        due(&policy, BackupType::Datafile, &[own], at("2026-03-04T03:05:00Z")),
        Slot::Due { .. }
    ));
}

#[test]
fn a_clock_that_was_turned_back_makes_no_slot_twice() {
    let mut policy = daily(|_| {});
    let now = at("2026-03-04T03:00:01Z");
    policy.status = Some(after_slot(&policy, BackupType::Datafile, at(SLOT), None, now));
    for seconds in [0, 1, 3600, 86_400 * 2] {
        let earlier = now - SignedDuration::from_secs(seconds);
        let next = Some(at("2026-03-05T03:00:00Z"));
        assert_eq!(
            due(&policy, BackupType::Datafile, &[], earlier),
            Slot::None { next },
            "{seconds}"
        );
    }
}

#[test]
fn the_backup_of_a_slot_is_complete_and_recognised() {
    let policy = daily(|_| {});
    let backup = slot_backup(&policy, BackupType::Datafile, at(SLOT), "00-trace");
    assert!(backup.name_any().starts_with("backup-ns-shop-20260304030000-"));
    assert_eq!(backup.finalizers(), ["dataprotection.kubeblocks.io/finalizer"]);
    let label = |key: &str| backup.labels().get(key).map(String::as_str);
    assert_eq!(label("dataprotection.kubeblocks.io/autobackup"), Some("true"));
    assert_eq!(label("dataprotection.kubeblocks.io/backup-policy"), Some("p"));
    assert_eq!(label("dataprotection.kubeblocks.io/backup-type"), Some("datafile"));
    assert_eq!(label("app.kubernetes.io/instance"), Some("shop"));
    assert_eq!(backup.annotations()["holdfast.io/policy-uid"], "u");
    assert_eq!(backup.annotations()["holdfast.io/slot"], SLOT);
    assert_eq!(backup.annotations()["holdfast.io/traceparent"], "00-trace");
    assert!(is_made_for(
        &backup,
        &slot_backup(&policy, BackupType::Datafile, at(SLOT), "other trace")
    ));
    for key in ["holdfast.io/policy-uid", "holdfast.io/slot"] {
        let mut stranger = backup.clone();
        stranger.annotations_mut().remove(key);
        assert!(!is_made_for(&stranger, &backup), "{key}");
    }
    let mut stranger = backup.clone();
    stranger.spec.backup_type = BackupType::Snapshot;
    assert!(!is_made_for(&stranger, &backup));
}

#[test]
fn a_policy_with_a_long_name_makes_backups_with_valid_labels() {
    let policy = daily(|d| {
        d["metadata"]["name"] = json!("p".repeat(253));
        d["spec"]["datafile"]["target"]["labelsSelector"] = json!({"matchLabels": {"app": "db"}});
    });
    let backup = slot_backup(&policy, BackupType::Datafile, at(SLOT), "");
    assert!(backup.name_any().len() <= 253);
    assert!(
        backup.labels().values().all(|value| value.len() <= 63),
        "{:?}",
        backup.labels()
    );
    assert_eq!(backup.spec.backup_policy_name.len(), 253);
}

#[test]
fn a_success_that_may_have_gone_unseen_is_looked_for() {
    let mut policy = daily(|_| {});
    assert_eq!(unconfirmed(&policy, BackupType::Datafile), None);
    policy.status = Some(after_slot(&policy, BackupType::Datafile, at(SLOT), None, at(SLOT)));
    assert_eq!(
        unconfirmed(&policy, BackupType::Datafile),
        Some(slot_backup(&policy, BackupType::Datafile, at(SLOT), "").name_any())
    );
    policy.status = after_success(&policy, at("2026-03-04T03:10:00Z"));
    assert_eq!(unconfirmed(&policy, BackupType::Datafile), None);
}

/// Conditions are for people: whatever they say, the same slots come due.
#[test]
fn no_slot_rests_on_what_conditions_say() {
    let now = at("2026-03-04T03:00:01Z");
    let policy = daily(|d| d["metadata"]["creationTimestamp"] = json!("2026-03-01T12:00:00Z"));
    let wanted = due(&policy, BackupType::Datafile, &[], now);
    assert!(matches!(wanted, Slot::Due { .. }));
    let mut reworded = policy.clone();
    for condition in &mut reworded.status.as_mut().unwrap().conditions {
        condition.reason = "Other".to_owned();
        condition.message = "in other words".to_owned();
        condition.last_transition_time = Time(now);
    }
    let settled = &policy.status.as_ref().unwrap().schedules;
    for reworded in [reworded.clone(), seen(reworded, now)] {
        assert_eq!(due(&reworded, BackupType::Datafile, &[], now), wanted);
        assert_eq!(&reworded.status.as_ref().unwrap().schedules, settled);
    }
    let mut without = policy.clone();
    without.status.as_mut().unwrap().conditions.clear();
    assert_eq!(due(&seen(without, now), BackupType::Datafile, &[], now), wanted);
}

/// Another product, or a version before this field, left a status without it.
#[test]
fn a_status_without_schedules_makes_nothing_twice() {
    let now = at("2026-03-04T03:00:01Z");
    let mut policy = policy("0 3 * * *", |_| {});
    policy.status = serde_json::from_value(json!({"lastScheduleTime": SLOT})).unwrap();
    let next = Some(at("2026-03-05T03:00:00Z"));
    assert_eq!(
        due(&seen(policy, now), BackupType::Datafile, &[], now),
        Slot::None { next }
    );
}

#[test]
fn each_type_has_slots_of_its_own() {
    let policy = daily(|d| {
        d["spec"]["snapshot"] =
            json!({"target": {"labelsSelector": {"matchLabels": {"app.kubernetes.io/instance": "s"}}}});
        d["spec"]["schedule"]["snapshot"] = json!({"cronExpression": "0 4 * * *", "enable": true});
    });
    assert_eq!(
        schedule(&policy, BackupType::Snapshot).unwrap().cron_expression,
        "0 4 * * *"
    );
    assert!(section(&policy, BackupType::Snapshot).unwrap().common.is_none());
    assert!(section(&policy, BackupType::Logfile).is_none());
    // Nothing runs it yet, so nothing has settled its slots.
    let now = at("2026-03-04T04:00:01Z");
    assert_eq!(due(&policy, BackupType::Snapshot, &[], now), Slot::None { next: None });
    let snapshot = slot_backup(&policy, BackupType::Snapshot, at(SLOT), "");
    assert_eq!(snapshot.labels()["app.kubernetes.io/instance"], "s");
    assert!(!is_made_for(
        &snapshot,
        &slot_backup(&policy, BackupType::Datafile, at(SLOT), "")
    ));
    // A data file backup at work holds no snapshot back.
    let mut served = policy.clone();
    let schedules = &mut served.status.as_mut().unwrap().schedules;
    let state = schedules["datafile"].clone();
    schedules.insert("snapshot".to_owned(), state);
    let running = made(&policy, "2026-03-03T03:00:00Z", "InProgress");
    let slot = due(&served, BackupType::Snapshot, &[running], now);
    assert!(matches!(slot, Slot::Due { .. }), "{slot:?}");
    served.status = Some(after_slot(
        &served,
        BackupType::Snapshot,
        at("2026-03-04T04:00:00Z"),
        None,
        now,
    ));
    assert!(matches!(due(&served, BackupType::Datafile, &[], now), Slot::Due { .. }));
}

#[test]
fn slots_of_a_pause_count_from_the_last_one_settled() {
    let created = "2026-03-01T12:00:30Z";
    let mut policy = seen(
        policy("@every 1h", |d| d["metadata"]["creationTimestamp"] = json!(created)),
        at("2026-03-01T12:00:40Z"),
    );
    let look = |policy: &BackupPolicy, time: &str| due(policy, BackupType::Datafile, &[], at(time));
    let next = Some(at("2026-03-01T13:00:30Z"));
    assert_eq!(look(&policy, "2026-03-01T13:00:29Z"), Slot::None { next });
    let slot = at("2026-03-01T15:00:30Z");
    assert_eq!(look(&policy, "2026-03-01T15:59:00Z"), Slot::Due { slot, passed: 2 });
    policy.status = Some(after_slot(
        &policy,
        BackupType::Datafile,
        slot,
        None,
        at("2026-03-01T15:59:00Z"),
    ));
    let next = Some(at("2026-03-01T16:00:30Z"));
    assert_eq!(look(&policy, "2026-03-01T16:00:29Z"), Slot::None { next });
}

#[test]
fn backups_of_a_schedule_opt_out_of_pruning() {
    let backup = slot_backup(&daily(|_| {}), BackupType::Datafile, at(SLOT), "");
    for (key, value) in [
        ("argocd.argoproj.io/compare-options", "IgnoreExtraneous"),
        ("argocd.argoproj.io/sync-options", "Prune=false"),
        ("kustomize.toolkit.fluxcd.io/prune", "disabled"),
    ] {
        assert_eq!(backup.annotations().get(key).map(String::as_str), Some(value), "{key}");
    }
}
