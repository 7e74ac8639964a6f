//! The parameters of a repository: its configuration overlaid with its credentials, checked against the provider's schema.

use std::collections::BTreeMap;

use holdfast_api::{BackupRepo, StorageProvider, condition::Reason};
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

use super::{Credential, Observed};

/// Why the parameters cannot be used, in words that hold no parameter.
pub(super) type Refusal = (Reason, String);

/// Configuration and credentials as one map; credentials win.
pub(super) fn collect(observed: &Observed) -> Result<BTreeMap<String, String>, Refusal> {
    let repo = &observed.repo;
    let mut parameters = repo.spec.config.clone().unwrap_or_default();
    match &observed.credential {
        Credential::NotNamed => {}
        Credential::Found(secret) => overlay(&mut parameters, repo, secret)?,
        Credential::Absent => {
            let message = format!("secret {} not found", credential_name(repo, &observed.namespace));
            return Err((Reason::CredentialSecretNotFound, message));
        }
        Credential::OutOfReach => {
            let name = credential_name(repo, &observed.namespace);
            let message = format!(
                "secret {name} is in a namespace whose Secrets may not be read: move it to {}, or add its namespace to \
                 credentialNamespaces of the chart",
                observed.namespace
            );
            return Err((Reason::CredentialNamespaceNotAllowed, message));
        }
    }
    Ok(parameters)
}

fn credential_name(repo: &BackupRepo, own: &str) -> String {
    let reference = repo.spec.credential.clone().unwrap_or_default();
    let namespace = reference.namespace.filter(|namespace| !namespace.is_empty());
    format!(
        "\"{}/{}\"",
        namespace.as_deref().unwrap_or(own),
        reference.name.unwrap_or_default()
    )
}

fn overlay(parameters: &mut BTreeMap<String, String>, repo: &BackupRepo, secret: &Secret) -> Result<(), Refusal> {
    for (key, value) in secret.data.iter().flatten() {
        let Ok(text) = String::from_utf8(value.0.clone()) else {
            let name = credential_name(repo, secret.metadata.namespace.as_deref().unwrap_or_default());
            return Err((
                Reason::InvalidParameters,
                format!("key {key} of secret {name} is not text"),
            ));
        };
        parameters.insert(key.clone(), text);
    }
    Ok(())
}

/// Whether the provider's schema is satisfied as far as it can be for a map of strings: what is required is there, what
/// is enumerated is one of it.
pub(super) fn check(provider: &StorageProvider, parameters: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let schema = provider
        .spec
        .parameters_schema
        .as_ref()
        .and_then(|schema| schema.open_api_v3_schema.as_ref());
    let Some(schema) = schema else { return Ok(()) };
    let required = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let given = |name: &str| parameters.get(name).is_some_and(|value| !value.is_empty());
    let missing: Vec<&str> = required.filter(|name| !given(name)).collect();
    let provider = provider.metadata.name.as_deref().unwrap_or_default();
    if !missing.is_empty() {
        let message = format!(
            "storage provider {provider} needs the parameters: {}",
            missing.join(", ")
        );
        return Err((Reason::InvalidParameters, message));
    }
    for (name, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let Some(allowed) = property.get("enum").and_then(Value::as_array) else {
            continue;
        };
        let allowed: Vec<String> = allowed.iter().map(spelled).collect();
        let value = parameters.get(name).filter(|value| !value.is_empty());
        if value.is_some_and(|value| !allowed.contains(value)) {
            let message = format!(
                "storage provider {provider}: parameter {name} has to be one of {}",
                allowed.join(", ")
            );
            return Err((Reason::InvalidParameters, message));
        }
    }
    Ok(())
}

fn spelled(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
