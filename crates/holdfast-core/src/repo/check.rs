//! What a living repository needs, check by check, in the order in which its conditions build on each other.

use holdfast_api::{
    BackupRepoStatus, SecretReference, StorageProvider, StorageProviderPhase,
    condition::{ConditionType, Reason, Status},
    names as api_names,
};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::{LOCAL_DRIVER, Names, Observed, Write, claims, is_ours, names, objects, parameters, verdict::Finding};
use crate::{
    decision::{Event, Kind, Target},
    template::Values,
};

/// The checks that have to hold before a repository is Ready, in their order.
pub(super) const CHECKS: [ConditionType; 4] = [
    ConditionType::StorageProviderReady,
    ConditionType::ParametersChecked,
    ConditionType::StorageClassCreated,
    ConditionType::PVCTemplateChecked,
];

/// What the checks found.
pub(super) struct Examined {
    /// Each check that was made.
    pub(super) findings: Vec<Finding>,
    /// The stored status with the names of what is made for the repository.
    pub(super) named: BackupRepoStatus,
    /// Why the check that failed did; the later ones were not made.
    pub(super) failed: Option<(Reason, String)>,
    /// What has to be made or brought up to date before the repository can be Ready.
    pub(super) action: Option<(Write, Option<Event>)>,
    /// The claim of the repository, without a namespace; only when every check passed.
    pub(super) claim: Option<PersistentVolumeClaim>,
}

impl Examined {
    fn passed(&mut self, check: ConditionType, reason: Reason, text: &str) {
        self.findings.push(Finding::is(check, true, reason, text));
    }

    fn failed(&mut self, check: ConditionType, status: impl Into<Status>, reason: Reason, text: &str) {
        self.findings.push(Finding::is(check, status, reason, text));
        self.failed = Some((reason, text.to_owned()));
    }
}

impl Observed {
    /// Whether Backups that name no repository go here.
    pub(super) fn is_default(&self) -> bool {
        let annotations = self.repo.metadata.annotations.as_ref();
        let mark = annotations.and_then(|annotations| annotations.get(api_names::ANNOTATION_IS_DEFAULT_REPO));
        mark.is_some_and(|value| value == "true")
    }
}

/// Runs the checks.
pub(super) fn examine(observed: &Observed) -> Examined {
    let mut examined = Examined {
        findings: Vec::new(),
        named: observed.repo.status.clone().unwrap_or_default(),
        failed: None,
        action: None,
        claim: None,
    };
    run(observed, &mut examined);
    examined
}

/// Stops at the first check that fails: the later ones rest on it, and their conditions stay what they were.
fn run(observed: &Observed, examined: &mut Examined) {
    let Some(provider) = check_provider(observed, examined) else {
        return;
    };
    examined.findings.push(shared_disk(provider));
    let parameters = match parameters::collect(observed)
        .and_then(|parameters| parameters::check(provider, &parameters).map(|()| parameters))
    {
        Ok(parameters) => parameters,
        Err((reason, message)) => return examined.failed(ConditionType::ParametersChecked, false, reason, &message),
    };
    examined.passed(ConditionType::ParametersChecked, Reason::ParametersChecked, "");
    let names = names(&observed.repo);
    record_names(observed, provider, &names, &mut examined.named);
    let mut values = Values {
        parameters,
        ..Values::default()
    };
    if !check_secret(observed, provider, &names, &mut values, examined) {
        return;
    }
    if !check_class(observed, provider, &names, &mut values, examined) {
        return;
    }
    let text = template(provider.spec.persistent_volume_claim_template.as_ref());
    match objects::claim(&observed.repo, &names.claim, text, &values) {
        Ok(claim) => {
            examined.passed(ConditionType::PVCTemplateChecked, Reason::PVCTemplateChecked, "");
            examined.findings.extend(claims::report(observed));
            examined.claim = Some(claim);
        }
        Err(message) => {
            examined.failed(
                ConditionType::PVCTemplateChecked,
                false,
                Reason::BadPVCTemplate,
                &message,
            );
            let claims = Finding::not_applicable(ConditionType::ClaimsCreated);
            examined.findings.push(claims);
        }
    }
}

fn template(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.trim().is_empty())
}

fn check_provider<'a>(observed: &'a Observed, examined: &mut Examined) -> Option<&'a StorageProvider> {
    let name = &observed.repo.spec.storage_provider_ref;
    let mut no = |reason, message: &str| examined.failed(ConditionType::StorageProviderReady, false, reason, message);
    let Some(provider) = &observed.provider else {
        no(
            Reason::StorageProviderNotFound,
            &format!("storage provider {name} not found"),
        );
        return None;
    };
    let phase = provider.status.as_ref().and_then(|status| status.phase);
    if phase != Some(StorageProviderPhase::Ready) {
        let phase = phase.map_or("", StorageProviderPhase::as_str);
        let message = format!("storage provider {name} is not ready, status: {phase}");
        no(Reason::StorageProviderNotReady, &message);
        return None;
    }
    let templates = [
        &provider.spec.storage_class_template,
        &provider.spec.persistent_volume_claim_template,
    ];
    if templates.into_iter().all(|text| template(text.as_ref()).is_none()) {
        let message = "both StorageClassTemplate and PersistentVolumeClaimTemplate are empty";
        no(Reason::InvalidStorageProvider, message);
        return None;
    }
    examined.passed(ConditionType::StorageProviderReady, Reason::StorageProviderReady, "");
    Some(provider)
}

fn shared_disk(provider: &StorageProvider) -> Finding {
    let check = ConditionType::SharesDiskWithData;
    if provider.spec.csi_driver_name.as_deref() != Some(LOCAL_DRIVER) {
        return Finding::not_applicable(check);
    }
    let text = "backups are directories of the node that the database runs on, so they share its disk: losing the node or \
                the disk loses data and backups alike; use an object store for backups that have to survive that";
    Finding::is(check, true, Reason::SharesDiskWithData, text)
}

/// Names are stored before anything is made under them, so that nothing is made which nobody finds again.
fn record_names(observed: &Observed, provider: &StorageProvider, names: &Names, status: &mut BackupRepoStatus) {
    if template(provider.spec.csi_driver_secret_template.as_ref()).is_some() {
        status.generated_csi_driver_secret = Some(SecretReference {
            name: Some(names.secret.clone()),
            namespace: Some(observed.namespace.clone()),
        });
    }
    if template(provider.spec.storage_class_template.as_ref()).is_some() {
        status.generated_storage_class_name = Some(names.storage_class.clone());
    }
    status.backup_pvc_name = Some(names.claim.clone());
}

/// Renders the Secret and compares it with the stored one. Data is compared, not a digest of it: nothing derived from
/// credentials has to be kept, and what somebody else changed is put right. False: no further check makes sense.
fn check_secret(
    observed: &Observed,
    provider: &StorageProvider,
    names: &Names,
    values: &mut Values,
    examined: &mut Examined,
) -> bool {
    let Some(text) = template(provider.spec.csi_driver_secret_template.as_ref()) else {
        return true;
    };
    let desired = match objects::secret(&observed.repo, &names.secret, &observed.namespace, text, values) {
        Ok(desired) => desired,
        Err(error) => {
            let message = error.to_string();
            examined.failed(
                ConditionType::StorageClassCreated,
                false,
                Reason::BadSecretTemplate,
                &message,
            );
            return false;
        }
    };
    values.secret_name.clone_from(&names.secret);
    values.secret_namespace.clone_from(&observed.namespace);
    match &observed.secret {
        Some(stored) if !is_ours(&stored.metadata, &observed.repo) => {
            let message = format!(
                "secret \"{}/{}\" exists and is not this repository's",
                observed.namespace, names.secret
            );
            examined.failed(ConditionType::StorageClassCreated, false, Reason::NameTaken, &message);
            false
        }
        Some(stored) => {
            let event = || Event::normal(Reason::CSIDriverSecretUpdated, "rendered the CSI driver's Secret again");
            let change = objects::secret_change(stored, &desired);
            let target = Target::exactly(Kind::Secret, stored);
            let update = change.map(|change| (Write::Patch(target, change), Some(event())));
            act(observed, examined, update)
        }
        None => act(observed, examined, Some((Write::Create(desired.into()), None))),
    }
}

/// Takes up what has to be written, unless the API server has just refused it. False while something is to be written.
fn act(observed: &Observed, examined: &mut Examined, action: Option<(Write, Option<Event>)>) -> bool {
    let Some(action) = action else { return true };
    match &observed.refused {
        Some(words) => examined.failed(
            ConditionType::StorageClassCreated,
            Status::Unknown,
            Reason::UnknownError,
            words,
        ),
        None => examined.action = Some(action),
    }
    false
}

fn check_class(
    observed: &Observed,
    provider: &StorageProvider,
    names: &Names,
    values: &mut Values,
    examined: &mut Examined,
) -> bool {
    let Some(text) = template(provider.spec.storage_class_template.as_ref()) else {
        examined
            .findings
            .push(Finding::not_applicable(ConditionType::StorageClassCurrent));
        examined.passed(
            ConditionType::StorageClassCreated,
            Reason::StorageClassCreated,
            "the provider needs no StorageClass",
        );
        return true;
    };
    let name = &names.storage_class;
    let desired = match objects::storage_class(&observed.repo, name, text, values) {
        Ok(desired) => desired,
        Err(message) => {
            examined.failed(
                ConditionType::StorageClassCreated,
                false,
                Reason::BadStorageClassTemplate,
                &message,
            );
            return false;
        }
    };
    values.storage_class.clone_from(name);
    let Some(stored) = &observed.storage_class else {
        return act(observed, examined, Some((Write::Create(desired.into()), None)));
    };
    if !is_ours(&stored.metadata, &observed.repo) {
        let message = format!("storage class {name} exists and is not this repository's");
        examined.failed(ConditionType::StorageClassCreated, false, Reason::NameTaken, &message);
        return false;
    }
    if objects::same_class(stored, &desired) {
        examined
            .findings
            .push(Finding::not_applicable(ConditionType::StorageClassCurrent));
    } else {
        let message = format!(
            "templates, parameters or reclaim policy changed since StorageClass {name} was made, and a StorageClass cannot be \
             changed; it is made anew after `kubectl delete storageclass {name}`; volumes that exist stay as they are"
        );
        let check = ConditionType::StorageClassCurrent;
        examined
            .findings
            .push(Finding::is(check, false, Reason::StorageClassOutdated, message));
    }
    examined.passed(ConditionType::StorageClassCreated, Reason::StorageClassCreated, "");
    true
}
