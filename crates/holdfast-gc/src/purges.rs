//! Removes the files of deleted Backups, volume by volume.

use std::{collections::BTreeSet, sync::Arc};

use holdfast_api::{Backup, BackupStatus, ObjectMetaExt as _, condition::Reason};
use holdfast_core::{
    decision::{Child, Intent, Notice, Seen, Write as AnyWrite},
    driver::{Found, Standing, Written},
    gc::{
        Batch, is_ours,
        purge_plan::{Over, Purge, Step, Volume},
        volume::{self, Decision, Observed, Obstacle, Plan, Read, Write},
    },
    pod::{Demands, JobState, finished_at, job_state},
};
use holdfast_runtime::{
    Next, clock,
    reconcile::{self, Pass, emit, leads},
    watch::Key,
    write::{self, Applied, WriteError, apply},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Node, PersistentVolumeClaim, Pod},
};
use kube::{Api, ResourceExt as _, api::ListParams};

use crate::{
    Context, at,
    deletion::{Released, is_terminating},
    error::Error,
};

const JOB_UID: &str = "batch.kubernetes.io/controller-uid";
/// How soon a Job of ours that is going is looked for again.
const SOON: SignedDuration = SignedDuration::from_secs(2);
/// How soon a name that somebody else holds, or a Job that is refused, is tried again.
const LATER: SignedDuration = SignedDuration::from_secs(30);

/// Looks at one volume: namespace and claim.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, Error> {
    if let Standing::Later(wait) = leads(&context.leader) {
        return Ok(Next::After(wait));
    }
    let observed = Observed {
        agent_image: context.args.agent_image.clone(),
        pull_policy: context.args.pull().map(str::to_owned),
        data_pods: context.args.data_pods.data_pods(),
        demands: Demands::default(),
        volume: observe(&context, &key).await?,
        claim: Seen::default(),
        whole: None,
        obstacle: None,
        events: None,
    };
    let pass = VolumePass {
        context: &context,
        backups: Api::namespaced(context.service.client.clone(), &key.namespace),
        jobs: Api::namespaced(context.service.client.clone(), &key.namespace),
        key,
        observed,
        plan: None,
    };
    Ok(Box::pin(reconcile::reconcile(pass)).await?)
}

struct VolumePass<'a> {
    context: &'a Context,
    backups: Api<Backup>,
    jobs: Api<Job>,
    key: Key,
    observed: Observed,
    /// What was decided last.
    plan: Option<Plan>,
}

impl Pass for VolumePass<'_> {
    type Status = BackupStatus;
    type Read = Read;

    fn decide(&mut self, now: Timestamp) -> Decision {
        let observed = &self.observed;
        let plan = self
            .context
            .memory
            .history(|history| volume::decide(observed, history, now));
        if let Some(batch) = &plan.look_closer {
            self.look_closer(batch);
        }
        let decision = plan.decision.clone();
        self.plan = Some(plan);
        decision
    }

    fn standing(&mut self, _: Intent) -> Standing {
        leads(&self.context.leader)
    }

    async fn read(&mut self, read: Read) -> Result<Found, WriteError> {
        match read {
            Read::Claim => {
                let claims: Api<PersistentVolumeClaim> =
                    Api::namespaced(self.context.service.client.clone(), &self.key.namespace);
                let claim = write::get(&claims, &self.key.name).await?;
                self.observed.claim = Seen::live(claim.map(Arc::new));
                self.observed.demands = write::demands_of(&self.context.service.client, &self.key.namespace).await?;
            }
            Read::Events => {
                let uids = self.observed.in_trouble();
                let told = write::warnings_about(&self.context.service.client, &self.key.namespace, &uids).await?;
                self.observed.events = Some(told);
            }
            Read::Backup => {
                if let Some(subject) = self.plan.as_ref().and_then(Plan::subject).cloned() {
                    let found = write::get(&self.backups, &subject.name_any()).await?;
                    let found = found.filter(|found| found.metadata.uid == subject.metadata.uid);
                    self.observed.know(subject.metadata.uid.as_deref(), found);
                }
            }
        }
        Ok(Found::Known)
    }

    async fn write(&mut self, write: Write) -> Result<Written, WriteError> {
        let Some(step) = self.plan.as_ref().map(|plan| plan.step.clone()) else {
            return Ok(Written::Stale);
        };
        match (step, write) {
            (Step::Create(batch), AnyWrite::Create(Child::Job(job))) => self.create(batch, *job).await,
            (
                Step::Remove {
                    job,
                    batch,
                    over,
                    freed,
                },
                write,
            ) => self.remove(&job, &batch, (over, freed), write).await,
            (Step::Release(backup), write) => {
                let released = Released::of(self.context, &*backup);
                match self.apply(write).await {
                    Ok(_) => released.tell(self.context, &*backup),
                    Err(WriteError::NotFound) => {}
                    Err(error) => return Err(error),
                }
                self.observed.know(backup.metadata.uid.as_deref(), None);
                Ok(Written::Stored)
            }
            (_, write) => {
                if let Applied::Object(backup) = self.apply(write).await? {
                    let uid = backup.metadata.uid.clone();
                    self.observed.know(uid.as_deref(), Some(*backup));
                }
                Ok(Written::Stored)
            }
        }
    }

    async fn emit(&mut self, notices: Vec<Notice>) {
        if let Some(backup) = &self.observed.whole {
            emit(&self.context.service, backup, notices).await;
        }
    }
}

impl VolumePass<'_> {
    async fn apply(&self, write: Write) -> Result<Applied<Backup>, WriteError> {
        let nothing = Backup::new("", holdfast_api::BackupSpec::default());
        let about = self.observed.whole.as_ref().unwrap_or(&nothing);
        apply(&self.context.service.client, &self.backups, about, write).await
    }

    async fn create(&mut self, batch: Batch, job: Job) -> Result<Written, WriteError> {
        let name = job.name_any();
        let why = match self.apply(AnyWrite::Create(Child::from(job))).await {
            Ok(Applied::Created(Child::Job(job))) => {
                tracing::info!(volume = %self.key, backups = batch.entries.len(), job = name, "removing files");
                let job = Arc::<Job>::from(job);
                self.context.memory.made(&self.key, &job);
                self.observed.volume.purges.push(Purge {
                    job,
                    batch,
                    pods: Vec::new(),
                });
                return Ok(Written::Stored);
            }
            Ok(_) => return Ok(Written::Stale),
            Err(WriteError::Exists) => return self.exists(batch, name).await,
            Err(error @ (WriteError::NotFound | WriteError::Refused(_))) => error,
            Err(error) => return Err(error),
        };
        self.look_closer(&batch);
        let why = format!("the job that removes the files cannot be created: {why}");
        let terminating = is_terminating(self.context, &self.key.namespace).await?;
        self.observed.obstacle = Some(Obstacle {
            batch,
            trouble: (!terminating).then_some((Reason::PurgeFailed, why)),
            job: name,
            again: LATER,
        });
        Ok(Written::Refused)
    }

    /// The name of a new Job is taken: by the same Job, made before, or by somebody else's, which is never touched.
    async fn exists(&mut self, batch: Batch, name: String) -> Result<Written, WriteError> {
        let found = write::get(&self.jobs, &name).await?;
        let (trouble, again) = match found.filter(|job| !job.is_terminating()) {
            Some(job) if is_ours(&job) && Batch::of(&job).as_ref() == Some(&batch) => {
                let pods = pods(self.context, &job).await?;
                let job = Arc::new(job);
                self.observed.volume.purges.push(Purge { job, batch, pods });
                return Ok(Written::Stale);
            }
            Some(_) => {
                let why = format!("a job named \"{name}\" exists that does not belong to Holdfast");
                (Some((Reason::NameTaken, why)), LATER)
            }
            None => (None, SOON),
        };
        self.observed.obstacle = Some(Obstacle {
            batch,
            trouble,
            job: name,
            again,
        });
        Ok(Written::Stale)
    }

    async fn remove(
        &mut self,
        job: &Arc<Job>,
        batch: &Batch,
        (over, freed): (Over, u64),
        write: Write,
    ) -> Result<Written, WriteError> {
        let memory = &self.context.memory;
        let uid = job.uid().unwrap_or_default();
        // Noted before: the watch may show the end sooner than the answer comes.
        memory.remove_job(&uid);
        if let Err(error) = self.apply(write).await {
            memory.forget_job(&uid);
            return Err(error);
        }
        tracing::info!(job = %Key::of(&**job), why = ?over, "purge job removed");
        let purges = &mut self.observed.volume.purges;
        if over == Over::Lost {
            let lost = purges.iter().find(|purge| purge.job.metadata.uid == job.metadata.uid);
            memory.history(|history| lost.into_iter().for_each(|purge| history.lost(purge)));
        }
        purges.retain(|purge| purge.job.metadata.uid != job.metadata.uid);
        self.context.metrics.freed(freed);
        match over {
            Over::Purged => {
                let times = finished_at(job).zip(job.creation_timestamp());
                let seconds = times.map(|(end, start)| end.duration_since(start.0).as_secs_f64());
                self.context.metrics.purged(batch.entries.len(), seconds);
            }
            Over::Split | Over::Retry => memory.history(|history| history.failed(batch)),
            Over::Returned => memory.history(|history| history.returned(batch)),
            Over::Needless | Over::Lost => {}
        }
        Ok(Written::Stored)
    }

    /// Lets each Backup of a batch be looked at afresh: its claim or namespace may be gone.
    fn look_closer(&self, batch: &Batch) {
        let uids: Vec<&str> = batch.entries.iter().map(|entry| entry.uid.as_str()).collect();
        let waiting = &self.observed.volume.waiting;
        for backup in waiting
            .iter()
            .filter(|one| one.seal_uid().is_some_and(|uid| uids.contains(&uid)))
        {
            let uid = backup.metadata.uid.as_deref().unwrap_or_default();
            self.context.memory.unclear(uid);
            self.context.queues.deletions.push(Key::of(&**backup));
        }
    }
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
    let nodes = nodes(context, &purges).await?;
    Ok(Volume {
        namespace: key.namespace.clone(),
        claim: key.name.clone(),
        purges,
        waiting: context.index().waiting(&at(key)),
        retry: SignedDuration::from_secs(i64::from(context.args.purge_retry_seconds)),
        nodes,
    })
}

/// The nodes on which purges may be lost. Who may not read nodes leaves it to people to end their pods.
async fn nodes(context: &Context, purges: &[Purge]) -> Result<Vec<Arc<Node>>, WriteError> {
    let now = clock::now();
    let names: BTreeSet<&str> = purges.iter().flat_map(|purge| purge.nodes(now)).collect();
    let api: Api<Node> = Api::all(context.service.client.clone());
    let mut nodes = Vec::new();
    for name in names {
        match write::get(&api, name).await {
            Ok(node) => nodes.extend(node.map(Arc::new)),
            Err(WriteError::Refused(_)) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(nodes)
}

/// A Job with its batch, if it is a purge of ours on this volume.
fn of(key: &Key, job: Arc<Job>) -> Option<(Arc<Job>, Batch)> {
    let batch = Batch::of(&job).filter(|_| is_ours(&job))?;
    (batch.namespace == key.namespace && batch.claim == key.name).then_some((job, batch))
}

/// The pods of a Job: as the watch shows them while it runs; read afresh once it has ended, for their results.
async fn pods(context: &Context, job: &Job) -> Result<Vec<Arc<Pod>>, WriteError> {
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
