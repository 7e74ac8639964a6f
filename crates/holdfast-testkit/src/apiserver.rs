//! A real etcd and kube-apiserver, without nodes or controllers: objects are stored, validated and watched, and nothing
//! else happens to them.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, bail};
use http::Request;
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{
    pki,
    process::{Process, binary, free_port, write_private},
};

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_mins(2);
/// A port may be taken between being found free and being used.
const ATTEMPTS: usize = 3;

static SHARED: OnceCell<ApiServer> = OnceCell::const_new();
static NAMES: AtomicU32 = AtomicU32::new(0);

/// A running API server that serves the CRDs of Holdfast.
#[derive(Debug)]
pub struct ApiServer {
    dir: TempDir,
    port: u16,
    // Dropped in this order: the API server would complain about an etcd that is gone.
    server: Process,
    _etcd: Process,
}

impl ApiServer {
    /// Starts a server of one's own and applies the CRDs.
    pub async fn start() -> anyhow::Result<Self> {
        let server = Self::start_bare().await?;
        let api: Api<CustomResourceDefinition> = Api::all(server.client().await?);
        let mut names = Vec::new();
        for (_, document) in holdfast_api::crds::all()? {
            let crd = api
                .create(&PostParams::default(), &serde_json::from_value(document)?)
                .await?;
            names.extend(crd.metadata.name);
        }
        for name in names {
            server.established(&api, &name).await?;
        }
        Ok(server)
    }

    /// Starts a server of one's own without CRDs.
    pub async fn start_bare() -> anyhow::Result<Self> {
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            match Self::try_start().await {
                Ok(server) => return Ok(server),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| anyhow::anyhow!("no attempt was made")))
    }

    /// The server that all tests of this process share.
    #[allow(clippy::panic, reason = "no test can go on without its server")]
    pub async fn shared() -> &'static Self {
        SHARED
            .get_or_init(|| async {
                Self::start()
                    .await
                    .unwrap_or_else(|error| panic!("the API server does not start: {error:#}"))
            })
            .await
    }

    async fn try_start() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("holdfast-apiserver-").tempdir()?;
        let kube = binary("kube")?;
        pki::make(dir.path())?;
        let (client_port, peer_port, port) = (free_port()?, free_port()?, free_port()?);
        let etcd = start_etcd(&kube, dir.path(), client_port, peer_port)?;
        let server = start_server(&kube, dir.path(), client_port, port)?;
        write_private(&dir.path().join("kubeconfig"), &kubeconfig(port).to_string())?;
        let mut running = Self {
            dir,
            port,
            server,
            _etcd: etcd,
        };
        running.ready().await?;
        Ok(running)
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let client = self.client().await?;
        let began = std::time::Instant::now();
        loop {
            self.server.check()?;
            let request = Request::get("/readyz").body(Vec::new())?;
            if client.request_text(request).await.is_ok() {
                return Ok(());
            }
            if began.elapsed() > START {
                bail!("the API server is not ready after {START:?}:\n{}", self.server.tail());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn established(&self, api: &Api<CustomResourceDefinition>, name: &str) -> anyhow::Result<()> {
        let began = std::time::Instant::now();
        loop {
            let status = api.get(name).await?.status.unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            if conditions
                .iter()
                .any(|one| one.type_ == "Established" && one.status == "True")
            {
                return Ok(());
            }
            if began.elapsed() > START {
                bail!("the CRD {name} is not established: {conditions:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// File that kubectl and services connect by, as cluster administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// Address of the server.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// How to connect as cluster administrator.
    pub async fn config(&self) -> anyhow::Result<Config> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig())?;
        Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
    }

    /// How to connect as somebody else, to try what they may do.
    pub async fn config_as(&self, user: &str) -> anyhow::Result<Config> {
        let mut config = self.config().await?;
        config.auth_info.impersonate = Some(user.to_owned());
        Ok(config)
    }

    /// A client of the calling runtime, as cluster administrator.
    pub async fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::try_from(self.config().await?)?)
    }

    /// Creates a namespace that no other test has.
    pub async fn namespace(&self, prefix: &str) -> anyhow::Result<String> {
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{}-{number}", std::process::id());
        let api: Api<Namespace> = Api::all(self.client().await?);
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            ..ObjectMeta::default()
        };
        api.create(
            &PostParams::default(),
            &Namespace {
                metadata,
                ..Namespace::default()
            },
        )
        .await?;
        Ok(name)
    }

    /// Runs kubectl and answers what it prints.
    pub fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(binary("kube")?)
            .arg("kubectl")
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(args)
            .output()
            .context("kubectl")?;
        if !output.status.success() {
            bail!(
                "kubectl {}: {}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Stops the server without ending it, as an overloaded or unreachable one looks.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.server.signal("STOP")
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.server.signal("CONT")
    }
}

fn start_etcd(kube: &Path, dir: &Path, client: u16, peer: u16) -> anyhow::Result<Process> {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let args = [
        "etcd".to_owned(),
        format!("--data-dir={}", dir.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    Process::start("etcd", kube, &args, &[], &dir.join("etcd.log"))
}

fn start_server(kube: &Path, dir: &Path, etcd: u16, port: u16) -> anyhow::Result<Process> {
    let file = |name: &str| dir.join(name).display().to_string();
    let args = [
        "kube-apiserver".to_owned(),
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        // There is no network of services to announce the server in.
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", file("certs")),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--allow-privileged=true".to_owned(),
        // No controller makes the service accounts that pods would need.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
    ];
    Process::start("kube-apiserver", kube, &args, &[], &dir.join("apiserver.log"))
}

/// JSON is YAML: no writer of YAML is needed.
fn kubeconfig(port: u16) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "certificate-authority": "ca.crt",
        } }],
        "users": [{ "name": "admin", "user": { "client-certificate": "admin.crt", "client-key": "admin.key" } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "admin" } }],
        "current-context": "test",
    })
}
