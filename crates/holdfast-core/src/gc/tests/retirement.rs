use std::time::Duration;

use holdfast_api::{
    condition::Reason,
    event::BusEventKind,
    names::{LABEL_AUTOBACKUP, LABEL_BACKUP_PROTECTION},
};
use kube::ResourceExt as _;

use super::retention::{group, names, pairs, retired};
use super::*;
use crate::{
    decision::{Kind, Next, Notice, Target},
    gc::{
        InUse,
        retirement::{self, Observed, Read, Write},
    },
};

fn seen(backups: &[Arc<BackupSummary>], limit: Option<i32>, live: bool) -> Observed {
    let policy = limit.map(|limit| {
        serde_json::from_value(
            json!({"apiVersion": "v", "kind": "BackupPolicy", "metadata": {"name": "p"},
            "spec": {"datafile": {"target": {"labelsSelector": {}}, "backupsHistoryLimit": limit}}}),
        )
        .unwrap()
    });
    let group = Group {
        backups: backups.to_vec(),
        limits: policy.as_ref().map(Limits::of),
    };
    let mut observed = Observed::of(group, live, &|_| false, at(10));
    observed.know_restores(InUse::default());
    observed
}

fn restores(phase: &str) -> InUse {
    let restore = json!({"apiVersion": "v", "kind": "RestoreJob", "metadata": {"name": "r1", "namespace": "ns"},
        "spec": {"backupJobName": "a"}, "status": {"phase": phase}});
    InUse::of(&[serde_json::from_value(restore).unwrap()])
}

#[test]
fn what_a_restore_needs_stays_until_it_is_over_and_holds_up_nothing_else() {
    let backups = [
        expiring("a", "Completed", 0, 5),
        expiring("b", "Completed", 1, 5),
        expiring("c", "Completed", 2, 70),
    ];
    let group = Group {
        backups: backups.to_vec(),
        limits: None,
    };
    let mut observed = Observed::of(group, false, &|_| false, at(10));
    assert_eq!(next(&observed), Next::Read(Read::Restores));
    observed.know_restores(restores("InProgressPhy"));
    observed.know_newer_good(Some(&backups[2]));
    let decision = retirement::decide(&observed, at(10));
    assert_eq!(decision.write, Some(target(&backups[1])));
    observed.pop();
    assert_eq!(next(&observed), Next::After(Duration::from_mins(1)), "looked at again");
    for over in ["Completed", "Failed"] {
        observed.know_restores(restores(over));
        assert_eq!(retirement::decide(&observed, at(10)).write, Some(target(&backups[0])));
    }
}

/// Two good ones, of which the older has expired.
fn expired() -> [Arc<BackupSummary>; 2] {
    [expiring("a", "Completed", 0, 5), expiring("b", "Completed", 1, 70)]
}

fn target(backup: &BackupSummary) -> Write {
    Write::Delete(Target {
        kind: Kind::Backup,
        namespace: "ns".to_owned(),
        name: backup.name_any(),
        uid: backup.uid().unwrap(),
        resource_version: Some("1".to_owned()),
    })
}

fn next(observed: &Observed) -> Next<Read> {
    let decision = retirement::decide(observed, at(10));
    assert_eq!(decision.write, None, "{decision:?}");
    decision.next
}

#[test]
fn the_deletion_of_an_expired_one_is_guarded_and_told() {
    let backups = expired();
    let mut observed = seen(&backups, None, false);
    observed.know_newer_good(Some(&backups[1]));
    let decision = retirement::decide(&observed, at(10));
    assert_eq!(decision.write, Some(target(&backups[0])));
    let [Notice::Event(event), Notice::Bus(message)] = decision.notices.as_slice() else {
        panic!("{decision:?}")
    };
    assert_eq!((event.warning, event.reason), (false, Reason::Expired));
    assert_eq!(message.kind, BusEventKind::BackupExpired);
    assert_eq!(message.data, json!({"reason": "Expired"}));
}

#[test]
fn a_good_one_stays_until_the_api_server_has_shown_a_newer_good_one() {
    let backups = expired();
    let mut observed = seen(&backups, None, false);
    assert_eq!(next(&observed), Next::Read(Read::NewerGood));
    let going = json!({"metadata": {"deletionTimestamp": at(1).to_string()}});
    let anew = json!({"metadata": {"uid": "another"}});
    let found = [
        None,
        Some(summary("b", "Completed", 1, &going)),
        Some(summary("b", "Completed", 1, &anew)),
        Some(summary("b", "Failed", 1, &json!({}))),
    ];
    for found in found {
        observed.know_newer_good(found.as_deref());
        assert_eq!(next(&observed), Next::After(Duration::from_secs(2)), "{found:?}");
    }
}

#[test]
fn one_that_is_no_good_needs_no_newer_one() {
    let failed = expiring("a", "Failed", 0, 5);
    let observed = seen(&[Arc::clone(&failed)], None, false);
    assert_eq!(retirement::decide(&observed, at(10)).write, Some(target(&failed)));
}

#[test]
fn limits_are_read_afresh_before_anything_goes_by_them() {
    let backups = [
        summary("a", "Completed", 0, &json!({})),
        summary("b", "Completed", 1, &json!({})),
    ];
    assert_eq!(next(&seen(&backups, Some(1), false)), Next::Read(Read::Policy));
    // It was raised a moment ago.
    assert_eq!(next(&seen(&backups, Some(2), true)), Next::AwaitChange);
    let mut lowered = seen(&backups, Some(1), true);
    assert_eq!(next(&lowered), Next::Read(Read::NewerGood));
    lowered.know_newer_good(Some(&backups[1]));
    assert_eq!(retirement::decide(&lowered, at(10)).write, Some(target(&backups[0])));
}

#[test]
fn with_nothing_left_it_is_looked_at_when_the_next_one_expires() {
    let mut observed = seen(&expired(), None, false);
    observed.left.clear();
    assert_eq!(next(&observed), Next::After(Duration::from_mins(1)));
    let endless = summary("a", "Completed", 0, &json!({}));
    assert_eq!(next(&seen(&[endless], None, false)), Next::AwaitChange);
}

#[test]
fn of_failed_ones_the_newest_few_stay_and_push_no_good_one_out() {
    let failed = |name: &str, ended: i64, change: Value| summary(name, "Failed", ended, &change);
    let by_hand = json!({"metadata": {"labels": {LABEL_AUTOBACKUP: "false"}}});
    let other = json!({"spec": {"backupType": "snapshot"}});
    let protected = json!({"metadata": {"labels": {LABEL_BACKUP_PROTECTION: "Retain"}}});
    let backups = [
        summary("good", "Completed", 0, &json!({})),
        failed("f1", 1, json!({})),
        failed("f2", 2, protected),
        expiring("f3", "Failed", 3, 100),
        expiring("expired", "Failed", 9, 10),
        failed("f4", 4, json!({})),
        failed("f5", 5, json!({})),
        failed("f6", 6, json!({})),
        failed("hand", 0, by_hand),
        failed("s1", 0, other),
    ];
    let gone = pairs(&[
        ("f1", Reason::FailedLimitExceeded),
        ("f3", Reason::FailedLimitExceeded),
        ("expired", Reason::Expired),
    ]);
    for limit in [json!(1), json!(0), Value::Null] {
        let retired = retired(&group(&backups, Some(&limit)), 10);
        assert_eq!(names(&retired), gone, "{limit}");
        assert!(retired.iter().all(|candidate| candidate.newer_good.is_none()));
    }
}
