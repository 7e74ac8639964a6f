use std::time::Duration;

use holdfast_runtime::{Service, crds};
use holdfast_testkit::{ApiServer, eventually, never};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};

use crate::support::{SOON, args, get};

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
    crds::refuse_foreign(&service.client).await.unwrap();

    let mut foreign = backups();
    foreign.metadata.labels = Some([("app.kubernetes.io/name".to_owned(), "kubeblocks".to_owned())].into());
    foreign.metadata.annotations = Some([("meta.helm.sh/release-name".to_owned(), "kb".to_owned())].into());
    api.create(&PostParams::default(), &foreign).await.unwrap();
    let error = crds::refuse_foreign(&service.client).await.unwrap_err().to_string();
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
        async move { crds::wait(&service, &[BACKUPS]).await }
    });
    never(Duration::from_secs(1), "served although absent", || async {
        waiting.is_finished().then_some(())
    })
    .await;
    let (status, body) = get(service.http_addr(), "/readyz").await;
    assert!(status == 503 && body.contains("CRDs"), "{status} {body}");
    api.create(&PostParams::default(), &backups()).await.unwrap();
    tokio::time::timeout(SOON, waiting).await.unwrap().unwrap();
    crds::refuse_foreign(&service.client).await.unwrap();
    assert_eq!(get(service.http_addr(), "/readyz").await.0, 200);
}
