//! Any pod of ours may die at any moment: it costs time and nothing else.

use serde_json::json;

use crate::scene::{Scene, kubectl, wait};

fn kill(service: &str) {
    let label = format!("app.kubernetes.io/component={service}");
    kubectl(
        &[
            "-n",
            "holdfast-system",
            "delete",
            "pods",
            "-l",
            &label,
            "--grace-period=0",
            "--force",
            "--wait=false",
        ],
        None,
    )
    .unwrap();
}

fn survives(service: &str) {
    let scene = Scene::new(&format!("kill-{service}"));
    scene.tool("", "cp /data/file \"$BACKUP_DIR/file\"; sleep 4", &json!({}));
    scene.backup("b1", "p");
    kill(service);
    wait(90, "the tool to run", || scene.get("job", "b1").map(drop));
    kill(service);
    scene.phase("backup", "b1", "Completed", 150);
    scene.exec("echo spoilt >/data/file").unwrap();
    scene.restore("r1", "b1", true);
    kill(service);
    wait(120, "the restore to be under way", || {
        (scene.get("restorejob", "r1")?["status"]["phase"] != "New").then_some(())
    });
    kill(service);
    scene.phase("restorejob", "r1", "Completed", 200);
    assert_eq!(scene.exec("cat /data/file").unwrap().trim(), "precious");
    scene.delete("backup", "b1");
    kill(service);
    scene.gone("backup", "b1", 120);
    scene.end();
}

#[test]
fn killing_the_scheduler_costs_only_time() {
    survives("scheduler");
}

#[test]
fn killing_the_executor_costs_only_time() {
    survives("executor");
}

#[test]
fn killing_the_repo_manager_costs_only_time() {
    survives("repo-manager");
}

#[test]
fn killing_gc_costs_only_time() {
    survives("gc");
}

#[test]
fn killing_the_restore_service_costs_only_time() {
    survives("restore");
}

#[test]
fn killing_the_csi_driver_costs_only_time() {
    survives("csi");
}
