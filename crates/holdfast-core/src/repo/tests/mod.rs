//! Repositories and providers as observed in a cluster, what is decided, and what it leads to.

use std::time::Duration;

use holdfast_api::{
    BackupRepo, BackupRepoPhase, BackupRepoSpec, BackupRepoStatus, PvReclaimPolicy, SecretReference, StorageProvider,
    StorageProviderPhase, StorageProviderSpec, StorageProviderStatus,
    condition::{self, ConditionType},
    event::BusEventKind,
    names as api_names,
};
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::core::v1::{PersistentVolumeClaim, Secret},
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{Condition, ObjectMeta, Time},
    },
};

use serde_json::{Value, json};

use super::*;
use crate::decision::{Child, Event, Kind, Next, Notice, Target};

mod checks;
mod deletion;
mod identities;
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
        Write::Create(Child::Secret(secret)) => {
            assert_eq!(observed.secret, None);
            observed.secret = Some(*secret);
        }
        Write::Create(Child::StorageClass(class)) => {
            assert_eq!(observed.storage_class, None);
            observed.storage_class = Some(*class);
        }
        Write::Create(Child::Claim(mut claim)) => {
            claim.metadata.uid = Some(format!("claim-{}", observed.claims.len()));
            observed.claims.push(*claim);
        }
        Write::Patch(target, change) if target.kind == Kind::Secret => {
            let stored = observed.secret.as_mut().unwrap();
            assert_eq!(Some(&target), Some(&Target::exactly(Kind::Secret, stored)));
            merge(stored, &change);
        }
        Write::Patch(target, change) => {
            assert_eq!(target.kind, Kind::Backup);
            if change["metadata"]["annotations"][api_names::ANNOTATION_CLAIM_REFUSED].is_string() {
                let told = observed
                    .waiting
                    .iter_mut()
                    .find(|waiting| !waiting_is_not(waiting, &target));
                told.unwrap().told = true;
                return true;
            }
            assert_eq!(
                change["metadata"]["labels"],
                json!({api_names::LABEL_NEED_REPO_PVC: null})
            );
            observed.waiting.retain(|waiting| waiting_is_not(waiting, &target));
        }
        Write::Delete(target) => match target.kind {
            Kind::Claim => {
                let mut claims = observed.claims.iter_mut();
                let claim = claims.find(|claim| claim.metadata.uid.as_ref() == Some(&target.uid));
                claim.unwrap().metadata.deletion_timestamp = Some(Time(now()));
            }
            Kind::StorageClass => observed.storage_class = None,
            Kind::Secret => observed.secret = None,
            other => panic!("{other:?}"),
        },
        other @ Write::Create(_) => panic!("{other:?}"),
    }
    true
}

fn waiting_is_not(waiting: &Waiting, target: &Target) -> bool {
    let guard = (&waiting.uid, Some(&waiting.resource_version));
    guard != (&target.uid, target.resource_version.as_ref())
}

/// A merge (RFC 7386) of data and labels, as an API server does it.
fn merge(secret: &mut Secret, change: &Value) {
    let mut stored = serde_json::to_value(&*secret).unwrap();
    for (key, value) in change["data"].as_object().unwrap() {
        match value {
            Value::Null => drop(stored["data"].as_object_mut().unwrap().remove(key)),
            value => stored["data"][key] = value.clone(),
        }
    }
    stored["metadata"]["labels"] = change["metadata"]["labels"].clone();
    *secret = serde_json::from_value(stored).unwrap();
}

/// The Events among notices, and the phases that messages tell.
fn told(notices: Vec<Notice>) -> (Vec<Event>, Vec<BackupRepoPhase>) {
    let (mut events, mut news) = (Vec::new(), Vec::new());
    for notice in notices {
        match notice {
            Notice::Event(event) => events.push(event),
            Notice::Bus(message) => news.push(match message.kind {
                BusEventKind::RepoReady => BackupRepoPhase::Ready,
                BusEventKind::RepoFailed => BackupRepoPhase::Failed,
                other => panic!("{other:?}"),
            }),
        }
    }
    (events, news)
}

/// Decides and writes until there is nothing to write; all events and news on the way.
fn settle_at(observed: &mut Observed, now: Timestamp) -> (Vec<Event>, Vec<BackupRepoPhase>, Next<Infallible>) {
    let (mut events, mut news) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        let decision = decide(observed, now);
        let (more_events, more_news) = told(decision.notices);
        events.extend(more_events);
        news.extend(more_news);
        if !store(observed, decision.write) {
            return (events, news, decision.next);
        }
    }
    panic!("never settles: {:#?}", observed.repo.status);
}

fn settle(observed: &mut Observed) -> (Vec<Event>, Vec<BackupRepoPhase>, Next<Infallible>) {
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
