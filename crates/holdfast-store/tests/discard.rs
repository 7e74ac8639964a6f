//! What a failed run wrote is removed, and nothing else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[macro_use]
mod support;

use holdfast_store::Found;
use support::pods::{At, CLAIM_STEPS, DISCARD_STEPS, PATH, POD_STEPS, Pod, orders, stands};
use support::{Memory, Stage, claimant, found, seal, work};

on_every_repository!(what_a_failed_run_wrote_goes_and_its_claim_stays);

#[test]
fn a_late_pod_that_failed_removes_nothing_that_another_wrote() {
    for order in orders(CLAIM_STEPS + DISCARD_STEPS, POD_STEPS) {
        let stage = Memory::new();
        let mut pods = ["pod-1", "pod-2"].map(|name| Pod::new("u-1", name));
        pods[0].fails = true;
        for first in order.iter().chain(&[false; POD_STEPS]) {
            stage.break_locks(PATH);
            pods[usize::from(!first)].step(&stage);
        }
        stage.break_locks(PATH);
        let [failed, other] = &pods;
        assert!(!other.has_sealed() || stands(&stage, &other.who), "{order:?}");
        assert!(failed.is_over() && !matches!(other.at, At::Failed(false)), "{order:?}");
    }
}

fn what_a_failed_run_wrote_goes_and_its_claim_stays<S: Stage>() {
    let stage = S::new();
    let who = claimant("u-1", 1, "pod-1");
    let held = work(stage.repo(), PATH, &who);
    stage.write(PATH, "half");
    let mut freed = 0;
    let mut discard = held.give_up(stage.repo()).unwrap().unwrap();
    assert_eq!(discard.step(stage.repo(), &mut freed).unwrap(), None);
    assert_eq!(discard.step(stage.repo(), &mut freed).unwrap(), Some(true));
    drop(discard);
    assert_eq!((freed, stage.files(PATH).len()), (4, 0));
    assert!(matches!(found(stage.repo(), PATH, "u-1").unwrap(), Found::Claimed(_)));
    // The next attempt finds its place, and a sealed run is never discarded, by whichever run.
    let who = claimant("u-1", 1, "pod-2");
    let held = work(stage.repo(), PATH, &who);
    stage.write(PATH, "whole");
    seal(&stage, &held, &who, PATH).unwrap();
    let mut discard = held.give_up(stage.repo()).unwrap().unwrap();
    assert_eq!(discard.step(stage.repo(), &mut freed).unwrap(), Some(false));
    drop(discard);
    let later = work(stage.repo(), PATH, &claimant("u-1", 2, "pod-3"));
    stage.write(PATH, "more");
    assert!(later.give_up(stage.repo()).unwrap().is_none());
    assert_eq!((freed, stage.files(PATH).len()), (4, 2));
}
