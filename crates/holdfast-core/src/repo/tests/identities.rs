//! What is known of the repository in each namespace, and who says so.

use holdfast_api::{
    Access, Backup, BackupPhase, BackupPlan, BackupSpec, BackupStatus, Location, RepoNamespace, RepositoryReference,
};

use super::*;

fn claim(uid: &str) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some("pvc".to_owned()),
            namespace: Some("a".to_owned()),
            uid: Some(uid.to_owned()),
            labels: Some(our_labels()),
            creation_timestamp: Some(Time(now())),
            ..ObjectMeta::default()
        },
        ..PersistentVolumeClaim::default()
    }
}

fn completed() -> Backup {
    let mut backup = Backup::new("b", BackupSpec::default());
    backup.metadata.namespace = Some("a".to_owned());
    backup.status = Some(BackupStatus {
        phase: Some(BackupPhase::Completed),
        start_timestamp: Some(Time(later(1))),
        plan: Some(BackupPlan {
            location: Location {
                repository: Some(RepositoryReference {
                    name: "r".to_owned(),
                    uid: UID.to_owned(),
                    ..RepositoryReference::default()
                }),
                access: Access::mount("pvc"),
                path: "/a/b".to_owned(),
                identity: Some("one".to_owned()),
                ..Location::default()
            },
            ..BackupPlan::default()
        }),
        ..BackupStatus::default()
    });
    backup
}

fn sealed(namespace: &str, claim_uid: &str, identity: &str) -> Sealed {
    Sealed {
        namespace: namespace.to_owned(),
        claim_uid: claim_uid.to_owned(),
        identity: identity.to_owned(),
    }
}

fn known(observed: &Observed, namespace: &str) -> Option<String> {
    status(observed).identity_in(namespace).map(str::to_owned)
}

type Change = fn(&mut Backup);

#[test]
fn a_backup_tells_only_of_the_volume_that_it_was_sealed_on() {
    let repo = observed().repo;
    assert_eq!(
        told_by(&completed(), &repo, &claim("c1")),
        Some(sealed("a", "c1", "one"))
    );
    let changes: [(&str, Change); 7] = [
        ("no end", |backup| {
            backup.status.as_mut().unwrap().phase = Some(BackupPhase::InProgress);
        }),
        ("a failed end", |backup| {
            backup.status.as_mut().unwrap().phase = Some(BackupPhase::Failed);
        }),
        ("before the claim was made", |backup| {
            backup.status.as_mut().unwrap().start_timestamp = Some(Time(now() - Duration::from_secs(1)));
        }),
        ("another namespace", |backup| {
            backup.metadata.namespace = Some("b".to_owned());
        }),
        ("another repository of that name", |backup| {
            let plan = backup.status.as_mut().unwrap().plan.as_mut().unwrap();
            plan.location.repository.as_mut().unwrap().uid = "other".to_owned();
        }),
        ("another claim", |backup| {
            let plan = backup.status.as_mut().unwrap().plan.as_mut().unwrap();
            plan.location.access = Access::mount("other");
        }),
        ("no identity", |backup| {
            let plan = backup.status.as_mut().unwrap().plan.as_mut().unwrap();
            plan.location.identity = Some(String::new());
        }),
    ];
    for (what, change) in changes {
        let mut backup = completed();
        change(&mut backup);
        assert_eq!(told_by(&backup, &repo, &claim("c1")), None, "{what}");
    }
}

#[test]
fn the_first_word_about_a_namespace_stands() {
    let mut observed = ready();
    observed.sealed = vec![
        sealed("b", "c2", "two"),
        sealed("a", "c1", "one"),
        sealed("a", "c1", "other"),
    ];
    let (events, ..) = settle(&mut observed);
    assert_eq!(events, []);
    assert_eq!(known(&observed, "a").as_deref(), Some("one"));
    assert_eq!(known(&observed, "b").as_deref(), Some("two"));
    assert_eq!(known(&observed, "c"), None);
    observed.sealed = vec![sealed("a", "c1", "other")];
    assert_eq!(decide(&observed, now()).write, None);
}

#[test]
fn one_that_is_not_set_is_filled_in() {
    let mut observed = ready();
    let stored = observed.repo.status.as_mut().unwrap();
    stored.namespaces = vec![RepoNamespace {
        namespace: "a".to_owned(),
        ..RepoNamespace::default()
    }];
    observed.sealed = vec![sealed("a", "c1", "one")];
    settle(&mut observed);
    assert_eq!(known(&observed, "a").as_deref(), Some("one"));
    assert_eq!(status(&observed).namespaces.len(), 1);
}

#[test]
fn a_claim_that_was_made_anew_is_a_repository_that_nobody_knows() {
    let mut observed = ready();
    observed.sealed = vec![sealed("a", "c1", "one"), sealed("b", "c2", "two")];
    settle(&mut observed);
    observed.claims = vec![claim("c9")];
    settle(&mut observed);
    assert_eq!(
        (known(&observed, "a"), known(&observed, "b").as_deref()),
        (None, Some("two"))
    );
    // What was told of the claim before it is not true of this one.
    assert_eq!(decide(&observed, now()).write, None);
    observed.sealed = vec![sealed("a", "c9", "nine")];
    settle(&mut observed);
    assert_eq!(known(&observed, "a").as_deref(), Some("nine"));
    // While a claim goes, what is known of it stays.
    let mut going = claim("c10");
    going.metadata.deletion_timestamp = Some(Time(now()));
    observed.claims = vec![going];
    settle(&mut observed);
    assert_eq!(known(&observed, "a").as_deref(), Some("nine"));
}
