//! A namespace of its own for each test, with a database, a repository, a tool and a policy; gone at the end.

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

const API: &str = "dataprotection.kubeblocks.io/v1alpha1";
/// The repository's files as the node has them.
const VOLUMES: &str = "/var/lib/holdfast-cluster/volumes";
const IMAGE: &str = "localhost/holdfast/postgres:15";

/// The namespace of one test.
pub(crate) struct Scene {
    pub(crate) name: String,
    ended: bool,
}

/// Runs kubectl; its output, or what it complains of.
pub(crate) fn kubectl(arguments: &[&str], input: Option<&Value>) -> Result<String, String> {
    let mut child = Command::new("kubectl")
        .args(arguments)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl: run this through `make e2e`");
    if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
        pipe.write_all(input.to_string().as_bytes())
            .expect("kubectl takes its input");
    }
    let output = child.wait_with_output().expect("kubectl ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// Asks until there is an answer; fails the test after the limit.
pub(crate) fn wait<T>(seconds: u64, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < limit, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

impl Scene {
    /// Makes everything; the database has one replica and the file `/data/file`.
    pub(crate) fn new(name: &str) -> Self {
        let scene = Self {
            name: format!("e2e-{name}-{}", std::process::id()),
            ended: false,
        };
        scene.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scene.name}}));
        scene.apply(&json!({
            "apiVersion": API, "kind": "BackupRepo", "metadata": {"name": scene.name},
            "spec": {"storageProviderRef": "local", "volumeCapacity": "1Gi", "pvReclaimPolicy": "Delete"}
        }));
        scene.tool("", "cp /data/file \"$BACKUP_DIR/file\"", &json!({}));
        scene.policy("p", &json!({}));
        scene.database(1, &json!({}));
        wait(90, "the database to be ready", || {
            (scene.get("statefulset", "db")?["status"]["readyReplicas"] == 1).then_some(())
        });
        scene
    }

    pub(crate) fn apply(&self, object: &Value) {
        kubectl(&["-n", &self.name, "apply", "-f", "-"], Some(object)).unwrap_or_else(|error| panic!("{error}"));
    }

    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let text = kubectl(
            &["-n", &self.name, "get", kind, name, "-o", "json", "--ignore-not-found"],
            None,
        )
        .ok()?;
        serde_json::from_str(&text).ok()
    }

    pub(crate) fn list(&self, kind: &str) -> Vec<Value> {
        let text = kubectl(&["-n", &self.name, "get", kind, "-o", "json"], None).unwrap_or_default();
        let list: Value = serde_json::from_str(&text).unwrap_or_default();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// How many replicas the database shall have.
    pub(crate) fn replicas(&self) -> i64 {
        let set = self.get("statefulset", "db").unwrap();
        set["spec"]["replicas"].as_i64().unwrap()
    }

    pub(crate) fn delete(&self, kind: &str, name: &str) {
        kubectl(&["-n", &self.name, "delete", kind, name, "--wait=false"], None)
            .unwrap_or_else(|error| panic!("{error}"));
    }

    pub(crate) fn database(&self, replicas: i32, more: &Value) {
        let mut set = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "labels": {"app": "db"}},
            "spec": {
                "serviceName": "db", "replicas": replicas, "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": {"app": "db"}},
                "template": {"metadata": {"labels": {"app": "db"}}, "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "securityContext": {"runAsUser": 100, "runAsGroup": 102, "fsGroup": 102},
                    "containers": [{"name": "db", "image": IMAGE, "imagePullPolicy": "Never",
                        "command": ["sh", "-c", "[ -e /data/file ] || echo precious >/data/file; exec sleep infinity"],
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]
                }},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
                    "storageClassName": "holdfast-local", "resources": {"requests": {"storage": "64Mi"}}}}]
            }
        });
        merge(&mut set, more);
        self.apply(&set);
    }

    /// A tool `<scene><suffix>` that runs a script, and restores `/data/file`.
    pub(crate) fn tool(&self, suffix: &str, script: &str, more: &Value) {
        let mut tool = json!({
            "apiVersion": API, "kind": "BackupTool", "metadata": {"name": format!("{}{suffix}", self.name)},
            "spec": {"image": "", "backupCommands": ["sh", "-c", script],
                "physical": {"restoreCommands": ["cp \"$BACKUP_DIR/file\" /data/file"]}}
        });
        merge(&mut tool, more);
        self.apply(&tool);
    }

    pub(crate) fn policy(&self, name: &str, more: &Value) {
        let mut policy = json!({
            "apiVersion": API, "kind": "BackupPolicy", "metadata": {"name": name},
            "spec": {"retention": {"ttl": "7d"}, "datafile": {"target": {"labelsSelector": {"matchLabels": {"app": "db"}}},
                "backupRepoName": self.name, "backupToolName": self.name, "onFailAttempted": 0}}
        });
        merge(&mut policy, more);
        self.apply(&policy);
    }

    pub(crate) fn backup(&self, name: &str, policy: &str) {
        self.apply(&json!({"apiVersion": API, "kind": "Backup", "metadata": {"name": name}, "spec": {"backupPolicyName": policy}}));
    }

    pub(crate) fn restore(&self, name: &str, backup: &str, replace: bool) {
        self.apply(&json!({
            "apiVersion": API, "kind": "RestoreJob", "metadata": {"name": name},
            "spec": {"backupJobName": backup, "replace": replace, "onFailAttempted": 0, "target": {"labelsSelector": {"matchLabels": {"app": "db"}}},
                "targetVolumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}],
                "targetVolumeMounts": [{"name": "data", "mountPath": "/data"}]}
        }));
    }

    /// Waits for a phase; an end in another phase fails at once, with the reason.
    pub(crate) fn phase(&self, kind: &str, name: &str, phase: &str, seconds: u64) -> Value {
        wait(seconds, &format!("{kind} {name} to be {phase}"), || {
            let object = self.get(kind, name)?;
            let now = object["status"]["phase"].as_str().unwrap_or_default().to_owned();
            let over = ["Completed", "Failed"].contains(&now.as_str());
            assert!(
                now == phase || !over,
                "{kind} {name} is {now}: {}",
                object["status"]["failureReason"]
            );
            (now == phase).then_some(object)
        })
    }

    /// Waits for a condition of this type that is True with this reason.
    pub(crate) fn condition(&self, kind: &str, name: &str, condition: &str, reason: &str, seconds: u64) -> Value {
        wait(seconds, &format!("{kind} {name} to say {condition} {reason}"), || {
            let object = self.get(kind, name)?;
            let holds = |one: &&Value| one["type"] == condition && one["status"] == "True" && one["reason"] == reason;
            object["status"]["conditions"].as_array()?.iter().find(holds).cloned()
        })
    }

    /// Waits until an object is gone.
    pub(crate) fn gone(&self, kind: &str, name: &str, seconds: u64) {
        wait(seconds, &format!("{kind} {name} to be gone"), || {
            self.get(kind, name).is_none().then_some(())
        });
    }

    /// Waits for a Warning event with this reason about an object.
    pub(crate) fn warned(&self, name: &str, reason: &str) {
        wait(20, &format!("a Warning {reason} about {name}"), || {
            let about = |event: &Value| {
                event["type"] == "Warning" && event["reason"] == reason && event["involvedObject"]["name"] == name
            };
            self.list("events").iter().any(about).then_some(())
        });
    }

    /// A Backup's directory on the node.
    pub(crate) fn directory(&self, backup: &Value) -> String {
        let claim = backup["status"]["persistentVolumeClaimName"].as_str().expect("a claim");
        let claim = self.get("pvc", claim).expect("the claim");
        let volume = kubectl(
            &[
                "get",
                "pv",
                claim["spec"]["volumeName"].as_str().expect("a volume"),
                "-o",
                "json",
            ],
            None,
        )
        .expect("the volume");
        let volume: Value = serde_json::from_str(&volume).expect("a volume");
        let handle = volume["spec"]["csi"]["volumeHandle"].as_str().expect("a handle");
        let path = backup["status"]["manifests"]["backupTool"]["filePath"]
            .as_str()
            .expect("a path");
        format!("{VOLUMES}/{handle}{path}")
    }

    pub(crate) fn exec(&self, script: &str) -> Result<String, String> {
        kubectl(&["-n", &self.name, "exec", "db-0", "--", "sh", "-c", script], None)
    }

    /// Removes everything and checks that nothing is left: of the cluster nor of the node.
    pub(crate) fn end(mut self) {
        self.ended = true;
        self.remove();
        let left = wait_until_clean(&self.name);
        assert!(left.is_empty(), "left behind by {}: {left}", self.name);
    }

    fn remove(&self) {
        let _ = kubectl(
            &[
                "-n",
                &self.name,
                "delete",
                "restorejobs,backups",
                "--all",
                "--wait",
                "--timeout=90s",
            ],
            None,
        );
        let _ = kubectl(&["delete", "namespace", &self.name, "--wait", "--timeout=90s"], None);
        let _ = kubectl(
            &[
                "delete",
                "backuprepo",
                &self.name,
                "--wait",
                "--timeout=60s",
                "--ignore-not-found",
            ],
            None,
        );
        let tools = kubectl(&["get", "backuptools", "-o", "name"], None).unwrap_or_default();
        for tool in tools.lines().filter(|tool| tool.contains(&self.name)) {
            let _ = kubectl(&["delete", tool, "--ignore-not-found"], None);
        }
    }

    fn explain(&self) {
        let mut text = String::new();
        let namespace = self.name.as_str();
        for arguments in [
            &[
                "-n",
                namespace,
                "get",
                "all,pvc,backups,backuppolicies,restorejobs",
                "-o",
                "wide",
            ][..],
            &["-n", namespace, "get", "backups,restorejobs", "-o", "yaml"],
            &["-n", namespace, "get", "events", "--sort-by=.lastTimestamp"],
            &["get", "backuprepo", namespace, "-o", "yaml"],
        ] {
            let _ = writeln!(
                text,
                "$ kubectl {}\n{}",
                arguments.join(" "),
                kubectl(arguments, None).unwrap_or_else(|error| error)
            );
        }
        for service in ["scheduler", "executor", "repo-manager", "gc", "restore"] {
            let name = format!("deployment/holdfast-{service}");
            let logs = kubectl(
                &["-n", "holdfast-system", "logs", &name, "--all-pods", "--since=5m"],
                None,
            )
            .unwrap_or_default();
            let about: Vec<&str> = logs
                .lines()
                .filter(|line| line.contains(namespace) || line.contains("ERROR"))
                .collect();
            let _ = writeln!(
                text,
                "== {service}\n{}",
                about[about.len().saturating_sub(30)..].join("\n")
            );
        }
        eprintln!("{text}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !self.ended {
            self.explain();
            self.remove();
        }
    }
}

/// What is left of a scene after a while: volumes and classes that still carry its name.
fn wait_until_clean(name: &str) -> String {
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        let text = kubectl(
            &[
                "get",
                "namespaces,pv,storageclasses,backuprepos,backuptools",
                "-o",
                "json",
            ],
            None,
        )
        .unwrap_or_default();
        let list: Value = serde_json::from_str(&text).unwrap_or_default();
        let mine = |item: &&Value| {
            item["metadata"]["name"].as_str().is_some_and(|own| own.contains(name))
                || item["spec"]["claimRef"]["namespace"] == name
        };
        let left: Vec<String> = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(mine)
            .map(|item| format!("{} {}", item["kind"], item["metadata"]["name"]))
            .collect();
        if left.is_empty() || Instant::now() > limit {
            return left.join(", ");
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Merges objects into objects; everything else is replaced.
pub(crate) fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more.clone(),
    }
}
