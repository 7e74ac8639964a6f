//! Which node a pod of ours must, or may, run on.

use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
};

/// Requires the node of that name. By `matchFields`, which is exact where the label
/// `kubernetes.io/hostname` may differ; the scheduler still checks everything else, unlike with `spec.nodeName`.
pub fn pin_to_node(node: &str) -> Affinity {
    let field = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
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
