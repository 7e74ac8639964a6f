//! Counts requests to the API server, so that what a backup costs can be seen, and gives up those that nobody answers.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::http::{Method, Request, Response};
use futures::future::{BoxFuture, FutureExt as _};
use prometheus::IntCounterVec;
use tower::{BoxError, Layer, Service};

/// How long the first byte of an answer may take. Longer than a read or write may take as a whole: this is for the lists
/// and watches that a watch begins with, which have no deadline of their own.
const ANSWER: Duration = Duration::from_secs(30);

/// Wraps the HTTP service of a client.
#[derive(Clone, Debug)]
pub(crate) struct CountRequests {
    pub(crate) total: IntCounterVec,
}

impl<S> Layer<S> for CountRequests {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting {
            inner,
            total: self.total.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Counting<S> {
    inner: S,
    total: IntCounterVec,
}

impl<S, A, B> Service<Request<A>> for Counting<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: 'static,
    S::Error: Into<BoxError> + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (verb, resource) = (verb(&request), resource(request.uri().path()).to_owned());
        let (total, answer): (_, Pin<Box<S::Future>>) = (self.total.clone(), Box::pin(self.inner.call(request)));
        async move {
            let answer = match tokio::time::timeout(ANSWER, answer).await {
                Ok(answer) => answer.map_err(Into::into),
                Err(late) => Err(late.into()),
            };
            let code = answer.as_ref().map_or("none", |answer| class(answer.status().as_u16()));
            total.with_label_values(&[verb, &resource, code]).inc();
            answer
        }
        .boxed()
    }
}

fn verb<A>(request: &Request<A>) -> &'static str {
    let query = request.uri().query().unwrap_or_default();
    let watches = query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1");
    match *request.method() {
        Method::GET if watches => "watch",
        Method::GET if is_object(request.uri().path()) => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// The parts of a path after the group and version: `[namespaces, <ns>,] <resource>[, <name>[, <subresource>]]`.
fn parts(path: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let prefix = match parts.first() {
        Some(&"api") => 2,
        Some(&"apis") => 3,
        _ => return Vec::new(),
    };
    parts.drain(..prefix.min(parts.len()));
    if parts.len() > 2 && parts.first() == Some(&"namespaces") {
        parts.drain(..2);
    }
    parts
}

fn resource(path: &str) -> &str {
    parts(path).first().copied().unwrap_or("other")
}

fn is_object(path: &str) -> bool {
    parts(path).len() > 1
}

fn class(status: u16) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_the_resource_and_never_an_object() {
        for (path, named, object) in [
            ("/api/v1/namespaces/a/pods", "pods", false),
            ("/api/v1/namespaces/a/pods/b", "pods", true),
            ("/api/v1/namespaces/a", "namespaces", true),
            ("/apis/batch/v1/jobs", "jobs", false),
            (
                "/apis/dataprotection.kubeblocks.io/v1alpha1/namespaces/a/backups/b/status",
                "backups",
                true,
            ),
            ("/version", "other", false),
        ] {
            assert_eq!(resource(path), named, "{path}");
            assert_eq!(is_object(path), object, "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_nobody_answers_ends_and_is_counted() {
        let total = IntCounterVec::new(prometheus::Opts::new("t", "t"), &["verb", "resource", "code"]).unwrap();
        let silent = tower::service_fn(|_: Request<()>| std::future::pending::<Result<Response<()>, BoxError>>());
        let mut client = CountRequests { total: total.clone() }.layer(silent);
        let list = Request::get("/api/v1/pods?limit=500").body(()).unwrap();
        let error = client.call(list).await.unwrap_err();
        assert!(error.is::<tokio::time::error::Elapsed>(), "{error}");
        assert_eq!(total.with_label_values(&["list", "pods", "none"]).get(), 1);
    }
}
