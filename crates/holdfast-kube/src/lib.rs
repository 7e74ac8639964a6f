//! Every request to Kubernetes: reads, lists, and writes that are guarded by resourceVersion or uid.
//!
//! A request has a deadline, and its error says what to do. Nothing here serves, publishes or measures, so that a
//! command-line tool can use it as well as a service.

#![warn(clippy::missing_errors_doc)]
// The one place that calls them: everybody else comes here, and so has deadlines and guards.
#![allow(clippy::disallowed_methods)]

mod apply;
mod error;
mod read;
mod write;

use std::{future::Future, time::Duration};

pub use apply::{Applied, apply, delete_target, patch_target};
pub use error::{Category, Retry, WriteError};
pub use holdfast_core::key::Key;
pub use read::{Read, demands_of, get, list, list_metadata, read, warnings_about};
pub use write::{Propagation, create, delete, patch, patch_metadata, put_status};

/// How long a request may take. A write whose answer does not come has an unknown outcome: who wrote reads again.
pub const DEADLINE: Duration = Duration::from_secs(20);

async fn in_time<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, WriteError> {
    match tokio::time::timeout(DEADLINE, request).await {
        Ok(answer) => Ok(answer?),
        Err(late) => Err(WriteError::Transient(kube::Error::Service(Box::new(late)))),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{
        Api, Client,
        api::{ListParams, ObjectMeta},
        client::Body,
    };
    use serde_json::json;

    use super::*;

    /// An API server that takes requests and never answers, as one behind a connection that was dropped silently.
    fn silent() -> Client {
        let service = tower::service_fn(|_: http::Request<Body>| {
            std::future::pending::<Result<http::Response<Body>, tower::BoxError>>()
        });
        Client::new(service, "default")
    }

    async fn gives_up<T>(what: &str, request: impl Future<Output = Result<T, WriteError>>) {
        let began = tokio::time::Instant::now();
        // Long after any deadline: without one this would never end.
        let outcome = tokio::time::timeout(DEADLINE * 10, request).await;
        assert!(matches!(outcome, Ok(Err(WriteError::Transient(_)))), "{what}");
        assert!(began.elapsed() <= DEADLINE + Duration::from_secs(1), "{what}");
    }

    #[tokio::test(start_paused = true)]
    async fn every_request_has_a_deadline() {
        let api: Api<ConfigMap> = Api::default_namespaced(silent());
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some("c".to_owned()),
                uid: Some("u".to_owned()),
                resource_version: Some("1".to_owned()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        };
        let all = ListParams::default();
        gives_up("get", get(&api, "c")).await;
        gives_up("read", read::<ConfigMap>(silent(), Some("ns"), "c")).await;
        gives_up("list", list(&api, &all)).await;
        gives_up("list of metadata", list_metadata(&api, &all)).await;
        gives_up("create", create(&api, &object)).await;
        gives_up("status", put_status(&api, &object)).await;
        gives_up("patch", patch(&api, &object, json!({"data": {"a": "b"}}))).await;
        gives_up("metadata", patch_metadata(&api, &object, json!({"labels": null}))).await;
        gives_up("delete", delete(&api, "c", "u", None, Propagation::Background)).await;
    }
}
