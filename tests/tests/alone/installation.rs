//! Removing Holdfast and installing it again, and what refuses it.

use std::{path::Path, process::Command};

use serde_json::json;

use crate::scene::{Scene, kubectl, wait};

/// The workspace: tests run in the folder of their package.
const ROOT: &str = "..";
const CRD: &str = "backups.dataprotection.kubeblocks.io";

/// Runs a program; what it prints, or what it complains of.
fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(ROOT)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

fn install() {
    run("deploy/install.sh", &[]).unwrap_or_else(|error| panic!("{error}"));
}

/// Does something at the end, whatever becomes of the test.
struct Finally<F: Fn()>(F);

impl<F: Fn()> Drop for Finally<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn what_was_backed_up_outlives_holdfast_and_is_found_again() {
    let scene = Scene::new("again");
    scene.backup("b1", "p");
    let before = scene.phase("backup", "b1", "Completed", 90);
    let directory = scene.directory(&before);
    let finally = Finally(install);
    run(
        "helm",
        &["uninstall", "holdfast", "--namespace", "holdfast-system", "--wait"],
    )
    .unwrap();
    let pods = kubectl(
        &[
            "-n",
            "holdfast-system",
            "get",
            "deployments,statefulsets,daemonsets",
            "-o",
            "name",
        ],
        None,
    );
    assert_eq!(pods.unwrap().trim(), "");
    let kept = scene.get("backup", "b1").expect("the Backup outlives Holdfast");
    assert_eq!(kept["status"], before["status"]);
    assert!(Path::new(&directory).join("holdfast.json").exists());
    drop(finally);
    assert_eq!(scene.get("backup", "b1").unwrap()["status"]["phase"], "Completed");
    scene.exec("echo spoilt >/data/file").unwrap();
    scene.restore("r1", "b1", true);
    scene.phase("restorejob", "r1", "Completed", 180);
    assert_eq!(scene.exec("cat /data/file").unwrap().trim(), "precious");
    scene.backup("b2", "p");
    scene.phase("backup", "b2", "Completed", 90);
    scene.delete("backup", "b1");
    scene.gone("backup", "b1", 90);
    assert!(!Path::new(&directory).exists());
    scene.end();
}

/// What Helm says when it is asked, without doing it, to install the chart.
fn refusal(release: &str, namespace: &str) -> String {
    let arguments = [
        "upgrade",
        "--install",
        release,
        "charts/holdfast",
        "--namespace",
        namespace,
        "--skip-crds",
        "--dry-run=server",
    ];
    run("helm", &arguments).expect_err("refused")
}

#[test]
fn a_cluster_whose_api_is_somebody_elses_is_refused_by_name() {
    let scene = Scene::new("foreign");
    let second = refusal("second", &scene.name);
    assert!(
        second.contains("release holdfast in namespace holdfast-system"),
        "{second}"
    );
    // Controllers of this API that are not ours.
    let labels = json!({"app.kubernetes.io/name": "kubeblocks"});
    scene.apply(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "kubeblocks", "labels": labels},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "c"}]}}}}));
    let text = refusal("holdfast", "holdfast-system");
    assert!(
        text.contains(&format!("Deployment {}/kubeblocks", scene.name)),
        "{text}"
    );
    scene.delete("deployment", "kubeblocks");
    scene.gone("deployment", "kubeblocks", 30);
    // Kinds of this API that are not ours: the chart refuses them, and so does a service that starts.
    let label = |value: &str| {
        let label = format!("app.kubernetes.io/part-of={value}");
        kubectl(&["label", "crd", CRD, &label, "--overwrite"], None).unwrap();
    };
    let finally = Finally(|| label("holdfast"));
    label("other");
    let text = refusal("holdfast", "holdfast-system");
    assert!(text.contains(CRD), "{text}");
    let of_gc = "app.kubernetes.io/component=gc";
    kubectl(
        &["-n", "holdfast-system", "delete", "pods", "-l", of_gc, "--wait=true"],
        None,
    )
    .unwrap();
    wait(60, "gc to refuse to run", || {
        let logs = kubectl(&["-n", "holdfast-system", "logs", "-l", of_gc, "--tail=20"], None).ok()?;
        logs.contains(&format!("the CRD {CRD} is not Holdfast's")).then_some(())
    });
    drop(finally);
    let rollout = [
        "-n",
        "holdfast-system",
        "rollout",
        "status",
        "deployment/holdfast-gc",
        "--timeout=120s",
    ];
    kubectl(&rollout, None).unwrap();
    scene.backup("b1", "p");
    scene.phase("backup", "b1", "Completed", 90);
    scene.delete("backup", "b1");
    scene.gone("backup", "b1", 90);
    scene.end();
}
