//! The definitions that are given to the API server, against what the API reference says, field by field.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{fields, flat};

pub(crate) fn definitions() -> BTreeMap<String, Value> {
    holdfast_api::crds::all().expect("definitions").into_iter().collect()
}

/// Group, version, scope and names of one kind.
struct Expected {
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
    group: &'static str,
    scope: &'static str,
    short: &'static [&'static str],
    /// Name, type and path, joined by blanks.
    columns: &'static [&'static str],
}

const DATA: &str = "dataprotection.kubeblocks.io";

const EXPECTED: &[Expected] = &[
    Expected {
        plural: "backuppolicies",
        singular: "backuppolicy",
        kind: "BackupPolicy",
        group: DATA,
        scope: "Namespaced",
        short: &["bp"],
        columns: &[
            "STATUS string .status.phase",
            "LAST SCHEDULE string .status.lastScheduleTime",
            "AGE date .metadata.creationTimestamp",
        ],
    },
    Expected {
        plural: "backuprepos",
        singular: "backuprepo",
        kind: "BackupRepo",
        group: DATA,
        scope: "Cluster",
        short: &[],
        columns: &[
            "STATUS string .status.phase",
            "STORAGEPROVIDER string .spec.storageProviderRef",
            "DEFAULT boolean .status.isDefault",
            "AGE date .metadata.creationTimestamp",
        ],
    },
    Expected {
        plural: "backups",
        singular: "backup",
        kind: "Backup",
        group: DATA,
        scope: "Namespaced",
        short: &[],
        columns: &[
            "TYPE string .spec.backupType",
            "STATUS string .status.phase",
            "SOURCE-CLUSTER string .status.sourceCluster",
            "TOTAL-SIZE string .status.totalSize",
            "DURATION string .status.duration",
            "CREATE-TIME string .metadata.creationTimestamp",
            "COMPLETION-TIME string .status.completionTimestamp",
        ],
    },
    Expected {
        plural: "backuptools",
        singular: "backuptool",
        kind: "BackupTool",
        group: DATA,
        scope: "Cluster",
        short: &[],
        columns: &[],
    },
    Expected {
        plural: "restorejobs",
        singular: "restorejob",
        kind: "RestoreJob",
        group: DATA,
        scope: "Namespaced",
        short: &[],
        columns: &[
            "STATUS string .status.phase",
            "COMPLETION-TIME date .status.completionTimestamp",
            "AGE date .metadata.creationTimestamp",
        ],
    },
    Expected {
        plural: "storageproviders",
        singular: "storageprovider",
        kind: "StorageProvider",
        group: "storage.kubeblocks.io",
        scope: "Cluster",
        short: &[],
        columns: &[
            "STATUS string .status.phase",
            "CSIDRIVER string .spec.csiDriverName",
            "AGE date .metadata.creationTimestamp",
        ],
    },
];

#[test]
fn there_are_six_and_no_more() {
    let plurals: Vec<&str> = EXPECTED.iter().map(|expected| expected.plural).collect();
    assert_eq!(definitions().keys().collect::<Vec<_>>(), plurals);
}

#[test]
fn kinds_have_their_names_scope_and_columns() {
    let definitions = definitions();
    for expected in EXPECTED {
        let definition = &definitions[expected.plural];
        let name = format!("{}.{}", expected.plural, expected.group);
        assert_eq!(definition["apiVersion"], "apiextensions.k8s.io/v1");
        assert_eq!(definition["metadata"]["name"], json!(name));
        assert_eq!(
            definition["metadata"]["labels"],
            json!({"app.kubernetes.io/part-of": "holdfast"})
        );
        let spec = &definition["spec"];
        assert_eq!(spec["group"], expected.group, "{name}");
        assert_eq!(spec["scope"], expected.scope, "{name}");
        let mut names = json!({
            "categories": ["kubeblocks"],
            "kind": expected.kind,
            "listKind": format!("{}List", expected.kind),
            "plural": expected.plural,
            "singular": expected.singular,
        });
        if !expected.short.is_empty() {
            names["shortNames"] = json!(expected.short);
        }
        assert_eq!(spec["names"], names, "{name}");
        assert_eq!(columns(&spec["versions"][0]), expected.columns, "{name}");
    }
}

fn columns(version: &Value) -> Vec<String> {
    let columns = version["additionalPrinterColumns"].as_array();
    let word = |column: &Value, part: &str| column[part].as_str().unwrap().to_owned();
    columns
        .into_iter()
        .flatten()
        .map(|column| {
            assert_eq!(column.as_object().unwrap().len(), 3, "{column}");
            [word(column, "name"), word(column, "type"), word(column, "jsonPath")].join(" ")
        })
        .collect()
}

#[test]
fn the_one_version_is_served_and_stored_and_has_a_status_of_its_own() {
    for (plural, definition) in definitions() {
        let versions = definition["spec"]["versions"].as_array().unwrap();
        assert_eq!(versions.len(), 1, "{plural}");
        let version = &versions[0];
        assert_eq!(version["name"], "v1alpha1", "{plural}");
        assert_eq!((&version["served"], &version["storage"]), (&json!(true), &json!(true)));
        assert_eq!(version["subresources"], json!({"status": {}}), "{plural}");
        // The executor watches the Backups that are at work, and no others.
        let selectable = match plural.as_str() {
            "backups" => json!([{"jsonPath": ".status.phase"}]),
            _ => Value::Null,
        };
        assert_eq!(version["selectableFields"], selectable, "{plural}");
        let root = &version["schema"]["openAPIV3Schema"];
        assert_eq!(root["required"], json!(["spec"]), "{plural}");
    }
}

fn assert_fields(plural: &str, expected: &str) {
    let definition = &definitions()[plural];
    let root = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let found = flat::fields(root);
    let expected = flat::expand(expected);
    for line in &found {
        assert!(expected.contains(line), "{plural} is not to have: {line}");
    }
    for line in &expected {
        assert!(
            found.contains(line),
            "{plural} has not: {line}\nbut:\n{}",
            found.join("\n")
        );
    }
}

#[test]
fn a_backup_has_its_fields() {
    assert_fields("backups", fields::BACKUP);
}

#[test]
fn a_policy_has_its_fields() {
    assert_fields("backuppolicies", fields::POLICY);
}

#[test]
fn a_repository_has_its_fields() {
    assert_fields("backuprepos", fields::REPO);
}

#[test]
fn a_tool_has_its_fields() {
    assert_fields("backuptools", fields::TOOL);
}

#[test]
fn a_restore_has_its_fields() {
    assert_fields("restorejobs", fields::RESTORE);
}

#[test]
fn a_provider_has_its_fields() {
    assert_fields("storageproviders", fields::PROVIDER);
}
