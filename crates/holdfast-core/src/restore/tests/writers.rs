//! A restore is the only writer of its targets.

use holdfast_api::names::LABEL_BACKUP_UID;

use super::*;

pub(super) fn pod(name: &str, claim: &str, labels: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns", "labels": labels},
        "spec": {"containers": [], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]},
        "status": {"phase": "Running"}
    }))
    .unwrap()
}

pub(super) fn foreign() -> Pod {
    pod("other-0", "data-db-0", &json!({"app": "other"}))
}

pub(super) fn backup_pod() -> Pod {
    pod("b2-x", "data-db-0", &json!({LABEL_BACKUP_UID: "b2-uid"}))
}

#[test]
fn a_pod_of_somebody_else_refuses_the_restore_before_anything_is_touched() {
    let mut seen = observed();
    seen.mounting = vec![foreign()];
    let Some(Write::Status(status)) = decide(&seen, at(5)).write else {
        panic!()
    };
    assert_eq!(status.phase, Some(RestoreJobPhase::New), "it may just be leaving");
    let decision = later(&mut seen, 36);
    assert_eq!(end(&decision), (RestoreJobPhase::Failed, Reason::TargetInUse));
    let note = &event(&decision).unwrap().note;
    assert!(note.contains("other-0") && note.contains("data-db-0"), "{note}");
}

#[test]
fn a_backup_at_work_on_the_target_is_waited_for() {
    let mut seen = observed();
    seen.mounting = vec![backup_pod()];
    let Some(Write::Status(status)) = decide(&seen, at(300)).write else {
        panic!()
    };
    assert_eq!(
        (status.phase, status.conditions[0].reason.as_str()),
        (Some(RestoreJobPhase::New), "TargetInUse")
    );
    let decision = later(&mut seen, 700);
    assert_eq!(end(&decision), (RestoreJobPhase::Failed, Reason::TargetInUse));
}

#[test]
fn pods_of_the_workload_and_of_the_restore_and_those_that_are_over_are_no_intruders() {
    let mut seen = observed();
    let own = pod("db-0", "data-db-0", &json!({"app": "db"}));
    let verify = pod("verify", "data-db-0", &json!({LABEL_RESTORE_UID: "uid-r1"}));
    let elsewhere = pod("x", "data-x-0", &json!({}));
    let mut over = foreign();
    over.status.as_mut().unwrap().phase = Some("Succeeded".to_owned());
    seen.pods = vec![own.clone()];
    seen.mounting = vec![own, verify, elsewhere, over];
    let Some(Write::Status(status)) = decide(&seen, at(5)).write else {
        panic!()
    };
    assert_eq!(status.phase, Some(RestoreJobPhase::InProgressPhy));
}

/// A world that gets an intruder once it has come so far.
fn disturbed(by: Pod, when: impl Fn(&World) -> bool) -> World {
    let mut world = world(Some(true), Some(WriteEnd::Restored));
    while !when(&world) {
        assert!(world.step(), "not reached");
    }
    world.seen.mounting = vec![by];
    for _ in 0..40 {
        world.step();
    }
    world
}

#[test]
fn who_comes_between_the_check_and_the_stop_keeps_the_workload_running() {
    let world = disturbed(foreign(), |world| world.seen.verify.is_some());
    assert_eq!(world.seen.restore.phase(), RestoreJobPhase::Failed);
    assert!(!world.ever_written);
    assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
}

#[test]
fn who_comes_between_the_stop_and_the_first_byte_gets_the_workload_back() {
    let world = disturbed(foreign(), |world| world.suspend_lock().is_some());
    assert_eq!(world.seen.restore.phase(), RestoreJobPhase::Failed);
    assert!(!world.ever_written);
    assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
}

#[test]
fn a_backup_that_came_with_the_stop_delays_the_first_byte_but_does_not_keep_the_workload_down() {
    let mut world = disturbed(backup_pod(), |world| world.suspend_lock().is_some());
    assert_eq!(world.seen.restore.phase(), RestoreJobPhase::InProgressPhy);
    assert!(!world.ever_written);
    world.now += 601;
    world.settle();
    // The database does not stay down for it, and does not go up and down either: the restore is given up.
    assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
    world.failed_for(Reason::TargetInUse);
    // Nothing goes on once the Backup has ended.
    world.seen.mounting.clear();
    world.settle();
    world.failed_for(Reason::TargetInUse);
    assert!(!world.ever_written);
    assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
}

/// The Job of a Backup of the target, with these conditions.
fn backup_job(conditions: &Value) -> Job {
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data-db-0"}}]);
    serde_json::from_value(json!({
        "metadata": {"name": "b2", "namespace": "ns", "labels": {LABEL_BACKUP_UID: "b2-uid"}},
        "spec": {"template": {"spec": {"containers": [], "volumes": volumes}}},
        "status": {"conditions": conditions}
    }))
    .unwrap()
}

#[test]
fn a_backup_between_two_attempts_is_at_work_too() {
    let mut seen = observed();
    seen.others = vec![backup_job(&json!([]))];
    let Some(Write::Status(status)) = decide(&seen, at(5)).write else {
        panic!()
    };
    assert_eq!(
        (status.phase, status.conditions[0].reason.as_str()),
        (Some(RestoreJobPhase::New), "TargetInUse")
    );
    assert!(status.conditions[0].message.contains("job b2"), "{status:?}");
    // Nor does the tool begin while it may come back.
    let mut world = world(Some(true), Some(WriteEnd::Restored));
    world.until(|world| world.suspend_lock().is_some());
    world.seen.others = seen.others;
    for _ in 0..40 {
        world.step();
    }
    assert!(!world.ever_written);
    world.seen.others = vec![backup_job(&json!([{"type": "Failed", "status": "True"}]))];
    world.settle();
    assert_eq!(world.seen.restore.phase(), RestoreJobPhase::Completed);
    // Neither those that have ended or go, nor its own, nor those of other volumes.
    let mut going = backup_job(&json!([]));
    going.metadata.deletion_timestamp = Some(Time(at(1)));
    let mut own = backup_job(&json!([]));
    own.metadata.labels = Some([(LABEL_RESTORE_UID.to_owned(), "uid-r1".to_owned())].into());
    let mut elsewhere = backup_job(&json!([]));
    elsewhere.spec = None;
    // A restore that was taken back.
    let mut rests = backup_job(&json!([]));
    rests.metadata.labels = Some([(LABEL_RESTORE_UID.to_owned(), "uid-r0".to_owned())].into());
    rests.spec.as_mut().unwrap().suspend = Some(true);
    let mut seen = observed();
    seen.others = vec![
        rests,
        going,
        own,
        elsewhere,
        backup_job(&json!([{"type": "Complete", "status": "True"}])),
    ];
    let Some(Write::Status(status)) = decide(&seen, at(5)).write else {
        panic!()
    };
    assert_eq!(status.phase, Some(RestoreJobPhase::InProgressPhy));
}

#[test]
fn a_backup_that_ends_in_time_only_delays_the_first_byte() {
    let mut world = disturbed(backup_pod(), |world| world.suspend_lock().is_some());
    world.seen.mounting.clear();
    world.settle();
    assert_eq!(world.seen.restore.phase(), RestoreJobPhase::Completed);
    assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
}
