//! What a RestoreJob that is gone has left. Suspended workloads: people are told what to do, once for each process that
//! leads. Pods that were kept for their last word go.

use std::collections::BTreeSet;

use holdfast_api::{
    RestoreJob,
    condition::Reason,
    names::{ANNOTATION_FULL_NAME, LABEL_HELD, LABEL_RESTORE_UID, RESTORE_POD_FINALIZER},
};
use holdfast_core::{
    decision::has_finalizer,
    restore::{self, Workload},
};
use holdfast_kube::{Read, WriteError, get, list, patch_target, read};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::Pod,
};
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

/// Lets a pod go that was kept for a restore which is over, or gone.
pub(crate) async fn release(context: &Context, cached: &Pod) -> Result<(), WriteError> {
    let name = cached.annotations().get(ANNOTATION_FULL_NAME);
    let Some(name) = name.filter(|_| has_finalizer(&cached.metadata, RESTORE_POD_FINALIZER)) else {
        return Ok(());
    };
    let client = &context.service.client;
    let namespace = cached.namespace().unwrap_or_default();
    match read::<RestoreJob>(client.clone(), Some(&namespace), name).await? {
        // Nobody can say how far it got.
        Read::Unreadable(..) => return Ok(()),
        Read::Found(restore) if restore.metadata.uid.as_ref() == cached.labels().get(LABEL_RESTORE_UID) => {
            if !restore.phase().is_terminal() || restore.metadata.deletion_timestamp.is_some() {
                return Ok(());
            }
        }
        Read::Found(_) | Read::Absent => {}
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let pod = get(&pods, &cached.name_any())
        .await?
        .filter(|pod| pod.uid() == cached.uid());
    match pod.as_ref().and_then(restore::release_pod) {
        Some((target, change)) => patch_target(client, &target, change).await,
        None => Ok(()),
    }
}
