//! Suspended workloads whose RestoreJob is gone: people are told what to do, once for each process that leads.

use std::collections::BTreeSet;

use holdfast_api::{RestoreJob, condition::Reason, names::LABEL_HELD};
use holdfast_core::restore::{self, Workload};
use holdfast_kube::{Read, WriteError, list, read};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::{Api, Resource, ResourceExt as _, api::ListParams};

use crate::Context;

/// The workloads, by uid, that were told about.
#[derive(Debug, Default)]
pub(crate) struct Told(BTreeSet<String>);

/// Looks at every suspended workload.
pub(crate) async fn look(context: &Context, told: &mut Told) -> Result<(), WriteError> {
    let client = context.service.client.clone();
    let locked = ListParams::default().labels(&format!("{LABEL_HELD}=true"));
    let sets: Api<StatefulSet> = Api::all(client.clone());
    for set in list(&sets, &locked).await? {
        tell(context, told, &set, &Workload::stateful_set(&set)).await?;
    }
    let deployments: Api<Deployment> = Api::all(client);
    for deployment in list(&deployments, &locked).await? {
        tell(context, told, &deployment, &Workload::deployment(&deployment)).await?;
    }
    Ok(())
}

async fn tell<K>(context: &Context, told: &mut Told, object: &K, workload: &Workload) -> Result<(), WriteError>
where
    K: Resource<DynamicType = ()>,
{
    let Some(lock) = workload.suspend_lock() else {
        return Ok(());
    };
    if told.0.contains(workload.uid()) {
        return Ok(());
    }
    let namespace = object.namespace().unwrap_or_default();
    let uid = match read::<RestoreJob>(context.service.client.clone(), Some(&namespace), &lock.name).await? {
        Read::Found(owner) => owner.metadata.uid,
        Read::Unreadable(uid, _) => uid,
        Read::Absent => None,
    };
    if uid.as_ref() == Some(&lock.uid) {
        return Ok(());
    }
    if let Some(text) = restore::orphan(workload) {
        tracing::warn!(workload = workload.name(), "{text}");
        context
            .service
            .events
            .publish(object, true, Reason::TargetDirty.as_str(), &text)
            .await;
        told.0.insert(workload.uid().to_owned());
    }
    Ok(())
}
