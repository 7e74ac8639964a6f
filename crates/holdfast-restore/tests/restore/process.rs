//! Services that come and go, on a server of their own.

use holdfast_api::{
    RestoreJob,
    names::{ANNOTATION_HELD, LABEL_HELD, ROLE_RESTORE, ROLE_VERIFY},
};
use holdfast_core::restore::Kind;
use holdfast_runtime::clock;
use holdfast_testkit::{ApiServer, eventually};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    history::History,
    service::Restore,
    world::{REPLICAS, SHOP, SOON, World},
};

#[tokio::test]
async fn services_that_come_and_go_lose_nothing_and_double_nothing() {
    let server = ApiServer::start().await.expect("a server");
    // One after the other: two services would share the work.
    told_about_orphans(&server).await;
    Box::pin(relay(&server)).await;
    two_at_once(&server).await;
}

/// What happens to workload and Jobs when all goes well, whoever does it.
const ONCE: [&str; 7] = [
    "shop: 3 replicas",
    "verify Running",
    "verify Complete",
    "shop: 0 replicas, held by r that had 3",
    "r: restore Running",
    "r: restore Complete",
    "shop: 3 replicas",
];

fn once(history: &History) {
    let mut lines = history.lines();
    lines.retain(|line| line.contains("shop") || line.contains("verify ") || line.contains("restore "));
    let as_expected = lines.len() == ONCE.len() && lines.iter().zip(ONCE).all(|(line, end)| line.ends_with(end));
    assert!(as_expected, "{lines:#?}");
}

async fn reached(history: &History, words: &str) {
    let what = format!("{words} in the history");
    eventually(SOON, &what, || async { (history.count(words) > 0).then_some(()) }).await;
}

/// A restore goes on whenever another service takes over, at each of its steps.
async fn relay(server: &ApiServer) {
    let world = World::on(server, "relay", Kind::StatefulSet).await;
    let history = world.record().await;
    let start = |name: &'static str| Restore::start(server, name);

    let service = start("restore-a").await;
    let restore = world.restore("r").await;
    reached(&history, "r: New").await;
    service.stop();
    let service = start("restore-b").await;
    reached(&history, "Verifying").await;
    service.stop();
    let service = start("restore-c").await;
    let verify = world.job(&restore, ROLE_VERIFY).await;
    service.stop();
    // What ends while nobody is there is found afterwards.
    world.succeed(&verify).await;
    let service = start("restore-d").await;
    world.held_by("r").await;
    service.stop();
    world.play_workload().await;
    let service = start("restore-e").await;
    reached(&history, "(may have written)").await;
    service.stop();
    let service = start("restore-f").await;
    let write = world.job(&restore, ROLE_RESTORE).await;
    service.stop();
    world.succeed(&write).await;
    let service = start("restore-g").await;
    world.back().await;
    service.stop();
    world.play_workload().await;
    let service = start("restore-h").await;
    world.completes("r").await;
    service.stop();
    once(&history);

    // One that is over is not begun again.
    let restores = world.api::<RestoreJob>();
    let before = restores.get("r").await.expect("the restore").resource_version();
    let service = start("restore-i").await;
    let next = world.restore("next").await;
    world.job(&next, ROLE_VERIFY).await;
    let after = restores.get("r").await.expect("the restore").resource_version();
    assert_eq!(after, before);
    service.stop();

    // Everything was written, and then its RestoreJob was deleted, while nobody was there.
    world.succeed(&world.job(&next, ROLE_VERIFY).await).await;
    let service = start("restore-j").await;
    world.held_by("next").await;
    world.play_workload().await;
    let write = world.job(&next, ROLE_RESTORE).await;
    service.stop();
    world.succeed(&write).await;
    world.ask_to_delete("next").await;
    let service = start("restore-k").await;
    world.gone::<RestoreJob>("next").await;
    assert_eq!(world.scaled().await.counts(), (REPLICAS, None));
    service.stop();
}

/// Two services do everything once.
async fn two_at_once(server: &ApiServer) {
    let world = World::on(server, "both", Kind::StatefulSet).await;
    let history = world.record().await;
    let one = Restore::start(server, "restore-one").await;
    let other = Restore::start(server, "restore-other").await;
    let restore = world.restore("r").await;
    let verify = world.job(&restore, ROLE_VERIFY).await;
    world.succeed(&verify).await;
    world.held_by("r").await;
    world.play_workload().await;
    let write = world.job(&restore, ROLE_RESTORE).await;
    // Whichever leads, the one that is left goes on.
    one.stop();
    world.succeed(&write).await;
    world.back().await;
    world.play_workload().await;
    world.completes("r").await;
    once(&history);
    other.stop();
}

/// The mark of a RestoreJob on a workload.
fn mark(name: &str, uid: &str) -> Value {
    let held = json!({"name": name, "uid": uid, "replicas": REPLICAS, "since": clock::now().to_string()});
    json!({
        "metadata": {"labels": {LABEL_HELD: "true"}, "annotations": {ANNOTATION_HELD: held.to_string()}},
        "spec": {"replicas": 0},
    })
}

/// A hold without its restore is told about and left alone.
async fn told_about_orphans(server: &ApiServer) {
    // In the order of the namespaces' names, which is that of the list.
    let unreadable = World::on(server, "a-orphan", Kind::StatefulSet).await;
    let set = World::on(server, "b-orphan", Kind::StatefulSet).await;
    let deployment = World::on(server, "c-orphan", Kind::Deployment).await;
    let alive = World::on(server, "d-held", Kind::StatefulSet).await;
    unreadable.unreadable_restore("gone").await;
    let owner = alive.restore("r").await;
    let mut before = Vec::new();
    for world in [&unreadable, &set, &deployment] {
        world
            .patch(&world.workloads(), SHOP, mark("gone", "uid-of-one-that-is-gone"))
            .await;
        before.push(world.scaled().await);
    }
    let mine = mark("r", &owner.uid().expect("a uid"));
    alive.patch(&alive.workloads(), SHOP, mine).await;

    let service = Restore::start(server, "restore-orphans").await;
    for (world, before) in [&unreadable, &set, &deployment].into_iter().zip(before) {
        let about = world.workloads().get(SHOP).await.expect("a workload");
        let text = world.tells(&about, "TargetDirty", true).await;
        assert!(text.contains("by RestoreJob gone; it had 3 replicas"), "{text}");
        assert_eq!(world.scaled().await, before);
    }
    let about = alive.workloads().get(SHOP).await.expect("a workload");
    // The look at holds is over: those that were told about come before it, by namespace or by kind.
    assert!(alive.told(about.uid().as_deref()).await.is_empty());
    service.stop();
    unreadable.remove(&unreadable.any_restores(), "gone").await;
    for world in [&unreadable, &set, &deployment, &alive] {
        world.remove(&world.workloads(), SHOP).await;
    }
}
