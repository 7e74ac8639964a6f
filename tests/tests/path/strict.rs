//! Namespaces that allow little, and tools that are used to much.

use serde_json::{Value, json};

use crate::scene::{Scene, kubectl, wait};

/// Waits until a condition of an object holds these words.
fn says(scene: &Scene, kind: &str, name: &str, words: &str) {
    wait(20, &format!("{kind} {name} to say {words}"), || {
        let object = scene.get(kind, name)?;
        let told = |one: &Value| one["message"].as_str().is_some_and(|message| message.contains(words));
        object["status"]["conditions"]
            .as_array()?
            .iter()
            .any(told)
            .then_some(())
    });
}

fn quota(scene: &Scene, hard: &Value) {
    scene.apply(
        &json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}, "spec": {"hard": hard}}),
    );
}

#[test]
fn what_a_quota_refuses_is_told_in_its_words_and_goes_on_when_there_is_room() {
    let scene = Scene::new("quota");
    // The claim, then the Job, then its pod.
    for (name, hard) in [
        ("b1", json!({"persistentvolumeclaims": "1"})),
        ("b2", json!({"count/jobs.batch": "0"})),
        ("b3", json!({"pods": "1"})),
    ] {
        quota(&scene, &hard);
        scene.backup(name, "p");
        says(&scene, "backup", name, "exceeded quota: full");
        scene.delete("resourcequota", "full");
        scene.phase("backup", name, "Completed", 120);
        scene.gone("resourcequota", "full", 20);
    }
    quota(&scene, &json!({"pods": "1"}));
    scene.delete("backup", "b1");
    says(&scene, "backup", "b1", "exceeded quota: full");
    scene.delete("resourcequota", "full");
    scene.gone("backup", "b1", 90);
    scene.end();
}

#[test]
fn a_namespace_where_nothing_runs_as_root_is_served_as_its_database() {
    let scene = Scene::new("restricted");
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    scene.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scene.name, "labels": labels}}));
    scene.tool(
        "",
        "cp /data/file \"$BACKUP_DIR/file\"; id -u >\"$BACKUP_DIR/user\"",
        &json!({}),
    );
    // The API server looks at its namespaces from a cache.
    wait(30, "the namespace to be restricted", || {
        let run = ["-n", &scene.name, "run", "probe", "--image=any", "--dry-run=server"];
        kubectl(&run, None).is_err().then_some(())
    });
    scene.backup("b1", "p");
    let backup = scene.phase("backup", "b1", "Completed", 90);
    let user = std::path::Path::new(&scene.directory(&backup)).join("user");
    assert_eq!(std::fs::read_to_string(user).expect("the tool's user").trim(), "100");
    scene.delete("backup", "b1");
    scene.gone("backup", "b1", 60);
    scene.end();
}

#[test]
fn a_limit_range_that_wants_resources_gives_them_to_our_pods() {
    let scene = Scene::new("limits");
    let bounds = json!({"type": "Container", "min": {"cpu": "10m", "memory": "16Mi"},
        "default": {"cpu": "200m", "memory": "128Mi"}, "defaultRequest": {"cpu": "50m", "memory": "32Mi"},
        "maxLimitRequestRatio": {"cpu": "4", "memory": "4"}});
    scene.apply(&json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "bounds"}, "spec": {"limits": [bounds]}}));
    scene.backup("b1", "p");
    scene.phase("backup", "b1", "Completed", 90);
    scene.delete("backup", "b1");
    scene.gone("backup", "b1", 60);
    scene.end();
}

#[test]
fn a_tool_may_change_its_user_and_keep_mode_bits() {
    let scene = Scene::new("tools");
    let script = "setpriv --reuid=100 --regid=102 --clear-groups id -u | grep -qx 100
mkdir \"$BACKUP_DIR/shared\"; chown 100:102 \"$BACKUP_DIR/shared\"; chmod 2775 \"$BACKUP_DIR/shared\"
[ \"$(stat -c %a \"$BACKUP_DIR/shared\")\" = 2775 ]
cp /data/file \"$BACKUP_DIR/file\"";
    scene.tool("", &format!("set -e\n{script}"), &json!({}));
    scene.backup("b1", "p");
    scene.phase("backup", "b1", "Completed", 90);
    scene.end();
}

#[test]
fn a_tool_that_runs_out_of_memory_is_told_so_with_its_limit() {
    let scene = Scene::new("memory");
    let resources = json!({"spec": {"resources": {"requests": {"memory": "16Mi"}, "limits": {"memory": "48Mi"}}}});
    scene.tool("", "tail /dev/zero >\"$BACKUP_DIR/file\"", &resources);
    scene.backup("b1", "p");
    let failed = scene.phase("backup", "b1", "Failed", 120);
    let why = failed["status"]["failureReason"].as_str().expect("a reason");
    assert!(
        why.contains("memory") && (why.contains("48 Mi") || why.contains("48Mi")),
        "{why}"
    );
    scene.end();
}

#[test]
fn a_suspended_job_is_told_and_goes_on_when_it_is_resumed() {
    let scene = Scene::new("suspended");
    scene.tool("", "cp /data/file \"$BACKUP_DIR/file\"; sleep 15", &json!({}));
    scene.backup("b1", "p");
    scene.condition("backup", "b1", "Reconciling", "InProgress", 30);
    wait(60, "a pod that runs", || {
        let pods = scene.list("pods");
        let runs = |pod: &Value| {
            pod["metadata"]["labels"]["holdfast.io/role"] == "backup" && pod["status"]["phase"] == "Running"
        };
        pods.iter().any(runs).then_some(())
    });
    let suspend = |on: bool| {
        let patch = json!({"spec": {"suspend": on}}).to_string();
        kubectl(
            &["-n", &scene.name, "patch", "job", "b1", "--type=merge", "-p", &patch],
            None,
        )
        .expect("a patch");
    };
    suspend(true);
    scene.condition("backup", "b1", "Reconciling", "JobSuspended", 20);
    suspend(false);
    scene.phase("backup", "b1", "Completed", 120);
    scene.end();
}
