//! Without the bus, and with more executors, everything comes out the same.

use crate::scene::{Scene, kubectl, wait};

fn scale(kind: &str, name: &str, replicas: &str) {
    let count = format!("--replicas={replicas}");
    kubectl(&["-n", "holdfast-system", "scale", kind, name, &count], None).unwrap();
    wait(60, &format!("{name} to have {replicas} replicas"), || {
        let text = kubectl(
            &[
                "-n",
                "holdfast-system",
                "get",
                kind,
                name,
                "-o",
                "jsonpath={.status.readyReplicas}",
            ],
            None,
        )
        .ok()?;
        (text.trim() == replicas || (replicas == "0" && text.trim().is_empty())).then_some(())
    });
}

/// Puts NATS back whatever becomes of the test.
struct Bus;

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = kubectl(
            &[
                "-n",
                "holdfast-system",
                "scale",
                "statefulset",
                "holdfast-nats",
                "--replicas=1",
            ],
            None,
        );
        let _ = kubectl(
            &[
                "-n",
                "holdfast-system",
                "rollout",
                "status",
                "statefulset",
                "holdfast-nats",
                "--timeout=60s",
            ],
            None,
        );
    }
}

#[test]
fn without_nats_backups_and_restores_complete() {
    let scene = Scene::new("no-bus");
    let bus = Bus;
    scale("statefulset", "holdfast-nats", "0");
    scene.backup("b1", "p");
    scene.phase("backup", "b1", "Completed", 120);
    scene.exec("echo spoilt >/data/file").unwrap();
    scene.restore("r1", "b1", true);
    scene.phase("restorejob", "r1", "Completed", 150);
    drop(bus);
    scene.tool(
        "",
        "sleep 5; cp /data/file \"$BACKUP_DIR/file\"",
        &serde_json::json!({}),
    );
    scene.backup("b2", "p");
    wait(60, "the tool to run", || scene.get("job", "b2").map(drop));
    let bus = Bus;
    scale("statefulset", "holdfast-nats", "0");
    scene.phase("backup", "b2", "Completed", 120);
    drop(bus);
    scene.end();
}

#[test]
fn executors_are_scaled_alone() {
    let scene = Scene::new("executors");
    scale("deployment", "holdfast-executor", "3");
    for name in ["b1", "b2", "b3", "b4"] {
        scene.backup(name, "p");
    }
    for name in ["b1", "b2", "b3", "b4"] {
        scene.phase("backup", name, "Completed", 180);
    }
    assert_eq!(scene.list("backups").len(), 4);
    scale("deployment", "holdfast-executor", "1");
    scene.end();
}
