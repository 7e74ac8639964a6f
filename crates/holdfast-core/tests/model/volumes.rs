//! What Kubernetes and a CSI driver do for claims: volumes come for them, and go after them.

use holdfast_api::BackupRepo;
use holdfast_core::pod::is_over;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    api::{Guard, Request, text},
    cluster::Cluster,
    net::Net,
};

impl Cluster {
    /// One round of the volume controllers.
    pub(crate) fn volumes(&mut self, net: &mut Net) {
        for claim in net.api.list::<PersistentVolumeClaim>() {
            let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
            if claim.metadata.deletion_timestamp.is_none() {
                if volume.is_none() {
                    self.bind(net, &claim);
                }
            } else if !is_used(net, &claim.name_any()) {
                net.api.update(&json!(claim), &json!({"metadata": {"finalizers": []}}));
            }
        }
        for volume in net.api.list::<PersistentVolume>() {
            let spec = volume.spec.clone().unwrap_or_default();
            let of = spec.claim_ref.unwrap_or_default();
            let claim = net.api.get::<PersistentVolumeClaim>(&of.name.unwrap_or_default());
            let claimed = claim.is_some_and(|claim| claim.uid() == of.uid);
            if !claimed && spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete") {
                net.note(&format!("{} is erased", volume.name_any()));
                self.disks.erase(&volume.name_any(), net);
                let _ = net.api.send(&Request::Delete { of: Guard::of(&volume) });
            }
        }
    }

    fn bind(&mut self, net: &mut Net, claim: &PersistentVolumeClaim) {
        let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone());
        let Some(class) = class.and_then(|class| net.api.raw("StorageClass", &class).cloned()) else {
            return;
        };
        let (name, uid) = (claim.name_any(), claim.uid().unwrap_or_default());
        let volume = format!("volume-{uid}");
        let made = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume}, "spec": {
            "claimRef": {"name": name, "namespace": "ns", "uid": uid}, "storageClassName": text(&class, "/metadata/name"),
            "persistentVolumeReclaimPolicy": text(&class, "/reclaimPolicy")}});
        if net.api.send(&Request::Create(made)).is_ok() {
            self.disks.format(&volume, net);
        }
        let bound = json!({"metadata": {"finalizers": ["kubernetes.io/pvc-protection"]}, "spec": {"volumeName": volume},
            "status": {"phase": "Bound"}});
        net.api.update(&json!(claim), &bound);
    }
}

/// Whether a pod that is not over mounts the claim.
fn is_used(net: &Net, claim: &str) -> bool {
    let mounts = |pod: &Pod| repository(&json!(pod)["spec"]).as_deref() == Some(claim);
    net.api.list::<Pod>().iter().any(|pod| !is_over(pod) && mounts(pod))
}

/// The claim with the repository that a pod mounts.
pub(crate) fn repository(spec: &Value) -> Option<String> {
    let volumes = spec["volumes"].as_array()?;
    let claims = volumes
        .iter()
        .map(|volume| text(volume, "/persistentVolumeClaim/claimName"));
    claims.into_iter().find(|claim| claim.starts_with("pvc-"))
}

/// The volume that a pod is given for its claim, if it can start.
pub(crate) fn volume_of(net: &Net, spec: &Value) -> Option<String> {
    let claim = net.api.get::<PersistentVolumeClaim>(&repository(spec)?)?;
    let going = claim.metadata.deletion_timestamp.is_some();
    claim.spec?.volume_name.filter(|_| !going)
}

/// The name of the repository's claim, as its status gives it.
pub(crate) fn claim_name(repo: Option<&BackupRepo>) -> Option<String> {
    repo?.status.as_ref()?.backup_pvc_name.clone()
}
