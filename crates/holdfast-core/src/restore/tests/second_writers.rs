//! Somebody starts the workload while a restore holds it.

use holdfast_api::names::{ANNOTATION_DAMAGED, LABEL_BACKUP_UID};

use super::*;

/// A world whose tool is at work.
fn writing() -> World {
    let mut world = with_job();
    assert!(world.step(), "it is let go");
    world.seen.write_pods = vec![withdrawn::at_work()];
    world
}

/// The tool is through.
fn complete(world: &mut World) {
    let complete = json!([{"type": "Complete", "status": "True"}]);
    let status = world.seen.write.as_mut().unwrap().status.get_or_insert_default();
    status.conditions = Some(serde_json::from_value(complete).unwrap());
    world.seen.write_pods = vec![withdrawn::pod(&json!({"terminated": {"exitCode": 0}}), "Succeeded")];
}

fn scale(world: &mut World, replicas: i32) {
    world.set.spec.as_mut().unwrap().replicas = Some(replicas);
}

fn database(world: &mut World) {
    world.seen.pods = vec![writers::pod("db-0", "data-db-0", &json!({"app": "db"}))];
}

fn second_writer(world: &World) -> Option<&str> {
    world.seen.plan()?.writing.as_ref()?.second_writer.as_deref()
}

#[test]
fn a_workload_that_is_scaled_up_goes_back_to_zero_and_that_alone_is_no_harm() {
    let mut world = writing();
    scale(&mut world, 1);
    let decision = world.look();
    let told = event(&decision).unwrap();
    assert_eq!((told.reason, told.warning), (Reason::ScalingDown, true));
    assert!(told.note.contains("scaled to 1"), "{}", told.note);
    world.apply(decision);
    assert_eq!(world.replicas(), 0);
    assert_eq!(
        world.suspend_lock().map(|lock| lock.replicas),
        Some(3),
        "the undo stays as it was"
    );
    assert_eq!(second_writer(&world), None, "no pod of it ever ran");
}

#[test]
fn a_pod_of_the_workload_beside_the_tool_ends_the_restore_as_half_written() {
    let mut world = writing();
    scale(&mut world, 1);
    database(&mut world);
    let decision = world.look();
    assert_eq!(event(&decision).unwrap().reason, Reason::TargetDirty);
    world.apply(decision);
    assert!(second_writer(&world).unwrap().contains("db-0"));
    world.step();
    assert_eq!(world.replicas(), 0);
    world.step();
    assert!(world.seen.write.is_none(), "what the tool still does is of no use");
    world.seen.write_pods = vec![withdrawn::killed()];
    world.settle();
    world.failed_for(Reason::TargetDirty);
    assert_eq!(
        (world.replicas(), world.suspend_lock().map(|lock| lock.replicas)),
        (0, Some(3))
    );
}

#[test]
fn a_pod_that_is_seen_only_when_the_tool_has_ended_counts_too() {
    let mut world = writing();
    database(&mut world);
    complete(&mut world);
    world.settle();
    world.failed_for(Reason::TargetDirty);
    assert_eq!(world.replicas(), 0);
}

/// A pod of somebody else that has the target mounted like this.
fn stranger(mount: &Value, labels: &Value) -> Pod {
    let mut pod = writers::pod("stray", "data-db-0", labels);
    let container = json!({"name": "c", "volumeMounts": [mount]});
    pod.spec.as_mut().unwrap().containers = vec![serde_json::from_value(container).unwrap()];
    pod
}

#[test]
fn a_pod_of_somebody_else_that_may_write_beside_the_tool_ends_the_restore_as_half_written() {
    let own = json!({});
    let backup = json!({LABEL_BACKUP_UID: "b2-uid"});
    let mount = json!({"name": "v", "mountPath": "/x"});
    let reads = json!({"name": "v", "mountPath": "/x", "readOnly": true});
    let elsewhere = json!({"name": "other", "mountPath": "/x"});
    for (pod, harms) in [
        (stranger(&mount, &own), true),
        (stranger(&reads, &own), false),
        (stranger(&elsewhere, &own), false),
        (stranger(&mount, &backup), false),
    ] {
        let mut world = writing();
        world.seen.mounting = vec![pod];
        world.step();
        assert_eq!(second_writer(&world).is_some_and(|who| who.contains("stray")), harms);
        if harms {
            world.settle();
            world.seen.write_pods = vec![withdrawn::killed()];
            world.settle();
            world.failed_for(Reason::TargetDirty);
            assert_eq!(world.replicas(), 0);
        }
    }
}

#[test]
fn a_hold_that_is_taken_away_during_the_write_is_never_completed() {
    let mut world = writing();
    world.set.annotations_mut().clear();
    scale(&mut world, 3);
    world.settle();
    world.seen.write_pods = vec![withdrawn::killed()];
    world.settle();
    world.failed_for(Reason::TargetDirty);
}

#[test]
fn before_the_first_byte_it_goes_back_to_zero_and_the_restore_goes_on() {
    let mut world = world(Some(true), Some(WriteEnd::Restored));
    while world.suspend_lock().is_none() {
        assert!(world.step());
    }
    scale(&mut world, 2);
    world.settle();
    assert_eq!(world.seen.restore.phase(), RestoreJobPhase::Completed);
    assert_eq!(world.replicas(), 3);
}

#[test]
fn a_refused_change_of_replicas_is_said_and_tried_again() {
    let mut world = world(Some(true), Some(WriteEnd::Restored));
    world.seen.scale_refused = Some("a policy says no".to_owned());
    world.settle();
    world.failed_for(Reason::ScaleRefused);
    assert_eq!(
        (world.replicas(), world.suspend_lock()),
        (3, None),
        "it was never stopped"
    );

    let mut world = writing();
    complete(&mut world);
    world.seen.scale_refused = Some("a policy says no".to_owned());
    world.step();
    let status = world.seen.restore.status.clone().unwrap();
    let ready = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
        .unwrap();
    assert!(ready.message.contains("a policy says no"), "{ready:?}");
    world.seen.scale_refused = None;
    world.settle();
    assert_eq!(world.seen.restore.phase(), RestoreJobPhase::Completed);
}

#[test]
fn another_restore_that_takes_over_before_it_is_ready_is_not_called_a_success() {
    let mut world = writing();
    complete(&mut world);
    world.step();
    assert_eq!(world.suspend_lock(), None, "it was given back");
    let other = SuspendLock {
        uid: "uid-r2".to_owned(),
        name: "r2".to_owned(),
        replicas: 3,
        since: Time(at(1)),
        dirty: false,
        takes_over: Vec::new(),
    };
    world
        .set
        .annotations_mut()
        .insert(ANNOTATION_HELD.to_owned(), serde_json::to_string(&other).unwrap());
    scale(&mut world, 0);
    world.settle();
    world.failed_for(Reason::WorkloadHeld);
}

#[test]
fn writing_is_said_to_be_over_at_the_end() {
    let mut world = world(Some(true), Some(WriteEnd::Restored));
    world.settle();
    let status = world.seen.restore.status.as_ref().unwrap();
    assert!(status.conditions.iter().any(|condition| condition.type_ == "Writing"));
    assert!(!holds(&status.conditions, "Writing"));
}

#[test]
fn a_job_of_a_former_restore_of_that_name_is_waited_for() {
    let mut world = world(Some(true), Some(WriteEnd::Restored));
    world.step();
    let former = json!({
        "metadata": {"name": "r1", "uid": "old", "labels": {LABEL_RESTORE_UID: "uid-before"},
            "ownerReferences": [{"apiVersion": "v", "kind": "RestoreJob", "name": "r1", "uid": "uid-before", "controller": true}]}
    });
    world.seen.write = Some(serde_json::from_value(former).unwrap());
    for _ in 0..5 {
        world.step();
    }
    assert_eq!(world.seen.restore.phase(), RestoreJobPhase::InProgressPhy);
    world.seen.write = None;
    world.settle();
    assert_eq!(world.seen.restore.phase(), RestoreJobPhase::Completed);
}

#[test]
fn a_job_of_its_name_that_goes_by_itself_is_waited_for_and_no_longer_than_anything_else() {
    let of_backup = json!({"name": "r1", "uid": "other", "labels": {LABEL_BACKUP_UID: "b-uid"}});
    let going = json!({"name": "r1", "uid": "other", "deletionTimestamp": at(1).to_string()});
    for metadata in [of_backup, going] {
        let taken = || Some(serde_json::from_value(json!({"metadata": metadata})).unwrap());
        // Before anything is stopped.
        let mut world = world(Some(true), Some(WriteEnd::Restored));
        world.step();
        world.seen.write = taken();
        for _ in 0..100 {
            world.step();
        }
        assert_eq!(world.seen.restore.phase(), RestoreJobPhase::InProgressPhy);
        world.now += 600;
        world.settle();
        world.failed_for(Reason::NameTaken);
        assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
        // While the workload is down: from then on it counts.
        let mut world = super::world(Some(true), Some(WriteEnd::Restored));
        world.until(|world| world.seen.verify.is_some());
        world.now += 3600;
        world.until(|world| world.suspend_lock().is_some());
        world.seen.write = taken();
        world.step();
        assert_eq!(world.seen.restore.phase(), RestoreJobPhase::InProgressPhy);
        world.seen.write = None;
        world.settle();
        assert_eq!(world.seen.restore.phase(), RestoreJobPhase::Completed);
    }
}

#[test]
fn a_copy_that_fails_its_check_is_marked_before_the_restore_ends() {
    let mut world = world(Some(false), None);
    while world.seen.verify.is_none() {
        assert!(world.step());
    }
    let result = json!({"v": 1, "outcome": "Failed", "reason": "DigestMismatch", "message": "m"}).to_string();
    let pod = json!({"metadata": {"name": "verify"}, "status": {"phase": "Failed", "containerStatuses": [{"name": "restore",
        "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 88, "message": result}}}]}});
    world.seen.verify_pods = vec![serde_json::from_value(pod).unwrap()];
    let decision = world.look();
    let Some(Write::Patch(target, change)) = &decision.write else {
        panic!("{decision:?}")
    };
    assert_eq!(target.name, "b1");
    let found = change["metadata"]["annotations"][ANNOTATION_DAMAGED]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(found.contains("DigestMismatch") && found.contains("r1"), "{found}");
    let backup = world.seen.backup.as_mut().unwrap();
    backup.annotations_mut().insert(ANNOTATION_DAMAGED.to_owned(), found);
    world.settle();
    world.failed_for(Reason::DigestMismatch);
    // And nobody restores it unasked.
    world.seen.restore = restore("r2");
    let decision = decide(&world.seen, at(5));
    assert_eq!(end(&decision), (RestoreJobPhase::Failed, Reason::DigestMismatch));
}
