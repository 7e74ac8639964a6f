//! A real NATS server.

use std::{path::PathBuf, time::Duration};

use anyhow::bail;
use tempfile::TempDir;

use crate::process::{Process, binary, free_port};

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_mins(1);

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Nats {
    dir: TempDir,
    port: u16,
    env: Vec<(String, String)>,
    process: Option<Process>,
}

impl Nats {
    /// Starts a server with this configuration on a free port of the loopback interface; it keeps its data in a
    /// directory of its own. `env` is what the configuration takes from the environment.
    pub async fn start(config: &str, env: &[(&str, &str)]) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("holdfast-nats-").tempdir()?;
        std::fs::write(dir.path().join("nats.conf"), config)?;
        let env = env
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let mut nats = Self {
            dir,
            port: free_port()?,
            env,
            process: None,
        };
        nats.run().await?;
        Ok(nats)
    }

    /// Starts a server with JetStream that lets everybody do everything.
    pub async fn start_open() -> anyhow::Result<Self> {
        Self::start("jetstream {}\n", &[]).await
    }

    /// Address to connect to.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills the server; its data stays.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same port with the data it had.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop();
        self.run().await
    }

    /// Starts it again as if its volume had been lost.
    pub async fn restart_empty(&mut self) -> anyhow::Result<()> {
        self.stop();
        std::fs::remove_dir_all(self.store())?;
        self.run().await
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        let args = [
            "--config".to_owned(),
            self.dir.path().join("nats.conf").display().to_string(),
            "--addr=127.0.0.1".to_owned(),
            format!("--port={}", self.port),
            // The monitor is asked by nobody here, and its port may be taken.
            "--http_port=-1".to_owned(),
            "--jetstream".to_owned(),
            format!("--store_dir={}", self.store().display()),
        ];
        let log = self.dir.path().join("nats.log");
        let mut process = Process::start("nats-server", &binary("nats-server")?, &args, &self.env, &log)?;
        let began = std::time::Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            process.check()?;
            if began.elapsed() > START {
                bail!("nats-server does not listen after {START:?}:\n{}", process.tail());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.process = Some(process);
        Ok(())
    }
}
