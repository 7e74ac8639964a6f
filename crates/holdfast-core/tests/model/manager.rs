//! The repository manager's part: a repository becomes Ready, serves claims, and goes once no Backup refers to it.

use holdfast_api::{
    Backup, BackupPhase, BackupRepo, StorageProvider,
    names::{LABEL_BACKUP_REPO_NAME, LABEL_NEED_REPO_PVC, LABEL_REPO_UID},
};
use holdfast_core::repo::{
    self, Credential, Names, Observed, ObservedProvider, ProviderWrite, Target, Waiting, Write, decide_provider,
    label_value,
};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Secret},
    storage::v1::{CSIDriver, StorageClass},
};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    api::{Guard, Refused, Request, json},
    net::{Failure, Net},
    world::phase,
};

/// What a user writes: a provider whose driver needs a Secret.
pub(crate) fn provider() -> Value {
    json!({"apiVersion": "storage.kubeblocks.io/v1alpha1", "kind": "StorageProvider", "metadata": {"name": "local"}, "spec": {
        "csiDriverName": "driver", "csiDriverSecretTemplate": "key: value\n",
        "storageClassTemplate": "provisioner: driver\nparameters:\n  secret: {{ .CSIDriverSecretRef.Name }}\n"}})
}

/// What a user writes: a repository whose volumes go with it, or stay.
pub(crate) fn repository(keeps_volumes: bool) -> Value {
    let policy = if keeps_volumes { "Retain" } else { "Delete" };
    json!({"apiVersion": "dataprotection.kubeblocks.io/v1alpha1", "kind": "BackupRepo", "metadata": {"name": crate::REPO},
        "spec": {"storageProviderRef": "local", "pvReclaimPolicy": policy}})
}

/// One process. It remembers nothing that matters.
#[derive(Default)]
pub(crate) struct Manager {
    pub(crate) revision: usize,
}

impl Manager {
    /// Looks at the provider and at the repository.
    pub(crate) fn look(&self, net: &mut Net) -> Result<(), Failure> {
        self.provider(net)?;
        let Some(repo) = net.api.get_at::<BackupRepo>(self.revision, crate::REPO) else {
            return Ok(());
        };
        let observed = self.observe(net, repo);
        match repo::decide(&observed, net.api.now).write {
            Some(write) => apply(net, &observed, write),
            None => Ok(()),
        }
    }

    fn provider(&self, net: &mut Net) -> Result<(), Failure> {
        let Some(provider) = net.api.get_at::<StorageProvider>(self.revision, "local") else {
            return Ok(());
        };
        let driver_installed = self.present::<CSIDriver>(net, "driver").is_some();
        let observed = ObservedProvider {
            provider,
            driver_installed,
        };
        let request = match decide_provider(&observed, net.api.now).write {
            None => return Ok(()),
            Some(ProviderWrite::Metadata(metadata)) => Request::Patch {
                of: Guard::of(&observed.provider),
                change: json!({ "metadata": metadata }),
            },
            Some(ProviderWrite::Status(status)) => Request::Status(json(&StorageProvider {
                status: Some(*status),
                ..observed.provider
            })),
        };
        net.send("manager", &request).map(drop)
    }

    /// What a cache holds, or, where it holds nothing, what is there.
    fn present<K>(&self, net: &Net, name: &str) -> Option<K>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        net.api.get_at(self.revision, name).or_else(|| net.api.get(name))
    }

    fn observe(&self, net: &Net, repo: BackupRepo) -> Observed {
        let names = repo::names(&repo);
        let status = repo.status.clone().unwrap_or_default();
        let mut observed = Observed {
            namespace: "holdfast-system".to_owned(),
            provider: self.present(net, "local"),
            credential: Credential::NotNamed,
            repo,
            ..Observed::default()
        };
        if status.generated_csi_driver_secret.is_some() {
            observed.secret = self.present::<Secret>(net, &names.secret);
        }
        if status.generated_storage_class_name.is_some() {
            observed.storage_class = self.present::<StorageClass>(net, &names.storage_class);
        }
        if observed.repo.metadata.deletion_timestamp.is_some() {
            in_the_way(net, &names, &mut observed);
            return observed;
        }
        observed.waiting = self.waiting(net, &observed.repo);
        observed.claims = net
            .api
            .get_at::<PersistentVolumeClaim>(self.revision, &names.claim)
            .filter(|_| !observed.waiting.is_empty())
            .into_iter()
            .collect();
        observed
    }

    fn waiting(&self, net: &Net, repo: &BackupRepo) -> Vec<Waiting> {
        let waits = |backup: &Backup| {
            let label = |key: &str| backup.labels().get(key).map(String::as_str);
            label(LABEL_NEED_REPO_PVC) == Some("true")
                && label(LABEL_BACKUP_REPO_NAME) == Some(&label_value(repo))
                && backup.metadata.deletion_timestamp.is_none()
                && phase(backup) != Some(BackupPhase::Failed)
        };
        let backups = net.api.list_at::<Backup>(self.revision).into_iter().filter(waits);
        let waiting = backups.map(|backup| Waiting {
            namespace: "ns".to_owned(),
            name: backup.name_any(),
            uid: backup.uid().unwrap_or_default(),
            resource_version: backup.resource_version().unwrap_or_default(),
        });
        waiting.collect()
    }
}

/// What is in the way of a deletion is read, never taken from a cache.
fn in_the_way(net: &Net, names: &Names, observed: &mut Observed) {
    observed.associated = associated(net, &observed.repo);
    let uid = observed.repo.uid();
    let ours = |claim: &PersistentVolumeClaim| claim.labels().get(LABEL_REPO_UID) == uid.as_ref();
    observed.claims = net.api.list().into_iter().filter(ours).collect();
    let of_claim = |volume: &PersistentVolume| {
        let spec = volume.spec.clone().unwrap_or_default();
        spec.claim_ref.and_then(|claim| claim.name).as_ref() == Some(&names.claim)
            && spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete")
    };
    let volumes: Vec<PersistentVolume> = net.api.list().into_iter().filter(of_claim).collect();
    observed.volumes = volumes.iter().map(ResourceExt::name_any).collect();
}

/// The Backups that hold a repository.
pub(crate) fn associated(net: &Net, repo: &BackupRepo) -> Vec<String> {
    let refers = |backup: &Backup| {
        backup.labels().get(LABEL_BACKUP_REPO_NAME) == Some(&label_value(repo))
            && phase(backup) != Some(BackupPhase::Failed)
    };
    let backups = net.api.list::<Backup>().into_iter().filter(refers);
    backups.map(|backup| backup.name_any()).collect()
}

fn apply(net: &mut Net, observed: &Observed, write: Write) -> Result<(), Failure> {
    let repo = &observed.repo;
    let request = match write {
        Write::Metadata(metadata) => Request::Patch {
            of: Guard::of(repo),
            change: json!({ "metadata": metadata }),
        },
        Write::Status(status) => Request::Status(json(&BackupRepo {
            status: Some(*status),
            ..repo.clone()
        })),
        Write::CreateSecret(secret) => Request::Create(json(&secret)),
        Write::UpdateSecret(secret) => Request::Patch {
            of: Guard::of(&*secret),
            change: json!({ "data": secret.data }),
        },
        Write::CreateStorageClass(class) => Request::Create(json(&class)),
        Write::CreateClaim(claim) => Request::Create(json(&claim)),
        Write::ReleaseBackup(waiting) => Request::Patch {
            of: Guard {
                kind: "Backup".to_owned(),
                name: waiting.name,
                uid: waiting.uid,
                version: Some(waiting.resource_version),
            },
            change: json!({"metadata": {"labels": {LABEL_NEED_REPO_PVC: null}}}),
        },
        Write::DeleteClaim(target) => deletion("PersistentVolumeClaim", target),
        Write::DeleteStorageClass(target) => deletion("StorageClass", target),
        Write::DeleteSecret(target) => deletion("Secret", target),
    };
    match net.send("manager", &request) {
        // Somebody was quicker.
        Ok(_) | Err(Failure::Refused(Refused::Exists | Refused::NotFound)) => Ok(()),
        Err(failure) => Err(failure),
    }
}

fn deletion(kind: &str, target: Target) -> Request {
    Request::Delete {
        of: Guard {
            kind: kind.to_owned(),
            name: target.name,
            uid: target.uid,
            version: None,
        },
    }
}
