//! Several schedulers, and schedulers that come and go. These tests have a server of their own.

use std::time::Duration;

use holdfast_api::BackupPhase;
use holdfast_core::policy::{slot_backup, status};
use holdfast_runtime::clock;
use holdfast_testkit::{ApiServer, eventually, never};
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::world::{POLICY, SOON, Scheduler, World, YEARLY, slot};

static SERVER: OnceCell<ApiServer> = OnceCell::const_new();

#[tokio::test]
async fn schedulers_that_come_and_go_double_nothing_and_lose_nothing() {
    let server = SERVER
        .get_or_init(|| async { ApiServer::start().await.expect("a server") })
        .await;
    let world = World::on(server, "replicas").await;
    // A scheduler that ended between its two writes left a policy that is due, and the Backup of the slot.
    let policy = world
        .policy(POLICY, |d| {
            d["spec"]["schedule"] = json!({"datafile": {"cronExpression": YEARLY, "enable": true}});
        })
        .await;
    let left = json!({ "status": status(&policy, clock::now()) });
    let patch = Patch::Merge(&left);
    let policies = world.api();
    let policy = policies
        .patch_status(POLICY, &PatchParams::default(), &patch)
        .await
        .expect("a status");
    world.make_due(&policy).await;
    let backup = world.create(&world.api(), &slot_backup(&policy, slot(), "")).await;

    let first = Scheduler::start(server, "scheduler-a", "default");
    let second = Scheduler::start(server, "scheduler-b", "default");
    noted(&world).await;
    world.admitted(&backup.name_any()).await;
    assert_eq!(leading(&first) + leading(&second), 1);

    // While nobody is there, the Backup ends, and the policy comes due again.
    first.stop();
    second.stop();
    world.set_phase(&backup.name_any(), BackupPhase::Completed).await;
    let third = Scheduler::start(server, "scheduler-c", "default");
    world
        .policy_where(POLICY, "with its success noted", |policy| {
            policy
                .status
                .as_ref()
                .is_some_and(|status| status.last_successful_time.is_some())
        })
        .await;
    world.make_due(&policies.get(POLICY).await.expect("the policy")).await;
    noted(&world).await;
    never(Duration::from_secs(2), "a second backup", || async {
        (world.backups(POLICY).await.len() > 1).then_some(())
    })
    .await;
    eventually(SOON, "the next slot to be measured", || async {
        third.metric("next_slot_timestamp_seconds", &[("policy", POLICY)])
    })
    .await;
    third.stop();
}

async fn noted(world: &World) {
    world
        .policy_where(POLICY, "with its slot noted", |policy| {
            let noted = policy
                .status
                .as_ref()
                .and_then(|status| status.last_schedule_time.clone());
            noted.is_some_and(|time| time.0 == slot())
        })
        .await;
}

fn leading(scheduler: &Scheduler) -> u8 {
    u8::from(scheduler.metric("leading_leases", &[]) == Some(1.0))
}
