//! Restores that are deleted.

use holdfast_api::{
    RestoreJob,
    condition::Reason,
    names::{ROLE_RESTORE, ROLE_VERIFY},
};
use holdfast_core::restore::Kind;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt as _;
use serde_json::json;

use crate::{
    play::failure,
    service::shared,
    world::{REPLICAS, SHOP, World},
};

#[tokio::test]
async fn deleted_before_it_starts() {
    let world = World::bare(shared().await, "deleted-new", Kind::StatefulSet).await;
    world.backup(json!({"phase": "InProgress"})).await;
    world.workload(SHOP, json!({})).await;
    world.play_workload().await;
    let before = world.scaled().await;
    world.restore("r").await;
    world.says("r", "BackupNotCompleted").await;
    world.delete_restore("r").await;
    assert_eq!((world.scaled().await, world.jobs().await), (before, 0));
}

#[tokio::test]
async fn deleted_while_the_backup_is_checked() {
    let world = World::new("deleted-verify").await;
    let before = world.scaled().await;
    let restore = world.restore("r").await;
    let verify = world.job(&restore, ROLE_VERIFY).await;
    let pod = world.pod_of(&verify, json!({"phase": "Running"})).await;
    world.ask_to_delete("r").await;
    world.gone::<Job>(&verify.name_any()).await;
    // Only without its pods.
    world.says("r", "Deleted").await;
    world.remove(&world.api::<Pod>(), &pod.name_any()).await;
    world.gone::<RestoreJob>("r").await;
    assert_eq!(world.scaled().await, before);
}

#[tokio::test]
async fn deleted_while_the_workload_stops() {
    let world = World::new("deleted-held").await;
    let restore = world.holding("r").await;
    world.says("r", "ScalingDown").await;
    world.delete_restore("r").await;
    assert_eq!(world.scaled().await.counts(), (REPLICAS, None));
    world.tells(&restore, "ScalingUp", false).await;
}

#[tokio::test]
async fn deleted_while_it_writes() {
    let world = World::new("deleted-writing").await;
    let (restore, write) = world.writing("r").await;
    let pod = world.tool_at_work(&write).await;
    world.ask_to_delete("r").await;
    world.gone::<Job>("r").await;
    world.says("r", "Deleted").await;
    world.kill(&pod).await;
    world.gone::<RestoreJob>("r").await;
    assert_eq!(world.held_by("r").await.counts(), (0, Some(REPLICAS)));
    let text = world.tells(&restore, "TargetDirty", true).await;
    assert!(
        text.contains("StatefulSet shop stays at 0 replicas") && text.contains("it had 3 replicas"),
        "{text}"
    );
    // The hold of a RestoreJob that is gone can be taken over.
    let (_, write) = world.writing("next").await;
    world.succeed(&write).await;
    world.back().await;
}

#[tokio::test]
async fn deleted_after_it_wrote() {
    let world = World::new("deleted-after").await;
    let (_, write) = world.writing("r").await;
    world.succeed(&write).await;
    world.says("r", "ScalingUp").await;
    world.delete_restore("r").await;
    assert_eq!(world.scaled().await.counts(), (REPLICAS, None));
    // One that is Completed.
    world.play_workload().await;
    let (next, write) = world.writing("next").await;
    world.succeed(&write).await;
    world.back().await;
    world.play_workload().await;
    world.completes("next").await;
    let before = world.scaled().await;
    world.delete_restore("next").await;
    assert_eq!(world.scaled().await, before);
    world.job(&next, ROLE_RESTORE).await;
}

#[tokio::test]
async fn deleted_after_it_failed_half_way() {
    let world = World::new("deleted-dirty").await;
    let (restore, write) = world.writing("r").await;
    world.fail(&write, &[failure(Reason::ToolFailed, true)]).await;
    world.fails("r", Reason::TargetDirty).await;
    let before = world.scaled().await;
    world.delete_restore("r").await;
    assert_eq!(world.scaled().await, before);
    assert_eq!(before.counts(), (0, Some(REPLICAS)));
    world.tells(&restore, "TargetDirty", true).await;
}
