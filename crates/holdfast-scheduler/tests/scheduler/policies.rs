use holdfast_api::{
    BackupPolicy, BackupPolicyPhase, BackupTool, BackupToolPhase,
    condition::{READY, holds},
};
use holdfast_testkit::{eventually, sample};
use kube::Api;
use serde_json::json;

use crate::world::{GRACE, POLICY, SOON, World, YEARLY};

fn is(policy: &BackupPolicy, phase: BackupPolicyPhase) -> bool {
    policy
        .status
        .as_ref()
        .is_some_and(|status| status.phase == Some(phase) && status.observed_generation == policy.metadata.generation)
}

#[tokio::test]
async fn a_schedule_that_cannot_be_understood_fails_the_policy_until_it_is_corrected() {
    let world = World::new("cron").await;
    for (name, cron) in [("nonsense", "invalid schedule"), ("never", "0 0 31 2 *")] {
        let policy = world
            .policy(name, |d| {
                d["spec"]["schedule"] = json!({"datafile": {"cronExpression": cron, "enable": true}});
            })
            .await;
        let failed = world
            .policy_where(name, "Failed", |one| is(one, BackupPolicyPhase::Failed))
            .await;
        let reason = failed
            .status
            .and_then(|status| status.failure_reason)
            .expect("a reason");
        assert!(
            reason.contains("spec.schedule.datafile.cronExpression") && reason.contains(cron),
            "{reason}"
        );
        assert_eq!(world.warned(&policy, "InvalidSchedule").await, reason);
    }
    let corrected = json!({"spec": {"schedule": {"datafile": {"cronExpression": YEARLY}}}});
    world.change_policy("nonsense", &corrected).await;
    let available = world
        .policy_where("nonsense", "Available", |one| is(one, BackupPolicyPhase::Available))
        .await;
    assert_eq!(available.status.and_then(|status| status.failure_reason), None);
}

#[tokio::test]
async fn prefixes_and_selectors_that_reach_too_far_fail_the_policy() {
    let world = World::new("reach").await;
    let key = "dataprotection.kubeblocks.io/path-prefix";
    let table = [
        (
            "up",
            json!({"metadata": {"annotations": {key: "/../other"}}}),
            "InvalidPathPrefix",
        ),
        (
            "shell",
            json!({"metadata": {"annotations": {key: "a;reboot"}}}),
            "InvalidPathPrefix",
        ),
        (
            "every-pod",
            json!({"spec": {"datafile": {"target": {"labelsSelector": {"matchLabels": null}}}}}),
            "InvalidSelector",
        ),
    ];
    for (name, change, reason) in table {
        let policy = world.policy(name, |_| {}).await;
        world.change_policy(name, &change).await;
        world
            .policy_where(name, "Failed", |one| is(one, BackupPolicyPhase::Failed))
            .await;
        world.warned(&policy, reason).await;
    }
}

#[tokio::test]
async fn a_schedule_that_is_not_served_is_said_and_the_policy_stays_available() {
    let world = World::new("unserved").await;
    let policy = world
        .policy(POLICY, |d| {
            d["spec"]["snapshot"] = json!({"target": {"labelsSelector": {"matchLabels": {"a": "b"}}}});
            d["spec"]["schedule"] = json!({
                "snapshot": {"cronExpression": YEARLY, "enable": true},
                "datafile": {"cronExpression": YEARLY, "enable": true},
            });
        })
        .await;
    world
        .policy_where(POLICY, "Available", |one| is(one, BackupPolicyPhase::Available))
        .await;
    let note = world.warned(&policy, "Unsupported").await;
    assert!(note.contains("snapshot schedule"), "{note}");
}

#[tokio::test]
async fn a_policy_without_sections_is_available() {
    let world = World::new("empty").await;
    world.policy(POLICY, |d| d["spec"] = json!({})).await;
    world
        .policy_where(POLICY, "Available", |one| is(one, BackupPolicyPhase::Available))
        .await;
}

#[tokio::test]
async fn finalizers_of_the_original_hold_neither_policies_nor_tools() {
    let world = World::new("finalizers").await;
    let exported = json!(["dataprotection.kubeblocks.io/finalizer"]);
    world
        .policy(POLICY, |d| d["metadata"]["finalizers"] = exported.clone())
        .await;
    let tools: Api<BackupTool> = world.all();
    let tool = format!("exported-{}", world.namespace);
    world.create(&tools, &sample::tool(&tool)).await;
    let held = json!({"metadata": {"finalizers": exported}});
    world.patch(&tools, &tool, held).await;
    world.remove(&world.api::<BackupPolicy>(), POLICY).await;
    world.remove(&tools, &tool).await;
    world.gone::<BackupPolicy>(POLICY).await;
    eventually(SOON, "the tool gone", || async {
        tools.get_opt(&tool).await.ok()?.is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_tool_tells_whether_it_can_be_used() {
    let world = World::new("tools").await;
    let tools: Api<BackupTool> = world.all();
    let of = |name: String, phase| {
        let tools = tools.clone();
        async move {
            eventually(SOON, "the tool's phase", || async {
                let status = tools.get(&name).await.ok()?.status?;
                (status.phase == Some(phase)).then_some(status)
            })
            .await
        }
    };
    let useful = of(world.tool(), BackupToolPhase::Available).await;
    assert!(holds(&useful.conditions, READY), "{useful:?}");
    let endless = format!("endless-{}", world.namespace);
    let mut tool = sample::tool(&endless);
    tool.spec.deploy_kind = holdfast_api::DeployKind::StatefulSet;
    let tool = world.create(&tools, &tool).await;
    let useless = of(endless, BackupToolPhase::Failed).await;
    assert!(!holds(&useless.conditions, READY), "{useless:?}");
    assert!(world.warned(&tool, "Unsupported").await.contains("deployKind"));
}

#[tokio::test]
async fn a_policy_without_its_tool_cannot_be_used_until_that_comes() {
    let world = World::new("lacking").await;
    let name = format!("late-{}", world.namespace);
    let policy = world
        .policy(POLICY, |d| d["spec"]["datafile"]["backupToolName"] = json!(name))
        .await;
    let failed = world
        .within(GRACE, POLICY, "Failed", |one: &BackupPolicy| {
            is(one, BackupPolicyPhase::Failed)
        })
        .await;
    let status = failed.status.expect("a status");
    let text = format!("backupTool: {name} not found");
    assert_eq!(status.failure_reason, Some(text.clone()));
    assert!(!holds(&status.conditions, READY));
    assert_eq!(world.warned(&policy, "ToolNotFound").await, text);
    world.create(&world.all(), &sample::tool(&name)).await;
    world
        .policy_where(POLICY, "Available", |one| is(one, BackupPolicyPhase::Available))
        .await;
}
