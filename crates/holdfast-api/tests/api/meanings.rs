//! What the golden files of this version say, member by member.

use holdfast_api::{
    Access, Backup, BackupPhase, BackupPlan, BackupPolicy, BackupPolicySecret, BackupReference, BackupRepo, Deletion,
    HeldWorkload, JobWork, Location, MissedSlot, PlannedTool, RepositoryReference, RestoreJob, RestoreJobPhase,
    RestorePlan, RestoreStep, RestoreWork, Source, Stop, Unknown, Waiting, Work, Writing, condition::Reason,
};
use k8s_openapi::{api::core::v1::LocalObjectReference, apimachinery::pkg::apis::meta::v1::Time};
use serde_json::json;

use crate::golden::{UID, read};

const SHOP_PATH: &str = "/shop/mysql-2f6c/mysql/shop-1";
const IDENTITY: &str = "00112233445566778899aabbccddeeff";
const CHECKSUM: &str = "5bb5f18fb18b7f28b6ea3d1735125581195a88dfbb59881f4deaac43e93a8312";

fn time(text: &str) -> Time {
    Time(text.parse().unwrap())
}

fn location() -> Location {
    Location {
        repository: Some(RepositoryReference {
            name: "nightly".to_owned(),
            uid: "7b0e4f60-0000-4000-8000-000000000004".to_owned(),
            unknown: Unknown::new(),
        }),
        access: Access::mount("pvc-nightly-7b0e4f"),
        path: SHOP_PATH.to_owned(),
        seal_uid: UID.to_owned(),
        identity: None,
        unknown: Unknown::new(),
    }
}

fn tool() -> PlannedTool {
    PlannedTool {
        name: "xtrabackup".to_owned(),
        image: "registry.example/xtrabackup:8.0".to_owned(),
        spec: json!({
            "image": "registry.example/xtrabackup:8.0", "deployKind": "job", "type": "file",
            "env": [{"name": "DATA_DIR"}, {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
            "backupCommands": ["sh", "-c", "xtrabackup --backup >\"$BACKUP_DIR/data\""],
            "physical": {"restoreCommands": ["sh", "-c", "xtrabackup --copy-back"], "relyOnLogfile": false},
        }),
        env_digests: [(
            "DATA_DIR".to_owned(),
            "sha256:3c77f64b92036c07bfe8ee1d3906039aa36029aed065831c2aa1bdc4878bf454".to_owned(),
        )]
        .into(),
        unknown: Unknown::new(),
    }
}

fn pull() -> Vec<LocalObjectReference> {
    vec![LocalObjectReference {
        name: "registry-example".to_owned(),
    }]
}

fn plan() -> BackupPlan {
    let secret = BackupPolicySecret {
        name: "shop-mysql-account".to_owned(),
        username_key: "username".to_owned(),
        password_key: "password".to_owned(),
    };
    BackupPlan {
        run: 1,
        policy_uid: "5d0c1a72-0000-4000-8000-000000000002".to_owned(),
        deadline: Some(time("2026-11-01T09:00:01Z")),
        ttl: Some("7d".to_owned()),
        source: Source {
            pod_name: "shop-mysql-0".to_owned(),
            pod_uid: "90a1b2c3-0000-4000-8000-000000000003".to_owned(),
            node_name: "node-1".to_owned(),
            host: "shop-mysql-0.shop-mysql-headless".to_owned(),
            unknown: Unknown::new(),
        },
        location: location(),
        work: Work {
            job: Some(Box::new(JobWork {
                job_name: "shop-1".to_owned(),
                policy: json!({
                    "target": {"labelsSelector": {"matchLabels": {"app.kubernetes.io/instance": "shop"}}, "secret": secret},
                    "backupsHistoryLimit": 7, "onFailAttempted": 2, "backupRepoName": "nightly", "backupToolName": "xtrabackup",
                }),
                tool: tool(),
                backoff_limit: 2,
                failed_attempts: 0,
                allow_empty: false,
                secret: Some(secret),
                security_context: None,
                tolerations: Vec::new(),
                image_pull_secrets: pull(),
                unknown: Unknown::new(),
            })),
            unknown: Unknown::new(),
        },
        stop: None,
        unknown: Unknown::new(),
    }
}

/// Phase, plan, what is waited for and how its removal stands.
fn backup(name: &str) -> (BackupPhase, Option<BackupPlan>, Option<Waiting>, Option<Deletion>) {
    let backup: Backup = read(name);
    let (phase, status) = (backup.phase(), backup.status.unwrap());
    (phase, status.plan, status.waiting, status.deletion)
}

#[test]
fn a_backup_means_what_it_meant() {
    let running = plan();
    assert_eq!(
        backup("backup-running"),
        (BackupPhase::InProgress, Some(running.clone()), None, None)
    );

    let mut again = running.clone();
    again.work.job.as_mut().unwrap().failed_attempts = 1;
    let waiting = Waiting {
        reason: Reason::Unschedulable.as_str().to_owned(),
        since: time("2026-11-01T03:00:05Z"),
        quoted: false,
        unknown: Unknown::new(),
    };
    assert!(waiting.is_for(Reason::Unschedulable));
    let expected = (BackupPhase::InProgress, Some(again), Some(waiting), None);
    assert_eq!(backup("backup-waiting"), expected);

    let mut stopping = running.clone();
    stopping.stop = Some(Stop {
        reason: Reason::Cancelled.as_str().to_owned(),
        text: "spec.cancel is set".to_owned(),
        since: time("2026-11-01T03:01:00Z"),
        unknown: Unknown::new(),
    });
    let expected = (BackupPhase::InProgress, Some(stopping), None, None);
    assert_eq!(backup("backup-stopping"), expected);

    let mut failed = running.clone();
    failed.work.job.as_mut().unwrap().failed_attempts = 3;
    assert_eq!(backup("backup-failed"), (BackupPhase::Failed, Some(failed), None, None));

    let mut sealed = running;
    sealed.location.identity = Some(IDENTITY.to_owned());
    let expected = (BackupPhase::Completed, Some(sealed.clone()), None, None);
    assert_eq!(backup("backup-completed"), expected);

    let deletion = Deletion {
        trouble: Some(Reason::PurgeFailed.as_str().to_owned()),
        since: Some(time("2026-11-09T00:00:10Z")),
        unknown: Unknown::new(),
    };
    let expected = (BackupPhase::Deleting, Some(sealed), None, Some(deletion));
    assert_eq!(backup("backup-deleting"), expected);
}

#[test]
fn where_bytes_lie_is_read_from_every_form() {
    let found = |name: &str| read::<Backup>(name).status.unwrap().location(UID).unwrap();
    let sealed = Location {
        identity: Some(IDENTITY.to_owned()),
        ..location()
    };
    assert_eq!(found("backup-running"), location());
    assert_eq!(found("backup-completed"), sealed);
    assert_eq!(found("backup-deleting"), sealed);
    // Made anew over bytes that another Backup wrote.
    let anew = Location {
        seal_uid: "9d1e7c55-0000-4000-8000-000000000009".to_owned(),
        ..sealed
    };
    assert_eq!(found("backup-completed-anew"), anew);
    // As the original stores it.
    let original = Location {
        repository: None,
        ..location()
    };
    assert_eq!(found("backup-without-plan"), original);
}

fn restore(name: &str) -> (RestoreJobPhase, Option<RestorePlan>, Option<Waiting>) {
    let restore: RestoreJob = read(name);
    let (phase, status) = (restore.phase(), restore.status.unwrap());
    (phase, status.plan, status.waiting)
}

fn restore_plan() -> RestorePlan {
    RestorePlan {
        deadline: Some(time("2026-11-02T16:00:00Z")),
        workload: Some(HeldWorkload {
            kind: "StatefulSet".to_owned(),
            name: "shop-mysql".to_owned(),
            uid: "1f5e2d3c-0000-4000-8000-000000000006".to_owned(),
            replicas: 3,
            unknown: Unknown::new(),
        }),
        node_name: Some("node-1".to_owned()),
        steps: vec![RestoreStep {
            job: Some(Box::new(RestoreWork {
                backup: BackupReference {
                    name: "shop-1".to_owned(),
                    uid: UID.to_owned(),
                    unknown: Unknown::new(),
                },
                location: Location {
                    identity: Some(IDENTITY.to_owned()),
                    ..location()
                },
                digest: CHECKSUM.to_owned(),
                tool: tool(),
                image_pull_secrets: pull(),
                verify_job_name: "back-to-monday-verify".to_owned(),
                restore_job_name: "back-to-monday".to_owned(),
                backoff_limit: 2,
                unknown: Unknown::new(),
            })),
            unknown: Unknown::new(),
        }],
        writing: None,
        stop: None,
        unknown: Unknown::new(),
    }
}

#[test]
fn a_restore_means_what_it_meant_in_every_stage() {
    let at = |reason: Reason, since: &str| {
        Some(Waiting {
            reason: reason.as_str().to_owned(),
            since: time(since),
            quoted: false,
            unknown: Unknown::new(),
        })
    };
    let began = "2026-11-02T10:00:01Z";
    let writing = |attempt, since: &str| RestorePlan {
        writing: Some(Writing {
            attempt,
            since: time(since),
            second_writer: None,
            pods_kept: false,
            withdrawn: None,
            unknown: Unknown::new(),
        }),
        ..restore_plan()
    };
    let written = || Some(writing(1, "2026-11-02T10:02:00Z"));
    let given_up = RestorePlan {
        stop: Some(Stop {
            reason: Reason::PodPending.as_str().to_owned(),
            text: "pod `back-to-monday-x7` did not start".to_owned(),
            since: time("2026-11-02T10:12:00Z"),
            unknown: Unknown::new(),
        }),
        ..restore_plan()
    };
    let (new, at_work) = (RestoreJobPhase::New, RestoreJobPhase::InProgressPhy);
    for (name, phase, plan, waiting) in [
        (
            "restore-waiting",
            new,
            None,
            at(Reason::BackupNotCompleted, "2026-11-02T10:00:00Z"),
        ),
        (
            "restore-verifying",
            at_work,
            Some(restore_plan()),
            at(Reason::Verifying, began),
        ),
        (
            "restore-stopping-workload",
            at_work,
            Some(restore_plan()),
            at(Reason::ScalingDown, began),
        ),
        ("restore-writing", at_work, written(), at(Reason::Restoring, began)),
        (
            "restore-starting-workload",
            at_work,
            written(),
            at(Reason::ScalingUp, began),
        ),
        (
            "restore-given-up",
            at_work,
            Some(given_up),
            at(Reason::PodPending, began),
        ),
        ("restore-completed", RestoreJobPhase::Completed, written(), None),
        (
            "restore-failed",
            RestoreJobPhase::Failed,
            Some(writing(2, "2026-11-02T10:04:00Z")),
            None,
        ),
    ] {
        assert_eq!(restore(name), (phase, plan, waiting), "{name}");
    }
}

#[test]
fn cursors_and_identities_mean_what_they_meant() {
    let policy: BackupPolicy = read("policy-scheduled");
    let schedules = policy.status.unwrap().schedules;
    let settled = |kind: &str| schedules[kind].settled_until.clone().unwrap();
    assert_eq!(settled("datafile"), time("2026-11-02T03:00:00Z"));
    assert_eq!(settled("logfile"), time("2026-11-02T03:05:00Z"));
    assert_eq!(settled("snapshot"), time("2026-10-31T12:00:00Z"));
    assert!(schedules["datafile"].enabled && !schedules["snapshot"].enabled);
    assert_eq!(schedules["datafile"].expression.as_deref(), Some("0 3 * * *"));
    let missed = MissedSlot {
        reason: Reason::SlotSkipped.as_str().to_owned(),
        message: "Backup shop-1 had not ended".to_owned(),
        unknown: Unknown::new(),
    };
    assert_eq!(schedules["datafile"].missed, Some(missed));

    let repo = |name: &str| read::<BackupRepo>(name).status.unwrap();
    let ready = repo("repo-ready");
    assert_eq!(ready.identity_in("shop"), Some(IDENTITY));
    assert_eq!(ready.namespaces[0].claim_uid, "de01be02-0000-4000-8000-000000000007");
    assert_eq!(ready.identity_in("elsewhere"), None);
    let trouble = &ready.troubles[0];
    assert_eq!(
        (trouble.check.as_str(), trouble.reason.as_str()),
        ("ClaimsCreated", "ClaimNotCreated")
    );
    assert_eq!(repo("repo-checking").waiting_since, Some(time("2026-10-31T12:00:00Z")));
    let deletion = repo("repo-deleting").deletion.unwrap();
    assert_eq!(deletion.since, Some(time("2026-11-09T00:00:01Z")));
    assert_eq!(deletion.volumes_since, Some(time("2026-11-09T00:00:31Z")));
}
