//! Conditions are for people and machines outside: nothing is decided by what they say.

use super::*;

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
    for condition in seen.restore.status.iter_mut().flat_map(|status| &mut status.conditions) {
        condition.reason = "Reworded".to_owned();
        condition.message = "in other words".to_owned();
        condition.last_transition_time.0 = at(-100_000);
    }
    seen
}

/// Walks to the end, and asks at each point whether other words would change what is decided.
fn walk(mut world: World, disturb: impl Fn(&mut World, usize)) -> usize {
    let mut asked = 0;
    for step in 0..60 {
        disturb(&mut world, step);
        let decision = world.look();
        let other = reworded(&world.seen);
        asked += usize::from(other.restore.status != world.seen.restore.status);
        let other = decide(&other, at(world.now));
        assert_eq!(
            without_conditions(other),
            without_conditions(decision.clone()),
            "{step}"
        );
        world.apply(decision);
    }
    asked
}

/// What a condition says, if there is one.
fn said(world: &World, kind: &str) -> Option<(bool, String)> {
    let conditions = &world.seen.restore.status.as_ref()?.conditions;
    let condition = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((condition.status == "True", condition.reason.clone()))
}

#[test]
fn what_the_plan_remembers_shows_in_the_conditions() {
    let say = |holds: bool, reason: Reason| Some((holds, reason.as_str().to_owned()));
    let mut world = world(Some(true), Some(WriteEnd::Silent));
    while !world.is_touched() {
        assert_eq!((said(&world, "Verified"), said(&world, "Writing")), (None, None));
        world.step();
    }
    assert_eq!(said(&world, "Verified"), say(true, Reason::Verifying));
    assert_eq!(said(&world, "Writing"), say(true, Reason::Restoring));
    // The API server never took the Job, so that nothing was written.
    let mut refused = world;
    refused.seen.refused = Some("quota".to_owned());
    refused.settle();
    assert_eq!(said(&refused, "Writing"), say(false, Reason::InvalidPolicy));
    assert_eq!(said(&refused, "Verified"), say(true, Reason::Verifying));
}

#[test]
fn other_words_and_times_in_the_conditions_change_no_decision() {
    let ends = [
        None,
        Some(WriteEnd::Restored),
        Some(WriteEnd::Dirty),
        Some(WriteEnd::Clean),
        Some(WriteEnd::Silent),
    ];
    let checks = [None, Some(false), Some(true)];
    for (check, end) in checks.into_iter().flat_map(|check| ends.map(|end| (check, end))) {
        assert!(walk(world(check, end), |_, _| {}) > 0);
        for when in 0..14 {
            walk(world(check, end), |world, step| {
                if step == when {
                    world.delete();
                }
            });
            walk(world(check, end), |world, step| {
                if step == when {
                    world.now += 7 * 3600;
                }
            });
            for pod in [writers::foreign(), writers::backup_pod()] {
                walk(world(check, end), |world, step| match step {
                    step if step == when => world.seen.mounting = vec![pod.clone()],
                    40 => world.now += 601,
                    _ => {}
                });
            }
        }
    }
}
