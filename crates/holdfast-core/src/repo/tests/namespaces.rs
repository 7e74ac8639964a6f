//! Claims in the namespaces whose Backups wait for one.

use super::{condition_types::CLAIMS_CREATED, *};

fn waiting(namespace: &str, name: &str) -> Waiting {
    Waiting {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: format!("{namespace}-{name}"),
        resource_version: "5".to_owned(),
        told: false,
    }
}

/// One that has been told why it has no claim.
fn told(namespace: &str, name: &str) -> Waiting {
    Waiting {
        told: true,
        ..waiting(namespace, name)
    }
}

fn foreign(namespace: &str, observed: &Observed) -> PersistentVolumeClaim {
    let metadata = ObjectMeta {
        name: Some(names(&observed.repo).claim),
        namespace: Some(namespace.to_owned()),
        ..ObjectMeta::default()
    };
    PersistentVolumeClaim {
        metadata,
        ..PersistentVolumeClaim::default()
    }
}

#[test]
fn every_namespace_with_waiting_backups_gets_one_claim_and_then_the_labels_go() {
    let mut observed = ready();
    observed.waiting = vec![waiting("a", "b1"), waiting("a", "b2"), waiting("b", "b1")];
    let mut order = Vec::new();
    while let Some(write) = decide(&observed, now()).write {
        order.push(match &write {
            Write::Create(Child::Claim(claim)) => format!("claim {}", claim.metadata.namespace.clone().unwrap()),
            Write::Patch(backup, _) => format!("release {}/{}", backup.namespace, backup.name),
            other => panic!("{other:?}"),
        });
        store(&mut observed, Some(write));
    }
    assert_eq!(
        order,
        ["claim a", "release a/b1", "release a/b2", "claim b", "release b/b1"]
    );
    let claim = &observed.claims[0];
    assert_eq!(claim.metadata.name, status(&observed).backup_pvc_name);
    assert_eq!(claim.metadata.labels, Some(our_labels()));
    assert_eq!(claim.metadata.owner_references, None);
    let spec = claim.spec.clone().unwrap();
    assert_eq!(spec.storage_class_name, status(&observed).generated_storage_class_name);
    assert_eq!(spec.access_modes, Some(vec!["ReadWriteMany".to_owned()]));
    assert_eq!(spec.volume_mode.as_deref(), Some("Filesystem"));
    assert_eq!(spec.resources.unwrap().requests.unwrap()["storage"].0, "1Gi");
}

#[test]
fn claims_follow_the_template() {
    let mut observed = observed();
    let template = "metadata:\n  name: ignored\n  namespace: ignored\n  labels: {byPVCTemplate: \"true\"}\n  \
                    ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: u}]\nspec:\n  \
                    storageClassName: {{ .GeneratedStorageClassName }}\n  accessModes: [ReadWriteOnce]\n";
    observed
        .provider
        .as_mut()
        .unwrap()
        .spec
        .persistent_volume_claim_template = Some(template.to_owned());
    settle(&mut observed);
    observed.waiting = vec![waiting("a", "b1")];
    settle(&mut observed);
    let claim = observed.claims[0].clone();
    assert_eq!(claim.metadata.name, status(&observed).backup_pvc_name);
    assert_eq!(claim.metadata.namespace.as_deref(), Some("a"));
    assert_eq!(claim.metadata.owner_references, None);
    assert_eq!(claim.metadata.labels.as_ref().unwrap()["byPVCTemplate"], "true");
    assert_eq!(claim.metadata.labels.as_ref().unwrap()[api_names::LABEL_REPO_UID], UID);
    let spec = claim.spec.unwrap();
    assert_eq!(spec.storage_class_name, status(&observed).generated_storage_class_name);
    assert_eq!(spec.access_modes, Some(vec!["ReadWriteOnce".to_owned()]));
    assert_eq!(spec.resources.unwrap().requests.unwrap()["storage"].0, "1Gi");
}

#[test]
fn a_template_may_ask_for_storage_by_a_number() {
    let mut observed = observed();
    observed
        .provider
        .as_mut()
        .unwrap()
        .spec
        .persistent_volume_claim_template = Some("spec:\n  resources: {requests: {storage: 1000000}}\n".to_owned());
    observed.waiting = vec![waiting("a", "b1")];
    settle(&mut observed);
    let spec = observed.claims[0].spec.clone().unwrap();
    assert_eq!(spec.resources.unwrap().requests.unwrap()["storage"].0, "1000000");
}

#[test]
fn a_provider_with_only_a_claim_template_makes_only_claims() {
    let mut observed = observed();
    observed.provider.as_mut().unwrap().spec = StorageProviderSpec {
        persistent_volume_claim_template: Some(
            "spec:\n  storageClassName: {{ .Parameters.key1 }}\n  accessModes: [{{ .Parameters.nothing | default \"ReadWriteOnce\" }}]\n"
                .to_owned(),
        ),
        ..StorageProviderSpec::default()
    };
    observed.waiting = vec![waiting("a", "b1")];
    settle(&mut observed);
    assert_eq!(phase(&observed), BackupRepoPhase::Ready);
    assert_eq!((&observed.secret, &observed.storage_class), (&None, &None));
    assert_eq!(status(&observed).generated_storage_class_name, None);
    assert_eq!(status(&observed).generated_csi_driver_secret, None);
    let spec = observed.claims[0].spec.clone().unwrap();
    assert_eq!(spec.storage_class_name.as_deref(), Some("val1"));
    assert_eq!(spec.access_modes, Some(vec!["ReadWriteOnce".to_owned()]));
}

#[test]
fn sizes_are_checked_before_a_claim_is_made() {
    let table = [
        (None, Ok("100Gi")),
        (Some("0"), Ok("100Gi")),
        (Some("1.5Gi"), Ok("1.5Gi")),
        (Some("1e9"), Ok("1e9")),
        (Some("-1Gi"), Err("less than nothing")),
        (Some("many"), Err("not a quantity")),
    ];
    for (capacity, expected) in table {
        let mut observed = observed();
        observed.repo.spec.volume_capacity = capacity.map(|text| Quantity(text.to_owned()));
        observed.waiting = vec![waiting("a", "b1")];
        settle(&mut observed);
        match expected {
            Ok(asked) => {
                let spec = observed.claims[0].spec.clone().unwrap();
                assert_eq!(
                    spec.resources.unwrap().requests.unwrap()["storage"].0,
                    asked,
                    "{capacity:?}"
                );
            }
            Err(words) => {
                assert_eq!(
                    said(&observed, condition_types::PVC_TEMPLATE_CHECKED),
                    "False BadPVCTemplate"
                );
                assert!(
                    condition(&observed, condition_types::PVC_TEMPLATE_CHECKED)
                        .message
                        .contains(words)
                );
                assert_eq!(observed.claims, []);
            }
        }
    }
}

#[test]
fn a_repository_that_is_not_ready_makes_no_claims() {
    let mut observed = ready();
    observed.provider = None;
    observed.waiting = vec![waiting("a", "b1")];
    settle(&mut observed);
    assert_eq!((observed.claims.len(), observed.waiting.len()), (0, 1));
}

#[test]
fn a_claim_of_somebody_else_is_refused_by_name_and_holds_up_nobody_else() {
    let mut observed = ready();
    observed.claims = vec![foreign("a", &observed)];
    observed.waiting = vec![waiting("a", "b1"), waiting("b", "b1")];
    let (events, ..) = settle(&mut observed);
    assert_eq!(said(&observed, CLAIMS_CREATED), "False NameTaken");
    assert!(
        condition(&observed, CLAIMS_CREATED)
            .message
            .starts_with(&format!("a/{}: ", names(&observed.repo).claim))
    );
    assert_eq!(reasons(&events), ["NameTaken"]);
    assert_eq!(phase(&observed), BackupRepoPhase::Ready);
    assert_eq!(observed.waiting, [told("a", "b1")]);
    assert_eq!(observed.claims.len(), 2);
    observed.claims.remove(0);
    settle(&mut observed);
    assert_eq!(said(&observed, CLAIMS_CREATED), "True ClaimsCreated");
    assert_eq!(observed.waiting, []);
}

#[test]
fn refused_and_vanishing_claims_are_told_and_hold_up_nobody_else() {
    let mut observed = ready();
    observed.refused_claims = strings(&[("a", "namespace a is being terminated")]);
    observed.waiting = vec![waiting("a", "b1"), waiting("b", "b1"), waiting("c", "b1")];
    let mut going = foreign("c", &observed);
    going.metadata.labels = Some(our_labels());
    going.metadata.deletion_timestamp = Some(Time(now()));
    observed.claims = vec![going];
    let (_, _, next) = settle(&mut observed);
    assert_eq!(said(&observed, CLAIMS_CREATED), "False ClaimNotCreated");
    let message = condition(&observed, CLAIMS_CREATED).message;
    assert!(
        message.contains("is being terminated") && message.contains("is being deleted"),
        "{message}"
    );
    assert_eq!(observed.waiting, [told("a", "b1"), told("c", "b1")]);
    assert_eq!(next, Next::After(Duration::from_secs(30)));
}

#[test]
fn a_backup_that_waits_is_told_why_its_claim_is_refused_until_there_is_one() {
    let mut observed = ready();
    observed.refused_claims = strings(&[("a", "exceeded quota: claims\u{1b}")]);
    observed.waiting = vec![waiting("a", "b1")];
    let patched = |observed: &mut Observed| loop {
        let write = decide(observed, now()).write;
        if let Some(Write::Patch(_, change)) = write {
            break change;
        }
        assert!(store(observed, write), "nothing is said");
    };
    assert_eq!(
        patched(&mut observed),
        json!({"metadata": {"annotations": {api_names::ANNOTATION_CLAIM_REFUSED: "exceeded quota: claims\\x1b"}}})
    );
    observed.waiting = vec![told("a", "b1")];
    assert!(
        !matches!(decide(&observed, now()).write, Some(Write::Patch(..))),
        "once is enough"
    );
    observed.refused_claims.clear();
    let write = decide(&observed, now()).write;
    assert!(matches!(write, Some(Write::Create(Child::Claim(_)))), "{write:?}");
    store(&mut observed, write);
    assert_eq!(
        patched(&mut observed)["metadata"]["annotations"],
        json!({api_names::ANNOTATION_CLAIM_REFUSED: null})
    );
}

#[test]
fn what_is_refused_again_is_not_told_again() {
    let mut observed = ready();
    let refusal = strings(&[("a", "exceeded quota")]);
    observed.refused_claims = refusal.clone();
    observed.waiting = vec![waiting("a", "b1")];
    let (events, ..) = settle(&mut observed);
    assert_eq!(reasons(&events), ["ClaimNotCreated"]);
    // The refusal is forgotten, so that it is tried again, and refused again.
    observed.refused_claims.clear();
    let decision = decide(&observed, now());
    assert!(
        matches!(decision.write, Some(Write::Create(Child::Claim(_)))),
        "{decision:?}"
    );
    observed.refused_claims = refusal;
    let (events, ..) = settle(&mut observed);
    assert_eq!(events, []);
    assert_eq!(said(&observed, CLAIMS_CREATED), "False ClaimNotCreated");
    observed.refused_claims.clear();
    settle(&mut observed);
    assert_eq!(said(&observed, CLAIMS_CREATED), "True ClaimsCreated");
}
