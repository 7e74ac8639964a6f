//! Backups that fail, and why.

use holdfast_api::agent::AgentResult;
use holdfast_api::condition::Reason;
use holdfast_api::names::ROLE_BACKUP;
use holdfast_api::{Backup, BackupPhase};
use holdfast_testkit::{eventually, sample};
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::world::{SOON, World, sealed};

/// Asserts that a Backup failed with this reason, on all its conditions and in an event.
async fn failed(world: &World, backup: &Backup, reason: &str) -> String {
    let ended = world.reaches(&backup.name_any(), BackupPhase::Failed).await;
    let status = ended.status.expect("a status");
    let stalled = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Stalled")
        .expect("Stalled");
    assert_eq!(
        (stalled.reason.as_str(), stalled.status.as_str()),
        (reason, "True"),
        "{}",
        stalled.message
    );
    let warned = || async {
        world
            .warnings(backup)
            .await
            .iter()
            .any(|told| told == reason)
            .then_some(())
    };
    eventually(SOON, "a warning", warned).await;
    status.failure_reason.expect("a reason")
}

#[tokio::test]
async fn a_tool_that_writes_nothing_fails_at_once() {
    let world = World::new("empty").await;
    let backup = world.admit("b1").await;
    let job = world.job(&backup, ROLE_BACKUP).await;
    let pod = world.pod_of(&job).await;
    let result = AgentResult::failed(Reason::EmptyOutput, "the tool wrote nothing");
    world
        .end_pod(&pod, holdfast_api::agent::exit_code(Reason::EmptyOutput), &result)
        .await;
    world.end_job(&job, false, SignedDuration::ZERO).await;
    let text = failed(&world, &backup, "EmptyOutput").await;
    assert_eq!(text, "backup job \"b1\" failed: the tool wrote nothing");
    // Its logs stay for a look.
    assert_eq!(world.jobs().await, 1);
}

#[tokio::test]
async fn a_job_of_the_same_name_that_is_not_ours_is_never_touched() {
    let world = World::new("taken").await;
    let foreign: Job = sample::object(json!({
        "metadata": {"name": "b1", "namespace": world.namespace},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}},
    }));
    let foreign = world.create(&world.api(), &foreign).await;
    let backup = world.admit("b1").await;
    failed(&world, &backup, "NameTaken").await;
    let jobs: Api<Job> = world.api();
    let still = jobs.get("b1").await.expect("the job");
    assert_eq!((still.uid(), still.metadata.deletion_timestamp), (foreign.uid(), None));
}

#[tokio::test]
async fn a_tool_that_vanished_after_admission_fails_with_the_originals_text() {
    let world = World::new("tool").await;
    world.drop_tool().await;
    let backup = world.admit("b1").await;
    let text = failed(&world, &backup, "ToolNotFound").await;
    assert_eq!(text, format!("backupTool: {} not found", world.tool()));
    assert_eq!(world.jobs().await, 0);
}

#[tokio::test]
async fn a_backup_that_is_deleted_while_it_runs_ends_after_its_pods() {
    let world = World::new("deleted").await;
    let backup = world.admit("b1").await;
    let job = world.job(&backup, ROLE_BACKUP).await;
    let pod = world.pod_of(&job).await;
    world.set_pod_status(&pod, &json!({"phase": "Running"})).await;
    world.delete::<Backup>("b1").await;
    let jobs: Api<Job> = world.api();
    eventually(SOON, "the job to go", || async {
        jobs.get_opt("b1").await.ok()?.is_none().then_some(())
    })
    .await;
    let backups: Api<Backup> = world.api();
    let phase = backups
        .get("b1")
        .await
        .expect("held by its finalizer")
        .status
        .and_then(|status| status.phase);
    assert_eq!(phase, Some(BackupPhase::InProgress), "a pod may still write");
    world.delete::<Pod>(&pod.name_any()).await;
    failed(&world, &backup, "Deleted").await;
}

#[tokio::test]
async fn trouble_of_a_pod_shows_and_passes() {
    let world = World::new("trouble").await;
    let backup = world.admit("b1").await;
    let job = world.job(&backup, ROLE_BACKUP).await;
    let pod = world.pod_of(&job).await;
    let unscheduled = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
        "reason": "Unschedulable", "message": "0/1 nodes are available"}]});
    world.set_pod_status(&pod, &unscheduled).await;
    let told = world.says("b1", "Reconciling", "Unschedulable").await;
    let conditions = told.status.expect("a status").conditions;
    assert!(
        conditions
            .iter()
            .any(|condition| condition.message.contains("0/1 nodes are available"))
    );
    world.set_pod_status(&pod, &json!({"phase": "Running"})).await;
    world.says("b1", "Reconciling", "JobRunning").await;
    world.end_pod(&pod, 0, &sealed()).await;
    world.end_job(&job, true, SignedDuration::ZERO).await;
    world.reaches("b1", BackupPhase::Completed).await;
}
