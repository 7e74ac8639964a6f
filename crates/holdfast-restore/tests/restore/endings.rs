//! Restores that do not go well: the workload comes back only on a volume that is known to be whole.

use holdfast_api::{
    RestoreJob,
    condition::Reason,
    names::{ROLE_RESTORE, ROLE_VERIFY},
};
use holdfast_testkit::sample;
use k8s_openapi::api::{batch::v1::Job, core::v1::ResourceQuota};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::{
    play::failure,
    world::{REPLICAS, SHOP, World},
};

/// A namespace whose workload a restore left at 0 on a half written volume.
async fn half_written(prefix: &str) -> World {
    let world = World::new(prefix).await;
    let (_, write) = world.writing("r1").await;
    world.fail(&write, &[failure(Reason::ToolFailed, true)]).await;
    let text = world.fails("r1", Reason::TargetDirty).await;
    assert!(text.contains("give back 3 replicas"), "{text}");
    world
}

async fn stays_held(world: &World, by: &str) {
    let scaled = world.held_by(by).await;
    assert_eq!(scaled.counts(), (0, Some(REPLICAS)));
}

/// Lets a restore that holds the workload write everything.
async fn goes_well(world: &World, name: &str) {
    let (_, write) = world.writing(name).await;
    world.succeed(&write).await;
    world.back().await;
    world.play_workload().await;
    world.completes(name).await;
}

#[tokio::test]
async fn a_half_written_volume_keeps_its_workload_down_until_another_restore_writes_it() {
    let world = half_written("dirty").await;
    stays_held(&world, "r1").await;
    goes_well(&world, "r2").await;
}

#[tokio::test]
async fn attempts_that_wrote_nothing_bring_the_workload_back() {
    let world = World::new("clean").await;
    let (_, write) = world.writing("r").await;
    let clean = failure(Reason::TargetHasData, false);
    world.fail(&write, &[clean.clone(), clean]).await;
    world.back().await;
    let text = world.fails("r", Reason::TargetHasData).await;
    assert!(text.contains("nothing was written: said the agent"), "{text}");
}

#[tokio::test]
async fn one_attempt_that_wrote_or_is_not_accounted_for_keeps_the_workload_down() {
    let (one, other) = tokio::join!(World::new("one-dirty"), World::new("one-gone"));
    let clean = failure(Reason::TargetHasData, false);
    let (_, write) = one.writing("r").await;
    one.fail(&write, &[failure(Reason::ToolFailed, true), clean.clone()])
        .await;
    // The Job counted two pods, and one of them is gone.
    let (_, write) = other.writing("r").await;
    other.failed_pod(&write, &clean).await;
    other.end(&write, "Failed", 2).await;
    for world in [one, other] {
        world.fails("r", Reason::TargetDirty).await;
        stays_held(&world, "r").await;
    }
}

#[tokio::test]
async fn a_job_that_failed_is_no_end_while_a_pod_of_it_runs() {
    let world = World::new("last-pod").await;
    let (_, write) = world.writing("r").await;
    let running = world.pod_of(&write, json!({"phase": "Running"})).await;
    world.fail(&write, &[failure(Reason::ToolFailed, false)]).await;
    world.says("r", "Restoring").await;
    stays_held(&world, "r").await;
    world.end_pod(&running, &failure(Reason::ToolFailed, true)).await;
    world.fails("r", Reason::TargetDirty).await;
    stays_held(&world, "r").await;
}

#[tokio::test]
async fn a_second_restore_that_writes_nothing_leaves_a_half_written_volume_alone() {
    let world = half_written("second-clean").await;
    // Not taken over: the backup is not good.
    let second = world.restore("r2").await;
    let verify = world.job(&second, ROLE_VERIFY).await;
    world.fail(&verify, &[failure(Reason::DigestMismatch, false)]).await;
    world.fails("r2", Reason::DigestMismatch).await;
    stays_held(&world, "r1").await;
    world.have_it_checked_again().await;
    // Taken over, and refused by the agent before the first byte.
    let (_, write) = world.writing("r3").await;
    assert!(world.held_by("r3").await.held.is_some_and(|held| held.dirty));
    world.fail(&write, &[failure(Reason::TargetHasData, false)]).await;
    world.fails("r3", Reason::TargetDirty).await;
    stays_held(&world, "r3").await;
    // Taken over, and deleted before it wrote.
    let fourth = world.writing("r4").await.0;
    world.delete_restore("r4").await;
    world.tells(&fourth, "TargetDirty", true).await;
    stays_held(&world, "r4").await;
    goes_well(&world, "r5").await;
}

#[tokio::test]
async fn a_check_whose_pod_does_not_start_ends_the_restore() {
    let world = World::new("unschedulable").await;
    let before = world.scaled().await;
    let history = world.record().await;
    let restore = world.restore("r").await;
    let verify = world.job(&restore, ROLE_VERIFY).await;
    let condition =
        json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"});
    world
        .pod_of(&verify, json!({"phase": "Pending", "conditions": [condition]}))
        .await;
    world.says("r", "Unschedulable").await;
    let text = world.fails("r", Reason::Unschedulable).await;
    assert!(text.contains("0/1 nodes"), "{text}");
    world.gone::<Job>(&verify.name_any()).await;
    assert_eq!(world.scaled().await, before);
    assert_eq!(history.count("verify Running"), 1);
}

/// Somebody's Job of the name that the restore's would have.
async fn foreign_job(world: &World) -> Job {
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]});
    let job = json!({"metadata": {"name": "r"}, "spec": {"template": {"spec": pod}}});
    world.create(&world.api(), &sample::object(job)).await
}

#[tokio::test]
async fn a_foreign_job_of_the_same_name_is_left_alone() {
    let (early, late) = tokio::join!(World::new("taken-early"), World::new("taken-late"));
    let before = early.scaled().await;
    let mut jobs = vec![foreign_job(&early).await];
    early.restore("r").await;
    late.holding("r").await;
    jobs.push(foreign_job(&late).await);
    late.back().await;
    for (world, job) in [&early, &late].into_iter().zip(jobs) {
        let text = world.fails("r", Reason::NameTaken).await;
        assert!(text.contains("a job named \"r\" exists"), "{text}");
        let after: Job = world.api().get("r").await.expect("the job");
        assert_eq!(after.metadata.resource_version, job.metadata.resource_version);
    }
    assert_eq!(early.scaled().await, before);
    // It is in nobody's way under another name.
    late.play_workload().await;
    let next = late.holding("next").await;
    late.play_workload().await;
    late.job(&next, ROLE_RESTORE).await;
}

/// Lets the API server refuse Jobs beyond this many.
async fn allow_jobs(world: &World, number: i32) {
    let api: Api<ResourceQuota> = world.api();
    let hard = json!({"count/jobs.batch": number.to_string()});
    let quota = json!({"metadata": {"name": "jobs"}, "spec": {"hard": hard}});
    world.create(&api, &sample::object(quota)).await;
    // No controller counts here.
    let status = json!({"hard": hard, "used": {"count/jobs.batch": "0"}});
    world.patch_status(&api, "jobs", status).await;
}

#[tokio::test]
async fn a_job_that_the_api_server_refuses_ends_the_restore() {
    let (check, write) = tokio::join!(World::new("no-check"), World::new("no-write"));
    let before = check.scaled().await;
    allow_jobs(&check, 0).await;
    check.restore("r").await;
    allow_jobs(&write, 1).await;
    write.holding("r").await;
    write.play_workload().await;
    for world in [&check, &write] {
        let text = world.fails("r", Reason::InvalidPolicy).await;
        assert!(
            text.contains("refuses the job") && text.contains("exceeded quota"),
            "{text}"
        );
    }
    assert_eq!(check.scaled().await, before);
    assert_eq!(write.scaled().await.counts(), (REPLICAS, None));
}

/// Plays the passing of time: the deadline of a restore is over.
async fn out_of_time(world: &World, name: &str) {
    let past = json!({"plan": {"deadline": "2000-01-01T00:00:00Z"}});
    world.patch_status(&world.api::<RestoreJob>(), name, past).await;
}

#[tokio::test]
async fn every_wait_ends_with_the_deadline() {
    let (before, after) = tokio::join!(World::new("pods-stay"), World::new("not-ready"));
    before.holding("r").await;
    let (_, write) = after.writing("r").await;
    after.succeed(&write).await;
    after.says("r", "ScalingUp").await;
    for world in [&before, &after] {
        out_of_time(world, "r").await;
    }
    before.fails("r", Reason::DeadlineExceeded).await;
    after.fails("r", Reason::WorkloadNotReady).await;
    // What was not written, and what was written to the end, runs again.
    for world in [before, after] {
        assert_eq!(world.scaled().await.counts(), (REPLICAS, None));
    }
}

#[tokio::test]
async fn a_workload_that_is_deleted_ends_its_restore() {
    let (early, late) = tokio::join!(World::new("gone-early"), World::new("gone-late"));
    let restore = early.restore("r").await;
    early.job(&restore, ROLE_VERIFY).await;
    let (_, write) = late.writing("r").await;
    for world in [&early, &late] {
        world.remove(&world.workloads(), SHOP).await;
    }
    // One of the same name is another one.
    late.workload(SHOP, json!({})).await;
    let new = late.scaled().await;
    late.succeed(&write).await;
    early.fails("r", Reason::WorkloadNotFound).await;
    let text = late.fails("r", Reason::WorkloadNotFound).await;
    assert!(
        text.contains("the volumes are restored, but StatefulSet shop is gone"),
        "{text}"
    );
    assert_eq!(late.scaled().await, new);
}
