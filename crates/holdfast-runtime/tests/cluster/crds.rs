use std::time::Duration;

use holdfast_runtime::Service;
use holdfast_testkit::{ApiServer, eventually, never, process::free_port};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};

use crate::support::{SOON, args, get, lonely};

const BACKUPS: &str = "backups.dataprotection.kubeblocks.io";

fn backups() -> CustomResourceDefinition {
    let all = holdfast_api::crds::all().unwrap();
    let (_, document) = all.into_iter().find(|(plural, _)| plural == "backups").unwrap();
    serde_json::from_value(document).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_crd_is_refused_by_name_and_a_missing_one_is_waited_for() {
    let server = ApiServer::start_bare().await.unwrap();
    let service = Service::start_with("gc", &args(&[]), server.config().await.unwrap()).unwrap();
    let api: Api<CustomResourceDefinition> = Api::all(service.client.clone());

    let mut foreign = backups();
    foreign.metadata.labels = Some([("app.kubernetes.io/name".to_owned(), "kubeblocks".to_owned())].into());
    foreign.metadata.annotations = Some([("meta.helm.sh/release-name".to_owned(), "kb".to_owned())].into());
    api.create(&PostParams::default(), &foreign).await.unwrap();
    let error = service.own_crds(&[BACKUPS]).await.unwrap_err().to_string();
    assert!(
        error.contains("app.kubernetes.io/name=kubeblocks") && error.contains("Helm release /kb"),
        "{error}"
    );

    api.delete(BACKUPS, &DeleteParams::default()).await.unwrap();
    eventually(SOON, "the foreign one is gone", || async {
        api.get_opt(BACKUPS).await.unwrap().is_none().then_some(())
    })
    .await;
    let waiting = tokio::spawn({
        let service = service.clone();
        async move { service.own_crds(&[BACKUPS]).await }
    });
    never(Duration::from_secs(1), "served although absent", || async {
        waiting.is_finished().then_some(())
    })
    .await;
    let (status, body) = get(service.http_addr(), "/readyz").await;
    assert!(status == 503 && body.contains("CRDs"), "{status} {body}");
    api.create(&PostParams::default(), &backups()).await.unwrap();
    tokio::time::timeout(SOON, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(get(service.http_addr(), "/readyz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_starts_before_the_api_server_waits_for_it() {
    let server = ApiServer::shared().await;
    let port = free_port().unwrap();
    let mut config = server.config().await.unwrap();
    let real = config.cluster_url.authority().unwrap().to_string();
    config.cluster_url = format!("https://127.0.0.1:{port}").parse().unwrap();
    let service = Service::start_with("gc", &args(&[]), config).unwrap();
    let waiting = tokio::spawn({
        let service = service.clone();
        async move { service.own_crds(&[BACKUPS]).await }
    });
    // Long enough for a second try.
    never(Duration::from_secs(2), "ended although nobody answers", || async {
        waiting.is_finished().then_some(())
    })
    .await;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = tokio::net::TcpStream::connect(&real).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    tokio::time::timeout(SOON, waiting).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stops_waits_for_no_crd() {
    let service = lonely("gc", &[]);
    let shutdown = service.shutdown.clone();
    let waiting = tokio::spawn(async move { service.own_crds(&[BACKUPS]).await });
    shutdown.cancel();
    tokio::time::timeout(SOON, waiting).await.unwrap().unwrap().unwrap();
}
