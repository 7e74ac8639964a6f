//! Backups that users delete.

use holdfast_api::{Backup, BackupPhase, condition::Reason, names::FINALIZER};
use holdfast_core::gc::{BATCH_MAX, Batch, Entry, purge_job_name};
use holdfast_testkit::{never, sample};
use k8s_openapi::api::{batch::v1::Job, core::v1::Namespace};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use std::time::Duration;

use crate::{
    service::shared,
    world::{CLAIM, World, names},
};

#[tokio::test]
async fn a_deleted_backup_goes_with_its_files() {
    let world = World::new("goes").await;
    let backup = world.backup("b1", "Completed", 5, json!({})).await;
    world.delete::<Backup>("b1").await;
    world.reaches("b1", BackupPhase::Deleting).await;
    let (job, batch) = world.purge().await;
    let entry = Entry {
        uid: backup.uid().expect("a uid"),
        path: world.path("b1"),
        name: "b1".to_owned(),
    };
    assert_eq!((batch.claim.as_str(), &batch.entries), (CLAIM, &vec![entry]));
    let pod = job
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref())
        .expect("a pod");
    let identity = pod.containers[0]
        .env
        .iter()
        .flatten()
        .find(|env| env.name == "HOLDFAST_REPOSITORY_ID");
    assert_eq!(identity.and_then(|env| env.value.as_deref()), Some("repository-1"));
    world.reaches("b1", BackupPhase::Deleting).await;
    world.succeed(&job, &batch).await;
    world.gone("b1").await;
    world.no_purges().await;
    assert!(world.events(&backup).await.is_empty());
}

#[tokio::test]
async fn a_failed_backup_that_never_started_goes_at_once() {
    let world = World::new("unstarted").await;
    let nothing = json!({"status": {"persistentVolumeClaimName": null, "manifests": null}});
    world.backup("b1", "Failed", 5, nothing).await;
    world.delete::<Backup>("b1").await;
    world.gone("b1").await;
    assert!(world.purges().await.is_empty());
}

#[tokio::test]
async fn what_others_own_is_left_alone() {
    let world = World::new("others").await;
    world.backup("running", "InProgress", 5, json!({})).await;
    world.backup("done", "Completed", 5, json!({})).await;
    world.delete::<Backup>("running").await;
    world.delete::<Backup>("done").await;
    // The later one was seen, so the earlier one was too.
    let (job, batch) = world.purge().await;
    assert_eq!(names(&batch), ["done"]);
    world.succeed(&job, &batch).await;
    world.gone("done").await;
    let running = world.reaches("running", BackupPhase::InProgress).await;
    assert_eq!(running.finalizers(), [FINALIZER]);
}

#[tokio::test]
async fn a_claim_that_is_gone_leaves_the_files_behind_and_says_so() {
    let world = World::new("unclaimed").await;
    let backup = world.backup("b1", "Completed", 5, json!({})).await;
    world.drop_claim().await;
    world.delete::<Backup>("b1").await;
    world.gone("b1").await;
    world.tells(&backup, "DataLeftBehind!").await;
    assert!(world.purges().await.is_empty());
}

#[tokio::test]
async fn a_claim_that_goes_while_its_purge_cannot_start_releases_too() {
    let world = World::new("going").await;
    let backup = world.backup("b1", "Completed", 5, json!({})).await;
    world.delete::<Backup>("b1").await;
    let (job, _) = world.purge().await;
    world.drop_claim().await;
    let pod = world.pod_of(&job).await;
    let unscheduled =
        json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no claim"});
    world
        .set_pod_status(&pod, &json!({"phase": "Pending", "conditions": [unscheduled]}))
        .await;
    world.tells(&backup, "Unschedulable!").await;
    world.gone("b1").await;
    world.tells(&backup, "DataLeftBehind!").await;
    world.no_purges().await;
}

#[tokio::test]
async fn a_namespace_that_is_being_deleted_is_released_at_once() {
    let world = World::new("ending").await;
    for name in ["b1", "b2"] {
        world.backup(name, "Completed", 5, json!({})).await;
    }
    world.delete::<Backup>("b1").await;
    // The purge of the first one has begun, and will never end.
    let (job, _) = world.purge().await;
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces
        .delete(&world.namespace, &DeleteParams::default())
        .await
        .expect("deleted");
    // What the namespace controller does.
    world.delete::<Backup>("b2").await;
    world.delete::<Job>(&job.name_any()).await;
    world.gone("b2").await;
    world.gone("b1").await;
    assert!(world.purges().await.is_empty());
}

#[tokio::test]
async fn a_parent_waits_for_the_increment_that_stays() {
    let world = World::new("family").await;
    let parent = world.backup("parent", "Completed", 9, json!({})).await;
    let on = json!({"spec": {"parentBackupName": "parent", "backupPolicyName": "another"}});
    world.backup("child", "Completed", 5, on).await;
    world.delete::<Backup>("parent").await;
    let waits = world.stalls("parent", Reason::BlockedByChildren).await;
    assert_eq!(
        waits.status.and_then(|status| status.phase),
        Some(BackupPhase::Completed)
    );
    world.tells(&parent, "BlockedByChildren!").await;
    let (_, gc) = shared().await;
    assert!(gc.values("holdfast_gc_blocked_backups")[""] >= 1);
    world.delete::<Backup>("child").await;
    let mut removed = 0;
    while removed < 2 {
        let (job, batch) = world.purge().await;
        world.succeed(&job, &batch).await;
        removed += batch.entries.len();
    }
    world.gone("child").await;
    world.gone("parent").await;
}

#[tokio::test]
async fn a_job_of_the_same_name_that_is_not_ours_is_never_touched() {
    let world = World::new("taken").await;
    let backup = world.backup("b1", "Completed", 5, json!({})).await;
    let entry = Entry {
        uid: backup.uid().expect("a uid"),
        path: world.path("b1"),
        name: "b1".to_owned(),
    };
    let batch = Batch::fill(&world.namespace, CLAIM, vec![entry], BATCH_MAX);
    let name = purge_job_name(&batch);
    let foreign: Job = sample::object(json!({
        "metadata": {"name": name, "namespace": world.namespace, "labels": {"holdfast.io/role": "purge", "app.kubernetes.io/managed-by": "holdfast"}},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}},
    }));
    let api: Api<Job> = world.api();
    let foreign = api.create(&PostParams::default(), &foreign).await.expect("created");
    world.delete::<Backup>("b1").await;
    world.stalls("b1", Reason::NameTaken).await;
    world.tells(&backup, "NameTaken!").await;
    never(Duration::from_secs(1), "the foreign job is touched", || async {
        let now = api.get_opt(&name).await.ok()?;
        (now.as_ref() != Some(&foreign)).then_some(())
    })
    .await;
    // Its owner removes it: then the files go.
    world.delete::<Job>(&name).await;
    let (job, batch) = world.purge().await;
    world.succeed(&job, &batch).await;
    world.gone("b1").await;
}
