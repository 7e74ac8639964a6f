//! Agents that come to a fresh volume at the same moment, each the first process of its container.
//! `HOLDFAST_SOAK_ROUNDS=<n>` repeats it as often as asked for.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use holdfast_api::agent::Outcome;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use support::{Bench, Ended, Running, read};

const ROUNDS: u32 = 2;
const AGENTS: usize = 10;

/// Names below a directory that were set aside and never came to their place.
fn left_aside(dir: &Path) -> Vec<String> {
    let mut left = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            left.extend(left_aside(&path));
        } else if path.extension() == Some(OsStr::new("new")) {
            left.push(path.display().to_string());
        }
    }
    left
}

fn round(number: u32) {
    let bench = Bench::new();
    let agents: Vec<Running> = (0..AGENTS)
        .map(|one| {
            let script = format!("echo {number}-{one} >$BACKUP_DIR/a");
            let agent = bench.contained(&["run", "--", "sh", "-c", &script]);
            let agent = agent
                .env("HOLDFAST_BACKUP_UID", format!("u-{one}"))
                .env("HOLDFAST_BACKUP_NAME", format!("b{one}"))
                .env("HOLDFAST_POD_UID", format!("pod-{one}"))
                .env("HOLDFAST_PATH", format!("/ns/shop/b{one}"));
            agent.spawn()
        })
        .collect();
    let ended: Vec<Ended> = agents.into_iter().map(Running::wait).collect();
    for (one, ended) in ended.iter().enumerate() {
        let result = (ended.code, ended.result.outcome, ended.result.files);
        assert_eq!(result, (Some(0), Outcome::Sealed, Some(1)), "round {number}: {ended:?}");
        let dir = bench.at(&format!("ns/shop/b{one}"));
        assert_eq!(read(dir.join("a")), format!("{number}-{one}\n"));
        assert!(read(dir.join("holdfast.json")).contains(&format!("\"u-{one}\"")));
    }
    let repositories: BTreeSet<_> = ended.iter().map(|ended| ended.result.repository.clone()).collect();
    assert_eq!(repositories.len(), 1, "round {number}: {repositories:?}");
    let left = left_aside(&bench.root);
    assert!(left.is_empty(), "round {number}: {left:?}");
}

#[test]
fn ten_agents_with_one_pid_make_one_repository_and_ten_seals() {
    let rounds = std::env::var("HOLDFAST_SOAK_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    for number in 0..rounds {
        round(number);
    }
}
