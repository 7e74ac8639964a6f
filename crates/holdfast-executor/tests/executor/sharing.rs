//! Several executors at once.

use std::time::{Duration, Instant};

use holdfast_api::BackupPhase;
use holdfast_api::names::ROLE_BACKUP;
use holdfast_testkit::{ApiServer, eventually, sample};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use serde_json::json;

use crate::world::{Executor, SOON, World, sealed};

/// Rank 3 waits for 12 s; a busy machine gets some more.
const TAKEN_OVER: Duration = Duration::from_secs(30);

#[tokio::test]
async fn several_executors_make_one_job_each_time_and_outlive_each_other() {
    // Executors never end before their server does.
    let server: &'static ApiServer = Box::leak(Box::new(ApiServer::start().await.expect("a server")));
    let world = World::on(server, "several").await;
    let names = ["executor-a", "executor-b", "executor-c"];
    let endpoints: Vec<_> = names
        .iter()
        .map(|name| json!({"addresses": ["10.0.0.9"], "targetRef": {"kind": "Pod", "name": name}}))
        .collect();
    let slice: EndpointSlice = sample::object(json!({
        "metadata": {"name": "executors", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "holdfast-executor"}},
        "addressType": "IPv4",
        "endpoints": endpoints,
    }));
    world
        .create(&Api::namespaced(world.client.clone(), "default"), &slice)
        .await;
    let first = Executor::start(server, "executor-a");
    costs_little(&world, &first).await;
    let executors = [
        first,
        Executor::start(server, "executor-b"),
        Executor::start(server, "executor-c"),
    ];
    for number in 0..6 {
        let name = format!("b{number}");
        run(&world, &name).await;
        assert_eq!(world.jobs().await, number + 3);
    }
    // Two of three die without leaving the list: what they were first for is taken over.
    executors[0].kill();
    executors[1].kill();
    for number in 6..9 {
        let name = format!("b{number}");
        let began = Instant::now();
        let backup = world.admit(&name).await;
        let job = world.job(&backup, ROLE_BACKUP).await;
        assert!(began.elapsed() < TAKEN_OVER, "{:?}", began.elapsed());
        world.seal(&job, &sealed()).await;
        world.reaches(&name, BackupPhase::Completed).await;
    }
}

/// What one Backup costs the API server: two writes of its status, its Job, an event, a look at the target pod and its
/// claim (which does not exist here, and so is not remembered).
async fn costs_little(world: &World, executor: &Executor) {
    // The first one also leaves the repository's mark on the claim.
    run(world, "first").await;
    let before = executor.requests();
    run(world, "second").await;
    let spent = |key: &str| executor.requests().get(key).copied().unwrap_or(0) - before.get(key).copied().unwrap_or(0);
    let event = || async { (spent("create events") == 1).then_some(()) };
    eventually(SOON, "the event", event).await;
    let total: u64 = executor.requests().values().sum::<u64>() - before.values().sum::<u64>();
    assert!(
        total <= 6,
        "{total} requests: {before:?} then {:?}",
        executor.requests()
    );
}

async fn run(world: &World, name: &str) {
    let backup = world.admit(name).await;
    let job = world.job(&backup, ROLE_BACKUP).await;
    world.seal(&job, &sealed()).await;
    world.reaches(name, BackupPhase::Completed).await;
}
