//! Child processes that never outlive the test process.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{LazyLock, mpsc},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};

/// Directory of the servers that tests run: `$HOLDFAST_BIN`, else `bin` in Holdfast's cache directory.
pub fn binaries() -> PathBuf {
    if let Some(path) = std::env::var_os("HOLDFAST_BIN") {
        return path.into();
    }
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    std::env::var_os("XDG_CACHE_HOME")
        .map_or_else(home, PathBuf::from)
        .join("holdfast/bin")
}

/// The binary of this name, or what to do when it is not built.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let path = binaries().join(name);
    if !path.is_file() {
        bail!("{} does not exist: run `make tools`", path.display());
    }
    Ok(path)
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with its output in `log`. The kernel kills it when this process ends, however it ends.
    pub fn start(
        name: &str,
        program: &Path,
        args: &[String],
        env: &[(String, String)],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(args)
            .envs(env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = keep(command).with_context(|| format!("cannot start {name} ({})", program.display()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error with the end of the log, if the process has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended ({status}):\n{}", self.name, self.tail()),
            None => Ok(()),
        }
    }

    /// The end of what it printed.
    pub fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let from = text.len().saturating_sub(4096);
        String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned()
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name, such as `STOP`, `CONT` or `TERM`.
    pub fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(self.id().to_string())
            .status()?;
        if !status.success() {
            bail!("signal {signal} to {} failed: {status}", self.name);
        }
        Ok(())
    }

    /// Waits for its end by itself, at most this long.
    pub fn wait(&mut self, deadline: Duration) -> anyhow::Result<std::process::ExitStatus> {
        let began = std::time::Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if began.elapsed() > deadline {
                bail!("{} still runs after {deadline:?}:\n{}", self.name, self.tail());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

type Request = (Command, mpsc::Sender<std::io::Result<Child>>);

/// The kernel counts the end of the thread that started a child as the end of its parent, and each test has a thread of
/// its own: so one thread that never ends starts them all.
static KEEPER: LazyLock<mpsc::Sender<Request>> = LazyLock::new(|| {
    let (sender, requests) = mpsc::channel::<Request>();
    std::thread::spawn(move || {
        for (mut command, answer) in requests {
            // Who asked waits for the answer.
            let _ = answer.send(command.spawn());
        }
    });
    sender
});

fn keep(command: Command) -> anyhow::Result<Child> {
    let (sender, answer) = mpsc::channel();
    KEEPER
        .send((command, sender))
        .map_err(|_| anyhow!("the thread that starts processes is gone"))?;
    Ok(answer.recv()??)
}

/// A port of the loopback interface that nobody uses now.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
