//! Backups that come out well, however they are asked for.

use std::{path::Path, process::Command};

use serde_json::json;

use crate::scene::{Scene, kubectl};

#[test]
fn a_backup_is_sealed_checked_with_sha256sum_and_removed_with_its_files() {
    let scene = Scene::new("sealed");
    scene.backup("b1", "p");
    let backup = scene.phase("backup", "b1", "Completed", 90);
    let status = &backup["status"];
    assert_eq!(status["backupToolName"], scene.name.as_str());
    assert!(
        status["expiration"].is_string() && status["duration"].is_string() && status["totalSize"].is_string(),
        "{status}"
    );
    let directory = scene.directory(&backup);
    assert!(Path::new(&directory).join("holdfast.json").exists());
    let sum = "find . -type f ! -name holdfast.json -printf '%P\\0' | xargs -0 sha256sum | LC_ALL=C sort | sha256sum | cut -c1-64";
    let sum = Command::new("sh")
        .args(["-c", sum])
        .current_dir(&directory)
        .output()
        .unwrap();
    assert_eq!(
        status["manifests"]["backupTool"]["checksum"],
        String::from_utf8_lossy(&sum.stdout).trim()
    );
    scene.delete("backup", "b1");
    scene.gone("backup", "b1", 60);
    assert!(!Path::new(&directory).exists());
    // The name may be used again: the uid is another.
    scene.backup("b1", "p");
    scene.phase("backup", "b1", "Completed", 90);
    scene.end();
}

#[test]
fn two_at_once_and_names_of_63_and_253_characters_all_complete() {
    let scene = Scene::new("names");
    let names = [
        "one".to_owned(),
        "two".to_owned(),
        "a".repeat(63),
        format!("{}.{}", "b".repeat(126), "c".repeat(126)),
    ];
    for name in &names {
        scene.backup(name, "p");
    }
    for name in &names {
        scene.phase("backup", name, "Completed", 180);
    }
    for name in &names {
        scene.delete("backup", name);
    }
    for name in &names {
        scene.gone("backup", name, 90);
    }
    scene.end();
}

#[test]
fn objects_may_be_applied_in_any_order() {
    let scene = Scene::new("late");
    scene.backup("b1", "later");
    scene.condition("backup", "b1", "Reconciling", "PolicyNotFound", 10);
    scene.policy(
        "later",
        &json!({"spec": {"datafile": {"backupToolName": format!("{}-later", scene.name)}}}),
    );
    scene.condition("backup", "b1", "Reconciling", "ToolNotFound", 10);
    scene.tool("-later", "echo x >$BACKUP_DIR/file", &json!({}));
    scene.phase("backup", "b1", "Completed", 90);
    scene.end();
}

#[test]
fn children_of_others_with_a_backups_name_are_never_touched() {
    let scene = Scene::new("taken");
    let pod = json!({"metadata": {"labels": {"app": "other"}}, "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "localhost/holdfast/postgres:15", "imagePullPolicy": "Never", "command": ["sleep", "infinity"]}]}});
    scene.apply(
        &json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": {"template": pod}}),
    );
    let mut template = pod;
    template["spec"].as_object_mut().unwrap().remove("restartPolicy");
    scene.apply(&json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "set"}, "spec": {"serviceName": "set", "replicas": 0,
        "selector": {"matchLabels": {"app": "other"}}, "template": template}}));
    let uid = |kind: &str, name: &str| scene.get(kind, name).unwrap()["metadata"]["uid"].clone();
    let before = (uid("job", "job"), uid("statefulset", "set"));
    scene.backup("job", "p");
    scene.backup("set", "p");
    let failed = scene.phase("backup", "job", "Failed", 60);
    assert!(
        failed["status"]["failureReason"]
            .as_str()
            .unwrap()
            .contains("job named \"job\""),
        "{failed}"
    );
    scene.warned("job", "NameTaken");
    scene.phase("backup", "set", "Completed", 90);
    for name in ["job", "set"] {
        scene.delete("backup", name);
        scene.gone("backup", name, 60);
    }
    assert_eq!(before, (uid("job", "job"), uid("statefulset", "set")));
    scene.end();
}

#[test]
fn people_may_do_what_their_role_in_the_namespace_says() {
    let scene = Scene::new("roles");
    for role in ["view", "edit"] {
        kubectl(
            &[
                "-n",
                &scene.name,
                "create",
                "rolebinding",
                role,
                "--clusterrole",
                role,
                "--user",
                role,
            ],
            None,
        )
        .unwrap();
    }
    let may = |user: &str, verb: &str, kind: &str| {
        let answer = kubectl(&["-n", &scene.name, "auth", "can-i", verb, kind, "--as", user], None);
        answer.is_ok_and(|answer| answer.trim() == "yes")
    };
    assert!(may("view", "get", "backups.dataprotection.kubeblocks.io"));
    assert!(!may("view", "create", "backups.dataprotection.kubeblocks.io"));
    assert!(may("edit", "create", "restorejobs.dataprotection.kubeblocks.io"));
    assert!(may("edit", "delete", "backups.dataprotection.kubeblocks.io"));
    scene.end();
}
