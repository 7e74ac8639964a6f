//! Objects as users write them.

use holdfast_api::{Backup, BackupPolicy, BackupRepo, BackupTool, RestoreJob, StorageProvider};
use k8s_openapi::{
    api::{apps::v1::StatefulSet, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Label value that selects the sample database.
pub const INSTANCE: &str = "shop";

/// A Backup of the data files by this policy.
pub fn backup(namespace: &str, name: &str, policy: &str) -> Backup {
    object(json!({
        "apiVersion": "dataprotection.kubeblocks.io/v1alpha1",
        "kind": "Backup",
        "metadata": { "namespace": namespace, "name": name },
        "spec": { "backupPolicyName": policy, "backupType": "datafile" },
    }))
}

/// A policy for the data files of the sample database: this tool, this repository, no schedule.
pub fn policy(namespace: &str, name: &str, tool: &str, repo: &str) -> BackupPolicy {
    object(json!({
        "apiVersion": "dataprotection.kubeblocks.io/v1alpha1",
        "kind": "BackupPolicy",
        "metadata": { "namespace": namespace, "name": name },
        "spec": {
            "retention": { "ttl": "7d" },
            "datafile": {
                "target": { "labelsSelector": { "matchLabels": { "app.kubernetes.io/instance": INSTANCE } } },
                "backupRepoName": repo,
                "backupToolName": tool,
                "backupsHistoryLimit": 3,
            },
        },
    }))
}

/// A tool that copies a directory with `cp`.
pub fn tool(name: &str) -> BackupTool {
    object(json!({
        "apiVersion": "dataprotection.kubeblocks.io/v1alpha1",
        "kind": "BackupTool",
        "metadata": { "name": name },
        "spec": {
            "image": "localhost/tool:test",
            "deployKind": "job",
            "type": "file",
            "backupCommands": ["sh", "-c", "cp -a /data/. \"$BACKUP_DIR\"/"],
            "physical": { "restoreCommands": ["sh", "-c", "cp -a \"$BACKUP_DIR\"/. /data/"] },
        },
    }))
}

/// A repository by this provider.
pub fn repo(name: &str, provider: &str) -> BackupRepo {
    object(json!({
        "apiVersion": "dataprotection.kubeblocks.io/v1alpha1",
        "kind": "BackupRepo",
        "metadata": { "name": name },
        "spec": { "storageProviderRef": provider, "volumeCapacity": "10Gi", "pvReclaimPolicy": "Delete" },
    }))
}

/// A provider whose StorageClass belongs to this CSI driver.
pub fn provider(name: &str, driver: &str) -> StorageProvider {
    object(json!({
        "apiVersion": "storage.kubeblocks.io/v1alpha1",
        "kind": "StorageProvider",
        "metadata": { "name": name },
        "spec": {
            "csiDriverName": driver,
            "storageClassTemplate": format!("provisioner: {driver}\nvolumeBindingMode: WaitForFirstConsumer\n"),
        },
    }))
}

/// A RestoreJob of this Backup onto the claim of the sample database.
pub fn restore_job(namespace: &str, name: &str, backup: &str, claim: &str) -> RestoreJob {
    object(json!({
        "apiVersion": "dataprotection.kubeblocks.io/v1alpha1",
        "kind": "RestoreJob",
        "metadata": { "namespace": namespace, "name": name },
        "spec": {
            "backupJobName": backup,
            "target": { "labelsSelector": { "matchLabels": { "app.kubernetes.io/instance": INSTANCE } } },
            "targetVolumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": claim } }],
            "targetVolumeMounts": [{ "name": "data", "mountPath": "/data" }],
        },
    }))
}

/// A pod of the sample database with its data on this claim.
pub fn pod(namespace: &str, name: &str, claim: &str) -> Pod {
    object(json!({
        "metadata": {
            "namespace": namespace, "name": name, "labels": { "app.kubernetes.io/instance": INSTANCE },
        },
        "spec": template(Some(claim)),
    }))
}

/// The StatefulSet of the sample database.
pub fn stateful_set(namespace: &str, name: &str, replicas: i32) -> StatefulSet {
    let labels = json!({ "app.kubernetes.io/instance": INSTANCE });
    object(json!({
        "metadata": { "namespace": namespace, "name": name, "labels": labels },
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": template(None) },
            "volumeClaimTemplates": [{
                "metadata": { "name": "data" },
                "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
            }],
        },
    }))
}

fn template(claim: Option<&str>) -> Value {
    let volumes = claim.map(|claim| json!([{ "name": "data", "persistentVolumeClaim": { "claimName": claim } }]));
    json!({
        "containers": [{
            "name": "database",
            "image": "localhost/database:test",
            "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
        }],
        "volumes": volumes,
    })
}

/// Adds what the API server adds, for tests without one.
pub fn stored<K: kube::Resource>(mut object: K, uid: &str) -> K {
    let meta: &mut ObjectMeta = object.meta_mut();
    meta.uid = Some(uid.to_owned());
    meta.resource_version = Some("1".to_owned());
    meta.generation = Some(1);
    object
}

/// The object that this JSON describes; a mistake in it is a mistake in the test.
#[allow(
    clippy::expect_used,
    reason = "a sample that cannot be read is a mistake in the test"
)]
pub fn object<K: DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).expect("a readable sample")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_can_be_read() {
        assert_eq!(backup("ns", "b", "p").spec.backup_policy_name, "p");
        assert!(policy("ns", "p", "t", "r").spec.datafile.is_some());
        assert!(tool("t").spec.physical.is_some());
        assert_eq!(repo("r", "local").spec.storage_provider_ref, "local");
        assert_eq!(
            provider("local", "csi.holdfast.io").spec.csi_driver_name.as_deref(),
            Some("csi.holdfast.io")
        );
        assert_eq!(restore_job("ns", "r", "b", "c").spec.target_volumes.len(), 1);
        assert_eq!(pod("ns", "p", "c").spec.unwrap().volumes.unwrap().len(), 1);
        assert_eq!(
            stored(stateful_set("ns", "s", 2), "u").metadata.uid.as_deref(),
            Some("u")
        );
    }
}
