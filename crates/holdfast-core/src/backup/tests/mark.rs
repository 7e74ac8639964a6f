//! What admission wrote is not believed, and put back where it was lost.

use std::sync::Arc;

use holdfast_api::BackupPhase;
use holdfast_api::condition::{ConditionType, Reason, find};
use holdfast_api::names::{ANNOTATION_ADMITTED, ANNOTATION_POLICY_UID, FINALIZER, LABEL_BACKUP_POLICY};
use kube::ResourceExt as _;
use serde_json::json;

use super::world::{LATE, at, change, events, failed, planned, ready, started, told, waits, written};
use crate::backup::{Observed, Write, decide};

/// The scheduler is asked to admit it anew.
fn is_doubted(observed: &Observed) {
    let unmarked = json!({"annotations": {ANNOTATION_ADMITTED: null}});
    assert_eq!(decide(observed, at(1)).write, Some(Write::Metadata(unmarked)));
}

#[test]
fn a_mark_of_admission_that_is_not_the_schedulers_is_taken_away() {
    let mut other_pod = ready();
    let pod = other_pod.target.object.as_mut().expect("a pod");
    Arc::make_mut(pod).metadata.labels = Some([("app".to_owned(), "vault".to_owned())].into());
    is_doubted(&other_pod);
    let mut unguarded = ready();
    change(&mut unguarded, |backup| backup.metadata.finalizers = None);
    is_doubted(&unguarded);
    let mut unlabelled = ready();
    change(&mut unlabelled, |backup| {
        backup.labels_mut().remove(LABEL_BACKUP_POLICY);
    });
    is_doubted(&unlabelled);
    let mut of_another = ready();
    change(&mut of_another, |backup| {
        let uid = "that-of-an-earlier-policy".to_owned();
        backup.annotations_mut().insert(ANNOTATION_POLICY_UID.to_owned(), uid);
    });
    is_doubted(&of_another);
    let mut everyone = ready();
    let policy = Arc::make_mut(everyone.policy.object.as_mut().expect("a policy"));
    let section = policy.spec.datafile.as_mut().expect("a section");
    section.base.target.labels_selector.match_labels = None;
    is_doubted(&everyone);
}

#[test]
fn a_copied_time_of_admission_ends_no_wait_early_and_keeps_none_from_ending() {
    for time in ["2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "nonsense"] {
        let mut seen = ready();
        change(&mut seen, |backup| {
            backup
                .annotations_mut()
                .insert(ANNOTATION_ADMITTED.to_owned(), time.to_owned());
        });
        seen.repo.object = seen.repo.object.map(|repo| {
            let mut repo = (*repo).clone();
            repo.status = None;
            Arc::new(repo)
        });
        assert_eq!(told(&decide(&seen, at(9))).0, "RepoNotReady", "{time}");
        assert_eq!(failed(&decide(&seen, at(LATE))).0, "RepoNotReady", "{time}");
    }
}

#[test]
fn a_backup_that_runs_gets_back_what_it_lost() {
    for mut seen in [planned(), started()] {
        change(&mut seen, |backup| {
            backup.metadata.finalizers = Some(vec!["other".to_owned()]);
            backup.metadata.labels = Some([("mine".to_owned(), "kept".to_owned())].into());
            backup.metadata.annotations = None;
        });
        let back = json!({
            "finalizers": ["other", FINALIZER],
            "labels": {
                "app.kubernetes.io/managed-by": "kubeblocks",
                "dataprotection.kubeblocks.io/backup-type": "datafile",
                "dataprotection.kubeblocks.io/backup-policy": "p1",
                "dataprotection.kubeblocks.io/backup-repo-name": "r",
            },
        });
        assert_eq!(decide(&seen, at(2)).write, Some(Write::Metadata(back)));
        change(&mut seen, |backup| {
            backup.metadata.labels = planned().backup.metadata.labels.clone();
        });
        let back = json!({"finalizers": ["other", FINALIZER]});
        assert_eq!(decide(&seen, at(2)).write, Some(Write::Metadata(back)));
        // The API server takes no new finalizer of an object that goes, and gc has it once it is over.
        let mut goes = seen.clone();
        change(&mut goes, |backup| {
            backup.metadata.deletion_timestamp = backup.metadata.creation_timestamp.clone();
        });
        assert!(!matches!(decide(&goes, at(2)).write, Some(Write::Metadata(_))));
        change(&mut seen, |backup| {
            backup.status.as_mut().expect("a status").phase = Some(BackupPhase::Completed);
        });
        waits(&decide(&seen, at(2)));
    }
}

#[test]
fn a_backup_that_was_let_in_and_has_not_begun_can_be_cancelled() {
    let mut seen = ready();
    change(&mut seen, |backup| backup.spec.cancel = Some(true));
    let decision = decide(&seen, at(1));
    let (reason, text) = failed(&decision);
    assert_eq!(
        (reason.as_str(), text.as_str()),
        ("Cancelled", "cancelled by spec.cancel")
    );
}

#[test]
fn a_backup_that_names_a_parent_is_told_that_it_is_a_full_one() {
    let mut seen = ready();
    change(&mut seen, |backup| {
        backup.spec.parent_backup_name = Some("b0".to_owned())
    });
    let decision = decide(&seen, at(1));
    let status = written(&decision);
    assert_eq!(status.phase, Some(BackupPhase::InProgress));
    let ignored = find(&status.conditions, ConditionType::FieldsIgnored).expect("a condition");
    assert_eq!(
        (ignored.status.as_str(), ignored.reason.as_str()),
        ("True", "Unsupported")
    );
    assert!(ignored.message.contains("parentBackupName"), "{ignored:?}");
    assert!(
        events(&decision)
            .iter()
            .any(|event| event.reason == Reason::Unsupported)
    );
    assert!(
        find(
            &written(&decide(&ready(), at(1))).conditions,
            ConditionType::FieldsIgnored
        )
        .is_none()
    );
}
