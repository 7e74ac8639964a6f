//! What is stored in a Backup's plan, by this version and by newer ones.

use std::sync::Arc;

use holdfast_api::condition::Reason;
use holdfast_api::{Backup, BackupPlan, BackupStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::world::{
    LATE, asks, at, change, created, end_job, ended, failed, gave_up, job_pod, planned, ready, sealed, started, take,
    told, waits, written,
};
use crate::backup::{Observed, Pods, Read, Seen, decide};

/// Changes the plan as it is stored.
fn change_plan(observed: &mut Observed, with: impl FnOnce(&mut Value)) {
    change(observed, |backup| {
        let status = backup.status.as_mut().expect("a status");
        let mut plan = serde_json::to_value(&status.plan).expect("JSON");
        with(&mut plan);
        status.plan = Some(serde_json::from_value(plan).expect("a plan"));
    });
}

fn plan_of(backup: &Backup) -> Option<&BackupPlan> {
    backup.status.as_ref()?.plan.as_ref()
}

#[test]
fn work_and_access_of_a_newer_version_are_refused_and_left_as_they_are() {
    let table: [fn(&mut Value); 4] = [
        |plan| plan["work"] = json!({"snapshot": {"snapshots": ["a"]}}),
        |plan| plan["work"]["continuous"] = json!({"segments": 3}),
        |plan| plan["work"] = json!({}),
        |plan| plan["location"]["access"] = json!({"tool": {"url": "s3://bucket"}}),
    ];
    for newer in table {
        let mut observed = planned();
        change_plan(&mut observed, newer);
        let plan = plan_of(&observed.backup).cloned();
        let decision = decide(&observed, at(2));
        assert_eq!(told(&decision).0, "NewerFormat");
        let status = written(&decision);
        assert_eq!(status.plan, plan);
        take(&mut observed, status, at(2));
        // It is somebody else's to end: it is neither failed nor stopped, and nothing of it is created or removed.
        waits(&decide(&observed, at(LATE)));
        waits(&decide(&observed, at(7 * 3600)));
        change(&mut observed, |backup| {
            backup.spec.cancel = Some(true);
            backup.metadata.deletion_timestamp = Some(Time(at(5)));
        });
        observed.job = started().job;
        waits(&decide(&observed, at(9)));
    }
}

/// Puts a member of a newer version into every object of the plan that is no union.
fn with_unknown_members(observed: &mut Observed) {
    change_plan(observed, |plan| {
        for path in [
            "",
            "/source",
            "/location",
            "/location/repository",
            "/location/access/mount",
            "/work/job",
            "/work/job/tool",
        ] {
            plan.pointer_mut(path).expect(path)["later"] = json!({"at": path});
        }
    });
}

/// How many of these members there are.
fn unknown_members(status: &BackupStatus) -> usize {
    serde_json::to_string(status)
        .expect("JSON")
        .matches("\"later\":")
        .count()
}

#[test]
fn members_of_a_newer_version_survive_every_write() {
    let mut moved = planned();
    with_unknown_members(&mut moved);
    Arc::make_mut(moved.target.object.as_mut().expect("a pod")).metadata.uid = Some("another".to_owned());
    assert_eq!(unknown_members(&written(&decide(&moved, at(2)))), 7);

    let pods = |pod| Pods {
        items: vec![pod],
        live: true,
    };
    let mut observed = started();
    with_unknown_members(&mut observed);
    observed.job.live = true;
    let pending = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]});
    let lost = ended("b1", 1, &gave_up(Reason::ToolFailed, "exit 1"));
    for (status, now) in [
        (&pending, 9),
        (&pending, LATE + 9),
        (&json!({"phase": "Pending"}), LATE + 9),
        (&lost, 9),
    ] {
        observed.pods = pods(job_pod("b1-x", 2, status));
        let status = written(&decide(&observed, at(now)));
        assert_eq!(unknown_members(&status), 7, "{status:?}");
    }
    for (kind, code) in [("Complete", 0), ("Failed", 1)] {
        end_job(&mut observed, kind, "", 90);
        let result = if code == 0 {
            sealed()
        } else {
            gave_up(Reason::ToolFailed, "exit 1")
        };
        observed.pods = pods(job_pod("b1-x", 2, &ended("b1", code, &result)));
        let status = written(&decide(&observed, at(91)));
        assert_eq!(unknown_members(&status), 7, "{status:?}");
    }
}

const PASSWORD: &str = "canary-literal";

/// A tool in whose environment somebody has put a password.
fn with_password(observed: &mut Observed, password: &str) {
    let tool = Arc::make_mut(observed.tool.object.as_mut().expect("a tool"));
    let env = json!([{"name": "DATA_DIR", "value": "/var/lib/mysql"}, {"name": "PASSWORD", "value": password}]);
    tool.spec.env = serde_json::from_value(env).expect("variables");
}

#[test]
fn of_literal_values_the_plan_keeps_digests_and_the_job_has_the_values() {
    let mut observed = ready();
    with_password(&mut observed, PASSWORD);
    let status = written(&decide(&observed, at(1)));
    assert!(!serde_json::to_string(&status).expect("JSON").contains(PASSWORD));
    take(&mut observed, status, at(1));
    let job = serde_json::to_value(created(&decide(&observed, at(1)))).expect("JSON");
    let env = job["spec"]["template"]["spec"]["containers"][0]["env"]
        .as_array()
        .expect("env");
    let with_value: Vec<&Value> = env.iter().filter(|one| one.to_string().contains(PASSWORD)).collect();
    assert_eq!(
        with_value,
        [&json!({"name": "PASSWORD", "value": PASSWORD})],
        "the seal has none either"
    );

    // Without the tool there are no values: by the API server's own word, it is gone.
    let mut gone = observed.clone();
    gone.tool = Seen::default();
    asks(&decide(&gone, at(2)), Read::Tool);
    gone.tool = Seen::live(None);
    assert_eq!(failed(&decide(&gone, at(2))).0, "ToolNotFound");

    // Other values are not what was planned: the run is planned anew, and then begins with them.
    with_password(&mut observed, "another");
    let before = plan_of(&observed.backup).cloned();
    let status = written(&decide(&observed, at(2)));
    let (before, after) = (before.expect("a plan"), status.plan.clone().expect("a plan"));
    let digests = |plan: &BackupPlan| plan.work.job().expect("work").tool.env_digests.clone();
    assert_ne!(digests(&before), digests(&after));
    assert_eq!(before.deadline, after.deadline, "counted from the start");
    take(&mut observed, status, at(2));
    let job = serde_json::to_string(&created(&decide(&observed, at(2)))).expect("JSON");
    assert!(job.contains("another") && !job.contains(PASSWORD));
}
