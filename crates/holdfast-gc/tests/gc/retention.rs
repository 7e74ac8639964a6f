//! Backups whose time is over or of which there are too many.

use holdfast_api::{
    Backup,
    names::{LABEL_AUTOBACKUP, LABEL_BACKUP_PROTECTION},
};
use holdfast_runtime::clock;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::{service::shared, world::World};

/// Expires so many seconds from now.
fn expires(seconds: i64) -> Value {
    json!({"status": {"expiration": (clock::now() + SignedDuration::from_secs(seconds)).to_string()}})
}

/// Expired a minute ago, and more of it is as `change` says.
fn expired(change: Value) -> Value {
    let mut whole = expires(-60);
    whole["metadata"] = change;
    whole
}

#[tokio::test]
async fn expired_backups_go_with_their_files_and_the_newest_good_one_stays() {
    let world = World::new("expired").await;
    let old = world.backup("old", "Completed", 9, expires(-60)).await;
    world.backup("failed", "Failed", 1, expires(-60)).await;
    world
        .backup(
            "kept",
            "Completed",
            5,
            expired(json!({"labels": {LABEL_BACKUP_PROTECTION: "RETAIN"}})),
        )
        .await;
    world.backup("later", "Failed", 1, expires(3600)).await;
    world.backup("newest", "Completed", 2, expires(-60)).await;
    world.left(&["kept", "later", "newest"]).await;
    world.tells(&old, "Expired").await;
    let mut removed = 0;
    while removed < 2 {
        let (job, batch) = world.purge().await;
        world.succeed(&job, &batch).await;
        removed += batch.entries.len();
    }
    world.gone("old").await;
    world.gone("failed").await;
    world.left(&["kept", "later", "newest"]).await;
    let (_, gc) = shared().await;
    let deleted = gc.values("holdfast_gc_deleted_total");
    assert!(deleted.get("expired").is_some_and(|count| *count >= 2), "{deleted:?}");
}

#[tokio::test]
async fn a_backup_goes_when_its_time_comes_and_nothing_else_happens() {
    let world = World::new("timer").await;
    world.backup("first", "Completed", 9, expires(3)).await;
    world.backup("second", "Completed", 5, json!({})).await;
    assert_eq!(world.staying().await, ["first", "second"]);
    world.left(&["second"]).await;
}

#[tokio::test]
async fn the_limit_counts_completed_scheduled_ones_and_follows_the_policy() {
    let world = World::new("limit").await;
    let manual = json!({"metadata": {"labels": {LABEL_AUTOBACKUP: "false"}}});
    world.backup("manual", "Completed", 99, manual).await;
    for (name, phase, ago) in [
        ("b1", "Completed", 50),
        ("b2", "Completed", 40),
        ("f1", "Failed", 30),
        ("f2", "Failed", 20),
        ("b3", "Completed", 15),
    ] {
        world.backup(name, phase, ago, json!({})).await;
    }
    let b4 = world.backup("b4", "Completed", 10, json!({})).await;
    world.left(&["b2", "b3", "b4", "f1", "f2", "manual"]).await;
    world.limit(1).await;
    world.left(&["b4", "f1", "f2", "manual"]).await;
    world.limit(0).await;
    world.backup("b5", "Completed", 1, json!({})).await;
    world.limit(2).await;
    let b6 = world.backup("b6", "Completed", 0, json!({})).await;
    world.left(&["b5", "b6", "f1", "f2", "manual"]).await;
    world.tells(&b4, "HistoryLimitExceeded").await;
    assert!(world.events(&b6).await.is_empty());
}

#[tokio::test]
async fn a_parent_of_an_increment_that_stays_is_not_surplus() {
    let world = World::new("increments").await;
    world.limit(1).await;
    let on = |parent: &str| json!({"spec": {"parentBackupName": parent}});
    world.backup("full", "Completed", 50, json!({})).await;
    world.backup("child", "Completed", 40, on("full")).await;
    world.backup("leaf", "Completed", 30, on("child")).await;
    world.backup("other", "Completed", 35, json!({})).await;
    world.left(&["child", "full", "leaf"]).await;
    world.delete::<Backup>("leaf").await;
    world.left(&["child", "full"]).await;
}
