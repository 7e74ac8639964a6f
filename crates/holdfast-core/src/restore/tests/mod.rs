use holdfast_api::{
    RestoreJob, RestorePlan,
    condition::{Reason, holds},
    names::{ANNOTATION_HELD, ANNOTATION_RELEASED, LABEL_RESTORE_UID},
    suspend_lock::SuspendLock,
};
use jiff::SignedDuration;
use k8s_openapi::{
    api::{apps::v1::StatefulSet, batch::v1::Job, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::decision::{Child, Event, Kind, Notice};

mod holes;
mod second_writers;
mod stored;
mod targets;
mod told;
mod withdrawn;
mod wording;
mod world;
mod writers;

use world::{World, WriteEnd, with_job, world};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn restore(name: &str) -> RestoreJob {
    serde_json::from_value(json!({
        "apiVersion": "v", "kind": "RestoreJob",
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "generation": 1, "creationTimestamp": at(0).to_string(), "finalizers": [FINALIZER]},
        "spec": {
            "backupJobName": "b1", "target": {"labelsSelector": {"matchLabels": {"app": "db"}}},
            "targetVolumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}],
            "targetVolumeMounts": [{"name": "data", "mountPath": "/data"}]
        }
    }))
    .unwrap()
}

fn set(change: impl FnOnce(&mut Value)) -> StatefulSet {
    let mut document = json!({
        "metadata": {"name": "db", "namespace": "ns", "uid": "set-uid", "generation": 1, "resourceVersion": "1"},
        "spec": {"replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "db", "image": "db:1"}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]},
        "status": {"replicas": 3, "readyReplicas": 3, "observedGeneration": 1}
    });
    change(&mut document);
    serde_json::from_value(document).unwrap()
}

fn observed() -> Observed {
    let backup = serde_json::from_value(json!({
        "apiVersion": "v", "kind": "Backup", "metadata": {"name": "b1", "namespace": "ns", "uid": "b-uid"}, "spec": {"backupPolicyName": "p"},
        "status": {"phase": "Completed", "persistentVolumeClaimName": "repo", "backupToolName": "t", "manifests": {"backupTool": {"filePath": "/ns/b1", "checksum": "abc"}}}
    }))
    .unwrap();
    let tool = serde_json::from_value(json!({
        "apiVersion": "v", "kind": "BackupTool", "metadata": {"name": "t"},
        "spec": {"image": "", "backupCommands": ["x"], "physical": {"restoreCommands": ["sh", "-c", "restore"]}}
    }))
    .unwrap();
    Observed {
        settings: Settings {
            agent_image: "agent:1".to_owned(),
            pull_policy: None,
            deadline: SignedDuration::from_hours(6),
            not_ready_timeout: SignedDuration::from_secs(600),
            any_target_volumes: false,
            data_pods: crate::settings::DataPods::default(),
        },
        restore: restore("r1"),
        backup: Some(backup),
        tool: Some(tool),
        workloads: vec![Workload::stateful_set(&set(|_| {}))],
        holder: LockHolder::Nobody,
        pods: Vec::new(),
        mounting: Vec::new(),
        others: Vec::new(),
        exclusive: Vec::new(),
        verify: None,
        verify_pods: Vec::new(),
        write: None,
        write_pods: Vec::new(),
        refused: None,
        scale_refused: None,
        nodes: Vec::new(),
        demands: crate::pod::Demands::default(),
        words: None,
        unreadable: None,
    }
}

/// The Event that a decision tells, if any.
fn event(decision: &Decision) -> Option<&Event> {
    decision.notices.iter().find_map(|notice| match notice {
        Notice::Event(event) => Some(event),
        Notice::Bus(_) => None,
    })
}

fn end(decision: &Decision) -> (RestoreJobPhase, Reason) {
    match (&decision.write, event(decision)) {
        (Some(Write::Status(status)), Some(event)) => (status.phase.unwrap(), event.reason),
        other => panic!("{other:?}"),
    }
}

/// What is decided then, if what is decided five seconds after the creation was written down.
fn later(seen: &mut Observed, seconds: i64) -> Decision {
    if let Some(Write::Status(status)) = decide(seen, at(5)).write {
        seen.restore.status = (status.phase == Some(RestoreJobPhase::New)).then_some(*status);
    }
    decide(seen, at(seconds))
}

#[test]
fn everything_that_can_be_refused_is_refused_before_anything_is_touched() {
    let refused = |change: &dyn Fn(&mut Observed), reason: Reason, text: &str| {
        let mut seen = observed();
        change(&mut seen);
        let decision = later(&mut seen, 700);
        assert_eq!(end(&decision), (RestoreJobPhase::Failed, reason), "{decision:?}");
        assert!(event(&decision).unwrap().note.contains(text), "{decision:?}");
    };
    refused(
        &|seen| seen.workloads.clear(),
        Reason::WorkloadNotFound,
        "Can not find any statefulsets with labelsSelector.",
    );
    refused(
        &|seen| seen.workloads.push(seen.workloads[0].clone()),
        Reason::MultipleWorkloads,
        "Match more than one results, please check the labelsSelector.",
    );
    refused(
        &|seen| seen.backup = None,
        Reason::NotFound,
        "backups.dataprotection.kubeblocks.io \"b1\" not found",
    );
    refused(
        &|seen| seen.tool = None,
        Reason::ToolNotFound,
        "backupTool: t not found",
    );
    refused(
        &|seen| seen.backup.as_mut().unwrap().status.as_mut().unwrap().phase = Some(holdfast_api::BackupPhase::Failed),
        Reason::BackupNotCompleted,
        "Backup b1 is Failed",
    );
    refused(
        &|seen| {
            seen.backup
                .as_mut()
                .unwrap()
                .status
                .as_mut()
                .unwrap()
                .persistent_volume_claim_name = None
        },
        Reason::SealInvalid,
        "persistentVolumeClaimName",
    );
    let with =
        |change: fn(&mut Value)| move |seen: &mut Observed| seen.workloads = vec![Workload::stateful_set(&set(change))];
    refused(
        &with(|set| set["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({"whenScaled": "Delete"})),
        Reason::WhenScaledDelete,
        "StatefulSet db",
    );
    refused(
        &with(|set| {
            set["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "v", "kind": "Postgres", "name": "pg", "uid": "u", "controller": true}])
        }),
        Reason::ManagedByOperator,
        "Postgres pg",
    );
    refused(
        &with(|set| {
            set["metadata"]["managedFields"] =
                json!([{"manager": "argocd-controller", "fieldsV1": {"f:spec": {"f:replicas": {}}}}])
        }),
        Reason::ManagedByOperator,
        "argocd-controller",
    );
    refused(
        &|seen| seen.holder = LockHolder::AtWork("other".to_owned()),
        Reason::WorkloadHeld,
        "held by RestoreJob other",
    );
}

#[test]
fn what_cannot_be_read_is_waited_for() {
    let mut seen = observed();
    seen.backup = None;
    seen.unreadable = Some("Backup b1 cannot be read: status: a number".to_owned());
    let Some(Write::Status(status)) = decide(&seen, at(60)).write else {
        panic!()
    };
    assert_eq!(status.conditions[0].reason, "InvalidObject");
    assert_eq!(
        end(&later(&mut seen, 700)),
        (RestoreJobPhase::Failed, Reason::InvalidObject)
    );
}

#[test]
fn names_that_do_not_exist_have_a_grace() {
    let mut seen = observed();
    seen.backup = None;
    let Some(Write::Status(status)) = decide(&seen, at(5)).write else {
        panic!()
    };
    assert_eq!(
        (status.phase, status.conditions[0].reason.as_str()),
        (Some(RestoreJobPhase::New), "NotFound")
    );
}

#[test]
fn a_time_without_the_service_ends_no_wait() {
    // Applied while nobody looked, together with what it names.
    let mut seen = observed();
    seen.backup = None;
    for first in [31, 86_400] {
        seen.restore.status = None;
        let Some(Write::Status(status)) = decide(&seen, at(first)).write else {
            panic!()
        };
        assert_eq!(status.phase, Some(RestoreJobPhase::New), "after {first} s");
        seen.restore.status = Some(*status);
        assert!(decide(&seen, at(first + 29)).write.is_none());
        assert_eq!(
            end(&decide(&seen, at(first + 30))),
            (RestoreJobPhase::Failed, Reason::NotFound)
        );
    }
    // What was waited for was there, and something else is not: that may just be coming, too.
    let mut seen = observed();
    seen.holder = LockHolder::AtWork("other".to_owned());
    later(&mut seen, 60);
    (seen.holder, seen.backup) = (LockHolder::Nobody, None);
    let Some(Write::Status(status)) = decide(&seen, at(300)).write else {
        panic!()
    };
    assert_eq!(
        (status.phase, status.conditions[0].reason.as_str()),
        (Some(RestoreJobPhase::New), "NotFound")
    );
}

#[test]
fn a_restore_stops_writes_and_brings_back_all_replicas() {
    let mut world = world(Some(true), Some(WriteEnd::Restored));
    world.settle();
    assert_eq!(world.seen.restore.phase(), RestoreJobPhase::Completed);
    assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
}

#[test]
fn a_backup_that_does_not_verify_stops_nothing() {
    let mut world = world(Some(false), None);
    world.settle();
    assert_eq!(world.seen.restore.phase(), RestoreJobPhase::Failed);
    assert_eq!(
        (world.replicas(), world.suspend_lock(), world.ever_written),
        (3, None, false)
    );
}

#[test]
fn a_half_written_volume_keeps_its_workload_down_and_a_second_restore_takes_over() {
    for end in [WriteEnd::Dirty, WriteEnd::Silent] {
        let mut world = world(Some(true), Some(end));
        world.settle();
        let status = world.seen.restore.status.clone().unwrap();
        assert!(holds(&status.conditions, holdfast_api::condition::STALLED));
        assert!(status.failure_reason.unwrap().contains("another RestoreJob"));
        assert_eq!(
            (world.replicas(), world.suspend_lock().map(|lock| lock.replicas)),
            (0, Some(3))
        );
        world.seen = Observed {
            restore: restore("r2"),
            ..observed()
        };
        world.write = Some(WriteEnd::Restored);
        world.settle();
        assert_eq!(world.seen.restore.phase(), RestoreJobPhase::Completed);
        assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
    }
}

#[test]
fn a_restore_that_wrote_nothing_brings_the_workload_back() {
    let mut world = world(Some(true), Some(WriteEnd::Clean));
    world.settle();
    assert_eq!(world.seen.restore.phase(), RestoreJobPhase::Failed);
    assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
}

proptest! {
    /// Deleted at any moment, however its Jobs end: the workload is back with its own count, or held with its count
    /// remembered, and never back on a volume that was half written.
    #[test]
    fn the_workload_is_back_or_held(steps in 0usize..14, verify in proptest::option::of(any::<bool>()), end in 0usize..5, delete in any::<bool>()) {
        let ends = [None, Some(WriteEnd::Restored), Some(WriteEnd::Dirty), Some(WriteEnd::Clean), Some(WriteEnd::Silent)];
        let mut world = world(verify, ends[end]);
        for _ in 0..steps {
            world.step();
        }
        if delete {
            world.delete();
        }
        for _ in 0..40 {
            world.step();
            if world.seen.write.is_some() && withdrawn::is_suspended(&world) {
                withdrawn::suspended(&mut world);
            }
        }
        let half = world.ever_written && ends[end] != Some(WriteEnd::Restored);
        if let Some(lock) = world.suspend_lock() {
            prop_assert_eq!(lock.replicas, 3);
            prop_assert_eq!(world.replicas(), 0);
        } else {
            prop_assert_eq!(world.replicas(), 3);
            prop_assert!(!half);
        }
        if delete {
            prop_assert!(world.seen.restore.finalizers().is_empty());
            // From the moment before the Job is created, nobody can be sure.
            prop_assert!(world.suspend_lock().is_none() || world.is_touched());
        }
    }
}
