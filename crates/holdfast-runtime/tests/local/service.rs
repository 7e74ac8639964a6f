use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use holdfast_api::metric;
use holdfast_testkit::eventually;

use crate::support::{SOON, get, lonely};

#[tokio::test(flavor = "multi_thread")]
async fn readiness_names_what_is_pending_until_every_gate_is_open() {
    let service = lonely("gc", &[]);
    let (one, two) = (service.gate("first thing"), service.gate("second thing"));
    let address = service.http_addr();
    assert_eq!(get(address, "/livez").await.0, 200);
    let (status, body) = get(address, "/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("first thing") && body.contains("second thing"), "{body}");
    one.open();
    let (status, body) = get(address, "/readyz").await;
    assert!(status == 503 && !body.contains("first thing"), "{status} {body}");
    two.open();
    assert_eq!(get(address, "/readyz").await.0, 200);
    two.close();
    assert_eq!(get(address, "/readyz").await.0, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_carry_the_name_of_the_service_and_no_name_twice() {
    let service = lonely("repo-manager", &[]);
    let counter = service.meter().counter(&metric::REPO_CLAIMS_CREATED).unwrap();
    counter.with_label_values(&["here"]).inc();
    assert!(service.meter().counter(&metric::REPO_CLAIMS_CREATED).is_err());
    let refused = service.meter().counter(&metric::GC_PURGED).unwrap_err();
    assert!(refused.to_string().contains("no metric of repo-manager"), "{refused}");
    let refused = service.meter().counter(&metric::REPO_PHASE).unwrap_err();
    assert!(refused.to_string().contains("is a gauge"), "{refused}");
    let (status, body) = get(service.http_addr(), "/metrics").await;
    assert_eq!(status, 200);
    assert!(
        body.contains("holdfast_repo_manager_claims_created_total{repo=\"here\"} 1"),
        "{body}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn series_of_what_is_gone_go_and_no_others() {
    let service = lonely("repo-manager", &[]);
    let problems = service.meter().counter(&metric::REPO_PROBLEMS).unwrap();
    for labels in [
        ["gone", "RepoNotReady"],
        ["gone", "UnknownError"],
        ["stays", "RepoNotReady"],
    ] {
        problems.with_label_values(&labels).inc();
    }
    holdfast_runtime::metrics::forget(&problems, &[("repo", "gone")]);
    let (_, body) = get(service.http_addr(), "/metrics").await;
    assert!(!body.contains("gone") && body.contains("repo=\"stays\""), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stops_waits_for_its_tasks_and_is_not_ready_meanwhile() {
    let service = lonely("gc", &[]);
    let (address, shutdown) = (service.http_addr(), service.shutdown.clone());
    let finished = Arc::new(AtomicBool::new(false));
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let done = finished.clone();
    service.spawn("work in flight", async move {
        released.await.unwrap();
        done.store(true, Ordering::SeqCst);
    });
    let running = tokio::spawn(service.run(|service| async move {
        service.shutdown.cancelled().await;
        Ok(())
    }));
    assert_eq!(get(address, "/readyz").await.0, 200);
    shutdown.cancel();
    eventually(SOON, "not ready while draining", || async {
        let (status, body) = get(address, "/readyz").await;
        (status == 503 && body.contains("draining")).then_some(())
    })
    .await;
    assert!(!running.is_finished());
    release.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert!(finished.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_never_ends_is_left_behind_after_the_drain_time() {
    let service = lonely("gc", &["--drain-seconds=1"]);
    service.spawn("stuck", std::future::pending());
    let ended = tokio::time::timeout(SOON, service.run(|_| async { Ok(()) })).await;
    ended.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_a_task_ends_the_service_with_an_error() {
    let service = lonely("gc", &[]);
    service.spawn("fragile", async { panic!("as the test wants it") });
    let ended = tokio::time::timeout(
        SOON,
        service.run(|service| async move {
            service.shutdown.cancelled().await;
            Ok(())
        }),
    );
    let error = ended.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("fragile"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_body_is_the_error_of_the_service() {
    let error = lonely("gc", &[])
        .run(|_| async { anyhow::bail!("no way") })
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "no way");
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_that_cannot_be_sent_do_not_hold_up_the_end() {
    let service = lonely("gc", &["--otlp-endpoint=http://127.0.0.1:1"]);
    tracing::info_span!("a span").in_scope(|| {});
    let ended = tokio::time::timeout(Duration::from_secs(20), service.run(|_| async { Ok(()) })).await;
    ended.unwrap().unwrap();
}
