//! Schemas as lines, one for each field: the path (`!` where the field is required), the type, and what else holds.

use serde_json::{Map, Value};

/// Every field of a schema, described.
pub(crate) fn fields(root: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    properties(root, "", &mut lines);
    lines
}

fn properties(schema: &Value, path: &str, lines: &mut Vec<String>) {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let declared = schema["properties"].as_object();
    for name in &required {
        assert!(
            declared.is_some_and(|fields| fields.contains_key(*name)),
            "{path} requires {name} and has it not"
        );
    }
    for (name, field) in declared.into_iter().flatten() {
        let mark = if required.contains(&name.as_str()) { "!" } else { "" };
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        lines.push(format!("{path}{mark}{}", described(field)));
        properties(field, &path, lines);
        let mut below = (field, path);
        while below.0["items"].is_object() {
            below = (&below.0["items"], format!("{}[]", below.1));
            lines.push(format!("{}{}", below.1, described(below.0)));
            properties(below.0, &below.1, lines);
        }
        let values = &below.0["additionalProperties"];
        if values.is_object() {
            let path = format!("{}{{}}", below.1);
            lines.push(format!("{path}{}", described(values)));
            properties(values, &path, lines);
        }
    }
}

/// What holds of a value itself, in one order: the type, then the rest by name.
fn described(schema: &Value) -> String {
    const STRUCTURE: &[&str] = &[
        "description",
        "type",
        "properties",
        "items",
        "additionalProperties",
        "required",
    ];
    let empty = Map::new();
    let schema = schema.as_object().unwrap_or(&empty);
    let mut rest: Vec<String> = schema
        .iter()
        .filter(|(key, _)| !STRUCTURE.contains(&key.as_str()))
        .map(|(key, value)| format!(" {key}={value}"))
        .collect();
    rest.sort();
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or("any");
    format!(" {kind}{}", rest.concat())
}

/// Patterns and the like that many fields share, by the short form that the expectations use.
const SHORT: &[(&str, &str)] = &[
    ("@name", r#"pattern="^[a-z0-9]([a-z0-9\\.\\-]*[a-z0-9])?$""#),
    ("@namespace", r#"pattern="^[a-z0-9]([a-z0-9\\-]*[a-z0-9])?$""#),
    ("@time", r#"string format="date-time""#),
    ("@int32", r#"integer format="int32""#),
    ("@int64", r#"integer format="int64""#),
    ("@text", r#"string default="""#),
    ("@count", r#"integer default=0 format="int32""#),
    ("@moment", r#"string default="1970-01-01T00:00:00Z" format="date-time""#),
    ("@free", r"object x-kubernetes-preserve-unknown-fields=true"),
    (
        "@quantity",
        concat!(
            r#"any anyOf=[{"type":"integer"},{"type":"string"}] pattern="^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))"#,
            r"(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))))?$",
            r#"" x-kubernetes-int-or-string=true"#
        ),
    ),
];

/// Groups of fields that several kinds share: `+ <group> <path> <marks>` stands for the group's lines below the path.
const GROUPS: &[(&str, &str)] = &[
    (
        "conditions",
        r#"
 array x-kubernetes-list-map-keys=["type"] x-kubernetes-list-type="map"
[] object
[].lastTransitionTime! @time
[].message! string maxLength=32768
[].observedGeneration @int64 minimum=0.0
[].reason! string maxLength=1024 minLength=1 pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
[].status! string enum=["True","False","Unknown"]
[].type! string maxLength=316 pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
"#,
    ),
    (
        "secret",
        r#"
 object
.name! string @name
.usernameKey string default="username"
.passwordKey string default="password"
"#,
    ),
    (
        "base",
        r#"
 object
.target! object
.target.labelsSelector! @free
.target.secret object
.target.secret.name! string @name
.target.secret.usernameKey string default="username"
.target.secret.passwordKey string default="password"
.backupsHistoryLimit integer default=7 format="int32"
.onFailAttempted @int32
.backupStatusUpdates array
.backupStatusUpdates[] object
.backupStatusUpdates[].path string
.backupStatusUpdates[].containerName string
.backupStatusUpdates[].script string
.backupStatusUpdates[].useTargetPodServiceAccount boolean
.backupStatusUpdates[].updateStage! string enum=["pre","post"]
"#,
    ),
    (
        "common",
        r#"
.backupToolName string @name
.backupRepoName string @name
.persistentVolumeClaim object
.persistentVolumeClaim.name string
.persistentVolumeClaim.storageClassName string @name
.persistentVolumeClaim.initCapacity @quantity
.persistentVolumeClaim.createPolicy string default="IfNotPresent" enum=["IfNotPresent","Never"]
.persistentVolumeClaim.persistentVolumeConfigMap object
.persistentVolumeClaim.persistentVolumeConfigMap.name! string @name
.persistentVolumeClaim.persistentVolumeConfigMap.namespace! string @namespace
"#,
    ),
    (
        "schedule",
        "
 object
.cronExpression! string
.enable! boolean
",
    ),
    (
        "commands",
        "
 array
[] string
",
    ),
    (
        "waiting",
        "
 @free
.reason @text
.since @moment
.quoted boolean
",
    ),
    (
        "stop",
        "
 @free
.reason @text
.text @text
.since @moment
",
    ),
    (
        "location",
        "
 @free
.repository @free
.repository.name @text
.repository.uid @text
.access @one-of mount: way to reach the repository
.access.mount @free
.access.mount.claim @text
.path @text
.sealUid @text
.identity string
",
    ),
    (
        "tool",
        "
 @free
.name @text
.image @text
.spec @free
.envDigests object
.envDigests{} string
",
    ),
    (
        "pull",
        "
.imagePullSecrets array
.imagePullSecrets[] @free
",
    ),
    (
        "reference",
        "
 object
.name string
.namespace string
",
    ),
];

/// The expected lines, with short forms and groups written out.
pub(crate) fn expand(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let Some(used) = line.strip_prefix("+ ") else {
            lines.push(line.to_owned());
            continue;
        };
        let (group, path) = used.split_once(' ').expect("a group and a path");
        let members = GROUPS.iter().find(|(name, _)| *name == group).expect("a known group");
        let members = members.1.lines().filter(|member| !member.is_empty());
        lines.extend(members.map(|member| format!("{path}{member}")));
    }
    // `@name` begins `@namespace`: the longest first.
    let mut short = SHORT.to_vec();
    short.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for line in &mut lines {
        if let Some((path, union)) = line.split_once("@one-of ") {
            let (member, what) = union.split_once(": ").expect("a member and what it is");
            *line = format!(
                "{path}object maxProperties=1 x-kubernetes-preserve-unknown-fields=true x-kubernetes-validations=\
                 [{{\"message\":\"exactly one {what} has to be set\",\"rule\":\"[has(self.{member})].exists_one(set, set)\"}}]"
            );
        }
        for (name, long) in &short {
            *line = line.replace(name, long);
        }
    }
    lines
}
