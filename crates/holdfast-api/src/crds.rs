//! The CustomResourceDefinitions, as the API server is given them.

use kube::CustomResourceExt as _;
use serde_json::{Map, Value, json};

use crate::{Backup, BackupPolicy, BackupRepo, BackupTool, RestoreJob, StorageProvider};

/// The label that marks the definitions as Holdfast's: the group is shared with other products.
pub const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "holdfast");

/// The six definitions: plural name and document.
pub fn all() -> Result<Vec<(String, Value)>, serde_json::Error> {
    let definitions = [
        Backup::crd(),
        BackupPolicy::crd(),
        BackupRepo::crd(),
        BackupTool::crd(),
        RestoreJob::crd(),
        StorageProvider::crd(),
    ];
    definitions
        .into_iter()
        .map(|definition| {
            let plural = definition.spec.names.plural.clone();
            let mut document = serde_json::to_value(definition)?;
            clean(&mut document);
            document["metadata"]["labels"] = json!({ PART_OF.0: PART_OF.1 });
            document["spec"]["names"]["listKind"] =
                format!("{}List", document["spec"]["names"]["kind"].as_str().unwrap_or_default()).into();
            Ok((plural, document))
        })
        .collect()
}

/// Takes out what schema generation adds and Kubernetes' own definitions do not have: `null` beside every
/// optional value (absent is the one way to leave a value out), defaults of whole objects, and widths that say nothing
/// to a user.
fn clean(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.remove("nullable");
            if object.get("type").is_some_and(|kind| kind == "object")
                && object.get("required").is_some_and(|r| r == &json!([]))
            {
                object.remove("required");
            }
            remove_default(object);
            remove_format(object);
            // kube's rewriting into a structural schema leaves both without their types.
            if object.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
                object.insert("anyOf".to_owned(), json!([{"type": "integer"}, {"type": "string"}]));
            }
            for child in object.values_mut() {
                clean(child);
            }
        }
        Value::Array(values) => {
            values.retain(|value| !value.is_null());
            values.iter_mut().for_each(clean);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Such a default is what our types read where nothing is. The API server would write it into what is stored, and refuses
/// a definition whose default breaks the definition's own rules, as an empty union does.
fn remove_default(object: &mut Map<String, Value>) {
    let is_schema = object.get("type").is_some_and(Value::is_string);
    let is_whole = |default: &Value| default.is_object() || default.is_array();
    if is_schema && object.get("default").is_some_and(is_whole) {
        object.remove("default");
    }
}

fn remove_format(object: &mut Map<String, Value>) {
    let known = ["date-time", "int32", "int64"];
    if object.get("type").is_some_and(Value::is_string)
        && object
            .get("format")
            .and_then(Value::as_str)
            .is_some_and(|format| !known.contains(&format))
    {
        object.remove("format");
    }
}
