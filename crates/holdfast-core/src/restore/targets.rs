//! What a restore may write to: claims that the workload uses, and volumes that live no longer than the restore's own pod.

use holdfast_api::condition::Reason;
use k8s_openapi::api::core::v1::Volume;

use super::observed::Observed;
use super::workload::{Workload, claim_names};
use crate::backup::claims_of;

/// Why the targets may not be written, if so. A restore writes as root whatever its RestoreJob names, and those who may
/// create a `RestoreJob` need not be allowed to create pods.
pub(super) fn refused(observed: &Observed, workload: &Workload) -> Option<(Reason, String)> {
    let spec = &observed.restore.spec;
    let volumes = &spec.target_volumes;
    if !observed.settings.any_target_volumes
        && let Some((volume, kind)) = volumes.iter().find_map(|volume| Some((volume, foreign_kind(volume)?)))
    {
        let text = format!(
            "target volume {} is of kind {kind}: a restore writes persistentVolumeClaim, ephemeral and emptyDir volumes",
            volume.name
        );
        return Some((Reason::TargetNotAllowed, text));
    }
    if spec.allow_unused_targets == Some(true) {
        return None;
    }
    let unused = claim_names(volumes).find(|claim| !uses(observed, workload, claim))?;
    let text = format!("target claim {unused} is not one of {}", workload.title());
    Some((Reason::TargetNotUsed, text))
}

/// Whether pods of the workload have that claim: by its template, or as they are now.
fn uses(observed: &Observed, workload: &Workload, claim: &str) -> bool {
    let mounted = || observed.pods.iter().any(|pod| claims_of(pod).contains(&claim));
    workload.claims(claim) || mounted()
}

/// The kind of a volume that is neither a claim nor lives as long as its pod.
fn foreign_kind(volume: &Volume) -> Option<String> {
    if volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some() || volume.empty_dir.is_some() {
        return None;
    }
    let members = serde_json::to_value(volume).ok()?;
    // Kubernetes takes a volume without a kind for an emptyDir.
    members.as_object()?.keys().find(|key| *key != "name").cloned()
}
