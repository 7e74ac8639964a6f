//! Logs and traces. Logs go to standard error as JSON or text; traces go to an OTLP endpoint, if there is one.

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{CommonArgs, args::LogFormat};

/// How long the last traces may take to leave.
const FLUSH: Duration = Duration::from_secs(3);

/// Libraries that report what the services report themselves, or quote whole objects, credentials and all, when one
/// cannot be read; directives of the user come later and win.
const QUIET: &str = "async_nats=off,kube_client::client=error,kube_client::client::builder=off";

/// Keeps what must be flushed when the service ends.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sets up logs and traces of the process. In a process that has them already, as tests do, the first stay.
    ///
    /// # Errors
    ///
    /// The directives for the log cannot be read, or the endpoint for traces is no address.
    pub fn init(service: &'static str, args: &CommonArgs) -> anyhow::Result<Self> {
        let filter = EnvFilter::try_new(format!("{QUIET},{}", args.log))
            .with_context(|| format!("log directives {:?}", args.log))?;
        let lines = match args.log_format {
            LogFormat::Json => tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .with_writer(std::io::stderr)
                .boxed(),
            LogFormat::Text => tracing_subscriber::fmt::layer().with_writer(std::io::stderr).boxed(),
        };
        let traces = provider(service, args)?;
        let spans = traces.as_ref().map(|traces| {
            tracing_opentelemetry::layer()
                // Activated spans have begun, and one that has begun cannot follow a parent that is read from its object.
                .with_context_activation(false)
                .with_tracer(traces.tracer("holdfast"))
                .boxed()
        });
        if let Err(error) = tracing_subscriber::registry()
            .with(filter)
            .with(lines)
            .with(spans)
            .try_init()
        {
            tracing::debug!(%error, "logs are set up already");
        }
        Ok(Self { traces })
    }

    /// Sends the spans that are still here.
    pub async fn flush(&self) {
        let Some(traces) = self.traces.clone() else { return };
        // The exporter blocks its caller, and the caller's runtime does the sending.
        let sent = tokio::task::spawn_blocking(move || traces.shutdown_with_timeout(FLUSH)).await;
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last traces were not sent"),
            Err(error) => tracing::warn!(%error, "the last traces were not sent"),
        }
    }
}

fn provider(service: &'static str, args: &CommonArgs) -> anyhow::Result<Option<SdkTracerProvider>> {
    if args.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&args.otlp_endpoint)
        .build()
        .with_context(|| format!("OTLP endpoint {}", args.otlp_endpoint))?;
    let resource = Resource::builder()
        .with_service_name(format!("holdfast-{service}"))
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", args.pod_name.clone()),
            KeyValue::new("k8s.namespace.name", args.namespace.clone()),
        ])
        .build();
    Ok(Some(
        SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build(),
    ))
}
