//! Restore pods that do not start.

use holdfast_api::names::RESTORE_POD_FINALIZER;

use super::start::{self, Start};
use super::*;

/// A pod of the restore that has a node, with its container in this state.
pub(super) fn pod(state: &Value, phase: &str) -> Pod {
    let pod = json!({
        "metadata": {"name": "write-1", "namespace": "ns", "uid": "p1", "resourceVersion": "1", "finalizers": [RESTORE_POD_FINALIZER]},
        "spec": {"nodeName": "node", "containers": []},
        "status": {"phase": phase, "containerStatuses": [{"name": "restore", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": state}]}
    });
    serde_json::from_value(pod).unwrap()
}

/// One whose container runs.
pub(super) fn at_work() -> Pod {
    pod(&json!({"running": {}}), "Running")
}

/// One whose container was killed.
pub(super) fn killed() -> Pod {
    pod(&json!({"terminated": {"exitCode": 137, "reason": "Error"}}), "Failed")
}

fn waits() -> Value {
    json!({"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"s\" not found"}})
}

/// A world whose restore Job has one pod, which does not start.
fn stuck() -> World {
    let mut world = with_job();
    assert!(is_suspended(&world), "a request for it that comes late starts nothing");
    assert!(world.step(), "it is let go");
    world.seen.write_pods = vec![pod(&waits(), "Pending")];
    world
}

/// What is done until nothing is written any more.
fn settle_to(world: &mut World, reason: &str) {
    world.settle();
    let status = world.seen.restore.status.as_ref().unwrap();
    let waiting = status.waiting.as_ref().map(|waiting| waiting.reason.as_str());
    assert_eq!(waiting, Some(reason), "{status:?}");
}

/// The Job is suspended once its pods have had their time, and its controller says so.
fn taken_back(world: &mut World) {
    world.now += 600;
    world.settle();
    assert!(is_suspended(world));
    suspended(world);
}

pub(super) fn suspended(world: &mut World) {
    let told = json!([{"type": "Suspended", "status": "True"}]);
    let status = world.seen.write.as_mut().unwrap().status.get_or_insert_default();
    status.conditions = Some(serde_json::from_value(told).unwrap());
}

pub(super) fn is_suspended(world: &World) -> bool {
    let spec = world.seen.write.as_ref().unwrap().spec.as_ref();
    spec.is_some_and(|spec| spec.suspend == Some(true))
}

#[test]
fn a_pod_that_never_starts_is_taken_back_and_the_workload_returns() {
    let mut world = stuck();
    settle_to(&mut world, "ContainerConfig");
    assert!(!is_suspended(&world), "it is given its time");
    world.now += 600;
    settle_to(&mut world, "JobSuspended");
    assert!(is_suspended(&world));
    suspended(&mut world);
    // Its controller deletes the pod, and kubelet has not answered: it may just be starting.
    settle_to(&mut world, "ContainerConfig");
    assert_eq!(world.replicas(), 0);
    world.seen.write_pods = vec![pod(
        &json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}),
        "Failed",
    )];
    world.settle();
    world.failed_for(Reason::ContainerConfig);
    assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
    assert!(is_suspended(&world), "a late request finds the name taken");
    assert!(world.seen.write_pods[0].finalizers().is_empty());
    let status = world.seen.restore.status.as_ref().unwrap();
    assert!(!holds(&status.conditions, "Writing"));
    assert!(status.failure_reason.as_ref().unwrap().contains("secret"), "{status:?}");
}

#[test]
fn a_container_that_started_after_all_is_not_forgotten() {
    let mut world = stuck();
    taken_back(&mut world);
    world.seen.write_pods = vec![killed()];
    world.settle();
    world.failed_for(Reason::TargetDirty);
    assert_eq!(world.replicas(), 0);
    assert!(world.seen.write_pods[0].finalizers().is_empty());
}

#[test]
fn a_job_that_gets_no_pod_is_taken_back_too() {
    let mut world = stuck();
    world.seen.write_pods.clear();
    taken_back(&mut world);
    world.settle();
    world.failed_for(Reason::PodPending);
    assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
}

#[test]
fn a_pod_on_a_lost_node_is_never_called_unstarted() {
    let mut world = stuck();
    taken_back(&mut world);
    world.settle();
    assert_eq!(world.replicas(), 0, "nobody knows what runs there");
    // The control plane's own word is not kubelet's.
    let mut lost = pod(&waits(), "Failed");
    let condition = json!([{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}]);
    lost.status.as_mut().unwrap().conditions = Some(serde_json::from_value(condition).unwrap());
    world.seen.write_pods = vec![lost];
    world.settle();
    world.failed_for(Reason::TargetDirty);
    assert_eq!(world.replicas(), 0);
}

#[test]
fn somebody_who_starts_the_workload_before_the_tool_ends_the_restore_without_harm() {
    let mut world = stuck();
    world.set.spec.as_mut().unwrap().replicas = Some(1);
    world.seen.pods = vec![writers::pod("db-0", "data-db-0", &json!({"app": "db"}))];
    world.settle();
    assert_eq!(world.replicas(), 0);
    assert!(is_suspended(&world), "the tool is not to start beside it");
    suspended(&mut world);
    world.seen.write_pods = vec![pod(&waits(), "Failed")];
    world.settle();
    world.failed_for(Reason::TargetInUse);
    assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
}

#[test]
fn deleting_a_restore_that_never_began_gives_the_workload_back() {
    let mut world = stuck();
    world.settle();
    world.delete();
    world.settle();
    assert!(is_suspended(&world));
    suspended(&mut world);
    world.settle();
    assert_eq!(world.replicas(), 0, "kubelet has not answered");
    world.seen.write_pods = vec![pod(&waits(), "Failed")];
    world.settle();
    assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
    assert!(world.seen.restore.finalizers().is_empty());
    assert!(world.seen.write_pods[0].finalizers().is_empty());
}

#[test]
fn deleting_a_restore_whose_node_is_lost_ends_and_its_workload_stays_held() {
    let mut world = stuck();
    world.seen.write_pods = vec![at_work()];
    world.settle();
    world.delete();
    world.settle();
    assert!(!world.seen.restore.finalizers().is_empty(), "its pod is waited for");
    world.seen.write_pods = vec![at_work()];
    world.now += 600;
    world.settle();
    assert!(world.seen.restore.finalizers().is_empty());
    assert_eq!(
        (world.replicas(), world.suspend_lock().map(|lock| lock.replicas)),
        (0, Some(3))
    );
}

#[test]
fn what_a_pod_says_about_its_container() {
    let of = |state: Value, phase: &str| start::of(&pod(&state, phase));
    let ended = |reason: &str| json!({"terminated": {"exitCode": 1, "reason": reason}});
    assert_eq!(of(json!({"running": {}}), "Running"), Start::Seen);
    assert_eq!(of(ended("Error"), "Failed"), Start::Seen);
    assert_eq!(of(ended("StartError"), "Failed"), Start::Never);
    assert_eq!(of(ended("ContainerStatusUnknown"), "Failed"), Start::Never);
    let known =
        json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "containerID": "containerd://1"}});
    assert_eq!(of(known, "Failed"), Start::Seen, "kubelet knew it");
    assert_eq!(of(waits(), "Pending"), Start::Unknown);
    let mut unscheduled = pod(&waits(), "Pending");
    unscheduled.spec.as_mut().unwrap().node_name = None;
    unscheduled.status.as_mut().unwrap().container_statuses = None;
    assert_eq!(start::of(&unscheduled), Start::Unknown);
    unscheduled.metadata.deletion_timestamp = Some(Time(at(1)));
    assert_eq!(start::of(&unscheduled), Start::Never, "it is given no node any more");
}

#[test]
fn a_job_that_was_not_let_go_is_no_writer() {
    let mut world = with_job();
    // Somebody starts the workload just then: it goes back to zero, and the restore goes on.
    world.set.spec.as_mut().unwrap().replicas = Some(1);
    world.seen.pods = vec![writers::pod("db-0", "data-db-0", &json!({"app": "db"}))];
    settle_to(&mut world, "ScalingDown");
    assert!(is_suspended(&world));
    world.seen.pods.clear();
    world.settle();
    assert!(!is_suspended(&world));
    // Where the hold is taken away it ends, and nothing was written.
    let mut world = with_job();
    world.set.annotations_mut().clear();
    world.set.spec.as_mut().unwrap().replicas = Some(3);
    world.settle();
    world.failed_for(Reason::WorkloadHeld);
    assert!(is_suspended(&world));
}

#[test]
fn a_tool_on_a_lost_node_is_told_of_and_nothing_is_taken_back() {
    let mut world = stuck();
    let mut silent = at_work();
    let status = silent.status.as_mut().unwrap();
    status.conditions = Some(serde_json::from_value(json!([{"type": "Ready", "status": "False"}])).unwrap());
    status.container_statuses.as_mut().unwrap()[0].ready = true;
    world.seen.write_pods = vec![silent];
    let node = json!({"metadata": {"name": "node"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown",
        "message": "Kubelet stopped posting node status."}]}});
    world.seen.nodes = vec![serde_json::from_value(node).unwrap()];
    world.now += 600;
    settle_to(&mut world, "NodeNotReady");
    let status = world.seen.restore.status.as_ref().unwrap();
    assert!(
        status.conditions[0].message.contains("node node is not Ready"),
        "{status:?}"
    );
    assert!(!is_suspended(&world));
}
