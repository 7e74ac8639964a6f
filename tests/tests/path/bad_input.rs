//! What users get wrong: a clear reason on the object, soon, and nothing lost or left.

use serde_json::json;

use crate::scene::{Scene, kubectl, wait};

#[test]
fn names_that_do_not_exist_fail_with_the_promised_text_after_a_grace() {
    let scene = Scene::new("missing");
    scene.policy("no-tool", &json!({"spec": {"datafile": {"backupToolName": "nowhere"}}}));
    scene.policy("no-repo", &json!({"spec": {"datafile": {"backupRepoName": "nowhere"}}}));
    scene.policy(
        "no-pod",
        &json!({"spec": {"datafile": {"target": {"labelsSelector": {"matchLabels": {"app": "nothing"}}}}}}),
    );
    scene.policy(
        "up",
        &json!({"metadata": {"annotations": {"dataprotection.kubeblocks.io/path-prefix": "/../other"}}}),
    );
    scene.policy(
        "shell",
        &json!({"metadata": {"annotations": {"dataprotection.kubeblocks.io/path-prefix": "$(reboot)"}}}),
    );
    let table = [
        (
            "gone",
            "PolicyNotFound",
            "backuppolicies.dataprotection.kubeblocks.io \"gone\" not found",
        ),
        ("no-tool", "ToolNotFound", "backupTool: nowhere not found"),
        ("no-repo", "RepoNotFound", "backup repo nowhere not found"),
        (
            "no-pod",
            "NoTargetPod",
            "can not find any pod to backup by labelsSelector",
        ),
        ("up", "InvalidPathPrefix", "/../other"),
        ("shell", "InvalidPathPrefix", "$(reboot)"),
    ];
    for (policy, _, _) in table {
        scene.backup(policy, policy);
    }
    for (name, reason, text) in table {
        let backup = scene.phase("backup", name, "Failed", 75);
        assert!(
            backup["status"]["failureReason"].as_str().unwrap().contains(text),
            "{}",
            backup["status"]
        );
        scene.condition("backup", name, "Stalled", reason, 5);
        scene.warned(name, reason);
    }
    let policy = scene.get("backuppolicy", "up").unwrap();
    assert_eq!(policy["status"]["phase"], "Failed", "{policy}");
    scene.end();
}

#[test]
fn tools_that_fail_or_cannot_start_say_so_on_the_backup() {
    let scene = Scene::new("tools");
    scene.tool("-fail", "echo broken >&2; exit 1", &json!({}));
    scene.tool("-empty", "true", &json!({}));
    scene.tool(
        "-image",
        "true",
        &json!({"spec": {"image": "localhost/nowhere/nothing:1"}}),
    );
    scene.tool(
        "-big",
        "true",
        &json!({"spec": {"resources": {"requests": {"cpu": "1000"}}}}),
    );
    for name in ["fail", "empty", "image", "big"] {
        scene.policy(
            name,
            &json!({"spec": {"datafile": {"backupToolName": format!("{}-{name}", scene.name)}}}),
        );
        scene.backup(name, name);
    }
    scene.condition("backup", "image", "Reconciling", "ImagePull", 30);
    scene.condition("backup", "big", "Reconciling", "Unschedulable", 30);
    scene.phase("backup", "fail", "Failed", 90);
    scene.condition("backup", "fail", "Stalled", "ToolFailed", 5);
    scene.warned("fail", "ToolFailed");
    scene.phase("backup", "empty", "Failed", 90);
    scene.condition("backup", "empty", "Stalled", "EmptyOutput", 5);
    // Deleted while they run: they end, with their Jobs.
    for name in ["image", "big"] {
        scene.delete("backup", name);
        scene.gone("backup", name, 90);
    }
    wait(30, "their jobs to be gone", || {
        let left = scene
            .list("jobs")
            .iter()
            .any(|job| ["image", "big"].contains(&job["metadata"]["name"].as_str().unwrap()));
        (!left).then_some(())
    });
    scene.end();
}

#[test]
fn a_database_that_is_not_ready_is_waited_for() {
    let scene = Scene::new("unready");
    scene.policy(
        "other",
        &json!({"spec": {"datafile": {"target": {"labelsSelector": {"matchLabels": {"app": "other"}}}}}}),
    );
    let pod = |ready: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other-0", "labels": {"app": "other"}}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "localhost/holdfast/postgres:15", "imagePullPolicy": "Never", "command": ["sh", "-c", "mkdir -p /data; echo x >/data/file; exec sleep infinity"],
            "readinessProbe": {"exec": {"command": ["test", "-e", ready]}, "periodSeconds": 1},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [{"name": "data", "emptyDir": {}}]}})
    };
    scene.tool("-other", "echo x >$BACKUP_DIR/file", &json!({}));
    scene.policy("other", &json!({"spec": {"datafile": {"backupToolName": format!("{}-other", scene.name), "target": {"labelsSelector": {"matchLabels": {"app": "other"}}}}}}));
    scene.apply(&pod("/data/ready"));
    scene.backup("b1", "other");
    scene.condition("backup", "b1", "Reconciling", "TargetPodNotReady", 30);
    let ready = [
        "-n",
        scene.name.as_str(),
        "exec",
        "other-0",
        "--",
        "touch",
        "/data/ready",
    ];
    wait(30, "the pod to take a command", || kubectl(&ready, None).ok());
    scene.phase("backup", "b1", "Completed", 90);
    scene.end();
}

#[test]
fn a_namespace_deleted_in_the_middle_goes_away() {
    let scene = Scene::new("ending");
    scene.tool("", "sleep 600", &json!({}));
    scene.backup("b1", "p");
    wait(60, "the tool to run", || {
        scene
            .list("pods")
            .iter()
            .any(|pod| pod["status"]["phase"] == "Running" && pod["metadata"]["labels"]["holdfast.io/role"] == "backup")
            .then_some(())
    });
    kubectl(&["delete", "namespace", &scene.name, "--wait=false"], None).unwrap();
    wait(120, "the namespace to be gone", || {
        kubectl(&["get", "namespace", &scene.name], None).is_err().then_some(())
    });
    scene.end();
}

#[test]
fn a_claim_that_never_binds_is_named_and_the_backup_can_be_deleted() {
    let scene = Scene::new("unbound");
    let claim = json!({"name": "nowhere", "storageClassName": "nowhere", "initCapacity": "64Mi"});
    scene.policy(
        "nowhere",
        &json!({"spec": {"datafile": {"backupRepoName": null, "persistentVolumeClaim": claim}}}),
    );
    scene.backup("b1", "nowhere");
    let said = scene.condition("backup", "b1", "Reconciling", "Unschedulable", 60);
    let text = said["message"].as_str().unwrap();
    assert!(text.contains("PersistentVolumeClaim"), "{text}");
    // Others are not held up.
    scene.backup("b2", "p");
    scene.phase("backup", "b2", "Completed", 90);
    scene.delete("backup", "b1");
    scene.gone("backup", "b1", 90);
    scene.end();
}

#[test]
fn of_several_pods_the_first_ready_one_by_name_is_backed_up() {
    let scene = Scene::new("several");
    scene.database(3, &json!({}));
    wait(90, "three replicas", || {
        (scene.get("statefulset", "db")?["status"]["readyReplicas"] == 3).then_some(())
    });
    scene.backup("b1", "p");
    scene.phase("backup", "b1", "Completed", 90);
    // Pods that are not Ready are passed over.
    scene.delete("pod", "db-0");
    scene.backup("b2", "p");
    scene.phase("backup", "b2", "Completed", 90);
    for name in ["b1", "b2"] {
        let backup = scene.get("backup", name).unwrap();
        let pod = backup["status"]["plan"]["source"]["podName"].as_str().unwrap();
        assert!(
            pod.starts_with("db-") && (name != "b1" || pod == "db-0"),
            "{name}: {pod}"
        );
    }
    scene.end();
}

#[test]
fn an_object_that_cannot_be_read_says_so_and_stops_nobody() {
    let scene = Scene::new("unreadable");
    // The API server takes it, because Kubernetes' own parts are free-form; nobody can run it.
    scene.tool("-bad", "true", &json!({"spec": {"env": [{"name": {"no": "text"}}]}}));
    let about = format!("{}-bad", scene.name);
    wait(30, "an event about the tool", || {
        let events = kubectl(&["-n", "default", "get", "events", "-o", "json"], None).ok()?;
        let events: serde_json::Value = serde_json::from_str(&events).ok()?;
        events["items"]
            .as_array()?
            .iter()
            .any(|event| event["reason"] == "InvalidObject" && event["involvedObject"]["name"] == about.as_str())
            .then_some(())
    });
    scene.backup("b1", "p");
    scene.phase("backup", "b1", "Completed", 90);
    scene.policy("bad", &json!({"spec": {"datafile": {"backupToolName": about}}}));
    scene.backup("b2", "bad");
    let said = scene.condition("backup", "b2", "Reconciling", "InvalidObject", 30);
    assert!(said["message"].as_str().unwrap().contains(&about), "{said}");
    // Corrected, it serves.
    scene.tool(
        "-bad",
        "echo x >$BACKUP_DIR/file",
        &json!({"spec": {"env": [{"name": "A", "value": "b"}]}}),
    );
    scene.phase("backup", "b2", "Completed", 90);
    scene.end();
}
