//! Writes: one at a time, each guarded by what its decision rested on.

use std::sync::Arc;

use holdfast_api::Backup;
use holdfast_api::names::ANNOTATION_REPOSITORY;
use holdfast_core::backup::{Read, Seen, Write, report_job_name};
use holdfast_runtime::write::{self, Propagation, WriteError};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::Context;
use crate::observe::{Pass, answered};

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is stored.
    Done,
    /// Somebody else was first: this must be read afresh before deciding again.
    Stale(Read),
    /// The API server will not have it; remembered for the next decision.
    Refused,
    /// The Backup is gone.
    Gone,
}

/// Applies one write and takes over what the API server answered.
pub(crate) async fn apply(context: &Context, pass: &mut Pass, write: Write) -> Result<Outcome, WriteError> {
    let result = match write {
        Write::Metadata(metadata) => patch(context, pass, metadata).await,
        Write::Status(status) => {
            let mut backup = (*pass.backup).clone();
            backup.status = Some(*status);
            put_status(context, pass, &backup).await
        }
        Write::CreateJob(job) => return create(context, pass, *job, Read::Job).await,
        Write::CreateReportJob(job) => return create(context, pass, *job, Read::Report).await,
        Write::DeleteJob {
            name,
            uid,
            resource_version,
        } => {
            return delete(context, pass, &name, &uid, resource_version.as_deref()).await;
        }
        Write::MarkRepository { pvc, id } => return mark(context, pass, &pvc, &id).await,
    };
    match result {
        Ok(backup) => {
            answered(context, pass, Arc::new(backup));
            Ok(Outcome::Done)
        }
        Err(WriteError::Conflict) => Ok(Outcome::Stale(Read::Backup)),
        Err(WriteError::NotFound) => Ok(Outcome::Gone),
        Err(error) => Err(error),
    }
}

async fn put_status(context: &Context, pass: &Pass, backup: &Backup) -> Result<Backup, WriteError> {
    let api: Api<Backup> = Api::namespaced(context.service.client.clone(), pass.namespace());
    write::put_status(&api, backup).await
}

async fn patch(context: &Context, pass: &Pass, metadata: Value) -> Result<Backup, WriteError> {
    let api: Api<Backup> = Api::namespaced(context.service.client.clone(), pass.namespace());
    write::patch_metadata(&api, &pass.backup, metadata).await
}

async fn create(context: &Context, pass: &mut Pass, job: Job, kind: Read) -> Result<Outcome, WriteError> {
    let api: Api<Job> = Api::namespaced(context.service.client.clone(), pass.namespace());
    match write::create(&api, &job).await {
        Ok(job) => {
            let job = Arc::new(job);
            context.written.job(&pass.backup, &job);
            remember(pass, kind, Seen::live(Some(job)));
            Ok(Outcome::Done)
        }
        // Another executor's, or somebody else's: the next decision looks at whose it is.
        Err(WriteError::Exists) => Ok(Outcome::Stale(kind)),
        Err(WriteError::NotFound) => Ok(Outcome::Gone),
        Err(WriteError::Refused(text)) => {
            context.written.refusal(&pass.backup, text);
            Ok(Outcome::Refused)
        }
        Err(error) => Err(error),
    }
}

async fn delete(
    context: &Context,
    pass: &mut Pass,
    name: &str,
    uid: &str,
    version: Option<&str>,
) -> Result<Outcome, WriteError> {
    let api: Api<Job> = Api::namespaced(context.service.client.clone(), pass.namespace());
    let kind = if name == report_job_name(&pass.backup) {
        Read::Report
    } else {
        Read::Job
    };
    match write::delete(&api, name, uid, version, Propagation::Background).await {
        Ok(()) => {
            context.written.deleted(&pass.backup.uid().unwrap_or_default(), name);
            // It may still be there, held by a finalizer: only a fresh read tells.
            Ok(Outcome::Stale(kind))
        }
        Err(WriteError::Conflict) => Ok(Outcome::Stale(kind)),
        Err(error) => Err(error),
    }
}

async fn mark(
    context: &Context,
    pass: &mut Pass,
    claim: &PersistentVolumeClaim,
    id: &str,
) -> Result<Outcome, WriteError> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(context.service.client.clone(), pass.namespace());
    let annotations = json!({"annotations": {ANNOTATION_REPOSITORY: id}});
    match write::patch_metadata(&api, claim, annotations).await {
        Ok(claim) => {
            pass.claim = Some(Seen::live(Some(Arc::new(claim))));
            Ok(Outcome::Done)
        }
        Err(WriteError::Conflict | WriteError::NotFound) => Ok(Outcome::Stale(Read::Claim)),
        Err(error) => Err(error),
    }
}

fn remember(pass: &mut Pass, kind: Read, job: Seen<Job>) {
    if kind == Read::Report {
        pass.report = Some(job);
    } else {
        pass.job = Some(job);
    }
}
