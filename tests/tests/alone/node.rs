//! A node that loses its power: what was at work on it is told of, what can goes on elsewhere, and the rest when it is back.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use serde_json::{Value, json};

use crate::scene::{Scene, kubectl, wait};

const NODE: &str = "node2";
/// A folder that every node has.
const SHARED: &str = "/var/lib/holdfast-cluster/shared";

fn node(verb: &str) {
    let done = Command::new("../deploy/cluster/node.sh")
        .args([verb, NODE])
        .status()
        .unwrap();
    assert!(done.success(), "node.sh {verb} {NODE}");
}

/// A further node, gone when this is dropped.
struct Further;

impl Further {
    fn new() -> Self {
        node("up");
        Self
    }
}

impl Drop for Further {
    fn drop(&mut self) {
        let _ = Command::new("../deploy/cluster/node.sh").args(["down", NODE]).status();
    }
}

/// A database `other` on the further node, and a claim `shared` that both nodes reach.
fn furnish(scene: &Scene) {
    let folder = format!("{SHARED}/{}", scene.name);
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    scene.apply(
        &json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": scene.name},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], "storageClassName": "",
            "hostPath": {"path": folder}, "claimRef": {"namespace": scene.name, "name": "shared"}}}),
    );
    scene.apply(
        &json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "shared"},
        "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "", "volumeName": scene.name,
            "resources": {"requests": {"storage": "1Gi"}}}}),
    );
    let labels = json!({"app": "other"});
    scene.database(
        1,
        &json!({"metadata": {"name": "other", "labels": labels}, "spec": {"serviceName": "other",
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"nodeSelector": {"kubernetes.io/hostname": NODE}}}}}),
    );
    wait(90, "the other database to be ready", || {
        (scene.get("statefulset", "other")?["status"]["readyReplicas"] == 1).then_some(())
    });
    let shared = |labels: &Value, tool: &str| {
        json!({"spec": {"datafile": {"target": {"labelsSelector": {"matchLabels": labels}}, "onFailAttempted": 3,
            "backupToolName": tool, "backupRepoName": null, "persistentVolumeClaim": {"name": "shared"}}}})
    };
    scene.policy("here", &shared(&json!({"app": "db"}), &scene.name));
    // Works for as long as it is let the first time, and at once from then on.
    let slow = "[ -e /data/again ] || { touch /data/again; sleep 600; }; cp /data/file \"$BACKUP_DIR/file\"";
    scene.tool("-slow", slow, &json!({}));
    scene.policy("there", &shared(&labels, &format!("{}-slow", scene.name)));
}

fn pod_on(scene: &Scene, prefix: &str) -> Option<(String, String)> {
    let pods = scene.list("pods");
    let pod = pods.iter().find(|pod| {
        pod["metadata"]["name"]
            .as_str()
            .is_some_and(|name| name.starts_with(prefix))
    })?;
    let of = |value: &Value| value.as_str().map(str::to_owned);
    Some((of(&pod["spec"]["nodeName"])?, of(&pod["status"]["phase"])?))
}

#[test]
fn what_was_at_work_on_a_dead_node_is_told_of_and_goes_on() {
    let scene = Scene::new("dead-node");
    let further = Further::new();
    furnish(&scene);
    scene.backup("old", "here");
    scene.phase("backup", "old", "Completed", 90);
    scene.backup("b1", "there");
    wait(60, "the tool to run on the further node", || {
        (pod_on(&scene, "b1")? == (NODE.to_owned(), "Running".to_owned())).then_some(())
    });
    // Leaves no room for a purge but on the further node, which nobody knows yet to be dead.
    scene.apply(
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ballast"}, "spec": {"nodeName": "holdfast",
        "containers": [{"name": "c", "image": "localhost/holdfast/pause:1", "imagePullPolicy": "Never",
            "resources": {"requests": {"cpu": "1500m"}}}]}}),
    );
    node("kill");
    scene.delete("backup", "old");
    wait(30, "the purge to be given to the dead node", || {
        (pod_on(&scene, "holdfast-purge")?.0 == NODE).then_some(())
    });
    scene.delete("pod", "ballast");
    // A backup on the other node is not held up.
    scene.backup("b2", "here");
    scene.phase("backup", "b2", "Completed", 60);
    let said = scene.condition("backup", "b1", "Reconciling", "NodeNotReady", 120);
    assert!(
        said["message"].as_str().unwrap().contains("node node2 is not Ready"),
        "{said}"
    );
    scene.gone("backup", "old", 120);
    assert_eq!(scene.get("backup", "b1").unwrap()["status"]["phase"], "InProgress");
    scene.backup("b3", "here");
    scene.phase("backup", "b3", "Completed", 60);
    node("up");
    scene.phase("backup", "b1", "Completed", 180);
    scene.delete("statefulset", "other");
    let _ = kubectl(&["delete", "pv", &scene.name, "--wait=false"], None);
    let folder = format!("{SHARED}/{}", scene.name);
    scene.end();
    let _ = fs::remove_dir_all(folder);
    drop(further);
}
