//! A restore service at work.

use std::{
    thread::JoinHandle,
    time::{Duration, Instant},
};

use clap::Parser as _;
use holdfast_restore::Args;
use holdfast_runtime::{CancellationToken, Service};
use holdfast_testkit::{ApiServer, permissions, stage::aside};
use tokio::sync::OnceCell;

/// Seconds that the services under test wait for what is not ready: more than a step takes, less than a test may.
pub(crate) const NOT_READY_TIMEOUT: u32 = 6;

/// A running restore service, on a thread and a runtime of its own: tests come and go.
pub(crate) struct Restore {
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Restore {
    /// Starts a replica of this name with the rights of the service.
    pub(crate) async fn start(server: &ApiServer, name: &str) -> Self {
        let timeout = format!("--not-ready-timeout-seconds={NOT_READY_TIMEOUT}");
        let arguments = [
            "holdfast-restore",
            "--agent-image=agent:test",
            "--http-addr=127.0.0.1:0",
            "--namespace=default",
            "--log=warn",
            "--log-format=text",
            &timeout,
            "--pod-name",
            name,
        ];
        let args = Args::try_parse_from(arguments).expect("valid arguments");
        let config = permissions::as_service(server, "restore", "default")
            .await
            .expect("the rights of the chart");
        let (stop, thread) = aside(move |started| async move {
            let service = Service::start_with("restore", &args.common, config).expect("a service");
            started.send(service.shutdown.clone()).expect("a listener");
            let ran = service.run(|service| holdfast_restore::run(service, args)).await;
            ran.expect("a restore service that runs");
        });
        Self { stop, thread }
    }

    /// Stops it as Kubernetes does, and waits until it is gone: its lease is released.
    pub(crate) fn stop(self) {
        let began = Instant::now();
        self.stop.cancel();
        self.thread.join().expect("a restore service that ends");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(10), "work still ran: stopped after {took:?}");
    }
}

/// The server whose one restore service most tests share.
pub(crate) async fn shared() -> &'static ApiServer {
    static RESTORE: OnceCell<Restore> = OnceCell::const_new();
    let server = Box::pin(ApiServer::shared()).await;
    RESTORE.get_or_init(|| Restore::start(server, "restore-shared")).await;
    server
}
