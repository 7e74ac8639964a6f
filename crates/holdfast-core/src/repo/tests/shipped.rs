//! The providers that the chart ships: each renders what its storage needs.

use super::*;

/// Everything that a repository with this shipped provider makes in namespace `a`.
fn made(yaml: &str, config: &[(&str, &str)], credential: &[(&str, &str)]) -> Observed {
    let mut provider: StorageProvider = serde_saphyr::from_str(yaml).unwrap();
    provider.status = Some(StorageProviderStatus {
        phase: Some(StorageProviderPhase::Ready),
        ..StorageProviderStatus::default()
    });
    let mut observed = observed();
    observed.provider = Some(provider);
    observed.repo.spec.config = Some(strings(config));
    let data = credential
        .iter()
        .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
    observed.credential = Credential::Found(Box::new(Secret {
        data: Some(data.collect()),
        ..Secret::default()
    }));
    observed.waiting = vec![Waiting {
        namespace: "a".to_owned(),
        name: "b1".to_owned(),
        uid: "u".to_owned(),
        resource_version: "1".to_owned(),
        told: false,
    }];
    settle(&mut observed);
    observed
}

const KEYS: &[(&str, &str)] = &[("accessKeyId", "0123"), ("secretAccessKey", "a\"b: #c\\d")];

/// Checks an object store's Secret and StorageClass.
fn assert_store(yaml: &str, config: &[(&str, &str)], endpoint: &str, options: &str) {
    let observed = made(yaml, config, KEYS);
    assert_eq!(phase(&observed), BackupRepoPhase::Ready, "{:#?}", observed.repo.status);
    let data = observed.secret.as_ref().unwrap().data.clone().unwrap();
    let data: BTreeMap<_, _> = data
        .into_iter()
        .map(|(key, value)| (key, String::from_utf8(value.0).unwrap()))
        .collect();
    let expected = [
        ("accessKeyID", "0123"),
        ("secretAccessKey", "a\"b: #c\\d"),
        ("endpoint", endpoint),
    ];
    assert_eq!(data, strings(&expected));
    let class = observed.storage_class.clone().unwrap();
    assert_eq!(class.provisioner, "ru.yandex.s3.csi");
    assert_eq!(class.volume_binding_mode.as_deref(), Some("Immediate"));
    let options = format!("--memory-limit 1000 --dir-mode 0777 --file-mode 0666{options}");
    let mut expected = strings(&[("mounter", "geesefs"), ("options", &options), ("bucket", "b")]);
    for step in ["provisioner", "controller-publish", "node-stage", "node-publish"] {
        expected.insert(
            format!("csi.storage.k8s.io/{step}-secret-name"),
            names(&observed.repo).secret,
        );
        expected.insert(
            format!("csi.storage.k8s.io/{step}-secret-namespace"),
            "holdfast".to_owned(),
        );
    }
    assert_eq!(class.parameters, Some(expected));
    assert_eq!(
        observed.claims[0].spec.clone().unwrap().storage_class_name,
        Some(names(&observed.repo).storage_class)
    );
}

/// Checks a store that knows its own endpoint from the region.
fn assert_regional(yaml: &str, endpoint: &str, options: &str) {
    let region = ("region", "cn-x");
    assert_store(yaml, &[("bucket", "b"), region], endpoint, options);
    let own = [
        ("bucket", "b"),
        region,
        ("endpoint", "https://own"),
        ("mountOptions", "--debug"),
    ];
    assert_store(yaml, &own, "https://own", &format!(" --debug{options}"));
    for missing in ["bucket", "region"] {
        let config: Vec<_> = [("bucket", "b"), region]
            .into_iter()
            .filter(|(key, _)| *key != missing)
            .collect();
        assert_needs(yaml, &config, KEYS, missing);
    }
    assert_needs(yaml, &[("bucket", "b"), region], &KEYS[..1], "secretAccessKey");
}

fn assert_needs(yaml: &str, config: &[(&str, &str)], credential: &[(&str, &str)], parameter: &str) {
    let observed = made(yaml, config, credential);
    assert_eq!(
        said(&observed, condition_types::PARAMETERS_CHECKED),
        "False InvalidParameters"
    );
    let message = condition(&observed, condition_types::PARAMETERS_CHECKED).message;
    assert!(
        message.ends_with(&format!("needs the parameters: {parameter}")),
        "{message}"
    );
}

macro_rules! shipped {
    ($name:literal) => {
        include_str!(concat!(
            "../../../../../charts/holdfast/files/providers/",
            $name,
            ".yaml"
        ))
    };
}

#[test]
fn s3_renders() {
    assert_regional(shipped!("s3"), "https://s3.cn-x.amazonaws.com.cn", " --region cn-x");
    let config = [("bucket", "b"), ("region", "us-east-1")];
    assert_store(
        shipped!("s3"),
        &config,
        "https://s3.us-east-1.amazonaws.com",
        " --region us-east-1",
    );
}

#[test]
fn oss_renders() {
    assert_regional(shipped!("oss"), "https://oss-cn-x.aliyuncs.com", " --subdomain");
}

#[test]
fn obs_renders() {
    assert_regional(shipped!("obs"), "https://obs.cn-x.myhuaweicloud.com", " --subdomain");
}

#[test]
fn cos_renders() {
    assert_regional(shipped!("cos"), "https://cos.cn-x.myqcloud.com", " --subdomain");
}

#[test]
fn gcs_renders() {
    assert_regional(shipped!("gcs"), "https://storage.googleapis.com", " --subdomain");
}

#[test]
fn minio_renders() {
    let yaml = shipped!("minio");
    assert_store(
        yaml,
        &[("bucket", "b"), ("endpoint", "http://minio:9000")],
        "http://minio:9000",
        "",
    );
    assert_needs(yaml, &[("bucket", "b")], KEYS, "endpoint");
}

#[test]
fn pvc_renders() {
    let yaml = shipped!("pvc");
    let observed = made(yaml, &[], &[]);
    assert_eq!((&observed.secret, &observed.storage_class), (&None, &None));
    let spec = observed.claims[0].spec.clone().unwrap();
    assert_eq!(
        (spec.storage_class_name, spec.volume_mode),
        (None, Some("Filesystem".to_owned()))
    );
    assert_eq!(spec.access_modes, Some(vec!["ReadWriteOnce".to_owned()]));
    let observed = made(
        yaml,
        &[("storageClassName", "fast"), ("accessMode", "ReadWriteMany")],
        &[],
    );
    let spec = observed.claims[0].spec.clone().unwrap();
    assert_eq!(spec.storage_class_name.as_deref(), Some("fast"));
    assert_eq!(spec.access_modes, Some(vec!["ReadWriteMany".to_owned()]));
    let observed = made(yaml, &[("accessMode", "ReadOnlyMany")], &[]);
    assert_eq!(
        said(&observed, condition_types::PARAMETERS_CHECKED),
        "False InvalidParameters"
    );
}

#[test]
fn local_renders() {
    let mut provider: StorageProvider = serde_saphyr::from_str(shipped!("local")).unwrap();
    assert_eq!(provider.spec.csi_driver_name.as_deref(), Some(LOCAL_DRIVER));
    assert_eq!(provider.metadata.name.take().as_deref(), Some("local"));
    let observed = made(shipped!("local"), &[], &[]);
    let class = observed.storage_class.clone().unwrap();
    assert_eq!(class.provisioner, LOCAL_DRIVER);
    assert_eq!(class.volume_binding_mode.as_deref(), Some("WaitForFirstConsumer"));
    assert_eq!(observed.secret, None);
    let spec = observed.claims[0].spec.clone().unwrap();
    assert_eq!(spec.access_modes, Some(vec!["ReadWriteMany".to_owned()]));
    assert_eq!(
        said(&observed, condition_types::SHARES_DISK_WITH_DATA),
        "True SharesDiskWithData"
    );
}
