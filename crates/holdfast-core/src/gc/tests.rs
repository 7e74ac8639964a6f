use std::sync::Arc;

use holdfast_api::{
    Backup, BackupPhase, BackupPolicy,
    condition::Reason,
    names::{FINALIZER, LABEL_AUTOBACKUP, LABEL_BACKUP_PROTECTION},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn slim(
    name: &str,
    phase: &str,
    ended: i64,
    expires: Option<i64>,
    change: impl FnOnce(&mut SlimBackup),
) -> Arc<SlimBackup> {
    let mut backup: SlimBackup = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1", "labels": {LABEL_AUTOBACKUP: "true", "app.kubernetes.io/instance": "c"},
            "managedFields": [{"manager": "m"}]},
        "spec": {"backupPolicyName": "p", "backupType": "datafile"},
        "status": {"phase": phase, "completionTimestamp": at(ended).to_string(), "expiration": expires.map(|expires| at(expires).to_string())}
    }))
    .unwrap();
    change(&mut backup);
    Arc::new(backup)
}

fn limits(limit: Value) -> Option<Limits> {
    let policy: BackupPolicy = serde_json::from_value(json!({
        "apiVersion": "v", "kind": "BackupPolicy", "metadata": {"name": "p", "uid": "pu"},
        "spec": {"datafile": {"target": {"labelsSelector": {}}, "backupsHistoryLimit": limit}}
    }))
    .unwrap();
    Some(Limits::of(&policy))
}

fn names(doomed: &[Doomed]) -> Vec<(String, Reason)> {
    doomed
        .iter()
        .map(|doomed| (doomed.backup.name_any(), doomed.reason))
        .collect()
}

#[test]
fn managed_fields_are_not_kept() {
    assert_eq!(slim("a", "Completed", 0, None, |_| {}).metadata.managed_fields, None);
}

#[test]
fn expired_backups_go_but_the_newest_good_one() {
    let group = Group {
        backups: vec![
            slim("old", "Completed", 1, Some(10), |_| {}),
            slim("failed", "Failed", 5, Some(10), |_| {}),
            slim("newest", "Completed", 3, Some(10), |_| {}),
            slim("running", "InProgress", 4, Some(10), |_| {}),
        ],
        limits: None,
    };
    assert_eq!(
        names(&retire(&group, at(10))),
        [
            ("old".to_owned(), Reason::Expired),
            ("failed".to_owned(), Reason::Expired)
        ]
    );
    assert_eq!(names(&retire(&group, at(9))), []);
    assert_eq!(next_expiration(&group, at(9)), Some(at(10)));
}

#[test]
fn only_completed_scheduled_backups_count_towards_the_limit() {
    let group = Group {
        backups: vec![
            slim("b1", "Completed", 1, None, |_| {}),
            slim("b2", "Completed", 2, None, |_| {}),
            slim("f3", "Failed", 3, None, |_| {}),
            slim("f4", "Failed", 4, None, |_| {}),
            slim("manual", "Completed", 0, None, |backup| {
                drop(backup.labels_mut().remove(LABEL_AUTOBACKUP))
            }),
            slim("b5", "Completed", 5, None, |_| {}),
        ],
        limits: limits(json!(2)),
    };
    assert_eq!(names(&retire(&group, at(10))), [("b1".to_owned(), Reason::Surplus)]);
    assert!(
        retire(
            &Group {
                limits: limits(json!(0)),
                ..group.clone()
            },
            at(10)
        )
        .is_empty()
    );
    assert!(retire(&Group { limits: None, ..group }, at(10)).is_empty());
}

#[test]
fn protected_backups_and_parents_stay() {
    let group = Group {
        backups: vec![
            slim("protected", "Completed", 1, Some(5), |b| {
                drop(
                    b.labels_mut()
                        .insert(LABEL_BACKUP_PROTECTION.to_owned(), "RETAIN".to_owned()),
                )
            }),
            slim("parent", "Completed", 2, Some(5), |_| {}),
            slim("child", "Completed", 3, None, |b| {
                b.spec.parent_backup_name = Some("parent".to_owned())
            }),
            slim("newest", "Completed", 4, None, |_| {}),
        ],
        limits: limits(json!(1)),
    };
    assert_eq!(names(&retire(&group, at(10))), [("child".to_owned(), Reason::Surplus)]);
}

fn backup(phase: &str) -> Backup {
    serde_json::from_value(json!({
        "apiVersion": "v", "kind": "Backup",
        "metadata": {"name": "b1", "namespace": "ns", "uid": "u", "finalizers": [FINALIZER], "deletionTimestamp": at(0).to_string()},
        "spec": {"backupPolicyName": "p"},
        "status": {"phase": phase, "persistentVolumeClaimName": "repo", "manifests": {"backupTool": {"filePath": "/ns/b1"}}}
    }))
    .unwrap()
}

fn claim(volume: &str) -> PersistentVolumeClaim {
    serde_json::from_value(json!({"metadata": {"name": "repo"}, "spec": {"volumeName": volume}})).unwrap()
}

fn seen(phase: &str) -> Observed {
    Observed {
        backup: backup(phase),
        namespace_terminating: false,
        claim: Some(claim("pv")),
        children: Vec::new(),
    }
}

#[test]
fn a_deleted_backup_says_so_and_is_purged() {
    let decision = decide(&seen("Completed"), at(1));
    let Some(Write::Status(status)) = &decision.write else {
        panic!("{decision:?}")
    };
    assert_eq!(status.phase, Some(BackupPhase::Deleting));
    assert!(decision.purge);
    assert_eq!(
        decide(&seen("Deleting"), at(1)),
        Decision {
            write: None,
            event: None,
            purge: true
        }
    );
}

#[test]
fn what_others_own_is_left_to_them() {
    for phase in ["New", "InProgress", "Running"] {
        assert_eq!(
            decide(&seen(phase), at(1)),
            Decision {
                write: None,
                event: None,
                purge: false
            }
        );
    }
}

#[test]
fn nothing_is_purged_where_nothing_was_written_or_nothing_is_left() {
    let freed = Some(Write::Release(json!({"finalizers": []})));
    let mut without_claim = seen("Failed");
    without_claim.claim = None;
    let decision = decide(&without_claim, at(1));
    assert_eq!(decision.write, freed);
    assert_eq!(decision.event.unwrap().1, Reason::DataLeftBehind);
    let unbound = Observed {
        claim: Some(claim("")),
        ..seen("Failed")
    };
    assert_eq!(decide(&unbound, at(1)).write, freed);
    let mut unwritten = seen("Failed");
    unwritten.backup.status = Some(serde_json::from_value(json!({"phase": "Failed"})).unwrap());
    assert_eq!(decide(&unwritten, at(1)).write, freed);
    let ending = Observed {
        namespace_terminating: true,
        ..seen("Completed")
    };
    assert_eq!(decide(&ending, at(1)).write, freed);
}

#[test]
fn a_directory_that_is_not_the_backups_own_is_never_removed() {
    let mut backup = backup("Completed");
    assert_eq!(claim_and_path(&backup), Some(("repo".to_owned(), "/ns/b1".to_owned())));
    for path in ["/ns", "/ns/b1/", "/ns/b10", "/", ""] {
        backup
            .status
            .as_mut()
            .unwrap()
            .manifests
            .as_mut()
            .unwrap()
            .backup_tool
            .as_mut()
            .unwrap()
            .file_path = Some(path.to_owned());
        assert_eq!(claim_and_path(&backup), None, "{path}");
    }
}

#[test]
fn a_parent_waits_for_its_children() {
    let observed = Observed {
        children: vec!["child".to_owned()],
        ..seen("Completed")
    };
    let decision = decide(&observed, at(1));
    let Some(Write::Status(status)) = decision.write else {
        panic!()
    };
    assert_eq!(status.phase, Some(BackupPhase::Completed));
    assert_eq!(decision.event.unwrap().1, Reason::BlockedByChildren);
}

#[test]
fn a_purge_job_is_named_by_its_content_and_tells_it() {
    let entry = |name: &str| Entry {
        uid: name.to_owned(),
        path: format!("/ns/{name}"),
        name: name.to_owned(),
    };
    let batch = Batch {
        namespace: "ns".to_owned(),
        claim: "repo".to_owned(),
        entries: vec![entry("a"), entry("b")],
    };
    let job = purge_job("agent:1", None, &batch);
    assert_eq!(Batch::of(&job), Some(batch.clone()));
    assert_eq!(job.name_any(), purge_job_name(&batch));
    assert_ne!(
        purge_job_name(&batch),
        purge_job_name(&Batch {
            entries: vec![entry("a")],
            ..batch
        })
    );
    assert!(job.metadata.owner_references.is_none());
}

proptest! {
    /// Whatever the ages, phases and limits: the newest good one stays, so do protected ones, and retiring again and
    /// again ends with the same Backups as retiring once.
    #[test]
    fn the_last_good_copy_is_never_retired(
        ages in proptest::collection::vec((0i64..100, 0usize..4, any::<bool>(), any::<bool>(), 0i64..120), 0..12),
        limit in 0i32..4,
        now in 0i64..150,
    ) {
        let phases = ["Completed", "Completed", "Failed", "InProgress"];
        let backups: Vec<_> = ages.iter().enumerate().map(|(i, (ended, phase, auto, protected, expires))| {
            slim(&format!("b{i}"), phases[*phase], *ended, (expires % 3 != 0).then_some(*expires), |backup| {
                if !auto { backup.labels_mut().remove(LABEL_AUTOBACKUP); }
                if *protected { backup.labels_mut().insert(LABEL_BACKUP_PROTECTION.to_owned(), "retain".to_owned()); }
            })
        }).collect();
        let mut group = Group { backups: backups.clone(), limits: limits(json!(limit)) };
        let good = |group: &Group| group.backups.iter().filter(|b| b.is_good()).map(|b| (b.time(), b.name_any())).max();
        let newest = good(&group);
        for _ in 0..3 {
            let doomed = retire(&group, at(now));
            prop_assert!(doomed.iter().all(|d| !d.backup.labels().contains_key(LABEL_BACKUP_PROTECTION)));
            prop_assert!(doomed.iter().all(|d| d.backup.status.phase != Some(BackupPhase::InProgress)));
            group.backups.retain(|backup| !doomed.iter().any(|d| d.backup.metadata.uid == backup.metadata.uid));
        }
        prop_assert!(retire(&group, at(now)).is_empty());
        prop_assert_eq!(good(&group), newest);
    }
}
