//! Purge Jobs that work, fail, and are tried again.

use holdfast_api::{
    Backup, BackupPhase,
    agent::AgentResult,
    condition::{Reason, holds},
};
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;
use serde_json::json;

use crate::world::{World, names};

fn broken() -> AgentResult {
    AgentResult::failed(Reason::ToolFailed, "the volume is read-only")
}

#[tokio::test]
async fn a_failed_purge_is_told_and_tried_again_when_its_job_is_deleted() {
    let world = World::new("failing").await;
    let backup = world.backup("b1", "Completed", 5, json!({})).await;
    world.delete::<Backup>("b1").await;
    let (job, batch) = world.purge().await;
    world.end(&job, &broken(), SignedDuration::ZERO).await;
    let told = world.stalls("b1", Reason::PurgeFailed).await;
    let text = format!(
        "the job \"{}\" for backup files deletion failed, you can delete it to re-delete the files",
        job.name_any()
    );
    let status = told.status.expect("a status");
    assert_eq!(status.failure_reason, Some(text));
    assert!(status.conditions.iter().any(|one| one.message.contains("read-only")));
    world.tells(&backup, "DeleteBackupFilesFailed!").await;
    // Another Backup of the volume does not wait for it.
    world.backup("b2", "Completed", 5, json!({})).await;
    world.delete::<Backup>("b2").await;
    let (other, rest) = world.purge().await;
    assert_eq!(names(&rest), ["b2"]);
    world.succeed(&other, &rest).await;
    world.gone("b2").await;
    world.reaches("b1", BackupPhase::Deleting).await;
    world.delete::<Job>(&job.name_any()).await;
    let (again, same) = world.purge().await;
    assert_eq!(same, batch);
    world.succeed(&again, &same).await;
    world.gone("b1").await;
    world.no_purges().await;
    let failures = world.events(&backup).await;
    assert_eq!(
        failures
            .iter()
            .filter(|word| *word == "DeleteBackupFilesFailed!")
            .count(),
        1
    );
}

#[tokio::test]
async fn a_purge_that_failed_a_while_ago_is_tried_again_by_itself() {
    let world = World::new("again").await;
    world.backup("b1", "Failed", 5, json!({})).await;
    world.delete::<Backup>("b1").await;
    let (job, _) = world.purge().await;
    world.end(&job, &broken(), SignedDuration::from_secs(601)).await;
    let (again, batch) = world.purge().await;
    assert_eq!(again.name_any(), job.name_any());
    world.succeed(&again, &batch).await;
    world.gone("b1").await;
}

#[tokio::test]
async fn many_go_together_and_one_that_cannot_keeps_none_of_them() {
    let world = World::new("many").await;
    for name in ["first", "a", "b", "bad", "c"] {
        world.backup(name, "Completed", 5, json!({})).await;
    }
    world.delete::<Backup>("first").await;
    let (first, only) = world.purge().await;
    for name in ["a", "b", "bad", "c"] {
        world.delete::<Backup>(name).await;
        world.reaches(name, BackupPhase::Deleting).await;
    }
    world.succeed(&first, &only).await;
    let mut sizes = Vec::new();
    loop {
        let left = world.purge();
        let told = world.stalls("bad", Reason::PurgeFailed);
        let (job, batch) = tokio::select! { next = left => next, _ = told => break };
        sizes.push(batch.entries.len());
        if names(&batch).contains(&"bad") {
            world.end(&job, &broken(), SignedDuration::ZERO).await;
        } else {
            world.succeed(&job, &batch).await;
        }
    }
    assert_eq!(sizes[0], 4);
    assert!(sizes[1..].iter().all(|size| *size <= 2), "{sizes:?}");
    // What was behind the bad one goes on.
    for name in ["a", "b", "c"] {
        let api: kube::Api<Backup> = world.api();
        while api.get_opt(name).await.expect("an answer").is_some() {
            let next = world.purge();
            let (job, batch) = tokio::select! { next = next => next, () = world.gone(name) => break };
            world.succeed(&job, &batch).await;
        }
    }
    world.reaches("bad", BackupPhase::Deleting).await;
}

#[tokio::test]
async fn a_purge_that_cannot_start_says_why_and_takes_it_back() {
    let world = World::new("starting").await;
    world.backup("b1", "Completed", 5, json!({})).await;
    world.delete::<Backup>("b1").await;
    let (job, batch) = world.purge().await;
    let pod = world.pod_of(&job).await;
    let waiting = |state: serde_json::Value| json!([{"name": "purge", "image": "agent:test", "imageID": "", "ready": false, "restartCount": 0, "state": state}]);
    let pull = json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}});
    world
        .set_pod_status(&pod, &json!({"phase": "Pending", "containerStatuses": waiting(pull)}))
        .await;
    world.stalls("b1", Reason::ImagePull).await;
    let runs = json!({"running": {}});
    world
        .set_pod_status(&pod, &json!({"phase": "Running", "containerStatuses": waiting(runs)}))
        .await;
    world
        .backup_that("b1", "no longer stalled", |backup| {
            backup
                .status
                .as_ref()
                .is_some_and(|status| !holds(&status.conditions, "Stalled"))
        })
        .await;
    world.succeed(&job, &batch).await;
    world.gone("b1").await;
}

#[tokio::test]
async fn a_directory_of_another_backup_is_left_to_it() {
    let world = World::new("occupied").await;
    let backup = world.backup("b1", "Failed", 5, json!({})).await;
    world.delete::<Backup>("b1").await;
    let (job, _) = world.purge().await;
    let occupied = AgentResult::failed(Reason::PathOccupied, "it names another backup: it was left as it is");
    world.end(&job, &occupied, SignedDuration::ZERO).await;
    world.gone("b1").await;
    world.tells(&backup, "DataLeftBehind!").await;
    world.no_purges().await;
}
