//! Where a Backup's bytes go: repositories and their claims.

use std::sync::Arc;

use holdfast_api::{BackupPhase, CommonBackupPolicy, names};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use serde_json::json;

use super::world::{LATE, asks, at, change, failed, ready, take, told, waits, written};
use crate::backup::{Read, Seen, Storage, Write, decide, storage};
use crate::repo::{label_value, labelled};

fn asks_for_claim(repo: &str) -> Write {
    Write::Metadata(json!({"labels": {
        "dataprotection.kubeblocks.io/backup-repo-name": repo,
        "dataprotection.kubeblocks.io/need-repo-pvc": "true",
    }}))
}

#[test]
fn a_missing_claim_is_asked_for_by_labels_and_waited_for() {
    let mut observed = ready();
    observed.claim = Seen::default();
    asks(&decide(&observed, at(1)), Read::Claim);
    observed.claim = Seen::live(None);
    assert_eq!(decide(&observed, at(1)).write, Some(asks_for_claim("r")));
    change(&mut observed, |backup| {
        let labels = backup.metadata.labels.as_mut().expect("labels");
        labels.insert(
            "dataprotection.kubeblocks.io/need-repo-pvc".to_owned(),
            "true".to_owned(),
        );
    });
    waits(&decide(&observed, at(1)));
    let decision = decide(&observed, at(5));
    assert_eq!(told(&decision).0, "WaitingForPVC");
    assert_eq!(written(&decision).phase, Some(BackupPhase::New));
    take(&mut observed, written(&decision), at(5));
    waits(&decide(&observed, at(6)));
    assert_eq!(failed(&decide(&observed, at(LATE))).0, "WaitingForPVC");
}

#[test]
fn why_a_claim_is_refused_reaches_the_backup_that_waits_for_it() {
    let mut observed = ready();
    observed.claim = Seen::live(None);
    change(&mut observed, |backup| {
        let labels = backup.metadata.labels.as_mut().expect("labels");
        labels.insert(names::LABEL_NEED_REPO_PVC.to_owned(), "true".to_owned());
    });
    let status = written(&decide(&observed, at(5)));
    take(&mut observed, status, at(5));
    change(&mut observed, |backup| {
        let annotations = backup.metadata.annotations.as_mut().expect("annotations");
        let words = "exceeded quota: claims, requested: persistentvolumeclaims=1".to_owned();
        annotations.insert(names::ANNOTATION_CLAIM_REFUSED.to_owned(), words);
    });
    let (reason, message) = told(&decide(&observed, at(8)));
    assert_eq!(reason, "ClaimNotCreated");
    assert!(
        message.contains("\"pvc-r\"") && message.contains("exceeded quota: claims"),
        "{message}"
    );
}

#[test]
fn a_repository_without_a_claim_is_waited_for() {
    let mut observed = ready();
    let mut repo = (*observed.repos[0]).clone();
    repo.status.as_mut().expect("a status").backup_pvc_name = None;
    observed.repo = Seen::cached(Some(Arc::new(repo.clone())));
    assert_eq!(told(&decide(&observed, at(9))).0, "BackupPVCNameIsEmpty");
    let (_, text) = failed(&decide(&observed, at(LATE)));
    assert_eq!(
        text,
        "the persistentVolumeClaim name of spec.datafile is empty in BackupPolicy \"p1\""
    );
    repo.status = None;
    observed.repo = Seen::cached(Some(Arc::new(repo)));
    assert_eq!(told(&decide(&observed, at(9))).0, "RepoNotReady");
}

#[test]
fn a_repository_that_is_being_deleted_takes_no_new_backup() {
    let mut observed = ready();
    Arc::make_mut(observed.repo.object.as_mut().expect("a repository"))
        .metadata
        .deletion_timestamp = Some(Time(at(0)));
    let (reason, text) = failed(&decide(&observed, at(LATE)));
    assert_eq!(
        (reason.as_str(), text.as_str()),
        ("RepoNotReady", "backup repo r is being deleted")
    );
}

#[test]
fn two_default_repositories_are_one_too_many() {
    let mut observed = ready();
    change(&mut observed, |backup| {
        backup.labels_mut().remove(names::LABEL_BACKUP_REPO_NAME);
    });
    waits(&decide(&observed, at(1)));
    let marked = |name: &str| {
        let mut repo = (*ready().repos[0]).clone();
        repo.metadata.name = Some(name.to_owned());
        let mark = (
            "dataprotection.kubeblocks.io/is-default-repo".to_owned(),
            "true".to_owned(),
        );
        repo.metadata.annotations = Some([mark].into());
        Arc::new(repo)
    };
    observed.repos = vec![marked("r")];
    assert_eq!(written(&decide(&observed, at(1))).phase, Some(BackupPhase::InProgress));
    observed.repos = vec![marked("a"), marked("b")];
    let (reason, text) = failed(&decide(&observed, at(LATE)));
    assert_eq!(reason, "MultipleDefaultRepos");
    assert_eq!(text, "multiple default BackupRepo found, both a and b are default");
}

#[test]
fn a_repository_whose_name_does_not_fit_a_label_is_found_by_what_fits() {
    let mut observed = ready();
    let mut repo = observed.repo.get().expect("a repository").clone();
    let name = format!("{}.{}", "a".repeat(63), "b".repeat(189));
    repo.metadata.name = Some(name.clone());
    repo.metadata.uid = Some("0123abcd-4567".to_owned());
    let label = label_value(&repo);
    assert_eq!(label, format!("{}-0123abcd", "a".repeat(43)));
    let section = CommonBackupPolicy {
        backup_repo_name: Some("another".to_owned()),
        ..CommonBackupPolicy::default()
    };
    change(&mut observed, |backup| {
        let labels = backup.metadata.labels.as_mut().expect("labels");
        labels.insert(names::LABEL_BACKUP_REPO_NAME.to_owned(), label.clone());
    });
    let known = [Arc::clone(&observed.repos[0]), Arc::new(repo.clone())];
    assert_eq!(
        storage(&observed.backup, &section, &known),
        Ok(Storage::Repo(name.clone()))
    );
    assert_eq!(
        storage(&observed.backup, &section, &known[..1]),
        Ok(Storage::Repo(label.clone()))
    );
    // Somebody's own name comes before what was cut.
    let mut own = repo.clone();
    own.metadata.name = Some(label.clone());
    own.metadata.uid = Some("other".to_owned());
    assert_eq!(labelled(&label, [&repo, &own]), Some(&own));
    assert_eq!(labelled("nothing", [&repo, &own]), None);

    // A cache that has not seen it is made up for by a live read, and the claim is asked for under the same label.
    observed.repos.truncate(1);
    observed.repo = Seen::cached(None);
    asks(&decide(&observed, at(1)), Read::Repo);
    observed.repo = Seen::live(Some(Arc::new(repo)));
    observed.claim = Seen::live(None);
    assert_eq!(decide(&observed, at(1)).write, Some(asks_for_claim(&label)));
    observed.claim = ready().claim;
    let plan = written(&decide(&observed, at(1))).plan.expect("a plan");
    assert_eq!(plan.location.repository.map(|repo| repo.name), Some(name));
}
