//! A gc at work, and what it measures.

use std::collections::BTreeMap;

use clap::Parser as _;
use holdfast_gc::Args;
use holdfast_runtime::{CancellationToken, Service, metrics::Registry};
use holdfast_testkit::{ApiServer, stage::aside};
use tokio::sync::OnceCell;

/// A running gc. It has a thread and a runtime of its own: tests come and go.
pub(crate) struct Gc {
    stop: CancellationToken,
    metrics: Registry,
}

impl Gc {
    pub(crate) async fn start(server: &ApiServer, name: &str) -> Self {
        let arguments = [
            "holdfast-gc",
            "--agent-image=agent:test",
            "--http-addr=127.0.0.1:0",
            "--namespace=default",
            "--log=warn",
            "--log-format=text",
            "--pod-name",
            name,
        ];
        let args = Args::try_parse_from(arguments).expect("valid arguments");
        let config = server.config().await.expect("a kubeconfig");
        let ((stop, metrics), _) = aside(move |started| async move {
            let service = Service::start_with("gc", &args.common, config).expect("a service");
            let handles = (service.shutdown.clone(), service.metrics.clone());
            started.send(handles).expect("a listener");
            let ran = service.run(|service| holdfast_gc::run(service, args)).await;
            ran.expect("a gc that runs");
        });
        Self { stop, metrics }
    }

    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// The values of one metric, by its labels joined with spaces.
    pub(crate) fn values(&self, name: &str) -> BTreeMap<String, u64> {
        let mut values = BTreeMap::new();
        for family in self.metrics.gather().iter().filter(|family| family.name() == name) {
            for metric in family.get_metric() {
                let mut labels = Vec::new();
                for label in metric.get_label() {
                    labels.push(label.value());
                }
                // Counts are whole numbers.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let value = (metric.get_counter().get_value() + metric.get_gauge().get_value()) as u64;
                *values.entry(labels.join(" ")).or_default() += value;
            }
        }
        values
    }
}

/// The server and the one gc that most tests share.
pub(crate) async fn shared() -> (&'static ApiServer, &'static Gc) {
    static GC: OnceCell<Gc> = OnceCell::const_new();
    let server = ApiServer::shared().await;
    let gc = GC.get_or_init(|| Gc::start(server, "gc-shared")).await;
    (server, gc)
}
