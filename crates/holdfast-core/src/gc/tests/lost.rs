//! A purge whose pod is on a node that is lost.

use super::{
    purge_plan::{History, Over, Purge, Step, Volume, decide},
    purging::{job, volume},
    *,
};
use crate::pod::{AgentJob, keep_off_nodes};
use holdfast_api::condition::Reason;
use k8s_openapi::api::core::v1::{Node, Pod};

fn batch() -> Batch {
    Batch::fill("ns", "repo", vec![Entry::of(&waiting("a")).unwrap()], BATCH_MAX)
}

/// A pod that runs on node-a; the node controller has not heard of it where it is not Ready.
fn pod(ready: &str) -> Arc<Pod> {
    let container = json!({"name": "purge", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
        "state": {"running": {}}});
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "node-a", "containers": []},
        "status": {"phase": "Running", "startTime": at(0).to_string(), "containerStatuses": [container],
            "conditions": [{"type": "Ready", "status": ready}]}});
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn node(ready: &str) -> Arc<Node> {
    let node = json!({"metadata": {"name": "node-a"}, "status": {"conditions": [
        {"type": "Ready", "status": ready, "message": "Kubelet stopped posting node status."}]}});
    Arc::new(serde_json::from_value(node).unwrap())
}

/// A purge at work, or one that was kept off node-a.
fn purge(pods: Vec<Arc<Pod>>, kept_off: bool) -> Purge {
    let batch = batch();
    let mut job = job(&batch, "");
    if kept_off {
        let terms = AgentJob {
            affinity: keep_off_nodes(["node-a".to_owned()]),
            ..AgentJob::default()
        };
        let other = purge_job("agent:1", None, &batch, None, terms).unwrap();
        Arc::make_mut(&mut job).spec = other.spec;
    }
    Purge { job, batch, pods }
}

fn step(volume: &Volume, second: i64) -> Step {
    decide(volume, &History::default(), at(second))
}

#[test]
fn a_purge_on_a_lost_node_is_told_of_and_begun_on_another() {
    let lost = purge(vec![pod("False")], false);
    assert_eq!(lost.nodes(at(60)), ["node-a"]);
    assert!(purge(vec![pod("True")], false).nodes(at(60)).is_empty());
    let mut volume = volume(vec![lost], &["a"]);
    volume.nodes = vec![node("Unknown")];
    let Step::Tell { reason, why, .. } = step(&volume, 60) else {
        panic!("told");
    };
    assert_eq!(reason, Reason::NodeNotReady);
    assert!(why.contains("node node-a is not Ready: Kubelet stopped"), "{why}");
    Arc::make_mut(&mut volume.waiting[0]).status.trouble = Some(reason.as_str().to_owned());
    let Step::Remove { over, .. } = step(&volume, 61) else {
        panic!("removed");
    };
    assert_eq!(over, Over::Lost);
    let mut history = History::default();
    history.lost(&volume.purges[0]);
    assert_eq!(history.keep_off(&batch()).into_iter().collect::<Vec<_>>(), ["node-a"]);
    volume.purges.clear();
    assert!(matches!(decide(&volume, &history, at(62)), Step::Create(_)));
    history.returned(&batch());
    assert!(history.keep_off(&batch()).is_empty());
}

#[test]
fn a_purge_on_a_node_that_is_ready_goes_on_whatever_its_pod_looks_like() {
    let mut volume = volume(vec![purge(vec![pod("False")], false)], &["a"]);
    for nodes in [vec![node("True")], Vec::new()] {
        volume.nodes = nodes;
        assert!(matches!(step(&volume, 60), Step::Rest(Some(_))));
    }
}

#[test]
fn a_purge_that_only_the_lost_node_could_take_is_begun_anew_when_that_is_back() {
    let unscheduled = json!({"metadata": {"name": "p"}, "spec": {"containers": []}, "status": {"phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available"}]}});
    let pending = purge(vec![Arc::new(serde_json::from_value(unscheduled).unwrap())], true);
    assert_eq!(pending.nodes(at(60)), ["node-a"]);
    let mut volume = volume(vec![pending], &["a"]);
    volume.nodes = vec![node("Unknown")];
    let Step::Tell { reason, .. } = step(&volume, 60) else {
        panic!("told");
    };
    assert_eq!(reason, Reason::Unschedulable);
    volume.nodes = vec![node("True")];
    let Step::Remove { over, .. } = step(&volume, 61) else {
        panic!("removed");
    };
    assert_eq!(over, Over::Returned);
    // One that has found another node stays there.
    volume.purges[0].pods = vec![pod("True")];
    assert!(matches!(step(&volume, 62), Step::Rest(_)));
}
