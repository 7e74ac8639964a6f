//! The rendered Job, whole, and Backups as they were once stored.

use std::sync::Arc;

use holdfast_api::{Backup, BackupStatus, assignment::Assignment};
use serde_json::Value;

use super::world::{at, change, created, failed, planned, yaml};
use crate::backup::{Observed, Seen, Write, decide};

const JOB: &str = "
apiVersion: batch/v1
kind: Job
metadata:
  name: b1
  namespace: ns
  annotations:
    holdfast.io/full-name: b1
    holdfast.io/traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
  labels:
    app.kubernetes.io/instance: c
    app.kubernetes.io/managed-by: holdfast
    dataprotection.kubeblocks.io/backup-name: b1
    dataprotection.kubeblocks.io/backup-repo-name: r
    dataprotection.kubeblocks.io/backup-type: datafile
    dataprotection.kubeblocks.io/cluster-uid: cluster-uid
    holdfast.io/backup-uid: 3f2a9c1e-0000-4000-8000-000000000001
    holdfast.io/role: backup
  ownerReferences:
  - apiVersion: dataprotection.kubeblocks.io/v1alpha1
    kind: Backup
    name: b1
    uid: 3f2a9c1e-0000-4000-8000-000000000001
    controller: true
spec:
  activeDeadlineSeconds: 21600
  backoffLimit: 3
  ttlSecondsAfterFinished: 86400
  podFailurePolicy:
    rules:
    - action: FailJob
      onExitCodes:
        containerName: b1
        operator: In
        values: [80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99]
    - action: Ignore
      onPodConditions: [{type: DisruptionTarget, status: 'True'}]
  template:
    metadata:
      annotations:
        holdfast.io/assignment: ASSIGNMENT
        holdfast.io/full-name: b1
        holdfast.io/traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
        sidecar.istio.io/inject: 'false'
        linkerd.io/inject: disabled
        kuma.io/sidecar-injection: disabled
        consul.hashicorp.com/connect-inject: 'false'
      labels: {holdfast.io/backup-uid: 3f2a9c1e-0000-4000-8000-000000000001, holdfast.io/role: backup}
    spec:
      restartPolicy: Never
      automountServiceAccountToken: false
      enableServiceLinks: false
      imagePullSecrets: [{name: pull}]
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [node-a]}]}]
      volumes:
      - {name: data, persistentVolumeClaim: {claimName: data-c-mysql-0}}
      - {name: backup-pvc-r, persistentVolumeClaim: {claimName: pvc-r}}
      - {name: holdfast-bin, emptyDir: {}}
      - name: holdfast-assignment
        downwardAPI:
          items:
          - path: assignment.json
            fieldRef: {apiVersion: v1, fieldPath: \"metadata.annotations['holdfast.io/assignment']\"}
      initContainers:
      - name: prepare
        image: agent:1
        imagePullPolicy: IfNotPresent
        args: [install, /holdfast/agent]
        resources: {limits: {cpu: '0', memory: '0'}}
        terminationMessagePolicy: FallbackToLogsOnError
        securityContext:
          allowPrivilegeEscalation: false
          capabilities: {drop: [ALL]}
          readOnlyRootFilesystem: true
          runAsNonRoot: true
          runAsUser: 65532
          seccompProfile: {type: RuntimeDefault}
        volumeMounts: [{name: holdfast-bin, mountPath: /holdfast}]
      containers:
      - name: b1
        image: registry.example/tool:1
        imagePullPolicy: IfNotPresent
        command: [/holdfast/agent, run]
        resources: {limits: {cpu: '0', memory: '0'}}
        terminationMessagePolicy: FallbackToLogsOnError
        securityContext:
          allowPrivilegeEscalation: false
          capabilities:
            add: [AUDIT_WRITE, CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, MKNOD, NET_BIND_SERVICE, SETFCAP, SETGID,
              SETPCAP, SETUID, SYS_CHROOT]
            drop: [ALL]
          runAsUser: 0
          seccompProfile: {type: RuntimeDefault}
        volumeMounts:
        - {name: data, mountPath: /var/lib/mysql}
        - {name: backup-pvc-r, mountPath: /backupdata}
        - {name: holdfast-bin, mountPath: /holdfast}
        - {name: holdfast-assignment, mountPath: /holdfast/assignment, readOnly: true}
        env:
        - {name: DP_TARGET_POD_NAME, value: c-mysql-0}
        - {name: DB_HOST, value: c-mysql-0.c-mysql-headless}
        - {name: BACKUP_NAME, value: b1}
        - {name: BACKUP_DIR, value: /backupdata/ns/c-uid/mysql/b1}
        - {name: DB_USER, valueFrom: {secretKeyRef: {name: c-conn-credential, key: username}}}
        - {name: DB_PASSWORD, valueFrom: {secretKeyRef: {name: c-conn-credential, key: password}}}
        - {name: TTL, value: 7d}
        - {name: LOGFILE_TTL, value: 192h}
        - {name: LOGFILE_TTL_SECOND, value: '691200'}
        - {name: DATA_DIR, value: /var/lib/mysql}
        - {name: HOLDFAST_BACKUP_UID, value: 3f2a9c1e-0000-4000-8000-000000000001}
        - {name: HOLDFAST_BACKUP_NAME, value: b1}
        - {name: HOLDFAST_RUN, value: '1'}
        - {name: HOLDFAST_POD_UID, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.uid}}}
        - {name: HOLDFAST_REPOSITORY_ROOT, value: /backupdata}
        - {name: HOLDFAST_PATH, value: /ns/c-uid/mysql/b1}
        - {name: HOLDFAST_REPOSITORY_ID, value: ''}
        - {name: TRACEPARENT, value: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01}
        - {name: HOLDFAST_ALLOW_EMPTY, value: 'false'}
";

/// Sorted, so that a difference shows where it is.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn rendered() -> Value {
    serde_json::to_value(created(&decide(&planned(), at(1)))).expect("a job")
}

#[test]
fn the_job_is_the_originals_with_the_agent_in_it() {
    let mut job = rendered();
    let text = job
        .pointer_mut("/spec/template/metadata/annotations/holdfast.io~1assignment")
        .expect("an assignment");
    let json = text.as_str().expect("text");
    assert!(
        !json.contains("/var/lib/mysql"),
        "a literal value of the tool's environment: {json}"
    );
    let assignment: Assignment = serde_json::from_str(json).expect("JSON");
    *text = "ASSIGNMENT".into();
    assert_eq!(assignment.command(), ["sh", "-c", "backup --to $(BACKUP_DIR)"]);
    assert_eq!(assignment.secrets.variables, ["DB_PASSWORD"]);
    let recorded = assignment.record;
    assert_eq!(recorded["backup"]["spec"]["backupPolicyName"], "p1");
    assert_eq!(recorded["policy"]["backupToolName"], "tool");
    assert_eq!(recorded["tool"]["spec"]["image"], "registry.example/tool:1");
    let expected = serde_json::to_string_pretty(&sorted(yaml(JOB))).expect("JSON");
    let found = serde_json::to_string_pretty(&sorted(job)).expect("JSON");
    for (expected, found) in expected.lines().zip(found.lines()) {
        assert_eq!(expected, found);
    }
    assert_eq!(expected.len(), found.len());
}

#[test]
fn a_job_with_the_longest_name_is_within_all_limits() {
    let mut observed = crate::backup::tests::world::ready();
    change(&mut observed, |backup| {
        backup.metadata.name = Some("b".repeat(253));
    });
    let crate::backup::Decision {
        write: Some(Write::Status(status)),
        ..
    } = decide(&observed, at(1))
    else {
        panic!("no plan")
    };
    super::world::take(&mut observed, *status, at(1));
    let job = created(&decide(&observed, at(1)));
    assert_eq!(
        job.metadata.name.as_deref(),
        Some(format!("{}-3f2a9c1e", "b".repeat(43)).as_str())
    );
    let annotations = job.metadata.annotations.expect("annotations");
    assert_eq!(annotations["holdfast.io/full-name"].len(), 253);
    assert!(
        job.metadata
            .labels
            .expect("labels")
            .values()
            .all(|value| value.len() <= 63)
    );
    let pod = job.spec.and_then(|spec| spec.template.spec).expect("a pod");
    assert!(pod.containers.iter().all(|container| container.name.len() <= 63));
}

/// A Backup in progress, as it was stored by the version that brought this form. It is never changed: where the form grows,
/// another one is put beside it.
const IN_PROGRESS: &str = "
apiVersion: dataprotection.kubeblocks.io/v1alpha1
kind: Backup
metadata:
  name: b1
  namespace: ns
  uid: 3f2a9c1e-0000-4000-8000-000000000001
  generation: 1
  resourceVersion: '11'
  creationTimestamp: 2025-01-01T00:00:00Z
  finalizers: [dataprotection.kubeblocks.io/finalizer]
  labels:
    app.kubernetes.io/instance: c
    app.kubernetes.io/managed-by: kubeblocks
    dataprotection.kubeblocks.io/backup-policy: p1
    dataprotection.kubeblocks.io/backup-repo-name: r
    dataprotection.kubeblocks.io/backup-type: datafile
    dataprotection.kubeblocks.io/cluster-uid: cluster-uid
  annotations:
    dataprotection.kubeblocks.io/target-pod-name: c-mysql-0
    holdfast.io/admitted: 2025-01-01T00:00:00Z
    holdfast.io/traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
spec: {backupPolicyName: p1, backupType: datafile}
status:
  phase: InProgress
  startTimestamp: 2025-01-01T00:00:01Z
  persistentVolumeClaimName: pvc-r
  backupToolName: tool
  sourceCluster: c
  manifests: {backupTool: {filePath: /ns/c-uid/mysql/b1, volumeName: pv-r}}
  observedGeneration: 1
  conditions:
  - {type: Ready, status: 'False', reason: InProgress, message: backing up pod c-mysql-0 with backupTool tool,
     lastTransitionTime: 2025-01-01T00:00:01Z, observedGeneration: 1}
  plan:
    run: 1
    policyUid: policy-uid
    deadline: 2025-01-01T06:00:01Z
    ttl: 7d
    source: {podName: c-mysql-0, podUid: pod-uid, nodeName: node-a, host: c-mysql-0.c-mysql-headless}
    location:
      repository: {name: r, uid: repo-uid}
      access: {mount: {claim: pvc-r}}
      path: /ns/c-uid/mysql/b1
      sealUid: 3f2a9c1e-0000-4000-8000-000000000001
    work:
      job:
        jobName: b1
        policy:
          target:
            labelsSelector: {matchLabels: {app.kubernetes.io/instance: c}}
            secret: {name: c-conn-credential, usernameKey: username, passwordKey: password}
          backupsHistoryLimit: 7
          backupToolName: tool
        tool:
          name: tool
          image: registry.example/tool:1
          spec:
            image: registry.example/tool:1
            deployKind: job
            type: file
            env: [{name: DATA_DIR}]
            backupCommands: [sh, -c, backup --to $(BACKUP_DIR)]
          envDigests: {DATA_DIR: 'sha256:3c77f64b92036c07bfe8ee1d3906039aa36029aed065831c2aa1bdc4878bf454'}
        backoffLimit: 3
        failedAttempts: 0
        allowEmpty: false
        secret: {name: c-conn-credential, usernameKey: username, passwordKey: password}
        imagePullSecrets: [{name: pull}]
";

/// The same, once it was told to stop.
const STOP: &str = "{reason: PodPending, text: pod `b1-x` did not start, since: 2025-01-01T00:10:02Z}";

/// The plan of one that is completed, and was made anew over bytes that another Backup wrote.
const COMPLETED: &str = "
run: 1
source: {podName: c-mysql-0}
location:
  repository: {name: r, uid: repo-uid}
  access: {mount: {claim: pvc-r}}
  path: /ns/c-uid/mysql/b1
  sealUid: 9d1e7c55-0000-4000-8000-000000000002
  identity: repository-1
work: {job: {jobName: b1, tool: {name: tool}}}
";

/// The surroundings of a Backup as it was once stored.
fn stored() -> Observed {
    let mut observed = planned();
    observed.backup = Arc::new(yaml(IN_PROGRESS));
    observed
}

#[test]
fn what_was_stored_once_is_read_for_ever() {
    let observed = stored();
    let kept = serde_json::to_value(&*observed.backup).expect("JSON");
    assert_eq!(sorted(kept), sorted(yaml(IN_PROGRESS)), "nothing is lost or added");
    assert_eq!(created(&decide(&observed, at(1))), created(&decide(&planned(), at(1))));
}

#[test]
fn a_stop_that_was_stored_once_is_gone_on_with() {
    let mut observed = stored();
    change(&mut observed, |backup| {
        let plan = backup.status.as_mut().and_then(|status| status.plan.as_mut());
        plan.expect("a plan").stop = Some(yaml(STOP));
    });
    observed.job = Seen::live(None);
    observed.pods.live = true;
    let ended = failed(&decide(&observed, at(700)));
    assert_eq!(ended, ("PodPending".to_owned(), "pod `b1-x` did not start".to_owned()));
}

#[test]
fn where_bytes_lie_is_read_from_every_form_that_was_stored() {
    let mut backup: Backup = yaml(IN_PROGRESS);
    let status = backup.status.as_mut().expect("a status");
    let location = |status: &BackupStatus| status.location("3f2a9c1e").expect("a location");
    status.plan = Some(yaml(COMPLETED));
    let found = location(status);
    assert_eq!(found.seal_uid, "9d1e7c55-0000-4000-8000-000000000002");
    assert_eq!(found.identity.as_deref(), Some("repository-1"));
    // One that has no plan is known by the members of the original.
    status.plan = None;
    let found = location(status);
    assert_eq!(
        (found.path.as_str(), found.access.claim()),
        ("/ns/c-uid/mysql/b1", Ok("pvc-r"))
    );
    assert_eq!(found.seal_uid, "3f2a9c1e");
    // A plan of which nothing is known lies nowhere, and is no error either.
    status.plan = Some(yaml("{}"));
    assert_eq!(location(status), found);
}
