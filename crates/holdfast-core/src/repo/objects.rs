//! The Secret, StorageClass and claims of a repository, as its provider's templates give them.

use std::collections::BTreeMap;

use holdfast_api::{BackupRepo, names};
use k8s_openapi::{
    ByteString,
    api::{
        core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, Secret, VolumeResourceRequirements},
        storage::v1::StorageClass,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};

use serde_json::{Value, json};

use super::label_value;
use crate::{
    quantity,
    template::{self, TemplateError, Values},
};

/// What a claim asks for where neither the repository nor the template says: no claim is valid without a size.
const DEFAULT_CAPACITY: &str = "100Gi";

/// Metadata of something that is made for the repository. Labels and annotations of a template stay, under ours.
fn metadata(repo: &BackupRepo, name: &str, namespace: Option<&str>, template: ObjectMeta) -> ObjectMeta {
    let mut labels = template.labels.unwrap_or_default();
    labels.insert(names::LABEL_BACKUP_REPO_NAME.to_owned(), label_value(repo));
    labels.insert(
        names::LABEL_REPO_UID.to_owned(),
        repo.metadata.uid.clone().unwrap_or_default(),
    );
    labels.insert(
        names::LABEL_MANAGED_BY.to_owned(),
        names::MANAGED_BY_HOLDFAST.to_owned(),
    );
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        labels: Some(labels),
        annotations: template.annotations,
        ..ObjectMeta::default()
    }
}

/// The CSI driver's Secret.
pub(super) fn secret(
    repo: &BackupRepo,
    name: &str,
    namespace: &str,
    text: &str,
    values: &Values,
) -> Result<Secret, TemplateError> {
    let data = template::render_strings("secret", text, values)?;
    let data: BTreeMap<_, _> = data
        .into_iter()
        .map(|(key, value)| (key, ByteString(value.into_bytes())))
        .collect();
    Ok(Secret {
        metadata: metadata(repo, name, Some(namespace), ObjectMeta::default()),
        data: Some(data),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    })
}

/// The change that makes the stored Secret's data and labels what they shall be, and keeps everything else as it is; keys
/// that are no longer rendered are removed. `None` where nothing differs.
pub(super) fn secret_change(stored: &Secret, desired: &Secret) -> Option<Value> {
    let have = stored.data.clone().unwrap_or_default();
    let want = desired.data.clone().unwrap_or_default();
    let labels = stored.metadata.labels.clone().unwrap_or_default();
    let mut wanted = desired.metadata.labels.iter().flatten();
    if have == want && wanted.all(|(key, value)| labels.get(key) == Some(value)) {
        return None;
    }
    let dropped = have.keys().map(|key| (key, Value::Null));
    let data: BTreeMap<&String, Value> = dropped
        .chain(want.iter().map(|(key, value)| (key, json!(value))))
        .collect();
    Some(json!({"metadata": {"labels": desired.metadata.labels}, "data": data}))
}

/// The StorageClass. Binding stays as the template says, else it is immediate; what becomes of volumes is the
/// repository's to say.
pub(super) fn storage_class(
    repo: &BackupRepo,
    name: &str,
    text: &str,
    values: &Values,
) -> Result<StorageClass, String> {
    let mut class: StorageClass =
        template::render_object("storageclass", text, values, "a StorageClass").map_err(|error| error.to_string())?;
    if class.provisioner.is_empty() {
        return Err("the rendered StorageClass names no provisioner".to_owned());
    }
    class.metadata = metadata(repo, name, None, class.metadata);
    class.volume_binding_mode.get_or_insert_with(|| "Immediate".to_owned());
    class.reclaim_policy = Some(repo.spec.pv_reclaim_policy.as_str().to_owned());
    Ok(class)
}

/// Whether volumes made with either class would be alike.
pub(super) fn same_class(stored: &StorageClass, desired: &StorageClass) -> bool {
    let parameters = |class: &StorageClass| class.parameters.clone().unwrap_or_default();
    let options = |class: &StorageClass| class.mount_options.clone().unwrap_or_default();
    let topologies = |class: &StorageClass| class.allowed_topologies.clone().unwrap_or_default();
    stored.provisioner == desired.provisioner
        && parameters(stored) == parameters(desired)
        && options(stored) == options(desired)
        && topologies(stored) == topologies(desired)
        && stored.reclaim_policy.as_deref().unwrap_or("Delete") == desired.reclaim_policy.as_deref().unwrap_or("Delete")
        && stored.volume_binding_mode == desired.volume_binding_mode
}

/// A claim without a namespace, from the template or from nothing but the StorageClass.
pub(super) fn claim(
    repo: &BackupRepo,
    name: &str,
    text: Option<&str>,
    values: &Values,
) -> Result<PersistentVolumeClaim, String> {
    let template: PersistentVolumeClaim = match text {
        Some(text) => template::render_object("persistentvolumeclaim", text, values, "a PersistentVolumeClaim")
            .map_err(|error| error.to_string())?,
        None => PersistentVolumeClaim::default(),
    };
    let mut spec = template.spec.unwrap_or_default();
    if spec.storage_class_name.is_none() && !values.storage_class.is_empty() {
        spec.storage_class_name = Some(values.storage_class.clone());
    }
    if spec.access_modes.as_ref().is_none_or(Vec::is_empty) {
        spec.access_modes = Some(vec!["ReadWriteMany".to_owned()]);
    }
    let mode = spec.volume_mode.get_or_insert_with(|| "Filesystem".to_owned());
    if mode != "Filesystem" {
        return Err("volumeMode has to be Filesystem: backups are files".to_owned());
    }
    request_storage(repo, &mut spec)?;
    Ok(PersistentVolumeClaim {
        metadata: metadata(repo, name, None, template.metadata),
        spec: Some(spec),
        status: None,
    })
}

fn request_storage(repo: &BackupRepo, spec: &mut PersistentVolumeClaimSpec) -> Result<(), String> {
    let resources = spec.resources.get_or_insert_with(VolumeResourceRequirements::default);
    let requests = resources.requests.get_or_insert_default();
    if let Some(Quantity(asked)) = requests.get("storage") {
        // Not shown: a template may make it of anything.
        return match asked.parse::<quantity::Quantity>() {
            Ok(asked) if asked.is_positive() => Ok(()),
            _ => Err("the template's storage request is not a quantity above zero".to_owned()),
        };
    }
    let asked = repo
        .spec
        .volume_capacity
        .as_ref()
        .map_or("0", |capacity| capacity.0.as_str());
    let capacity: quantity::Quantity = asked.parse().map_err(|error| format!("spec.volumeCapacity: {error}"))?;
    if capacity < quantity::Quantity::ZERO {
        return Err(format!("spec.volumeCapacity: {asked} is less than nothing"));
    }
    // Zero says nothing, as in manifests that always spell the field out.
    let asked = if capacity == quantity::Quantity::ZERO {
        DEFAULT_CAPACITY
    } else {
        asked
    };
    requests.insert("storage".to_owned(), Quantity(asked.to_owned()));
    Ok(())
}
