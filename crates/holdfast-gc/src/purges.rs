//! Removes the files of deleted Backups, volume by volume: observes one, and applies steps until it rests.

use std::{sync::Arc, time::Duration};

use holdfast_core::{
    gc::{
        Batch, is_ours,
        purge_plan::{self, Purge, Step, Volume},
    },
    pod::{JobState, job_state},
};
use holdfast_runtime::{
    Next, STAND_BY, clock,
    watch::Key,
    write::{self, WriteError},
};
use jiff::SignedDuration;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{Api, ResourceExt as _, api::ListParams};

use crate::{
    Context, at,
    error::Error,
    purge_apply::{self, After},
};

/// How many steps one look takes at the most, so that others have their turn.
const STEPS: usize = 200;
const JOB_UID: &str = "batch.kubernetes.io/controller-uid";
const MOMENT: Duration = Duration::from_millis(200);

/// Looks at one volume: namespace and claim.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, Error> {
    if !context.leader.leads() {
        return Ok(STAND_BY);
    }
    let mut volume = observe(&context, &key).await?;
    for _ in 0..STEPS {
        let step = context
            .memory
            .history(|history| purge_plan::decide(&volume, history, clock::now()));
        if let Step::Rest(wait) = step {
            return Ok(wait.map_or(Next::AwaitChange, |wait| Next::After(moment(wait))));
        }
        if !context.leader.leads() {
            return Ok(STAND_BY);
        }
        match Box::pin(purge_apply::apply(&context, &key, &mut volume, step)).await? {
            After::Go => {}
            After::Stop(next) => return Ok(next),
        }
    }
    Ok(Next::After(MOMENT))
}

fn moment(wait: SignedDuration) -> Duration {
    Duration::try_from(wait).unwrap_or_default().max(MOMENT)
}

async fn observe(context: &Context, key: &Key) -> Result<Volume, WriteError> {
    let mut jobs: Vec<(Arc<Job>, Batch)> = context.jobs.all().into_iter().filter_map(|job| of(key, job)).collect();
    let seen = |made: &Job| jobs.iter().any(|(job, _)| job.metadata.uid == made.metadata.uid);
    if let Some(made) = context
        .memory
        .unseen(key, clock::now(), seen)
        .and_then(|job| of(key, job))
    {
        jobs.push(made);
    }
    jobs.retain(|(job, _)| {
        !context
            .memory
            .is_removed(job.metadata.uid.as_deref().unwrap_or_default())
    });
    jobs.sort_by_key(|(job, _)| job.name_any());
    let mut purges = Vec::new();
    for (job, batch) in jobs {
        let pods = pods(context, &job).await?;
        purges.push(Purge { job, batch, pods });
    }
    Ok(Volume {
        namespace: key.namespace.clone(),
        claim: key.name.clone(),
        purges,
        waiting: context.index().waiting(&at(key)),
        retry: SignedDuration::from_secs(i64::from(context.args.purge_retry_seconds)),
    })
}

/// A Job with its batch, if it is a purge of ours on this volume.
fn of(key: &Key, job: Arc<Job>) -> Option<(Arc<Job>, Batch)> {
    let batch = Batch::of(&job).filter(|_| is_ours(&job))?;
    (batch.namespace == key.namespace && batch.claim == key.name).then_some((job, batch))
}

/// The pods of a Job: as the watch shows them while it runs; read afresh once it has ended, for their results.
pub(crate) async fn pods(context: &Context, job: &Job) -> Result<Vec<Arc<Pod>>, WriteError> {
    let (namespace, uid) = (job.namespace().unwrap_or_default(), job.uid().unwrap_or_default());
    let state = job_state(job);
    if state == JobState::Running {
        let mut pods = context.pods.all();
        pods.retain(|pod| pod.labels().get(JOB_UID) == Some(&uid));
        return Ok(pods);
    }
    if state != JobState::Complete && context.memory.count(&uid) {
        context.metrics.purge_failed();
    }
    let api: Api<Pod> = Api::namespaced(context.service.client.clone(), &namespace);
    let pods = write::list(&api, &ListParams::default().labels(&format!("{JOB_UID}={uid}"))).await?;
    Ok(pods.into_iter().map(Arc::new).collect())
}
