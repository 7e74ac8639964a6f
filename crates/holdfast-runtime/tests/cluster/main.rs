//! Against a real API server: leases, guarded writes, watches, events and the guard of the CRDs.
#![allow(clippy::disallowed_methods, reason = "tests play those who write as they like")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod crds;
mod events;
mod lease;
mod stored;
#[path = "../support/mod.rs"]
mod support;
mod watch;
mod write;

use holdfast_runtime::Service;
use holdfast_testkit::ApiServer;

/// A service on the shared API server, in a namespace of its own.
async fn service(name: &'static str, pod: &str, namespace: &str) -> Service {
    let config = ApiServer::shared().await.config().await.unwrap();
    let args = support::args(&[&format!("--namespace={namespace}"), &format!("--pod-name={pod}")]);
    Service::start_with(name, &args, config).unwrap()
}
