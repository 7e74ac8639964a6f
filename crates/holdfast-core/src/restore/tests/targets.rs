//! What a restore may write to.

use super::*;

fn targets(seen: &mut Observed, volume: Value) {
    seen.restore.spec.target_volumes = vec![serde_json::from_value(volume).unwrap()];
}

fn refused(seen: &Observed) -> (Reason, String) {
    let decision = decide(seen, at(5));
    let (phase, reason) = end(&decision);
    assert_eq!(phase, RestoreJobPhase::Failed);
    (reason, event(&decision).unwrap().note.clone())
}

fn begins(seen: &Observed) -> bool {
    matches!(decide(seen, at(5)).write, Some(Write::Status(status)) if status.phase == Some(RestoreJobPhase::InProgressPhy))
}

#[test]
fn a_claim_that_the_workload_does_not_use_is_refused_at_once() {
    for claim in ["data-other-0", "data-db-", "data-db-0x", "data-db2-0", "data-db-0-1"] {
        let mut seen = observed();
        targets(
            &mut seen,
            json!({"name": "data", "persistentVolumeClaim": {"claimName": claim}}),
        );
        let (reason, note) = refused(&seen);
        assert_eq!(reason, Reason::TargetNotUsed);
        assert!(note.contains(claim) && note.contains("StatefulSet db"), "{note}");
        seen.restore.spec.allow_unused_targets = Some(true);
        assert!(begins(&seen), "{claim}");
    }
}

#[test]
fn claims_of_the_template_and_those_that_its_pods_have_now_are_its_own() {
    let mut seen = observed();
    targets(
        &mut seen,
        json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-db-12"}}),
    );
    assert!(begins(&seen), "of another replica");
    targets(
        &mut seen,
        json!({"name": "data", "persistentVolumeClaim": {"claimName": "shared"}}),
    );
    assert_eq!(refused(&seen).0, Reason::TargetNotUsed);
    let with_claim = set(|set| {
        set["spec"]["template"]["spec"]["volumes"] =
            json!([{"name": "x", "persistentVolumeClaim": {"claimName": "shared"}}]);
    });
    seen.workloads = vec![Workload::stateful_set(&with_claim)];
    assert!(begins(&seen));
    let mut seen = observed();
    targets(
        &mut seen,
        json!({"name": "data", "persistentVolumeClaim": {"claimName": "shared"}}),
    );
    seen.pods = vec![writers::pod("db-0", "shared", &json!({"app": "db"}))];
    assert!(begins(&seen));
}

#[test]
fn directories_of_nodes_secrets_and_tokens_are_no_targets_unless_the_installation_says_so() {
    for (kind, source) in [
        ("hostPath", json!({"path": "/etc"})),
        ("secret", json!({"secretName": "s"})),
        (
            "projected",
            json!({"sources": [{"serviceAccountToken": {"path": "token"}}]}),
        ),
        ("nfs", json!({"server": "nas", "path": "/"})),
    ] {
        let mut seen = observed();
        targets(&mut seen, json!({"name": "data", kind: source}));
        let (reason, note) = refused(&seen);
        assert_eq!(reason, Reason::TargetNotAllowed);
        assert!(note.contains(kind), "{note}");
        seen.settings.any_target_volumes = true;
        assert!(begins(&seen), "{kind}");
    }
    for volume in [
        json!({"name": "data", "emptyDir": {}}),
        json!({"name": "data", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}),
        json!({"name": "data"}),
    ] {
        let mut seen = observed();
        targets(&mut seen, volume);
        assert!(begins(&seen));
    }
}

#[test]
fn targets_that_change_after_the_check_stop_nothing() {
    let mut world = world(Some(true), Some(WriteEnd::Restored));
    while world.seen.verify.is_none() {
        assert!(world.step());
    }
    targets(
        &mut world.seen,
        json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-other-0"}}),
    );
    world.settle();
    world.failed_for(Reason::TargetNotUsed);
    assert!(!world.ever_written);
    assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
}

#[test]
fn the_node_is_that_of_the_claim_that_is_restored() {
    let mut seen = observed();
    let on = |name: &str, claim: &str, node: &str| {
        let mut pod = writers::pod(name, claim, &json!({"app": "db"}));
        pod.spec.as_mut().unwrap().node_name = Some(node.to_owned());
        pod
    };
    seen.pods = vec![on("db-1", "data-db-1", "n1"), on("db-0", "data-db-0", "n0")];
    let Some(Write::Status(status)) = decide(&seen, at(5)).write else {
        panic!()
    };
    assert_eq!(status.plan.unwrap().node_name.as_deref(), Some("n0"));
}

#[test]
fn logical_commands_beside_physical_ones_are_refused() {
    let mut seen = observed();
    let logical = json!({"restoreCommands": ["psql"]});
    seen.tool.as_mut().unwrap().spec.logical = Some(serde_json::from_value(logical).unwrap());
    let (reason, note) = refused(&seen);
    assert_eq!(reason, Reason::Unsupported);
    assert!(note.contains("logical.restoreCommands"), "{note}");
}

#[test]
fn a_mount_over_or_below_ours_is_refused() {
    for (path, right) in [
        ("/backupdata", false),
        ("/backupdata/ns/", false),
        ("/holdfast/x", false),
        ("/", false),
        ("/backupdatabase", true),
        ("/x/holdfast", true),
    ] {
        let mut seen = observed();
        seen.restore.spec.target_volume_mounts[0].mount_path = path.to_owned();
        if right {
            assert!(begins(&seen), "{path}");
        } else {
            assert_eq!(refused(&seen).0, Reason::InvalidPolicy, "{path}");
        }
    }
}

#[test]
fn windows_line_ends_are_told_before_anything_is_stopped() {
    let mut seen = observed();
    let tool = &mut seen.tool.as_mut().unwrap().spec;
    let script = ["sh", "-c", "set -e\r\ncp a b\r\n"].map(str::to_owned).to_vec();
    tool.physical.as_mut().unwrap().restore_commands = Some(script);
    let (reason, note) = refused(&seen);
    assert_eq!(reason, Reason::InvalidTool);
    assert!(note.contains("physical.restoreCommands[2]"), "{note}");
}

#[test]
fn the_check_has_what_the_restore_will_run_with() {
    let mut seen = observed();
    let resources = json!({"requests": {"memory": "100Gi"}});
    seen.tool.as_mut().unwrap().spec.resources = Some(serde_json::from_value(resources).unwrap());
    let job = check_of(seen);
    let container = &job.spec.unwrap().template.spec.unwrap().containers[0];
    assert_eq!(
        container.resources.as_ref().unwrap().requests.as_ref().unwrap()["memory"].0,
        "100Gi"
    );
    assert_eq!(container.command.as_ref().unwrap()[1..], ["verify"]);
}

#[test]
fn the_check_does_not_mount_a_claim_that_its_database_alone_may_mount() {
    let mut seen = observed();
    seen.exclusive = vec!["data-db-0".to_owned()];
    let job = check_of(seen);
    let pod = job.spec.unwrap().template.spec.unwrap();
    assert!(pod.volumes.iter().flatten().all(|volume| volume.name != "data"));
    let container = &pod.containers[0];
    assert!(
        container
            .volume_mounts
            .iter()
            .flatten()
            .all(|mount| mount.name != "data")
    );
    let targets = container
        .env
        .iter()
        .flatten()
        .find(|variable| variable.name == "HOLDFAST_TARGETS");
    assert_eq!(targets.unwrap().value.as_deref(), Some(""));
    assert_eq!(
        container.command.as_ref().unwrap()[1..],
        ["verify"],
        "it may lie on that claim"
    );
}

/// The Job that checks the backup, once the restore has begun.
fn check_of(seen: Observed) -> Job {
    let mut world = world(None, None);
    world.seen = seen;
    world.step();
    match world.look().write {
        Some(Write::Create(Child::Job(job))) => *job,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_refuses_the_pod_of_the_check_is_told_in_the_clusters_words() {
    let mut world = world(None, None);
    while world.seen.verify.is_none() {
        assert!(world.step());
    }
    world.seen.words = Some("job verify: FailedCreate: exceeded quota".to_owned());
    world.now += 10;
    world.step();
    let status = world.seen.restore.status.clone().unwrap();
    let ready = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
        .unwrap();
    assert!(ready.message.contains("exceeded quota"), "{ready:?}");
    world.now += 601;
    world.settle();
    world.failed_for(Reason::PodPending);
    assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
}
