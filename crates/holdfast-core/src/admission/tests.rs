use holdfast_api::BackupRepo;
use serde_json::json;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn backup(spec: Value) -> Arc<Backup> {
    let meta =
        json!({"name": "b1", "namespace": "ns", "uid": "u1", "generation": 1, "creationTimestamp": at(0).to_string()});
    Arc::new(serde_json::from_value(json!({"apiVersion": "dataprotection.kubeblocks.io/v1alpha1", "kind": "Backup", "metadata": meta, "spec": spec})).unwrap())
}

fn policy(datafile: Value) -> Arc<BackupPolicy> {
    Arc::new(serde_json::from_value(json!({"apiVersion": "v", "kind": "BackupPolicy", "metadata": {"name": "p", "namespace": "ns", "uid": "pu"}, "spec": {"retention": {"ttl": "7d"}, "datafile": datafile}})).unwrap())
}

fn section() -> Value {
    json!({"target": {"labelsSelector": {"matchLabels": {"app": "db"}}}, "backupToolName": "t", "backupRepoName": "r"})
}

fn observed() -> Observed {
    let tool: BackupTool = serde_json::from_value(json!({"apiVersion": "v", "kind": "BackupTool", "metadata": {"name": "t"}, "spec": {"image": "", "backupCommands": ["true"]}})).unwrap();
    let repo: BackupRepo = serde_json::from_value(json!({"apiVersion": "v", "kind": "BackupRepo", "metadata": {"name": "r"}, "spec": {"storageProviderRef": "local", "pvReclaimPolicy": "Delete"}, "status": {"phase": "Ready"}})).unwrap();
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "db-0", "labels": {"app.kubernetes.io/instance": "c"}}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})).unwrap();
    Observed {
        backup: backup(json!({"backupPolicyName": "p", "backupType": "datafile"})),
        policy: Seen::cached(Some(policy(section()))),
        tool: Seen::cached(Some(Arc::new(tool))),
        repos: vec![Arc::new(repo)],
        repo: Seen::default(),
        claim: Seen::default(),
        pods: Some(vec![pod]),
        patience: SignedDuration::from_secs(600),
        traceparent: "00-a-b-01".to_owned(),
    }
}

fn status(decision: &Decision) -> &BackupStatus {
    match &decision.write {
        Some(Write::Status(status)) => status,
        other => panic!("expected a status, found {other:?}"),
    }
}

#[test]
fn one_write_admits() {
    let decision = decide(&observed(), at(1));
    let Some(Write::Metadata(metadata)) = &decision.write else {
        panic!("{decision:?}")
    };
    assert_eq!(metadata["finalizers"], json!([FINALIZER]));
    assert_eq!(metadata["labels"][LABEL_BACKUP_REPO_NAME], "r");
    assert_eq!(metadata["labels"][LABEL_BACKUP_POLICY], "p");
    assert_eq!(metadata["labels"][LABEL_INSTANCE], "c");
    assert_eq!(metadata["annotations"][ANNOTATION_TARGET_POD_NAME], "db-0");
    assert_eq!(metadata["annotations"][ANNOTATION_POLICY_UID], "pu");
    assert_eq!(metadata["annotations"][ANNOTATION_ADMITTED], at(1).to_string());
}

#[test]
fn an_admitted_backup_is_left_alone() {
    let mut seen = observed();
    Arc::make_mut(&mut seen.backup)
        .annotations_mut()
        .insert(ANNOTATION_ADMITTED.to_owned(), at(0).to_string());
    assert_eq!(decide(&seen, at(1)).write, None);
}

#[test]
fn a_missing_policy_fails_only_live_and_after_the_grace() {
    let mut seen = observed();
    seen.policy = Seen::cached(None);
    assert_eq!(decide(&seen, at(60)).next, Next::Read(Read::Policy));
    seen.policy = Seen::live(None);
    let early = decide(&seen, at(5));
    assert_eq!(status(&early).phase, Some(BackupPhase::New));
    assert_eq!(status(&early).conditions[0].reason, "PolicyNotFound");
    let late = decide(&seen, at(30));
    assert_eq!(status(&late).phase, Some(BackupPhase::Failed));
    assert_eq!(
        status(&late).failure_reason.as_deref(),
        Some("backuppolicies.dataprotection.kubeblocks.io \"p\" not found")
    );
    assert_eq!(late.outcome, Some(Reason::PolicyNotFound));
}

#[test]
fn a_wait_is_written_once() {
    let mut seen = observed();
    seen.tool = Seen::live(None);
    let first = decide(&seen, at(1));
    Arc::make_mut(&mut seen.backup).status = Some(status(&first).clone());
    assert_eq!(decide(&seen, at(6)).write, None);
}

#[test]
fn each_wrong_name_has_the_text_that_the_api_promises() {
    let fails = |change: &dyn Fn(&mut Observed), reason: Reason, text: &str| {
        let mut seen = observed();
        change(&mut seen);
        let decision = decide(&seen, at(700));
        let status = status(&decision);
        assert_eq!(status.phase, Some(BackupPhase::Failed), "{text}");
        assert_eq!(decision.outcome, Some(reason), "{text}");
        assert!(
            status.failure_reason.as_deref().unwrap().contains(text),
            "{:?} lacks {text}",
            status.failure_reason
        );
        assert!(status.expiration.is_some() || seen.policy.get().is_none(), "{text}");
    };
    fails(
        &|seen| seen.tool = Seen::live(None),
        Reason::ToolNotFound,
        "backupTool: t not found",
    );
    fails(
        &|seen| {
            seen.repos.clear();
            seen.repo = Seen::live(None);
        },
        Reason::RepoNotFound,
        "backup repo r not found",
    );
    fails(
        &|seen| seen.pods = Some(vec![]),
        Reason::NoTargetPod,
        "can not find any pod to backup by labelsSelector",
    );
    fails(
        &|seen| seen.backup = backup(json!({"backupPolicyName": "p", "backupType": "snapshot"})),
        Reason::Unsupported,
        "VolumeSnapshot feature disabled.",
    );
    fails(
        &|seen| seen.backup = backup(json!({"backupPolicyName": "p", "backupType": "logfile"})),
        Reason::BackupNotSupported,
        "not supports logfile",
    );
    fails(
        &|seen| {
            seen.policy = Seen::cached(Some(policy(
                json!({"target": {"labelsSelector": {}}, "backupToolName": "t"}),
            )))
        },
        Reason::InvalidSelector,
        "is empty",
    );
    let mut bare = section();
    bare.as_object_mut().unwrap().remove("backupRepoName");
    let bare = policy(bare);
    fails(
        &|seen| seen.policy = Seen::cached(Some(Arc::clone(&bare))),
        Reason::BackupPVCNameIsEmpty,
        "the persistentVolumeClaim name of spec.datafile is empty",
    );
    fails(
        &|seen| {
            let mut policy = (*policy(section())).clone();
            policy.annotations_mut().insert(
                "dataprotection.kubeblocks.io/path-prefix".to_owned(),
                "/../x".to_owned(),
            );
            seen.policy = Seen::cached(Some(Arc::new(policy)));
        },
        Reason::InvalidPathPrefix,
        "begins with a dot",
    );
}

#[test]
fn a_claim_of_the_policy_is_created_once_its_absence_is_sure() {
    let mut seen = observed();
    seen.policy = Seen::cached(Some(policy(
        json!({"target": {"labelsSelector": {"matchLabels": {"app": "db"}}}, "backupToolName": "t", "persistentVolumeClaim": {"name": "mine", "initCapacity": "2Gi"}}),
    )));
    assert_eq!(decide(&seen, at(1)).next, Next::Read(Read::Claim));
    seen.claim = Seen::live(None);
    let decision = decide(&seen, at(1));
    let Some(Write::CreateClaim(claim)) = &decision.write else {
        panic!("{decision:?}")
    };
    assert_eq!(claim.name_any(), "mine");
    seen.claim = Seen::live(Some(Arc::new((**claim).clone())));
    assert!(matches!(decide(&seen, at(2)).write, Some(Write::Metadata(_))));
}

#[test]
fn a_backup_that_is_deleted_before_it_started_is_let_go() {
    let mut seen = observed();
    let backup = Arc::make_mut(&mut seen.backup);
    backup.metadata.finalizers = Some(vec![FINALIZER.to_owned(), "other".to_owned()]);
    backup.metadata.deletion_timestamp = Some(Time(at(5)));
    assert_eq!(
        decide(&seen, at(6)).write,
        Some(Write::Metadata(json!({"finalizers": ["other"]})))
    );
}
