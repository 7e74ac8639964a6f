//! Parameters and templates: what people give, and what they are told about it.

use holdfast_api::ParametersSchema;
use serde_json::json;

use super::{condition_types::*, *};

#[test]
fn credentials_win_over_configuration() {
    let mut observed = observed();
    observed
        .repo
        .spec
        .config
        .as_mut()
        .unwrap()
        .insert("cred-key1".to_owned(), "plain".to_owned());
    settle(&mut observed);
    assert_eq!(observed.secret.unwrap().data.unwrap()["cred"].0, b"s3cr3t: \"x\"");
}

#[test]
fn credentials_that_cannot_be_read_are_named() {
    let table = [
        (
            Credential::Absent,
            "False CredentialSecretNotFound",
            "secret \"holdfast/cred\" not found",
        ),
        (
            Credential::OutOfReach,
            "False CredentialNamespaceNotAllowed",
            "credentialNamespaces",
        ),
    ];
    for (credential, expected, words) in table {
        let mut observed = observed();
        observed.credential = credential;
        settle(&mut observed);
        settle_at(&mut observed, later(31));
        assert_eq!(phase(&observed), BackupRepoPhase::Failed);
        assert_eq!(said(&observed, PARAMETERS_CHECKED), expected);
        assert!(condition(&observed, PARAMETERS_CHECKED).message.contains(words));
    }
    let mut observed = observed();
    let Credential::Found(secret) = &mut observed.credential else {
        panic!()
    };
    secret
        .data
        .as_mut()
        .unwrap()
        .insert("raw".to_owned(), ByteString(vec![0xff, 0xfe]));
    settle(&mut observed);
    assert_eq!(said(&observed, PARAMETERS_CHECKED), "False InvalidParameters");
    assert!(condition(&observed, PARAMETERS_CHECKED).message.contains("key raw"));
}

#[test]
fn parameters_are_checked_against_the_schema() {
    let schema = json!({
        "type": "object",
        "required": ["key1", "bucket"],
        "properties": {"key2": {"type": "string", "enum": ["val1", "other"]}}
    });
    let mut observed = observed();
    let schema = ParametersSchema {
        open_api_v3_schema: Some(schema),
        credential_fields: None,
    };
    observed.provider.as_mut().unwrap().spec.parameters_schema = Some(schema);
    settle(&mut observed);
    assert_eq!(phase(&observed), BackupRepoPhase::Failed);
    assert_eq!(
        condition(&observed, PARAMETERS_CHECKED).message,
        "storage provider sp needs the parameters: bucket"
    );
    observed
        .repo
        .spec
        .config
        .as_mut()
        .unwrap()
        .insert("bucket".to_owned(), "b".to_owned());
    settle(&mut observed);
    let message = condition(&observed, PARAMETERS_CHECKED).message;
    assert_eq!(
        message,
        "storage provider sp: parameter key2 has to be one of val1, other"
    );
    observed
        .repo
        .spec
        .config
        .as_mut()
        .unwrap()
        .insert("key2".to_owned(), "other".to_owned());
    settle(&mut observed);
    assert_eq!(phase(&observed), BackupRepoPhase::Ready);
}

#[test]
fn templates_that_cannot_be_used_are_named() {
    let secret = |text: &str| StorageProviderSpec {
        csi_driver_secret_template: Some(text.to_owned()),
        ..provider().spec
    };
    let class = |text: &str| StorageProviderSpec {
        storage_class_template: Some(text.to_owned()),
        ..provider().spec
    };
    let claim = |text: &str| StorageProviderSpec {
        persistent_volume_claim_template: Some(text.to_owned()),
        ..provider().spec
    };
    let (created, checked) = (STORAGE_CLASS_CREATED, PVC_TEMPLATE_CHECKED);
    let table = [
        (
            secret("{{ bad template }"),
            created,
            "False BadSecretTemplate",
            "function \"bad\" not defined",
        ),
        (
            secret("bad spec"),
            created,
            "False BadSecretTemplate",
            "cannot unmarshal",
        ),
        (
            secret("a: {{ .Nope }}"),
            created,
            "False BadSecretTemplate",
            "can't evaluate field Nope",
        ),
        (
            class("{{ bad template }"),
            created,
            "False BadStorageClassTemplate",
            "function \"bad\" not defined",
        ),
        (
            class("bad spec"),
            created,
            "False BadStorageClassTemplate",
            "cannot unmarshal",
        ),
        (
            class("parameters: {a: b}"),
            created,
            "False BadStorageClassTemplate",
            "provisioner",
        ),
        (claim("bad spec"), checked, "False BadPVCTemplate", "cannot unmarshal"),
        (
            claim("{{ bad template }"),
            checked,
            "False BadPVCTemplate",
            "function \"bad\" not defined",
        ),
        (
            claim("spec: {volumeMode: Block}"),
            checked,
            "False BadPVCTemplate",
            "volumeMode",
        ),
        (
            claim("spec: {resources: {requests: {storage: much}}}"),
            checked,
            "False BadPVCTemplate",
            "storage request",
        ),
    ];
    for (spec, kind, expected, words) in table {
        let mut observed = observed();
        observed.provider.as_mut().unwrap().spec = spec.clone();
        let (events, news, _) = settle(&mut observed);
        assert_eq!(phase(&observed), BackupRepoPhase::Failed, "{spec:?}");
        assert_eq!(said(&observed, kind), expected);
        let message = condition(&observed, kind).message;
        assert!(message.contains(words), "{message}");
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!((events[0].warning, &events[0].note), (true, &message));
        assert_eq!(news, [BackupRepoPhase::Failed]);

        observed.provider = Some(provider());
        settle(&mut observed);
        assert_eq!(phase(&observed), BackupRepoPhase::Ready, "{spec:?}");
    }
}

#[test]
fn a_provider_without_any_template_is_invalid() {
    let mut observed = observed();
    let spec = &mut observed.provider.as_mut().unwrap().spec;
    spec.storage_class_template = Some(" \n".to_owned());
    spec.persistent_volume_claim_template = None;
    settle(&mut observed);
    assert_eq!(phase(&observed), BackupRepoPhase::Failed);
    assert_eq!(said(&observed, STORAGE_PROVIDER_READY), "False InvalidStorageProvider");
    let message = condition(&observed, STORAGE_PROVIDER_READY).message;
    assert_eq!(
        message,
        "both StorageClassTemplate and PersistentVolumeClaimTemplate are empty"
    );
}

#[test]
fn no_status_and_no_event_holds_a_credential() {
    let mut observed = observed();
    let spec = &mut observed.provider.as_mut().unwrap().spec;
    spec.storage_class_template = Some("provisioner: [{{ index .Parameters \"cred-key1\" }}]".to_owned());
    let (events, ..) = settle(&mut observed);
    assert_eq!(said(&observed, STORAGE_CLASS_CREATED), "False BadStorageClassTemplate");
    let shown = format!("{events:?} {:?}", observed.repo.status);
    assert!(!shown.contains("s3cr3t"), "{shown}");
}
