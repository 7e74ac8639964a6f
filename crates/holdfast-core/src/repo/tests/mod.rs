//! Repositories and providers as observed in a cluster, what is decided, and what it leads to.

use std::time::Duration;

use holdfast_api::{
    BackupRepo, BackupRepoPhase, BackupRepoSpec, BackupRepoStatus, PvReclaimPolicy, SecretReference, StorageProvider,
    StorageProviderPhase, StorageProviderSpec, StorageProviderStatus, names as api_names,
};
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::core::v1::{PersistentVolumeClaim, Secret},
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{Condition, ObjectMeta},
    },
};

use super::*;

mod checks;
mod deletion;
mod inputs;
mod namespaces;
mod providers;
mod shipped;

/// The words of the conditions, as scripts have them.
mod condition_types {
    pub(super) const STORAGE_PROVIDER_READY: &str = "StorageProviderReady";
    pub(super) const PARAMETERS_CHECKED: &str = "ParametersChecked";
    pub(super) const STORAGE_CLASS_CREATED: &str = "StorageClassCreated";
    pub(super) const PVC_TEMPLATE_CHECKED: &str = "PVCTemplateChecked";
    pub(super) const DERIVED_OBJECTS_DELETED: &str = "DerivedObjectsDeleted";
    pub(super) const STORAGE_CLASS_CURRENT: &str = "StorageClassCurrent";
    pub(super) const CLAIMS_CREATED: &str = "ClaimsCreated";
    pub(super) const SHARES_DISK_WITH_DATA: &str = "SharesDiskWithData";
}

const UID: &str = "3f2a9c1e-0000-4000-8000-000000000001";

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn provider() -> StorageProvider {
    let mut provider = StorageProvider::new(
        "sp",
        StorageProviderSpec {
            csi_driver_name: Some("test.csi".to_owned()),
            csi_driver_secret_template: Some(
                "value1: {{ index .Parameters \"key1\" }}\ncred: {{ index .Parameters \"cred-key1\" | quote }}\n"
                    .to_owned(),
            ),
            storage_class_template: Some(
                "provisioner: test.csi\nparameters:\n  value2: {{ index .Parameters \"key2\" }}\n  \
                 secret-name: {{ .CSIDriverSecretRef.Name }}\n  secret-namespace: {{ .CSIDriverSecretRef.Namespace }}\n"
                    .to_owned(),
            ),
            ..StorageProviderSpec::default()
        },
    );
    provider.status = Some(StorageProviderStatus {
        phase: Some(StorageProviderPhase::Ready),
        ..StorageProviderStatus::default()
    });
    provider
}

fn credential() -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some("cred".to_owned()),
            ..ObjectMeta::default()
        },
        data: Some([("cred-key1".to_owned(), ByteString(b"s3cr3t: \"x\"".to_vec()))].into()),
        ..Secret::default()
    }
}

fn observed() -> Observed {
    let mut repo = BackupRepo::new(
        "r",
        BackupRepoSpec {
            storage_provider_ref: "sp".to_owned(),
            volume_capacity: Some(Quantity("1Gi".to_owned())),
            pv_reclaim_policy: PvReclaimPolicy::Retain,
            config: Some(strings(&[("key1", "val1"), ("key2", "val2")])),
            credential: Some(SecretReference {
                name: Some("cred".to_owned()),
                namespace: None,
            }),
        },
    );
    repo.metadata.uid = Some(UID.to_owned());
    repo.metadata.generation = Some(1);
    repo.metadata.resource_version = Some("1".to_owned());
    Observed {
        repo,
        namespace: "holdfast".to_owned(),
        provider: Some(provider()),
        credential: Credential::Found(Box::new(credential())),
        ..Observed::default()
    }
}

/// Does what was decided, as an API server would; true if something was written.
fn store(observed: &mut Observed, write: Option<Write>) -> bool {
    let Some(write) = write else { return false };
    match write {
        Write::Metadata(patch) => {
            let list = patch["finalizers"].as_array().unwrap();
            let list = list.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
            observed.repo.metadata.finalizers = Some(list);
        }
        Write::Status(status) => observed.repo.status = Some(*status),
        Write::CreateSecret(secret) => {
            assert_eq!(observed.secret, None);
            observed.secret = Some(*secret);
        }
        Write::UpdateSecret(secret) => observed.secret = Some(*secret),
        Write::CreateStorageClass(class) => {
            assert_eq!(observed.storage_class, None);
            observed.storage_class = Some(*class);
        }
        Write::CreateClaim(mut claim) => {
            claim.metadata.uid = Some(format!("claim-{}", observed.claims.len()));
            observed.claims.push(*claim);
        }
        Write::ReleaseBackup(backup) => observed.waiting.retain(|waiting| *waiting != backup),
        Write::DeleteClaim(target) => {
            let claim = observed
                .claims
                .iter_mut()
                .find(|claim| claim.metadata.uid.as_ref() == Some(&target.uid));
            claim.unwrap().metadata.deletion_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
        }
        Write::DeleteStorageClass(_) => observed.storage_class = None,
        Write::DeleteSecret(_) => observed.secret = None,
    }
    true
}

/// Decides and writes until there is nothing to write; all events and news on the way.
fn settle_at(observed: &mut Observed, now: Timestamp) -> (Vec<Event>, Vec<BackupRepoPhase>, Next) {
    let (mut events, mut news) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        let decision = decide(observed, now);
        events.extend(decision.events);
        news.extend(decision.news);
        if !store(observed, decision.write) {
            return (events, news, decision.next);
        }
    }
    panic!("never settles: {:#?}", observed.repo.status);
}

fn settle(observed: &mut Observed) -> (Vec<Event>, Vec<BackupRepoPhase>, Next) {
    settle_at(observed, now())
}

fn status(observed: &Observed) -> BackupRepoStatus {
    observed.repo.status.clone().unwrap_or_default()
}

fn phase(observed: &Observed) -> BackupRepoPhase {
    status(observed).phase.unwrap()
}

fn condition(observed: &Observed, kind: &str) -> Condition {
    let conditions = status(observed).conditions;
    conditions
        .into_iter()
        .find(|condition| condition.type_ == kind)
        .unwrap_or_else(|| panic!("no condition {kind}"))
}

/// Status and reason of a condition, such as `False NameTaken`.
fn said(observed: &Observed, kind: &str) -> String {
    let condition = condition(observed, kind);
    format!("{} {}", condition.status, condition.reason)
}

fn reasons(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.reason.as_str()).collect()
}

fn ready() -> Observed {
    let mut observed = observed();
    settle(&mut observed);
    assert_eq!(phase(&observed), BackupRepoPhase::Ready, "{:#?}", observed.repo.status);
    observed
}

fn later(seconds: u64) -> Timestamp {
    now() + Duration::from_secs(seconds)
}

fn our_labels() -> BTreeMap<String, String> {
    strings(&[
        (api_names::LABEL_BACKUP_REPO_NAME, "r"),
        (api_names::LABEL_REPO_UID, UID),
        (api_names::LABEL_MANAGED_BY, "holdfast"),
    ])
}

#[test]
fn names_are_the_same_when_made_again_and_valid_for_every_repository() {
    let mut repo = observed().repo;
    let made = names(&repo);
    assert_eq!(made, names(&repo));
    assert!(made.secret.starts_with("secret-r-") && made.storage_class.starts_with("sc-r-"));
    assert_eq!(made.claim.len(), "pvc-r-".len() + 6);
    repo.metadata.name = Some(format!("{}.{}", "a".repeat(51), "b".repeat(200)));
    let long = names(&repo);
    assert_eq!(long.claim, format!("pvc-{}-{}", "a".repeat(51), &made.claim[6..]));
    assert!(long.secret.len() <= 63);
    assert!(label_value(&repo).len() <= 63);
    repo.metadata.uid = Some("another".to_owned());
    assert_ne!(names(&repo), long);
    repo.status = Some(BackupRepoStatus {
        backup_pvc_name: Some("kept".to_owned()),
        ..BackupRepoStatus::default()
    });
    assert_eq!(names(&repo).claim, "kept");
}
