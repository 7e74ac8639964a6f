//! A leader that freezes and wakes up again finds that another one leads, and does no harm.

use std::{fs, process::Command};

use crate::scene::{Scene, kubectl, wait};

const LED: [&str; 4] = ["scheduler", "repo-manager", "gc", "restore"];

/// The pod that holds a service's Lease.
fn leader(service: &str) -> Option<String> {
    let lease = format!("holdfast-{service}");
    let path = "jsonpath={.spec.holderIdentity}";
    let holder = kubectl(&["-n", "holdfast-system", "get", "lease", &lease, "-o", path], None).ok()?;
    let (pod, _) = holder.trim().rsplit_once('_')?;
    Some(pod.to_owned())
}

/// A process of a pod, as the node sees it.
fn process(pod: &str) -> u32 {
    let name = format!("HOLDFAST_POD_NAME={pod}");
    let of_pod = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|one| one == name.as_bytes())
    };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(of_pod).expect("the leader's process is on this node")
}

/// A frozen process, which wakes up when this is dropped.
struct Frozen(u32);

impl Frozen {
    fn new(pod: &str) -> Self {
        let frozen = Self(process(pod));
        frozen.signal("-STOP");
        frozen
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &self.0.to_string()])
            .status()
            .unwrap();
        assert!(sent.success(), "kill {signal} {}", self.0);
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // By then the kubelet may have replaced it.
        let _ = Command::new("kill").args(["-CONT", &self.0.to_string()]).status();
    }
}

#[test]
fn frozen_leaders_do_no_harm_when_they_wake_up() {
    let scene = Scene::new("frozen");
    scene.backup("b0", "p");
    scene.phase("backup", "b0", "Completed", 90);
    scene.exec("echo spoilt >/data/file").unwrap();
    let led: Vec<(&str, String)> = LED
        .iter()
        .map(|service| (*service, wait(30, "a leader", || leader(service))))
        .collect();
    // In the middle of an admission, a restore and a deletion.
    scene.backup("b1", "p");
    scene.restore("r0", "b0", true);
    scene.delete("backup", "b0");
    let frozen: Vec<Frozen> = led.iter().map(|(_, pod)| Frozen::new(pod)).collect();
    for (service, old) in &led {
        wait(60, &format!("another {service} to lead"), || {
            leader(service).filter(|pod| pod != old)
        });
    }
    drop(frozen);
    scene.phase("backup", "b1", "Completed", 120);
    wait(180, "the restore to end", || {
        let phase = scene.get("restorejob", "r0")?["status"]["phase"].clone();
        ["Completed", "Failed"].contains(&phase.as_str()?).then_some(())
    });
    scene.gone("backup", "b0", 120);
    let set = wait(90, "the database with its own replicas", || {
        let set = scene.get("statefulset", "db")?;
        (set["spec"]["replicas"] == 1 && set["status"]["readyReplicas"] == 1).then_some(set)
    });
    assert!(set["metadata"]["annotations"]["holdfast.io/held"].is_null(), "{set}");
    // Restored, or refused because its backup went: nothing between.
    let restored = scene.get("restorejob", "r0").unwrap()["status"]["phase"] == "Completed";
    let file = scene.exec("cat /data/file").unwrap();
    assert_eq!(file.trim(), if restored { "precious" } else { "spoilt" });
    let jobs = scene.list("jobs");
    let of_b1 = |job: &&serde_json::Value| job["metadata"]["ownerReferences"][0]["name"] == "b1";
    assert!(jobs.iter().filter(of_b1).count() <= 1, "{jobs:?}");
    scene.end();
}
