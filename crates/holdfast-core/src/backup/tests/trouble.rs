//! What keeps a run from getting on, and whose words tell it.

use std::sync::Arc;

use holdfast_api::BackupPhase;
use holdfast_api::agent::{AgentResult, Outcome};
use holdfast_api::condition::Reason;
use k8s_openapi::api::core::v1::{Event, Node};
use serde_json::{Value, json};

use super::world::{
    LATE, asks, at, change_job, created, ended, gave_up, job_pod, planned, ready, sealed, started, take, told, waits,
    written,
};
use crate::backup::{Observed, Pods, Read, Troubled, Write, decide, in_trouble};

fn pods(items: Vec<Arc<k8s_openapi::api::core::v1::Pod>>) -> Pods {
    Pods { items, live: false }
}

fn warning(about: (&str, &str), reason: &str, message: &str, second: i64) -> Event {
    serde_json::from_value(json!({
        "metadata": {"name": "e", "namespace": "ns"}, "type": "Warning", "reason": reason, "message": message,
        "involvedObject": {"kind": about.0, "name": about.1}, "lastTimestamp": at(second).to_string(),
    }))
    .expect("a valid fixture")
}

/// The phase that is written at second 60, if a status is written.
fn written_phase(observed: &Observed) -> Option<BackupPhase> {
    match decide(observed, at(60)).write {
        Some(Write::Status(status)) => status.phase,
        _ => None,
    }
}

/// Takes over what a decision writes, and lets the next one read events anew.
fn settle(observed: &mut Observed, second: i64) {
    let decision = decide(observed, at(second));
    take(observed, written(&decision), at(second));
    observed.events = None;
}

const UNSCHEDULED: &str = "0/1 nodes are available: 1 node(s) were unschedulable";

fn unscheduled() -> Value {
    json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": UNSCHEDULED}]})
}

#[test]
fn why_a_job_has_no_pod_is_told_by_the_api_server() {
    let mut observed = started();
    observed.events = None;
    waits(&decide(&observed, at(3)));
    asks(&decide(&observed, at(8)), Read::Events);
    assert_eq!(in_trouble(&observed).uids, ["job-uid"]);
    let refusal = "pods \"b1-x\" is forbidden: exceeded quota: full";
    observed.events = Some(vec![
        warning(("Job", "b1"), "FailedCreate", "an older word", 3),
        warning(("Job", "b1"), "FailedCreate", refusal, 7),
    ]);
    let (reason, message) = told(&decide(&observed, at(8)));
    assert_eq!(reason, "PodPending");
    assert!(
        message.starts_with(&format!("job \"b1\" has no pod yet: job b1: FailedCreate: {refusal}")),
        "{message}"
    );
    assert!(!message.contains("older"), "{message}");
    settle(&mut observed, 8);
    waits(&decide(&observed, at(20)));
    // The last word is the cluster's too.
    asks(&decide(&observed, at(8 + LATE)), Read::Events);
    observed.events = Some(vec![warning(("Job", "b1"), "FailedCreate", refusal, 600)]);
    let stop = written(&decide(&observed, at(8 + LATE)))
        .plan
        .and_then(|plan| plan.stop)
        .expect("a stop");
    assert!(stop.text.contains(refusal), "{}", stop.text);
}

#[test]
fn words_that_come_later_than_the_wait_are_told_and_then_read_no_more() {
    let mut observed = started();
    settle(&mut observed, 8);
    asks(&decide(&observed, at(20)), Read::Events);
    observed.events = Some(vec![warning(("Job", "b1"), "FailedCreate", "is forbidden", 15)]);
    assert!(told(&decide(&observed, at(20))).1.contains("is forbidden"));
    settle(&mut observed, 20);
    waits(&decide(&observed, at(40)));
}

#[test]
fn what_events_are_read_about_follows_what_does_not_get_on() {
    let mut observed = started();
    let mut claim = observed.claim.get().expect("a claim").clone();
    claim.spec.as_mut().expect("a spec").volume_name = None;
    observed.claim.object = Some(Arc::new(claim));
    observed.pods = pods(vec![job_pod("b1-x", 2, &unscheduled())]);
    let found = in_trouble(&observed);
    assert_eq!(
        found,
        Troubled {
            uids: vec!["claim-uid".to_owned()],
            node: Some("node-a".to_owned())
        }
    );
    let pod = Arc::make_mut(&mut observed.pods.items[0]);
    pod.metadata.uid = Some("pod-uid".to_owned());
    pod.spec.as_mut().expect("a spec").node_name = Some("node-a".to_owned());
    let found = in_trouble(&observed);
    assert_eq!(
        found,
        Troubled {
            uids: vec!["pod-uid".to_owned(), "claim-uid".to_owned()],
            node: Some("node-a".to_owned())
        }
    );
    observed.events = Some(vec![
        warning(("Pod", "b1-x"), "FailedScheduling", "known", 3),
        warning(
            ("PersistentVolumeClaim", "pvc-r"),
            "ProvisioningFailed",
            "no space on any pool",
            4,
        ),
    ]);
    let (reason, message) = told(&decide(&observed, at(9)));
    assert_eq!(reason, "Unschedulable");
    assert!(
        message.contains("persistentvolumeclaim pvc-r: ProvisioningFailed: no space on any pool"),
        "{message}"
    );
    assert!(!message.contains("known"), "{message}");
}

#[test]
fn a_cordoned_node_is_waited_for_longer_than_anything_else() {
    let mut observed = started();
    observed.pods = pods(vec![job_pod("b1-x", 2, &unscheduled())]);
    let node = |closed: bool| json!({"metadata": {"name": "node-a"}, "spec": {"unschedulable": closed}});
    observed.node = Some(Arc::new(serde_json::from_value(node(true)).expect("a node")));
    for second in [9, LATE + 9] {
        let (reason, message) = told(&decide(&observed, at(second)));
        assert_eq!(reason, "NodeCordoned");
        assert!(
            message.starts_with("node node-a is cordoned; ") && message.contains(UNSCHEDULED),
            "{message}"
        );
    }
    observed.node = Some(Arc::new(serde_json::from_value(node(false)).expect("a node")));
    assert_eq!(told(&decide(&observed, at(9))).0, "Unschedulable");
    assert!(
        written(&decide(&observed, at(LATE + 9)))
            .plan
            .expect("a plan")
            .stop
            .is_some()
    );
}

#[test]
fn a_tools_pod_tolerates_what_its_target_does_and_no_more() {
    let mut observed = planned();
    let target = Arc::make_mut(observed.target.object.as_mut().expect("a target"));
    let own = json!([{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}]);
    target.spec.as_mut().expect("a spec").tolerations = serde_json::from_value(own.clone()).ok();
    let spec = created(&decide(&observed, at(1)))
        .spec
        .expect("a spec")
        .template
        .spec
        .expect("a pod");
    assert_eq!(serde_json::to_value(spec.tolerations).expect("JSON"), own);
}

#[test]
fn a_suspended_job_is_told_of_and_its_pod_is_no_failed_attempt() {
    let mut observed = started();
    change_job(&mut observed, |job| {
        job.spec.as_mut().expect("a spec").suspend = Some(true)
    });
    let mut pod = (*job_pod(
        "b1-x",
        2,
        &ended("b1", 1, &gave_up(Reason::Interrupted, "told to stop")),
    ))
    .clone();
    pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(20)));
    observed.pods = pods(vec![Arc::new(pod)]);
    let (reason, message) = told(&decide(&observed, at(21)));
    assert_eq!(reason, "JobSuspended");
    assert!(
        message.contains("suspended") && !message.contains("spec.cancel"),
        "{message}"
    );
    let status = written(&decide(&observed, at(21)));
    take(&mut observed, status, at(21));
    waits(&decide(&observed, at(LATE + 21)));
    change_job(&mut observed, |job| {
        job.spec.as_mut().expect("a spec").suspend = Some(false);
        job.status = serde_json::from_value(json!({"startTime": at(LATE + 30).to_string()})).ok();
    });
    let resumed = decide(&observed, at(LATE + 31));
    assert_eq!(
        told(&resumed).0,
        "PodPending",
        "and it is not given up for the time before"
    );
    assert_eq!(
        written(&resumed)
            .plan
            .expect("a plan")
            .work
            .job()
            .expect("a Job")
            .failed_attempts,
        0
    );
}

#[test]
fn a_drained_pod_is_no_failed_attempt_either() {
    let mut observed = started();
    let mut status = ended("b1", 1, &gave_up(Reason::Interrupted, "told to stop"));
    status["conditions"] = json!([{"type": "DisruptionTarget", "status": "True"}]);
    observed.pods = pods(vec![
        job_pod("b1-x", 2, &status),
        job_pod("b1-y", 5, &json!({"phase": "Running"})),
    ]);
    waits(&decide(&observed, at(9)));
    observed.pods.items.remove(1);
    assert_eq!(told(&decide(&observed, at(30))).0, "PodPending");
}

#[test]
fn a_result_is_read_although_somebody_elses_container_goes_on() {
    let beside = |code: i32, result: &AgentResult| {
        let mut status = ended("b1", code, result);
        status["phase"] = json!("Running");
        let proxy = json!({"name": "proxy", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {}}});
        status["containerStatuses"]
            .as_array_mut()
            .expect("a list")
            .insert(0, proxy);
        pods(vec![job_pod("b1-x", 2, &status)])
    };
    let mut observed = started();
    observed.claim.live = true;
    observed.pods = beside(
        0,
        &AgentResult {
            repository: None,
            ..sealed()
        },
    );
    assert_eq!(written(&decide(&observed, at(60))).phase, Some(BackupPhase::Completed));
    // A pod that ends by itself ends its Job, which then stays for a look at its log.
    let mut alone = started();
    alone.claim.live = true;
    alone.pods = pods(vec![job_pod("b1-x", 2, &ended("b1", 0, &sealed()))]);
    assert!(written_phase(&alone).is_none_or(|phase| phase != BackupPhase::Completed));
    observed.pods = beside(1, &gave_up(Reason::ToolFailed, "the tool exited with code 3"));
    let stop = written(&decide(&observed, at(60)))
        .plan
        .and_then(|plan| plan.stop)
        .expect("a stop");
    assert_eq!(stop.reason, "ToolFailed");
    assert!(stop.text.contains("code 3; container `proxy`"), "{}", stop.text);
    observed.pods = beside(0, &AgentResult::new(Outcome::Failed));
    waits(&decide(&observed, at(60)));
}

#[test]
fn windows_line_ends_are_told_before_anything_runs() {
    let mut observed = ready();
    let tool = Arc::make_mut(observed.tool.object.as_mut().expect("a tool"));
    tool.spec.backup_commands[2] = "set -e\r\ncp a b\r\n".to_owned();
    let decision = decide(&observed, at(9));
    let (reason, text) = super::world::failed(&decision);
    assert_eq!(reason, "InvalidTool");
    assert!(
        text.contains("backupCommands[2]") && text.contains("Windows line ends"),
        "{text}"
    );
}

#[test]
fn a_backup_may_be_called_like_a_container_of_ours() {
    let mut observed = planned();
    super::world::change(&mut observed, |backup| {
        backup.metadata.name = Some("prepare".to_owned())
    });
    observed.backup_read = Some(at(1));
    let pod = created(&decide(&observed, at(1)))
        .spec
        .expect("a spec")
        .template
        .spec
        .expect("a pod");
    let init = &pod.init_containers.expect("one")[0].name;
    assert_eq!(
        (pod.containers[0].name.as_str(), init.as_str()),
        ("prepare", "prepare-agent")
    );
}

#[test]
fn what_namespaces_demand_is_asked_before_a_job() {
    let mut observed = planned();
    observed.demands = None;
    asks(&decide(&observed, at(1)), Read::Demands);
    assert!(!matches!(decide(&planned(), at(1)).write, Some(Write::Status(_))));
}

fn lost_node(ready: bool) -> Option<Arc<Node>> {
    let status = if ready { "True" } else { "Unknown" };
    let node = json!({"metadata": {"name": "node-a"}, "status": {"conditions": [
        {"type": "Ready", "status": status, "message": "Kubelet stopped posting node status."}]}});
    Some(Arc::new(serde_json::from_value(node).expect("a node")))
}

/// A pod on node-a, as the API server has it.
fn placed(status: &Value) -> Pods {
    let mut pod = job_pod("b1-x", 2, status);
    Arc::make_mut(&mut pod).spec.as_mut().expect("a spec").node_name = Some("node-a".to_owned());
    pods(vec![pod])
}

#[test]
fn a_run_on_a_lost_node_is_told_of_until_its_deadline() {
    let container = json!({"name": "b1", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
        "state": {"running": {}}});
    // What only the node controller says: not Ready, while kubelet's last word was that its containers are.
    let unheard = json!({"phase": "Running", "startTime": at(2).to_string(), "containerStatuses": [container],
        "conditions": [{"type": "Ready", "status": "False"}]});
    let mut observed = started();
    observed.pods = placed(&unheard);
    observed.events = None;
    asks(&decide(&observed, at(60)), Read::Events);
    assert_eq!(in_trouble(&observed).node.as_deref(), Some("node-a"));
    observed.events = Some(Vec::new());
    observed.node = lost_node(false);
    for second in [60, LATE + 60] {
        let (reason, message) = told(&decide(&observed, at(second)));
        assert_eq!(reason, "NodeNotReady");
        assert!(
            message.contains("`b1-x`") && message.contains("node node-a is not Ready: Kubelet stopped"),
            "{message}"
        );
    }
    settle(&mut observed, 60);
    observed.events = Some(Vec::new());
    waits(&decide(&observed, at(80)));
    // The node is back, and so is the run.
    let mut heard = unheard.clone();
    heard["conditions"][0]["status"] = json!("True");
    observed.pods = placed(&heard);
    observed.node = lost_node(true);
    assert!(written(&decide(&observed, at(90))).waiting.is_none());
}

#[test]
fn a_pod_that_a_lost_node_never_took_up_ends_the_run_with_the_node_named() {
    let given = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(2).to_string()}]});
    let mut observed = started();
    observed.pods = placed(&given);
    observed.events = Some(Vec::new());
    observed.node = lost_node(true);
    waits(&decide(&observed, at(5)));
    let (reason, message) = told(&decide(&observed, at(9)));
    assert_eq!(reason, "PodPending");
    assert!(message.contains("node node-a, which has not taken it up"), "{message}");
    observed.node = lost_node(false);
    assert_eq!(told(&decide(&observed, at(60))).0, "NodeNotReady");
    let stop = written(&decide(&observed, at(LATE + 9)))
        .plan
        .and_then(|plan| plan.stop);
    let stop = stop.expect("a stop");
    assert_eq!(stop.reason, "NodeNotReady");
    assert!(stop.text.contains("node node-a is not Ready"), "{}", stop.text);
}

#[test]
fn a_pod_that_no_node_takes_because_its_own_is_lost_names_the_node() {
    let mut observed = started();
    observed.pods = pods(vec![job_pod("b1-x", 2, &unscheduled())]);
    observed.events = Some(Vec::new());
    observed.node = lost_node(false);
    let (reason, message) = told(&decide(&observed, at(60)));
    assert_eq!(reason, "NodeNotReady");
    assert!(message.contains(UNSCHEDULED), "{message}");
}
