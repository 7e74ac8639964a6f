use holdfast_api::{Backup, BackupRepo, BackupRepoPhase};
use holdfast_testkit::eventually;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::{
    claims::{served, waiting},
    support::{PATIENCE, delete, gone, patch, test},
};

#[test]
fn a_repository_goes_after_its_backups_and_its_claims_and_leaves_nothing() {
    test(async |cluster| {
        let provider = cluster.provider().await;
        let name = cluster.repo(&provider).await.name_any();
        let namespace = cluster.namespace().await;
        let backup = waiting(&cluster, &namespace, &name).await;
        served(&cluster, &namespace, &backup).await;
        let repo = cluster.repo_in(&name, BackupRepoPhase::Ready).await;
        let status = repo.status.clone().unwrap();
        let claim = status.backup_pvc_name.unwrap();

        let repos: Api<BackupRepo> = cluster.all();
        delete(&repos, &name).await;
        let message = cluster
            .repo_says(&name, "DerivedObjectsDeleted", "HaveAssociatedBackups")
            .await;
        assert!(message.contains(&format!("{namespace}/{backup}")), "{message}");
        cluster.repo_in(&name, BackupRepoPhase::Deleting).await;
        cluster.event(&name, "HaveAssociatedBackups").await;
        let claims = cluster.claims(&namespace);
        assert_eq!(claims.get(&claim).await.unwrap().metadata.deletion_timestamp, None);

        let backups: Api<Backup> = Api::namespaced(cluster.client.clone(), &namespace);
        delete(&backups, &backup).await;
        let message = cluster
            .repo_says(&name, "DerivedObjectsDeleted", "HaveResidualPVCs")
            .await;
        assert!(message.contains(&format!("{namespace}/{claim}")), "{message}");
        let class = status.generated_storage_class_name.unwrap();
        assert!(cluster.all::<StorageClass>().get_opt(&class).await.unwrap().is_some());

        // What the controller that protects claims in use does when no pod mounts it any more.
        patch(&claims, &claim, json!({ "metadata": { "finalizers": null } })).await;
        gone(&repos, &name).await;
        gone(&claims, &claim).await;
        assert!(cluster.classes(&repo).await.is_empty());
        let secret = status.generated_csi_driver_secret.unwrap().name.unwrap();
        assert!(cluster.secrets(&cluster.own).get_opt(&secret).await.unwrap().is_none());
    });
}

#[test]
fn a_failed_backup_does_not_hold_a_repository() {
    test(async |cluster| {
        let provider = cluster.provider().await;
        let name = cluster.repo(&provider).await.name_any();
        let namespace = cluster.namespace().await;
        let backup = waiting(&cluster, &namespace, &name).await;
        served(&cluster, &namespace, &backup).await;
        let backups: Api<Backup> = Api::namespaced(cluster.client.clone(), &namespace);
        let failed = json!({ "status": { "phase": "Failed" } });
        backups
            .patch_status(
                &backup,
                &kube::api::PatchParams::default(),
                &kube::api::Patch::Merge(&failed),
            )
            .await
            .unwrap();
        let repos: Api<BackupRepo> = cluster.all();
        delete(&repos, &name).await;
        let claims = cluster.claims(&namespace);
        eventually(PATIENCE, "the claim on its way", || async {
            let all = claims.list(&kube::api::ListParams::default()).await.unwrap().items;
            let going = all
                .into_iter()
                .find(|claim| claim.metadata.deletion_timestamp.is_some())?;
            Some(
                patch(
                    &claims,
                    &going.name_any(),
                    json!({ "metadata": { "finalizers": null } }),
                )
                .await,
            )
        })
        .await;
        gone(&repos, &name).await;
    });
}

#[test]
fn a_repository_that_never_became_ready_can_be_deleted() {
    test(async |cluster| {
        let name = cluster.repo("no-such-provider").await.name_any();
        cluster
            .repo_says(&name, "StorageProviderReady", "StorageProviderNotFound")
            .await;
        let repos: Api<BackupRepo> = cluster.all();
        delete(&repos, &name).await;
        gone(&repos, &name).await;
    });
}
