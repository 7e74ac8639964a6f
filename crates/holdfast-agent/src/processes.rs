//! The tool's processes: started in a group of their own, waited for, and what they leave behind ended.

use crate::log::say;
use crate::signals::Signals;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::thread::sleep;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);
/// How long processes that outlive the tool may take by themselves, after SIGTERM, and after SIGKILL.
const PATIENCE: [(Option<Signal>, Duration); 3] = [
    (None, Duration::from_secs(5)),
    (Some(Signal::SIGTERM), Duration::from_secs(10)),
    (Some(Signal::SIGKILL), Duration::from_secs(10)),
];

/// So many of them are named.
const NAMED_MAX: usize = 5;

/// How the tool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It exited with this code.
    Exited(i32),
    /// A signal ended it.
    Killed(Signal),
    /// It cannot be told.
    Unknown,
}

/// Waits for the tool, and reaps orphans that fall to us meanwhile.
pub(crate) fn wait_for(tool: Pid) -> Ended {
    loop {
        match waitpid(None::<Pid>, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == tool => return Ended::Exited(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == tool => return Ended::Killed(signal),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return Ended::Unknown,
        }
    }
}

/// Waits for processes that outlived the tool, then ends them: nobody may write after the tool's word that it is
/// done. We are their reaper, so each of them becomes our child when its parent ends. Answers which ones did not end by
/// themselves: what they were to write is not there.
pub(crate) fn end_rest(signals: &Signals) -> Vec<String> {
    let mut ended = Vec::new();
    for (signal, patience) in PATIENCE {
        if !reap() {
            return ended;
        }
        if let Some(signal) = signal {
            if ended.is_empty() {
                ended = children().into_iter().map(|child| child.name).take(NAMED_MAX).collect();
            }
            say(&format!("processes of the tool still run; they get {signal}"));
        }
        let began = Instant::now();
        while began.elapsed() < patience {
            if let Some(signal) = signal {
                for child in children() {
                    // It may have ended since.
                    let _ = kill(child.pid, signal);
                }
            } else if signals.seen().is_some() {
                break;
            }
            sleep(PAUSE);
            if !reap() {
                return ended;
            }
        }
    }
    ended
}

/// Takes note of all that have ended; answers whether any child is left.
fn reap() -> bool {
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return true,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// A child of ours that runs.
struct ChildProcess {
    pid: Pid,
    /// Of its command: an argument may hold what must not be shown.
    name: String,
}

fn children() -> Vec<ChildProcess> {
    let me = std::process::id().to_string();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name in parentheses may hold anything; after it come the state and the parent.
            let (before, after) = stat.rsplit_once(')')?;
            let (_, name) = before.split_once('(')?;
            let mut after = after.split_whitespace();
            let runs = after.next()? != "Z" && after.next()? == me;
            runs.then(|| ChildProcess {
                pid: Pid::from_raw(pid),
                name: format!("`{}` (pid {pid})", name.escape_debug()),
            })
        })
        .collect()
}
