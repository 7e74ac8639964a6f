//! Conditions are for people and machines outside: nothing is decided by what they say.

use super::walk::{Happening, World};
use super::world::at;
use crate::backup::{Decision, Observed, Write, decide};

/// What is decided beside the conditions, which go on from those that were there.
fn without_conditions(mut decision: Decision) -> Decision {
    if let Some(Write::Status(status)) = &mut decision.write {
        status.conditions.clear();
    }
    decision
}

/// The same, but every condition says something else, and since another time.
fn reworded(seen: &Observed) -> Observed {
    let mut seen = seen.clone();
    let status = std::sync::Arc::make_mut(&mut seen.backup).status.as_mut();
    for condition in status.into_iter().flat_map(|status| &mut status.conditions) {
        condition.reason = "Reworded".to_owned();
        condition.message = "in other words".to_owned();
        condition.last_transition_time.0 = at(-100_000);
    }
    seen
}

/// Asserts that other words in the conditions would have led to the same decision; true if there were any to change.
pub(super) fn changes_nothing(seen: &Observed, now: jiff::Timestamp, decision: &Decision) -> bool {
    let other = reworded(seen);
    assert_eq!(
        without_conditions(decide(&other, now)),
        without_conditions(decision.clone()),
        "decided by the words of {:?}",
        seen.backup.status
    );
    other.backup != seen.backup
}

/// Every pair of happenings, with a look before, perhaps between, and after: each look compares.
#[test]
fn other_words_and_times_in_the_conditions_change_no_decision() {
    use Happening::*;
    let all = [
        Time(5),
        Time(700),
        PodRuns,
        PodStuck,
        PodSeals,
        PodFails,
        PodVanishes,
        JobFails,
        JobVanishes,
        Delete,
        Cancel,
        TargetMoves,
        TargetVanishes,
        ForgetAnswer,
    ];
    let mut written = std::collections::BTreeSet::new();
    let pairs = all.into_iter().flat_map(|one| all.map(|other| (one, other)));
    for ((one, other), apart) in pairs.flat_map(|pair| [(pair, true), (pair, false)]) {
        let mut world = World::new();
        let between: &[Happening] = if apart { &[Caches, Look, Time(601), Look] } else { &[] };
        let before = [Look, one].into_iter().chain(between.iter().copied());
        for happening in before.chain([other, Caches, Look, Time(601), Look]) {
            world.happens(happening);
        }
        world.settles();
        assert!(world.reworded > 0, "{one:?}, {other:?}");
        written.extend(world.reasons);
    }
    // The walk has come by everything that is remembered beside the conditions.
    for reason in [
        "ToolFailed",
        "Unschedulable",
        "PodPending",
        "Cancelled",
        "Deleted",
        "Verifying",
        "Completed",
    ] {
        assert!(written.contains(reason), "{reason} of {written:?}");
    }
}
