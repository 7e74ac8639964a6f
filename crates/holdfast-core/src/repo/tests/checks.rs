//! The way of a repository to Ready, and what keeps it there.

use super::{condition_types::*, *};

#[test]
fn a_new_repository_becomes_ready_write_by_write_with_names_first() {
    let mut observed = observed();
    let mut order = Vec::new();
    let mut news = Vec::new();
    for _ in 0..20 {
        let decision = decide(&observed, now());
        news.extend(told(decision.notices).1);
        if let Some(Write::Create(_)) = &decision.write {
            let status = status(&observed);
            assert!(status.generated_csi_driver_secret.is_some() && status.backup_pvc_name.is_some());
            assert!(status.generated_storage_class_name.is_some());
            assert_eq!(status.phase, Some(BackupRepoPhase::PreChecking));
        }
        order.push(match &decision.write {
            None => break,
            Some(Write::Metadata(_)) => "finalizer",
            Some(Write::Status(_)) => "status",
            Some(Write::Create(Child::Secret(_))) => "secret",
            Some(Write::Create(Child::StorageClass(_))) => "class",
            Some(other) => panic!("{other:?}"),
        });
        store(&mut observed, decision.write);
    }
    assert_eq!(order, ["finalizer", "status", "secret", "class", "status"]);
    assert_eq!(news, [BackupRepoPhase::Ready]);
    assert_eq!(
        observed.repo.metadata.finalizers,
        Some(vec![api_names::FINALIZER.to_owned()])
    );
    assert_eq!(said(&observed, "Ready"), "True Ready");
    assert_eq!(said(&observed, "Reconciling"), "False Ready");
    assert_eq!(said(&observed, "Stalled"), "False Ready");
    assert_eq!(said(&observed, STORAGE_PROVIDER_READY), "True StorageProviderReady");
    assert_eq!(said(&observed, PARAMETERS_CHECKED), "True ParametersChecked");
    assert_eq!(said(&observed, STORAGE_CLASS_CREATED), "True StorageClassCreated");
    assert_eq!(said(&observed, PVC_TEMPLATE_CHECKED), "True PVCTemplateChecked");
    assert_eq!(status(&observed).observed_generation, Some(1));
}

#[test]
fn secret_and_storage_class_are_what_the_templates_say_and_ours_without_an_owner() {
    let observed = ready();
    let names = names(&observed.repo);
    let secret = observed.secret.clone().unwrap();
    assert_eq!(secret.metadata.name.as_ref(), Some(&names.secret));
    assert_eq!(secret.metadata.namespace.as_deref(), Some("holdfast"));
    assert_eq!(secret.metadata.labels, Some(our_labels()));
    assert_eq!(secret.metadata.owner_references, None);
    assert_eq!(secret.metadata.annotations, None);
    let data = secret.data.unwrap();
    assert_eq!(data["value1"].0, b"val1");
    assert_eq!(data["cred"].0, b"s3cr3t: \"x\"");
    let class = observed.storage_class.clone().unwrap();
    assert_eq!(class.metadata.name.as_ref(), Some(&names.storage_class));
    assert_eq!(class.metadata.labels, Some(our_labels()));
    assert_eq!(class.metadata.owner_references, None);
    assert_eq!(class.provisioner, "test.csi");
    assert_eq!(class.reclaim_policy.as_deref(), Some("Retain"));
    assert_eq!(class.volume_binding_mode.as_deref(), Some("Immediate"));
    let expected = [
        ("value2", "val2"),
        ("secret-name", &names.secret),
        ("secret-namespace", "holdfast"),
    ];
    assert_eq!(class.parameters, Some(strings(&expected)));
}

#[test]
fn a_binding_mode_in_the_template_is_kept() {
    let mut observed = observed();
    let template = "provisioner: csi.holdfast.io\nvolumeBindingMode: WaitForFirstConsumer\n".to_owned();
    observed.provider.as_mut().unwrap().spec.storage_class_template = Some(template);
    settle(&mut observed);
    let class = observed.storage_class.unwrap();
    assert_eq!(class.volume_binding_mode.as_deref(), Some("WaitForFirstConsumer"));
}

#[test]
fn a_missing_provider_is_seen_at_once_waited_for_and_then_failed() {
    let mut observed = observed();
    observed.provider = None;
    let (events, news, next) = settle(&mut observed);
    assert_eq!(said(&observed, STORAGE_PROVIDER_READY), "False StorageProviderNotFound");
    assert_eq!(phase(&observed), BackupRepoPhase::PreChecking);
    assert_eq!((events, news, next), (vec![], vec![], Next::After(GRACE)));
    let (events, news, _) = settle_at(&mut observed, later(30));
    assert_eq!(phase(&observed), BackupRepoPhase::Failed);
    assert_eq!(reasons(&events), ["StorageProviderNotFound"]);
    assert_eq!(news, [BackupRepoPhase::Failed]);
    assert_eq!(said(&observed, "Stalled"), "True StorageProviderNotFound");

    observed.provider = Some(provider());
    let (events, news, _) = settle_at(&mut observed, later(40));
    assert_eq!((reasons(&events), news), (vec!["Ready"], vec![BackupRepoPhase::Ready]));

    observed.provider.as_mut().unwrap().status.as_mut().unwrap().phase = Some(StorageProviderPhase::NotReady);
    let (events, ..) = settle_at(&mut observed, later(50));
    assert_eq!(phase(&observed), BackupRepoPhase::Failed);
    assert_eq!(said(&observed, STORAGE_PROVIDER_READY), "False StorageProviderNotReady");
    let message = condition(&observed, STORAGE_PROVIDER_READY).message;
    assert_eq!(message, "storage provider sp is not ready, status: NotReady");
    assert_eq!(reasons(&events), ["StorageProviderNotReady"]);

    observed.provider = None;
    settle_at(&mut observed, later(60));
    assert_eq!(phase(&observed), BackupRepoPhase::Failed);
    assert_eq!(said(&observed, STORAGE_PROVIDER_READY), "False StorageProviderNotFound");
}

#[test]
fn a_provider_that_comes_within_the_grace_makes_no_failure() {
    let mut observed = observed();
    observed.provider = None;
    settle(&mut observed);
    observed.provider = Some(provider());
    let (events, news, _) = settle_at(&mut observed, later(29));
    assert_eq!((reasons(&events), news), (vec!["Ready"], vec![BackupRepoPhase::Ready]));
}

#[test]
fn the_secret_follows_template_configuration_and_credential() {
    let mut observed = ready();
    let before = observed.secret.clone().unwrap();
    observed.secret.as_mut().unwrap().metadata.resource_version = Some("7".to_owned());
    let template = "value1: new {{ index .Parameters \"key1\" }}\n".to_owned();
    observed.provider.as_mut().unwrap().spec.csi_driver_secret_template = Some(template);
    let decision = decide(&observed, now());
    let Some(Write::Patch(target, _)) = &decision.write else {
        panic!("{decision:?}")
    };
    assert_eq!(target.resource_version.as_deref(), Some("7"));
    let (events, ..) = settle(&mut observed);
    assert_eq!(
        observed.secret.as_ref().unwrap().data.as_ref().unwrap()["value1"].0,
        b"new val1"
    );
    assert_eq!(reasons(&events), ["CSIDriverSecretUpdated"]);
    assert_eq!(phase(&observed), BackupRepoPhase::Ready);

    observed.provider = Some(provider());
    settle(&mut observed);
    assert_eq!(observed.secret.as_ref().unwrap().data, before.data);

    observed
        .repo
        .spec
        .config
        .as_mut()
        .unwrap()
        .insert("key1".to_owned(), "changed".to_owned());
    settle(&mut observed);
    assert_eq!(
        observed.secret.as_ref().unwrap().data.as_ref().unwrap()["value1"].0,
        b"changed"
    );

    let Credential::Found(secret) = &mut observed.credential else {
        panic!()
    };
    secret
        .data
        .as_mut()
        .unwrap()
        .insert("cred-key1".to_owned(), ByteString(b"rotated".to_vec()));
    settle(&mut observed);
    assert_eq!(
        observed.secret.as_ref().unwrap().data.as_ref().unwrap()["cred"].0,
        b"rotated"
    );
    let (events, news, next) = settle(&mut observed);
    assert_eq!((events, news), (vec![], vec![]));
    assert_eq!(next, Next::After(Duration::from_mins(10)));
}

#[test]
fn what_was_deleted_is_made_again_under_its_name() {
    let mut observed = ready();
    let (secret, class) = (observed.secret.take(), observed.storage_class.take());
    settle(&mut observed);
    assert_eq!((observed.secret, observed.storage_class), (secret, class));
}

#[test]
fn the_default_mark_follows_the_annotation() {
    let mut observed = ready();
    assert_eq!(status(&observed).is_default, Some(false));
    let mark = api_names::ANNOTATION_IS_DEFAULT_REPO;
    for (value, expected) in [("true", true), ("false", false), ("yes", false), ("true", true)] {
        observed.repo.metadata.annotations = Some(strings(&[(mark, value)]));
        settle(&mut observed);
        assert_eq!(status(&observed).is_default, Some(expected), "{value}");
    }
    observed.repo.metadata.annotations = None;
    settle(&mut observed);
    assert_eq!(status(&observed).is_default, Some(false));
}

#[test]
fn objects_of_somebody_else_are_never_touched() {
    let mut observed = observed();
    observed.secret = Some(Secret::default());
    settle(&mut observed);
    assert_eq!(said(&observed, STORAGE_CLASS_CREATED), "False NameTaken");
    assert_eq!(observed.secret, Some(Secret::default()));

    observed.secret = None;
    observed.storage_class = Some(StorageClass {
        provisioner: "other".to_owned(),
        ..StorageClass::default()
    });
    settle(&mut observed);
    assert_eq!(said(&observed, STORAGE_CLASS_CREATED), "False NameTaken");
    assert_eq!(observed.storage_class.as_ref().unwrap().provisioner, "other");
    assert_eq!(phase(&observed), BackupRepoPhase::Failed);
}

#[test]
fn what_the_api_server_refuses_is_told_and_tried_again() {
    let mut observed = observed();
    for _ in 0..2 {
        let decision = decide(&observed, now());
        store(&mut observed, decision.write);
    }
    assert!(matches!(
        decide(&observed, now()).write,
        Some(Write::Create(Child::Secret(_)))
    ));
    observed.refused = Some("secrets \"x\" is forbidden".to_owned());
    let (events, _, next) = settle(&mut observed);
    assert_eq!(said(&observed, STORAGE_CLASS_CREATED), "Unknown UnknownError");
    assert_eq!(phase(&observed), BackupRepoPhase::Failed);
    assert_eq!(reasons(&events), ["UnknownError"]);
    assert_eq!(next, Next::After(Duration::from_secs(30)));
    observed.refused = None;
    assert!(matches!(
        decide(&observed, now()).write,
        Some(Write::Create(Child::Secret(_)))
    ));
}

#[test]
fn a_storage_class_that_cannot_follow_says_so() {
    let mut observed = ready();
    observed
        .repo
        .spec
        .config
        .as_mut()
        .unwrap()
        .insert("key2".to_owned(), "changed".to_owned());
    let (events, ..) = settle(&mut observed);
    assert_eq!(reasons(&events), ["StorageClassOutdated"]);
    assert_eq!(said(&observed, STORAGE_CLASS_CURRENT), "False StorageClassOutdated");
    assert!(
        condition(&observed, STORAGE_CLASS_CURRENT)
            .message
            .contains("kubectl delete storageclass sc-r-")
    );
    assert_eq!(phase(&observed), BackupRepoPhase::Ready);
    observed.storage_class = None;
    settle(&mut observed);
    assert_eq!(
        observed.storage_class.as_ref().unwrap().parameters.as_ref().unwrap()["value2"],
        "changed"
    );
    assert!(
        status(&observed)
            .conditions
            .iter()
            .all(|condition| condition.type_ != STORAGE_CLASS_CURRENT)
    );

    observed.repo.spec.pv_reclaim_policy = PvReclaimPolicy::Delete;
    settle(&mut observed);
    assert_eq!(said(&observed, STORAGE_CLASS_CURRENT), "False StorageClassOutdated");
}

#[test]
fn repositories_on_the_node_itself_say_so() {
    let mut observed = observed();
    observed.provider.as_mut().unwrap().spec.csi_driver_name = Some(LOCAL_DRIVER.to_owned());
    settle(&mut observed);
    assert_eq!(said(&observed, SHARES_DISK_WITH_DATA), "True SharesDiskWithData");
    assert_eq!(phase(&observed), BackupRepoPhase::Ready);
    assert!(
        status(&ready())
            .conditions
            .iter()
            .all(|condition| condition.type_ != SHARES_DISK_WITH_DATA)
    );
}
