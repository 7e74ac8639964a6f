//! A volume in a temporary directory and the real agent at work in it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses its part; a test that cannot set up its place fails"
)]

use holdfast_api::agent::AgentResult;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const AGENT: &str = env!("CARGO_BIN_EXE_holdfast-agent");
/// How long anything here may take.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A volume, target volumes and a termination log.
pub struct Bench {
    home: TempDir,
    pub root: PathBuf,
}

/// How an agent ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub result: AgentResult,
    pub output: String,
}

impl Bench {
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("volume");
        fs::create_dir_all(&root).unwrap();
        Self { home, root }
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A path beside the volume.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The agent for backup `u-1` named `b1` at `/ns/shop/b1`, run 1, pod `pod-1`. What stands after `--` is the tool's
    /// command in its assignment.
    pub fn agent(&self, arguments: &[&str]) -> Agent {
        self.agent_by(Command::new(AGENT), arguments)
    }

    /// The same agent, with a process namespace of its own as in a container: its pid is 1.
    pub fn contained(&self, arguments: &[&str]) -> Agent {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", AGENT]);
        self.agent_by(command, arguments)
    }

    fn agent_by(&self, command: Command, arguments: &[&str]) -> Agent {
        let mut parts = arguments.split(|argument| *argument == "--");
        let arguments = parts.next().unwrap_or_default();
        let tool = parts.next().unwrap_or(&["true"]);
        self.assigned_by(
            command,
            arguments,
            &json!({"command": tool, "record": {"backup": {"spec": {"backupPolicyName": "p"}}}}),
        )
    }

    /// The agent with this assignment.
    pub fn assigned(&self, arguments: &[&str], assignment: &Value) -> Agent {
        self.assigned_by(Command::new(AGENT), arguments, assignment)
    }

    fn assigned_by(&self, mut command: Command, arguments: &[&str], assignment: &Value) -> Agent {
        let path = std::env::var("PATH").unwrap_or_default();
        let terminated = self.beside(&format!("termination-{:?}", Instant::now()));
        let file = self.beside(&format!("assignment-{:?}", Instant::now()));
        fs::write(&file, assignment.to_string()).unwrap();
        command
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .env("HOLDFAST_BACKUP_UID", "u-1")
            .env("HOLDFAST_BACKUP_NAME", "b1")
            .env("HOLDFAST_POD_UID", "pod-1")
            .env("HOLDFAST_RUN", "1")
            .env("HOLDFAST_PATH", "/ns/shop/b1")
            .env("HOLDFAST_REPOSITORY_ROOT", &self.root)
            .env("HOLDFAST_TERMINATION_LOG", &terminated)
            .env("HOLDFAST_ASSIGNMENT", file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Agent { command, terminated }
    }

    /// The agent running a shell script as its tool.
    pub fn backup(&self, script: &str) -> Agent {
        self.agent(&["run", "--", "sh", "-c", script])
    }

    /// A sealed backup of two files.
    pub fn sealed(&self) -> String {
        let ended = self
            .backup("mkdir $BACKUP_DIR/d; echo one >$BACKUP_DIR/a; echo two >$BACKUP_DIR/d/b")
            .run();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.result.digest.unwrap()
    }
}

/// An agent about to run.
pub struct Agent {
    pub command: Command,
    pub terminated: PathBuf,
}

impl Agent {
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn spawn(mut self) -> Running {
        Running {
            child: self.command.spawn().unwrap(),
            terminated: self.terminated,
        }
    }

    pub fn run(self) -> Ended {
        self.spawn().wait()
    }
}

/// An agent at work.
pub struct Running {
    pub child: Child,
    terminated: PathBuf,
}

impl Running {
    pub fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub fn wait(self) -> Ended {
        let Output { status, stdout, stderr } = self.child.wait_with_output().unwrap();
        let output = format!(
            "{}{}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        );
        let told = fs::read_to_string(&self.terminated).unwrap_or_default();
        assert!(told.len() <= 1025, "{told}");
        let result = AgentResult::decode(&told).unwrap_or_default();
        if !told.is_empty() {
            assert_eq!(AgentResult::decode(&output).unwrap(), result);
        }
        Ended {
            code: status.code(),
            result,
            output,
        }
    }
}

/// Waits for something to become true.
pub fn until(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a file says.
pub fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}
