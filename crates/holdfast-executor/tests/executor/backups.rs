//! Backups that succeed.

use holdfast_api::names::{
    ANNOTATION_ADMITTED, ANNOTATION_FULL_NAME, ANNOTATION_REPOSITORY, ANNOTATION_TARGET_POD_NAME, FINALIZER,
    LABEL_BACKUP_POLICY, LABEL_NEED_REPO_PVC, ROLE_BACKUP, ROLE_REPORT,
};
use holdfast_api::{Backup, BackupPhase};
use holdfast_runtime::clock;
use holdfast_testkit::{eventually, sample};
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::world::{CLAIM, POD, SOON, World, sealed};

#[tokio::test]
async fn an_admitted_backup_is_planned_run_and_completed_with_its_results() {
    let world = World::new("good").await;
    let backup = world.admit("b1").await;
    let job = world.job(&backup, ROLE_BACKUP).await;
    assert_eq!(job.name_any(), "b1");
    let running = world.reaches("b1", BackupPhase::InProgress).await;
    let plan = running.status.and_then(|status| status.plan).expect("a plan");
    let tool = plan.work.job().expect("a Job").tool.name.clone();
    assert_eq!((plan.source.node_name.as_str(), tool), ("node-a", world.tool()));
    world.seal(&job, &sealed()).await;
    let done = world
        .reaches("b1", BackupPhase::Completed)
        .await
        .status
        .expect("a status");
    assert_eq!(done.total_size.as_deref(), Some("24Ki"));
    assert!(done.duration.is_some() && done.expiration.is_some());
    let manifest = done
        .manifests
        .and_then(|manifests| manifests.backup_tool)
        .expect("a manifest");
    assert_eq!(manifest.file_path, Some(format!("/{}/b1", world.namespace)));
    assert_eq!(manifest.checksum, Some("ab".repeat(32)));
    let location = done.plan.expect("a plan").location;
    assert_eq!(location.identity.as_deref(), Some("repository-1"));
    assert!(world.warnings(&backup).await.is_empty());
}

#[tokio::test]
async fn a_claim_that_a_policy_names_itself_has_the_identity_noted_on_it() {
    let world = World::new("bare").await;
    let backup = world.admit_bare("b1").await;
    let job = world.job(&backup, ROLE_BACKUP).await;
    world.seal(&job, &sealed()).await;
    world.reaches("b1", BackupPhase::Completed).await;
    let claims: Api<PersistentVolumeClaim> = world.api();
    let claim = claims.get(CLAIM).await.expect("a claim");
    let noted = claim.annotations().get(ANNOTATION_REPOSITORY).map(String::as_str);
    assert_eq!(noted, Some("repository-1"));
}

#[tokio::test]
async fn a_job_is_removed_when_its_backup_has_been_over_for_a_minute() {
    let world = World::new("swept").await;
    let backup = world.admit("b1").await;
    let job = world.job(&backup, ROLE_BACKUP).await;
    let pod = world.pod_of(&job).await;
    world.end_pod(&pod, 0, &sealed()).await;
    world.end_job(&job, true, SignedDuration::from_secs(57)).await;
    world.reaches("b1", BackupPhase::Completed).await;
    let jobs: Api<Job> = world.api();
    eventually(SOON, "the job to go", || async {
        let left = jobs.get_opt("b1").await.ok()?;
        left.is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_missing_claim_is_asked_for_and_the_backup_goes_on_with_it() {
    let world = World::new("claim").await;
    world.delete::<PersistentVolumeClaim>(CLAIM).await;
    let claims: Api<PersistentVolumeClaim> = world.api();
    // No controller of this server takes the protection off.
    let unprotected = json!({"metadata": {"finalizers": null}});
    if claims.get_opt(CLAIM).await.expect("an answer").is_some() {
        claims
            .patch(CLAIM, &PatchParams::default(), &Patch::Merge(&unprotected))
            .await
            .expect("a patch");
    }
    let backup = world.admit("b1").await;
    let backups: Api<Backup> = world.api();
    eventually(SOON, "the label", || async {
        let backup = backups.get("b1").await.ok()?;
        backup.labels().get(LABEL_NEED_REPO_PVC).cloned()
    })
    .await;
    world.says("b1", "Reconciling", "WaitingForPVC").await;
    world.create_claim().await;
    let unlabelled = json!({"metadata": {"labels": {LABEL_NEED_REPO_PVC: null}}});
    backups
        .patch("b1", &PatchParams::default(), &Patch::Merge(&unlabelled))
        .await
        .expect("a patch");
    let job = world.job(&backup, ROLE_BACKUP).await;
    world.seal(&job, &sealed()).await;
    world.reaches("b1", BackupPhase::Completed).await;
}

#[tokio::test]
async fn a_target_pod_that_is_gone_is_left_to_the_scheduler_to_choose_anew() {
    let world = World::new("target").await;
    world.delete::<Pod>(POD).await;
    let backup = world.admit("b1").await;
    let backups: Api<Backup> = world.api();
    eventually(SOON, "a Backup that is not admitted any more", || async {
        let backup = backups.get("b1").await.ok()?;
        (!backup.annotations().contains_key(ANNOTATION_ADMITTED)).then_some(())
    })
    .await;
    world.create_target("shop-1").await;
    let chosen = json!({"metadata": {"annotations": {
        ANNOTATION_ADMITTED: clock::now().to_string(), ANNOTATION_TARGET_POD_NAME: "shop-1"}}});
    backups
        .patch("b1", &PatchParams::default(), &Patch::Merge(&chosen))
        .await
        .expect("a patch");
    let job = world.job(&backup, ROLE_BACKUP).await;
    world.seal(&job, &sealed()).await;
    let status = world.reaches("b1", BackupPhase::Completed).await.status;
    let plan = status.and_then(|status| status.plan).expect("a plan");
    assert_eq!(plan.source.pod_name, "shop-1");
}

#[tokio::test]
async fn names_of_every_length_succeed() {
    let world = World::new("names").await;
    for name in ["n".repeat(63), "x".repeat(253), "with.dots".to_owned()] {
        let backup = world.admit(&name).await;
        let job = world.job(&backup, ROLE_BACKUP).await;
        assert_eq!(job.name_any() == name, name.len() <= 63);
        assert_eq!(job.annotations().get(ANNOTATION_FULL_NAME), Some(&name));
        world.seal(&job, &sealed()).await;
        world.reaches(&name, BackupPhase::Completed).await;
    }
}

#[tokio::test]
async fn two_backups_at_once_both_run() {
    let world = World::new("two").await;
    let (one, other) = (world.admit("b1").await, world.admit("b2").await);
    let (first, second) = (world.job(&one, ROLE_BACKUP).await, world.job(&other, ROLE_BACKUP).await);
    world.seal(&second, &sealed()).await;
    world.seal(&first, &sealed()).await;
    world.reaches("b1", BackupPhase::Completed).await;
    world.reaches("b2", BackupPhase::Completed).await;
}

#[tokio::test]
async fn a_pod_that_is_gone_is_asked_through_its_seal() {
    let world = World::new("report").await;
    let backup = world.admit("b1").await;
    let job = world.job(&backup, ROLE_BACKUP).await;
    let pod = world.pod_of(&job).await;
    world.delete::<Pod>(&pod.name_any()).await;
    world.end_job(&job, true, SignedDuration::ZERO).await;
    let report = world.job(&backup, ROLE_REPORT).await;
    world.says("b1", "Reconciling", "Verifying").await;
    world.seal(&report, &sealed()).await;
    world.reaches("b1", BackupPhase::Completed).await;
}

#[tokio::test]
async fn a_first_failed_attempt_shows_and_the_second_completes() {
    let world = World::new("retry").await;
    let backup = world.admit("b1").await;
    let job = world.job(&backup, ROLE_BACKUP).await;
    let pod = world.pod_of(&job).await;
    let result = holdfast_api::agent::AgentResult::failed(holdfast_api::condition::Reason::ToolFailed, "exit 1");
    world.end_pod(&pod, 1, &result).await;
    world.says("b1", "Reconciling", "ToolFailed").await;
    world.seal(&job, &sealed()).await;
    let done = world.reaches("b1", BackupPhase::Completed).await;
    assert_eq!(done.status.and_then(|status| status.failure_reason), None);
}

#[tokio::test]
async fn a_copied_mark_of_admission_is_taken_away_and_a_run_gets_its_finalizer_back() {
    let world = World::new("mark").await;
    let backups: Api<Backup> = world.api();
    let mut copied = sample::backup(&world.namespace, "copied", "p");
    let marks = [
        (ANNOTATION_ADMITTED, "2026-01-01T00:00:00Z"),
        (ANNOTATION_TARGET_POD_NAME, POD),
    ];
    copied.metadata.annotations = Some(marks.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    world.create(&backups, &copied).await;
    eventually(SOON, "the mark to go", || async {
        let backup = backups.get("copied").await.ok()?;
        (!backup.annotations().contains_key(ANNOTATION_ADMITTED)).then_some(())
    })
    .await;
    let copied = backups.get("copied").await.expect("a backup");
    assert_eq!(copied.phase(), BackupPhase::New);
    let backup = world.admit("b1").await;
    let job = world.job(&backup, ROLE_BACKUP).await;
    let stripped = json!({"metadata": {"finalizers": null, "labels": null}});
    world.patch(&backups, "b1", stripped).await;
    eventually(SOON, "finalizer and labels", || async {
        let backup = backups.get("b1").await.ok()?;
        let whole = backup.finalizers().iter().any(|name| name == FINALIZER);
        (whole && backup.labels().contains_key(LABEL_BACKUP_POLICY)).then_some(())
    })
    .await;
    world.seal(&job, &sealed()).await;
    world.reaches("b1", BackupPhase::Completed).await;
}
