//! Runs a tool: a child in its own process group, its output teed, signals passed on, orphans reaped.

use crate::command_line::CommandLine;
use crate::failure::Failure;
use crate::memory::Memory;
use crate::processes::{Ended, end_rest, wait_for};
use crate::secrets;
use crate::signals::Signals;
use crate::tee::{LogFile, Tee};
use holdfast_api::condition::Reason;
use nix::sys::prctl::set_child_subreaper;
use nix::unistd::{AccessFlags, Pid, access};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long the output may stay open after every process of the tool has ended.
const OUTPUT_WAIT: Duration = Duration::from_secs(10);
/// Where programs are looked for without a PATH (`confstr(_CS_PATH)`, as `execvp` does).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Runs the tool to its end.
///
/// # Errors
/// [`Reason::BadConfiguration`] if it cannot be started, [`Reason::Interrupted`] if we were told to stop,
/// [`Reason::OutOfMemory`] if the kernel ended a process of it for that, [`Reason::ToolFailed`] with the end of its output
/// if it fails, [`Reason::ProcessesLeft`] if it ends before its processes do.
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
    let memory = Memory::now();
    let child = command.spawn().map_err(|error| unstartable(program, &error))?;
    // It holds the pipe's other end, which must be the tool's alone.
    drop(command);
    let pid = i32::try_from(child.id()).map(Pid::from_raw);
    let pid = pid.map_err(|error| Failure::new(Reason::ToolFailed, error.to_string()))?;
    signals.set_group(Some(pid));
    let ended = wait_for(pid);
    let left = end_rest(signals);
    signals.set_group(None);
    let tail = tee.tail(OUTPUT_WAIT);
    if let Some(signal) = signals.seen() {
        let text = format!("the pod was told to stop ({signal}) before the tool was done");
        return Err(Failure::new(Reason::Interrupted, text));
    }
    let text = match ended {
        Ended::Exited(0) if left.is_empty() => return Ok(()),
        Ended::Exited(0) => return Err(unfinished(&left)),
        Ended::Exited(code) => format!("the tool exited with code {code}"),
        Ended::Killed(signal) => format!("the tool was ended by {signal}"),
        Ended::Unknown => "the tool's exit code is unknown".to_owned(),
    };
    let end = if tail.is_empty() {
        String::new()
    } else {
        format!(": {tail}")
    };
    if let Some(limit) = memory.ran_out() {
        let text = format!("the tool needed more memory than its limit{limit}, and the kernel ended it; {text}{end}");
        return Err(Failure::new(Reason::OutOfMemory, text));
    }
    Err(Failure::new(Reason::ToolFailed, format!("{text}{end}")))
}

/// Whether the tool's program is there and may be run, found as a shell and `execvp` find it.
///
/// # Errors
/// [`Reason::BadConfiguration`] if not.
pub(crate) fn check(argv: &[OsString]) -> Result<(), Failure> {
    let Some(program) = argv.first() else {
        return Err(Failure::new(Reason::BadConfiguration, "the tool has no command"));
    };
    let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let places: Vec<PathBuf> = if program.as_bytes().contains(&b'/') {
        vec![PathBuf::from(program)]
    } else {
        std::env::split_paths(&path).map(|dir| dir.join(program)).collect()
    };
    let mut found = std::io::ErrorKind::NotFound;
    for place in places.iter().filter(|place| place.is_file()) {
        match access(place.as_path(), AccessFlags::X_OK) {
            Ok(()) => return Ok(()),
            Err(_) => found = std::io::ErrorKind::PermissionDenied,
        }
    }
    Err(unstartable(program, &found.into()))
}

/// What a process was to write when it was ended is missing or cut off, whatever the tool said.
fn unfinished(left: &[String]) -> Failure {
    let text = format!(
        "the tool exited with code 0, but left processes running that had to be ended: {}; what they wrote may not be whole",
        left.join(", ")
    );
    Failure::new(Reason::ProcessesLeft, text)
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
