//! What the repository manager looks at: a repository becomes Ready, serves claims, learns its identity, and goes once no
//! Backup refers to it.

use std::{convert::Infallible, sync::Arc};

use holdfast_api::{
    Backup, BackupPhase, BackupRepo, ObjectMetaExt as _, StorageProvider,
    names::{ANNOTATION_CLAIM_REFUSED, LABEL_BACKUP_REPO_NAME, LABEL_NEED_REPO_PVC, LABEL_REPO_UID},
};
use holdfast_core::{
    driver::Found,
    repo::{
        self, Credential, Decision, Names, Observed, ObservedProvider, ProviderDecision, Waiting, decide_provider,
        label_value, told_by,
    },
};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Secret},
    storage::v1::{CSIDriver, StorageClass},
};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{
    actor::{Object, On, Pass, begin},
    api::Stored,
    net::Net,
    process::{Site, Task},
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

/// The providers and the repositories.
pub(crate) fn works(net: &Net, site: &Site) -> Vec<(String, Box<dyn Task>)> {
    let providers = site.shown::<StorageProvider>(net).into_iter();
    let repos = site.shown::<BackupRepo>(net).into_iter();
    providers
        .map(|one| begin("provider", Arc::new(one), Provider))
        .chain(repos.map(|one| begin("repository", Arc::new(one), Repository)))
        .collect()
}

struct Provider;

impl Pass for Provider {
    type Object = StorageProvider;
    type Read = Infallible;

    fn decide(&mut self, on: &mut On<'_, StorageProvider>) -> ProviderDecision {
        let observed = ObservedProvider {
            driver_installed: present::<_, CSIDriver>(on, "driver").is_some(),
            provider: (**on.about).clone(),
        };
        decide_provider(&observed, on.net.api.now)
    }

    fn read(&mut self, _: &mut On<'_, StorageProvider>, read: Infallible) -> Found {
        match read {}
    }
}

struct Repository;

impl Pass for Repository {
    type Object = BackupRepo;
    type Read = Infallible;

    fn decide(&mut self, on: &mut On<'_, BackupRepo>) -> Decision {
        repo::decide(&observe(on), on.net.api.now)
    }

    fn read(&mut self, _: &mut On<'_, BackupRepo>, read: Infallible) -> Found {
        match read {}
    }
}

/// What a cache holds, or, where it holds nothing, what is there.
fn present<K: Object, O: Stored>(on: &mut On<'_, K>, name: &str) -> Option<O> {
    on.get(name).or_else(|| {
        on.look::<O>(name);
        on.get(name)
    })
}

fn observe(on: &mut On<'_, BackupRepo>) -> Observed {
    let repo = (**on.about).clone();
    let names = repo::names(&repo);
    let status = repo.status.clone().unwrap_or_default();
    let mut observed = Observed {
        namespace: "holdfast-system".to_owned(),
        provider: present(on, "local"),
        credential: Credential::NotNamed,
        ..Observed::default()
    };
    if status.generated_csi_driver_secret.is_some() {
        observed.secret = present::<_, Secret>(on, &names.secret);
    }
    if status.generated_storage_class_name.is_some() {
        observed.storage_class = present::<_, StorageClass>(on, &names.storage_class);
    }
    if repo.is_terminating() {
        in_the_way(on, &names, &mut observed);
    } else {
        let claim: Option<PersistentVolumeClaim> = on.get(&names.claim);
        if let Some(claim) = claim.as_ref().filter(|_| status.identity_in("ns").is_none()) {
            let backups: Vec<Backup> = on.site.list(on.net);
            let told = backups.iter().filter_map(|backup| told_by(backup, &repo, claim));
            observed.sealed = told.take(1).collect();
        }
        observed.waiting = waiting(on, &repo);
        observed.claims = claim.filter(|_| !observed.waiting.is_empty()).into_iter().collect();
    }
    Observed { repo, ..observed }
}

fn waiting(on: &On<'_, BackupRepo>, repo: &BackupRepo) -> Vec<Waiting> {
    let waits = |backup: &Backup| {
        let label = |key: &str| backup.labels().get(key).map(String::as_str);
        label(LABEL_NEED_REPO_PVC) == Some("true")
            && label(LABEL_BACKUP_REPO_NAME) == Some(&label_value(repo))
            && !backup.is_terminating()
            && backup.phase() != BackupPhase::Failed
    };
    let names = on.net.api.names::<Backup>().into_iter();
    let backups = names.filter_map(|name| on.get(&name)).filter(waits);
    let waiting = backups.map(|backup| Waiting {
        namespace: "ns".to_owned(),
        name: backup.name_any(),
        uid: backup.uid().unwrap_or_default(),
        resource_version: backup.resource_version().unwrap_or_default(),
        told: backup.annotations().contains_key(ANNOTATION_CLAIM_REFUSED),
    });
    waiting.collect()
}

/// What is in the way of a deletion is read, never taken from a cache.
fn in_the_way(on: &On<'_, BackupRepo>, names: &Names, observed: &mut Observed) {
    observed.associated = associated(&on.site.list(on.net), on.about);
    let uid = on.about.uid();
    let ours = |claim: &PersistentVolumeClaim| claim.labels().get(LABEL_REPO_UID) == uid.as_ref();
    observed.claims = on.site.list(on.net).into_iter().filter(ours).collect();
    let of_claim = |volume: &PersistentVolume| {
        let spec = volume.spec.clone().unwrap_or_default();
        spec.claim_ref.and_then(|claim| claim.name).as_ref() == Some(&names.claim)
            && spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete")
    };
    let volumes: Vec<PersistentVolume> = on.net.api.list().into_iter().filter(of_claim).collect();
    observed.volumes = volumes.iter().map(ResourceExt::name_any).collect();
}

/// The Backups that hold a repository.
pub(crate) fn associated(backups: &[Backup], repo: &BackupRepo) -> Vec<String> {
    let refers = |backup: &&Backup| {
        backup.labels().get(LABEL_BACKUP_REPO_NAME) == Some(&label_value(repo)) && backup.phase() != BackupPhase::Failed
    };
    let backups = backups.iter().filter(refers);
    backups.map(ResourceExt::name_any).collect()
}
