//! Waits until the API server serves the kinds that a service works with, and refuses those of somebody else.

use std::time::Duration;

use anyhow::bail;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use holdfast_api::crds::PART_OF;
use holdfast_kube::get;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, ResourceExt as _};

use crate::Service;

/// How soon the API server is asked again at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

impl Service {
    /// Waits until the API server serves the CRDs of these names (`<plural>.<group>`), however long it is away itself;
    /// the service is not ready meanwhile. Returns early when the service stops.
    ///
    /// # Errors
    ///
    /// One of the CRDs is somebody else's; the error names whose.
    pub async fn own_crds(&self, names: &[&str]) -> anyhow::Result<()> {
        let gate = self.gate("CRDs served");
        let api = Api::all(self.client.clone());
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => {}
            served = served(&api, names) => {
                served?;
                gate.open();
            }
        }
        Ok(())
    }
}

async fn served(api: &Api<CustomResourceDefinition>, names: &[&str]) -> anyhow::Result<()> {
    let (least, most) = AGAIN;
    let mut pauses = ExponentialBuilder::new()
        .with_min_delay(least)
        .with_max_delay(most)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build();
    let mut missing = names.to_vec();
    loop {
        missing = look(api, &missing).await?;
        if missing.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(pauses.next().unwrap_or(most)).await;
    }
}

/// Reads each CRD; answers those that are not served yet, or not known to be.
async fn look<'a>(api: &Api<CustomResourceDefinition>, names: &[&'a str]) -> anyhow::Result<Vec<&'a str>> {
    let mut missing = Vec::new();
    for (number, name) in names.iter().enumerate() {
        match get(api, name).await {
            Ok(Some(crd)) => {
                refuse_foreign(name, &crd)?;
                if established(&crd) {
                    continue;
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(crd = name, %error, "cannot read the CRD");
                // Who does not answer one does not answer the next either, only later.
                missing.extend_from_slice(names.get(number..).unwrap_or_default());
                return Ok(missing);
            }
        }
        tracing::info!(crd = name, "waiting for the CRD");
        missing.push(*name);
    }
    Ok(missing)
}

fn refuse_foreign(name: &str, crd: &CustomResourceDefinition) -> anyhow::Result<()> {
    if crd.labels().get(PART_OF.0).is_some_and(|value| value == PART_OF.1) {
        return Ok(());
    }
    bail!(
        "the CRD {name} is not Holdfast's: {}; two owners of one API would destroy each other's backups: remove the other or use another cluster",
        owner(crd)
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
