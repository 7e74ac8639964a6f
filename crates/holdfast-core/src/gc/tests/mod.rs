mod deletion;
mod lost;
mod purging;
mod retention;
mod retirement;
mod scale;
mod stubborn;

use std::{cell::Cell, sync::Arc};

use holdfast_api::names::{FINALIZER, LABEL_AUTOBACKUP};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

thread_local! {
    /// How often a Backup's series was asked for.
    pub(super) static LOOKS: Cell<usize> = const { Cell::new(0) };
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn key(name: &str) -> At {
    ("ns".to_owned(), name.to_owned())
}

/// A scheduled Backup of policy `p` that ended at this time.
fn json(name: &str, phase: &str, ended: i64) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "resourceVersion": "1",
            "labels": {LABEL_AUTOBACKUP: "true", "app.kubernetes.io/instance": "c"}, "finalizers": [FINALIZER]},
        "spec": {"backupPolicyName": "p", "backupType": "datafile"},
        "status": {"phase": phase, "completionTimestamp": at(ended).to_string()}
    })
}

fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}

fn summary(name: &str, phase: &str, ended: i64, change: &Value) -> Arc<BackupSummary> {
    let mut whole = json(name, phase, ended);
    merge(&mut whole, change);
    Arc::new(serde_json::from_value(whole).unwrap())
}

fn expiring(name: &str, phase: &str, ended: i64, expires: i64) -> Arc<BackupSummary> {
    summary(
        name,
        phase,
        ended,
        &json!({"status": {"expiration": at(expires).to_string()}}),
    )
}

/// A deleted Backup whose files wait to be removed from claim `repo`.
fn waiting(name: &str) -> Arc<BackupSummary> {
    summary(
        name,
        "Deleting",
        0,
        &json!({"metadata": {"deletionTimestamp": at(1).to_string()},
            "status": {"persistentVolumeClaimName": "repo", "manifests": {"backupTool": {"filePath": format!("/ns/{name}")}}}}),
    )
}

fn index(backups: &[Arc<BackupSummary>]) -> Index {
    let mut index = Index::default();
    for backup in backups {
        index.apply(backup);
    }
    index
}
