//! The protocol as an executable model: the services' own decisions and driver, with what goes wrong between an ask and
//! its answer, over a small API server, repositories in memory, and a database that runs or does not.
//!
//! Every write may be lost, answered wrongly, come twice, or come late from a process that froze; processes crash and
//! forget; leases are lost; caches show old states, each kind its own; pods die, linger, are drained, or never start.
//! Whatever happens, each run is sealed at most once, no sealed copy goes that nobody deleted, nor the last good one by
//! any rule of ours, all comes to rest, nothing stays stuck or behind, and the workload comes back whole or is held.
//!
//! `HOLDFAST_MODEL_SEED=<seed>` runs one history again, `HOLDFAST_MODEL_RUNS=<n>` as many as asked for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod actor;
mod agent;
mod api;
mod cluster;
mod disks;
mod executor;
mod gc;
mod manager;
mod mutations;
mod net;
mod pods;
mod process;
mod restorer;
mod rules;
mod scheduler;
mod users;
mod volumes;
mod world;

use std::collections::BTreeMap;

use net::Rule;
use world::World;

const POLICY: &str = "policy";
const TOOL: &str = "tool";
const REPO: &str = "repo";

/// What a history is about.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // Each is a switch of its own.
struct Scenario {
    backups: usize,
    restores: usize,
    /// Users delete Backups.
    delete: bool,
    /// Users delete restores.
    delete_restores: bool,
    /// Users create a deleted Backup anew under its name.
    again: bool,
    /// More Backups are made than the policy keeps.
    retention: bool,
    /// Backups expire soon.
    expiry: bool,
    /// Users delete the repository, and make it anew.
    repository: bool,
    /// The policy has a schedule.
    slots: bool,
    /// A Job of somebody else has the name of a Backup.
    foreign: bool,
    /// Users scale the workload.
    scales: bool,
    /// Newer versions say everything in other words.
    reworded: bool,
    /// A rule that is taken away.
    without: Option<Rule>,
}

/// A history in which just this happens.
macro_rules! history {
    ($($what:ident: $value:expr),*) => { Scenario { $($what: $value,)* ..Scenario::default() } };
}
pub(crate) use history;

/// How many histories each test runs.
const RUNS: u64 = 50;

/// Runs histories of a scenario; all of `must` has to come about in some of them.
fn run(scenario: Scenario, must: &[&str]) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("HOLDFAST_MODEL_SEED") {
        World::new(seed, scenario)
            .run()
            .unwrap_or_else(|broken| panic!("{broken}"));
        return;
    }
    let runs = number("HOLDFAST_MODEL_RUNS").unwrap_or(RUNS);
    let mut reached: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..runs {
        let reached_now = World::new(seed, scenario).run();
        for what in reached_now.unwrap_or_else(|broken| panic!("{broken}")) {
            *reached.entry(what).or_default() += 1;
        }
    }
    println!("of {runs} histories: {reached:?}");
    for what in must {
        assert!(reached.contains_key(what), "in no history {what}: {reached:?}");
    }
}

#[test]
fn backups_complete_or_fail_and_what_is_deleted_goes() {
    run(
        history!(backups: 2),
        &[
            "a backup completed",
            "a backup failed",
            "a late write was refused",
            "another target was asked for",
        ],
    );
}

#[test]
fn a_name_is_used_again_while_the_first_still_goes() {
    run(
        history!(backups: 1, again: true, delete: true),
        &["a backup completed", "files were purged"],
    );
}

#[test]
fn backups_are_deleted_at_any_moment() {
    run(
        history!(backups: 3, delete: true),
        &["a backup completed", "files were purged"],
    );
}

#[test]
fn retention_leaves_the_newest_good_one() {
    run(
        history!(backups: 5, retention: true),
        &[
            "a backup completed",
            "a lease was lost in the middle of a pass",
            "files were purged",
        ],
    );
}

#[test]
fn what_has_expired_goes_and_the_last_good_one_stays() {
    run(
        history!(backups: 4, expiry: true),
        &["a backup completed", "a backup expired", "files were purged"],
    );
}

#[test]
fn retention_meets_restores() {
    run(
        history!(backups: 3, restores: 2, expiry: true, retention: true),
        &["a backup expired", "retention met a restore", "a restore completed"],
    );
}

#[test]
fn a_repository_goes_once_no_backup_refers_to_it() {
    run(
        history!(backups: 3, delete: true, repository: true),
        &[
            "a backup completed",
            "a repository waited for its Backups",
            "a volume was removed",
        ],
    );
}

#[test]
fn slots_become_backups_and_hold_up_nothing() {
    run(
        history!(slots: true, retention: true),
        &["a slot became a Backup", "a backup completed"],
    );
}

#[test]
fn what_others_own_is_never_touched() {
    run(
        history!(backups: 4, delete: true, foreign: true),
        &["a backup completed", "a backup failed", "files were purged"],
    );
}

#[test]
fn a_workload_comes_back_whole_or_is_held() {
    run(
        history!(backups: 1, restores: 1),
        &[
            "a restore completed",
            "a restore was taken back",
            "a pod got a node and did not start",
            "a restore pod stayed Pending",
            "a volume stayed half written",
            "a workload came back",
        ],
    );
}

#[test]
fn somebody_else_scales_the_workload() {
    run(
        history!(backups: 1, restores: 2, scales: true),
        &[
            "a restore completed",
            "a workload came back",
            "somebody scaled the workload",
            "somebody scaled a workload that a restore held",
            "the database ran beside a restore",
        ],
    );
}

/// No decision reads how a condition is worded, or since when it holds.
#[test]
fn all_goes_on_in_other_words() {
    let both = history!(delete: true, retention: true, reworded: true);
    run(
        Scenario { backups: 5, ..both },
        &[
            "a backup completed",
            "everything was said in other words",
            "files were purged",
        ],
    );
    run(
        Scenario {
            backups: 1,
            restores: 2,
            ..both
        },
        &[
            "a restore completed",
            "everything was said in other words",
            "a workload came back",
        ],
    );
}

#[test]
fn restores_follow_each_other_and_are_deleted_at_any_moment() {
    run(
        history!(backups: 1, restores: 3, delete_restores: true),
        &[
            "a restore completed",
            "a volume stayed half written",
            "a workload came back",
        ],
    );
}
