//! The target pod's volumes, as far as a tool pod may share them.

use std::collections::BTreeSet;

use holdfast_api::Location;
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSpec, Volume, VolumeMount, VolumeProjection};

use crate::pod::{is_own_path, is_own_volume, repository_volume_of};
use crate::target;

/// Volumes and mounts for the tool's container.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Shared {
    pub(super) volumes: Vec<Volume>,
    pub(super) mounts: Vec<VolumeMount>,
}

/// The names of the claims that a tool pod shares with the target pod.
pub fn claims_of(pod: &Pod) -> Vec<&str> {
    claims_in(pod.spec.as_ref())
}

/// The names of the claims of a pod that is made like this.
pub(crate) fn claims_in(spec: Option<&PodSpec>) -> Vec<&str> {
    let volumes = spec.into_iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.as_str()))
        .collect()
}

/// All volumes of the target pod and all mounts of its database's container, as in the original, except
/// - projected tokens for the Kubernetes API: pods that touch data hold none;
/// - `ephemeral` volumes: they would be new, empty ones;
/// - what has the name or the place of our own volumes.
///
/// Resources that a volume tells of a container of the target are those of `container`, the only one of ours that works.
/// Fails, in words, if a mount cannot be reproduced.
pub(super) fn shared(target: &Pod, location: &Location, container: &str) -> Result<Shared, String> {
    let Some(spec) = target.spec.as_ref() else {
        return Ok(Shared::default());
    };
    let repository = repository_volume_of(location);
    let is_taken = |name: &String| is_own_volume(name) || repository.as_ref() == Some(name);
    let may_share =
        |volume: &&Volume| volume.ephemeral.is_none() && !holds_api_token(volume) && !is_taken(&volume.name);
    let mut volumes: Vec<Volume> = spec.volumes.iter().flatten().filter(may_share).cloned().collect();
    for volume in &mut volumes {
        rename_container(volume, container);
    }
    let names: BTreeSet<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
    let mut mounts = Vec::new();
    if let Some(container) = target::database(target) {
        for mount in container.volume_mounts.iter().flatten() {
            if names.contains(mount.name.as_str()) && !is_own_path(&mount.mount_path) {
                mounts.push(copied(mount, container, target)?);
            }
        }
    }
    Ok(Shared { volumes, mounts })
}

/// The API server refuses a pod whose downward API names a container that it does not have.
fn rename_container(volume: &mut Volume, container: &str) {
    let own = volume
        .downward_api
        .iter_mut()
        .flat_map(|source| source.items.iter_mut().flatten());
    let sources = volume
        .projected
        .iter_mut()
        .flat_map(|source| source.sources.iter_mut().flatten());
    let projected = sources
        .filter_map(|source| source.downward_api.as_mut())
        .flat_map(|source| source.items.iter_mut().flatten());
    for resource in own.chain(projected).filter_map(|file| file.resource_field_ref.as_mut()) {
        resource.container_name = Some(container.to_owned());
    }
}

fn holds_api_token(volume: &Volume) -> bool {
    let sources = volume
        .projected
        .iter()
        .flat_map(|projected| projected.sources.iter().flatten());
    sources.into_iter().any(is_api_token)
}

/// A token without an audience is for the API server; so is one for the names under which it is known in a cluster.
/// Tokens for others, such as a cloud's identity service, may stay.
fn is_api_token(source: &VolumeProjection) -> bool {
    let Some(token) = source.service_account_token.as_ref() else {
        return false;
    };
    let audience = token.audience.as_deref().unwrap_or_default();
    let host = audience.trim_start_matches("https://").trim_end_matches('/');
    host.is_empty() || host == "kubernetes" || host.starts_with("kubernetes.default") || host == "api"
}

fn copied(mount: &VolumeMount, container: &Container, target: &Pod) -> Result<VolumeMount, String> {
    let mut mount = mount.clone();
    // Bidirectional needs a privileged container; what is mounted later in the target is not ours to see.
    mount.mount_propagation = None;
    if let Some(expression) = mount.sub_path_expr.take() {
        let path = expand(&expression, container, target).ok_or_else(|| {
            format!("the mount of volume `{}` has subPathExpr `{expression}`, which depends on what is only known inside the target pod", mount.name)
        })?;
        mount.sub_path = Some(path);
    }
    Ok(mount)
}

/// Expands `$(NAME)` from the container's environment where its value is known from outside; `$$` stands for `$`.
fn expand(expression: &str, container: &Container, target: &Pod) -> Option<String> {
    let mut path = String::new();
    let mut rest = expression;
    while let Some(at) = rest.find('$') {
        path.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            path.push('$');
            rest = after;
        } else if let Some(named) = rest.strip_prefix('(') {
            let end = named.find(')')?;
            let variable = container
                .env
                .iter()
                .flatten()
                .rev()
                .find(|variable| variable.name == named[..end])?;
            path.push_str(&value_of(variable, target)?);
            rest = &named[end + 1..];
        } else {
            path.push('$');
        }
    }
    path.push_str(rest);
    Some(path)
}

fn value_of(variable: &EnvVar, target: &Pod) -> Option<String> {
    if let Some(value) = variable.value.as_ref() {
        return (!value.contains("$(")).then(|| value.clone());
    }
    let field = variable.value_from.as_ref()?.field_ref.as_ref()?.field_path.as_str();
    let metadata = &target.metadata;
    match field {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "spec.nodeName" => target.spec.as_ref()?.node_name.clone(),
        "spec.serviceAccountName" => target.spec.as_ref()?.service_account_name.clone(),
        _ => {
            let (map, key) = match field.split_once("['")? {
                ("metadata.labels", key) => (metadata.labels.as_ref()?, key),
                ("metadata.annotations", key) => (metadata.annotations.as_ref()?, key),
                _ => return None,
            };
            map.get(key.strip_suffix("']")?).cloned()
        }
    }
}
