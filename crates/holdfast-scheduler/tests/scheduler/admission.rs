use holdfast_api::{
    Backup, BackupPolicy,
    names::{
        ANNOTATION_ADMITTED, ANNOTATION_TARGET_POD_NAME, ANNOTATION_TRACEPARENT, FINALIZER, LABEL_BACKUP_REPO_NAME,
    },
};
use holdfast_testkit::{eventually, sample};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

use crate::world::{POLICY, SOON, World, shared};

#[tokio::test]
async fn new_backups_are_admitted_with_all_that_the_executor_needs() {
    let world = World::new("admit").await;
    world.policy(POLICY, |_| {}).await;
    world.pod("shop-1", false).await;
    // Both at once: neither waits for the other.
    world.backup("b1", POLICY).await;
    world.backup("b2", POLICY).await;
    for name in ["b1", "b2"] {
        let backup = world.admitted(name).await;
        assert_eq!(backup.finalizers(), [FINALIZER]);
        let label = |key: &str| backup.labels().get(key).cloned().unwrap_or_default();
        assert_eq!(label(LABEL_BACKUP_REPO_NAME), world.repo_name());
        assert_eq!(label("dataprotection.kubeblocks.io/backup-policy"), POLICY);
        assert_eq!(label("dataprotection.kubeblocks.io/backup-type"), "datafile");
        assert_eq!(label("app.kubernetes.io/instance"), sample::INSTANCE);
        assert_eq!(label("app.kubernetes.io/managed-by"), "kubeblocks");
        assert_eq!(backup.annotations()[ANNOTATION_TARGET_POD_NAME], "shop-0");
        assert_eq!(backup.annotations()[ANNOTATION_TRACEPARENT].len(), 55);
        // The executor owns the status from here.
        assert_eq!(backup.status, None);
    }
}

#[tokio::test]
async fn names_that_do_not_exist_fail_with_the_promised_texts() {
    let world = World::new("missing").await;
    let mut ends = vec![(
        "policy",
        "PolicyNotFound",
        "backuppolicies.dataprotection.kubeblocks.io \"policy\" not found",
    )];
    let nothing = json!({"labelsSelector": {"matchLabels": {"app.kubernetes.io/instance": "nothing"}}});
    for (name, field, value, reason, text) in [
        (
            "tool",
            "backupToolName",
            json!("nowhere"),
            "ToolNotFound",
            "backupTool: nowhere not found",
        ),
        (
            "repo",
            "backupRepoName",
            json!("nowhere"),
            "RepoNotFound",
            "backup repo nowhere not found",
        ),
        (
            "pod",
            "target",
            nothing,
            "NoTargetPod",
            "can not find any pod to backup by labelsSelector",
        ),
        (
            "place",
            "backupRepoName",
            json!(null),
            "BackupPVCNameIsEmpty",
            "the persistentVolumeClaim name of spec.datafile is empty in BackupPolicy \"place\"",
        ),
    ] {
        world.policy(name, |d| d["spec"]["datafile"][field] = value).await;
        ends.push((name, reason, text));
    }
    for (name, ..) in &ends {
        world.backup(name, name).await;
    }
    for (name, reason, _) in &ends {
        world.waits_for(name, reason).await;
    }
    for (name, reason, text) in ends {
        let backup = world.fails(name).await;
        let status = backup.status.as_ref().expect("a status");
        assert_eq!(status.failure_reason.as_deref(), Some(text));
        let stalled = status.conditions.iter().find(|one| one.type_ == "Stalled");
        assert!(
            stalled.is_some_and(|one| one.status == "True" && one.reason == reason),
            "{status:?}"
        );
        assert_eq!(world.warned(&backup, reason).await, text);
        let (_, scheduler) = shared().await;
        eventually(SOON, "the failure to be counted", || async {
            scheduler.metric("admissions_total", &[("reason", reason)])
        })
        .await;
        // With its policy, where there is one of that name.
        let policy = if name == "policy" { "" } else { name };
        let labels = [
            ("namespace", world.namespace.as_str()),
            ("policy", policy),
            ("reason", reason),
        ];
        assert_eq!(scheduler.metric("backup_failures_total", &labels), Some(1.0));
    }
    let (_, scheduler) = shared().await;
    let labels = [("namespace", world.namespace.as_str()), ("policy", "tool")];
    let measured = |name: &str| scheduler.metric(name, &labels).is_some();
    assert!(measured("policy_available_policies") && measured("backup_failures_total"));
    world.remove(&world.api::<BackupPolicy>(), "tool").await;
    eventually(SOON, "nothing to be measured of a policy that is gone", || async {
        (!measured("policy_available_policies") && !measured("backup_failures_total")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_backup_that_waits_can_be_cancelled() {
    let world = World::new("cancel").await;
    world.set_ready("shop-0", false).await;
    world.policy(POLICY, |_| {}).await;
    world.backup("b1", POLICY).await;
    world.waits_for("b1", "TargetPodNotReady").await;
    let cancel = json!({"spec": {"cancel": true}});
    world.patch(&world.api::<Backup>(), "b1", cancel).await;
    let backup = world.fails("b1").await;
    let reason = backup.status.and_then(|status| status.failure_reason);
    assert_eq!(reason.as_deref(), Some("cancelled by spec.cancel"));
}

#[tokio::test]
async fn what_is_applied_late_is_waited_for() {
    let world = World::new("late").await;
    world.backup("b1", POLICY).await;
    world.waits_for("b1", "PolicyNotFound").await;
    let tool = format!("late-{}", world.namespace);
    world
        .policy(POLICY, |d| d["spec"]["datafile"]["backupToolName"] = json!(tool))
        .await;
    world.waits_for("b1", "ToolNotFound").await;
    world.create(&world.all(), &sample::tool(&tool)).await;
    let backup = world.admitted("b1").await;
    // What was said while it waited is over.
    assert_eq!(backup.status.and_then(|status| status.failure_reason), None);
}

#[tokio::test]
async fn a_database_that_is_not_ready_is_waited_for() {
    let world = World::new("unready").await;
    world.set_ready("shop-0", false).await;
    world.policy(POLICY, |_| {}).await;
    world.backup("b1", POLICY).await;
    let waiting = world.waits_for("b1", "TargetPodNotReady").await;
    let conditions = waiting.status.expect("a status").conditions;
    assert!(
        conditions.iter().any(|one| one.message.contains("pod shop-0")),
        "{conditions:?}"
    );
    world.set_ready("shop-0", true).await;
    world.admitted("b1").await;
}

#[tokio::test]
async fn a_backup_whose_target_went_gets_another() {
    let world = World::new("another").await;
    world.policy(POLICY, |_| {}).await;
    world.backup("b1", POLICY).await;
    assert_eq!(
        world.admitted("b1").await.annotations()[ANNOTATION_TARGET_POD_NAME],
        "shop-0"
    );
    world.set_ready("shop-0", false).await;
    world.pod("shop-1", true).await;
    // As an executor does that finds no such pod.
    let back = json!({"metadata": {"annotations": {ANNOTATION_ADMITTED: null}}});
    let api: Api<Backup> = world.api();
    let patch = Patch::Merge(&back);
    api.patch("b1", &PatchParams::default(), &patch)
        .await
        .expect("handed back");
    assert_eq!(
        world.admitted("b1").await.annotations()[ANNOTATION_TARGET_POD_NAME],
        "shop-1"
    );
}

#[tokio::test]
async fn the_repository_of_the_label_wins() {
    let world = World::new("label").await;
    let other = format!("other-{}", world.namespace);
    world.repo(&other).await;
    world.policy(POLICY, |_| {}).await;
    let mut backup = sample::backup(&world.namespace, "b1", POLICY);
    backup
        .labels_mut()
        .insert(LABEL_BACKUP_REPO_NAME.to_owned(), other.clone());
    world.create(&world.api(), &backup).await;
    assert_eq!(world.admitted("b1").await.labels()[LABEL_BACKUP_REPO_NAME], other);
}

#[tokio::test]
async fn the_claim_of_a_policy_is_used_or_created() {
    let world = World::new("claim").await;
    let api: Api<PersistentVolumeClaim> = world.api();
    let claim = json!({"name": "mine", "storageClassName": "shared", "initCapacity": "2Gi"});
    world
        .policy(POLICY, |d| {
            d["spec"]["datafile"]["backupRepoName"] = json!(null);
            d["spec"]["datafile"]["persistentVolumeClaim"] = claim;
        })
        .await;
    world.backup("b1", POLICY).await;
    let backup = world.admitted("b1").await;
    assert!(!backup.labels().contains_key(LABEL_BACKUP_REPO_NAME));
    let claim = api.get("mine").await.expect("a claim");
    let spec = claim.spec.as_ref().expect("a spec");
    assert_eq!(spec.access_modes, Some(vec!["ReadWriteMany".to_owned()]));
    assert_eq!(spec.storage_class_name.as_deref(), Some("shared"));
    assert_eq!(
        claim.annotations()["dataprotection.kubeblocks.io/created-by-policy"],
        "true"
    );
    world.backup("b2", POLICY).await;
    world.admitted("b2").await;
    assert_eq!(api.get("mine").await.expect("a claim").uid(), claim.uid());
}

#[tokio::test]
async fn types_that_are_not_served_fail_at_once() {
    let world = World::new("types").await;
    world.policy(POLICY, |_| {}).await;
    for (kind, text) in [
        ("snapshot", "VolumeSnapshot feature disabled."),
        ("logfile", "backupPolicy: p not supports logfile backup in backupPolicy"),
    ] {
        let mut backup = serde_json::to_value(sample::backup(&world.namespace, kind, POLICY)).expect("a document");
        backup["spec"]["backupType"] = json!(kind);
        world.create::<Backup>(&world.api(), &sample::object(backup)).await;
        let failed = world.fails(kind).await;
        assert_eq!(
            failed.status.and_then(|status| status.failure_reason).as_deref(),
            Some(text)
        );
    }
}

#[tokio::test]
async fn a_backup_deleted_while_it_waits_goes_and_its_name_can_be_used_again() {
    let world = World::new("again").await;
    world.policy(POLICY, |_| {}).await;
    world.set_ready("shop-0", false).await;
    let first = world.backup("b1", POLICY).await;
    world.waits_for("b1", "TargetPodNotReady").await;
    let api: Api<Backup> = world.api();
    // As a Backup of a schedule has it from the beginning.
    let held = json!({"metadata": {"finalizers": [FINALIZER]}});
    let patch = Patch::Merge(&held);
    api.patch("b1", &PatchParams::default(), &patch).await.expect("held");
    api.delete("b1", &DeleteParams::default()).await.expect("deleted");
    eventually(SOON, "the backup to be gone", || async {
        api.get_opt("b1").await.expect("an answer").is_none().then_some(())
    })
    .await;
    world.set_ready("shop-0", true).await;
    world.backup("b1", POLICY).await;
    assert_ne!(world.admitted("b1").await.uid(), first.uid());
}
