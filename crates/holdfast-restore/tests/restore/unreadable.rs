//! Objects that have garbage where the API server lets everything pass.

use holdfast_api::{
    BackupTool,
    condition::Reason,
    names::{ANNOTATION_HELD, LABEL_HELD, ROLE_RESTORE, ROLE_VERIFY},
};
use holdfast_runtime::clock;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::world::{SHOP, World};

#[tokio::test]
async fn a_restore_that_cannot_be_read_does_not_stop_the_others() {
    let world = World::new("garbage").await;
    let bad = world.unreadable_restore("bad").await;
    world.tells(&bad, "InvalidObject", true).await;
    let (restore, write) = world.writing("r").await;
    let another = world.unreadable_restore("another").await;
    world.succeed(&write).await;
    world.back().await;
    world.play_workload().await;
    world.completes("r").await;
    for one in [bad, another] {
        let now = world.any_restores().get(&one.name_any()).await.expect("the object");
        assert_eq!(now.metadata.resource_version, one.metadata.resource_version);
    }
    world.job(&restore, ROLE_RESTORE).await;
}

#[tokio::test]
async fn a_hold_of_a_restore_that_cannot_be_read_is_not_taken_over() {
    let world = World::new("garbage-holds").await;
    let bad = world.unreadable_restore("bad").await;
    let held = json!({"name": "bad", "uid": bad.uid(), "replicas": 3, "since": clock::now().to_string()});
    let mark =
        json!({"metadata": {"labels": {LABEL_HELD: "true"}, "annotations": {ANNOTATION_HELD: held.to_string()}}});
    world.patch(&world.workloads(), SHOP, mark).await;
    let before = world.scaled().await;
    world.restore("r").await;
    world.says("r", "WorkloadHeld").await;
    let text = world.fails("r", Reason::WorkloadHeld).await;
    assert!(text.contains("held by RestoreJob bad"), "{text}");
    assert_eq!(world.scaled().await, before);
}

#[tokio::test]
async fn a_tool_that_cannot_be_read_is_waited_for() {
    let world = World::new("garbage-tool").await;
    let before = world.scaled().await;
    let tools: Api<BackupTool> = Api::all(world.client.clone());
    let garbage = json!({"spec": {"env": [{"name": {"not": "a name"}}]}});
    let all: Api<kube::api::DynamicObject> =
        Api::all_with(world.client.clone(), &kube::api::ApiResource::erase::<BackupTool>(&()));
    world.patch(&all, &world.tool(), garbage).await;
    world.restore("r").await;
    world.says("r", "InvalidObject").await;
    let text = world.fails("r", Reason::InvalidObject).await;
    assert!(text.contains(&world.tool()), "{text}");
    assert_eq!(world.scaled().await, before);
    // With the tool put right in time, another one goes on.
    let next = world.restore("next").await;
    world.says("next", "InvalidObject").await;
    let right = json!({"spec": {"env": null}});
    world.patch(&tools, &world.tool(), right).await;
    world.job(&next, ROLE_VERIFY).await;
}
