use std::collections::BTreeMap;

use holdfast_api::{
    agent::{AgentResult, Outcome as Told},
    condition::Reason,
};
use jiff::SignedDuration;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{LocalObjectReference, Pod},
};
use kube::ResourceExt as _;

use super::{
    purge_plan::{History, Over, Purge, Step, Volume, decide},
    *,
};
use crate::{
    decision::{Next, Seen},
    pod::{AgentJob, Demands},
    settings::DataPods,
};

const RETRY: SignedDuration = SignedDuration::from_secs(600);

fn batch(names: &[&str]) -> Batch {
    let entries = names.iter().map(|name| Entry::of(&waiting(name)).unwrap()).collect();
    Batch::fill("ns", "repo", entries, BATCH_MAX)
}

pub(super) fn job(batch: &Batch, state: &str) -> Arc<Job> {
    let mut job = purge_job(
        "agent:1",
        Some("Never"),
        batch,
        Some("id-1".to_owned()),
        AgentJob::default(),
    )
    .unwrap();
    job.metadata.uid = Some(format!("uid-{}", job.name_any()));
    job.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    let condition =
        json!([{"type": state, "status": "True", "message": "over", "lastTransitionTime": at(10).to_string()}]);
    job.status = (!state.is_empty()).then(|| serde_json::from_value(json!({"conditions": condition})).unwrap());
    Arc::new(job)
}

pub(super) fn pod(result: &AgentResult, code: i32) -> Arc<Pod> {
    let state = json!({"terminated": {"exitCode": code, "message": result.encode().unwrap()}});
    let container =
        json!({"name": "purge", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state});
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    Arc::new(
        serde_json::from_value(
            json!({"metadata": {"name": "p"}, "status": {"phase": phase, "containerStatuses": [container]}}),
        )
        .unwrap(),
    )
}

pub(super) fn purged(count: u32) -> AgentResult {
    AgentResult {
        purged: Some(count),
        bytes: Some(42),
        ..AgentResult::new(Told::Purged)
    }
}

fn purge(names: &[&str], state: &str, pods: &[Arc<Pod>]) -> Purge {
    let batch = batch(names);
    Purge {
        job: job(&batch, state),
        batch,
        pods: pods.to_vec(),
    }
}

pub(super) fn volume(purges: Vec<Purge>, names: &[&str]) -> Volume {
    Volume {
        namespace: "ns".to_owned(),
        claim: "repo".to_owned(),
        purges,
        waiting: names.iter().map(|name| waiting(name)).collect(),
        retry: RETRY,
        nodes: Vec::new(),
    }
}

fn step(volume: &Volume, now: i64) -> Step {
    decide(volume, &History::default(), at(now))
}

fn stalled(volume: &mut Volume, reason: Reason) {
    for backup in &mut volume.waiting {
        Arc::make_mut(backup).status.trouble = Some(reason.as_str().to_owned());
    }
}

#[test]
fn a_purge_job_is_named_by_its_content_and_tells_it() {
    let both = batch(&["b", "a"]);
    let job = purge_job("agent:1", None, &both, Some("id-1".to_owned()), AgentJob::default()).unwrap();
    assert_eq!(Batch::of(&job), Some(both.clone()));
    assert_eq!(both, batch(&["a", "b"]));
    assert_eq!(job.name_any(), purge_job_name(&both));
    assert_ne!(purge_job_name(&both), purge_job_name(&batch(&["a"])));
    assert!(job.metadata.owner_references.is_none() && is_ours(&job));
    let spec = job.spec.clone().unwrap();
    assert!(spec.ttl_seconds_after_finished.is_some());
    let container = &spec.template.spec.as_ref().unwrap().containers[0];
    let variables: BTreeMap<_, _> = container
        .env
        .iter()
        .flatten()
        .map(|env| (env.name.as_str(), env.value.clone().unwrap_or_default()))
        .collect();
    assert_eq!(variables["HOLDFAST_REPOSITORY_ID"], "id-1");
    assert_eq!(
        variables["HOLDFAST_PURGE"],
        r#"[{"uid":"uid-a","path":"/ns/a","name":"a"},{"uid":"uid-b","path":"/ns/b","name":"b"}]"#
    );
    assert_eq!(spec.template.spec.unwrap().automount_service_account_token, Some(false));
}

#[test]
fn a_purge_pulls_with_the_secrets_of_all_its_backups() {
    let with = |name: &str, secrets: &[&str]| {
        let mut backup = BackupSummary::default();
        backup.metadata.uid = Some(format!("uid-{name}"));
        let reference = |name: &&str| LocalObjectReference {
            name: (*name).to_owned(),
        };
        backup.status.pull_secrets = secrets.iter().map(reference).collect();
        Arc::new(backup)
    };
    let waiting = [with("a", &["one", "two"]), with("b", &["two"]), with("c", &["three"])];
    let secrets = pull_secrets(&batch(&["a", "b"]), &waiting);
    let terms = AgentJob {
        image_pull_secrets: secrets,
        ..AgentJob::default()
    };
    let job = purge_job("agent:1", None, &batch(&["a", "b"]), None, terms).unwrap();
    let pod = job.spec.unwrap().template.spec.unwrap();
    let names: Vec<String> = pod
        .image_pull_secrets
        .unwrap()
        .into_iter()
        .map(|one| one.name)
        .collect();
    assert_eq!(names, ["one", "two"]);
}

#[test]
fn a_job_that_only_looks_like_ours_is_not() {
    let job = purge_job("agent:1", None, &batch(&["a"]), None, AgentJob::default()).unwrap();
    let mut renamed = job.clone();
    renamed.metadata.name = Some("holdfast-purge-0".to_owned());
    let mut unlabelled = job.clone();
    unlabelled.metadata.labels = None;
    let mut other = job;
    other.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0].env = None;
    for job in [renamed, unlabelled, other] {
        assert!(!is_ours(&job));
    }
}

#[test]
fn long_names_fill_a_list_before_there_are_fifty() {
    let entry = |i: usize| Entry {
        uid: format!("{i:03}"),
        path: format!("/{}", "p".repeat(4000)),
        name: "n".to_owned(),
    };
    let filled = Batch::fill("ns", "repo", (0..50).map(entry).collect(), BATCH_MAX);
    assert!((2..20).contains(&filled.entries.len()), "{}", filled.entries.len());
    let huge = Entry {
        path: "p".repeat(100_000),
        ..entry(0)
    };
    assert_eq!(
        Batch::fill("ns", "repo", vec![huge, entry(1)], BATCH_MAX).entries.len(),
        1
    );
    let short = |i: usize| Entry {
        path: "/p".to_owned(),
        ..entry(i)
    };
    assert_eq!(
        Batch::fill("ns", "repo", (0..80).map(short).collect(), BATCH_MAX)
            .entries
            .len(),
        BATCH_MAX
    );
}

#[test]
fn what_waits_is_removed_together_and_released_when_it_is_gone() {
    assert_eq!(step(&volume(vec![], &["a", "b"]), 0), Step::Create(batch(&["a", "b"])));
    let at_work = volume(vec![purge(&["a", "b"], "", &[])], &["a", "b", "c"]);
    assert_eq!(step(&at_work, 5), Step::Rest(Some(SignedDuration::from_secs(4))));
    let done = purge(&["a", "b"], "Complete", &[pod(&purged(2), 0)]);
    assert_eq!(
        step(&volume(vec![done.clone()], &["a", "b"]), 20),
        Step::Release(waiting("a"))
    );
    assert_eq!(
        step(&volume(vec![done.clone()], &["b"]), 20),
        Step::Release(waiting("b"))
    );
    let Step::Remove { over, freed, .. } = step(&volume(vec![done], &[]), 20) else {
        panic!()
    };
    assert_eq!((over, freed), (Over::Purged, 42));
    let unread = purge(&["a"], "Complete", &[]);
    assert_eq!(step(&volume(vec![unread], &["a"]), 20), Step::Release(waiting("a")));
    assert_eq!(step(&volume(vec![], &[]), 20), Step::Rest(None));
}

#[test]
fn a_count_that_is_not_right_releases_nothing() {
    let done = purge(&["a"], "Complete", &[pod(&purged(0), 0)]);
    let Step::Tell { reason, .. } = step(&volume(vec![done], &["a"]), 20) else {
        panic!()
    };
    assert_eq!(reason, Reason::PurgeFailed);
}

#[test]
fn what_failed_attempts_removed_counts_as_freed_too() {
    let failed = AgentResult {
        bytes: Some(8),
        ..AgentResult::failed(Reason::ToolFailed, "half way")
    };
    let untold = AgentResult::failed(Reason::ToolFailed, "at once");
    let pods = [pod(&failed, 1), pod(&untold, 1), pod(&purged(2), 0)];
    let freed = |purge: Purge| match step(&volume(vec![purge], &[]), 20) {
        Step::Remove { over, freed, .. } => (over, freed),
        other => panic!("{other:?}"),
    };
    assert_eq!(freed(purge(&["a", "b"], "Complete", &pods)), (Over::Purged, 50));
    assert_eq!(freed(purge(&["a"], "Complete", &[])), (Over::Purged, 0));
    assert_eq!(freed(purge(&["a"], "Failed", &pods[..2])), (Over::Needless, 8));
    let split = volume(vec![purge(&["a", "b"], "Failed", &pods[..2])], &["a"]);
    assert!(matches!(
        step(&split, 20),
        Step::Remove {
            over: Over::Split,
            freed: 8,
            ..
        }
    ));
}

#[test]
fn a_job_for_nothing_is_removed_and_one_that_goes_is_waited_for() {
    let Step::Remove { over, .. } = step(&volume(vec![purge(&["a"], "", &[])], &["b"]), 1) else {
        panic!()
    };
    assert_eq!(over, Over::Needless);
    let mut going = purge(&["a"], "Failed", &[]);
    Arc::make_mut(&mut going.job).metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1)));
    assert_eq!(
        step(&volume(vec![going], &["a"]), 1),
        Step::Rest(Some(SignedDuration::from_secs(2)))
    );
}

#[test]
fn a_job_that_cannot_start_says_why_once_and_takes_it_back() {
    let mut seen = volume(vec![purge(&["a", "b"], "", &[])], &["a", "b"]);
    let Step::Tell { backup, reason, .. } = step(&seen, 30) else {
        panic!()
    };
    assert_eq!((backup.name_any().as_str(), reason), ("a", Reason::PodPending));
    stalled(&mut seen, Reason::PodPending);
    assert!(matches!(step(&seen, 30), Step::Rest(Some(_))));
    seen.purges[0].pods = vec![Arc::new(
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {"phase": "Running"}})).unwrap(),
    )];
    assert!(matches!(step(&seen, 30), Step::Untell(_)));
    stalled(&mut seen, Reason::PurgeFailed);
    assert!(
        matches!(step(&seen, 30), Step::Rest(Some(_))),
        "a failure is not taken back before it is made good"
    );
}

#[test]
fn why_a_purge_does_not_start_is_told_in_the_clusters_words() {
    let mut seen = volume::Observed {
        agent_image: "agent:1".to_owned(),
        pull_policy: None,
        data_pods: DataPods::default(),
        demands: Demands::default(),
        volume: volume(vec![purge(&["a"], "", &[])], &["a"]),
        claim: Seen::default(),
        whole: None,
        obstacle: None,
        events: None,
    };
    let next = |seen: &volume::Observed| volume::decide(seen, &History::default(), at(30)).decision;
    assert_eq!(next(&seen).next, Next::Read(volume::Read::Events));
    assert_eq!(seen.in_trouble().len(), 1);
    let event = json!({"metadata": {"name": "e"}, "type": "Warning", "reason": "FailedCreate", "message": "exceeded quota: full",
        "involvedObject": {"kind": "Job", "name": "holdfast-purge-1"}});
    seen.events = Some(vec![serde_json::from_value(event).unwrap()]);
    assert_eq!(next(&seen).next, Next::Read(volume::Read::Backup));
    let whole = json!({"apiVersion": "dataprotection.kubeblocks.io/v1alpha1", "kind": "Backup",
        "metadata": {"name": "a", "namespace": "ns", "uid": seen.volume.waiting[0].metadata.uid, "deletionTimestamp": at(1).to_string()},
        "spec": {"backupPolicyName": "p", "backupType": "datafile"}, "status": {"phase": "Completed"}});
    seen.whole = Some(serde_json::from_value(whole).unwrap());
    let Some(volume::Write::Status(status)) = next(&seen).write else {
        panic!("nothing is told")
    };
    let told = serde_json::to_string(&status.conditions).unwrap();
    assert!(
        told.contains("job holdfast-purge-1: FailedCreate: exceeded quota: full"),
        "{told}"
    );
}

#[test]
fn a_purge_is_over_when_its_agent_says_so_whatever_else_runs_in_its_pod() {
    let beside = |result: &AgentResult, code: i32| {
        let mut status = serde_json::to_value(&*pod(result, code)).unwrap();
        status["status"]["phase"] = json!("Running");
        let proxy = json!({"name": "proxy", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {}}});
        status["status"]["containerStatuses"]
            .as_array_mut()
            .unwrap()
            .push(proxy);
        Arc::new(serde_json::from_value(status).unwrap())
    };
    let batch = batch(&["a"]);
    let outcome = |pod: Arc<Pod>| super::outcome(&job(&batch, ""), &batch, &[pod], at(30));
    assert_eq!(outcome(beside(&purged(1), 0)), Outcome::Purged);
    let failed = AgentResult::failed(Reason::ToolFailed, "read-only");
    assert!(
        matches!(outcome(beside(&failed, 1)), Outcome::Failed(Reason::ToolFailed, why) if why.starts_with("read-only; container `proxy`"))
    );
}

#[test]
fn a_failed_purge_is_told_kept_for_a_while_and_tried_again_ever_later() {
    let failed = AgentResult::failed(Reason::ToolFailed, "read-only");
    let mut seen = volume(vec![purge(&["a"], "Failed", &[pod(&failed, 1)])], &["a", "b"]);
    let Step::Tell { reason, why, .. } = step(&seen, 20) else {
        panic!()
    };
    assert_eq!((reason, why.as_str()), (Reason::PurgeFailed, "read-only"));
    stalled(&mut seen, Reason::PurgeFailed);
    // The other one does not wait for it.
    assert_eq!(step(&seen, 20), Step::Create(batch(&["b"])));
    seen.waiting.truncate(1);
    assert_eq!(step(&seen, 20), Step::Rest(Some(SignedDuration::from_secs(590))));
    let over = |history: &History, now: i64| match decide(&seen, history, at(now)) {
        Step::Remove { over, .. } => Some(over),
        _ => None,
    };
    let mut history = History::default();
    assert_eq!(over(&history, 610), Some(Over::Retry));
    history.failed(&batch(&["a"]));
    assert_eq!(
        (over(&history, 1_209), over(&history, 1_210)),
        (None, Some(Over::Retry))
    );
    for _ in 0..80 {
        history.failed(&batch(&["a"]));
    }
    assert_eq!(
        (over(&history, 7_000), over(&history, 7_210)),
        (None, Some(Over::Retry))
    );
    history.forget("uid-a");
    assert_eq!(over(&history, 610), Some(Over::Retry));
}

#[test]
fn a_directory_of_another_is_left_unless_it_was_sealed_for_this_backup() {
    let failed = AgentResult::failed(Reason::PathOccupied, "it names another");
    let mut seen = volume(vec![purge(&["a"], "Failed", &[pod(&failed, 81)])], &["a"]);
    let Step::Tell { reason, .. } = step(&seen, 20) else {
        panic!()
    };
    assert_eq!(reason, Reason::DataLeftBehind);
    stalled(&mut seen, Reason::DataLeftBehind);
    assert!(matches!(step(&seen, 20), Step::Release(_)));
    Arc::make_mut(&mut seen.waiting[0]).status.sealed = true;
    let Step::Tell { reason, .. } = step(&seen, 20) else {
        panic!()
    };
    assert_eq!(reason, Reason::PurgeFailed);
}
