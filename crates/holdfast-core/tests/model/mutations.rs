//! The model finds what it is for: with a rule taken away, a history breaks another.

use crate::{Scenario, net::Rule, world::World};

/// How many histories it may take.
const BOUND: u64 = 200;

/// Runs histories without a rule until one of them breaks.
fn is_noticed(without: Rule, scenario: Scenario) {
    let without = Some(without);
    let scenario = Scenario { without, ..scenario };
    let broken = (0..BOUND).find_map(|seed| World::new(seed, scenario).run().err());
    let broken = broken.unwrap_or_else(|| panic!("nothing breaks in {BOUND} histories of {scenario:?}"));
    println!("{without:?}: {}", broken.lines().next().unwrap_or_default());
}

fn deleted() -> Scenario {
    let (backups, delete) = (3, true);
    Scenario {
        backups,
        delete,
        ..Scenario::default()
    }
}

fn expired() -> Scenario {
    let (backups, expiry) = (4, true);
    Scenario {
        backups,
        expiry,
        ..Scenario::default()
    }
}

fn scheduled() -> Scenario {
    let (retention, slots) = (true, true);
    Scenario {
        retention,
        slots,
        ..Scenario::default()
    }
}

fn restored() -> Scenario {
    let (backups, restores) = (1, 3);
    Scenario {
        backups,
        restores,
        ..Scenario::default()
    }
}

#[test]
fn a_cache_taken_for_the_api_server_is_noticed() {
    is_noticed(Rule::LiveRead, deleted());
}

#[test]
fn writes_that_rest_on_an_older_state_are_noticed() {
    is_noticed(Rule::Guard, expired());
}

#[test]
fn a_repository_without_claims_is_noticed() {
    is_noticed(Rule::Claim, scheduled());
}

#[test]
fn files_that_come_back_after_their_purge_are_noticed() {
    is_noticed(Rule::Tombstone, deleted());
}

#[test]
fn a_restore_that_does_not_wait_for_the_workload_is_noticed() {
    is_noticed(Rule::Hold, restored());
}

#[test]
fn jobs_that_rest_on_an_old_copy_are_noticed() {
    is_noticed(Rule::Freshness, deleted());
}

#[test]
fn retention_of_the_last_good_copy_is_noticed() {
    is_noticed(Rule::LastGood, expired());
}

#[test]
fn writes_of_who_does_not_lead_are_noticed() {
    is_noticed(Rule::Lead, deleted());
}
