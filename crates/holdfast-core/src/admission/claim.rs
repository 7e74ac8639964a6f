//! The claim that a policy names where it has no repository.

use std::collections::BTreeMap;

use holdfast_api::{
    CommonBackupPolicy, CreatePvcPolicy,
    condition::Reason,
    names::{ANNOTATION_CREATED_BY_POLICY, LABEL_BACKUP_POLICY},
};
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements},
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use kube::ResourceExt as _;

use super::{Observed, Problem, Read, Write};
use crate::decision::Child;

/// What a claim asks for that the policy gives no size.
const DEFAULT_CAPACITY: &str = "100Gi";

/// The claim is there, or it is created, or that is a problem.
pub(super) fn ensure(observed: &Observed, section: &CommonBackupPolicy, name: &str) -> Result<(), Problem> {
    if observed.claim.get().is_some() {
        return Ok(());
    }
    if !observed.claim.live {
        return Err(Problem::Read(Read::Claim));
    }
    let Some(wanted) = section.persistent_volume_claim.as_ref() else {
        return Err(Problem::Fail(
            Reason::PVCNotFound,
            format!("persistent volume claim \"{name}\" not found"),
        ));
    };
    if wanted.create_policy == CreatePvcPolicy::Never {
        return Err(Problem::Missing(
            Reason::PVCNotFound,
            format!("persistent volume claim \"{name}\" not found"),
        ));
    }
    if wanted.persistent_volume_config_map.is_some() && wanted.storage_class_name.as_deref().is_none_or(str::is_empty) {
        let text =
            "persistentVolumeConfigMap is not served by this version: create the claim, or name a storageClassName";
        return Err(Problem::Fail(Reason::Unsupported, text.to_owned()));
    }
    if let Some(words) = &observed.claim_refused {
        let text = format!("persistent volume claim \"{name}\" is refused: {words}");
        return Err(Problem::Wait(Reason::ClaimNotCreated, text));
    }
    let capacity = wanted
        .init_capacity
        .clone()
        .unwrap_or_else(|| Quantity(DEFAULT_CAPACITY.to_owned()));
    let policy = observed.backup.spec.backup_policy_name.clone();
    let claim = PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: observed.backup.namespace(),
            annotations: Some(BTreeMap::from([
                (ANNOTATION_CREATED_BY_POLICY.to_owned(), "true".to_owned()),
                (LABEL_BACKUP_POLICY.to_owned(), policy),
            ])),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteMany".to_owned()]),
            storage_class_name: wanted.storage_class_name.clone().filter(|name| !name.is_empty()),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), capacity)])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    };
    Err(Problem::Write(Box::new(Write::Create(Child::from(claim)))))
}
