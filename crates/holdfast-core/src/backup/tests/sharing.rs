//! Which of the target pod's volumes a tool's pod shares.

use holdfast_api::{Access, Location};
use k8s_openapi::api::core::v1::Pod;

use super::world::yaml;
use crate::backup::volumes::{claims_of, shared};

const POD: &str = "
metadata: {name: c-0, namespace: ns, uid: u, labels: {shard: s7}}
spec:
  nodeName: n
  containers:
  - name: db
    env:
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: SHARD, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['shard']\"}}}
    - {name: SECRET, valueFrom: {secretKeyRef: {name: s, key: k}}}
    volumeMounts:
    - {name: data, mountPath: /data, subPathExpr: $(POD)/$(SHARD)$$, mountPropagation: Bidirectional}
    - {name: api, mountPath: /var/run/secrets/kubernetes.io/serviceaccount}
    - {name: cloud, mountPath: /cloud}
    - {name: scratch, mountPath: /scratch}
    - {name: config, mountPath: /backupdata/config}
    - {name: config, mountPath: /holdfast/}
    - {name: config, mountPath: /holdfast-config}
  - name: sidecar
    volumeMounts: [{name: data, mountPath: /elsewhere}]
  volumes:
  - {name: data, persistentVolumeClaim: {claimName: data-c-0}}
  - name: api
    projected: {sources: [{serviceAccountToken: {path: token}}, {configMap: {name: kube-root-ca.crt}}]}
  - name: cloud
    projected: {sources: [{serviceAccountToken: {path: token, audience: sts.amazonaws.com}}]}
  - name: api-by-name
    projected: {sources: [{serviceAccountToken: {path: token, audience: 'https://kubernetes.default.svc'}}]}
  - {name: scratch, ephemeral: {volumeClaimTemplate: {spec: {}}}}
  - {name: config, configMap: {name: c}}
  - {name: holdfast-bin, emptyDir: {}}
  - {name: holdfast-assignment, emptyDir: {}}
  - {name: holdfast-env-0, emptyDir: {}}
  - {name: backup-pvc-r, emptyDir: {}}
";

/// The repository, whose volume is `backup-pvc-r` in pods.
fn location() -> Location {
    Location {
        access: Access::mount("pvc-r"),
        ..Location::default()
    }
}

#[test]
fn tokens_ephemeral_volumes_and_clashes_are_left_out() {
    let pod: Pod = yaml(POD);
    let shared = shared(&pod, &location(), "b1").expect("shared");
    let volumes: Vec<&str> = shared.volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(volumes, ["data", "cloud", "config"]);
    let mounts: Vec<&str> = shared.mounts.iter().map(|mount| mount.mount_path.as_str()).collect();
    assert_eq!(mounts, ["/data", "/cloud", "/holdfast-config"]);
    assert_eq!(claims_of(&pod), ["data-c-0"]);
}

#[test]
fn what_volumes_tell_of_the_databases_container_is_told_of_the_tools() {
    let pod: Pod = yaml(
        "
metadata: {name: c-0, namespace: ns}
spec:
  containers: [{name: db}]
  volumes:
  - name: info
    downwardAPI: {items: [{path: memory, resourceFieldRef: {containerName: db, resource: limits.memory}}]}
  - name: all
    projected: {sources: [{downwardAPI: {items: [
      {path: cpu, resourceFieldRef: {containerName: db, resource: limits.cpu}},
      {path: labels, fieldRef: {fieldPath: metadata.labels}}]}}]}
",
    );
    let volumes = shared(&pod, &location(), "b1").expect("shared").volumes;
    let text = serde_json::to_string(&volumes).expect("JSON");
    assert_eq!(text.matches("\"containerName\":\"b1\"").count(), 2, "{text}");
    assert!(!text.contains("\"db\"") && text.contains("metadata.labels"), "{text}");
}

#[test]
fn paths_by_environment_are_worked_out_or_refused() {
    let mut pod: Pod = yaml(POD);
    let first = shared(&pod, &location(), "b1").expect("shared").mounts.swap_remove(0);
    assert_eq!(
        (first.sub_path.as_deref(), first.sub_path_expr),
        (Some("c-0/s7$"), None)
    );
    assert_eq!(first.mount_propagation, None);
    for expression in ["$(SECRET)", "$(UNKNOWN)", "$(POD"] {
        let container = &mut pod.spec.as_mut().expect("a spec").containers[0];
        container.volume_mounts.as_mut().expect("mounts")[0].sub_path_expr = Some(expression.to_owned());
        let error = shared(&pod, &location(), "b1").expect_err("refused");
        assert!(error.contains(expression), "{error}");
    }
}
