//! What the Job controller and kubelet would write, where nobody but a test plays them.

use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// Longest part of a Job's name that its pods' names begin with: the API server adds five characters.
const PREFIX: usize = 50;

/// A pod by the Job's template, to be created; the API server completes its name.
pub fn pod_of(job: &Job) -> Pod {
    let template = job.spec.as_ref().expect("a spec").template.clone();
    let mut metadata = template.metadata.expect("labels");
    metadata.generate_name = Some(format!("{}-", job.name_any().chars().take(PREFIX).collect::<String>()));
    metadata.namespace = job.namespace();
    Pod {
        metadata,
        spec: template.spec,
        status: None,
    }
}

/// The status of a pod whose one container has ended; `message` is its termination message.
pub fn pod_ended(container: &str, code: i32, message: Option<&str>) -> Value {
    let state = json!({"terminated": {"exitCode": code, "message": message}});
    json!({
        "phase": if code == 0 { "Succeeded" } else { "Failed" },
        "containerStatuses": [{"name": container, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}],
    })
}

/// The status of a Job that has ended at `time` (RFC 3339), after `failed` pods that failed.
pub fn job_ended(complete: bool, failed: usize, time: &str) -> Value {
    let condition = |kind: &str| {
        json!({"type": kind, "status": "True", "reason": "Test", "message": "played",
            "lastTransitionTime": time, "lastProbeTime": time})
    };
    if complete {
        json!({"startTime": time, "completionTime": time, "succeeded": 1, "failed": failed,
            "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]})
    } else {
        json!({"startTime": time, "failed": failed, "conditions": [condition("FailureTarget"), condition("Failed")]})
    }
}
