//! Which pod a backup is made of.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::{Container, Pod},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{
    ResourceExt as _,
    core::{Selector, SelectorExt as _},
};

/// What the pods that match a selector allow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice<'a> {
    /// This pod is backed up.
    Pod(&'a Pod),
    /// Pods match, but none can be backed up now: one of them, not Ready or being replaced.
    NotReady(&'a Pod),
    /// No pod matches, or none that has not ended for good.
    None,
}

/// A selector that would match every pod, or cannot be understood.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("labelsSelector {0}")]
pub struct InvalidSelector(String);

/// The selector as the API server takes it, in a list request.
pub fn selector(selector: &LabelSelector) -> Result<String, InvalidSelector> {
    let labels = selector.match_labels.as_ref().is_some_and(|labels| !labels.is_empty());
    let expressions = selector.match_expressions.as_ref().is_some_and(|list| !list.is_empty());
    if !labels && !expressions {
        return Err(InvalidSelector(
            "is empty and would match every pod of the namespace".to_owned(),
        ));
    }
    let parsed = Selector::try_from(selector.clone()).map_err(|error| InvalidSelector(error.to_string()))?;
    Ok(parsed.to_string())
}

/// Whether labels match.
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}

/// The pod to back up: the first Ready one by name. Pods that have ended are left out; one that is being deleted is
/// not backed up, but a successor may come.
pub fn choose(pods: &[Pod]) -> Choice<'_> {
    let mut alive: Vec<&Pod> = pods.iter().filter(|pod| !has_ended(pod)).collect();
    alive.sort_by_key(|pod| (pod.metadata.deletion_timestamp.is_some(), pod.name_any()));
    let usable = |pod: &&&Pod| pod.metadata.deletion_timestamp.is_none() && ready(pod);
    match alive.iter().find(usable) {
        Some(pod) => Choice::Pod(pod),
        None => alive.first().map_or(Choice::None, |pod| Choice::NotReady(pod)),
    }
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Names the container that people mean when they name none: kubectl's own annotation.
const ANNOTATION_DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The container of the database in its pod: the one that an annotation names as default, else the first that mounts a
/// claim, else the first. Injectors put theirs in first place.
pub fn database(pod: &Pod) -> Option<&Container> {
    let spec = pod.spec.as_ref()?;
    let named = pod.annotations().get(ANNOTATION_DEFAULT_CONTAINER);
    let claims: BTreeSet<&str> = spec
        .volumes
        .iter()
        .flatten()
        .filter(|volume| volume.persistent_volume_claim.is_some())
        .map(|volume| volume.name.as_str())
        .collect();
    let mounts_claim = |container: &&Container| {
        let mut mounts = container.volume_mounts.iter().flatten();
        mounts.any(|mount| claims.contains(mount.name.as_str()))
    };
    let all = || spec.containers.iter();
    named
        .and_then(|name| all().find(|container| &container.name == name))
        .or_else(|| all().find(mounts_claim))
        .or_else(|| spec.containers.first())
}

/// Whether a pod is Ready.
pub fn ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        // Kubernetes' own word, of a pod.
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, phase: &str, ready: bool, deleted: bool) -> Pod {
        let time = deleted.then_some("2026-01-01T00:00:00Z");
        serde_json::from_value(json!({
            "metadata": {"name": name, "deletionTimestamp": time},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}
        }))
        .unwrap()
    }

    #[test]
    fn the_first_ready_pod_by_name_is_chosen() {
        let pods = [
            pod("c-2", "Running", true, false),
            pod("c-0", "Running", false, false),
            pod("c-1", "Running", true, false),
        ];
        assert_eq!(choose(&pods), Choice::Pod(&pods[2]));
    }

    #[test]
    fn an_injected_container_in_first_place_is_not_the_database() {
        let of = |annotations: serde_json::Value, mounts: &str| {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"name": "c-0", "annotations": annotations},
                "spec": {
                    "containers": [
                        {"name": "proxy", "volumeMounts": [{"name": "conf", "mountPath": "/etc/proxy"}]},
                        {"name": "db", "volumeMounts": [{"name": mounts, "mountPath": "/data"}]},
                        {"name": "metrics"},
                    ],
                    "volumes": [{"name": "conf", "emptyDir": {}}, {"name": "data", "persistentVolumeClaim": {"claimName": "data-c-0"}}],
                },
            }))
            .unwrap();
            database(&pod).unwrap().name.clone()
        };
        assert_eq!(of(json!({}), "data"), "db");
        assert_eq!(
            of(json!({"kubectl.kubernetes.io/default-container": "metrics"}), "data"),
            "metrics"
        );
        assert_eq!(
            of(json!({"kubectl.kubernetes.io/default-container": "gone"}), "data"),
            "db"
        );
        assert_eq!(of(json!({}), "conf"), "proxy");
    }

    #[test]
    fn pods_that_have_ended_are_left_out_and_those_that_are_replaced_are_waited_for() {
        let pods = [
            pod("c-0", "Running", true, true),
            pod("c-1", "Failed", true, false),
            pod("c-2", "Pending", false, false),
        ];
        assert_eq!(choose(&pods), Choice::NotReady(&pods[2]));
        assert_eq!(choose(&pods[..2]), Choice::NotReady(&pods[0]));
        assert_eq!(choose(&pods[1..2]), Choice::None);
        assert_eq!(choose(&[]), Choice::None);
    }

    #[test]
    fn an_empty_selector_is_refused() {
        assert!(selector(&LabelSelector::default()).is_err());
        let given: LabelSelector = serde_json::from_value(json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "r", "operator": "In", "values": ["x", "y"]}]})).unwrap();
        let text = selector(&given).unwrap();
        assert!(text.contains("a=b") && text.contains("r in (x,y)"), "{text}");
        let bad: LabelSelector =
            serde_json::from_value(json!({"matchExpressions": [{"key": "r", "operator": "Nonsense"}]})).unwrap();
        assert!(selector(&bad).is_err());
    }
}
