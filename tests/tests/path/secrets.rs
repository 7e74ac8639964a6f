//! What Secrets hold is told nowhere, and what users write is not touched.

use std::process::Command;

use serde_json::{Value, json};

use crate::scene::{Scene, kubectl, wait};

/// A password with what JSON, shells and kubelet take for their own.
const CANARY: &str = r#"a"b\$(x)"#;
/// It as JSON, in URLs, in base64, and in base64 after `root:`.
const FORMS: [&str; 4] = [r#"a\"b\\$(x)"#, "%61%22%62%5c", "YSJiXCQoeC", "EiYlwkKHgp"];
const SHORT: &str = "q7zk9";
const LITERAL: &str = "literal-only-here-4711";
const DSN: &str = "db://$(DB_USER):$(DB_PASSWORD)@$(DB_HOST)/";
/// Prints the password in all those forms, from every place that a container has it from.
const PRINT: &str = r#"
    pw=$(cat /secret/password)
    printf 'mounted %s as %s\n' "$pw" "$(cat /secret/username)"
    printf 'by name %s, of all %s and %s.\n' "$PLAIN" "$P_password" "$P_short"
    printf '%s' "$pw" | od -An -tx1 | tr -d '\n' | tr ' ' '%'; echo
    printf '%s' "$pw" | base64
    printf 'root:%s' "$pw" | base64
    printf '"%s"\n' "$(printf '%s' "$pw" | sed 's/["\\]/\\&/g')"
"#;

/// A database beside which a tool runs, with the Secret as a volume; and what the tool has of it in its environment.
fn prepare(scene: &Scene) -> Value {
    scene.apply(
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sign-in"},
        "stringData": {"username": "postgres", "password": CANARY, "short": SHORT}}),
    );
    scene.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other-0", "labels": {"app": "other"}}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "localhost/holdfast/postgres:15", "imagePullPolicy": "Never",
            "command": ["sleep", "infinity"], "volumeMounts": [{"name": "secret", "mountPath": "/secret"}]}],
        "volumes": [{"name": "secret", "secret": {"secretName": "sign-in"}}]}}));
    let key = json!({"secretKeyRef": {"name": "sign-in", "key": "password"}});
    json!({
        "env": [{"name": "PLAIN", "valueFrom": key}, {"name": "DSN", "value": DSN}, {"name": "LITERAL", "value": LITERAL}],
        "envFrom": [{"prefix": "P_", "secretRef": {"name": "sign-in"}}],
        "physical": {"restoreCommands": ["echo \"restored with $PLAIN, $P_short.\"; cp \"$BACKUP_DIR/file\" /data/file"]}
    })
}

fn logs(scene: &Scene, role: &str) -> String {
    let label = format!("holdfast.io/role={role}");
    let arguments = ["-n", &scene.name, "logs", "-l", &label, "--all-containers", "--tail=-1"];
    kubectl(&arguments, None).unwrap_or_default()
}

fn nowhere(place: &str, text: &str) {
    let left = [CANARY, SHORT]
        .into_iter()
        .chain(FORMS)
        .find(|form| text.contains(form));
    assert!(left.is_none(), "{left:?} is in {place}: {text}");
}

#[test]
fn a_password_is_found_nowhere_whatever_a_tool_with_200_kb_of_script_does_with_it() {
    let scene = Scene::new("secret");
    let tool = prepare(&scene);
    let long = "# 0123456789 0123456789 0123456789 0123456789 012\n".repeat(4096);
    let good = format!("{long}set -e{PRINT}echo x >\"$BACKUP_DIR/file\"\n");
    let bad = format!("{PRINT}echo \"failed with $PLAIN and $P_short.\"; exit 1\n");
    for (name, script) in [("good", good), ("bad", bad)] {
        scene.tool(&format!("-{name}"), &script, &json!({ "spec": tool }));
        let target = json!({"labelsSelector": {"matchLabels": {"app": "other"}}, "secret": {"name": "sign-in"}});
        scene.policy(
            name,
            &json!({"spec": {"datafile": {"backupToolName": format!("{}-{name}", scene.name), "target": target}}}),
        );
        scene.backup(name, name);
    }
    let failed = scene.phase("backup", "bad", "Failed", 90);
    let said = failed["status"]["failureReason"].as_str().unwrap_or_default();
    assert!(said.contains("failed with ****** and ******."), "{said}");
    let backup = scene.phase("backup", "good", "Completed", 90);
    let told = logs(&scene, "backup");
    for line in [
        "mounted ****** as postgres",
        "by name ******, of all ****** and ******.",
        "\"******\"",
    ] {
        assert!(told.contains(line), "{line} is not in {told}");
    }
    scene.restore("r1", "good", true);
    scene.phase("restorejob", "r1", "Completed", 180);
    let restored = wait(30, "the log of the restore", || {
        Some(logs(&scene, "restore")).filter(|log| log.contains("restored with"))
    });
    assert!(restored.contains("restored with ******, ******."), "{restored}");
    nowhere("the pods' logs", &format!("{told}{restored}"));
    for kind in ["backups", "restorejobs", "events", "jobs", "pods"] {
        let text = json!(scene.list(kind)).to_string();
        nowhere(kind, &text);
        let may_name = ["jobs", "pods"].contains(&kind);
        assert!(may_name || !text.contains(LITERAL), "a literal is in {kind}: {text}");
    }
    let directory = scene.directory(&backup);
    let seal = std::fs::read_to_string(format!("{directory}/holdfast.json")).unwrap();
    assert!(seal.contains("$(DB_PASSWORD)"), "{seal}");
    for form in [CANARY, SHORT, LITERAL].into_iter().chain(FORMS) {
        let found = Command::new("grep")
            .args(["-rlF", "-e", form, "."])
            .current_dir(format!("{directory}/.."))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{form}");
    }
    scene.end();
}
