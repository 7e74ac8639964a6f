//! What a deleted repository waits for, and in which order its children go.

use super::{condition_types::DERIVED_OBJECTS_DELETED, *};

/// A Ready repository with one claim, whose deletion was asked for.
fn deleting() -> Observed {
    let mut observed = ready();
    observed.waiting = vec![Waiting {
        namespace: "a".to_owned(),
        name: "b1".to_owned(),
        uid: "u".to_owned(),
        resource_version: "1".to_owned(),
        told: false,
    }];
    settle(&mut observed);
    assert_eq!((observed.claims.len(), observed.waiting.len()), (1, 0));
    observed.repo.metadata.deletion_timestamp = Some(Time(now()));
    observed
}

fn settled(observed: &mut Observed) -> Vec<String> {
    settle(observed)
        .0
        .into_iter()
        .map(|event| event.reason.as_str().to_owned())
        .collect()
}

#[test]
fn a_repository_goes_only_after_its_backups_and_claims() {
    let mut observed = deleting();
    observed.associated = vec!["a/b1".to_owned()];
    assert_eq!(settled(&mut observed), ["DeletingCR", "HaveAssociatedBackups"]);
    assert_eq!(phase(&observed), BackupRepoPhase::Deleting);
    assert_eq!(said(&observed, DERIVED_OBJECTS_DELETED), "False HaveAssociatedBackups");
    assert_eq!(
        condition(&observed, DERIVED_OBJECTS_DELETED).message,
        "some backups still refer to this repo: a/b1"
    );
    assert_eq!(said(&observed, "Reconciling"), "True HaveAssociatedBackups");
    assert_eq!(observed.claims[0].metadata.deletion_timestamp, None);

    observed.associated.clear();
    assert_eq!(settled(&mut observed), ["HaveResidualPVCs"]);
    assert!(observed.claims[0].metadata.deletion_timestamp.is_some());
    assert_eq!(said(&observed, DERIVED_OBJECTS_DELETED), "False HaveResidualPVCs");
    assert!(observed.storage_class.is_some() && observed.secret.is_some());

    observed.claims.clear();
    assert_eq!(settled(&mut observed), ["DeletedCR"]);
    assert_eq!(
        (observed.storage_class.as_ref(), observed.secret.as_ref()),
        (None, None)
    );
    assert_eq!(observed.repo.metadata.finalizers, Some(Vec::new()));
    let decision = decide(&observed, now());
    assert_eq!((decision.write, decision.next), (None, Next::AwaitChange));
}

#[test]
fn many_backups_are_counted_not_listed() {
    let mut observed = deleting();
    observed.associated = (0..8).map(|number| format!("a/b{number}")).collect();
    settled(&mut observed);
    let message = condition(&observed, DERIVED_OBJECTS_DELETED).message;
    assert!(message.ends_with("a/b4 and 3 more"), "{message}");
}

#[test]
fn children_go_in_order_and_with_their_uids() {
    let mut observed = deleting();
    observed.secret.as_mut().unwrap().metadata.uid = Some("secret-uid".to_owned());
    observed.storage_class.as_mut().unwrap().metadata.uid = Some("class-uid".to_owned());
    let mut order = Vec::new();
    for _ in 0..20 {
        let Some(write) = decide(&observed, now()).write else {
            break;
        };
        let gone = matches!(&write, Write::Delete(target) if target.kind == Kind::Claim);
        match &write {
            Write::Delete(target) => order.push(target.uid.clone()),
            Write::Metadata(_) => order.push("finalizer".to_owned()),
            _ => {}
        }
        store(&mut observed, Some(write));
        if gone {
            observed.claims.clear();
        }
    }
    assert_eq!(order, ["claim-0", "class-uid", "secret-uid", "finalizer"]);
}

#[test]
fn what_is_not_ours_stays() {
    let mut observed = deleting();
    observed.claims[0].metadata.labels = None;
    observed.secret = Some(Secret::default());
    observed.storage_class = Some(StorageClass::default());
    assert_eq!(settled(&mut observed), ["DeletingCR", "DeletedCR"]);
    assert!(observed.secret.is_some() && observed.storage_class.is_some());
    assert_eq!(observed.claims[0].metadata.deletion_timestamp, None);
}

#[test]
fn the_secret_stays_while_its_driver_removes_volumes_but_not_for_ever() {
    let mut observed = deleting();
    observed.claims.clear();
    observed.volumes = vec!["pv-1".to_owned()];
    assert_eq!(settled(&mut observed), ["DeletingCR", "HaveResidualVolumes"]);
    assert!(observed.secret.is_some());
    settle_at(&mut observed, later(599));
    assert!(observed.secret.is_some());
    let (events, ..) = settle_at(&mut observed, later(600));
    assert_eq!(reasons(&events), ["VolumesLeftBehind", "DeletedCR"]);
    assert_eq!(observed.secret, None);

    let mut observed = deleting();
    observed.claims.clear();
    observed.volumes = vec!["pv-1".to_owned()];
    settle(&mut observed);
    observed.volumes.clear();
    assert_eq!(settled(&mut observed), ["DeletedCR"]);
}

#[test]
fn a_repository_that_was_never_ready_is_deleted_too() {
    let mut observed = observed();
    observed.provider = None;
    settle(&mut observed);
    observed.repo.metadata.deletion_timestamp = Some(Time(now()));
    assert_eq!(settled(&mut observed), ["DeletingCR", "DeletedCR"]);
    assert_eq!(observed.repo.metadata.finalizers, Some(Vec::new()));
}

#[test]
fn other_finalizers_are_left_alone() {
    let mut observed = deleting();
    observed.claims.clear();
    observed
        .repo
        .metadata
        .finalizers
        .as_mut()
        .unwrap()
        .push("example.com/other".to_owned());
    settle(&mut observed);
    assert_eq!(
        observed.repo.metadata.finalizers,
        Some(vec!["example.com/other".to_owned()])
    );
}

fn reword(observed: &mut Observed, now: Timestamp) {
    for condition in &mut observed.repo.status.as_mut().unwrap().conditions {
        condition.reason = "Other".to_owned();
        condition.message = "in other words".to_owned();
        condition.last_transition_time = Time(now);
    }
}

/// Conditions are for people: whatever they say, the same is waited for, and as long.
#[test]
fn no_wait_rests_on_what_conditions_say() {
    let mut waiting = observed();
    waiting.provider = None;
    settle(&mut waiting);
    for seconds in [10, 29] {
        reword(&mut waiting, later(seconds));
        settle_at(&mut waiting, later(seconds));
        assert_eq!(phase(&waiting), BackupRepoPhase::PreChecking);
    }
    reword(&mut waiting, later(29));
    settle_at(&mut waiting, later(30));
    assert_eq!(phase(&waiting), BackupRepoPhase::Failed);
    assert_eq!(status(&waiting).waiting_since, None);

    let mut going = deleting();
    going.claims.clear();
    going.volumes = vec!["pv-1".to_owned()];
    settle(&mut going);
    reword(&mut going, later(599));
    settle_at(&mut going, later(599));
    assert!(going.secret.is_some());
    reword(&mut going, later(599));
    settle_at(&mut going, later(600));
    assert_eq!(going.secret, None);
}

/// Nor is anything told anew, or made, because they say something else.
#[test]
fn nothing_is_told_again_because_conditions_were_reworded() {
    let mut outdated = ready();
    outdated.repo.spec.pv_reclaim_policy = PvReclaimPolicy::Delete;
    let mut failed = ready();
    failed.provider = None;
    let mut held = deleting();
    held.associated = vec!["a/b1".to_owned()];
    for mut observed in [ready(), outdated, failed, held] {
        settle(&mut observed);
        let before = status(&observed);
        reword(&mut observed, later(1));
        let (events, news, _) = settle_at(&mut observed, later(1));
        assert_eq!((events, news), (vec![], vec![]));
        let after = status(&observed);
        assert_eq!((before.phase, before.troubles), (after.phase, after.troubles));
        observed.repo.status.as_mut().unwrap().conditions.clear();
        let (events, news, _) = settle_at(&mut observed, later(2));
        assert_eq!((events, news), (vec![], vec![]));
    }
}
