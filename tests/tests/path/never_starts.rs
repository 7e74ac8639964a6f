//! A restore that passed its check, and whose pod then does not start: the database comes back.

use serde_json::json;

use crate::scene::{Scene, wait};

/// A backup, and a restore of it up to the point at which the database stops, which takes a while.
fn stop(scene: &Scene) {
    let slowly = json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 25}}}});
    scene.database(1, &slowly);
    wait(90, "the database with its new grace", || {
        let pod = scene.get("pod", "db-0")?;
        let ready = pod["status"]["containerStatuses"][0]["ready"] == true;
        (ready && pod["spec"]["terminationGracePeriodSeconds"] == 25).then_some(())
    });
    scene.backup("b1", "p");
    scene.phase("backup", "b1", "Completed", 90);
    scene.restore("r1", "b1", true);
    wait(120, "the database to stop", || (scene.replicas() == 0).then_some(()));
}

/// The restore ends, nothing was written, and the database is back.
fn comes_back(scene: &Scene, reason: &str, words: &str) {
    let failed = scene.phase("restorejob", "r1", "Failed", 270);
    let text = failed["status"]["failureReason"].as_str().unwrap();
    assert!(text.contains(words), "{text}");
    scene.condition("restorejob", "r1", "Stalled", reason, 5);
    let set = scene.get("statefulset", "db").unwrap();
    assert_eq!(set["spec"]["replicas"], 1);
    assert!(set["metadata"]["annotations"]["holdfast.io/held"].is_null(), "{set}");
    wait(60, "no pod of the restore", || {
        let pods = scene.list("pods");
        let left = pods
            .iter()
            .any(|pod| pod["metadata"]["labels"]["holdfast.io/role"] == "restore");
        (!left).then_some(())
    });
}

#[test]
fn a_container_that_cannot_be_made_gives_the_database_back() {
    let scene = Scene::new("no-container");
    scene.apply(
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "licence"}, "stringData": {"key": "valid"}}),
    );
    let key = json!({"name": "LICENCE", "valueFrom": {"secretKeyRef": {"name": "licence", "key": "key"}}});
    scene.tool(
        "",
        "cp /data/file \"$BACKUP_DIR/file\"",
        &json!({"spec": {"env": [key]}}),
    );
    stop(&scene);
    // The check has found it; the restore does not.
    scene.delete("secret", "licence");
    comes_back(&scene, "ContainerConfig", "licence");
    scene.end();
}

#[test]
fn a_pod_that_the_namespace_refuses_gives_the_database_back() {
    let scene = Scene::new("no-pod");
    stop(&scene);
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    scene.apply(&quota);
    comes_back(&scene, "PodPending", "exceeded quota: none");
    scene.delete("resourcequota", "none");
    scene.end();
}
