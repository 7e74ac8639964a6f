//! What every service can be told, by flag or by environment.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use clap::ValueEnum;
use holdfast_core::settings::DataPods;
use k8s_openapi::api::core::v1::LocalObjectReference;

/// Arguments that all services share; flatten them into a service's own.
#[derive(clap::Args, Clone, Debug)]
pub struct CommonArgs {
    /// Address that serves /livez, /readyz and /metrics.
    #[arg(long, env = "HOLDFAST_HTTP_ADDR", default_value = "0.0.0.0:8080")]
    pub http_addr: SocketAddr,
    /// Namespace that the service runs in; its lease lies there.
    #[arg(long, env = "HOLDFAST_NAMESPACE", default_value = "holdfast-system")]
    pub namespace: String,
    /// Name of the pod that the service runs in; names the holder of a lease and the reporter of events.
    #[arg(long, env = "HOLDFAST_POD_NAME", default_value = "")]
    pub pod_name: String,
    /// URL of the NATS server, such as `nats://holdfast-nats:4222`; empty runs without a bus.
    #[arg(long, env = "HOLDFAST_NATS_URL", default_value = "")]
    pub nats_url: String,
    /// NATS user; empty means the name of the service.
    #[arg(long, env = "HOLDFAST_NATS_USER", default_value = "")]
    pub nats_user: String,
    /// File that holds the password of the NATS user; read again at each connection. The password itself is never an
    /// argument: command lines are not secret.
    #[arg(long, env = "HOLDFAST_NATS_PASSWORD_FILE")]
    pub nats_password_file: Option<PathBuf>,
    /// What is logged: a level, or directives such as `info,holdfast_executor=debug`.
    #[arg(long, env = "HOLDFAST_LOG", default_value = "info")]
    pub log: String,
    /// Format of log lines.
    #[arg(long, env = "HOLDFAST_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
    /// OTLP gRPC endpoint that traces go to, such as `http://collector:4317`; empty sends none.
    #[arg(long, env = "HOLDFAST_OTLP_ENDPOINT", default_value = "")]
    pub otlp_endpoint: String,
    /// Seconds that work in flight gets to finish after a signal to stop.
    #[arg(long, env = "HOLDFAST_DRAIN_SECONDS", default_value_t = 20)]
    pub drain_seconds: u64,
}

impl CommonArgs {
    /// How long work in flight may take after a signal to stop.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

/// What an installation puts on the pods that hold the agent; flatten it into the arguments of a service that starts some.
#[derive(clap::Args, Clone, Debug)]
pub struct DataPodArgs {
    /// Labels of pods that hold the agent, and of their Jobs, as a JSON object; admission policies may want some.
    #[arg(long, env = "HOLDFAST_DATA_POD_LABELS", default_value = "{}", value_parser = texts)]
    pub data_pod_labels: Texts,
    /// Annotations of the same.
    #[arg(long, env = "HOLDFAST_DATA_POD_ANNOTATIONS", default_value = "{}", value_parser = texts)]
    pub data_pod_annotations: Texts,
    /// Secrets of their namespaces that they pull images with, besides those of the workload, as a JSON array of objects with
    /// a `name`.
    #[arg(long, env = "HOLDFAST_DATA_POD_PULL_SECRETS", default_value = "[]", value_parser = names)]
    pub data_pod_pull_secrets: Names,
    /// Whether these pods run as the pod that they work beside, and never as root, in every namespace; otherwise only in
    /// those under Pod Security `restricted`.
    #[arg(long, env = "HOLDFAST_DATA_PODS_RESTRICTED", default_value_t = false, action = clap::ArgAction::Set)]
    pub data_pods_restricted: bool,
}

/// Texts by name.
#[derive(Clone, Debug, Default)]
pub struct Texts(BTreeMap<String, String>);

fn texts(json: &str) -> Result<Texts, String> {
    let texts: BTreeMap<String, String> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    match texts.keys().find(|key| key.starts_with("holdfast.io/")) {
        Some(key) => Err(format!("{key} is Holdfast's own")),
        None => Ok(Texts(texts)),
    }
}

/// Names of objects.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<String>);

fn names(json: &str) -> Result<Names, String> {
    let found: Vec<LocalObjectReference> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let names: Vec<String> = found.into_iter().map(|one| one.name).collect();
    if names.iter().any(String::is_empty) {
        return Err("one of them has no name".to_owned());
    }
    Ok(Names(names))
}

impl DataPodArgs {
    /// The part that decisions depend on.
    pub fn data_pods(&self) -> DataPods {
        DataPods {
            labels: self.data_pod_labels.0.clone(),
            annotations: self.data_pod_annotations.0.clone(),
            pull_secrets: self.data_pod_pull_secrets.0.clone(),
            restricted: self.data_pods_restricted,
        }
    }
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, for collectors.
    Json,
    /// For people.
    Text,
}
