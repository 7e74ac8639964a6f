//! A Backup `b1` of pod `c-mysql-0`, its surroundings, and ways to change them.

use std::sync::Arc;

use holdfast_api::agent::{AgentResult, Outcome};
use holdfast_api::condition::Reason;
use holdfast_api::{Backup, BackupPhase, BackupStatus};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::backup::{Decision, Next, Observed, Pods, Read, Seen, Settings, Write, decide};
use crate::decision::{Event, Kind, Notice, Target};
use crate::pod::Demands;
use crate::settings::DataPods;

pub(super) const START: &str = "2025-01-01T00:00:00Z";

/// Later than every wait.
pub(super) const LATE: i64 = 601;

/// The time `seconds` after the Backup was created and admitted.
pub(super) fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = START.parse().expect("a time");
    start + SignedDuration::from_secs(seconds)
}

pub(super) fn yaml<T: DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).expect("a valid fixture")
}

const BACKUP: &str = "
apiVersion: dataprotection.kubeblocks.io/v1alpha1
kind: Backup
metadata:
  name: b1
  namespace: ns
  uid: 3f2a9c1e-0000-4000-8000-000000000001
  generation: 1
  resourceVersion: '10'
  creationTimestamp: 2025-01-01T00:00:00Z
  finalizers: [dataprotection.kubeblocks.io/finalizer]
  labels:
    app.kubernetes.io/instance: c
    app.kubernetes.io/managed-by: kubeblocks
    dataprotection.kubeblocks.io/backup-type: datafile
    dataprotection.kubeblocks.io/backup-policy: p1
    dataprotection.kubeblocks.io/backup-repo-name: r
    dataprotection.kubeblocks.io/cluster-uid: cluster-uid
  annotations:
    dataprotection.kubeblocks.io/target-pod-name: c-mysql-0
    holdfast.io/admitted: 2025-01-01T00:00:00Z
    holdfast.io/traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
spec: {backupPolicyName: p1, backupType: datafile}
";

const POLICY: &str = "
apiVersion: dataprotection.kubeblocks.io/v1alpha1
kind: BackupPolicy
metadata:
  name: p1
  namespace: ns
  uid: policy-uid
  annotations: {dataprotection.kubeblocks.io/path-prefix: /c-uid/mysql}
spec:
  retention: {ttl: 7d}
  datafile:
    backupToolName: tool
    target:
      labelsSelector: {matchLabels: {app.kubernetes.io/instance: c}}
      secret: {name: c-conn-credential}
";

const TOOL: &str = "
apiVersion: dataprotection.kubeblocks.io/v1alpha1
kind: BackupTool
metadata: {name: tool}
spec:
  image: registry.example/tool:1
  env: [{name: DATA_DIR, value: /var/lib/mysql}]
  backupCommands: [sh, -c, 'backup --to $(BACKUP_DIR)']
";

const REPO: &str = "
apiVersion: dataprotection.kubeblocks.io/v1alpha1
kind: BackupRepo
metadata: {name: r, uid: repo-uid}
spec: {storageProviderRef: local, pvReclaimPolicy: Retain}
status: {phase: Ready, backupPVCName: pvc-r}
";

const CLAIM: &str = "
metadata: {name: pvc-r, namespace: ns, uid: claim-uid, resourceVersion: '4'}
spec: {accessModes: [ReadWriteMany], volumeName: pv-r}
";

const TARGET: &str = "
metadata:
  name: c-mysql-0
  namespace: ns
  uid: pod-uid
  labels: {app.kubernetes.io/instance: c}
spec:
  nodeName: node-a
  hostname: c-mysql-0
  subdomain: c-mysql-headless
  imagePullSecrets: [{name: pull}]
  containers:
  - name: mysql
    image: mysql:8
    volumeMounts:
    - {name: data, mountPath: /var/lib/mysql}
    - {name: kube-api-access-x, mountPath: /var/run/secrets/kubernetes.io/serviceaccount}
  volumes:
  - {name: data, persistentVolumeClaim: {claimName: data-c-mysql-0}}
  - name: kube-api-access-x
    projected: {sources: [{serviceAccountToken: {path: token}}]}
status: {phase: Running}
";

pub(super) fn backup() -> Backup {
    yaml(BACKUP)
}

/// An admitted Backup with everything in place: nothing but the Job is missing.
pub(super) fn ready() -> Observed {
    let repo = Arc::new(yaml(REPO));
    Observed {
        settings: Arc::new(Settings {
            agent_image: "agent:1".to_owned(),
            pull_policy: Some("IfNotPresent".to_owned()),
            deadline: SignedDuration::from_hours(6),
            not_ready_timeout: SignedDuration::from_mins(10),
            any_target_volumes: false,
            data_pods: DataPods::default(),
        }),
        backup: Arc::new(backup()),
        backup_read: None,
        policy: Seen::cached(Some(Arc::new(yaml(POLICY)))),
        tool: Seen::cached(Some(Arc::new(yaml(TOOL)))),
        repos: vec![Arc::clone(&repo)],
        repo: Seen::cached(Some(repo)),
        claim: Seen::cached(Some(Arc::new(yaml(CLAIM)))),
        volume: None,
        node: None,
        target: Seen::live(Some(Arc::new(yaml(TARGET)))),
        target_claims: Vec::new(),
        job: Seen::default(),
        pods: Pods::default(),
        report: Seen::default(),
        report_pods: Pods::default(),
        refused: None,
        demands: Some(Demands::default()),
        events: Some(Vec::new()),
    }
}

/// The same, with the plan written at second 1 and answered by the API server.
pub(super) fn planned() -> Observed {
    let mut observed = ready();
    let decision = decide(&observed, at(1));
    let status = written(&decision);
    assert_eq!(status.phase, Some(BackupPhase::InProgress), "{decision:?}");
    take(&mut observed, status, at(1));
    observed
}

/// The same, with the Job that was asked for.
pub(super) fn started() -> Observed {
    let mut observed = planned();
    let mut job = created(&decide(&observed, at(1)));
    job.metadata.uid = Some("job-uid".to_owned());
    job.metadata.resource_version = Some("20".to_owned());
    job.metadata.creation_timestamp = serde_json::from_value(json!("2025-01-01T00:00:01Z")).ok();
    observed.job = Seen::cached(Some(Arc::new(job)));
    observed.backup_read = None;
    observed
}

/// Takes a status over as the API server does.
pub(super) fn take(observed: &mut Observed, status: BackupStatus, now: Timestamp) {
    change(observed, |backup| backup.status = Some(status));
    observed.backup_read = Some(now);
}

pub(super) fn change(observed: &mut Observed, with: impl FnOnce(&mut Backup)) {
    let backup = Arc::make_mut(&mut observed.backup);
    with(backup);
    let version: u64 = backup
        .metadata
        .resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0);
    backup.metadata.resource_version = Some((version + 1).to_string());
}

pub(super) fn change_job(observed: &mut Observed, with: impl FnOnce(&mut Job)) {
    let job = observed.job.object.as_mut().expect("a job");
    with(Arc::make_mut(job));
}

/// Ends the Job with a condition, at a second.
pub(super) fn end_job(observed: &mut Observed, kind: &str, reason: &str, second: i64) {
    change_job(observed, |job| {
        job.status = serde_json::from_value(json!({"conditions": [{
            "type": kind, "status": "True", "reason": reason, "message": "the job's message",
            "lastTransitionTime": at(second).to_string(),
        }]}))
        .ok();
    });
}

/// A pod of the Job.
pub(super) fn job_pod(name: &str, second: i64, status: &serde_json::Value) -> Arc<Pod> {
    let pod = json!({
        "metadata": {"name": name, "namespace": "ns", "creationTimestamp": at(second).to_string()},
        "spec": {"containers": [{"name": "b1"}]},
        "status": status,
    });
    Arc::new(serde_json::from_value(pod).expect("a valid fixture"))
}

/// The status of a pod whose container `name` ended.
pub(super) fn ended(name: &str, code: i32, result: &AgentResult) -> serde_json::Value {
    let message = result.encode().expect("a short result");
    json!({
        "phase": if code == 0 { "Succeeded" } else { "Failed" },
        "containerStatuses": [{"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": code, "message": message}}}],
    })
}

pub(super) fn sealed() -> AgentResult {
    AgentResult {
        bytes: Some(1_288_490_188),
        files: Some(12),
        digest: Some(format!("sha256:{}", "ab".repeat(32))),
        repository: Some("repository-1".to_owned()),
        ..AgentResult::new(Outcome::Sealed)
    }
}

pub(super) fn gave_up(reason: Reason, message: &str) -> AgentResult {
    AgentResult::failed(reason, message)
}

/// The status that a decision writes.
pub(super) fn written(decision: &Decision) -> BackupStatus {
    match decision.write.as_ref() {
        Some(Write::Status(status)) => (**status).clone(),
        other => panic!("no status is written but {other:?}, next {:?}", decision.next),
    }
}

/// The Job that a decision creates.
pub(super) fn created(decision: &Decision) -> Job {
    let job = decision.write.as_ref().and_then(Write::created_job);
    job.unwrap_or_else(|| panic!("no job is asked for: {decision:?}"))
        .clone()
}

/// The Job that a decision deletes.
pub(super) fn deleted(decision: &Decision) -> Target {
    match decision.write.as_ref() {
        Some(Write::Delete(target)) if target.kind == Kind::Job => target.clone(),
        other => panic!("no job is deleted but {other:?}, next {:?}", decision.next),
    }
}

/// The Events that a decision tells.
pub(super) fn events(decision: &Decision) -> Vec<&Event> {
    let events = decision.notices.iter().filter_map(|notice| match notice {
        Notice::Event(event) => Some(event),
        Notice::Bus(_) => None,
    });
    events.collect()
}

/// What a decision tells over the bus.
pub(super) fn verbs(decision: &Decision) -> Vec<&'static str> {
    let verbs = decision.notices.iter().filter_map(|notice| match notice {
        Notice::Bus(event) => Some(event.kind.verb()),
        Notice::Event(_) => None,
    });
    verbs.collect()
}

/// Asserts that a decision ends the Backup as Failed and gives its reason and text.
pub(super) fn failed(decision: &Decision) -> (String, String) {
    let status = written(decision);
    assert_eq!(status.phase, Some(BackupPhase::Failed), "{status:?}");
    let condition = |kind: &str| status.conditions.iter().find(|condition| condition.type_ == kind);
    let ready = condition("Ready").expect("the condition Ready");
    let stalled = condition("Stalled").expect("the condition Stalled");
    assert_eq!((ready.status.as_str(), stalled.status.as_str()), ("False", "True"));
    let events = events(decision);
    assert_eq!(events.len(), 1, "one event tells of a failure");
    assert!(events[0].warning);
    assert_eq!(events[0].reason.as_str(), ready.reason);
    assert_eq!(verbs(decision), ["failed"]);
    (ready.reason.clone(), status.failure_reason.unwrap_or_default())
}

/// The reason that the condition Reconciling gives.
pub(super) fn told(decision: &Decision) -> (String, String) {
    let status = written(decision);
    let condition = status
        .conditions
        .into_iter()
        .find(|condition| condition.type_ == "Reconciling");
    let condition = condition.expect("the condition Reconciling");
    assert_eq!(condition.status, "True");
    (condition.reason, condition.message)
}

/// Asserts that a decision asks for a read and nothing else.
pub(super) fn asks(decision: &Decision, read: Read) {
    assert_eq!((decision.write.as_ref(), decision.next), (None, Next::Read(read)));
}

/// Asserts that a decision neither writes nor reads.
pub(super) fn waits(decision: &Decision) {
    assert!(
        decision.write.is_none() && !matches!(decision.next, Next::Read(_) | Next::Again),
        "{decision:?}"
    );
}
