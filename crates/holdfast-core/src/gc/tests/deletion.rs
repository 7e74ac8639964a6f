use holdfast_api::{
    Backup, BackupPhase,
    condition::{Reason, STALLED},
};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::*;
use crate::decision::{Event, Notice};

fn backup(phase: &str, change: &Value) -> Backup {
    let mut whole = json("b1", phase, 0);
    let files = json!({
        "apiVersion": "v", "kind": "Backup", "metadata": {"deletionTimestamp": at(0).to_string()},
        "status": {"persistentVolumeClaimName": "repo", "manifests": {"backupTool": {"filePath": "/ns/b1"}}}
    });
    merge(&mut whole, &files);
    merge(&mut whole, change);
    serde_json::from_value(whole).unwrap()
}

fn claim(volume: &str, phase: &str) -> Option<PersistentVolumeClaim> {
    Some(
        serde_json::from_value(
            json!({"metadata": {"name": "repo"}, "spec": {"volumeName": volume}, "status": {"phase": phase}}),
        )
        .unwrap(),
    )
}

fn seen(phase: &str) -> Observed {
    Observed {
        backup: backup(phase, &json!({})),
        namespace_terminating: false,
        claim: claim("pv", "Bound"),
        dependents: Vec::new(),
        restoring: None,
    }
}

/// Applies a status that was decided, and decides again.
fn again(observed: &Observed, release: &Release) -> Release {
    let Some(Write::Status(status)) = &release.decision.write else {
        panic!("{release:?}")
    };
    let mut next = observed.clone();
    next.backup.status = Some((**status).clone());
    decide(&next, at(2))
}

fn freed() -> Option<Write> {
    Some(Write::Metadata(json!({"finalizers": []})))
}

fn told(release: &Release) -> Option<&Event> {
    release.decision.notices.iter().find_map(|notice| match notice {
        Notice::Event(event) => Some(event),
        Notice::Bus(_) => None,
    })
}

fn reason(release: &Release) -> &str {
    told(release).map_or("", |event| event.reason.as_str())
}

/// What it writes and tells.
fn outcome(release: Release) -> (Option<Write>, Vec<Notice>) {
    (release.decision.write, release.decision.notices)
}

#[test]
fn a_deleted_backup_says_so_and_is_purged() {
    for phase in ["Completed", "Failed"] {
        let observed = seen(phase);
        let decision = decide(&observed, at(1));
        let Some(Write::Status(status)) = &decision.decision.write else {
            panic!("{decision:?}")
        };
        assert_eq!(status.phase, Some(BackupPhase::Deleting));
        assert_eq!(decision.purge.as_deref(), Some("repo"));
        let next = again(&observed, &decision);
        assert_eq!((next.decision.write, next.purge.as_deref()), (None, Some("repo")));
    }
}

#[test]
fn what_others_own_is_left_to_them() {
    for phase in ["New", "InProgress", "Running"] {
        assert_eq!(decide(&seen(phase), at(1)), Release::from(Decision::wait()));
    }
    let mut alive = seen("Completed");
    alive.backup.metadata.deletion_timestamp = None;
    let mut free = seen("Completed");
    free.backup.metadata.finalizers = Some(vec!["another.io/finalizer".to_owned()]);
    for observed in [alive, free] {
        assert_eq!(decide(&observed, at(1)), Release::from(Decision::wait()));
    }
}

#[test]
fn what_never_wrote_is_let_go_at_once() {
    let mut unplanned = seen("Failed");
    unplanned.backup.status = serde_json::from_value(json!({"phase": "Failed"})).unwrap();
    let unbound = Observed {
        claim: claim("", "Pending"),
        ..seen("Failed")
    };
    for observed in [unplanned, unbound] {
        let decision = decide(&observed, at(1));
        assert_eq!(outcome(decision), (freed(), Vec::new()));
    }
}

#[test]
fn files_out_of_reach_are_told_about_and_then_let_go() {
    let shared = |path: &str| Observed {
        backup: backup(
            "Completed",
            &json!({"status": {"manifests": {"backupTool": {"filePath": path}}}}),
        ),
        ..seen("Completed")
    };
    let renewed = Observed {
        backup: backup(
            "Completed",
            &json!({"status": {"manifests": {"backupTool": {"volumeName": "old"}}}}),
        ),
        claim: claim("", "Pending"),
        ..seen("Completed")
    };
    let cases = vec![
        Observed {
            claim: None,
            ..seen("Completed")
        },
        Observed {
            claim: claim("pv", "Lost"),
            ..seen("Failed")
        },
        renewed,
        shared("/ns"),
        shared("/ns/b10"),
        shared("ns/b1"),
    ];
    for observed in cases {
        let decision = decide(&observed, at(1));
        assert_eq!(reason(&decision), "DataLeftBehind", "{decision:?}");
        let Some(Write::Status(status)) = &decision.decision.write else {
            panic!("{decision:?}")
        };
        let told = status.conditions.iter().find(|one| one.type_ == STALLED).unwrap();
        assert_eq!((told.status.as_str(), told.reason.as_str()), ("True", "DataLeftBehind"));
        let next = again(&observed, &decision);
        assert_eq!(outcome(next), (freed(), Vec::new()));
    }
}

#[test]
fn other_finalizers_stay() {
    let mut observed = Observed {
        namespace_terminating: true,
        ..seen("Completed")
    };
    observed
        .backup
        .metadata
        .finalizers
        .get_or_insert_default()
        .push("another.io/finalizer".to_owned());
    let decision = decide(&observed, at(1));
    assert_eq!(
        decision.decision.write,
        Some(Write::Metadata(json!({"finalizers": ["another.io/finalizer"]})))
    );
    assert_eq!(reason(&decision), "NamespaceTerminating");
}

#[test]
fn a_parent_waits_for_its_children_and_then_goes() {
    let names: Vec<String> = (0..7).map(|i| format!("c{i}")).collect();
    let observed = Observed {
        dependents: names,
        ..seen("Completed")
    };
    let decision = decide(&observed, at(1));
    assert!(decision.blocked);
    assert_eq!(reason(&decision), "BlockedByChildren");
    assert!(told(&decision).unwrap().note.ends_with("c4 and 2 more"));
    let Some(Write::Status(status)) = &decision.decision.write else {
        panic!()
    };
    assert_eq!(status.phase, Some(BackupPhase::Completed));
    let waits = again(&observed, &decision);
    assert_eq!((waits.purge.as_deref(), waits.blocked), (None, true));
    assert_eq!(outcome(waits), (None, Vec::new()));
    let free = Observed {
        dependents: Vec::new(),
        ..observed.clone()
    };
    let goes = again(&free, &decision);
    let Some(Write::Status(status)) = &goes.decision.write else {
        panic!()
    };
    assert_eq!(status.phase, Some(BackupPhase::Deleting));
    assert!(
        !status
            .conditions
            .iter()
            .any(|one| one.type_ == STALLED && one.status == "True")
    );
    // A purge that has begun is not held up.
    assert_eq!(
        decide(
            &Observed {
                dependents: vec!["late".to_owned()],
                restoring: Some("r1".to_owned()),
                ..seen("Deleting")
            },
            at(1)
        )
        .purge
        .as_deref(),
        Some("repo")
    );
}

#[test]
fn a_failed_purge_is_told_once_in_the_words_of_the_api() {
    let backup = backup("Deleting", &json!({}));
    let (status, event) = tell(&backup, "j", Reason::PurgeFailed, "disk is read-only", at(1)).unwrap();
    let text = "the job \"j\" for backup files deletion failed, you can delete it to re-delete the files";
    assert_eq!(status.failure_reason.as_deref(), Some(text));
    assert_eq!(
        (event.warning, event.reason.as_str()),
        (true, "DeleteBackupFilesFailed")
    );
    let told = Backup {
        status: Some(status),
        ..backup
    };
    assert_eq!(tell(&told, "j", Reason::PurgeFailed, "disk is read-only", at(9)), None);
    let settled = untell(&told, at(10)).unwrap();
    assert_eq!(
        untell(
            &Backup {
                status: Some(settled),
                ..told
            },
            at(11)
        ),
        None
    );
}

#[test]
fn whole_and_slim_backups_agree_about_the_place() {
    for path in ["/ns/b1", "/ns/b1/", "/ns", "/", "", "/ns/b1/x", "b1"] {
        for claim in ["repo", ""] {
            let change = json!({"status": {"persistentVolumeClaimName": claim, "manifests": {"backupTool": {"filePath": path}}}});
            let whole = backup("Completed", &change);
            let summary: BackupSummary = serde_json::from_value(serde_json::to_value(&whole).unwrap()).unwrap();
            assert_eq!(
                Place::of("b1", whole.status.as_ref().unwrap().location("uid-b1").as_ref()),
                summary.place(),
                "{path} {claim}"
            );
        }
    }
}

#[test]
fn the_files_stay_until_a_restore_of_them_is_over() {
    let observed = Observed {
        restoring: Some("r1".to_owned()),
        ..seen("Completed")
    };
    let decision = decide(&observed, at(1));
    assert_eq!(reason(&decision), "RestoreAtWork");
    assert!(told(&decision).unwrap().note.contains("r1"));
    let Some(Write::Status(status)) = &decision.decision.write else {
        panic!()
    };
    assert_eq!(status.phase, Some(BackupPhase::Completed));
    let over = Observed {
        restoring: None,
        ..observed.clone()
    };
    let goes = again(&over, &decision);
    let Some(Write::Status(status)) = &goes.decision.write else {
        panic!()
    };
    assert_eq!(status.phase, Some(BackupPhase::Deleting));
}
