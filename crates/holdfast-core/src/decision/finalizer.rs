//! Merge patches that add and remove a finalizer.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

/// Whether the finalizer is there.
pub fn has_finalizer(metadata: &ObjectMeta, finalizer: &str) -> bool {
    metadata.finalizers.iter().flatten().any(|present| present == finalizer)
}

/// A merge patch of metadata that adds the finalizer; none if it is there.
pub fn with_finalizer(metadata: &ObjectMeta, finalizer: &str) -> Option<Value> {
    if has_finalizer(metadata, finalizer) {
        return None;
    }
    let known = metadata.finalizers.iter().flatten().map(String::as_str);
    let all: Vec<&str> = known.chain([finalizer]).collect();
    Some(json!({ "finalizers": all }))
}

/// A merge patch of metadata that removes the finalizer; none if it is not there.
pub fn without_finalizer(metadata: &ObjectMeta, finalizer: &str) -> Option<Value> {
    if !has_finalizer(metadata, finalizer) {
        return None;
    }
    let known = metadata.finalizers.iter().flatten();
    let rest: Vec<&String> = known.filter(|present| *present != finalizer).collect();
    Some(json!({ "finalizers": rest }))
}
