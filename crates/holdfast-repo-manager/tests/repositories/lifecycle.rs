use holdfast_api::{BackupRepo, BackupRepoPhase, SecretReference, StorageProvider, StorageProviderPhase, names};
use holdfast_testkit::{eventually, sample};
use k8s_openapi::api::{
    core::v1::Secret,
    storage::v1::{CSIDriver, StorageClass},
};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::support::{PATIENCE, create, delete, gone, patch, test, unique};

#[test]
fn a_provider_follows_its_driver_and_can_be_deleted() {
    test(async |cluster| {
        let (driver, name) = (unique("late.csi"), unique("provider"));
        let api: Api<StorageProvider> = cluster.all();
        create(&api, &sample::provider(&name, &driver)).await;
        let installed = "CSIDriverInstalled";
        let provider = cluster.provider_says(&name, installed, "CheckCSIDriverFailed").await;
        assert_eq!(provider.status.unwrap().phase, Some(StorageProviderPhase::NotReady));
        assert_eq!(
            provider.metadata.finalizers,
            Some(vec![names::STORAGE_FINALIZER.to_owned()])
        );

        cluster.driver(&driver).await;
        let provider = cluster.provider_says(&name, installed, "CSIDriverObjectFound").await;
        assert_eq!(provider.status.unwrap().phase, Some(StorageProviderPhase::Ready));

        delete(&cluster.all::<CSIDriver>(), &driver).await;
        cluster.provider_says(&name, installed, "CheckCSIDriverFailed").await;

        delete(&api, &name).await;
        gone(&api, &name).await;
    });
}

#[test]
fn a_repository_becomes_ready_with_a_secret_and_a_storage_class() {
    test(async |cluster| {
        let provider = cluster.provider().await;
        let credential: Secret = sample::object(
            json!({ "metadata": { "name": unique("credential") }, "stringData": { "credential": "first" } }),
        );
        let credential = create(&cluster.secrets(&cluster.own), &credential).await.name_any();
        let mut repo = sample::repo(&unique("repo"), &provider);
        repo.spec.config = Some([("key".to_owned(), "one".to_owned())].into());
        repo.spec.credential = Some(SecretReference {
            name: Some(credential.clone()),
            namespace: None,
        });
        let name = create(&cluster.all(), &repo).await.name_any();
        let repo = cluster.repo_in(&name, BackupRepoPhase::Ready).await;
        let status = repo.status.clone().unwrap();
        assert_eq!(status.is_default, Some(false));
        assert!(status.backup_pvc_name.is_some());
        assert_eq!(repo.metadata.finalizers, Some(vec![names::FINALIZER.to_owned()]));
        cluster.event(&name, "Ready").await;

        let reference = status.generated_csi_driver_secret.unwrap();
        assert_eq!(reference.namespace.as_ref(), Some(&cluster.own));
        let secret_name = reference.name.unwrap();
        let secrets = cluster.secrets(&cluster.own);
        let secret = secrets.get(&secret_name).await.unwrap();
        let data = secret.data.unwrap();
        assert_eq!(
            (data["value"].0.as_slice(), data["credential"].0.as_slice()),
            (&b"one"[..], &b"first"[..])
        );
        assert_eq!(secret.metadata.owner_references, None);
        assert_eq!(
            secret.metadata.labels.unwrap()[names::LABEL_REPO_UID],
            repo.uid().unwrap()
        );
        let classes: Api<StorageClass> = cluster.all();
        let class = classes
            .get(&status.generated_storage_class_name.unwrap())
            .await
            .unwrap();
        assert_eq!(
            class.parameters.unwrap()["secret"],
            format!("{}/{secret_name}", cluster.own)
        );
        assert_eq!(class.reclaim_policy.as_deref(), Some("Delete"));
        assert_eq!(class.volume_binding_mode.as_deref(), Some("Immediate"));

        let rendered = |key: &'static str, value: &'static str| {
            let (secrets, name) = (secrets.clone(), secret_name.clone());
            async move {
                eventually(PATIENCE, &format!("{key} {value} in {name}"), || async {
                    let data = secrets.get(&name).await.unwrap().data.unwrap_or_default();
                    data.get(key)
                        .is_some_and(|found| found.0 == value.as_bytes())
                        .then_some(data)
                })
                .await
            }
        };
        patch(
            &secrets,
            &credential,
            json!({ "stringData": { "credential": "rotated" } }),
        )
        .await;
        rendered("credential", "rotated").await;
        patch::<BackupRepo>(&cluster.all(), &name, json!({ "spec": { "config": { "key": "two" } } })).await;
        rendered("value", "two").await;
        cluster
            .repo_says(&name, "StorageClassCurrent", "StorageClassOutdated")
            .await;
        cluster.event(&name, "StorageClassOutdated").await;
        let template = json!({ "spec": { "csiDriverSecretTemplate": "other: {{ .Parameters.key }}" } });
        patch::<StorageProvider>(&cluster.all(), &provider, template).await;
        let data = rendered("other", "two").await;
        assert_eq!(data.len(), 1, "keys that are no longer rendered are gone");

        delete(&classes, &class.metadata.name.unwrap()).await;
        eventually(PATIENCE, "the StorageClass made anew", || async {
            let classes = cluster.classes(&repo).await;
            classes
                .into_iter()
                .find(|class| class.parameters.clone().unwrap_or_default()["value"] == "two")
        })
        .await;
    });
}

#[test]
fn repository_and_provider_may_be_applied_in_any_order() {
    test(async |cluster| {
        let (driver, provider) = (unique("test.csi"), unique("provider"));
        let name = cluster.repo(&provider).await.name_any();
        cluster
            .repo_says(&name, "StorageProviderReady", "StorageProviderNotFound")
            .await;
        let repo = cluster.repo_in(&name, BackupRepoPhase::PreChecking).await;
        assert_eq!(repo.status.unwrap().backup_pvc_name, None);
        create(&cluster.all(), &sample::provider(&provider, &driver)).await;
        cluster
            .repo_says(&name, "StorageProviderReady", "StorageProviderNotReady")
            .await;
        cluster.driver(&driver).await;
        cluster.repo_in(&name, BackupRepoPhase::Ready).await;
        delete(&cluster.all::<CSIDriver>(), &driver).await;
        cluster.repo_in(&name, BackupRepoPhase::Failed).await;
        cluster.event(&name, "StorageProviderNotReady").await;
    });
}

#[test]
fn a_template_that_cannot_be_used_is_told_until_it_is_corrected() {
    test(async |cluster| {
        let provider = cluster.provider().await;
        let bad = json!({ "spec": { "csiDriverSecretTemplate": "{{ bad template }" } });
        let providers: Api<StorageProvider> = cluster.all();
        patch(&providers, &provider, bad).await;
        let name = cluster.repo(&provider).await.name_any();
        let message = cluster
            .repo_says(&name, "StorageClassCreated", "BadSecretTemplate")
            .await;
        assert!(message.contains("function \"bad\" not defined"), "{message}");
        cluster.repo_in(&name, BackupRepoPhase::Failed).await;
        let event = cluster.event(&name, "BadSecretTemplate").await;
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        patch(
            &providers,
            &provider,
            json!({ "spec": { "csiDriverSecretTemplate": "a: b" } }),
        )
        .await;
        cluster.repo_in(&name, BackupRepoPhase::Ready).await;
    });
}

#[test]
fn credentials_are_read_only_where_they_may_be() {
    test(async |cluster| {
        let provider = cluster.provider().await;
        let namespace = cluster.namespace().await;
        let secret: Secret =
            sample::object(json!({ "metadata": { "name": "cred" }, "stringData": { "credential": "x" } }));
        create(&cluster.secrets(&namespace), &secret).await;
        let mut repo = sample::repo(&unique("repo"), &provider);
        repo.spec.credential = Some(SecretReference {
            name: Some("cred".to_owned()),
            namespace: Some(namespace),
        });
        let name = create(&cluster.all(), &repo).await.name_any();
        cluster
            .repo_says(&name, "ParametersChecked", "CredentialNamespaceNotAllowed")
            .await;
        cluster.repo_in(&name, BackupRepoPhase::Failed).await;

        let late = unique("late");
        let reference = json!({ "spec": { "credential": { "name": late, "namespace": cluster.own } } });
        patch::<BackupRepo>(&cluster.all(), &name, reference).await;
        cluster
            .repo_says(&name, "ParametersChecked", "CredentialSecretNotFound")
            .await;
        let secret: Secret =
            sample::object(json!({ "metadata": { "name": late }, "stringData": { "credential": "x" } }));
        create(&cluster.secrets(&cluster.own), &secret).await;
        cluster.repo_in(&name, BackupRepoPhase::Ready).await;
    });
}

#[test]
fn a_storage_class_that_the_api_server_refuses_is_told() {
    test(async |cluster| {
        let provider = cluster.provider().await;
        let bad =
            json!({ "spec": { "storageClassTemplate": "provisioner: not_a_name\nvolumeBindingMode: Sometimes\n" } });
        patch::<StorageProvider>(&cluster.all(), &provider, bad).await;
        let name = cluster.repo(&provider).await.name_any();
        let message = cluster.repo_says(&name, "StorageClassCreated", "UnknownError").await;
        assert!(message.contains("Sometimes"), "{message}");
        cluster.repo_in(&name, BackupRepoPhase::Failed).await;
    });
}

#[test]
fn the_default_mark_follows_the_annotation() {
    test(async |cluster| {
        let provider = cluster.provider().await;
        let name = cluster.repo(&provider).await.name_any();
        let api: Api<BackupRepo> = cluster.all();
        for (mark, expected) in [(json!("true"), true), (json!(null), false)] {
            let change = json!({ "metadata": { "annotations": { names::ANNOTATION_IS_DEFAULT_REPO: mark } } });
            patch(&api, &name, change).await;
            eventually(PATIENCE, &format!("default {expected}"), || async {
                let status = api.get(&name).await.unwrap().status.unwrap_or_default();
                (status.is_default == Some(expected)).then_some(())
            })
            .await;
        }
    });
}
