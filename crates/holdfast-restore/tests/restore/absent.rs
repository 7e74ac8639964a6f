//! What may still come is waited for. Tests begin in the order of their names, and this one takes longest.

use futures::future::join_all;
use holdfast_api::{condition::Reason, names::ROLE_VERIFY};
use holdfast_core::restore::Kind;
use serde_json::json;

use crate::{
    refusals::{Case, Change},
    service::shared,
    world::{SHOP, World},
};

#[tokio::test]
async fn what_may_still_come_is_waited_for_and_then_refused() {
    let cases = [
        Case {
            prefix: "no-workload",
            change: Change::NoWorkload,
            reason: Reason::WorkloadNotFound,
            says: "Can not find any statefulsets with labelsSelector.",
            ..Case::default()
        },
        Case {
            prefix: "no-backup",
            change: Change::NoBackup,
            reason: Reason::NotFound,
            says: "backups.dataprotection.kubeblocks.io \"b1\" not found",
            ..Case::default()
        },
        Case {
            prefix: "no-tool",
            backup: json!({"backupToolName": "no-such-tool"}),
            reason: Reason::ToolNotFound,
            says: "backupTool: no-such-tool not found",
            ..Case::default()
        },
        Case {
            prefix: "at-work",
            backup: json!({"phase": "InProgress"}),
            reason: Reason::BackupNotCompleted,
            says: "Backup b1 is InProgress; waited",
            ..Case::default()
        },
    ];
    join_all(cases.map(Case::check)).await;
}

#[tokio::test]
async fn what_comes_in_time_is_restored() {
    let world = World::bare(shared().await, "late", Kind::StatefulSet).await;
    let restore = world.restore("r").await;
    world.says("r", "WorkloadNotFound").await;
    world.workload(SHOP, json!({})).await;
    world.says("r", "NotFound").await;
    world.backup(json!({})).await;
    world.job(&restore, ROLE_VERIFY).await;
}
