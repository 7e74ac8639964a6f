//! Schedules, and what retention removes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::scene::{Scene, kubectl, wait};

#[test]
fn two_policies_of_one_database_at_the_same_minute_make_a_backup_each() {
    let scene = Scene::new("slots");
    let every_minute = json!({"spec": {"schedule": {"datafile": {"cronExpression": "* * * * *", "enable": true}}}});
    for name in ["one", "two"] {
        scene.policy(name, &every_minute);
    }
    scene.policy(
        "never",
        &json!({"spec": {"schedule": {"datafile": {"cronExpression": "0 0 31 2 *", "enable": true}}}}),
    );
    let made = wait(90, "a completed backup of each policy", || {
        let backups = scene.list("backups");
        let of = |policy: &str| {
            backups
                .iter()
                .find(|one| one["spec"]["backupPolicyName"] == policy && one["status"]["phase"] == "Completed")
                .cloned()
        };
        Some([of("one")?, of("two")?])
    });
    let text = |one: &Value, pointer: &str| {
        one.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    for (backup, policy) in made.iter().zip(["one", "two"]) {
        assert_eq!(
            text(backup, "/metadata/labels/dataprotection.kubeblocks.io~1backup-policy"),
            policy
        );
        assert_eq!(
            text(backup, "/metadata/labels/dataprotection.kubeblocks.io~1autobackup"),
            "true"
        );
        let status = scene.get("backuppolicy", policy).unwrap()["status"].clone();
        assert!(status["lastScheduleTime"].is_string(), "{status}");
    }
    let slots: BTreeSet<String> = made
        .iter()
        .map(|one| text(one, "/metadata/annotations/holdfast.io~1slot"))
        .collect();
    assert!(slots.len() <= 2 && made[0]["metadata"]["name"] != made[1]["metadata"]["name"]);
    for name in ["one", "two"] {
        scene.policy(
            name,
            &json!({"spec": {"schedule": {"datafile": {"cronExpression": "* * * * *", "enable": false}}}}),
        );
    }
    wait(30, "the policy that never comes due to be Failed", || {
        (scene.get("backuppolicy", "never")?["status"]["phase"] == "Failed").then_some(())
    });
    scene.warned("never", "InvalidSchedule");
    scene.end();
}

#[test]
fn expired_backups_go_and_the_newest_good_one_stays() {
    let scene = Scene::new("expired");
    for name in ["old", "new"] {
        scene.backup(name, "p");
        scene.phase("backup", name, "Completed", 90);
    }
    for name in ["old", "new"] {
        let past = json!({"status": {"expiration": "2026-01-01T00:00:00Z"}}).to_string();
        kubectl(
            &[
                "-n",
                &scene.name,
                "patch",
                "backup",
                name,
                "--subresource=status",
                "--type=merge",
                "-p",
                &past,
            ],
            None,
        )
        .unwrap();
    }
    scene.gone("backup", "old", 60);
    let kept = scene.get("backup", "new").expect("the newest good backup");
    assert!(kept["metadata"]["deletionTimestamp"].is_null());
    scene.end();
}
