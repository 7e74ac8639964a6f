//! Which node a pod of ours must, or may, run on.

use holdfast_api::condition::READY;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod,
};

use super::state::{cut, is_silent};

/// Requires the node of that name. By `matchFields`, which is exact where the label
/// `kubernetes.io/hostname` may differ; the scheduler still checks everything else, unlike with `spec.nodeName`.
pub fn pin_to_node(node: &str) -> Affinity {
    by_name("In", vec![node.to_owned()])
}

/// Forbids the nodes of these names.
pub fn keep_off_nodes(nodes: impl IntoIterator<Item = String>) -> Option<Affinity> {
    let nodes: Vec<String> = nodes.into_iter().collect();
    (!nodes.is_empty()).then(|| by_name("NotIn", nodes))
}

/// The nodes that [`keep_off_nodes`] has forbidden to the pods of a Job.
pub fn kept_off(job: &Job) -> Vec<&str> {
    let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let affinity = pod.and_then(|pod| pod.affinity.as_ref()?.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let terms = required.map(|required| required.node_selector_terms.as_slice());
    let fields = terms
        .unwrap_or_default()
        .iter()
        .flat_map(|term| term.match_fields.iter().flatten());
    fields
        .filter(|field| field.operator == "NotIn")
        .flat_map(|field| field.values.iter().flatten())
        .map(String::as_str)
        .collect()
}

/// Why a node is not Ready, in the words of its condition; none if it is, or says nothing of it.
pub fn not_ready(node: &Node) -> Option<String> {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let conditions = node.status.as_ref()?.conditions.as_deref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == READY)?;
    let why = cut(ready.message.as_deref().unwrap_or_default());
    (ready.status != "True").then(|| format!("node {name} is not Ready: {why}"))
}

/// The node that a pod was given to.
pub fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// Why the node of a pod is not Ready, where kubelet may have stopped telling of the pod and that node is among these.
pub fn lost<'a>(pod: &Pod, nodes: impl IntoIterator<Item = &'a Node>, now: Timestamp) -> Option<String> {
    let name = node_of(pod).filter(|_| is_silent(pod, now))?;
    let mut nodes = nodes.into_iter();
    not_ready(nodes.find(|node| node.metadata.name.as_deref() == Some(name))?)
}

fn by_name(operator: &str, nodes: Vec<String>) -> Affinity {
    let field = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: operator.to_owned(),
        values: Some(nodes),
    };
    let term = NodeSelectorTerm {
        match_expressions: None,
        match_fields: Some(vec![field]),
    };
    Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: vec![term],
            }),
            preferred_during_scheduling_ignored_during_execution: None,
        }),
        pod_affinity: None,
        pod_anti_affinity: None,
    }
}

/// Whether a node satisfies a selector, by the scheduler's rules: any term, and all requirements of that term;
/// an empty term matches nothing.
pub fn node_matches(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| term_matches(term, node))
}

fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let label = |key: &str| {
        node.metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(key))
            .map(String::as_str)
    };
    let field = |key: &str| {
        (key == "metadata.name")
            .then_some(node.metadata.name.as_deref())
            .flatten()
    };
    expressions
        .iter()
        .all(|requirement| requirement_holds(requirement, label(&requirement.key)))
        && fields
            .iter()
            .all(|requirement| requirement_holds(requirement, field(&requirement.key)))
}

fn requirement_holds(requirement: &NodeSelectorRequirement, actual: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let among = |actual: &str| values.iter().any(|value| value == actual);
    let number = |text: &str| text.parse::<i64>().ok();
    let compare =
        |holds: fn(&i64, &i64) -> bool| match (actual.and_then(number), values.first().and_then(|v| number(v))) {
            (Some(actual), Some(bound)) => holds(&actual, &bound),
            _ => false,
        };
    match requirement.operator.as_str() {
        "In" => actual.is_some_and(among),
        "NotIn" => !actual.is_some_and(among),
        "Exists" => actual.is_some(),
        "DoesNotExist" => actual.is_none(),
        "Gt" => compare(i64::gt),
        "Lt" => compare(i64::lt),
        _ => false,
    }
}
