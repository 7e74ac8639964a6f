//! What needs a server of its own: counting requests, and a gc that stops.

use std::collections::BTreeMap;

use holdfast_api::Backup;
use holdfast_testkit::{ApiServer, eventually};
use serde_json::json;

use crate::{
    service::Gc,
    world::{SOON, World, names},
};

/// Requests that a look at objects caused; lists and watches of the start left out.
fn requests(gc: &Gc) -> BTreeMap<String, u64> {
    let mut requests = gc.values("holdfast_gc_api_requests_total");
    requests.retain(|labels, _| {
        !labels.contains("watch") && !labels.contains("list") && !labels.contains("customresource")
    });
    requests
}

async fn looked_at_policies(gc: &Gc, least: u64) {
    eventually(SOON, "policies looked at", || async {
        let runs = gc.values("holdfast_gc_runs_total");
        (runs.get("policies").copied().unwrap_or_default() >= least).then_some(())
    })
    .await;
}

#[tokio::test]
async fn finished_backups_cost_no_requests() {
    let server = ApiServer::start().await.expect("a server");
    let world = World::on(&server, "cost").await;
    world.limit(0).await;
    let later = json!({"metadata": {"finalizers": null}, "status": {"expiration": "2100-01-01T00:00:00Z"}});
    for i in 0..100 {
        // As many failed ones as stay.
        let phase = if i % 34 == 0 { "Failed" } else { "Completed" };
        world.backup(&format!("b{i}"), phase, i, later.clone()).await;
    }
    let gc = Gc::start(&server, "gc-cost").await;
    looked_at_policies(&gc, 1).await;
    let runs = gc
        .values("holdfast_gc_runs_total")
        .get("policies")
        .copied()
        .unwrap_or_default();
    world
        .patch::<Backup>("b7", json!({"metadata": {"labels": {"touched": "yes"}}}))
        .await;
    looked_at_policies(&gc, runs + 1).await;
    assert_eq!(requests(&gc), BTreeMap::new());
    // One that goes costs its deletion and a look at the one that stays instead.
    let over = json!({"metadata": {"finalizers": null}, "status": {"expiration": "2000-01-01T00:00:00Z"}});
    world.backup("over", "Completed", 999, over).await;
    world.gone("over").await;
    let mut made = requests(&gc);
    made.retain(|labels, _| !labels.contains("event"));
    assert_eq!(made.values().sum::<u64>(), 2, "{made:?}");
    gc.stop();
}

#[tokio::test]
async fn another_gc_goes_on_where_one_stopped() {
    let server = ApiServer::start().await.expect("a server");
    let world = World::on(&server, "taken-over").await;
    let one = Gc::start(&server, "gc-one").await;
    world.backup("b1", "Completed", 5, json!({})).await;
    world.delete::<Backup>("b1").await;
    let (job, batch) = world.purge().await;
    one.stop();
    // Nobody leads while the Job ends and another Backup is deleted.
    world.succeed(&job, &batch).await;
    world.backup("b2", "Completed", 5, json!({})).await;
    world.delete::<Backup>("b2").await;
    let other = Gc::start(&server, "gc-other").await;
    world.gone("b1").await;
    let (job, batch) = world.purge().await;
    assert_eq!(names(&batch), ["b2"]);
    world.succeed(&job, &batch).await;
    world.gone("b2").await;
    world.no_purges().await;
    other.stop();
}
