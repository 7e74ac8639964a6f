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
/// done. We are their reaper, so each of them becomes our child when its parent ends.
pub(crate) fn end_rest(signals: &Signals) {
    for (signal, patience) in PATIENCE {
        if !reap() {
            return;
        }
        if let Some(signal) = signal {
            say(&format!("processes of the tool still run; they get {signal}"));
        }
        let began = Instant::now();
        while began.elapsed() < patience {
            if let Some(signal) = signal {
                for child in children() {
                    // It may have ended since.
                    let _ = kill(child, signal);
                }
            } else if signals.seen().is_some() {
                break;
            }
            sleep(PAUSE);
            if !reap() {
                return;
            }
        }
    }
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

fn children() -> Vec<Pid> {
    let me = std::process::id().to_string();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // The name in parentheses may hold anything; after it come the state and the parent.
            let after = stat.rsplit(')').next().unwrap_or_default();
            after.split_whitespace().nth(1) == Some(me.as_str())
        })
        .map(Pid::from_raw)
        .collect()
}
