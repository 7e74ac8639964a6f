//! The kinds must be served, and they must be ours.

use std::time::Duration;

use anyhow::bail;
use holdfast_api::crds::PART_OF;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, ResourceExt as _};

use crate::{Service, write};

/// The CRD that tells whose the API group is.
const BACKUPS: &str = "backups.dataprotection.kubeblocks.io";
/// How often the API server is asked again.
const AGAIN: Duration = Duration::from_secs(3);

/// Waits until the API server serves the CRDs of these names (`<plural>.<group>`). Not ready meanwhile; returns early
/// when the service stops.
pub async fn wait(service: &Service, names: &[&str]) {
    let gate = service.gate("CRDs served");
    let api: Api<CustomResourceDefinition> = Api::all(service.client.clone());
    for name in names {
        loop {
            match write::get(&api, name).await {
                Ok(Some(crd)) if established(&crd) => break,
                Ok(_) => tracing::info!(crd = name, "waiting for the CRD"),
                Err(error) => tracing::warn!(crd = name, %error, "cannot read the CRD"),
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = service.shutdown.cancelled() => return,
            }
        }
    }
    gate.open();
}

/// Errors when the API group is served by somebody else, naming whom; an absent CRD is no error.
pub async fn refuse_foreign(client: &Client) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let Some(crd) = write::get(&api, BACKUPS).await? else {
        return Ok(());
    };
    if crd.labels().get(PART_OF.0).is_some_and(|value| value == PART_OF.1) {
        return Ok(());
    }
    bail!(
        "the CRD {BACKUPS} is not Holdfast's: {}; two owners of one API would destroy each other's backups: remove the other or use another cluster",
        owner(&crd)
    )
}

fn established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Established" && one.status == "True"))
}

/// What is known about whoever installed a CRD.
fn owner(crd: &CustomResourceDefinition) -> String {
    let mut known: Vec<String> = [
        "app.kubernetes.io/part-of",
        "app.kubernetes.io/name",
        "app.kubernetes.io/managed-by",
    ]
    .iter()
    .filter_map(|key| crd.labels().get(*key).map(|value| format!("{key}={value}")))
    .collect();
    if let Some(release) = crd.annotations().get("meta.helm.sh/release-name") {
        let namespace = crd
            .annotations()
            .get("meta.helm.sh/release-namespace")
            .map_or("", String::as_str);
        known.push(format!("installed by Helm release {namespace}/{release}"));
    }
    let managers: std::collections::BTreeSet<&str> = crd
        .managed_fields()
        .iter()
        .filter_map(|field| field.manager.as_deref())
        .collect();
    if !managers.is_empty() {
        known.push(format!(
            "written by {}",
            managers.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    if let Some(time) = crd.creation_timestamp() {
        known.push(format!("created {}", time.0));
    }
    known.join("; ")
}
