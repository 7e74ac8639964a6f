use holdfast_api::agent::{AgentResult, Outcome};
use holdfast_api::condition::Reason;
use holdfast_api::{Access, Location};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{LocalObjectReference, Node, NodeSelector, Pod, ResourceRequirements};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::settings::DataPods;

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a valid fixture")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn pod(status: &Value) -> Pod {
    object(json!({
        "metadata": {"name": "b1-x", "namespace": "ns", "creationTimestamp": "2025-01-01T00:00:00Z"},
        "spec": {
            "containers": [{"name": "b1"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-c-0"}}]
        },
        "status": status,
    }))
}

#[test]
fn zero_limits_only_where_nothing_is_said() {
    let given: ResourceRequirements =
        object(json!({"requests": {"cpu": "100m"}, "limits": {"ephemeral-storage": "1Gi"}}));
    let limits = zero_limits(Some(given)).limits.expect("limits");
    assert!(!limits.contains_key("cpu"));
    assert_eq!(limits["memory"].0, "0");
    assert_eq!(limits["ephemeral-storage"].0, "1Gi");
    let both = zero_limits(None).limits.expect("limits");
    assert_eq!(both.len(), 2);
}

#[test]
fn names_of_volumes_and_containers_are_dns_labels() {
    let volume_of = |claim: String| {
        let location = Location {
            access: Access::mount(claim),
            ..Location::default()
        };
        repository_volume_of(&location).expect("a volume")
    };
    assert_eq!(volume_of("pvc-r-abcdef".to_owned()), "backup-pvc-r-abcdef");
    let long = volume_of("a.very.long.claim".repeat(14));
    assert!(long.len() <= 63 && !long.contains('.'), "{long}");
    assert_ne!(long, volume_of(format!("{}x", "a.very.long.claim".repeat(14))));
    assert_eq!(container_name("b.1", "11112222-3333"), "b-1");
}

#[test]
fn a_job_gives_its_pods_no_token_and_only_our_labels() {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let job = agent_job(AgentJob {
        name: "b1".to_owned(),
        labels: [
            label("app.kubernetes.io/instance", "c"),
            label("holdfast.io/role", "backup"),
        ]
        .into(),
        backoff_limit: 3,
        container: agent_container("report", "agent:1", None, "report", Vec::new(), Vec::new()),
        ..AgentJob::default()
    });
    let spec = job.spec.expect("spec");
    let template = spec.template;
    let labels = template.metadata.and_then(|metadata| metadata.labels).expect("labels");
    assert_eq!(labels.keys().collect::<Vec<_>>(), ["holdfast.io/role"]);
    let pod = template.spec.expect("pod spec");
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(pod.restart_policy.as_deref(), Some("Never"));
    let rules = spec.pod_failure_policy.expect("policy").rules;
    let codes = &rules[0].on_exit_codes.as_ref().expect("codes").values;
    assert_eq!((codes.first(), codes.last()), (Some(&80), Some(&99)));
    assert_eq!(
        (rules[0].action.as_str(), rules[1].action.as_str()),
        ("FailJob", "Ignore")
    );
}

fn secrets(names: &[&str]) -> Vec<LocalObjectReference> {
    let of = |name: &&str| LocalObjectReference {
        name: (*name).to_owned(),
    };
    names.iter().map(of).collect()
}

#[test]
fn what_an_installation_wants_is_on_jobs_and_pods_and_overrides_nothing_of_ours() {
    let map = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let job = agent_job(AgentJob {
        labels: map(&[("holdfast.io/role", "backup")]),
        image_pull_secrets: secrets(&["of-the-workload", "both"]),
        data_pods: DataPods {
            labels: map(&[("team", "shop"), ("holdfast.io/role", "other")]),
            annotations: map(&[("linkerd.io/inject", "enabled")]),
            pull_secrets: ["both", "of-the-agent"].map(str::to_owned).to_vec(),
            restricted: false,
        },
        ..AgentJob::default()
    });
    let template = job.spec.expect("a spec").template;
    assert_eq!(
        template.spec.expect("a pod").image_pull_secrets,
        Some(secrets(&["of-the-workload", "both", "of-the-agent"]))
    );
    let template = template.metadata.expect("metadata");
    for labels in [job.metadata.labels, template.labels] {
        assert_eq!(labels, Some(map(&[("team", "shop"), ("holdfast.io/role", "backup")])));
    }
    let annotations = template.annotations.expect("annotations");
    assert_eq!(annotations["linkerd.io/inject"], "enabled");
    assert_eq!(annotations["sidecar.istio.io/inject"], "false");
}

#[test]
fn a_container_that_the_kernel_ended_is_told_with_its_limit() {
    let mut pod = pod(
        &json!({"phase": "Failed", "containerStatuses": [{"name": "b1", "image": "i", "imageID": "",
        "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}),
    );
    let limits = json!({"limits": {"memory": "48Mi"}});
    pod.spec.as_mut().expect("a spec").containers[0].resources = serde_json::from_value(limits).ok();
    let told = failure(&pod, "b1").expect("a failure");
    assert_eq!(told.reason, Reason::OutOfMemory);
    assert!(told.message.ends_with("its memory limit of 48Mi"), "{}", told.message);
}

#[test]
fn what_tools_and_clusters_print_is_shown_as_text() {
    let told = failure(&ended(1, "\u{1b}[31mred\0 \u{7f}end"), "b1").expect("a failure");
    assert_eq!(
        told.message,
        "container `b1` exited with code 1: \\x1b[31mred\\x00 \\x7fend"
    );
    let raw = AgentResult {
        message: Some("\u{7}bell".to_owned()),
        reason: Some("ToolFailed".to_owned()),
        ..AgentResult::new(Outcome::Failed)
    };
    let told = failure(&ended(1, &raw.encode().expect("short")), "b1").expect("a failure");
    assert_eq!(told.message, "\\x07bell");
}

#[test]
fn a_job_is_over_only_by_a_condition_that_is_true() {
    let state = |conditions: Value| {
        job_state(&object::<Job>(
            json!({"metadata": {}, "status": {"conditions": conditions}}),
        ))
    };
    assert_eq!(state(json!([])), JobState::Running);
    assert_eq!(
        state(json!([{"type": "FailureTarget", "status": "True"}])),
        JobState::Running
    );
    assert_eq!(
        state(json!([{"type": "Complete", "status": "False"}])),
        JobState::Running
    );
    assert_eq!(
        state(json!([{"type": "Complete", "status": "True"}])),
        JobState::Complete
    );
    let failed = state(json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "m"}]));
    assert_eq!(
        failed,
        JobState::Failed {
            reason: "BackoffLimitExceeded".to_owned(),
            message: "m".to_owned()
        }
    );
}

#[test]
fn trouble_of_pending_pods() {
    let scheduled = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": "2025-01-01T00:00:00Z"});
    let waiting = |reason: &str| {
        json!({"phase": "Pending", "conditions": [scheduled], "containerStatuses": [{"name": "b1", "image": "i",
            "imageID": "", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": reason, "message": "why"}}}]})
    };
    let unscheduled = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}]});
    let unmounted = json!({"phase": "Pending", "conditions": [scheduled,
        {"type": "PodReadyToStartContainers", "status": "False"}]});
    let table = [
        (unscheduled, 1, Some(Reason::Unschedulable)),
        (waiting("ImagePullBackOff"), 1, Some(Reason::ImagePull)),
        (waiting("CreateContainerConfigError"), 1, Some(Reason::ContainerConfig)),
        (waiting("ContainerCreating"), 30, None),
        (unmounted.clone(), 3, None),
        (unmounted, 9, Some(Reason::MountFailed)),
        (json!({"phase": "Pending"}), 2, None),
        (json!({"phase": "Pending"}), 9, Some(Reason::PodPending)),
        (json!({"phase": "Running", "conditions": [scheduled]}), 60, None),
        (json!({"phase": "Failed", "conditions": [scheduled]}), 60, None),
    ];
    for (status, after, reason) in table {
        let now = at("2025-01-01T00:00:00Z") + jiff::SignedDuration::from_secs(after);
        let found = trouble(&pod(&status), now);
        assert_eq!(
            found.as_ref().map(|trouble| trouble.reason),
            reason,
            "{status}: {found:?}"
        );
    }
}

fn ended(code: i32, message: &str) -> Pod {
    pod(
        &json!({"phase": if code == 0 { "Succeeded" } else { "Failed" }, "containerStatuses": [{"name": "b1",
        "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": code, "reason": "Error", "message": message}}}]}),
    )
}

#[test]
fn a_result_is_read_from_the_termination_message() {
    let result = AgentResult {
        bytes: Some(7),
        ..AgentResult::new(Outcome::Sealed)
    };
    let text = result.encode().expect("short");
    assert_eq!(
        agent_result(&ended(0, &text), "b1").and_then(|result| result.bytes),
        Some(7)
    );
    assert_eq!(agent_result(&ended(0, &text), "other"), None);
    assert_eq!(agent_result(&ended(0, "not ours"), "b1"), None);
    assert_eq!(failure(&ended(0, &text), "b1"), None);
}

#[test]
fn a_failure_is_told_by_the_agent_or_else_by_kubelet() {
    let result = AgentResult::failed(Reason::EmptyOutput, "nothing was written");
    let told = failure(&ended(83, &result.encode().expect("short")), "b1").expect("a failure");
    assert_eq!((told.reason, told.permanent), (Reason::EmptyOutput, true));
    assert_eq!(told.message, "nothing was written");
    let bare = failure(&ended(1, "line one\npg_basebackup: error: no\n\n"), "b1").expect("a failure");
    assert_eq!((bare.reason, bare.permanent), (Reason::ToolFailed, false));
    assert_eq!(
        bare.message,
        "container `b1` exited with code 1: pg_basebackup: error: no"
    );
    let evicted = pod(&json!({"phase": "Failed", "reason": "Evicted", "message": "low on disk"}));
    assert_eq!(
        failure(&evicted, "b1").expect("a failure").message,
        "Evicted: low on disk"
    );
}

#[test]
fn node_selectors_match_as_the_scheduler_does() {
    let node: Node = object(json!({"metadata": {"name": "n1", "labels": {"zone": "a", "size": "5"}}}));
    let matches = |term: Value| {
        let selector: NodeSelector = object(json!({"nodeSelectorTerms": [term]}));
        node_matches(&selector, &node)
    };
    let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    assert!(matches(expression("zone", "In", &["a", "b"])));
    assert!(!matches(expression("zone", "NotIn", &["a"])));
    assert!(matches(expression("rack", "NotIn", &["a"])));
    assert!(matches(expression("zone", "Exists", &[])));
    assert!(matches(expression("rack", "DoesNotExist", &[])));
    assert!(matches(expression("size", "Gt", &["4"])));
    assert!(!matches(expression("size", "Lt", &["5"])));
    assert!(!matches(json!({})));
    let pinned = pin_to_node("n1")
        .node_affinity
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution);
    assert!(node_matches(&pinned.expect("a selector"), &node));
}

/// What kubelet makes of a value: `$(NAME)` is expanded where the name is known, `$$` becomes `$`
/// (`third_party/forked/golang/expansion` in Kubernetes).
fn expanded(value: &str, known: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let named = rest.strip_prefix('(').and_then(|named| named.split_once(')'));
        match named {
            Some((name, after)) => {
                let value = known.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
                out.push_str(&value.map_or_else(|| format!("$({name})"), str::to_owned));
                rest = after;
            }
            None => out.push('$'),
        }
    }
    out.push_str(rest);
    out
}

#[test]
fn values_of_ours_reach_the_container_as_they_are() {
    let secret = [("DB_PASSWORD", "a\"b\\$(x)")];
    for text in [
        "$(DB_PASSWORD)",
        "$$(DB_PASSWORD)",
        "cost: $5",
        "$",
        "$$",
        "{\"a\":\"$(DB_PASSWORD)$\"}",
    ] {
        let variable = super::env("NAME", text);
        assert_eq!(expanded(variable.value.as_deref().unwrap_or_default(), &secret), text);
        assert_eq!(super::env_value(&variable, "NAME").as_deref(), Some(text));
        assert_eq!(super::env_value(&variable, "OTHER"), None);
    }
}

#[test]
fn success_is_believed_with_exit_code_0_only() {
    let pod = |code: i32, outcome: Outcome| {
        let message = AgentResult::new(outcome).encode().expect("a short result");
        serde_json::from_value::<Pod>(json!({"status": {"phase": "Failed", "containerStatuses": [
            {"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
             "state": {"terminated": {"exitCode": code, "message": message}}}]}}))
        .expect("a pod")
    };
    for outcome in [Outcome::Sealed, Outcome::Verified, Outcome::Restored, Outcome::Purged] {
        assert!(super::agent_result(&pod(0, outcome), "c").is_some());
        assert!(super::agent_result(&pod(137, outcome), "c").is_none());
    }
    assert!(super::agent_result(&pod(80, Outcome::Failed), "c").is_some());
}
