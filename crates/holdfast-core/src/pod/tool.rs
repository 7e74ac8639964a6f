//! A tool as a plan keeps it: without the literal values of its environment, in which people put passwords.

use std::collections::BTreeMap;

use holdfast_api::{BackupTool, PlannedTool};
use k8s_openapi::api::core::v1::EnvVar;
use kube::ResourceExt as _;
use sha2::{Digest as _, Sha256};

use crate::naming::hex;

/// A tool for a plan. `salt` is the uid of the object that the plan is for, so that equal values do not look equal.
pub fn planned_tool(tool: &BackupTool, image: &str, salt: &str) -> PlannedTool {
    let mut spec = tool.spec.clone();
    let env_digests = digests(spec.env.as_deref(), salt);
    spec.env = spec.env.map(|list| list.into_iter().map(without_value).collect());
    PlannedTool {
        name: tool.name_any(),
        image: image.to_owned(),
        spec: serde_json::to_value(spec).unwrap_or_default(),
        env_digests,
        ..PlannedTool::default()
    }
}

/// The first part of a command line with Windows line ends, from 0. A carriage return may be meant, but not before the end
/// of a line.
pub fn windows_line_end(argv: &[String]) -> Option<usize> {
    argv.iter()
        .position(|part| part.contains("\r\n") || part.ends_with('\r'))
}

/// Whether a container of the planned tool needs values that only the BackupTool has.
pub fn needs_values(planned: &PlannedTool) -> bool {
    !planned.env_digests.is_empty()
}

/// The environment of a planned tool, with the values of the BackupTool; none where that is no longer what was planned.
pub fn tool_environment(planned: &PlannedTool, tool: Option<&BackupTool>, salt: &str) -> Option<Vec<EnvVar>> {
    let kept = planned.spec().ok()?.env.unwrap_or_default();
    if !needs_values(planned) {
        return Some(kept);
    }
    let current = tool?.spec.env.clone().unwrap_or_default();
    let same =
        digests(Some(&current), salt) == planned.env_digests && current.iter().cloned().map(without_value).eq(kept);
    same.then_some(current)
}

/// Of a literal value only the variables that it refers to, as they are written: they say where it comes from and are
/// nobody's secret.
fn without_value(variable: EnvVar) -> EnvVar {
    let references = variable.value.as_deref().map(references).unwrap_or_default();
    EnvVar {
        value: (!references.is_empty()).then(|| references.join(" ")),
        ..variable
    }
}

/// The `$(NAME)` in a value that kubelet would expand; `$$` stands for a dollar.
fn references(value: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        let tail = &rest[at..];
        let name = tail.strip_prefix("$(").and_then(|open| open.find(')'));
        let end = match name {
            Some(end) => {
                let end = end + "$()".len();
                if tail[..end]
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "$()_-.".contains(c))
                {
                    found.push(&tail[..end]);
                }
                end
            }
            None if tail.starts_with("$$") => 2,
            None => 1,
        };
        rest = &tail[end..];
    }
    found
}

/// By the variable's name; one that comes several times has one digest over all its values.
fn digests(list: Option<&[EnvVar]>, salt: &str) -> BTreeMap<String, String> {
    let mut hashers: BTreeMap<String, Sha256> = BTreeMap::new();
    for variable in list.unwrap_or_default() {
        let Some(value) = &variable.value else { continue };
        let hasher = hashers.entry(variable.name.clone()).or_insert_with(|| {
            Sha256::new()
                .chain_update(salt)
                .chain_update([0])
                .chain_update(&variable.name)
                .chain_update([0])
        });
        hasher.update(value);
        hasher.update([0]);
    }
    let digest = |hasher: Sha256| format!("sha256:{}", hex(&hasher.finalize()));
    hashers
        .into_iter()
        .map(|(name, hasher)| (name, digest(hasher)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(env: &serde_json::Value) -> BackupTool {
        serde_json::from_value(
            json!({"metadata": {"name": "t"}, "spec": {"image": "i", "backupCommands": ["x"], "env": env}}),
        )
        .expect("a tool")
    }

    #[test]
    fn a_plan_holds_no_literal_value_and_gives_them_back_while_they_match() {
        let env = json!([{"name": "PASSWORD", "value": "canary"}, {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "PASSWORD", "value": "second"}]);
        let seen = tool(&env);
        let planned = planned_tool(&seen, "i", "uid");
        let text = serde_json::to_string(&planned).expect("JSON");
        assert!(!text.contains("canary") && !text.contains("second"), "{text}");
        assert_eq!(planned.env_digests.len(), 1);
        assert_ne!(planned.env_digests, planned_tool(&seen, "i", "other").env_digests);
        assert_eq!(tool_environment(&planned, Some(&seen), "uid"), seen.spec.env);
        assert_eq!(tool_environment(&planned, None, "uid"), None);
        for changed in [
            json!([{"name": "PASSWORD", "value": "new"}]),
            json!([]),
            json!([{"name": "PASSWORD", "value": "canary"}, {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
                {"name": "PASSWORD", "value": "second"}]),
        ] {
            assert_eq!(
                tool_environment(&planned, Some(&tool(&changed)), "uid"),
                None,
                "{changed}"
            );
        }
    }

    #[test]
    fn what_a_value_refers_to_is_kept_as_it_is_written() {
        let env = json!([{"name": "DSN", "value": "db://u:$(DB_PASSWORD)@$(DB_HOST):1/canary$$(NOT)$(never $(X Y)"}]);
        let planned = planned_tool(&tool(&env), "i", "uid");
        let kept = planned.spec().expect("a spec").env.expect("an environment");
        assert_eq!(kept[0].value.as_deref(), Some("$(DB_PASSWORD) $(DB_HOST)"));
        let seen = tool(&env);
        assert_eq!(tool_environment(&planned, Some(&seen), "uid"), seen.spec.env);
    }

    #[test]
    fn windows_line_ends_are_found_and_other_carriage_returns_are_not() {
        let found = |parts: &[&str]| windows_line_end(&parts.iter().map(|&part| part.to_owned()).collect::<Vec<_>>());
        assert_eq!(found(&["sh", "-c", "set -e\r\ncp a b\r\n"]), Some(2));
        assert_eq!(found(&["sh", "-c", "cp a b\r"]), Some(2));
        assert_eq!(found(&["sh", "-c", "printf 'a\rb'\ncp a b\n"]), None);
    }

    #[test]
    fn a_tool_without_literal_values_needs_nobody() {
        let planned = planned_tool(&tool(&json!([])), "i", "uid");
        assert!(!needs_values(&planned));
        assert_eq!(tool_environment(&planned, None, "uid"), Some(Vec::new()));
    }
}
