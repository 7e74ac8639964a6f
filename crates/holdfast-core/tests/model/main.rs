//! The protocol as an executable model: the decisions that the services make, with what goes wrong between them.
//!
//! Every write may be lost, answered wrongly, come twice, or come late from a process that froze; processes crash and
//! forget; caches show old states; pods die, linger, are drained. Whatever happens, each run is sealed at most once, no
//! sealed copy goes that nobody deleted, nothing stays stuck or behind, and the workload comes back whole or is held.
//!
//! `HOLDFAST_MODEL_SEED=<seed>` runs one history again, `HOLDFAST_MODEL_RUNS=<n>` as many as asked for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod cluster;
mod disks;
mod executor;
mod gc;
mod manager;
mod net;
mod restorer;
mod rules;
mod scheduler;
mod volumes;
mod world;

use std::collections::BTreeMap;

use world::{Scenario, World};

const POLICY: &str = "policy";
const TOOL: &str = "tool";
const REPO: &str = "repo";

/// How many histories each test runs.
const RUNS: u64 = 80;

/// Runs histories of a scenario; all of `must` has to come about in some of them.
fn run(scenario: Scenario, must: &[&str]) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("HOLDFAST_MODEL_SEED") {
        World::new(seed, scenario).run();
        return;
    }
    let runs = number("HOLDFAST_MODEL_RUNS").unwrap_or(RUNS);
    let mut reached: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..runs {
        for what in World::new(seed, scenario).run() {
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
        Scenario {
            backups: 2,
            ..Scenario::default()
        },
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
        Scenario {
            backups: 1,
            again: true,
            delete: true,
            ..Scenario::default()
        },
        &["a backup completed", "files were purged"],
    );
}

#[test]
fn backups_are_deleted_at_any_moment() {
    run(
        Scenario {
            backups: 3,
            delete: true,
            ..Scenario::default()
        },
        &["a backup completed", "files were purged"],
    );
}

#[test]
fn retention_leaves_the_newest_good_one() {
    run(
        Scenario {
            backups: 5,
            retention: true,
            ..Scenario::default()
        },
        &["a backup completed", "files were purged"],
    );
}

#[test]
fn a_repository_goes_once_no_backup_refers_to_it() {
    run(
        Scenario {
            backups: 3,
            delete: true,
            repository: true,
            ..Scenario::default()
        },
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
        Scenario {
            slots: true,
            retention: true,
            ..Scenario::default()
        },
        &["a slot became a Backup", "a backup completed"],
    );
}

#[test]
fn what_others_own_is_never_touched() {
    run(
        Scenario {
            backups: 2,
            delete: true,
            foreign: true,
            ..Scenario::default()
        },
        &["a backup completed", "a backup failed", "files were purged"],
    );
}

#[test]
fn a_workload_comes_back_whole_or_is_held() {
    run(
        Scenario {
            backups: 1,
            restores: 1,
            ..Scenario::default()
        },
        &[
            "a restore completed",
            "a volume stayed half written",
            "a workload came back",
        ],
    );
}

#[test]
fn restores_follow_each_other_and_are_deleted_at_any_moment() {
    run(
        Scenario {
            backups: 1,
            restores: 3,
            delete_restores: true,
            ..Scenario::default()
        },
        &[
            "a restore completed",
            "a volume stayed half written",
            "a workload came back",
        ],
    );
}

/// The model finds what it is for: with a rule taken away, a run fails.
#[test]
fn broken_rules_are_noticed() {
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let notices = |scenario: Scenario| {
        (0..30 * RUNS).any(|seed| std::panic::catch_unwind(|| World::new(seed, scenario).run()).is_err())
    };
    let without_tombs = notices(Scenario {
        backups: 3,
        delete: true,
        without_tombs: true,
        ..Scenario::default()
    });
    let without_guards = notices(Scenario {
        backups: 3,
        delete: true,
        without_guards: true,
        ..Scenario::default()
    });
    std::panic::set_hook(silent);
    assert!(without_tombs, "files that come back after their purge are not noticed");
    assert!(without_guards, "writes that rest on an older state are not noticed");
}
