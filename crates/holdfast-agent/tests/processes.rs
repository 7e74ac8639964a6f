//! Signals, crashes and two at once, with the real binary.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use holdfast_api::agent::Outcome;
use holdfast_api::condition::Reason;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::fs;
use support::{Bench, read, until};

fn pid_in(path: &std::path::Path) -> Option<i32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn is_gone(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_err()
}

#[test]
fn a_stop_is_passed_on_to_the_tool_and_nothing_is_sealed() {
    let bench = Bench::new();
    let started = bench.beside("started");
    let script = "trap 'echo stopping; exit 0' TERM; echo a >$BACKUP_DIR/a; echo $$ >$STARTED.new; mv $STARTED.new $STARTED; while :; do sleep 0.05; done";
    let agent = bench.backup(script).env("STARTED", &started).spawn();
    until("the tool runs", || started.exists());
    kill(agent.pid(), Signal::SIGTERM).unwrap();
    let ended = agent.wait();
    assert!(ended.output.contains("stopping"), "{ended:?}");
    assert_eq!(
        (ended.code, ended.result.reason()),
        (Some(1), Some(Reason::Interrupted)),
        "{ended:?}"
    );
    assert!(!bench.at("ns/shop/b1/holdfast.json").exists());
    assert!(is_gone(pid_in(&started).unwrap()));
}

#[test]
fn a_killed_agent_is_followed_by_one_that_starts_anew() {
    let bench = Bench::new();
    let started = bench.beside("started");
    let script = "echo half >$BACKUP_DIR/half; echo $$ >$STARTED.new; mv $STARTED.new $STARTED; sleep 600";
    let agent = bench.backup(script).env("STARTED", &started).spawn();
    until("the tool runs", || started.exists());
    kill(agent.pid(), Signal::SIGKILL).unwrap();
    // With the pod's last process everything in it goes; here the tool's group has to be ended.
    killpg(Pid::from_raw(pid_in(&started).unwrap()), Signal::SIGKILL).unwrap();
    let _ = agent.wait();
    let again = bench
        .backup("echo whole >$BACKUP_DIR/whole")
        .env("HOLDFAST_POD_UID", "pod-2")
        .run();
    assert_eq!((again.code, again.result.files), (Some(0), Some(1)), "{again:?}");
    assert!(!bench.at("ns/shop/b1/half").exists());
}

#[test]
fn two_at_once_make_one_seal() {
    let bench = Bench::new();
    let (started, go) = (bench.beside("started"), bench.beside("go"));
    let script = "echo first >$BACKUP_DIR/a; touch $STARTED; until [ -e $GO ]; do sleep 0.05; done";
    let first = bench.backup(script).env("STARTED", &started).env("GO", &go).spawn();
    until("the first tool runs", || started.exists());
    let busy = bench
        .backup("echo second >$BACKUP_DIR/a")
        .env("HOLDFAST_POD_UID", "pod-2")
        .env("HOLDFAST_LOCK_WAIT_SECONDS", "0")
        .run();
    assert_eq!((busy.code, busy.result.outcome), (Some(1), Outcome::Failed), "{busy:?}");
    let second = bench
        .backup("echo second >$BACKUP_DIR/a")
        .env("HOLDFAST_POD_UID", "pod-2")
        .spawn();
    fs::write(&go, "").unwrap();
    let (first, second) = (first.wait(), second.wait());
    assert_eq!((first.code, second.code), (Some(0), Some(0)), "{first:?} {second:?}");
    assert_eq!(first.result.digest, second.result.digest);
    assert_eq!(read(bench.at("ns/shop/b1/a")), "first\n");
}

#[test]
fn what_outlives_the_tool_is_reaped_before_the_seal() {
    let bench = Bench::new();
    let pid = bench.beside("pid");
    let script = "setsid sh -c 'echo $$ >$PIDFILE; sleep 0.3; echo late >$BACKUP_DIR/late' & echo a >$BACKUP_DIR/a";
    let ended = bench.backup(script).env("PIDFILE", &pid).run();
    assert_eq!((ended.code, ended.result.files), (Some(0), Some(2)), "{ended:?}");
    assert!(is_gone(pid_in(&pid).unwrap()));
}

#[test]
fn a_process_that_never_ends_is_ended_and_fails_the_run() {
    let bench = Bench::new();
    let pid = bench.beside("pid");
    let script = "setsid sh -c 'echo $$ >$PIDFILE; exec sleep 600' & until [ -s $PIDFILE ]; do sleep 0.05; done; echo a >$BACKUP_DIR/a";
    let ended = bench.backup(script).env("PIDFILE", &pid).run();
    assert_eq!(ended.result.reason(), Some(Reason::ProcessesLeft), "{ended:?}");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.output.contains("they get SIGTERM"), "{ended:?}");
    assert!(ended.result.message.unwrap().contains("`sleep` (pid "));
    assert!(is_gone(pid_in(&pid).unwrap()));
    assert!(!bench.at("ns/shop/b1/holdfast.json").exists());
}

#[test]
fn a_long_log_keeps_its_end() {
    let bench = Bench::new();
    let script = "head -c 20000000 /dev/zero | tr '\\0' '\\n'; echo the end; echo a >$BACKUP_DIR/a";
    let ended = bench.backup(script).run();
    assert_eq!(ended.code, Some(0));
    let logs = bench.at("ns/shop/.holdfast/b1");
    let sizes: u64 = ["tool.log", "tool.log.1"]
        .map(|name| fs::metadata(logs.join(name)).unwrap().len())
        .iter()
        .sum();
    assert!(sizes <= 16 << 20, "{sizes}");
    assert!(read(logs.join("tool.log")).ends_with("the end\n"));
}

#[test]
fn the_binary_installs_itself() {
    let bench = Bench::new();
    let file = bench.beside("agent");
    let ended = bench.agent(&["install", file.to_str().unwrap()]).run();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let copy = std::process::Command::new(&file).arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&copy.stdout).starts_with("holdfast-agent"));
    let nowhere = bench.agent(&["install", "/no/such/folder/agent"]).run();
    assert_eq!(nowhere.code, Some(1));
}
