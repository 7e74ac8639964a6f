use holdfast_api::condition::{READY, holds};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::decision::Notice;

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

fn tool(change: Value) -> BackupTool {
    let mut spec = json!({"image": "", "backupCommands": ["true"], "physical": {"restoreCommands": ["true"]}});
    for (key, value) in change.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(json!({"apiVersion": "v", "kind": "BackupTool",
        "metadata": {"name": "t", "generation": 1, "finalizers": ["other", FINALIZER]}, "spec": spec}))
    .unwrap()
}

fn written(decision: &Decision) -> &BackupToolStatus {
    match &decision.write {
        Some(Write::Status(status)) => status,
        other => panic!("{other:?}"),
    }
}

fn said(decision: &Decision) -> Option<&str> {
    decision.notices.iter().find_map(|notice| match notice {
        Notice::Event(event) => Some(event.note.as_str()),
        Notice::Bus(_) => None,
    })
}

#[test]
fn a_tool_that_can_be_used_is_ready_and_left_alone() {
    let mut useful = tool(json!({}));
    let decision = decide(&useful, now());
    let status = written(&decision).clone();
    assert_eq!(status.phase, Some(BackupToolPhase::Available));
    assert!(
        holds(&status.conditions, READY) && said(&decision).is_none(),
        "{status:?}"
    );
    useful.status = Some(status);
    assert_eq!(decide(&useful, now()), Decision::wait());
}

#[test]
fn what_is_not_served_is_told_once() {
    for (change, field, ready) in [
        (
            json!({"incrementalBackupCommands": ["x"]}),
            "incrementalBackupCommands",
            true,
        ),
        (
            json!({"logical": {"restoreCommands": ["x"]}}),
            "logical.restoreCommands",
            true,
        ),
        (json!({"deployKind": "statefulSet"}), "deployKind", false),
        (json!({"physical": {"relyOnLogfile": true}}), "relyOnLogfile", false),
    ] {
        let mut odd = tool(change);
        let decision = decide(&odd, now());
        let status = written(&decision).clone();
        assert_eq!(holds(&status.conditions, READY), ready, "{field}");
        assert_eq!(status.conditions[0].reason, "Unsupported");
        assert_eq!(status.failure_reason.is_none(), ready);
        assert!(said(&decision).is_some_and(|note| note.contains(field)), "{decision:?}");
        odd.status = Some(status);
        assert_eq!(decide(&odd, now()), Decision::wait());
    }
    let empty = tool(json!({"incrementalBackupCommands": [], "logical": {}}));
    assert_eq!(written(&decide(&empty, now())).conditions[0].reason, "Available");
}

#[test]
fn a_deleted_tool_is_let_go() {
    let mut gone = tool(json!({}));
    gone.metadata.deletion_timestamp = Some(Time(now()));
    let release = Write::Metadata(json!({"finalizers": ["other"]}));
    assert_eq!(decide(&gone, now()).write, Some(release));
    gone.metadata.finalizers = Some(vec!["other".to_owned()]);
    assert_eq!(decide(&gone, now()), Decision::wait());
}
