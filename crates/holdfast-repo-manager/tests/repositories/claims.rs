use holdfast_api::{Backup, BackupRepoPhase, StorageProvider, names};
use holdfast_testkit::{eventually, sample};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::support::{Cluster, PATIENCE, create, delete, gone, patch, test, unique};

/// Creates a Backup that waits for the claim of a repository.
pub(crate) async fn waiting(cluster: &Cluster, namespace: &str, repo: &str) -> String {
    let mut backup = sample::backup(namespace, &unique("backup"), "policy");
    backup
        .labels_mut()
        .insert(names::LABEL_BACKUP_REPO_NAME.to_owned(), repo.to_owned());
    backup
        .labels_mut()
        .insert(names::LABEL_NEED_REPO_PVC.to_owned(), "true".to_owned());
    create(&Api::namespaced(cluster.client.clone(), namespace), &backup)
        .await
        .name_any()
}

/// Waits until the Backup no longer waits.
pub(crate) async fn served(cluster: &Cluster, namespace: &str, name: &str) {
    let api: Api<Backup> = Api::namespaced(cluster.client.clone(), namespace);
    eventually(PATIENCE, &format!("{namespace}/{name} served"), || async {
        let backup = api.get(name).await.unwrap();
        assert!(backup.labels().contains_key(names::LABEL_BACKUP_REPO_NAME));
        (!backup.labels().contains_key(names::LABEL_NEED_REPO_PVC)).then_some(())
    })
    .await;
}

#[test]
fn each_namespace_with_backups_gets_its_claim() {
    test(async |cluster| {
        let provider = cluster.provider().await;
        let (first, second) = (cluster.namespace().await, cluster.namespace().await);
        // The Backup may be there before the repository is.
        let name = unique("repo");
        let early = waiting(&cluster, &first, &name).await;
        let repo = create(&cluster.all(), &sample::repo(&name, &provider)).await;
        served(&cluster, &first, &early).await;
        let others = [
            waiting(&cluster, &first, &name).await,
            waiting(&cluster, &second, &name).await,
        ];
        served(&cluster, &first, &others[0]).await;
        served(&cluster, &second, &others[1]).await;
        let status = cluster.repo_in(&name, BackupRepoPhase::Ready).await.status.unwrap();
        for namespace in [&first, &second] {
            let claims = cluster
                .claims(namespace)
                .list(&kube::api::ListParams::default())
                .await
                .unwrap()
                .items;
            assert_eq!(claims.len(), 1);
            assert_eq!(claims[0].metadata.name, status.backup_pvc_name);
            assert_eq!(claims[0].labels()[names::LABEL_BACKUP_REPO_NAME], name);
            assert_eq!(claims[0].labels()[names::LABEL_REPO_UID], repo.uid().unwrap());
            assert_eq!(claims[0].metadata.owner_references, None);
            let spec = claims[0].spec.clone().unwrap();
            assert_eq!(spec.storage_class_name, status.generated_storage_class_name);
            assert_eq!(spec.access_modes, Some(vec!["ReadWriteMany".to_owned()]));
            assert_eq!(spec.resources.unwrap().requests.unwrap()["storage"].0, "10Gi");
        }
    });
}

#[test]
fn a_claim_template_alone_is_enough() {
    test(async |cluster| {
        let name = unique("provider");
        let provider: StorageProvider = sample::object(json!({
            "apiVersion": "storage.kubeblocks.io/v1alpha1",
            "kind": "StorageProvider",
            "metadata": { "name": name },
            "spec": { "persistentVolumeClaimTemplate": "spec: {storageClassName: fast, accessModes: [ReadWriteOnce]}" },
        }));
        create(&cluster.all(), &provider).await;
        let repo = cluster.repo(&name).await;
        let namespace = cluster.namespace().await;
        let backup = waiting(&cluster, &namespace, &repo.name_any()).await;
        served(&cluster, &namespace, &backup).await;
        let status = cluster
            .repo_in(&repo.name_any(), BackupRepoPhase::Ready)
            .await
            .status
            .unwrap();
        let claim = cluster
            .claims(&namespace)
            .get(&status.backup_pvc_name.unwrap())
            .await
            .unwrap();
        let spec = claim.spec.unwrap();
        assert_eq!(spec.storage_class_name.as_deref(), Some("fast"));
        assert_eq!(spec.access_modes, Some(vec!["ReadWriteOnce".to_owned()]));
        assert_eq!(status.generated_storage_class_name, None);
        assert!(cluster.classes(&repo).await.is_empty());
    });
}

#[test]
fn a_claim_of_somebody_else_is_named_and_left_alone() {
    test(async |cluster| {
        let provider = cluster.provider().await;
        let repo = cluster.repo(&provider).await.name_any();
        let status = cluster.repo_in(&repo, BackupRepoPhase::Ready).await.status.unwrap();
        let claim = status.backup_pvc_name.unwrap();
        let (taken, free) = (cluster.namespace().await, cluster.namespace().await);
        let foreign: PersistentVolumeClaim = sample::object(json!({
            "metadata": { "name": claim },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
        }));
        let foreign = create(&cluster.claims(&taken), &foreign).await;
        let blocked = waiting(&cluster, &taken, &repo).await;
        let other = waiting(&cluster, &free, &repo).await;
        served(&cluster, &free, &other).await;
        let message = cluster.repo_says(&repo, "ClaimsCreated", "NameTaken").await;
        assert!(message.starts_with(&format!("{taken}/{claim}: ")), "{message}");
        cluster.event(&repo, "NameTaken").await;
        let now = cluster.claims(&taken).get(&claim).await.unwrap();
        assert_eq!((now.uid(), now.metadata.deletion_timestamp), (foreign.uid(), None));

        delete(&cluster.claims(&taken), &claim).await;
        let unprotected = json!({ "metadata": { "finalizers": null } });
        patch(&cluster.claims(&taken), &claim, unprotected).await;
        served(&cluster, &taken, &blocked).await;
        cluster.repo_says(&repo, "ClaimsCreated", "ClaimsCreated").await;
    });
}

#[test]
fn a_namespace_that_refuses_claims_does_not_hold_up_the_others() {
    test(async |cluster| {
        let provider = cluster.provider().await;
        let repo = cluster.repo(&provider).await.name_any();
        cluster.repo_in(&repo, BackupRepoPhase::Ready).await;
        let (full, free) = (cluster.namespace().await, cluster.namespace().await);
        // No claim may ask for as much as the repository's does.
        let limit = sample::object(json!({
            "metadata": { "name": "small" },
            "spec": { "limits": [{ "type": "PersistentVolumeClaim", "max": { "storage": "1Gi" } }] },
        }));
        let limits: Api<k8s_openapi::api::core::v1::LimitRange> = Api::namespaced(cluster.client.clone(), &full);
        create(&limits, &limit).await;
        waiting(&cluster, &full, &repo).await;
        let other = waiting(&cluster, &free, &repo).await;
        served(&cluster, &free, &other).await;
        let message = cluster.repo_says(&repo, "ClaimsCreated", "ClaimNotCreated").await;
        assert!(message.starts_with(&full) && message.contains("1Gi"), "{message}");
    });
}

#[test]
fn backups_that_wait_no_more_are_left_alone() {
    test(async |cluster| {
        let provider = cluster.provider().await;
        let repo = cluster.repo(&provider).await.name_any();
        cluster.repo_in(&repo, BackupRepoPhase::Ready).await;
        let namespace = cluster.namespace().await;
        let backup = waiting(&cluster, &namespace, &repo).await;
        served(&cluster, &namespace, &backup).await;
        let api: Api<Backup> = Api::namespaced(cluster.client.clone(), &namespace);
        delete(&api, &backup).await;
        gone(&api, &backup).await;
        assert_eq!(
            cluster
                .claims(&namespace)
                .list(&kube::api::ListParams::default())
                .await
                .unwrap()
                .items
                .len(),
            1
        );
    });
}
