use holdfast_testkit::{ApiServer, eventually, sample};
use k8s_openapi::api::events::v1::Event;
use kube::{Api, api::ListParams};

use crate::{
    service,
    support::{SOON, metric},
};

async fn events(api: &Api<Event>, reason: &str) -> Vec<Event> {
    let all = api.list(&ListParams::default()).await.unwrap();
    all.items
        .into_iter()
        .filter(|event| event.reason.as_deref() == Some(reason))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_reports_become_one_event_with_a_count() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("events").await.unwrap();
    let service = service("executor", "executor-7", &namespace).await;
    let backup = sample::stored(sample::backup(&namespace, "b", "p"), "u-1");
    for _ in 0..3 {
        service.events.publish(&backup, true, "ToolFailed", "exit code 1").await;
    }
    service.events.publish(&backup, true, "ToolFailed", "exit code 2").await;
    let api: Api<Event> = Api::namespaced(service.client.clone(), &namespace);
    let found = eventually(SOON, "both events, one of them counted", || async {
        let found = events(&api, "ToolFailed").await;
        let counted = found
            .iter()
            .any(|event| event.series.as_ref().is_some_and(|series| series.count == 3));
        (found.len() == 2 && counted).then_some(found)
    })
    .await;
    for event in found {
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert_eq!(event.reporting_controller.as_deref(), Some("holdfast-executor"));
        assert_eq!(event.reporting_instance.as_deref(), Some("executor-7"));
        let regarding = event.regarding.unwrap();
        assert_eq!(
            (regarding.kind.as_deref(), regarding.uid.as_deref()),
            (Some("Backup"), Some("u-1"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_names_long_notes_and_objects_without_namespace_have_events_too() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("events").await.unwrap();
    let service = service("executor", "one", &namespace).await;
    let long = sample::stored(sample::backup(&namespace, &"n".repeat(253), "p"), "u-2");
    service
        .events
        .publish(&long, false, "Completed", &"ü".repeat(4000))
        .await;
    let api: Api<Event> = Api::namespaced(service.client.clone(), &namespace);
    let found = eventually(SOON, "the event of the long name", || async {
        events(&api, "Completed").await.pop()
    });
    assert!(found.await.note.unwrap().ends_with("..."));

    let repo = sample::stored(sample::repo("r", "local"), "u-3");
    service.events.publish(&repo, false, "RepoReadyInTest", "ready").await;
    let default: Api<Event> = Api::namespaced(service.client.clone(), "default");
    eventually(SOON, "the event of the repository", || async {
        events(&default, "RepoReadyInTest").await.pop()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_recorded_is_counted_and_the_last_ones_leave_at_the_end() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("events").await.unwrap();
    let service = service("executor", "one", &namespace).await;
    let lost = sample::stored(sample::backup("no-such-namespace", "b", "p"), "u-4");
    service.events.publish(&lost, false, "Lost", "").await;
    eventually(SOON, "the loss is counted", || async {
        (metric(&service, "holdfast_executor_events_lost_total", "refused") > 0.5).then_some(())
    })
    .await;
    let backup = sample::stored(sample::backup(&namespace, "b", "p"), "u-5");
    let api: Api<Event> = Api::namespaced(service.client.clone(), &namespace);
    for number in 0..20 {
        service
            .events
            .publish(&backup, false, "Last", &format!("number {number}"))
            .await;
    }
    service.run(|_| async { Ok(()) }).await.unwrap();
    assert_eq!(events(&api, "Last").await.len(), 20);
}
