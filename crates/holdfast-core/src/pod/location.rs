//! The one place that turns a location into what a pod needs to work there.

use holdfast_api::{
    Location, NewerFormat,
    names::{LABEL_MAX, child_name},
};
use k8s_openapi::api::core::v1::{EnvVar, PersistentVolumeClaimVolumeSource, Volume, VolumeMount};
use sha2::{Digest as _, Sha256};

use super::parts::{BIN_DIR, env};
use crate::naming::hex;

/// Where the repository is mounted in every pod of ours.
pub const REPOSITORY_DIR: &str = "/backupdata";

/// Whether a mount path is one of ours, or lies below one: nobody else's mount may be there.
pub fn is_own_path(path: &str) -> bool {
    [REPOSITORY_DIR, BIN_DIR].iter().any(|dir| {
        let rest = path.trim_end_matches('/').strip_prefix(dir);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// What a pod needs to work at a location.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RepositoryAccess {
    /// For the pod.
    pub volumes: Vec<Volume>,
    /// For the container.
    pub mounts: Vec<VolumeMount>,
    /// For the agent in it.
    pub env: Vec<EnvVar>,
}

/// Whether a pod only reads what lies at a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It writes too.
    ReadWrite,
    /// It only reads.
    ReadOnly,
}

/// Volumes, mounts and environment that a pod of ours needs to work at a location.
///
/// # Errors
/// [`NewerFormat`] where the repository is reached in a way that this version does not know.
pub fn repository_access(location: &Location, mode: Mode) -> Result<RepositoryAccess, NewerFormat> {
    let claim = location.access.claim()?;
    let mut variables = vec![env("HOLDFAST_REPOSITORY_ROOT", REPOSITORY_DIR)];
    if !location.path.is_empty() {
        variables.push(env("HOLDFAST_PATH", &location.path));
    }
    variables.push(env(
        "HOLDFAST_REPOSITORY_ID",
        location.identity.as_deref().unwrap_or_default(),
    ));
    Ok(RepositoryAccess {
        volumes: vec![repository_volume(claim)],
        mounts: vec![VolumeMount {
            name: repository_volume_name(claim),
            mount_path: REPOSITORY_DIR.to_owned(),
            read_only: (mode == Mode::ReadOnly).then_some(true),
            ..VolumeMount::default()
        }],
        env: variables,
    })
}

/// The directory of a location, as containers of ours see it.
pub fn backup_dir(location: &Location) -> String {
    format!("{REPOSITORY_DIR}{}", location.path)
}

/// The name of the volume that a repository takes in a pod, if it takes one: nobody else's may have it.
pub fn repository_volume_of(location: &Location) -> Option<String> {
    location.access.claim().ok().map(repository_volume_name)
}

/// `backup-<pvc>` as in the original, shortened to a DNS label where it must be.
fn repository_volume_name(claim: &str) -> String {
    let digest = hex(&Sha256::digest(claim));
    child_name(&format!("backup-{claim}"), &digest, LABEL_MAX).replace('.', "-")
}

fn repository_volume(claim: &str) -> Volume {
    Volume {
        name: repository_volume_name(claim),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.to_owned(),
            read_only: None,
        }),
        ..Volume::default()
    }
}
