//! Reads and writes against a real API server.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]
#![allow(clippy::disallowed_methods, reason = "tests look past what they test")]

use std::collections::BTreeMap;

use holdfast_api::BackupTool;
use holdfast_kube::{self as write, Propagation, Read, WriteError};
use holdfast_testkit::ApiServer;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
};
use serde_json::json;

const OTHER_UID: &str = "2d9a4e0c-0000-4000-8000-000000000000";

fn config_map(name: &str, value: &str) -> ConfigMap {
    ConfigMap {
        metadata: kube::api::ObjectMeta {
            name: Some(name.to_owned()),
            ..Default::default()
        },
        data: Some(BTreeMap::from([("value".to_owned(), value.to_owned())])),
        ..ConfigMap::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_patched_only_onto_what_was_read() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("write").await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(server.client().await.unwrap(), &namespace);
    let read = write::create(&api, &config_map("c", "old")).await.unwrap();
    let change = json!({ "labels": { "a": "1" }, "finalizers": ["holdfast.io/test"] });
    let labelled = write::patch_metadata(&api, &read, change).await.unwrap();
    assert_eq!(labelled.labels().get("a").map(String::as_str), Some("1"));
    let stale = write::patch_metadata(&api, &read, json!({ "labels": { "a": "2" } })).await;
    assert!(matches!(stale, Err(WriteError::Conflict)), "{stale:?}");
    let change = json!({ "labels": null, "finalizers": null });
    let freed = write::patch_metadata(&api, &labelled, change).await.unwrap();
    assert!(freed.labels().is_empty() && freed.finalizers().is_empty());
    let changed = write::patch(&api, &freed, json!({ "data": { "value": "new" } }))
        .await
        .unwrap();
    assert_eq!(changed.data.as_ref().unwrap()["value"], "new");

    // One of the same name that came later is another object.
    write::delete(&api, "c", &changed.uid().unwrap(), None, Propagation::Background)
        .await
        .unwrap();
    let later = write::create(&api, &config_map("c", "later")).await.unwrap();
    for object in [&read, &changed] {
        let late = write::patch_metadata(&api, object, json!({ "labels": { "a": "3" } })).await;
        assert!(matches!(late, Err(WriteError::Conflict)), "{late:?}");
    }
    assert_eq!(api.get("c").await.unwrap().metadata, later.metadata);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_object_that_was_meant_is_deleted() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("write").await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(server.client().await.unwrap(), &namespace);
    let made = write::create(&api, &config_map("c", "old")).await.unwrap();
    let (uid, version) = (made.uid().unwrap(), made.resource_version().unwrap());
    let wrong = write::delete(&api, "c", OTHER_UID, None, Propagation::Background).await;
    assert!(matches!(wrong, Err(WriteError::Conflict)), "{wrong:?}");
    let nameless = write::delete(&api, "c", "", None, Propagation::Background).await;
    assert!(matches!(nameless, Err(WriteError::Refused(_))), "{nameless:?}");
    write::patch_metadata(&api, &made, json!({ "labels": { "changed": "yes" } }))
        .await
        .unwrap();
    let stale = write::delete(&api, "c", &uid, Some(&version), Propagation::Background).await;
    assert!(matches!(stale, Err(WriteError::Conflict)), "{stale:?}");
    write::delete(&api, "c", &uid, None, Propagation::Foreground)
        .await
        .unwrap();
    // No controller ends a foreground deletion here: the object is on its way out.
    let left = write::get(&api, "c").await.unwrap();
    assert!(left.is_none_or(|object| object.metadata.deletion_timestamp.is_some()));
    write::delete(&api, "gone", &uid, None, Propagation::Background)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_to_do() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("write").await.unwrap();
    let client = server.client().await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    assert!(write::get(&api, "none").await.unwrap().is_none());
    write::create(&api, &config_map("c", "x")).await.unwrap();
    assert!(matches!(
        write::create(&api, &config_map("c", "x")).await,
        Err(WriteError::Exists)
    ));
    let nowhere: Api<ConfigMap> = Api::namespaced(client.clone(), "no-such-namespace");
    assert!(matches!(
        write::create(&nowhere, &config_map("c", "x")).await,
        Err(WriteError::NotFound)
    ));
    let invalid = write::create(&api, &config_map("NOT A NAME", "x")).await;
    assert!(matches!(invalid, Err(WriteError::Refused(_))), "{invalid:?}");
    let nobody = Client::try_from(server.config_as("nobody").await.unwrap()).unwrap();
    let forbidden = write::get(&Api::<ConfigMap>::namespaced(nobody, &namespace), "c").await;
    assert!(matches!(forbidden, Err(WriteError::Refused(_))), "{forbidden:?}");
    let away = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
    let unreachable = write::get(&Api::<ConfigMap>::namespaced(away, &namespace), "c").await;
    assert!(matches!(unreachable, Err(WriteError::Transient(_))), "{unreachable:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_read_is_no_absent_one() {
    let server = ApiServer::shared().await;
    let client = server.client().await.unwrap();
    let kind = ApiResource::erase::<BackupTool>(&());
    // The API server takes any environment.
    let garbage: DynamicObject = serde_json::from_value(json!({
        "apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "garbage"},
        "spec": {"image": "i", "backupCommands": ["true"], "env": [{"name": {"not": "a name"}}]},
    }))
    .unwrap();
    let stored = write::create(&Api::<DynamicObject>::all_with(client.clone(), &kind), &garbage)
        .await
        .unwrap();

    let api: Api<BackupTool> = Api::all(client.clone());
    assert!(matches!(
        write::get(&api, "garbage").await,
        Err(WriteError::Unreadable(_))
    ));
    assert!(matches!(
        write::list(&api, &ListParams::default()).await,
        Err(WriteError::Unreadable(_))
    ));
    let listed = write::list_metadata(&api, &ListParams::default()).await.unwrap();
    assert_eq!(listed.first().map(ResourceExt::name_any).as_deref(), Some("garbage"));
    let read = write::read::<BackupTool>(client.clone(), None, "garbage")
        .await
        .unwrap();
    let Read::Unreadable(uid, why) = &read else {
        panic!("{read:?}")
    };
    assert_eq!(uid, &stored.metadata.uid);
    assert!(why.starts_with("BackupTool garbage cannot be read: "), "{why}");
    let mut unreadable = None;
    assert!(read.readable(&mut unreadable).is_none() && unreadable.is_some());
    let absent = write::read::<BackupTool>(client, None, "none").await.unwrap();
    assert!(matches!(absent, Read::Absent));
}
