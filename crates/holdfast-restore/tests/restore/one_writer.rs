//! Somebody else comes to the volumes of a restore.

use holdfast_api::{
    condition::Reason,
    names::{LABEL_BACKUP_UID, LABEL_ROLE, ROLE_BACKUP, ROLE_RESTORE, ROLE_VERIFY},
};
use holdfast_testkit::{eventually, sample};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::world::{REPLICAS, SHOP, SOON, World};

/// The claim that is restored.
const CLAIM: &str = "data-shop-0";

#[tokio::test]
async fn a_pod_of_somebody_else_on_the_target_keeps_a_restore_from_stopping_anything() {
    let world = World::new("in-use").await;
    let before = world.scaled().await;
    // It bears the labels of the database, and is none of it all the same: nobody stops it by scaling down.
    world.run_pod("stray", CLAIM, None).await;
    let restore = world.restore("r").await;
    let waits = world.says("r", "TargetInUse").await;
    let said = waits.status.expect("a status").conditions;
    assert!(said.iter().any(|one| one.message.contains("pod stray")), "{said:?}");
    assert_eq!((world.jobs().await, world.scaled().await), (0, before.clone()));
    // Once it is gone there is nothing in the way; back again while the backup is checked, it is.
    world.remove(&world.api::<Pod>(), "stray").await;
    let verify = world.job(&restore, ROLE_VERIFY).await;
    world.run_pod("stray", CLAIM, None).await;
    world.succeed(&verify).await;
    let text = world.fails("r", Reason::TargetInUse).await;
    assert!(text.contains(CLAIM) && text.contains("stray"), "{text}");
    assert_eq!(world.scaled().await, before);
}

#[tokio::test]
async fn a_backup_that_may_try_again_is_waited_for() {
    let world = World::new("attempts").await;
    let before = world.scaled().await;
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": CLAIM}}]);
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}], "volumes": volumes});
    let labels = json!({LABEL_BACKUP_UID: "u", LABEL_ROLE: ROLE_BACKUP});
    let job = json!({"metadata": {"name": "b2", "labels": labels}, "spec": {"template": {"spec": pod}}});
    let backup: Job = world.create(&world.api(), &sample::object(job)).await;
    let restore = world.restore("r").await;
    world.says("r", "TargetInUse").await;
    assert_eq!((world.jobs().await, world.scaled().await), (1, before));
    world.end(&backup, "Failed", 1).await;
    world.job(&restore, ROLE_VERIFY).await;
}

#[tokio::test]
async fn a_workload_that_somebody_scales_up_beside_the_tool_goes_back_and_is_never_called_restored() {
    let world = World::new("scaled-up").await;
    let history = world.record().await;
    let (restore, write) = world.writing("r").await;
    let tool = world.tool_at_work(&write).await;
    let one = json!({"spec": {"replicas": 1}});
    let scaled = world.workloads();
    let scaled = scaled
        .patch_scale(SHOP, &PatchParams::default(), &Patch::Merge(one))
        .await;
    scaled.expect("scaled");
    // Before its controller has made a pod of it, or after: it goes back.
    world.start_pod(0).await;
    eventually(SOON, "the workload at 0 again", || async {
        (world.scaled().await.counts() == (0, Some(REPLICAS))).then_some(())
    })
    .await;
    let told = world.tells(&restore, "TargetDirty", true).await;
    assert!(told.contains("two writers") && told.contains("shop-0"), "{told}");
    world.tells(&restore, "ScalingDown", true).await;
    // What the tool still does is of no use; its Job goes, and is not made again.
    world.gone::<Job>(&write.name_any()).await;
    world.kill(&tool).await;
    let text = world.fails("r", Reason::TargetDirty).await;
    assert!(
        text.contains("shop-0") && text.contains("give back 3 replicas"),
        "{text}"
    );
    assert_eq!(world.scaled().await.counts(), (0, Some(REPLICAS)));
    let counted = ["r: Completed", "restore Running", "shop: 3 replicas"].map(|words| history.count(words));
    assert_eq!(counted, [0, 1, 1], "{:?}", history.lines());
    // Another restore of it is the way on.
    world.play_workload().await;
    let next = world.holding("next").await;
    let write = world.job(&next, ROLE_RESTORE).await;
    world.succeed(&write).await;
    world.back().await;
}
