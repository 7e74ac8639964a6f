//! Pods as controllers and kubelet see them.

use holdfast_api::names::{LABEL_ROLE, ROLE_RESTORE};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    api::{Guard, Request, text},
    net::Net,
};

pub(crate) fn of(pod: &Pod, job: &str) -> bool {
    let uid = pod.labels().get("batch.kubernetes.io/controller-uid");
    uid.is_some_and(|uid| uid == job)
}

pub(crate) fn phase(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    status.and_then(|status| status.phase.clone()).unwrap_or_default()
}

pub(crate) fn status(spec: &Value, state: &Value) -> Value {
    json!({"name": spec["containers"][0]["name"], "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state})
}

/// A pod of the database is drained, and comes back with the controller's next round.
pub(crate) fn drain(net: &mut Net) {
    let name = format!("db-{}", net.chance.below(3));
    remove(net, &name);
}

/// Deletes a pod at once, if it is there. One that somebody keeps bears how it ended.
pub(crate) fn remove(net: &mut Net, name: &str) {
    if let Some(pod) = net.api.get::<Pod>(name) {
        let _ = net.api.send(&Request::Delete { of: Guard::of(&pod) });
    }
    let kept = net.api.raw("Pod", name).cloned();
    if let Some(pod) = kept.filter(|pod| pod["metadata"]["labels"][LABEL_ROLE] == ROLE_RESTORE) {
        let mut change = json!({"status": {"phase": "Failed"}});
        if !pod["status"]["containerStatuses"].is_null() {
            let waits = !pod["status"]["containerStatuses"][0]["state"]["waiting"].is_null();
            let reason = if waits { "ContainerStatusUnknown" } else { "Error" };
            let killed = json!({"terminated": {"exitCode": 137, "reason": reason}});
            change["status"]["containerStatuses"] = json!([status(&pod["spec"], &killed)]);
        }
        if matches!(text(&pod, "/status/phase").as_str(), "Pending" | "Running") {
            net.api.update(&pod, &change);
        }
    }
}
