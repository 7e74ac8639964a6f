use holdfast_api::{
    Backup, BackupRepo,
    event::{BusEvent, BusEventKind},
    names,
};
use holdfast_runtime::clock;
use holdfast_testkit::{eventually, sample};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    claims::{served, waiting},
    support::{Cluster, EARLIER, PATIENCE, create, other_service, test, unique},
};

/// Creates a Backup that was sealed in the repository, which told this identity.
async fn sealed(cluster: &Cluster, namespace: &str, repo: &BackupRepo, identity: &str) -> Backup {
    let api: Api<Backup> = Api::namespaced(cluster.client.clone(), namespace);
    let mut backup = sample::backup(namespace, &unique("sealed"), "policy");
    backup
        .labels_mut()
        .insert(names::LABEL_BACKUP_REPO_NAME.to_owned(), repo.name_any());
    create(&api, &backup).await;
    let claim = repo.status.clone().unwrap().backup_pvc_name;
    let status = json!({ "status": {
        "phase": "Completed",
        "startTimestamp": clock::now().to_string(),
        "plan": {
            "run": 1,
            "location": {
                "repository": { "name": repo.name_any(), "uid": repo.uid() },
                "access": { "mount": { "claim": claim } },
                "path": format!("/{namespace}/sealed"),
                "identity": identity,
            },
            "work": { "job": {} },
        },
    }});
    api.patch_status(&backup.name_any(), &PatchParams::default(), &Patch::Merge(&status))
        .await
        .unwrap()
}

async fn known(cluster: &Cluster, namespace: &str, repo: &str) -> Option<String> {
    let status = cluster.all::<BackupRepo>().get(repo).await.unwrap().status?;
    status.identity_in(namespace).map(str::to_owned)
}

/// Makes a repository with a claim and a Backup that was sealed there; answers namespace and name of the repository.
pub(crate) async fn sealed_before(cluster: &Cluster) -> (String, String) {
    let namespace = cluster.namespace().await;
    let provider = cluster.provider().await;
    let repo = cluster.repo(&provider).await;
    let status = json!({ "status": { "backupPVCName": "earlier" } });
    let repo: BackupRepo = cluster
        .all()
        .patch_status(&repo.name_any(), &PatchParams::default(), &Patch::Merge(&status))
        .await
        .unwrap();
    let claim = sample::object(json!({
        "metadata": { "name": "earlier", "labels": { names::LABEL_REPO_UID: repo.uid() } },
        "spec": { "accessModes": ["ReadWriteMany"], "resources": { "requests": { "storage": "1Gi" } } },
    }));
    create(&cluster.claims(&namespace), &claim).await;
    sealed(cluster, &namespace, &repo, "earlier").await;
    (namespace, repo.name_any())
}

#[test]
fn what_was_sealed_before_is_found_without_a_message() {
    test(async |cluster| {
        let (namespace, repo) = EARLIER.get().unwrap();
        let identity = eventually(PATIENCE, "the identity of the repository", || async {
            known(&cluster, namespace, repo).await
        })
        .await;
        assert_eq!(identity, "earlier");
    });
}

#[test]
fn what_the_first_sealed_backup_tells_of_the_repository_is_kept_on_it() {
    test(async |cluster| {
        let provider = cluster.provider().await;
        let namespace = cluster.namespace().await;
        let repo = cluster.repo(&provider).await.name_any();
        let first = waiting(&cluster, &namespace, &repo).await;
        served(&cluster, &namespace, &first).await;
        let repos: Api<BackupRepo> = cluster.all();
        let repo = repos.get(&repo).await.unwrap();
        let (service, backup) = (other_service().await, sealed(&cluster, &namespace, &repo, "one").await);
        let identity = eventually(PATIENCE, "the identity of the repository", || async {
            // A message of the same start is swallowed; the consumer may not be there yet for the first.
            service.bus.publish(BusEvent {
                start: Some(clock::now()),
                ..BusEvent::of(BusEventKind::BackupCompleted, &backup)
            });
            known(&cluster, &namespace, &repo.name_any()).await
        })
        .await;
        assert_eq!(identity, "one");
        let status = repos.get(&repo.name_any()).await.unwrap().status.unwrap();
        let claim = cluster
            .claims(&namespace)
            .get(&status.backup_pvc_name.clone().unwrap())
            .await
            .unwrap();
        assert_eq!(Some(&status.namespaces[0].claim_uid), claim.metadata.uid.as_ref());
        assert_eq!(claim.annotations().get(names::ANNOTATION_REPOSITORY), None);
    });
}
