//! Manifests with every field of the API reference come back from our types as they went in.

use std::fmt::Debug;

use holdfast_api::{
    Backup, BackupPolicy, BackupRepo, BackupTool, BackupType, CommonBackupPolicy, CreatePvcPolicy, DeployKind,
    PodRestoreScope, RestoreJob, StorageProvider,
};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{fields, flat};

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

/// Every path of a value, in the form of [`flat`]: `a.b`, `a.list[]`, `a.list[].b`.
fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                found.push(path.clone());
                paths(field, &path, found);
            }
        }
        Value::Array(items) => {
            let path = format!("{path}[]");
            found.push(path.clone());
            for item in items {
                paths(item, &path, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The paths of expected fields, and those below which anything may stand.
fn declared(expected: &str) -> (Vec<String>, Vec<String>) {
    let (mut all, mut free) = (Vec::new(), Vec::new());
    for line in flat::expand(expected) {
        let (path, rest) = line.split_once(' ').expect("a path and a type");
        let path = path.trim_end_matches('!').to_owned();
        match path.split_once("{}") {
            Some((map, _)) => free.push(map.to_owned()),
            None if rest.contains("preserve-unknown-fields") => {
                free.push(path.clone());
                all.push(path);
            }
            None => all.push(path),
        }
    }
    // What has members of its own may hold others besides, but this manifest is to have exactly those.
    free.retain(|path| !all.iter().any(|other| other.starts_with(&format!("{path}."))));
    (all, free)
}

/// Reads and writes the manifest; it must come back as it was, and hold exactly the fields that are expected.
fn assert_kept<K: DeserializeOwned + Serialize>(manifest: &Value, expected: &str) {
    let read: K = serde_json::from_value(manifest.clone()).expect("a manifest that can be read");
    pretty_eq(&serde_json::to_value(&read).unwrap(), manifest);

    let mut found = Vec::new();
    paths(manifest, "", &mut found);
    let found: Vec<String> = found
        .into_iter()
        .filter(|path| path.starts_with("spec") || path.starts_with("status"))
        .collect();
    let (all, free) = declared(expected);
    for path in &all {
        assert!(found.contains(path), "the manifest has no {path}");
    }
    for path in &found {
        let loose = |free: &String| {
            path.strip_prefix(free.as_str())
                .is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        assert!(all.contains(path) || free.iter().any(loose), "the API has no {path}");
    }
}

pub(crate) fn pretty_eq(one: &Value, other: &Value) {
    let pretty = |value: &Value| serde_json::to_string_pretty(&sorted(value)).unwrap();
    assert_eq!(pretty(one), pretty(other));
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<_> = fields.iter().collect();
            names.sort_by_key(|(name, _)| name.as_str());
            names
                .into_iter()
                .map(|(name, field)| (name.clone(), sorted(field)))
                .collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// The fields of the reference, without Holdfast's own.
fn of_reference(expected: &str) -> &str {
    expected.trim_start().split("\n\n").next().unwrap_or_default()
}

#[test]
fn a_backup_comes_back_as_it_went() {
    let manifest = yaml(include_str!("manifests/backup.yaml"));
    assert_kept::<Backup>(&manifest, of_reference(fields::BACKUP));
}

#[test]
fn a_policy_comes_back_as_it_went() {
    let manifest = yaml(include_str!("manifests/backup-policy.yaml"));
    assert_kept::<BackupPolicy>(&manifest, of_reference(fields::POLICY));
}

#[test]
fn a_repository_comes_back_as_it_went() {
    let manifest = yaml(include_str!("manifests/backup-repo.yaml"));
    assert_kept::<BackupRepo>(&manifest, of_reference(fields::REPO));
}

#[test]
fn a_tool_comes_back_as_it_went() {
    let manifest = yaml(include_str!("manifests/backup-tool.yaml"));
    assert_kept::<BackupTool>(&manifest, of_reference(fields::TOOL));
}

#[test]
fn a_restore_comes_back_as_it_went() {
    let manifest = yaml(include_str!("manifests/restore-job.yaml"));
    assert_kept::<RestoreJob>(&manifest, of_reference(fields::RESTORE));
}

#[test]
fn a_provider_comes_back_as_it_went() {
    let manifest = yaml(include_str!("manifests/storage-provider.yaml"));
    assert_kept::<StorageProvider>(&manifest, of_reference(fields::PROVIDER));
}

/// Adds one object's fields to another's.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, field) in from {
                merge(into.entry(name.clone()).or_insert(Value::Null), field);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

#[test]
fn what_is_ours_comes_back_too() {
    let ours = yaml(include_str!("manifests/ours.yaml"));
    let with = |text: &str, kind: &str| {
        let mut manifest = yaml(text);
        merge(&mut manifest, &ours[kind]);
        manifest
    };
    assert_kept::<Backup>(&with(include_str!("manifests/backup.yaml"), "Backup"), fields::BACKUP);
    assert_kept::<BackupPolicy>(
        &with(include_str!("manifests/backup-policy.yaml"), "BackupPolicy"),
        fields::POLICY,
    );
    assert_kept::<BackupRepo>(
        &with(include_str!("manifests/backup-repo.yaml"), "BackupRepo"),
        fields::REPO,
    );
    assert_kept::<RestoreJob>(
        &with(include_str!("manifests/restore-job.yaml"), "RestoreJob"),
        fields::RESTORE,
    );
}

#[test]
fn what_is_left_out_has_its_default() {
    let backup: Backup = read(json!({"spec": {"backupPolicyName": "p"}}));
    assert_eq!(backup.spec.backup_type, BackupType::Datafile);
    assert_eq!((backup.spec.cancel, backup.status), (None, None));

    let section: CommonBackupPolicy = read(json!({
        "target": {"labelsSelector": {}, "secret": {"name": "s"}}, "persistentVolumeClaim": {}
    }));
    let secret = section.base.target.secret.unwrap();
    assert_eq!(
        (secret.username_key.as_str(), secret.password_key.as_str()),
        ("username", "password")
    );
    assert_eq!(section.base.backups_history_limit, Some(7));
    assert_eq!(
        section.persistent_volume_claim.unwrap().create_policy,
        CreatePvcPolicy::IfNotPresent
    );

    let tool: BackupTool = read(json!({"spec": {"image": "", "backupCommands": [], "logical": {}}}));
    assert_eq!(
        (tool.spec.deploy_kind, tool.spec.type_.as_str()),
        (DeployKind::Job, "file")
    );
    assert_eq!(tool.spec.logical.unwrap().pod_scope, PodRestoreScope::All);

    let provider: StorageProvider = read(json!({"spec": {}}));
    assert_eq!(provider.spec.parameters_schema, None);
}

/// The API server stores these numbers as they come: two fields are int-or-string, the others free-form. An object with
/// one that cannot be read would be missing from its watch.
#[test]
fn quantities_may_be_numbers_in_every_kind_that_has_some() {
    let repo: BackupRepo = read(json!({"spec": {
        "storageProviderRef": "s", "pvReclaimPolicy": "Retain", "volumeCapacity": 20
    }}));
    assert_eq!(repo.spec.volume_capacity.unwrap().0, "20");
    let claim = json!({"target": {"labelsSelector": {}}, "persistentVolumeClaim": {"initCapacity": 1e9}});
    let policy: BackupPolicy = read(json!({"spec": {"datafile": claim, "logfile": claim}}));
    for section in [policy.spec.datafile, policy.spec.logfile] {
        let claim = section.unwrap().persistent_volume_claim.unwrap();
        assert_eq!(claim.init_capacity.unwrap().0, "1000000000");
    }
    let resources = json!({"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": 0.5}});
    let divisor = json!({"resource": "limits.cpu", "divisor": 1});
    let tool: BackupTool = read(json!({"spec": {
        "image": "", "backupCommands": [], "resources": resources,
        "env": [{"name": "CPUS", "valueFrom": {"resourceFieldRef": divisor}}]
    }}));
    let written = serde_json::to_value(&tool.spec).unwrap();
    assert_eq!(
        written["resources"],
        json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "0.5"}})
    );
    assert_eq!(written["env"][0]["valueFrom"]["resourceFieldRef"]["divisor"], "1");
    let job: RestoreJob = read(json!({"spec": {
        "backupJobName": "b", "target": {"labelsSelector": {}}, "targetVolumeMounts": [],
        "targetVolumes": [{"name": "a", "emptyDir": {"sizeLimit": 1024}}]
    }}));
    let written = serde_json::to_value(&job.spec).unwrap();
    assert_eq!(written["targetVolumes"][0]["emptyDir"]["sizeLimit"], "1024");
}

proptest! {
    #[test]
    fn every_number_is_read_as_a_quantity_of_that_value(whole in any::<i64>(), fraction in -1e15..1e15_f64) {
        let capacity = |value: Value| {
            let section: CommonBackupPolicy = read(json!({
                "target": {"labelsSelector": {}}, "persistentVolumeClaim": {"initCapacity": value}
            }));
            section.persistent_volume_claim.unwrap().init_capacity.unwrap().0
        };
        prop_assert_eq!(capacity(json!(whole)), whole.to_string());
        prop_assert_eq!(capacity(json!(whole.to_string())), whole.to_string());
        prop_assert_eq!(capacity(json!(fraction)).parse::<f64>(), Ok(fraction));
    }
}

#[test]
fn an_unlimited_history_is_not_the_default() {
    let section: CommonBackupPolicy = read(json!({"target": {"labelsSelector": {}}, "backupsHistoryLimit": 0}));
    assert_eq!(section.base.backups_history_limit, Some(0));
    assert_eq!(serde_json::to_value(section).unwrap()["backupsHistoryLimit"], 0);
}

fn read<T: DeserializeOwned>(mut manifest: Value) -> T {
    if manifest.get("spec").is_some() {
        manifest["metadata"] = json!({"name": "n"});
    }
    serde_json::from_value(manifest).expect("a manifest that can be read")
}

/// What a user may leave out of a manifest must be known: the rest is told by the API server, not by us.
#[test]
fn what_the_definitions_refuse_cannot_be_read_either() {
    fn refused<K: DeserializeOwned + Debug>(spec: &Value) {
        let manifest = json!({"metadata": {"name": "n"}, "spec": spec});
        assert!(serde_json::from_value::<K>(manifest.clone()).is_err(), "{manifest}");
    }
    refused::<Backup>(&json!({}));
    refused::<Backup>(&json!({"backupPolicyName": "p", "backupType": "full"}));
    refused::<BackupPolicy>(&json!({"datafile": {}}));
    refused::<BackupPolicy>(&json!({"schedule": {"datafile": {"enable": true}}}));
    refused::<BackupPolicy>(
        &json!({"logfile": {"target": {"labelsSelector": {}}, "backupStatusUpdates": [{"path": "a"}]}}),
    );
    refused::<BackupRepo>(&json!({"storageProviderRef": "s"}));
    refused::<BackupRepo>(&json!({"storageProviderRef": "s", "pvReclaimPolicy": "Recycle"}));
    refused::<BackupTool>(&json!({"image": ""}));
    refused::<BackupTool>(&json!({"image": "", "backupCommands": [], "deployKind": "Job"}));
    refused::<RestoreJob>(&json!({"backupJobName": "b", "target": {"labelsSelector": {}}, "targetVolumes": []}));
}
