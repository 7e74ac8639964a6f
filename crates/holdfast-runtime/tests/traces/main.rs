//! Against a collector that speaks OTLP: spans arrive, in the trace that they belong to. A binary of its own, because a
//! process has its traces set up once.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

#[path = "../support/mod.rs"]
mod support;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use holdfast_runtime::{Next, Queue, queue::work, trace, watch::Key, write::WriteError};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::Span,
};
use support::{SOON, lonely};
use tonic::{Request, Response, Status, transport::Server};

#[derive(Clone, Default)]
struct Collector {
    services: Arc<Mutex<Vec<String>>>,
    spans: Arc<Mutex<Vec<Span>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for from in request.into_inner().resource_spans {
            for attribute in from.resource.unwrap_or_default().attributes {
                if attribute.key == "service.name" {
                    self.services.lock().unwrap().push(format!("{:?}", attribute.value));
                }
            }
            let spans = from.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.spans.lock().unwrap().extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn collect(collector: Collector) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = Server::builder().add_service(TraceServiceServer::new(collector));
    tokio::spawn(server.serve_with_incoming(incoming));
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_spans_leave_before_the_service_ends_and_follow_their_parent() {
    let collector = Collector::default();
    let address = collect(collector.clone()).await;
    let service = lonely(
        "executor",
        &[&format!("--otlp-endpoint=http://{address}"), "--log=info"],
    );
    let queue = Queue::new("backups");
    queue.push(Key::new("shop", "nightly"));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let running = service.run(move |service| async move {
        let shutdown = service.shutdown.clone();
        work(&service, queue, 1, move |_| {
            let shutdown = shutdown.clone();
            async move {
                trace::follow(Some(parent));
                // Who goes on with the trace names this run as the parent.
                let carried = trace::parse(&trace::new_traceparent()).unwrap();
                assert_eq!(carried.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
                shutdown.cancel();
                Ok::<_, WriteError>(Next::AwaitChange)
            }
        })
        .await;
        Ok(())
    });
    tokio::time::timeout(SOON, running).await.unwrap().unwrap();
    let spans = collector.spans.lock().unwrap();
    let run = spans.iter().find(|span| span.name == "reconcile").unwrap();
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0_u128, |number, byte| number << 8 | u128::from(*byte))
    };
    assert_eq!(number(&run.trace_id), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    assert_eq!(number(&run.parent_span_id), 0x00f0_67aa_0ba9_02b7);
    let services = collector.services.lock().unwrap();
    assert!(
        services.iter().any(|name| name.contains("holdfast-executor")),
        "{services:?}"
    );
}
