mod texts;

use holdfast_api::condition::{self, RECONCILING, STALLED};

use super::*;
use crate::decision::{Child, Next, Notice};

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
        repos_live: false,
        repo: Seen::default(),
        claim: Seen::default(),
        claim_refused: None,
        pods: Some(vec![pod]),
        not_ready_timeout: SignedDuration::from_secs(600),
        traceparent: "00-a-b-01".to_owned(),
    }
}

fn status(decision: &Decision) -> &BackupStatus {
    match &decision.write {
        Some(Write::Status(status)) => status,
        other => panic!("expected a status, found {other:?}"),
    }
}

/// The Event that a decision tells, if any.
fn event(decision: &Decision) -> Option<&Event> {
    decision.notices.iter().find_map(|notice| match notice {
        Notice::Event(event) => Some(event),
        Notice::Bus(_) => None,
    })
}

/// How it ended, as the message on the bus says.
fn outcome(decision: &Decision) -> Option<Reason> {
    decision.notices.iter().find_map(|notice| match notice {
        Notice::Event(_) => None,
        Notice::Bus(bus) => Reason::parse(bus.data["reason"].as_str()?),
    })
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
fn a_repository_whose_name_does_not_fit_a_label_is_labelled_by_what_fits() {
    let mut seen = observed();
    let name = "r".repeat(253);
    let repo = Arc::make_mut(&mut seen.repos[0]);
    repo.metadata.name = Some(name.clone());
    repo.metadata.uid = Some("0123abcd-4567".to_owned());
    let label = label_value(repo);
    assert!(label.len() <= 63);
    let mut named = section();
    named["backupRepoName"] = json!(name);
    seen.policy = Seen::cached(Some(policy(named)));
    for marked in [false, true] {
        if marked {
            let labels = Arc::make_mut(&mut seen.backup).labels_mut();
            labels.insert(LABEL_BACKUP_REPO_NAME.to_owned(), label.clone());
        }
        let decision = decide(&seen, at(1));
        let Some(Write::Metadata(metadata)) = &decision.write else {
            panic!("{decision:?}")
        };
        assert_eq!(metadata["labels"][LABEL_BACKUP_REPO_NAME], label.as_str());
    }
}

#[test]
fn an_admitted_backup_is_left_alone() {
    let mut seen = observed();
    Arc::make_mut(&mut seen.backup)
        .annotations_mut()
        .insert(ANNOTATION_ADMITTED.to_owned(), at(0).to_string());
    assert_eq!(decide(&seen, at(1)).write, None);
}

/// Decides, and answers every read with what is there already.
fn drive(seen: &mut Observed, now: Timestamp) -> Decision {
    let mut asked = Vec::new();
    loop {
        let decision = decide(seen, now);
        let Next::Read(read) = decision.next else {
            return decision;
        };
        assert_eq!(decision.write, None);
        assert!(!asked.contains(&read), "{read:?} is read twice");
        asked.push(read);
        match read {
            Read::Policy => seen.policy.live = true,
            Read::Tool => seen.tool.live = true,
            Read::Repos => seen.repos_live = true,
            Read::Repo => seen.repo.live = true,
            Read::Claim => seen.claim.live = true,
            Read::Pods => panic!("the pods are there"),
        }
    }
}

/// The same, and keeps the status that was decided, as the API server would.
fn pass(seen: &mut Observed, now: Timestamp) -> Decision {
    let decision = drive(seen, now);
    if let Some(Write::Status(status)) = &decision.write {
        Arc::make_mut(&mut seen.backup).status = Some((**status).clone());
    }
    // The next pass begins with the caches.
    (seen.policy.live, seen.tool.live, seen.repos_live) = (false, false, false);
    (seen.repo.live, seen.claim.live) = (false, false);
    decision
}

#[test]
fn a_missing_policy_fails_after_the_grace_by_the_word_of_the_server() {
    let mut seen = observed();
    seen.policy = Seen::cached(None);
    assert_eq!(decide(&seen, at(60)).next, Next::Read(Read::Policy));
    // Nobody looked for five minutes: the grace begins now.
    let first = pass(&mut seen, at(300));
    assert_eq!(status(&first).phase, Some(BackupPhase::New));
    assert_eq!(status(&first).conditions[0].reason, "PolicyNotFound");
    assert_eq!(pass(&mut seen, at(329)).write, None);
    assert_eq!(decide(&seen, at(330)).next, Next::Read(Read::Policy));
    let late = pass(&mut seen, at(330));
    assert_eq!(status(&late).phase, Some(BackupPhase::Failed));
    assert_eq!(
        status(&late).failure_reason.as_deref(),
        Some("backuppolicies.dataprotection.kubeblocks.io \"p\" not found")
    );
    assert_eq!(outcome(&late), Some(Reason::PolicyNotFound));
    assert!(event(&late).is_some_and(|event| event.warning && event.reason == Reason::PolicyNotFound));
}

#[test]
fn what_comes_late_is_found() {
    let mut seen = observed();
    let (policy, tool) = (seen.policy.clone(), seen.tool.clone());
    (seen.policy, seen.tool) = (Seen::cached(None), Seen::cached(None));
    pass(&mut seen, at(0));
    seen.policy = policy;
    assert_eq!(status(&pass(&mut seen, at(10))).conditions[1].reason, "ToolNotFound");
    seen.tool = tool;
    assert!(matches!(pass(&mut seen, at(20)).write, Some(Write::Metadata(_))));
}

#[test]
fn no_failure_rests_on_a_cache() {
    // The policy in the cache is an old one that had no data files.
    let mut seen = observed();
    let fresh = seen.policy.clone();
    let mut old = (*policy(section())).clone();
    old.spec.datafile = None;
    seen.policy = Seen::cached(Some(Arc::new(old)));
    assert_eq!(decide(&seen, at(0)).next, Next::Read(Read::Policy));
    seen.policy = Seen::live(fresh.object);
    assert!(matches!(decide(&seen, at(0)).write, Some(Write::Metadata(_))));
}

#[test]
fn what_is_not_ready_is_named_at_once_and_waited_for_ten_minutes() {
    let mut seen = observed();
    for pod in seen.pods.iter_mut().flatten() {
        pod.status.as_mut().unwrap().conditions = None;
    }
    let first = pass(&mut seen, at(0));
    assert_eq!(status(&first).phase, Some(BackupPhase::New));
    assert!(condition::holds(&status(&first).conditions, RECONCILING));
    assert!(status(&first).conditions[1].message.contains("pod db-0"), "{first:?}");
    for second in (5..600).step_by(5) {
        assert_eq!(pass(&mut seen, at(second)).write, None, "{second}");
    }
    // The pod is replaced: for a moment there is none.
    let pods = seen.pods.replace(Vec::new());
    assert_eq!(status(&pass(&mut seen, at(596))).phase, Some(BackupPhase::New));
    seen.pods = pods;
    assert_eq!(status(&pass(&mut seen, at(597))).phase, Some(BackupPhase::New));
    let last = pass(&mut seen, at(600));
    assert_eq!(status(&last).phase, Some(BackupPhase::Failed));
    assert_eq!(outcome(&last), Some(Reason::TargetPodNotReady));
    assert!(
        status(&last)
            .failure_reason
            .as_deref()
            .unwrap()
            .ends_with("waited 600 s")
    );
}

#[test]
fn a_database_that_had_a_pod_when_the_backup_was_admitted_gets_the_time_to_come_back() {
    let mut seen = observed();
    let annotations = Arc::make_mut(&mut seen.backup).annotations_mut();
    annotations.insert(ANNOTATION_TARGET_POD_NAME.to_owned(), "db-0".to_owned());
    seen.pods = Some(Vec::new());
    pass(&mut seen, at(0));
    pass(&mut seen, at(300));
    let status_of = |seen: &Observed| seen.backup.status.as_ref().unwrap().phase;
    assert_eq!(status_of(&seen), Some(BackupPhase::New));
    let last = pass(&mut seen, at(600));
    assert_eq!(outcome(&last), Some(Reason::NoTargetPod));
}

#[test]
fn whatever_changes_the_wait_ends() {
    let mut seen = observed();
    let pods = seen.pods.clone().unwrap();
    let mut unready = pods;
    for pod in &mut unready {
        pod.status.as_mut().unwrap().conditions = None;
    }
    for second in 0..=600 {
        seen.pods = Some(if second % 2 == 0 { unready.clone() } else { Vec::new() });
        pass(&mut seen, at(second));
        if seen.backup.status.as_ref().unwrap().phase == Some(BackupPhase::Failed) {
            return;
        }
    }
    panic!("it waits for ever");
}

#[test]
fn what_cannot_be_read_is_waited_for() {
    let mut seen = observed();
    seen.tool = Seen::unreadable("env: a map".to_owned());
    let Some(Write::Status(status)) = pass(&mut seen, at(60)).write else {
        panic!()
    };
    let said = status.conditions.iter().find(|c| c.type_ == "Reconciling").unwrap();
    assert_eq!((said.status.as_str(), said.reason.as_str()), ("True", "InvalidObject"));
    assert!(said.message.contains("cannot be read: env: a map"), "{said:?}");
}

#[test]
fn a_wait_is_written_once() {
    let mut seen = observed();
    seen.tool = Seen::cached(None);
    assert!(pass(&mut seen, at(1)).write.is_some());
    assert_eq!(pass(&mut seen, at(6)).write, None);
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
    let Some(Write::Create(Child::Claim(claim))) = &decision.write else {
        panic!("{decision:?}")
    };
    assert_eq!(claim.name_any(), "mine");
    seen.claim = Seen::live(Some(Arc::new((**claim).clone())));
    assert!(matches!(decide(&seen, at(2)).write, Some(Write::Metadata(_))));
}

#[test]
fn a_refused_claim_of_the_policy_is_told_in_the_api_servers_words() {
    let mut seen = observed();
    seen.policy = Seen::cached(Some(policy(
        json!({"target": {"labelsSelector": {"matchLabels": {"app": "db"}}}, "backupToolName": "t", "persistentVolumeClaim": {"name": "mine", "initCapacity": "2Gi"}}),
    )));
    seen.claim = Seen::live(None);
    seen.claim_refused = Some("exceeded quota: claims".to_owned());
    let Some(Write::Status(status)) = decide(&seen, at(1)).write else {
        panic!("nothing is told")
    };
    let told = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Reconciling")
        .unwrap();
    assert_eq!(told.reason, "ClaimNotCreated");
    assert!(told.message.contains("exceeded quota: claims"), "{}", told.message);
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

#[test]
fn a_backup_that_waits_can_be_cancelled() {
    let mut seen = observed();
    seen.pods = Some(Vec::new());
    pass(&mut seen, at(0));
    Arc::make_mut(&mut seen.backup).spec.cancel = Some(true);
    let decision = decide(&seen, at(1));
    assert_eq!(status(&decision).phase, Some(BackupPhase::Failed));
    assert_eq!(
        status(&decision).failure_reason.as_deref(),
        Some("cancelled by spec.cancel")
    );
    assert_eq!(outcome(&decision), Some(Reason::Cancelled));
}

#[test]
fn a_backup_that_waits_long_is_looked_at_less_often() {
    let mut seen = observed();
    seen.pods = Some(Vec::new());
    let annotations = Arc::make_mut(&mut seen.backup).annotations_mut();
    annotations.insert(ANNOTATION_TARGET_POD_NAME.to_owned(), "db-0".to_owned());
    pass(&mut seen, at(0));
    for (second, pause) in [(1, 5), (20, 5), (60, 15), (300, 30), (595, 5)] {
        let next = pass(&mut seen, at(second)).next;
        assert_eq!(next, Next::After(std::time::Duration::from_secs(pause)), "{second}");
    }
}
