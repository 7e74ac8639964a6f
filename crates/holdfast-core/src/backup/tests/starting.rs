//! From admitted to planned, and to the Job.

use std::sync::Arc;

use holdfast_api::{BackupPhase, BackupType, DeployKind, PhysicalConfig};
use jiff::SignedDuration;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time};
use serde_json::json;

use super::world::{
    LATE, asks, at, change, created, failed, planned, ready, started, take, told, verbs, waits, written, yaml,
};
use crate::backup::{Next, Observed, Read, Seen, Write, decide};

#[test]
fn the_plan_is_written_with_everything_that_the_run_needs() {
    let decision = decide(&ready(), at(1));
    let status = written(&decision);
    assert_eq!(status.phase, Some(BackupPhase::InProgress));
    assert_eq!(status.start_timestamp.map(|time| time.0), Some(at(1)));
    assert_eq!(status.persistent_volume_claim_name.as_deref(), Some("pvc-r"));
    assert_eq!(status.backup_tool_name.as_deref(), Some("tool"));
    assert_eq!(status.source_cluster.as_deref(), Some("c"));
    assert_eq!(status.expiration, None, "a backup expires counted from its end");
    let manifest = status
        .manifests
        .and_then(|manifests| manifests.backup_tool)
        .expect("a manifest");
    assert_eq!(manifest.file_path.as_deref(), Some("/ns/c-uid/mysql/b1"));
    assert_eq!(manifest.volume_name.as_deref(), Some("pv-r"));
    let plan = status.plan.expect("a plan");
    let work = plan.work.job().expect("work of a Job");
    assert_eq!((work.job_name.as_str(), work.backoff_limit, plan.run), ("b1", 3, 1));
    let source = &plan.source;
    assert_eq!(
        (source.pod_uid.as_str(), source.node_name.as_str()),
        ("pod-uid", "node-a")
    );
    assert_eq!(source.host, "c-mysql-0.c-mysql-headless");
    assert_eq!(
        plan.deadline.map(|deadline| deadline.0),
        Some(at(1) + SignedDuration::from_hours(6))
    );
    assert_eq!(
        plan.location.repository.as_ref().map(|repo| repo.uid.as_str()),
        Some("repo-uid")
    );
    assert_eq!(plan.location.access.claim(), Ok("pvc-r"));
    assert_eq!(plan.location.path, "/ns/c-uid/mysql/b1");
    assert_eq!(
        Some(plan.location.seal_uid.as_str()),
        ready().backup.metadata.uid.as_deref()
    );
    assert_eq!(work.tool.image, "registry.example/tool:1");
    assert_eq!(verbs(&decision), ["started"]);
}

#[test]
fn what_is_not_admitted_or_over_or_being_deleted_is_left_alone() {
    let mut new = ready();
    change(&mut new, |backup| backup.metadata.annotations = None);
    waits(&decide(&new, at(1)));
    let mut deleted = ready();
    change(&mut deleted, |backup| {
        backup.metadata.deletion_timestamp = backup.metadata.creation_timestamp.clone();
    });
    waits(&decide(&deleted, at(1)));
    for phase in [
        BackupPhase::Completed,
        BackupPhase::Failed,
        BackupPhase::Deleting,
        BackupPhase::Running,
    ] {
        let mut over = planned();
        change(&mut over, |backup| {
            backup.status.as_mut().expect("a status").phase = Some(phase);
        });
        waits(&decide(&over, at(1)));
    }
}

#[test]
fn what_cannot_be_read_is_waited_for() {
    for lose in [
        (|seen| seen.policy = Seen::unreadable("env: a map".to_owned())) as fn(&mut Observed),
        |seen| seen.tool = Seen::unreadable("env: a map".to_owned()),
        |seen| seen.repo = Seen::unreadable("env: a map".to_owned()),
    ] {
        let mut observed = ready();
        lose(&mut observed);
        let (reason, message) = told(&decide(&observed, at(9)));
        assert_eq!(reason, "InvalidObject");
        assert!(message.contains("cannot be read: env: a map"), "{message}");
        assert_eq!(failed(&decide(&observed, at(LATE))).0, "InvalidObject");
    }
}

#[test]
fn a_name_that_does_not_exist_fails_only_by_the_api_servers_own_word() {
    type Lose = fn(&mut Observed, bool);
    let table: [(Lose, Read, &str, &str); 3] = [
        (
            |observed, live| {
                observed.policy = Seen {
                    live,
                    ..Seen::default()
                }
            },
            Read::Policy,
            "PolicyNotFound",
            "backuppolicies.dataprotection.kubeblocks.io \"p1\" not found",
        ),
        (
            |observed, live| {
                observed.tool = Seen {
                    live,
                    ..Seen::default()
                }
            },
            Read::Tool,
            "ToolNotFound",
            "backupTool: tool not found",
        ),
        (
            |observed, live| {
                observed.repo = Seen {
                    live,
                    ..Seen::default()
                }
            },
            Read::Repo,
            "RepoNotFound",
            "backup repo r not found",
        ),
    ];
    for (lose, read, reason, text) in table {
        let mut observed = ready();
        lose(&mut observed, false);
        asks(&decide(&observed, at(1)), read);
        lose(&mut observed, true);
        assert_eq!(failed(&decide(&observed, at(1))), (reason.to_owned(), text.to_owned()));
    }
}

#[test]
fn what_this_version_cannot_do_fails_clearly() {
    for kind in [BackupType::Logfile, BackupType::Snapshot] {
        let mut observed = ready();
        change(&mut observed, |backup| backup.spec.backup_type = kind);
        assert_eq!(failed(&decide(&observed, at(1))).0, "Unsupported");
    }
    let mut observed = ready();
    let tool = Arc::make_mut(observed.tool.object.as_mut().expect("a tool"));
    tool.spec.deploy_kind = DeployKind::StatefulSet;
    assert_eq!(failed(&decide(&observed, at(1))).0, "Unsupported");
}

#[test]
fn a_tool_that_does_not_fit_into_a_pod_is_refused_by_name_and_size() {
    let mut observed = ready();
    let tool = Arc::make_mut(observed.tool.object.as_mut().expect("a tool"));
    tool.spec.backup_commands = vec!["x".repeat(300_000)];
    let status = written(&decide(&observed, at(1)));
    take(&mut observed, status, at(1));
    let (reason, text) = failed(&decide(&observed, at(1)));
    assert_eq!(reason, "Unsupported");
    assert!(
        text.contains("backupTool tool does not fit into a pod: ") && text.contains("annotations have 30"),
        "{text}"
    );
}

#[test]
fn a_tool_that_relies_on_logs_asks_for_their_schedule() {
    let mut observed = ready();
    let tool = Arc::make_mut(observed.tool.object.as_mut().expect("a tool"));
    tool.spec.physical = Some(PhysicalConfig {
        rely_on_logfile: Some(true),
        ..PhysicalConfig::default()
    });
    let (reason, text) = failed(&decide(&observed, at(1)));
    assert_eq!(reason, "LogfileScheduleDisabled");
    assert_eq!(
        text,
        "BackupTool \"tool\" of the backup relies on logfile. Please enable the logfile scheduling firstly"
    );
}

#[test]
fn a_policy_without_the_section_is_read_afresh_before_it_fails() {
    let mut observed = ready();
    Arc::make_mut(observed.policy.object.as_mut().expect("a policy"))
        .spec
        .datafile = None;
    asks(&decide(&observed, at(1)), Read::Policy);
    observed.policy.live = true;
    let (reason, text) = failed(&decide(&observed, at(1)));
    assert_eq!(reason, "BackupNotSupported");
    assert_eq!(text, "backupPolicy: p1 not supports datafile backup in backupPolicy");
}

#[test]
fn the_target_pod_is_read_and_waited_for() {
    let mut observed = ready();
    observed.target = Seen::default();
    asks(&decide(&observed, at(1)), Read::Target);
    let mut unplaced = ready();
    target(&mut unplaced).spec.as_mut().expect("a spec").node_name = None;
    assert_eq!(told(&decide(&unplaced, at(9))).0, "TargetPodNotReady");
    assert_eq!(failed(&decide(&unplaced, at(LATE))).0, "TargetPodNotReady");
    let mut begun = planned();
    begun.target = Seen::live(None);
    assert_eq!(told(&decide(&begun, at(9))).0, "NoTargetPod");
    assert_eq!(failed(&decide(&begun, at(LATE))).0, "NoTargetPod");
}

#[test]
fn a_target_pod_that_goes_before_anything_is_planned_is_chosen_anew() {
    let mut gone = ready();
    gone.target = Seen::live(None);
    let mut going = ready();
    target(&mut going).metadata.deletion_timestamp = Some(Time(at(0)));
    let mut evicted = ready();
    target(&mut evicted).status.get_or_insert_default().phase = Some("Failed".to_owned());
    let annotations = json!({ "holdfast.io/admitted": null });
    for observed in [gone, going, evicted] {
        let written = decide(&observed, at(1)).write;
        assert_eq!(written, Some(Write::Metadata(json!({ "annotations": annotations }))));
    }
}

fn target(observed: &mut Observed) -> &mut Pod {
    Arc::make_mut(observed.target.object.as_mut().expect("a pod"))
}

#[test]
fn a_volume_for_one_pod_alone_is_refused() {
    let mut observed = ready();
    let claim = "{metadata: {name: data-c-mysql-0}, spec: {accessModes: [ReadWriteOncePod]}}";
    observed.target_claims = vec![Arc::new(yaml(claim))];
    let (reason, text) = failed(&decide(&observed, at(1)));
    assert_eq!(reason, "AccessModeRefused");
    assert!(text.contains("data-c-mysql-0"), "{text}");
}

#[test]
fn a_repository_on_another_node_fails_at_once() {
    let mut observed = ready();
    let volume = "
metadata: {name: pv-r}
spec:
  nodeAffinity:
    required: {nodeSelectorTerms: [{matchExpressions: [{key: topology.csi.holdfast.io/node, operator: In, values: [node-b]}]}]}
";
    observed.volume = Some(Arc::new(yaml(volume)));
    let node = |name: &str| {
        let label = format!("topology.csi.holdfast.io/node: {name}");
        Some(Arc::new(yaml(&format!(
            "metadata: {{name: node-a, labels: {{{label}}}}}"
        ))))
    };
    observed.node = node("node-a");
    assert_eq!(failed(&decide(&observed, at(1))).0, "RepositoryOnOtherNode");
    observed.node = node("node-b");
    assert_eq!(written(&decide(&observed, at(1))).phase, Some(BackupPhase::InProgress));
}

#[test]
fn a_path_prefix_that_leaves_the_namespace_is_refused() {
    for prefix in ["/../other", "/a/$(reboot)", "a b"] {
        let mut observed = ready();
        let policy = Arc::make_mut(observed.policy.object.as_mut().expect("a policy"));
        let annotations = policy.metadata.annotations.as_mut().expect("annotations");
        annotations.insert("dataprotection.kubeblocks.io/path-prefix".to_owned(), prefix.to_owned());
        assert_eq!(failed(&decide(&observed, at(1))).0, "InvalidPathPrefix", "{prefix}");
    }
}

#[test]
fn the_job_is_only_asked_for_by_a_fresh_answer() {
    let mut observed = planned();
    created(&decide(&observed, at(6)));
    asks(&decide(&observed, at(7)), Read::Backup);
    observed.backup_read = None;
    asks(&decide(&observed, at(2)), Read::Backup);
    observed.backup_read = Some(at(100));
    created(&decide(&observed, at(100)));
}

#[test]
fn the_plan_follows_a_target_pod_that_was_replaced() {
    let mut observed = planned();
    let pod = Arc::make_mut(observed.target.object.as_mut().expect("a pod"));
    pod.metadata.uid = Some("another".to_owned());
    pod.spec.as_mut().expect("a spec").node_name = Some("node-b".to_owned());
    let status = written(&decide(&observed, at(2)));
    let plan = status.plan.as_ref().expect("a plan");
    let source = &plan.source;
    assert_eq!(
        (source.pod_uid.as_str(), source.node_name.as_str()),
        ("another", "node-b")
    );
    take(&mut observed, status, at(2));
    created(&decide(&observed, at(2)));
}

#[test]
fn a_job_that_is_somebody_elses_is_never_touched() {
    let mut observed = started();
    let job = Arc::make_mut(observed.job.object.as_mut().expect("a job"));
    job.metadata.labels = None;
    asks(&decide(&observed, at(3)), Read::Job);
    observed.job.live = true;
    assert_eq!(failed(&decide(&observed, at(3))).0, "NameTaken");
    // One that an earlier Backup of the same name has left goes by itself.
    let label = ("holdfast.io/backup-uid".to_owned(), "an-earlier-one".to_owned());
    let job = Arc::make_mut(observed.job.object.as_mut().expect("a job"));
    job.metadata.labels = Some([label].into());
    assert_eq!(told(&decide(&observed, at(9))).0, "NameTaken");
    assert_eq!(failed(&decide(&observed, at(LATE + 1))).0, "NameTaken");
}

#[test]
fn a_refused_job_is_told_and_given_up_in_time() {
    let mut observed = planned();
    observed.refused = Some("exceeded quota".to_owned());
    assert!(matches!(decide(&observed, at(2)).next, Next::After(_)));
    assert_eq!(told(&decide(&observed, at(8))).0, "BackupJobFailed");
    let (_, text) = failed(&decide(&observed, at(LATE + 1)));
    assert!(text.contains("exceeded quota"), "{text}");
}
