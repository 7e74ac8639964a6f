//! What a restore says of itself, and how often it is looked at.

use super::*;
use crate::decision::Next;

/// A world whose tool is at work.
fn writing(end: Option<WriteEnd>, replicas: i32) -> World {
    let mut world = world(Some(true), end);
    world.set.spec.as_mut().unwrap().replicas = Some(replicas);
    world.until(|world| world.seen.write.is_some());
    world
}

#[test]
fn a_workload_without_replicas_stays_so_and_that_is_said() {
    let mut world = writing(Some(WriteEnd::Restored), 0);
    world.settle();
    assert_eq!(world.seen.restore.phase(), RestoreJobPhase::Completed);
    assert_eq!((world.replicas(), world.suspend_lock()), (0, None));
    let status = world.seen.restore.status.as_ref().unwrap();
    let ready = status.conditions.iter().find(|one| one.type_ == "Ready").unwrap();
    assert!(ready.message.contains("it has 0 replicas"), "{ready:?}");
}

#[test]
fn while_a_pod_works_it_is_looked_at_seldom() {
    let mut world = writing(None, 3);
    let pause = |world: &mut World| {
        while world.step() {}
        match world.look().next {
            Next::After(pause) => pause.as_secs(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        pause(&mut world),
        2,
        "the pod is not there yet, and nobody tells of its events"
    );
    let mut pod = writers::pod("r1-x", "data-db-0", &json!({LABEL_RESTORE_UID: "uid-r1"}));
    world.seen.write_pods = vec![pod.clone()];
    assert_eq!(pause(&mut world), 15);
    pod.status.as_mut().unwrap().phase = Some("Pending".to_owned());
    world.seen.write_pods = vec![pod];
    assert_eq!(pause(&mut world), 2);
}

#[test]
fn what_keeps_the_workload_from_getting_ready_is_told() {
    let mut world = writing(None, 3);
    let complete = json!([{"type": "Complete", "status": "True"}]);
    let status = world.seen.write.as_mut().unwrap().status.get_or_insert_default();
    status.conditions = Some(serde_json::from_value(complete).unwrap());
    world.step();
    assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
    world.set.status.as_mut().unwrap().ready_replicas = Some(0);
    let mut pod = writers::pod("db-0", "data-db-0", &json!({"app": "db"}));
    let state = json!({"phase": "Running", "containerStatuses": [{"name": "db", "image": "", "imageID": "", "ready": false,
        "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 7}}}]});
    pod.status = serde_json::from_value(state).unwrap();
    world.seen.pods = vec![pod];
    world.step();
    let status = world.seen.restore.status.as_ref().unwrap();
    let ready = status.conditions.iter().find(|one| one.type_ == "Ready").unwrap();
    assert!(
        ready
            .message
            .contains("container db of pod db-0 has exited with code 7 and is in CrashLoopBackOff"),
        "{ready:?}"
    );
}
