//! Restores: what they refuse, what they stop, and how the workload comes back.

use serde_json::json;

use crate::scene::{Scene, kubectl, wait};

#[test]
fn a_restore_brings_data_and_all_replicas_back() {
    let scene = Scene::new("restore");
    scene.database(2, &json!({}));
    scene.backup("b1", "p");
    scene.phase("backup", "b1", "Completed", 90);
    scene.exec("echo spoilt >/data/file").unwrap();
    scene.restore("refused", "b1", false);
    scene.phase("restorejob", "refused", "Failed", 90);
    scene.condition("restorejob", "refused", "Stalled", "TargetHasData", 5);
    assert_eq!(scene.replicas(), 2);
    scene.restore("r1", "b1", true);
    scene.phase("restorejob", "r1", "Completed", 150);
    let set = scene.get("statefulset", "db").unwrap();
    assert_eq!(
        (&set["spec"]["replicas"], &set["status"]["readyReplicas"]),
        (&json!(2), &json!(2))
    );
    assert!(set["metadata"]["annotations"]["holdfast.io/held"].is_null());
    assert_eq!(scene.exec("cat /data/file").unwrap().trim(), "precious");
    scene.end();
}

#[test]
fn workloads_that_must_not_be_scaled_are_refused_before_anything_is_touched() {
    let scene = Scene::new("refused");
    scene.backup("b1", "p");
    scene.phase("backup", "b1", "Completed", 90);
    scene.restore("gone", "nowhere", true);
    let gone = scene.phase("restorejob", "gone", "Failed", 60);
    let text = gone["status"]["failureReason"].as_str().unwrap();
    assert!(text.contains("\"nowhere\" not found"), "{text}");
    scene.database(
        1,
        &json!({"spec": {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Retain"}}}),
    );
    scene.restore("scaled", "b1", true);
    scene.phase("restorejob", "scaled", "Failed", 60);
    scene.condition("restorejob", "scaled", "Stalled", "WhenScaledDelete", 5);
    scene.warned("scaled", "WhenScaledDelete");
    let owner = scene.get("backuppolicy", "p").unwrap();
    scene.database(1, &json!({
        "metadata": {"ownerReferences": [{"apiVersion": owner["apiVersion"], "kind": "BackupPolicy", "name": "p", "uid": owner["metadata"]["uid"], "controller": true}]},
        "spec": {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Retain", "whenDeleted": "Retain"}}
    }));
    scene.restore("owned", "b1", true);
    scene.phase("restorejob", "owned", "Failed", 60);
    scene.condition("restorejob", "owned", "Stalled", "ManagedByOperator", 5);
    assert_eq!(scene.replicas(), 1);
    scene.end();
}

#[test]
fn a_restore_whose_image_or_secret_is_not_to_be_had_stops_nothing() {
    let scene = Scene::new("pull");
    scene.backup("b1", "p");
    scene.phase("backup", "b1", "Completed", 90);
    let pod = |scene: &Scene| scene.get("pod", "db-0").unwrap()["metadata"]["uid"].clone();
    let before = pod(&scene);
    for (name, tool, reason) in [
        ("image", json!({"image": "localhost/nowhere/nothing:1"}), "ImagePull"),
        (
            "secret",
            json!({"image": "", "envFrom": [{"secretRef": {"name": "nowhere"}}]}),
            "ContainerConfig",
        ),
    ] {
        scene.tool("", "true", &json!({ "spec": tool }));
        scene.restore(name, "b1", true);
        scene.condition("restorejob", name, "Reconciling", reason, 30);
        scene.delete("restorejob", name);
        scene.gone("restorejob", name, 90);
    }
    assert_eq!((scene.replicas(), pod(&scene)), (1, before));
    scene.end();
}

#[test]
fn a_half_written_volume_keeps_its_workload_down_until_another_restore() {
    let scene = Scene::new("dirty");
    scene.backup("b1", "p");
    scene.phase("backup", "b1", "Completed", 90);
    let good = "cp \"$BACKUP_DIR/file\" /data/file";
    scene.tool(
        "",
        "cp /data/file \"$BACKUP_DIR/file\"",
        &json!({"spec": {"physical": {"restoreCommands": ["echo half >/data/file; exit 1"]}}}),
    );
    scene.restore("r1", "b1", true);
    let failed = scene.phase("restorejob", "r1", "Failed", 120);
    assert!(
        failed["status"]["failureReason"]
            .as_str()
            .unwrap()
            .contains("another RestoreJob"),
        "{failed}"
    );
    scene.condition("restorejob", "r1", "Stalled", "TargetDirty", 5);
    assert_eq!(scene.replicas(), 0);
    scene.tool(
        "",
        "cp /data/file \"$BACKUP_DIR/file\"",
        &json!({"spec": {"physical": {"restoreCommands": [good]}}}),
    );
    scene.restore("r2", "b1", true);
    scene.phase("restorejob", "r2", "Completed", 150);
    assert_eq!(scene.replicas(), 1);
    assert_eq!(scene.exec("cat /data/file").unwrap().trim(), "precious");
    scene.end();
}

#[test]
fn real_postgresql_comes_back_row_by_row() {
    let scene = Scene::new("postgres");
    scene.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sign-in"}, "stringData": {"username": "postgres", "password": "only-here"}}));
    scene.apply(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "pg"}, "spec": {"clusterIP": "None", "selector": {"app": "pg"}, "ports": [{"port": 5432}]}}));
    scene.apply(&json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "pg", "labels": {"app": "pg"}},
        "spec": {"serviceName": "pg", "replicas": 1, "selector": {"matchLabels": {"app": "pg"}},
            "template": {"metadata": {"labels": {"app": "pg"}}, "spec": {
                "terminationGracePeriodSeconds": 10,
                "securityContext": {"runAsUser": 100, "runAsGroup": 102, "fsGroup": 102, "fsGroupChangePolicy": "OnRootMismatch"},
                "containers": [{"name": "pg", "image": "localhost/holdfast/postgres:15", "imagePullPolicy": "Never",
                    "env": [{"name": "POSTGRES_PASSWORD", "value": "only-here"}],
                    "readinessProbe": {"exec": {"command": ["pg_isready", "-h", "/tmp"]}, "periodSeconds": 1},
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "holdfast-local", "resources": {"requests": {"storage": "1Gi"}}}}]}
    }));
    let ready = |what: &str| {
        wait(120, what, || {
            (scene.get("statefulset", "pg")?["status"]["readyReplicas"] == 1).then_some(())
        });
    };
    ready("PostgreSQL");
    let exec = |script: &str| kubectl(&["-n", &scene.name, "exec", "pg-0", "--", "sh", "-c", script], None);
    exec("pgbench -h /tmp -U postgres -i -q -s 1 postgres").unwrap();
    let count = "psql -h /tmp -U postgres -At -c 'select count(*), sum(hashtextextended(t::text, 0)::numeric) from pgbench_accounts t'";
    let before = exec(count).unwrap();
    let restore = "set -e; rm -rf /data/pgdata; mkdir /data/pgdata; tar -xf $BACKUP_DIR/base.tar -C /data/pgdata --numeric-owner; tar -xf $BACKUP_DIR/pg_wal.tar -C /data/pgdata/pg_wal --numeric-owner; chown -R 100:102 /data/pgdata; chmod 700 /data/pgdata";
    scene.tool(
        "-pg",
        "PGPASSWORD=$DB_PASSWORD exec pg_basebackup -h $DB_HOST -U $DB_USER -D $BACKUP_DIR -Ft -c fast -X stream",
        &json!({"spec": {"physical": {"restoreCommands": [restore]}}}),
    );
    scene.policy("pg", &json!({"spec": {"datafile": {"backupToolName": format!("{}-pg", scene.name), "target": {"labelsSelector": {"matchLabels": {"app": "pg"}}, "secret": {"name": "sign-in"}}}}}));
    scene.backup("b1", "pg");
    scene.phase("backup", "b1", "Completed", 120);
    exec("rm -rf /data/pgdata/*").unwrap();
    scene.apply(&json!({"apiVersion": "dataprotection.kubeblocks.io/v1alpha1", "kind": "RestoreJob", "metadata": {"name": "r1"}, "spec": {
        "backupJobName": "b1", "replace": true, "target": {"labelsSelector": {"matchLabels": {"app": "pg"}}},
        "targetVolumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-pg-0"}}],
        "targetVolumeMounts": [{"name": "data", "mountPath": "/data"}]}}));
    scene.phase("restorejob", "r1", "Completed", 180);
    ready("PostgreSQL after the restore");
    assert_eq!(exec(count).unwrap(), before);
    scene.end();
}
