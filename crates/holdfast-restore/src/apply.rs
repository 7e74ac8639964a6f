//! Applies what was decided.

use holdfast_api::RestoreJob;
use holdfast_core::restore::{Kind, Workload, Write};
use holdfast_runtime::write::{self, Propagation, WriteError};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    batch::v1::Job,
};
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use crate::Context;

/// Makes the one write.
pub(crate) async fn apply(context: &Context, found: &RestoreJob, write: Write) -> Result<(), WriteError> {
    let client = context.service.client.clone();
    let namespace = found.namespace().unwrap_or_default();
    let restores: Api<RestoreJob> = Api::namespaced(client.clone(), &namespace);
    let jobs: Api<Job> = Api::namespaced(client, &namespace);
    match write {
        Write::Metadata(metadata) => write::patch_metadata(&restores, found, metadata).await.map(drop),
        Write::Status(status) => {
            let wanted = RestoreJob {
                status: Some(*status),
                ..found.clone()
            };
            write::put_status(&restores, &wanted).await.map(drop)
        }
        Write::CreateJob(job) => match write::create(&jobs, &*job).await {
            // The next look finds it, and whose it is.
            Ok(_) | Err(WriteError::Exists) => Ok(()),
            Err(error) => Err(error),
        },
        Write::DeleteJob { name, uid } => write::delete(&jobs, &name, &uid, None, Propagation::Background).await,
        Write::Workload(workload, change) => scale(context, &namespace, &workload, change).await,
    }
}

/// Suspends a workload or resumes it, in one patch, if it is still the one that was read.
async fn scale(context: &Context, namespace: &str, workload: &Workload, change: Value) -> Result<(), WriteError> {
    let client = context.service.client.clone();
    match workload.kind {
        Kind::StatefulSet => {
            let read = StatefulSet {
                metadata: workload.metadata.clone(),
                ..StatefulSet::default()
            };
            write::patch(&Api::namespaced(client, namespace), &read, change)
                .await
                .map(drop)
        }
        Kind::Deployment => {
            let read = Deployment {
                metadata: workload.metadata.clone(),
                ..Deployment::default()
            };
            write::patch(&Api::namespaced(client, namespace), &read, change)
                .await
                .map(drop)
        }
    }
}
