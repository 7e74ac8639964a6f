//! The model finds what it is for: with a rule taken away, a history breaks another.

use crate::{Scenario, history, net::Rule, world::World};

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

#[test]
fn a_cache_taken_for_the_api_server_is_noticed() {
    is_noticed(Rule::LiveRead, history!(backups: 3, delete: true));
}

#[test]
fn writes_that_rest_on_an_older_state_are_noticed() {
    is_noticed(Rule::Guard, history!(backups: 4, expiry: true));
}

#[test]
fn a_repository_without_claims_is_noticed() {
    is_noticed(Rule::Claim, history!(slots: true, retention: true));
}

#[test]
fn files_that_come_back_after_their_purge_are_noticed() {
    is_noticed(Rule::Tombstone, history!(backups: 3, delete: true));
}

#[test]
fn a_restore_that_does_not_wait_for_the_workload_is_noticed() {
    is_noticed(Rule::Hold, history!(backups: 1, restores: 3));
}

#[test]
fn jobs_that_rest_on_an_old_copy_are_noticed() {
    is_noticed(Rule::Freshness, history!(backups: 3, delete: true));
}

#[test]
fn retention_of_the_last_good_copy_is_noticed() {
    is_noticed(Rule::LastGood, history!(backups: 4, expiry: true));
}

#[test]
fn writes_of_who_does_not_lead_are_noticed() {
    is_noticed(Rule::Lead, history!(backups: 3, delete: true));
}

#[test]
fn restore_pods_that_go_without_a_word_are_noticed() {
    is_noticed(Rule::LastWord, history!(backups: 1, restores: 3));
}
