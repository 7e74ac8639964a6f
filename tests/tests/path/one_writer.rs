//! A restore is the only writer of its own workload's volumes, and what cannot begin stops nothing.

use serde_json::{Value, json};

use crate::scene::{Scene, kubectl, wait};

fn scale(scene: &Scene, arguments: &[&str]) -> Result<String, String> {
    kubectl(&[&["-n", scene.name.as_str()], arguments].concat(), None)
}

/// A tool whose restore takes a while over a half written file.
fn slow(scene: &Scene) {
    let script = "set -e; echo half >/data/file; sleep 45; cp \"$BACKUP_DIR/file\" /data/file";
    scene.tool(
        "",
        "cp /data/file \"$BACKUP_DIR/file\"",
        &json!({"spec": {"physical": {"restoreCommands": [script]}}}),
    );
}

#[test]
fn a_database_that_is_started_beside_a_restore_is_stopped_and_not_called_restored() {
    let scene = Scene::new("two-writers");
    scene.backup("b1", "p");
    scene.phase("backup", "b1", "Completed", 90);
    slow(&scene);
    scene.restore("r1", "b1", true);
    scene.condition("restorejob", "r1", "Writing", "Restoring", 90);
    wait(60, "the tool to run", || {
        let pods = scene.list("pods");
        let runs = |pod: &Value| {
            pod["metadata"]["labels"]["holdfast.io/role"] == "restore" && pod["status"]["phase"] == "Running"
        };
        pods.iter().any(runs).then_some(())
    });
    // An update of the workload is refused; what comes by its scale is noticed.
    let refused = scale(
        &scene,
        &["patch", "statefulset", "db", "-p", "{\"spec\":{\"replicas\":1}}"],
    )
    .unwrap_err();
    assert!(refused.contains("holds this workload at 0 replicas"), "{refused}");
    scale(&scene, &["scale", "statefulset", "db", "--replicas=1"]).unwrap();
    wait(45, "the workload to be back at 0", || {
        (scene.replicas() == 0).then_some(())
    });
    let failed = scene.phase("restorejob", "r1", "Failed", 120);
    let noticed = &failed["status"]["plan"]["writing"]["secondWriter"];
    assert!(noticed.as_str().is_some_and(|who| who.contains("db-0")), "{failed}");
    scene.condition("restorejob", "r1", "Stalled", "TargetDirty", 5);
    assert_eq!(scene.replicas(), 0);
    scene.end();
}

#[test]
fn what_cannot_begin_is_found_while_the_database_runs() {
    let scene = Scene::new("no-begin");
    scene.backup("b1", "p");
    scene.phase("backup", "b1", "Completed", 90);
    let pod = |scene: &Scene| scene.get("pod", "db-0").unwrap()["metadata"]["uid"].clone();
    let before = pod(&scene);
    for (name, tool, reason) in [
        (
            "command",
            json!({"physical": {"restoreCommands": ["no-such-program", "--now"]}}),
            "BadConfiguration",
        ),
        (
            "not-executable",
            json!({"physical": {"restoreCommands": ["/data/file", "--now"]}}),
            "BadConfiguration",
        ),
        (
            "resources",
            json!({"physical": {"restoreCommands": ["sh", "-c", "true"]}, "resources": {"requests": {"memory": "100Gi"}}}),
            "Unschedulable",
        ),
    ] {
        scene.tool("", "true", &json!({ "spec": tool }));
        scene.restore(name, "b1", true);
        scene.phase("restorejob", name, "Failed", 240);
        scene.condition("restorejob", name, "Stalled", reason, 5);
        assert_eq!((scene.replicas(), pod(&scene)), (1, before.clone()), "{name}");
    }
    scene.end();
}

#[test]
fn targets_that_are_not_the_workloads_are_refused() {
    let scene = Scene::new("targets");
    scene.backup("b1", "p");
    scene.phase("backup", "b1", "Completed", 90);
    for (name, volume, reason) in [
        ("host", json!({"hostPath": {"path": "/etc"}}), "TargetNotAllowed"),
        ("secret", json!({"secret": {"secretName": "any"}}), "TargetNotAllowed"),
        (
            "slip",
            json!({"persistentVolumeClaim": {"claimName": "data-other-0"}}),
            "TargetNotUsed",
        ),
    ] {
        let mut volume = volume;
        volume["name"] = "data".into();
        scene.apply(&json!({
            "apiVersion": "dataprotection.kubeblocks.io/v1alpha1", "kind": "RestoreJob", "metadata": {"name": name},
            "spec": {"backupJobName": "b1", "replace": true, "target": {"labelsSelector": {"matchLabels": {"app": "db"}}},
                "targetVolumes": [volume], "targetVolumeMounts": [{"name": "data", "mountPath": "/data"}]}
        }));
        scene.phase("restorejob", name, "Failed", 30);
        scene.condition("restorejob", name, "Stalled", reason, 5);
    }
    assert_eq!(scene.replicas(), 1);
    scene.end();
}
