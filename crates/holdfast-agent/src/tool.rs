//! Runs a tool: a child in its own process group, its output teed, signals passed on, orphans reaped.

use crate::command_line::CommandLine;
use crate::failure::Failure;
use crate::processes::{Ended, end_rest, wait_for};
use crate::secrets;
use crate::signals::Signals;
use crate::tee::{LogFile, Tee};
use holdfast_api::condition::Reason;
use nix::sys::prctl::set_child_subreaper;
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long the output may stay open after every process of the tool has ended.
const OUTPUT_WAIT: Duration = Duration::from_secs(10);

/// Runs the tool to its end.
///
/// # Errors
/// [`Reason::BadConfiguration`] if it cannot be started, [`Reason::Cancelled`] if we were told to stop,
/// [`Reason::ToolFailed`] with the end of its output if it fails.
pub(crate) fn run(
    line: &CommandLine,
    backup_dir: Option<&Path>,
    log: Option<LogFile>,
    signals: &Signals,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Reason::ToolFailed, format!("start the tool: {error}"));
    let (program, arguments) = line
        .argv
        .split_first()
        .ok_or_else(|| Failure::new(Reason::BadConfiguration, "the tool has no command"))?;
    set_child_subreaper(true).map_err(|errno| failed(errno.into()))?;
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    let tee = Tee::start(reader, log, secrets::known()).map_err(failed)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(failed)?)
        .stderr(writer)
        .process_group(0);
    if let Some(dir) = backup_dir {
        command.env("BACKUP_DIR", dir);
    }
    let child = command.spawn().map_err(|error| unstartable(program, &error))?;
    // It holds the pipe's other end, which must be the tool's alone.
    drop(command);
    let pid = i32::try_from(child.id()).map(Pid::from_raw);
    let pid = pid.map_err(|error| Failure::new(Reason::ToolFailed, error.to_string()))?;
    signals.set_group(Some(pid));
    let ended = wait_for(pid);
    end_rest(signals);
    signals.set_group(None);
    let tail = tee.tail(OUTPUT_WAIT);
    if let Some(signal) = signals.seen() {
        let text = format!("the pod was told to stop ({signal}) before the tool was done");
        return Err(Failure::new(Reason::Cancelled, text));
    }
    let text = match ended {
        Ended::Exited(0) => return Ok(()),
        Ended::Exited(code) => format!("the tool exited with code {code}"),
        Ended::Killed(signal) => format!("the tool was ended by {signal}"),
        Ended::Unknown => "the tool's exit code is unknown".to_owned(),
    };
    let end = if tail.is_empty() {
        String::new()
    } else {
        format!(": {tail}")
    };
    Err(Failure::new(Reason::ToolFailed, format!("{text}{end}")))
}

/// The command itself is not shown: an argument may hold what must not be.
fn unstartable(program: &OsStr, error: &std::io::Error) -> Failure {
    let name = PathBuf::from(program);
    let name = name.file_name().unwrap_or(program).to_string_lossy();
    let text = format!("the tool's command `{name}` cannot be started in its image: {error}");
    let reason = match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => Reason::BadConfiguration,
        _ => Reason::ToolFailed,
    };
    Failure::new(reason, text)
}
