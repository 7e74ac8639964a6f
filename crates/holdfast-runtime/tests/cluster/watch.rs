use std::sync::Arc;

use holdfast_api::{Backup, BackupPhase, BackupStatus};
use holdfast_runtime::{
    Queue, Service,
    watch::{Change, Key, cached},
    write,
};
use holdfast_testkit::{ApiServer, eventually, sample};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::ApiResource,
    runtime::watcher,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::{
    service,
    support::{SOON, get, metric},
};

/// Read strictly here, stored loosely there.
#[derive(kube::CustomResource, Clone, Debug, Deserialize, Serialize)]
#[kube(
    group = "test.holdfast.io",
    version = "v1",
    kind = "Thing",
    namespaced,
    schema = "disabled"
)]
struct ThingSpec {
    size: i64,
}

/// A CRD whose schema lets everything through.
fn loose(plural: &str, kind: &str) -> CustomResourceDefinition {
    sample::object(json!({
        "metadata": { "name": format!("{plural}.test.holdfast.io") },
        "spec": {
            "group": "test.holdfast.io",
            "scope": "Namespaced",
            "names": { "plural": plural, "kind": kind },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
            }],
        },
    }))
}

fn thing(name: &str, size: &Value) -> DynamicObject {
    sample::object(json!({
        "apiVersion": "test.holdfast.io/v1", "kind": "Thing",
        "metadata": { "name": name }, "spec": { "size": size },
    }))
}

async fn next<K>(changes: &mut UnboundedReceiver<Change<K>>) -> Change<K> {
    tokio::time::timeout(SOON, changes.recv()).await.unwrap().unwrap()
}

fn things(service: &Service, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(service.client.clone(), namespace, &ApiResource::erase::<Thing>(&()))
}

async fn put(api: &Api<DynamicObject>, name: &str, size: &Value) {
    let change = Patch::Merge(json!({ "spec": { "size": size } }));
    api.patch(name, &PatchParams::default(), &change).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_object_is_left_out_and_the_watch_goes_on() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("watch").await.unwrap();
    let service = crate::service("gc", "one", &namespace).await;
    // The kind is not served yet: the watch waits for it, and the service is not ready meanwhile.
    let watched = Api::<Thing>::namespaced(service.client.clone(), &namespace);
    let seen = cached(&service, "things", watched, watcher::Config::default());
    let (status, body) = get(service.http_addr(), "/readyz").await;
    assert!(status == 503 && body.contains("things"), "{status} {body}");
    let mut changes = seen.subscribe();
    let crds: Api<CustomResourceDefinition> = Api::all(service.client.clone());
    crds.create(&PostParams::default(), &loose("things", "Thing"))
        .await
        .unwrap();
    let api = things(&service, &namespace);
    eventually(SOON, "the kind is served", || async {
        api.create(&PostParams::default(), &thing("bad", &json!("big")))
            .await
            .ok()
    })
    .await;
    api.create(&PostParams::default(), &thing("good", &json!(1)))
        .await
        .unwrap();
    tokio::time::timeout(SOON, seen.synced()).await.unwrap();
    assert_eq!(get(service.http_addr(), "/readyz").await.0, 200);

    assert!(matches!(next(&mut changes).await, Change::Applied(object) if object.name_any() == "good"));
    assert!(seen.get(&namespace, "bad").is_none());
    eventually(SOON, "the unreadable object is counted", || async {
        (metric(&service, "holdfast_gc_watch_malformed_total", "things") > 0.5).then_some(())
    })
    .await;
    // Whoever wrote it reads in one event what is wrong, however many services noticed.
    let other = crate::service("executor", "two", &namespace).await;
    let watched = Api::<Thing>::namespaced(other.client.clone(), &namespace);
    let _ = cached(&other, "things", watched, watcher::Config::default());
    eventually(SOON, "another service notices it", || async {
        (metric(&other, "holdfast_executor_watch_malformed_total", "things") > 0.5).then_some(())
    })
    .await;
    other
        .events
        .publish(&sample::backup(&namespace, "b", "p"), false, "Last", "")
        .await;
    let events: Api<Event> = Api::namespaced(service.client.clone(), &namespace);
    eventually(SOON, "all was reported", || async {
        let all = events.list(&ListParams::default()).await.unwrap().items;
        let about = |reason: &str| {
            all.iter()
                .filter(|event| event.reason.as_deref() == Some(reason))
                .count()
        };
        let note = all
            .iter()
            .any(|event| event.note.as_deref().is_some_and(|note| note.contains("big")));
        assert!(about("InvalidObject") <= 1, "{all:?}");
        (about("InvalidObject") == 1 && about("Last") == 1 && note).then_some(())
    })
    .await;

    // What becomes unreadable leaves, what becomes readable comes.
    put(&api, "good", &json!("huge")).await;
    assert!(matches!(next(&mut changes).await, Change::Left(object) if object.spec.size == 1));
    assert!(seen.is_empty());
    put(&api, "bad", &json!(2)).await;
    assert!(matches!(next(&mut changes).await, Change::Applied(object) if object.spec.size == 2));
    api.delete("bad", &DeleteParams::default()).await.unwrap();
    assert!(matches!(next(&mut changes).await, Change::Left(object) if object.name_any() == "bad"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_selected_leaves_and_late_subscribers_miss_nothing() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("watch").await.unwrap();
    let service = service("gc", "one", &namespace).await;
    let api: Api<Backup> = Api::namespaced(service.client.clone(), &namespace);
    let made = write::create(&api, &sample::backup(&namespace, "b", "p"))
        .await
        .unwrap();
    // No phase counts as empty: new ones are selected.
    let config = watcher::Config::default().fields("status.phase!=Completed,status.phase!=Failed");
    let seen = cached(&service, "active backups", api.clone(), config);
    tokio::time::timeout(SOON, seen.synced()).await.unwrap();
    let held: Arc<Backup> = seen.get(&namespace, "b").unwrap();
    assert!(held.managed_fields().is_empty());
    assert_eq!(seen.len(), 1);

    let queue = Queue::new("test");
    seen.forward(&service, &queue, |change| vec![Key::of(change.object().as_ref())]);
    eventually(SOON, "what is held already is forwarded", || async {
        (queue.depth() == 1).then_some(())
    })
    .await;
    let mut changes = seen.subscribe();
    assert!(matches!(next(&mut changes).await, Change::Applied(object) if object.name_any() == "b"));

    let status = BackupStatus {
        phase: Some(BackupPhase::Completed),
        ..BackupStatus::default()
    };
    write::put_status(
        &api,
        &Backup {
            status: Some(status),
            ..held.as_ref().clone()
        },
    )
    .await
    .unwrap();
    assert!(matches!(next(&mut changes).await, Change::Left(object) if object.name_any() == "b"));
    assert!(seen.is_empty());
    // It was written from the copy, whose managed fields were dropped: at the server they are still there.
    assert!(api.get("b").await.unwrap().managed_fields().len() > made.managed_fields().len());
}
